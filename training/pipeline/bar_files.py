"""Bars from files that others wrote: CSV or Parquet → frame and notes on what was done; nothing is guessed about prices.

Whatever cannot be read without a guess is a DataError that names the rows.
"""

from __future__ import annotations

import codecs
import gzip
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from strategies_app.vocabulary import BAR_COLUMNS, PRICE_COLUMNS
from training.pipeline.adjusting import adjusted
from training.pipeline.coverage import DataError
from training.pipeline.file_times import opens_of
from training.pipeline.frames import Rows, bar_frame, time_text
from training.pipeline.quality import bar_faults, off_grid_warning

#: What a column may be called, letters and digits only, the likeliest first.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "timestamp": (
        "timestamp",
        "datetime",
        "opentime",
        "date",
        "time",
        "gmttime",
        "localtime",
        "utctime",
        "unix",
        "epoch",
        "index",
        "",
    ),
    "open": ("open", "o", "openprice"),
    "high": ("high", "h", "highprice"),
    "low": ("low", "l", "lowprice"),
    "close": ("close", "c", "closeprice"),
    "volume": ("volume", "tickvolume", "tickvol", "vol", "v"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted"),
    "split": ("split", "splits", "stocksplits", "stocksplit", "splitratio", "splitfactor", "splitcoefficient"),
}
DELIMITERS = ",;\t|"
_HEAD = 65_536


@dataclass(frozen=True)
class Table:
    """A file's cells as they stand there: columns role → series; `rows` says where in the file each row is."""

    columns: Mapping[str, pd.Series]
    rows: Rows


def read_bar_file(
    path: Path, timeframe: str, *, tz: str | None = None, price_scale: float = 1.0, adjust: bool = False
) -> tuple[pd.DataFrame, list[str]]:
    """The bars of a CSV or Parquet file, and notes on what was done to them.

    tz: the zone of naive times, such as Europe/Berlin. price_scale: what prices are divided by (100000 for points of
    EURUSD). adjust: multiply prices by adjusted close / close, divide volume by the factor of the splits in it.
    """
    return bars_of(path.name, read_cells(path), timeframe, tz=tz, price_scale=price_scale, adjust=adjust)


def bars_of(
    name: str, table: Table, timeframe: str, *, tz: str | None = None, price_scale: float = 1.0, adjust: bool = False
) -> tuple[pd.DataFrame, list[str]]:
    """The bars of cells that were read, and notes; a DataError begins with the file's name."""
    if not (np.isfinite(price_scale) and price_scale >= 1):
        raise DataError(
            f"prices are divided by the price scale, wanted a number of at least 1 such as 100000, got {price_scale:g}"
        )
    try:
        return _bars(table, timeframe, tz, price_scale, adjust)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _bars(table: Table, timeframe: str, tz: str | None, price_scale: float, adjust: bool) -> tuple[pd.DataFrame, list[str]]:
    rows = table.rows
    numbers = {role: _numbers(column, rows) for role, column in table.columns.items() if role != "timestamp"}
    times, notes = opens_of(table.columns["timestamp"], timeframe, tz, rows)
    if "volume" not in numbers:
        notes.append("there is no volume column: volume is missing in every bar")
        numbers["volume"] = np.full(len(times), np.nan)
    cells = np.stack(list(numbers.values()))
    order, order_notes = _in_order(times, cells, rows)
    times, cells, rows = times[order], cells[:, order], rows.at(order)
    numbers = dict(zip(numbers, cells, strict=True))
    notes += order_notes
    values = np.stack([numbers[column] for column in BAR_COLUMNS])
    for fault, where in bar_faults(values):
        raise DataError(f"{rows.named(where)}: {fault}")
    if adjust:
        if "adj_close" not in numbers:
            raise DataError("there is no adjusted close to adjust by, wanted a column such as 'Adj Close'")
        values, adjust_notes = adjusted(times, values, numbers["adj_close"], numbers.get("split"), rows)
        notes += adjust_notes
    elif "adj_close" in numbers:
        notes.append("the adjusted close was not used; --adjust applies it")
    values[: len(PRICE_COLUMNS)] /= price_scale
    missing = int(np.count_nonzero(np.isnan(values[: len(PRICE_COLUMNS)]).any(axis=0)))
    if missing:
        notes.append(f"{missing:,} of {len(times):,} bars lack a price")
    off_grid = off_grid_warning(times, timeframe)
    return bar_frame(times, values), notes + ([off_grid] if off_grid else [])


def _in_order(times: NDArray[np.int64], cells: NDArray[np.float64], rows: Rows) -> tuple[NDArray[np.int64], list[str]]:
    """Positions of the rows by time, exact repetitions left out; two rows of one time with other values are an error."""
    notes = []
    order = np.argsort(times, kind="stable")
    if (np.diff(times) < 0).any():
        notes.append("the rows were not in order of time and were sorted")
    repeated = np.flatnonzero(np.diff(times[order]) == 0)
    if len(repeated):
        one, other = order[repeated], order[repeated + 1]
        same = ((cells[:, one] == cells[:, other]) | (np.isnan(cells[:, one]) & np.isnan(cells[:, other]))).all(axis=0)
        if not same.all():
            clash = np.flatnonzero(~same)
            pair = np.array([one[clash[0]], other[clash[0]]])
            more = f" ({len(clash) - 1:,} more such pairs)" if len(clash) > 1 else ""
            raise DataError(f"{rows.named(pair)}: the same time {time_text(times[pair[0]])} with different values{more}")
        notes.append(f"{len(repeated):,} exact repetition{'s' if len(repeated) > 1 else ''} of a row left out")
        order = np.delete(order, repeated + 1)
    return order, notes


