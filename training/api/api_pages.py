"""Long lists in pages: newest first, each page begins where the one before it ended, whatever was added meanwhile."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from django.core import signing
from django.db.models import Q, QuerySet
from ninja import Query

from training.api.errors import ApiError

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
