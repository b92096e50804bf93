"""Where a series lies, its lock, its bars as CSV, and a bounded number of candles of it for the eye. Pyarrow and numpy only.

A first look reads nothing but times and finds the shortest candle that keeps the number within bounds;
a second one takes row group after row group together, so that memory does not grow with the series.
"""

from __future__ import annotations

import fcntl
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

from strategies_app.grammar.schema import SYMBOL_WORDS, is_symbol
from strategies_app.grammar.vocabulary import BAR_COLUMNS, TIMEFRAMES, nearest
from training.store.coverage import DAY, SECOND, WEEK_ANCHOR, DataError, load_command
from training.store.series_names import file_name

#: Candles that a chart shows at most.
MOST = 1_500
#: Lengths that a candle may have, in µs, with their names; weeks begin on Mondays.
LENGTHS: tuple[tuple[int, str], ...] = (
    *((seconds * SECOND, name) for name, seconds in TIMEFRAMES.items() if seconds * SECOND < DAY),
    (2 * 3600 * SECOND, "2h"), (8 * 3600 * SECOND, "8h"), (DAY, "1d"), (7 * DAY, "1w"), (28 * DAY, "4w"), (91 * DAY, "13w"),
    (364 * DAY, "52w"), (3640 * DAY, "520w"),
)  # fmt: skip


@dataclass(frozen=True)
class Candles:
    """times int64 (n,): start of each candle, µs UTC; values float64 (5, n): open, high, low, close, volume.

    length: what one candle stands for, such as 1h; bars: how many stored bars are in them all.
    """

    times: NDArray[np.int64]
    values: NDArray[np.float64]
    length: str
    bars: int

    @property
    def is_taken_together(self) -> bool:
        return self.bars > len(self.times)


def read_stored_candles(root: Path, symbol: str, timeframe: str, start: int | None, end: int | None, most: int = MOST) -> Candles:
    """The stored bars with start ≤ open < end (µs; None: no bound) as at most `most` candles; DataError if unreadable."""
    path = series_path(root, symbol, timeframe)
    try:
        with pq.ParquetFile(path) as file:
            groups = _groups_between(file, start, end)
            times = _times(file, groups, start, end)
            if len(times) <= most:
                parts = list(_parts(file, groups, start, end))
                values = np.concatenate([np.empty((len(BAR_COLUMNS), 0)), *(values for _, values in parts)], axis=1)
                return Candles(times, values, timeframe, len(times))
            length, name = _length(times, timeframe, most)
            return _together(list(_shorter(_parts(file, groups, start, end), length)), length, name, len(times))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"the bars of {symbol} {timeframe} cannot be read; load them again: {load_command(symbol, timeframe)}"
        ) from error


def _groups_between(file: pq.ParquetFile, start: int | None, end: int | None) -> list[int]:
    groups = []
    for group in range(file.metadata.num_row_groups):
        statistics = file.metadata.row_group(group).column(0).statistics
        if (start is None or statistics.max_raw >= start) and (end is None or statistics.min_raw < end):
            groups.append(group)
    return groups


def _column(column: pa.ChunkedArray) -> NDArray[np.float64]:
    # By DLPack: an Arrow array's own to_numpy would import pandas.
    parts = [np.asarray(np.from_dlpack(chunk)) for chunk in column.chunks]
    return np.concatenate(parts) if len(parts) != 1 else parts[0]


def _times(file: pq.ParquetFile, groups: list[int], start: int | None, end: int | None) -> NDArray[np.int64]:
    if not groups:
        return np.empty(0, np.int64)
    column = file.read_row_groups(groups, columns=["timestamp"]).column(0).cast(pa.int64())
    times = _column(column).astype(np.int64, copy=False)
    return times[_between(times, start, end)]


def _between(times: NDArray[np.int64], start: int | None, end: int | None) -> slice:
    low = 0 if start is None else int(np.searchsorted(times, start))
    return slice(low, len(times) if end is None else max(low, int(np.searchsorted(times, end))))


def _parts(
    file: pq.ParquetFile, groups: list[int], start: int | None, end: int | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Times and values of each row group, cut to the bounds."""
    for group in groups:
        table = file.read_row_group(group)
        times = _column(table.column(0).cast(pa.int64())).astype(np.int64, copy=False)
        inside = _between(times, start, end)
        yield times[inside], np.stack([_column(column)[inside] for column in table.columns[1:]])


def _length(times: NDArray[np.int64], timeframe: str, most: int) -> tuple[int, str]:
    """The shortest length of candle of which the times fill at most `most`."""
    own = TIMEFRAMES[timeframe] * SECOND
    for length, name in sorted(LENGTHS):
        if length > own and 1 + np.count_nonzero(np.diff(_starts(times, length))) <= most:
            return length, name
    return max(LENGTHS)


def _starts(times: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    anchor = WEEK_ANCHOR if length % (7 * DAY) == 0 else 0
    starts: NDArray[np.int64] = (times - anchor) // length * length + anchor
    return starts


def _shorter(
    parts: Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]], length: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    for times, values in parts:
        known = ~np.isnan(values[:4]).any(axis=0)
        if known.any():
            yield _reduced(_starts(times[known], length), values[:, known])


def _reduced(starts: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of the same start as one: first open, highest high, lowest low, last close, summed volume (NaN if none is known)."""
    first = np.flatnonzero(np.concatenate([[True], starts[1:] != starts[:-1]]))
    last = np.append(first[1:], len(starts)) - 1
    known = ~np.isnan(values[4])
    volume = np.add.reduceat(np.where(known, values[4], 0.0), first)
    volume[~np.logical_or.reduceat(known, first)] = np.nan
    columns = [
        values[0][first],
        np.maximum.reduceat(values[1], first),
        np.minimum.reduceat(values[2], first),
        values[3][last],
        volume,
    ]
    return starts[first], np.stack(columns)


def _together(parts: list[tuple[NDArray[np.int64], NDArray[np.float64]]], length: int, name: str, bars: int) -> Candles:
    """A candle may begin in one row group and end in the next: what was taken together is taken together once more."""
    if not parts:
        return Candles(np.empty(0, np.int64), np.empty((len(BAR_COLUMNS), 0)), name, bars)
    starts = np.concatenate([starts for starts, _ in parts])
    return Candles(*_reduced(starts, np.concatenate([values for _, values in parts], axis=1)), name, bars)


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
