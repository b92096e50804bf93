"""The beginning of a text of bars → how its lines are divided, what its columns are, which layout it is. Light: no pandas."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from strategies_app.grammar.vocabulary import nearest
from training.readers.layouts import PRICES, SPELLINGS, Layout, bare_name, by_names, by_shape, is_names, roles_of, zone_named
from training.store.coverage import DataError
from training.store.reading import LEFT_OUT, MEANINGS, Asked, Reading

DELIMITERS = "\t;|,"
#: So much of a text is looked at to find out how it is written.
HEAD = 65_536
#: A row of bars has at least a time and four prices.
_FEWEST_CELLS = 5
#: Lines that may stand before the names of the columns.
_MOST_BEFORE = 10


@dataclass(frozen=True)
class Head:
    """How a text is written. before: lines before the names that are no bars; skipped: lines before the first row; names: of
    the columns, none if there are none; roles: the meaning of each, "" for one that is left out; rows: cells of the first
    rows; symbols: whose each column is, where the names say it; zone: that a column's name speaks of; twice: names that two
    columns share although one is needed."""

    delimiter: str
    before: tuple[str, ...]
    skipped: int
    names: tuple[str, ...]
    roles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    layout: Layout | None
    symbols: tuple[str, ...] = ()
    zone: str = ""
    zone_words: str = ""
    twice: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return max(len(self.names), len(self.roles), len(self.rows[0]) if self.rows else 0)

    def named(self, position: int) -> str:
        """A column as sentences speak of it."""
        return self.names[position] if position < len(self.names) and self.names[position] else str(position + 1)


def head_of(text: str, reading: Reading) -> Head:
    """What the first lines of a text say; `text` is its beginning, and more than its lines need not be whole."""
    lines = re.split(r"\r\n|\n|\r", text)
    if len(text) >= HEAD:
        lines = lines[:-1]  # cut anywhere
    filled = [number for number, line in enumerate(lines) if line.strip()]
    first, delimiter = _first_of_table(lines, filled)
    before = tuple(lines[number].strip() for number in filled if number < first)
    cells = [_cells(lines[number], delimiter) for number in filled if number >= first]
    yahoo = _several_lines_of_names(cells)
    if yahoo is not None:
        names, symbols, count = yahoo
    elif cells and is_names(cells[0]):
        names, symbols, count = cells[0], (), 1
    else:
        names, symbols, count = (), (), 0
    rows = tuple(cells[count:])
    after = [number for number in filled if number >= first][count - 1] + 1 if count else first
    layout = by_names(names, before) if names else by_shape(rows[0], delimiter) if rows else None
    if yahoo is not None:
        layout = Layout("yfinance", decimal=".")
    given, twice = _given(reading), list[str]()
    if given:
        layout, roles = None, list(given)
    elif names:
        roles, twice = roles_of(names, layout)
    else:
        roles = list(layout.columns) if layout else []
    width = max([len(roles), len(names), *(len(row) for row in rows[:1])])
    zone, words = _zone(names, roles, layout)
    return Head(
        delimiter, before, after, tuple(names), tuple(roles + [""] * (width - len(roles))), rows, layout, tuple(symbols), zone,
        words, tuple(twice),
    )  # fmt: skip


def _first_of_table(lines: Sequence[str], filled: Sequence[int]) -> tuple[int, str]:
    """The line at which the table begins, and what divides its cells."""
    for number in filled[:_MOST_BEFORE]:
        if re.fullmatch(r"\W?sep=.\W?", lines[number].strip()):  # written for Excel
            continue
        for delimiter in DELIMITERS:
            if len(_cells(lines[number], delimiter)) >= _FEWEST_CELLS:
                return number, delimiter
    first = filled[0] if filled else 0
    return first, max(DELIMITERS, key=lines[first].count) if filled else ","


def _cells(line: str, delimiter: str) -> tuple[str, ...]:
    return tuple(next(csv.reader([line], delimiter=delimiter), ()))


def _several_lines_of_names(cells: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, ...], int] | None:
    """Names, symbols and number of lines where yfinance has written prices, symbols and the time's name one below another."""
    if len(cells) < 3 or not cells[2] or any(cell.strip() for cell in cells[2][1:]) or not is_names(cells[1]):
        return None
    if bare_name(cells[2][0]) not in (*SPELLINGS["timestamp"], *SPELLINGS["date"]):
        return None
    prices, symbols = cells[0], cells[1]
    known = {bare_name(name) for name in prices[1:]}
    if not set(PRICES) <= known:
        prices, symbols = symbols, prices
        if not set(PRICES) <= {bare_name(name) for name in prices[1:]}:
            return None
    return (cells[2][0], *prices[1:]), ("", *symbols[1:]), 3


