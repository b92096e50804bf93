"""Where a series of bars lies, and its bars for the eye: pyarrow and numpy only, so that the web process may use it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from strategies_app.schema import SYMBOL
from strategies_app.vocabulary import TIMEFRAMES, nearest
from training.pipeline.coverage import DataError, load_command


def series_path(root: Path, symbol: str, timeframe: str) -> Path:
    """Where a series is stored. `~` marks a change of case, so that `ab` and `AB` are two files everywhere."""
    if timeframe not in TIMEFRAMES:
        near = nearest(timeframe, TIMEFRAMES)
        hint = f"; did you mean '{near}'?" if near else ""
        raise DataError(f"unknown timeframe '{timeframe}', wanted one of {', '.join(TIMEFRAMES)}{hint}")
    if not re.fullmatch(SYMBOL, symbol):
        raise DataError(f"'{symbol}' cannot be a symbol, wanted at most 32 letters, digits and . _ ^ = - such as EURUSD or BRK.B")
    return root / f"{_marked(symbol)}_{timeframe}.parquet"


def _marked(symbol: str) -> str:
    """`EURusd` → `EUR~usd`, `a1B` → `~a1~B`: each run of lower-case letters is fenced, upper case is the default."""
    marked, lower = "", False
    for letter in symbol:
        if letter.isalpha() and letter.islower() != lower:
            marked, lower = marked + "~", not lower
        marked += letter
    return marked


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
