"""What every shape of the API shares, as the OpenAPI document shows it, and long lists in pages, newest first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from django.core import signing
from django.db.models import Q, QuerySet
from ninja import Field, Query, Schema
from pydantic import AfterValidator, ConfigDict

from strategies_app.grammar.schema import MOST_OF_SYMBOL, SYMBOL
from training.api.errors import ApiError


def _plain(value: str) -> str:
    if any(ord(letter) < 32 and letter not in "\t\n\r" for letter in value):
        raise ValueError("has a control character")
    return value


Text = Annotated[str, AfterValidator(_plain)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Path = Annotated[Text, Field(max_length=4096)]
Reason = Annotated[Text, Field(max_length=2000)]
Symbol = Annotated[Text, Field(pattern=SYMBOL, max_length=MOST_OF_SYMBOL)]


class Request(Schema):
    model_config = ConfigDict(extra="forbid")


class Problem(Schema):
    path: str
    line: int | None = None
    column: int | None = None
    message: str


class Error(Schema):
    code: str
    message: str
    details: dict[str, Any] = Field(
        description="`problems` of a strategy or a request; `findings` where bars are refused, as under operations/{id}/checks"
    )


class ErrorBody(Schema):
    error: Error


class Asked(Schema):
    """The answer takes longer: ask again at `where`."""

    job: str
    where: str


class Worker(Schema):
    name: str
    queue: str
    status: str
    state: str = Field(description="an older word for `status`; gone after the next release", deprecated=True)
    job: str | None
    heartbeat: dt.datetime
    environment: dict[str, Any]

    @staticmethod
    def resolve_status(worker: Any) -> str:
        return str(worker.state)


class Workers(Schema):
    workers: list[Worker]
    next_cursor: str | None


class Health(Schema):
    status: Literal["ok", "failing"]
    database: str | None = None
    redis: str | None = None
    redis_state: Literal["ok", "full", "away"] | None = None
    workers: dict[str, int] | None = None
    folders: dict[str, str] | None = Field(None, description="`ok`, or a sentence where one is not there")


Item = TypeVar("Item")


def page(rows: QuerySet[Any], limit: int, cursor: str) -> tuple[list[Any], str | None]:
    """At most `limit` rows with a `created`, and the cursor of the next page if there is one."""
    rows = rows.order_by("-created", "-pk")
    if cursor:
        created, key = _read(cursor)
        rows = rows.filter(Q(created__lt=created) | Q(created=created, pk__lt=key))
    found = list(rows[: limit + 1])
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], signing.dumps([last.created.isoformat(), last.pk], salt="cursor")


def _read(cursor: str) -> tuple[dt.datetime, Any]:
    """Signed, so that what comes back is what was given out."""
    try:
        created, key = signing.loads(cursor, salt="cursor")
    except signing.BadSignature:
        raise ApiError(422, "invalid_request", "cursor is not one that was given out here") from None
    return dt.datetime.fromisoformat(created), key


#: Of the lists that were bare: how many a page has, which also asks for a page in place of the bare list.
Limit = Annotated[
    int | None,
    Query(None, ge=1, le=500, description="a page of at most so many; without it a bare list, gone after the next release"),
]


def listed(found: Sequence[Item], key: Callable[[Item], str], limit: int, cursor: str) -> tuple[list[Item], str | None]:
    """At most `limit` of what is few enough to be fetched as a whole, in the order of its keys, and the next page's cursor."""
    ordered = sorted(found, key=key)
    if cursor:
        after = _last(cursor)
        ordered = [item for item in ordered if key(item) > after]
    more = len(ordered) > limit
    return ordered[:limit], signing.dumps(key(ordered[limit - 1]), salt="listed") if more else None


def _last(cursor: str) -> str:
    try:
        return str(signing.loads(cursor, salt="listed"))
    except signing.BadSignature:
        raise ApiError(422, "invalid_request", "cursor is not one that was given out here") from None


#: What any route may answer beside its own shapes.
ERRORS = dict.fromkeys((400, 401, 403, 404, 409, 413, 422, 429, 500, 503), ErrorBody)
BINARY = {"description": "OK", "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
