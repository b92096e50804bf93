"""The Parquet store of bars, one file per symbol and timeframe: new bars → merge → file → frame.

What a frame is, is said in `frames`, whose names are also offered here. Times as numbers are µs since 1970 UTC.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from strategies_app.grammar.schema import is_symbol
from strategies_app.grammar.vocabulary import BAR_COLUMNS, TIMEFRAMES, nearest
from training.core.files import sync_folder
from training.pipeline.calendars import Habit, habit_of, unpacked
from training.pipeline.frames import bar_frame, bar_times, bar_values, empty_frame, fingerprint, time_text
from training.store.candles import locked, series_path
from training.store.coverage import DataError, load_command
from training.store.origins import UNKNOWN, Origin
from training.store.series_names import symbol_of

__all__ = [
    "DataError", "Merge", "bar_frame", "bar_table", "bar_times", "bar_values", "empty_frame", "file_sha256", "fingerprint",
    "load_command", "locked", "merge_bars", "read_bars", "series_calendar", "series_habit", "series_origin", "series_path",
    "series_range",
    "stored_series", "time_text", "write_bars",
]  # fmt: skip

#: Rows that are read or skipped together: small enough that a month of 1m bars does not read a year.
ROW_GROUP = 131_072
#: No column can be null, so that reading needs no validity pass and NaN stays NaN.
SCHEMA = pa.schema(
    [
        pa.field("timestamp", pa.timestamp("us", "UTC"), nullable=False),
        *(pa.field(column, pa.float64(), nullable=False) for column in BAR_COLUMNS),
    ]
)
#: Under this name a file keeps the habit of its series.
HABIT = b"habit"
#: Plain pages are read at the speed of memory; checksums tell a damaged file from one that is newer than its record.
FORMAT: dict[str, Any] = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": ["timestamp"],
    "write_page_checksum": True,
}


# --- the store ---------------------------------------------------------------------------------


def stored_series(root: Path) -> list[tuple[str, str]]:
    """Symbol and timeframe of every stored series, by symbol, highest frequency first."""
    order = list(TIMEFRAMES)
    found = []
    for path in root.glob("*.parquet"):
        name, _, timeframe = path.stem.rpartition("_")
        symbol = symbol_of(name)
        if timeframe in TIMEFRAMES and is_symbol(symbol) and path == series_path(root, symbol, timeframe):
            found.append((symbol, timeframe))
    return sorted(found, key=lambda series: (series[0], order.index(series[1])))


def series_range(root: Path, symbol: str, timeframe: str) -> tuple[int, int, int]:
    """First µs, last µs and number of rows of a stored series, from the file's footer alone."""
    with _opened(root, symbol, timeframe) as file:
        bounds = _group_bounds(file)
        return bounds[0][0], bounds[-1][1], file.metadata.num_rows


def series_origin(root: Path, symbol: str, timeframe: str) -> Origin:
    """How the series was loaded: kept in the file, which is the truth."""
    with _opened(root, symbol, timeframe) as file:
        return Origin.of(file.schema_arrow.metadata or {})


def series_calendar(root: Path, symbol: str, timeframe: str) -> str:
    """The exchange calendar that the series was loaded with, "" if none."""
    return series_origin(root, symbol, timeframe).calendar


def series_habit(root: Path, symbol: str, timeframe: str) -> Habit:
    """At which times of the week the whole series has a bar: kept in its file, learned from it where a file has none yet."""
    with _opened(root, symbol, timeframe) as file:
        metadata: dict[bytes, bytes] = file.schema_arrow.metadata or {}
        habit = unpacked(metadata.get(HABIT, b""), timeframe)
    return habit or habit_of(bar_times(read_bars(root, symbol, timeframe)), timeframe)


def read_bars(
    root: Path, symbol: str, timeframe: str, start: int | None = None, end: int | None = None, *, verify: bool = False
) -> pd.DataFrame:
    """The stored bars with start ≤ open < end (µs; None: no bound), possibly none; DataError if the series is not stored.

    `verify` compares every page with its checksum, which doubles the time.
    """
    with _opened(root, symbol, timeframe, verify) as file:
        wanted = [
            group
            for group, (first, last) in enumerate(_group_bounds(file))
            if (start is None or last >= start) and (end is None or first < end)
        ]
        try:
            table = file.read_row_groups(wanted)
        except (pa.ArrowException, OSError) as error:
            raise _unread(root, symbol, timeframe, error) from error
    times = _joined(table.column(0).cast(pa.int64()), np.empty(table.num_rows, np.int64))
    low = 0 if start is None else int(np.searchsorted(times, start))
    high = len(times) if end is None else int(np.searchsorted(times, end))
    table = table.slice(low, max(high - low, 0))
    values = np.empty((len(BAR_COLUMNS), table.num_rows))
    for row, column in zip(values, table.columns[1:], strict=True):
        _joined(column, row)
    return bar_frame(times[low : max(high, low)], values)


def _joined(column: pa.ChunkedArray, out: NDArray[Any]) -> NDArray[Any]:
    """The chunks of a column copied once, into `out`."""
    position = 0
    for chunk in column.chunks:
        out[position : position + len(chunk)] = chunk.to_numpy(zero_copy_only=True)
        position += len(chunk)
    return out


