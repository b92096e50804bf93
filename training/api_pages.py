"""Long lists in pages: newest first, each page begins where the one before it ended, whatever was added meanwhile."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core import signing
from django.db.models import Q, QuerySet

from training.api_errors import ApiError


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
