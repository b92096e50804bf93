"""Whatever goes wrong under /api/ → one shape, `{error: {code, message, details}}`; and bodies as plain data."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from http import HTTPStatus
from typing import Any, cast

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser
from ninja.responses import Response

from training.access.plain_requests import PREFIX
from training.core.findings import findings_in
from training.jobs.database_words import AWAY, BUSY, PUBLIC, kind_of
from training.jobs.queues import FULL

#: A strategy is at most 64 KiB; as a JSON string it may take several times that.
BODY_LIMIT = 512 * 1024
#: What an exception of this name, or one that inherits from it, is answered with. By name: some live in heavy modules.
STATUS = {
    "UnknownStrategy": (404, "unknown_strategy"),
    "StrategyError": (422, "invalid_strategy"),
    "Conflict": (409, "task_id_used"),
    "RedisFull": (503, "redis_full"),
    "OutOfMemoryError": (503, "redis_full"),
    "NoWorker": (503, "no_worker"),
    "OperationError": (409, "wrong_state"),
    "InUse": (409, "wrong_state"),
    "CheckpointError": (409, "checkpoint"),
    "Away": (503, "folder_away"),
    "Unreachable": (503, "unreachable"),
    "FolderError": (409, "damaged"),
    "PackageMissing": (409, "package_missing"),
    "BundleError": (409, "damaged"),
    "ModelError": (422, "model"),
    "DataError": (422, "bars"),
    "UnknownJob": (404, "not_found"),
    "TookTooLong": (503, "took_too_long"),
    "Refusal": (422, "refused"),
    "RequestDataTooBig": (413, "too_large"),
    "RedisError": (503, "redis"),
    "OperationalError": (503, "database"),
    "InterfaceError": (503, "database"),
    "Http404": (404, "not_found"),
}
#: Messages of these are not ours and may tell too much.
SENTENCES = {
    "redis": "Redis does not answer: start everything with `manage.py up`",
    "redis_full": FULL,
    "too_large": f"the body is larger than {BODY_LIMIT:,} bytes",
    "not_found": "there is nothing here",
}
#: Headers of an error page that do not hold for the body that takes its place.
ABOUT_THE_BODY = ("Content-Type", "Content-Length", "Content-Encoding", "Content-Disposition", "ETag", "Last-Modified")
log = logging.getLogger(__name__)


class ApiError(Exception):
    """An answer other than success, as its sender wants it."""

    def __init__(self, status: int, code: str, message: str, /, *, headers: dict[str, str] | None = None, **details: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers, self.details = status, code, message, headers or {}, details


def not_found(what: str) -> ApiError:
    return ApiError(404, "not_found", f"there is no {what}")


def error_response(status: int, code: str, message: str, details: dict[str, Any], headers: dict[str, str]) -> HttpResponse:
    body = {"error": {"code": code, "message": message, "details": details}}
    return Response(body, status=status, headers=headers)


def answer(request: HttpRequest, error: Exception) -> HttpResponse:
    """The response to an exception; what is unexpected is logged with its traceback and told as nothing but that."""
    if isinstance(error, HttpError) and isinstance(error.__cause__, ApiError):  # ninja's own word for what a body was refused for
        error = error.__cause__
    if isinstance(error, ApiError):
        return error_response(error.status, error.code, error.message, error.details, error.headers)
    if isinstance(error, ValidationError):
        return error_response(422, "invalid_request", "the request is not valid", {"problems": _problems(error)}, {})
    if isinstance(error, HttpError):
        return error_response(error.status_code, _code(error.status_code), str(error), {}, {})
    kinds = [getattr(error, "kind", ""), *(c.__name__ for c in type(error).__mro__)]
    status, code = next((STATUS[kind] for kind in kinds if kind in STATUS), (500, "internal"))
    if type(error) is DatabaseError:  # a file that is none; its subclasses are faults of a statement
        status, code = STATUS["OperationalError"]
    if status >= 500 and code not in ("no_worker", "redis_full"):
        log.error("%s %s: %s", request.method, request.path, error, exc_info=error if status == 500 else None)
    if code == "internal":
        return error_response(500, code, "something went wrong here; the log of the server says what", {}, {})
    if code == "invalid_strategy":
        problems = [asdict(p) if is_dataclass(p) else p for p in error.problems]  # type: ignore[attr-defined]
        return error_response(status, code, "the strategy is not valid", {"problems": problems}, {})
    if code == "database":
        return error_response(status, code, _of_database(error), {}, {})
    details = {"findings": findings} if (findings := findings_in(error)) else {}
    return error_response(status, code, SENTENCES.get(code, str(error)), details, {})


def _of_database(error: Exception) -> str:
    """Whether to try again or to call somebody: a folder that is gone is not a busy database."""
    heading, sentence = PUBLIC[kind := kind_of(error)]
    return f"{heading[0].lower()}{heading[1:]}: {'try again' if kind in (BUSY, AWAY) else sentence[0].lower() + sentence[1:-1]}"


def _problems(error: ValidationError) -> list[dict[str, Any]]:
    """Path and sentence of each problem of a request; never its value, which may be a secret."""
    return [{"path": ".".join(str(part) for part in e["loc"] if part != "body"), "message": e["msg"]} for e in error.errors]


def _code(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


def install(api: NinjaAPI) -> None:
    """Every exception of every route comes here; the more special classes are ninja's own and would win otherwise."""
    from django.http import Http404

    for kind in (Exception, Http404, HttpError, ValidationError, ApiError):
        api.add_exception_handler(kind, answer)