@contextmanager
def _opened(root: Path, symbol: str, timeframe: str, verify: bool = False) -> Iterator[pq.ParquetFile]:
    path = series_path(root, symbol, timeframe)
    try:
        path.stat()
        file = pq.ParquetFile(path, page_checksum_verification=verify)
    except FileNotFoundError:
        raise DataError(_not_stored(root, symbol, timeframe)) from None
    except (pa.ArrowException, OSError) as error:
        raise _unread(root, symbol, timeframe, error) from error
    with file:
        if not file.schema_arrow.equals(SCHEMA) or file.metadata.num_rows == 0:
            raise _damaged(root, symbol, timeframe)
        yield file


def _group_bounds(file: pq.ParquetFile) -> list[tuple[int, int]]:
    """First and last µs of each row group."""
    metadata = file.metadata
    columns = (metadata.row_group(group).column(0).statistics for group in range(metadata.num_row_groups))
    return [(statistics.min_raw, statistics.max_raw) for statistics in columns]


class Unreachable(DataError):
    """The system could not read a bar file just now: of the bars themselves nothing is known."""

    category = "resources"


def _unread(root: Path, symbol: str, timeframe: str, error: Exception) -> DataError:
    """What to say of a file that was not read: what Arrow finds wrong with its content has no number of the system's."""
    if isinstance(error, OSError) and error.errno:
        return Unreachable(f"{series_path(root, symbol, timeframe)} could not be read: {os.strerror(error.errno)}")
    return _damaged(root, symbol, timeframe)


def _damaged(root: Path, symbol: str, timeframe: str) -> DataError:
    path = series_path(root, symbol, timeframe)
    return DataError(f"{path} is not a readable bar file; delete it and load it again: {load_command(symbol, timeframe)}")


def _not_stored(root: Path, symbol: str, timeframe: str) -> str:
    stored = stored_series(root)
    own = [t for s, t in stored if s == symbol]
    near = nearest(symbol, {s for s, _ in stored})
    if own:
        known = f"{symbol} is stored as {', '.join(own)}"
    elif stored:
        listed = ", ".join(f"{s} {t}" for s, t in stored[:8]) + (f" and {len(stored) - 8} more" if len(stored) > 8 else "")
        known = f"stored are {listed}" + (f"; did you mean {near}?" if near else "")
    else:
        known = "the store is empty"
    return f"no {timeframe} bars of {symbol} are stored ({known}); load them with: {load_command(symbol, timeframe)}"


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bar_table(frame: pd.DataFrame) -> pa.Table:
    """A frame as it is stored; DataError if it has no bar or its times do not increase."""
    times = bar_times(frame)
    if not len(times) or (np.diff(times) <= 0).any():
        raise DataError("bars cannot be stored: wanted at least one, at strictly increasing times")
    return pa.table([pa.array(times).cast(SCHEMA.types[0]), *(pa.array(row) for row in bar_values(frame))], schema=SCHEMA)


def write_bars(root: Path, symbol: str, timeframe: str, frame: pd.DataFrame, origin: Origin = UNKNOWN) -> str:
    """Put the frame in the place of the stored series, wholly or not at all; gives the sha256 of the file.

    Where others may write too, call it inside `locked`.
    """
    path = series_path(root, symbol, timeframe)
    metadata = {HABIT: habit_of(bar_times(frame), timeframe).packed(), **origin.metadata()}
    table = bar_table(frame).replace_schema_metadata(metadata)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            pq.write_table(table, file, ROW_GROUP, **FORMAT)
            file.flush()
            os.fsync(file.fileno())
        digest = file_sha256(temporary)
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"{symbol} {timeframe} could not be written to {root} and is as it was: {error.strerror or error}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(root)
    return digest


# --- merging -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Merge:
    """Stored and new bars as one frame, with the number of new bars that were added, the same, or replaced a stored one."""

    frame: pd.DataFrame
    added: int
    same: int
    replaced: int


def merge_bars(stored: pd.DataFrame, new: pd.DataFrame, replace: bool = False) -> Merge:
    """The union of both by time; a bar that both have with other values is an error, or the new one's if `replace`."""
    times, values = bar_times(stored), bar_values(stored)
    new_times, new_values = bar_times(new), bar_values(new)
    place = np.searchsorted(times, new_times)
    known = np.zeros(len(new_times), bool)
    inside = place < len(times)
    known[inside] = times[place[inside]] == new_times[inside]
    before, after = values[:, place[known]], new_values[:, known]
    differs = ~((before == after) | (np.isnan(before) & np.isnan(after))).all(axis=0)
    if differs.any() and not replace:
        where = [time_text(time) for time in new_times[known][differs][:3]]
        more = ", …" if differs.sum() > len(where) else ""
        raise DataError(
            f"{differs.sum():,} of the new bars have other values than the stored ones of the same time"
            f" ({', '.join(where)}{more}); give --replace to take the new ones"
        )
    kept = np.array(values)
    kept[:, place[known]] = after
    all_times = np.concatenate([times, new_times[~known]])
    all_values = np.concatenate([kept, new_values[:, ~known]], axis=1)
    order = np.argsort(all_times, kind="stable")
    frame = bar_frame(all_times[order], np.ascontiguousarray(all_values[:, order]))
    return Merge(frame, int((~known).sum()), int(known.sum() - differs.sum()), int(differs.sum()))
