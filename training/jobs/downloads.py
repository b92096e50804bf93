"""A stored series as a file to take along, CSV or Parquet: sent part by part, and written beside its name and then renamed."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from training.models import BarSeries
from training.store.candles import csv_parts, series_path
from training.store.coverage import DataError

TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
#: Endings by which `write_series` knows what is wanted.
ENDINGS = (".csv", ".csv.gz", ".parquet")
BLOCK = 1 << 18


class NoExport(DataError):
    """A file that cannot be written as it was asked for: one sentence."""

    exit_code = 2


def series_response(request: HttpRequest, series: BarSeries, kind: str) -> StreamingHttpResponse:
    """The answer that sends a series, made part by part: what a slow client has not taken yet is the server's to hold.

    DataError if the series cannot be read.
    """
    path = series_path(Path(settings.STORE_DIR), series.symbol, series.timeframe)
    parts = _parts(series, kind)
    parts = itertools.chain([next(parts)], parts)  # what cannot be read is said before anything is sent
    # Django would collect a plain iterator as a whole before it sends the first byte to an asynchronous server.
    answer = StreamingHttpResponse(_apart(parts) if isinstance(request, ASGIRequest) else parts, content_type=TYPES[kind])
    answer["Content-Disposition"] = f'attachment; filename="{path.stem}.{kind}"'
    return answer


def write_series(symbol: str, timeframe: str, target: Path) -> int:
    """Write a series as `target`, whose ending says how; gives its size in bytes. A file that is there already stays."""
    ending = next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if target.name.lower().endswith(ending)), None)
    if ending is None:
        raise NoExport(f"{target.name} does not say how to write the bars, wanted a name that ends in {', '.join(ENDINGS)}")
    if target.exists():
        raise NoExport(f"{target} is there already and stays as it is; give another name, or remove it first")
    parts = _parts(BarSeries(symbol=symbol, timeframe=timeframe), "parquet" if ending == ".parquet" else "csv")
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with gzip.open(beside, "wb") if ending == ".csv.gz" else beside.open("xb") as file:
            for part in parts:
                file.write(part)
        beside.rename(target)
        return target.stat().st_size
    except OSError as error:
        raise DataError(f"{target} could not be written: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)


def _parts(series: BarSeries, kind: str) -> Iterator[bytes]:
    root = Path(settings.STORE_DIR)
    if kind == "csv":
        return csv_parts(root, series.symbol, series.timeframe)
    return _blocks(series_path(root, series.symbol, series.timeframe), str(series))


def _blocks(path: Path, name: str) -> Iterator[bytes]:
    """The stored file as it is; one that takes its place meanwhile changes nothing here."""
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise DataError(f"the bars of {name} cannot be read: {error.strerror or error}") from error


async def _apart(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each part is made beside the event loop."""
    while (part := await asyncio.to_thread(next, parts, None)) is not None:
        yield part
