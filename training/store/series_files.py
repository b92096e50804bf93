"""Where a series of bars lies, its lock, its bars for the eye and as CSV: pyarrow and numpy only, for the web process too."""

from __future__ import annotations

import fcntl
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

from strategies_app.grammar.schema import SYMBOL_WORDS, is_symbol
from strategies_app.grammar.vocabulary import BAR_COLUMNS, TIMEFRAMES, nearest
from training.store.coverage import DataError, load_command
from training.store.series_names import file_name

#: Lines of CSV that are made together.
CSV_ROWS = 16_384


class InUse(DataError):
    """Somebody else writes the series just now."""


def series_path(root: Path, symbol: str, timeframe: str) -> Path:
    """Where a series is stored: the symbol's file name, `_`, the timeframe."""
    if timeframe not in TIMEFRAMES:
        near = nearest(timeframe, TIMEFRAMES)
        hint = f"; did you mean '{near}'?" if near else ""
        raise DataError(f"unknown timeframe '{timeframe}', wanted one of {', '.join(TIMEFRAMES)}{hint}")
    if not is_symbol(symbol):
        raise DataError(f"'{symbol[:40]}' cannot be a symbol, wanted {SYMBOL_WORDS}")
    return root / f"{file_name(symbol)}_{timeframe}.parquet"


def rename_earlier(root: Path) -> list[str]:
    """Give files that an earlier version named after the bare symbol (`btc_1h.parquet`) the name they have now; which.

    One whose present name is taken stays: which of the two is right is not for a program to say.
    """
    renamed = []
    for path in sorted(root.glob("*.parquet")):
        symbol, _, timeframe = path.stem.rpartition("_")
        if timeframe in TIMEFRAMES and is_symbol(symbol):
            now = series_path(root, symbol, timeframe)
            if now != path and not now.exists():
                path.rename(now)
                renamed.append(f"{path.name} is {now.name} now")
    return renamed


@contextmanager
def locked(root: Path, symbol: str, timeframe: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the series for one writer: wrap read, merge and write in it. Other writers wait, readers do not.

    Without `wait` InUse is raised where another one holds it.
    """
    path = series_path(root, symbol, timeframe)
    try:
        lock = (root / f".{path.stem}.lock").open("ab")
    except OSError as error:
        raise DataError(f"the store {root} cannot be written to: {error.strerror or error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"bars of {symbol} {timeframe} are being stored just now; try again when that is done") from None
        for rest in root.glob(f".{path.name}.*.tmp"):  # left by a writer that was killed
            rest.unlink(missing_ok=True)
        yield


def csv_parts(root: Path, symbol: str, timeframe: str) -> Iterator[bytes]:
    """The series as CSV, some ten thousand lines at a time: each number is the shortest text that reads back to the same
    float64, a missing value is empty, times are ISO 8601 in UTC."""
    path = series_path(root, symbol, timeframe)
    try:
        with pq.ParquetFile(path) as file:
            yield ",".join(("timestamp", *BAR_COLUMNS)).encode() + b"\n"
            for batch in file.iter_batches(CSV_ROWS):
                yield _csv(batch)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"the bars of {symbol} {timeframe} cannot be read; load them again: {load_command(symbol, timeframe)}"
        ) from error


def _csv(batch: pa.RecordBatch) -> bytes:
    """Arrays are made of their buffers: to make them of anything else would import pandas."""
    count = batch.num_rows
    times, *columns = (np.asarray(np.from_dlpack(column)) for column in (batch.column(0).cast(pa.int64()), *batch.columns[1:]))
    width = 26 if (times % 1_000_000).any() else 19
    texts = np.strings.add(np.datetime_as_string(times.view("M8[us]"), unit="us").astype(f"S{width}"), b"Z")
    places = np.arange(count + 1, dtype=np.int32) * texts.itemsize
    arrays = [pa.StringArray.from_buffers(count, pa.py_buffer(places), pa.py_buffer(texts))]
    for column in columns:
        filled = np.packbits(~np.isnan(column), bitorder="little")
        arrays.append(pa.Array.from_buffers(pa.float64(), count, [pa.py_buffer(filled), pa.py_buffer(column)]))
    out = io.BytesIO()
    table = pa.table(arrays, names=["timestamp", *BAR_COLUMNS])
    csv.write_csv(table, out, csv.WriteOptions(include_header=False, quoting_style="none"))
    return out.getvalue()


def read_candles(
    root: Path, symbol: str, timeframe: str, start: int | None, end: int | None, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The last `limit` stored bars with start ≤ open < end (µs; None: no bound).

    Times int64 (n,) µs UTC; values float64 (5, n): open, high, low, close, volume. Row groups are
    read from the end and only as far as needed.
    """
    path = series_path(root, symbol, timeframe)
    times, values = np.empty(0, np.int64), np.empty((5, 0))
    try:
        with pq.ParquetFile(path) as file:
            for group in reversed(range(file.metadata.num_row_groups)):
                statistics = file.metadata.row_group(group).column(0).statistics
                if len(times) >= limit or (start is not None and statistics.max_raw < start):
                    break
                if end is not None and statistics.min_raw >= end:
                    continue
                more_times, more_values = _group(file, group)
                low, high = (0 if start is None else int(np.searchsorted(more_times, start)), _end(more_times, end))
                times = np.concatenate([more_times[low:high], times])
                values = np.concatenate([more_values[:, low:high], values], axis=1)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(symbol, timeframe) from error
    return times[-limit:], values[:, -limit:]


def stored_times(root: Path, symbol: str, timeframe: str, start: int, end: int) -> NDArray[np.int64]:
    """The opens (µs) of the stored bars with start ≤ open < end; nothing but times is read."""
    try:
        with pq.ParquetFile(series_path(root, symbol, timeframe)) as file:
            parts = [np.empty(0, np.int64)]
            for group in range(file.metadata.num_row_groups):
                statistics = file.metadata.row_group(group).column(0).statistics
                if statistics.max_raw >= start and statistics.min_raw < end:
                    column = file.read_row_group(group, columns=["timestamp"]).combine_chunks().column(0).cast(pa.int64())
                    parts.append(np.asarray(np.from_dlpack(column.chunk(0)), np.int64))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(symbol, timeframe) from error
    times = np.concatenate(parts)
    return times[np.searchsorted(times, start) : np.searchsorted(times, end)]


def _unreadable(symbol: str, timeframe: str) -> DataError:
    return DataError(f"the bars of {symbol} {timeframe} cannot be read; load them again: {load_command(symbol, timeframe)}")


def _group(file: pq.ParquetFile, group: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    # By DLPack: an Arrow array's own to_numpy would import pandas.
    table = file.read_row_group(group).combine_chunks()
    times: NDArray[np.int64] = np.asarray(np.from_dlpack(table.column(0).cast(pa.int64()).chunk(0)), np.int64)
    return times, np.stack([np.asarray(np.from_dlpack(column.chunk(0)), np.float64) for column in table.columns[1:]])


def _end(times: NDArray[np.int64], end: int | None) -> int:
    return len(times) if end is None else int(np.searchsorted(times, end))
