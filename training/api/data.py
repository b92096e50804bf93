"""Stored bars: which series there are, their bars, as a file, and removed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse
from ninja import Query, Router, Schema
from ninja.responses import Status as Answer

from training.access.audit import audit
from training.api.auth import Access
from training.api.errors import not_found
from training.api.shapes import (
    ERRORS,
    Limit,
    listed,
)
from training.jobs.deletions import delete_series
from training.jobs.downloads import series_response
from training.models import BarSeries


class Series(Schema):
    symbol: str
    timeframe: str
    first: dt.datetime
    last: dt.datetime
    rows: int
    sha256: str
    source: str
    updated: dt.datetime
    quality: dict[str, Any]


class SeriesPage(Schema):
    series: list[Series]
    next_cursor: str | None


class Bar(Schema):
    timestamp: str
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None


class Bars(Schema):
    coverage: Series
    bars: list[Bar]


router = Router()
TABLE = {
    "description": "OK",
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("text/csv", "application/vnd.apache.parquet")
    },
}
VIEW_BARS = Access("training.view_barseries")


@router.get("/data", auth=VIEW_BARS, tags=["data"], response={200: SeriesPage | list[Series], **ERRORS})
def list_series(request: HttpRequest, limit: Limit = None, cursor: str = "") -> dict[str, Any] | list[BarSeries]:
    """The stored series of bars with coverage and quality, as a page if `limit` is given."""
    rows = list(BarSeries.objects.all())
    if limit is None:
        return rows
    found, next_cursor = listed(rows, str, limit, cursor)
    return {"series": found, "next_cursor": next_cursor}


@router.get(
    "/data/{path:symbol}/{timeframe}/download",
    auth=VIEW_BARS, tags=["data"], response=ERRORS, openapi_extra={"responses": {200: TABLE}},
)  # fmt: skip
def download_series(
    request: HttpRequest, symbol: str, timeframe: str, kind: Literal["csv", "parquet"] = Query("csv", alias="format")
) -> StreamingHttpResponse:
    """All bars of a series as a CSV or Parquet file, which load_data reads back to the same bars."""
    row = _series(symbol, timeframe)
    answer = series_response(request, row, kind)
    audit(request.auth.actor, "export", str(row), kind=kind, sha256=row.sha256)  # type: ignore[attr-defined]
    return answer


@router.get("/data/{path:symbol}/{timeframe}", auth=VIEW_BARS, tags=["data"], response={200: Bars, **ERRORS})
def show_series(
    request: HttpRequest, symbol: str, timeframe: str, start: dt.date | None = None, end: dt.date | None = None,
    limit: int = Query(500, ge=1, le=5000),
) -> dict[str, Any]:  # fmt: skip
    """A series: its coverage, and its last bars between two UTC days, at most `limit` of them."""
    return {"coverage": _series(symbol, timeframe), "bars": _bars(symbol, timeframe, start, end, limit)}


@router.delete("/data/{path:symbol}/{timeframe}", auth=Access("training.delete_barseries"), tags=["data"], response={
    204: None, **ERRORS})  # fmt: skip
def remove_series(request: HttpRequest, symbol: str, timeframe: str) -> Answer[None]:
    """Delete a series, its file and its record; 409 while an operation or a fetch needs it. Trained models stay."""
    _series(symbol, timeframe)
    delete_series(symbol, timeframe, request.auth.actor)  # type: ignore[attr-defined]
    return Answer(204, None)


def _series(symbol: str, timeframe: str) -> BarSeries:
    row = BarSeries.objects.filter(symbol=symbol, timeframe=timeframe).first()
    if row is None:
        raise not_found(f"series {symbol} {timeframe}")
    return row


def _bars(symbol: str, timeframe: str, start: dt.date | None, end: dt.date | None, limit: int) -> list[dict[str, Any]]:
    import numpy as np

    from training.store.candles import read_candles
    from training.store.coverage import DAY, day_start

    first, last = (day_start(start) if start else None, day_start(end) + DAY if end else None)
    times, values = read_candles(Path(settings.STORE_DIR), symbol, timeframe, first, last, limit)
    columns = [[None if value != value else value for value in column.tolist()] for column in values]  # JSON has no NaN
    texts = [f"{text}Z" for text in np.datetime_as_string(times.view("M8[us]"), unit="s").tolist()]
    names = ("timestamp", "open", "high", "low", "close", "volume")
    return [dict(zip(names, bar, strict=True)) for bar in zip(texts, *columns, strict=True)]
