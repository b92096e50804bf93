"""The web application as an ASGI server starts it: pages by HTTP, what moves by websocket."""

from __future__ import annotations

import os
import sys

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ktrdr_site.settings")
try:
    if not settings.MAY_WRITE:  # the files that pages load lie there, and what they tell of
        sys.exit(f"Configuration: {settings.NO_HOME}")
    pages = get_asgi_application()  # first: it sets Django up, which the imports below need
except ImproperlyConfigured as error:
    sys.exit(f"Configuration: {error}")

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator, WebsocketDenier
from channels.sessions import CookieMiddleware
from django.urls import path, re_path

from training.access.plain_requests import ReadableHeaders
from training.web.live import Audience, NoSocket, OperationSocket

sockets = URLRouter([
    path("ws/operations/", OperationSocket.as_asgi(audience=Audience())),
    re_path("", NoSocket.as_asgi()),
])  # fmt: skip
WebsocketDenier.channel_layer_alias = ""  # to refuse another site's page needs no Redis
application = ProtocolTypeRouter({
    "http": ReadableHeaders(pages),
    "websocket": AllowedHostsOriginValidator(CookieMiddleware(sockets)),
})  # fmt: skip