def _numbers(column: pd.Series, rows: Rows) -> NDArray[np.float64]:
    """A column as float64 (n,); an empty cell is NaN, text is an error."""
    numbers: NDArray[np.float64] = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.flatnonzero(np.isnan(numbers) & column.notna().to_numpy())
    if len(wrong) or column.dtype == bool:
        where = wrong[:1] if len(wrong) else np.array([0])
        raise DataError(f"{rows.named(where)}: '{column.iloc[int(where[0])]}' in column {column.name} is not a number")
    return numbers


# --- cells -------------------------------------------------------------------------------------


def read_cells(path: Path) -> Table:
    """The cells of a CSV or Parquet file, each column in its part."""
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            head = file.read(_HEAD)
        if head.startswith(b"PAR1"):
            return _read_parquet(path)
        return _read_csv(path, head, packed)
    except (OSError, EOFError, pa.ArrowException) as error:
        raise DataError(f"{path.name} cannot be read: {error}") from error


def _read_parquet(path: Path) -> Table:
    cells = pq.read_table(path).to_pandas()
    if isinstance(cells.index, pd.DatetimeIndex):
        cells = cells.rename_axis(index="timestamp").reset_index()
    rows = Rows("row", np.arange(1, len(cells) + 1))
    if cells.empty:
        raise DataError(f"{path.name} has no rows")
    return Table({role: cells[name] for role, name in _roles(path, [str(name) for name in cells.columns]).items()}, rows)


def _read_csv(path: Path, head: bytes, packed: bool) -> Table:
    text = _text(path, head)
    lines = text.split("\n")
    blank = next((number for number, line in enumerate(lines) if line.strip()), None)
    if blank is None:
        raise DataError(f"{path.name} is empty")
    delimiter = max(DELIMITERS, key=lines[blank].count)
    first_bar = next((line for line in lines[blank + 1 :] if line.strip()), "")
    options = {
        "sep": delimiter,
        "decimal": "," if delimiter != "," and re.search(r"\d,\d", first_bar) else ".",
        "skiprows": blank,
        "encoding": "utf-8-sig",
        "compression": "gzip" if packed else None,
        "index_col": False,
    }
    names = [str(name) for name in _cells(path, nrows=0, **options).columns]
    roles = _roles(path, names)
    clock = _clock_column(names) if _bare(roles["timestamp"]) == "date" else None
    texts = dict.fromkeys([roles["timestamp"], *([clock] if clock else [])], str)
    cells = _cells(path, dtype=texts, skip_blank_lines=False, low_memory=False, **options)
    numbers = np.arange(blank + 2, blank + 2 + len(cells))
    filled = cells.notna().any(axis=1).to_numpy()
    cells, numbers = cells[filled], numbers[filled]
    if cells.empty:
        raise DataError(f"{path.name} has column names and no rows")
    columns = {role: cells[name] for role, name in roles.items()}
    if clock:
        columns["timestamp"] = (
            columns["timestamp"].str.strip() + " " + cells[clock].str.strip().map(_clock_text, na_action="ignore")
        )
    return Table(columns, Rows("line", numbers))


def _cells(path: Path, **options: Any) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, **options)
    except pd.errors.ParserWarning as error:
        raise DataError(f"{path.name}: the rows have more cells than the first line has names") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path.name} is not a table: {str(error).removeprefix('Error tokenizing data. C error: ').strip()}"
        ) from error


def _text(path: Path, head: bytes) -> str:
    """The beginning of a text file; its last letter may be cut."""
    wanted = f"{path.name} is neither a Parquet file nor text in UTF-8, wanted bars as CSV or Parquet"
    if b"\0" in head:
        raise DataError(wanted)
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head, final=len(head) < _HEAD)
    except UnicodeDecodeError as error:
        raise DataError(wanted) from error


def _clock_text(text: str) -> str:
    """`930` or `093000` as a clock: whole numbers lose their leading zeros in many files."""
    return text.zfill(4 if len(text) <= 4 else 6) if text.isdigit() else text


def _bare(name: str) -> str:
    bare = re.sub(r"[^a-z0-9]", "", name.lower())
    return "" if re.fullmatch(r"unnamed0|indexlevel0", bare) else bare


def _clock_column(names: list[str]) -> str | None:
    return next((name for name in names if _bare(name) == "time"), None)


def _roles(path: Path, names: list[str]) -> dict[str, str]:
    """Which column plays which part; optional parts may be left out."""
    by_bare = {_bare(name): name for name in reversed(names)}
    roles = {}
    for role, spellings in SPELLINGS.items():
        found = next((by_bare[spelling] for spelling in spellings if spelling in by_bare), None)
        if found is not None:
            roles[role] = found
    lacking = [role if role != "timestamp" else "the time" for role in ("timestamp", *PRICE_COLUMNS) if role not in roles]
    if lacking:
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        raise DataError(
            f"{path.name} has no column for {', '.join(lacking)}; it has {shown};"
            " wanted timestamp, open, high, low, close and, if known, volume"
        )
    return roles
