"""Bars from files that others wrote: CSV or Parquet → frame and notes on what was done; nothing is guessed about prices.

Whatever cannot be read without a guess is a DataError that names the rows.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from training.pipeline.file_reading import AS_FOUND, Asked, FirstRows, Reading
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


def read_bar_file(path: Path, timeframe: str, reading: Reading = AS_FOUND, *, symbol: str = "") -> tuple[pd.DataFrame, list[str]]:
    """The bars of a CSV or Parquet file, and notes on how it was read and on what was done to them.

    symbol: whose bars are wanted; a file that says that its bars are another's is refused.
    """
    return bars_of(path.name, read_cells(path, reading), timeframe, reading, symbol=symbol)


def bars_of(
    name: str, table: Table, timeframe: str, reading: Reading = AS_FOUND, *, symbol: str = ""
) -> tuple[pd.DataFrame, list[str]]:
    """The bars of cells that were read, and notes; a DataError begins with the file's name."""
    if not (np.isfinite(reading.price_scale) and reading.price_scale >= 1):
        raise DataError(
            f"prices are divided by the price scale, wanted a number of at least 1 such as 100000, got {reading.price_scale:g}"
        )
    try:
        return _bars(table, timeframe, reading)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _bars(table: Table, timeframe: str, reading: Reading) -> tuple[pd.DataFrame, list[str]]:
    rows = table.rows
    numbers = {role: _numbers(column, rows) for role, column in table.columns.items() if role != "timestamp"}
    times, notes = opens_of(table.columns["timestamp"], timeframe, reading.tz, rows)
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
    if reading.adjust:
        if "adj_close" not in numbers:
            raise DataError("there is no adjusted close to adjust by, wanted a column such as 'Adj Close'")
        values, adjust_notes = adjusted(times, values, numbers["adj_close"], numbers.get("split"), rows)
        notes += adjust_notes
    elif "adj_close" in numbers:
        notes.append("the adjusted close was not used; --adjust applies it")
    values[: len(PRICE_COLUMNS)] /= reading.price_scale
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


def first_rows(path: Path, reading: Reading = AS_FOUND, count: int = 8) -> FirstRows:
    """The beginning of a file as text, and what each column would be read as; also where its bars cannot be read.

    DataError only for a file that is not there, is damaged, or is no table.
    """
    with _read_as_table(path):
        head, _ = _head(path)
        if head.startswith(b"PAR1"):
            cells = next(pq.ParquetFile(path).iter_batches(batch_size=count)).to_pandas().astype(str)
            names, lines = [str(name) for name in cells.columns], cells.to_numpy().tolist()
        else:
            texts = [line for line in _text(path, head).splitlines() if line.strip()][: count + 1]
            names, *lines = list(csv.reader(texts, delimiter=max(DELIMITERS, key=texts[0].count))) if texts else [[]]
    roles = {name: role for role, name in _roles_found(names).items()}
    needed = () if {"timestamp", *PRICE_COLUMNS} <= set(roles.values()) else ("columns",)
    return FirstRows(tuple(names), tuple(map(tuple, lines)), tuple(roles.get(name, "") for name in names), "", needed)


# --- cells -------------------------------------------------------------------------------------


def read_cells(path: Path, reading: Reading = AS_FOUND) -> Table:
    """The cells of a CSV or Parquet file, each column in its part."""
    with _read_as_table(path):
        head, packed = _head(path)
        return _read_parquet(path) if head.startswith(b"PAR1") else _read_csv(path, head, packed)


@contextmanager
def _read_as_table(path: Path) -> Iterator[None]:
    """A file that is not there or damaged is one sentence."""
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        yield
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise DataError(f"{path.name} cannot be read: {error}") from error


def _head(path: Path) -> tuple[bytes, bool]:
    """The beginning of a file, unpacked, and whether it is packed."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        return file.read(_HEAD), packed


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
    roles = _roles_found(names)
    lacking = [role if role != "timestamp" else "the time" for role in ("timestamp", *PRICE_COLUMNS) if role not in roles]
    if lacking:
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        raise Asked(
            f"{path.name} has no column for {', '.join(lacking)}; it has {shown};"
            " wanted timestamp, open, high, low, close and, if known, volume",
            "columns",
        )
    return roles


def _roles_found(names: list[str]) -> dict[str, str]:
    by_bare = {_bare(name): name for name in reversed(names)}
    roles = {}
    for role, spellings in SPELLINGS.items():
        found = next((by_bare[spelling] for spelling in spellings if spelling in by_bare), None)
        if found is not None:
            roles[role] = found
    return roles
