"""Requests as the views take them: UTF-8, no zero bytes in an address, and a method that the page has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils.http import parse_header_parameters

#: Every address of the API begins so.
PREFIX = "/api/"
READ = ("GET", "HEAD")
READ_AND_WRITE = (*READ, "POST")
Scope = dict[str, Any]


class PlainRequests:
    """Middleware for all but the API, which has an error body of its own.

    A view says by its `methods` what it answers; one that says nothing answers what a browser's page can send.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # Whatever charset a request names: in some of them a text is no text that can be stored or shown.
        request.encoding = "utf-8"
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, arguments: Any, named: dict[str, Any]) -> HttpResponse | None:
        if request.path_info.startswith(PREFIX):
            return None
        if any("\0" in str(value) for value in named.values()):
            raise Http404("an address has no zero bytes")
        methods = getattr(view, "methods", READ_AND_WRITE)
        return None if request.method in methods else HttpResponseNotAllowed(methods)


class ReadableHeaders:
    """ASGI: headers and queries of which Django could make no request are put into a form that it can read.

    What they meant is then refused like anything else that means nothing: with our pages and our headers.
    """

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await self.application(_readable(scope) if scope["type"] == "http" else scope, receive, send)


def _readable(scope: Scope) -> Scope:
    query = quote(scope.get("query_string", b""), safe="".join(map(chr, range(128))))  # as browsers write it
    headers = [
        (name, b"" if name == b"content-type" and not _has_parameters(value) else value) for name, value in scope["headers"]
    ]
    return {**scope, "query_string": query.encode("ascii"), "headers": headers}


def _has_parameters(value: bytes) -> bool:
    """Whether a content type can be taken apart."""
    try:
        kind, parameters = parse_header_parameters(value.decode("latin-1"))
        "".join([kind, *parameters, *parameters.values()]).encode()  # what is written as utf-7 may be no text
    except (ValueError, LookupError):
        return False
    return True