class ApiBoundary:
    """Middleware: under /api/ bodies have a limit, and Django's own error pages become our error body with the same headers."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        if refused := _refused(request):
            return answer(request, refused)
        response = self.get_response(request)
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        if response.status_code < 400 or is_json or (settings.DEBUG and response.status_code == 500):
            return response
        status = response.status_code
        message = "there is nothing here" if status == 404 else HTTPStatus(status).phrase.lower()
        told = error_response(status, _code(status), message, {}, {})
        for name, value in response.headers.items():
            if name not in ABOUT_THE_BODY:
                told.headers.setdefault(name, value)
        return told


def _refused(request: HttpRequest) -> ApiError | None:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if "\x00" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
        return ApiError(400, "bad_request", "an address has no zero bytes")
    if "HTTP_TRANSFER_ENCODING" in request.META:  # its length is only known once all of it is here
        return ApiError(411, "length_required", "the request must say its length in Content-Length")
    if not length.isdigit() or int(length) > BODY_LIMIT:
        return ApiError(413, "too_large", SENTENCES["too_large"])
    return None


#: Halves of surrogate pairs: JSON may write one alone, but no database, log or answer can hold it.
HALF = re.compile("[\ud800-\udfff]")


class Bodies(Parser):
    """Ninja's JSON with these two refused; what is no JSON at all is ninja's 400."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        found = json.loads(request.body, object_pairs_hook=_once)
        _refuse_halves(found)
        return cast("dict[str, Any]", found)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _invalid(HALF.sub("?", twice)[:100], "stands there twice")
    return found


def _refuse_halves(body: Any) -> None:
    waiting: list[tuple[str, Any]] = [("", body)]  # a list, since a body may be deeper than calls can be
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str) and (half := HALF.search(value)):
            raise _invalid(path, f"holds half of a character, U+{ord(half[0]):04X}; wanted text that can be written as UTF-8")
        if isinstance(value, dict):
            for name, inner in value.items():
                waiting += [(path, name), (f"{path}.{HALF.sub('?', name)[:100]}".lstrip("."), inner)]
        elif isinstance(value, list):
            waiting += [(f"{path}.{number}".lstrip("."), inner) for number, inner in enumerate(value)]


def _invalid(path: str, message: str) -> ApiError:
    return ApiError(422, "invalid_request", "the request is not valid", problems=[{"path": path, "message": message}])
