"""Pages while the database is busy, away, gone or full: what is true in one sentence, and 503. The API has its own."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from training.jobs.database_words import AWAY, BUSY, PUBLIC, kind_of, sentence_of

RETRY_SECONDS = 10
log = logging.getLogger(__name__)


class BusyDatabase:
    """Middleware: what a view could not read or write is told; its transaction, if it had one, has changed nothing."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not (isinstance(error, OperationalError | InterfaceError) or type(error) is DatabaseError):
            return None
        log.error("%s %s: %s", request.method, request.path, sentence_of(error))
        kind = kind_of(error)
        heading, sentence = PUBLIC[kind]
        told = {"seconds": RETRY_SECONDS, "heading": heading, "sentence": sentence, "passes": kind in (BUSY, AWAY)}
        page = render_to_string("busy.html", told)  # without the request: nothing of it needs the database
        return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_SECONDS)})
