"""Pages while the database is busy or away: one sentence and 503, not an error of the server. The API has its own."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

RETRY_SECONDS = 10
log = logging.getLogger(__name__)


class BusyDatabase:
    """Middleware: what a view could not read or write is told; its transaction, if it had one, has changed nothing."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, OperationalError | InterfaceError):
            return None
        log.error("%s %s: %s", request.method, request.path, error)
        page = render_to_string("busy.html", {"seconds": RETRY_SECONDS})  # without the request: nothing of it needs the database
        return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_SECONDS)})
