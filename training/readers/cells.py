"""The cells of a file of bars as they stand there, CSV of any form or Parquet → Table, each column in its part."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from training.core.findings import counted
from training.pipeline.frames import Rows
from training.readers.clocks import formatted
from training.readers.heads import HEAD, Head, given_by_name, head_of, refuse_unassigned
from training.readers.layouts import NUMERIC, PRICES
from training.readers.numbers import NOTHING, Marks, decided, marks_given, proven
from training.readers.times import Known
from training.store.coverage import DataError
from training.store.reading import AS_FOUND, Asked, Reading, one_line

_TEXTS = ("timestamp", "date", "time", "symbol", "timeframe")
_MISSING = sorted({form(word) for word in NOTHING for form in (str.lower, str.upper, str.title)} | {"NaN", "n/a"})
#: Rows behind the last bar that may be a remark of whoever wrote the file.
_MOST_REMARKS = 3


@dataclass(frozen=True)
class Table:
    """A file's cells: columns role → series as they stand there; `rows` says where in the file each row is.

    marks: how its numbers are written; known: what is known of its times; head: its columns and layout; notes: how it was read.
    """

    columns: Mapping[str, pd.Series]
    rows: Rows
    head: Head
    marks: Marks
    known: Known
    notes: tuple[str, ...]

    def at(self, positions: Any) -> Table:
        """Some of the rows."""
        columns = {role: column.iloc[positions].reset_index(drop=True) for role, column in self.columns.items()}
        return Table(columns, self.rows.at(positions), self.head, self.marks, self.known, self.notes)


def read_cells(path: Path, reading: Reading = AS_FOUND) -> Table:
    """The cells of a CSV or Parquet file, each column in its part; a DataError begins with the file's name."""
    with in_words(path):
        return _parquet(path, reading) if _is_parquet(path) else _text_table(_content(path, reading), reading)


def beginning(path: Path, reading: Reading, count: int) -> tuple[Head, Table | str]:
    """The head of a file with its first rows; and the table of these, or the field of Reading that it asks for, "" if none."""
    with in_words(path):
        try:
            content = b"" if _is_parquet(path) else _content(path, reading)
        except Asked as asked:
            return Head("", (), 0, (), (), (), None), asked.option
        if content[HEAD:]:
            content = content[: max(content.rfind(b"\n", 0, HEAD), content.find(b"\n")) + 1]
        head = _head(content, reading) if content else _parquet_head(path, reading, count)
        try:
            return head, _text_table(content, reading) if content else _parquet(path, reading, count)
        except Asked as asked:
            return head, asked.option
        except DataError:
            return head, ""


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """A file that is not there or damaged is one sentence."""
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        yield
    except MemoryError:  # Arrow's is an ArrowException too, and says nothing of the file
        raise
    except Asked as error:
        raise Asked(one_line(f"{path.name}: {error}"), error.option) from error
    except DataError as error:
        raise DataError(one_line(f"{path.name}: {error}")) from error
    except (OSError, EOFError, zlib.error, pa.ArrowException, UnicodeDecodeError) as error:
        told = str(error).splitlines()[0] if str(error) else "it is damaged"
        raise DataError(f"{path.name} cannot be read: {told}") from error


# --- texts -------------------------------------------------------------------------------------

_NO_TEXT = "neither a Parquet file nor text in UTF-8"
#: What files that are no bars begin with.
_OTHERS = {
    b"PK\x03\x04": "it is a zip archive or an Excel workbook, wanted CSV: unpack it, or save it as CSV first",
    b"\xd0\xcf\x11\xe0": "it is an Excel workbook, wanted CSV: save it as CSV first",
    b"<!": "it is a web page, wanted CSV or Parquet",
    b"<html": "it is a web page, wanted CSV or Parquet",
    b"{": "it is JSON, wanted CSV or Parquet",
}


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _content(path: Path, reading: Reading) -> bytes:
    """A text file, unpacked, in UTF-8."""
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    for beginning, told in _OTHERS.items():
        if content.startswith(beginning):
            raise DataError(told)
    return _in_utf8(content, reading.encoding)


