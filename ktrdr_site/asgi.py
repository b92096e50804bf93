"""The web application as an ASGI server starts it: pages by HTTP, what moves by websocket."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ktrdr_site.settings")
pages = get_asgi_application()  # first: it sets Django up, which the imports below need

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator, WebsocketDenier  # noqa: E402
from channels.sessions import CookieMiddleware  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from training.access.plain_requests import ReadableHeaders  # noqa: E402
from training.web.live import Audience, NoSocket, OperationSocket  # noqa: E402

sockets = URLRouter([
    path("ws/operations/", OperationSocket.as_asgi(audience=Audience())),
    re_path("", NoSocket.as_asgi()),
])  # fmt: skip
WebsocketDenier.channel_layer_alias = ""  # to refuse another site's page needs no Redis
application = ProtocolTypeRouter({
    "http": ReadableHeaders(pages),
    "websocket": AllowedHostsOriginValidator(CookieMiddleware(sockets)),
})  # fmt: skip