def _zone(names: Sequence[str], roles: Sequence[str], layout: Layout | None) -> tuple[str, str]:
    for name, role in zip(names, roles, strict=False):
        if role in ("timestamp", "date", "time") and zone_named(name):
            return zone_named(name), f"times are {zone_named(name)}, as the column {name.strip()} says"
    return (layout.zone, layout.zone_words) if layout is not None else ("", "")


def _given(reading: Reading) -> tuple[str, ...]:
    """The meanings that were given for the columns, "" for those that are left out."""
    given = tuple("" if meaning.strip() in LEFT_OUT else meaning.strip().lower() for meaning in reading.columns)
    for meaning in given:
        if meaning and meaning not in MEANINGS:
            near = nearest(meaning, MEANINGS)
            raise DataError(
                f"'{meaning}' is no meaning of a column, wanted {', '.join(MEANINGS)} or - for one to leave out"
                + (f"; did you mean {near}?" if near else "")
            )
        if meaning and given.count(meaning) > 1:
            raise DataError(f"two columns are given as {meaning}, wanted one; - leaves a column out")
    if given and {"timestamp", "date"} <= set(given):
        raise DataError("a column of timestamp and one of date are given, wanted timestamp alone, or date with time")
    return tuple(
        "timestamp" if meaning in ("date", "time") and not {"date", "time"} <= set(given) else meaning for meaning in given
    )


def refuse_unassigned(head: Head) -> None:
    """DataError where what a bar needs is not among the columns, with what to say to read the file."""
    roles = set(head.roles)
    how = "say what the columns are, such as --columns date,time,open,high,low,close,volume (- leaves one out)"
    if not head.names and not any(roles):
        row = head.delimiter.join(head.rows[0]) if head.rows else ""
        raise Asked(
            f"the file has no line of column names and is of no known layout; its first row is {row[:120]};"
            f" {how}; known are {', '.join((*MEANINGS,))}",
            "columns",
        )
    if head.names and any(cell.strip() for row in head.rows[:1] for cell in row[len(head.names) :]):
        raise DataError("the rows have more cells than the first line has names")
    if head.twice:
        raise Asked(f"two columns are called {' and two '.join(head.twice)}; {how}", "columns")
    timed = "timestamp" in roles or {"date", "time"} <= roles
    lacking = ([] if timed else ["the time"]) + [price for price in PRICES if price not in roles]
    if lacking:
        shown = (
            ", ".join(name.strip() for name in head.names[:12]) + (", …" if len(head.names) > 12 else "")
            or f"{head.width} columns"
        )
        raise Asked(
            f"the file has no column for {', '.join(lacking)}; it has {shown};"
            f" wanted timestamp, open, high, low, close and, if known, volume; or {how}",
            "columns",
        )


def roles_by_name(names: Sequence[str]) -> Head:
    """The columns of a table that has names alone, such as Parquet."""
    layout = by_names(names, ())
    roles, twice = roles_of(names, layout)
    zone, words = _zone(names, roles, layout)
    return Head(",", (), 0, tuple(names), tuple(roles), (), layout, (), zone, words, tuple(twice))


def given_by_name(names: Sequence[str], reading: Reading) -> Head:
    """As `roles_by_name`, with meanings that were given."""
    given = _given(reading)
    if not given:
        return roles_by_name(names)
    return Head(",", (), 0, tuple(names), given + ("",) * (len(names) - len(given)), (), None)


__all__ = ["DELIMITERS", "HEAD", "SPELLINGS", "Head", "given_by_name", "head_of", "refuse_unassigned", "roles_by_name"]