def _in_utf8(content: bytes, encoding: str) -> bytes:
    if encoding:
        try:
            if not codecs.lookup(encoding)._is_text_encoding:
                raise LookupError
            return content.decode(encoding).lstrip("\ufeff").encode("utf-8")
        except LookupError:
            raise DataError(f"'{encoding}' is no encoding, wanted such as utf-8, utf-16, cp1252 or latin-1") from None
        except UnicodeError as error:
            raise DataError(f"it is no text in {encoding}: {str(error).splitlines()[0]}") from error
    for mark, name in ((codecs.BOM_UTF8, ""), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if content.startswith(mark):
            try:
                return content.decode(name).encode("utf-8") if name else content.removeprefix(mark)
            except UnicodeError as error:
                raise DataError(f"it is {_NO_TEXT}: it begins as {name} and does not go on so") from error
    wanted = f"it is {_NO_TEXT}, wanted bars as CSV or Parquet; text in another encoding is told by --encoding, such as"
    if b"\0" in content:
        raise Asked(f"{wanted} utf-16-le", "encoding")
    if not content.isascii():
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Asked(f"{wanted} cp1252", "encoding") from error
    return content


def _head(content: bytes, reading: Reading) -> Head:
    return head_of(content[:HEAD].decode("utf-8", errors="ignore"), reading)


def _text_table(content: bytes, reading: Reading) -> Table:
    if not content.strip():
        raise DataError("the file is empty")
    head = _head(content, reading)
    if not head.symbols:
        refuse_unassigned(head)
    widest = max([len(head.names), *(len(row) for row in head.rows[:1])])
    if len(reading.columns) > widest:
        raise DataError(f"{len(reading.columns)} columns are given and the rows have {widest} cells")
    chosen = _chosen(head, reading)
    numeric = [position for role, position in chosen.items() if role in NUMERIC]
    marks = marks_given(reading, head.layout.decimal if head.layout else "")
    if marks is None and head.delimiter == "," and b'"' not in content:
        marks = Marks(".")  # a comma that divides cells cannot divide a number
    if marks is None:
        proofs = proven(row[position] for row in head.rows for position in numeric if position < len(row))
        marks = Marks(next(iter(proofs))) if len(proofs) == 1 else None
    texts = [position for role, position in chosen.items() if role in _TEXTS] + ([] if marks else numeric)
    cells = _csv(content, head, texts, "." if marks is None else marks.decimal)
    numbers = np.arange(head.skipped + 1, head.skipped + 1 + len(cells))
    short = () if b'"' in content else _short_rows(content, head)
    cells, numbers, notes = _bars_alone(cells, numbers, head, chosen)
    if cells.empty:
        raise DataError("the file has column names and no rows" if head.names else "the file has no rows")
    rows = Rows("line", numbers)
    columns = {role: cells[position].rename(head.named(position)) for role, position in chosen.items()}
    if marks is None:
        marks = decided({role: column for role, column in columns.items() if role in NUMERIC}, rows)
    if head.symbols:
        columns["symbol"] = pd.Series(pd.Categorical([head.symbols[chosen["open"]]] * len(cells)), name="Ticker")
    return _table(columns, rows, head, marks, reading, (*notes, *short))


def _chosen(head: Head, reading: Reading) -> dict[str, int]:
    """Which column plays which part, by position; of columns for several symbols those of one."""
    symbols = sorted({symbol for symbol in head.symbols if symbol})
    wanted = reading.only or (symbols[0] if len(symbols) == 1 else "")
    if symbols and wanted not in symbols:
        asked = f"no columns are of {wanted}" if wanted else "the columns are of several symbols"
        raise Asked(f"{asked}, they are of {', '.join(symbols[:12])}; take one with --only, such as --only {symbols[0]}", "only")
    if not symbols:
        return {role: position for position, role in enumerate(head.roles) if role}
    own = [position for position, symbol in enumerate(head.symbols) if symbol in ("", wanted)]
    found = given_by_name([head.names[position] for position in own], AS_FOUND)
    refuse_unassigned(found)
    return {role: own[position] for position, role in enumerate(found.roles) if role}


def _csv(content: bytes, head: Head, texts: Sequence[int], decimal: str) -> pd.DataFrame:
    others = {position: _MISSING for position in range(head.width) if position not in texts}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            cells = pd.read_csv(
                io.BytesIO(content), sep=head.delimiter, header=None, names=list(range(head.width)), skiprows=head.skipped,
                dtype=dict.fromkeys(texts, str), decimal=decimal, encoding="utf-8", index_col=False, skip_blank_lines=False,
                low_memory=False, keep_default_na=False, na_values=others,
            )  # fmt: skip
    except pd.errors.ParserWarning as error:
        raise DataError("the rows have more cells than the first line has names") from error
    except pd.errors.EmptyDataError:
        return pd.DataFrame(columns=list(range(head.width)))
    except (pd.errors.ParserError, ValueError, OverflowError) as error:
        told = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        if "read(nbytes)" in told:  # what pandas makes of Ctrl-C; reading from memory cannot fail
            raise KeyboardInterrupt from error
        raise DataError(f"the file is not a table: {told}") from error
    for position in cells.columns:
        column = cells[position]
        if not (pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)):
            column = column.astype(str).str.strip().where(column.notna())
            cells[position] = column.where(column != "")
    return cells


