"""Bodies of the API as plain data: JSON whose every text can be stored and sent on, and that says nothing twice."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from django.http import HttpRequest
from ninja.parser import Parser

from training.api.errors import ApiError

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
        raise _refused(HALF.sub("?", twice)[:100], "stands there twice")
    return found


def _refuse_halves(body: Any) -> None:
    waiting: list[tuple[str, Any]] = [("", body)]  # a list, since a body may be deeper than calls can be
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str) and (half := HALF.search(value)):
            raise _refused(path, f"holds half of a character, U+{ord(half[0]):04X}; wanted text that can be written as UTF-8")
        if isinstance(value, dict):
            for name, inner in value.items():
                waiting += [(path, name), (f"{path}.{HALF.sub('?', name)[:100]}".lstrip("."), inner)]
        elif isinstance(value, list):
            waiting += [(f"{path}.{number}".lstrip("."), inner) for number, inner in enumerate(value)]


def _refused(path: str, message: str) -> ApiError:
    return ApiError(422, "invalid_request", "the request is not valid", problems=[{"path": path, "message": message}])