def _bars_alone(
    cells: pd.DataFrame, numbers: NDArray[np.int64], head: Head, chosen: Mapping[str, int]
) -> tuple[pd.DataFrame, NDArray[np.int64], tuple[str, ...]]:
    """The rows without those that are blank, tell of dividends, or are a remark behind the last bar."""
    notes = [f"left out before the names of the columns: {line[:60]}" for line in head.before]
    filled = cells.notna().any(axis=1).to_numpy()
    cells, numbers = cells[filled].reset_index(drop=True), numbers[filled]
    opens = cells[chosen["open"]]
    if head.layout is not None and head.layout.others and not pd.api.types.is_numeric_dtype(opens.dtype):
        other = opens.astype(str).str.contains(head.layout.others).to_numpy(bool)
        if other.any():
            notes.append(f"{int(other.sum()):,} rows of dividends or splits left out")
            cells, numbers = cells[~other].reset_index(drop=True), numbers[~other]
    prices, time = [chosen[price] for price in PRICES], chosen.get("timestamp", chosen.get("date", 0))
    for _ in range(min(_MOST_REMARKS, len(cells))):
        last = cells.iloc[-1]
        if last[prices].notna().any() or not isinstance(last[time], str) or re.match(r"[-\d]", last[time]):
            break
        notes.append(f"line {numbers[-1]} left out, which is no bar: {last[time][:60]}")
        cells, numbers = cells.iloc[:-1], numbers[:-1]
    return cells, numbers, tuple(notes)


def _short_rows(content: bytes, head: Head) -> tuple[str, ...]:
    """A note on rows with fewer cells than the others; DataError if the file ends within one."""
    start = 0
    for _ in range(head.skipped):
        start = content.find(b"\n", start) + 1
    mark = head.delimiter.encode()
    lines = content.count(b"\n", start) + (not content.endswith(b"\n"))
    if content.count(mark, start) >= (head.width - 1) * lines:
        return ()
    body = content[start:].split(b"\n")
    short = [number for number, line in enumerate(body) if line.strip() and line.count(mark) < head.width - 1]
    if not short:
        return ()
    if short[-1] == len(body) - 1 and body[-1].count(mark) < min(
        (line.count(mark) for line in body[:-1] if line.strip()), default=0
    ):
        told = body[-1].decode("utf-8", errors="replace").strip()[:60]
        if re.match(r"[-\d]", told):
            raise DataError(f"the file ends within line {head.skipped + 1 + short[-1]}: {told}; wanted the whole file")
    first = f"the first in line {head.skipped + 1 + short[0]}" if len(short) > 1 else f"line {head.skipped + 1 + short[0]}"
    return (f"{counted(len(short), 'row')} with fewer cells than there are columns, {first}",)


# --- Parquet -----------------------------------------------------------------------------------


def _parquet_head(path: Path, reading: Reading, count: int) -> Head:
    head = given_by_name([str(name) for name in pq.read_schema(path).names], reading)
    cells = _parquet_cells(_first_batch(path, None, count)).astype(object)
    return replace(head, rows=tuple(tuple(map(_shown, row)) for row in cells.itertuples(index=False, name=None)))


def _shown(cell: object) -> str:
    missing = cell is None or cell is pd.NaT or (isinstance(cell, float) and cell != cell)
    try:
        return "" if missing else str(cell)
    except (ValueError, NotImplementedError, OverflowError):  # a time beyond the years of Python
        return "?"


def _first_batch(path: Path, columns: list[str] | None, count: int) -> pa.Table:
    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(batch_size=count, columns=columns), None)
        return file.schema_arrow.empty_table() if batch is None else pa.Table.from_batches([batch])


def _parquet(path: Path, reading: Reading, count: int | None = None) -> Table:
    """The table of a Parquet file, or of its first rows alone."""
    schema = pq.read_schema(path)
    head = given_by_name([str(name) for name in schema.names], reading)
    refuse_unassigned(head)
    chosen = {role: position for position, role in enumerate(head.roles) if role}
    names = [schema.names[position] for position in chosen.values()]
    cells = _parquet_cells(pq.read_table(path, columns=names) if count is None else _first_batch(path, names, count))
    if cells.empty:
        raise DataError("the file has no rows")
    rows = Rows("row", np.arange(1, len(cells) + 1))
    columns = {role: cells[schema.names[position]] for role, position in chosen.items()}
    for role in _TEXTS:
        column = columns.get(role)
        if column is not None and not (pd.api.types.is_numeric_dtype(column.dtype) or _is_time(column)):
            columns[role] = column.astype(str).str.strip().where(column.notna())
    words = {
        role: column for role, column in columns.items() if role in NUMERIC and not pd.api.types.is_numeric_dtype(column.dtype)
    }
    marks = marks_given(reading, head.layout.decimal if head.layout else "") or decided(words, rows)
    return _table(columns, rows, head, marks, reading, ())


def _is_time(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.DatetimeTZDtype) or pd.api.types.is_datetime64_dtype(column.dtype)


def _parquet_cells(table: pa.Table) -> pd.DataFrame:
    """Columns of a Parquet file; what pandas has noted about them is passed over, since it may be anything."""
    for position, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(position, field.name, table.column(position).cast(pa.float64()))
    try:
        return table.replace_schema_metadata(None).to_pandas()
    except (ValueError, LookupError, TypeError, OverflowError, AttributeError) as error:  # a zone that is none, a year 300000
        raise DataError(f"its columns cannot be read: {str(error).splitlines()[0] if str(error) else error!r}") from error


# --- from cells to parts -----------------------------------------------------------------------


def _table(
    columns: dict[str, pd.Series], rows: Rows, head: Head, marks: Marks, reading: Reading, notes: tuple[str, ...]
) -> Table:
    layout, date_format = head.layout, reading.date_format
    if layout is not None:
        notes = (f"{layout.name} layout" + (f": {layout.note}" if layout.note else ""), *notes)
    if "date" in columns:
        date, clock = columns.pop("date"), columns.pop("time")
        if date_format and not re.search("%[HIcXTRs]", date_format):
            date, date_format = _iso_dates(date, date_format, rows), ""
        columns["timestamp"] = _joined(date, clock)
    known = Known(
        head.zone,
        head.zone_words,
        bool(head.zone and not (layout and layout.zone)),
        bool(layout and layout.month_first),
        date_format,
    )
    return Table(columns, rows, head, marks, known, notes)


def _iso_dates(date: pd.Series, form: str, rows: Rows) -> pd.Series:
    empty = np.flatnonzero(date.isna())
    if len(empty):
        raise DataError(f"{rows.named(empty)}: no time")
    days = formatted(date.astype(str).str.strip(), form, rows).wall.view("M8[us]")
    return pd.Series(np.datetime_as_string(days, unit="D"), name=date.name)


def _joined(date: pd.Series, clock: pd.Series) -> pd.Series:
    """A date and the clock beside it as one text; `930` or `093000` is a clock whose leading zeros may be lost."""
    if clock.isna().all():
        return date
    text = clock.astype(str).str.strip()
    digits, length = text.str.isdigit(), text.str.len()
    if (digits & (length <= 2)).all() and (text.str.strip("0") != "").any():
        raise Asked(
            f"'{text.iloc[-1]}' in column {clock.name} may be an hour or a minute, wanted a clock such as 09:30", "columns"
        )
    text = text.where(~digits, text.str.zfill(6).where(length > 4, text.str.zfill(4)))
    return (date.astype(str).str.strip() + " " + text).where(date.notna() & clock.notna()).rename(date.name)
