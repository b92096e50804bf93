"""Whose bars a file says it holds: its columns of symbols and timeframes, held against what was asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd

from training.core.findings import counted
from training.pipeline.frames import Rows
from training.readers.cells import Table
from training.readers.layouts import NOT_COMPARED, bare_name
from training.store.coverage import DataError
from training.store.reading import Asked
from training.store.series_names import same_instrument, timeframe_named

#: So many names are shown of a file of many symbols.
_SHOWN = 8


def own_rows(table: Table, timeframe: str, symbol: str, only: str) -> tuple[Table, list[str]]:
    """The rows of the one symbol that is wanted, and notes; DataError where the file says that its bars are another's.

    symbol: whose bars are wanted, "" for any; only: the one symbol of the file that is taken, whatever the bars are called here.
    """
    notes: list[str] = []
    if "symbol" in table.columns:
        table, notes = _of_symbol(table, symbol, only)
    elif only:
        raise DataError(f"there is no column of symbols to take {only} from; without --only all rows are read")
    if "timeframe" in table.columns:
        notes += _held_against(table.columns["timeframe"], table.rows, timeframe)
    return table, notes


def _of_symbol(table: Table, symbol: str, only: str) -> tuple[Table, list[str]]:
    column, rows = table.columns["symbol"], table.rows
    empty = np.flatnonzero(column.isna().to_numpy(bool))
    names = [str(name) for name in column.dropna().unique()]
    if not names:
        return table, []
    if only:
        wanted = [name for name in names if name == only] or [name for name in names if same_instrument(name, only)]
        if len(wanted) != 1:
            raise Asked(f"no rows are of {only}: the column {column.name} has {_listed(names)}", "only")
        taken = np.flatnonzero((column.astype(str) == wanted[0]).to_numpy(bool))
        left = len(column) - len(taken)
        return table.at(taken), [f"{counted(left, 'row')} of other symbols left out"] if left else []
    if len(names) > 1:
        raise Asked(
            f"the rows are of several symbols: the column {column.name} has {_listed(names)};"
            f" take one with --only, such as --only {names[0]}, or leave the column out with --columns",
            "only",
        )
    if len(empty):
        raise DataError(f"{rows.named(empty)}: no {column.name}, where the other rows have {names[0]}")
    if symbol and bare_name(str(column.name)) not in NOT_COMPARED and not same_instrument(names[0], symbol):
        raise Asked(
            f"its bars are those of {names[0]}, by its column {column.name}, not of {symbol};"
            f" --only {names[0]} loads them as {symbol} anyway",
            "only",
        )
    return table, []


def _held_against(column: pd.Series, rows: Rows, timeframe: str) -> list[str]:
    """Notes on a column of timeframes; DataError if it contradicts."""
    said = [str(word) for word in column.dropna().unique()]
    known = {word: timeframe_named(word) for word in said}
    if not said or not all(known.values()):
        strange = next((word for word, name in known.items() if not name), "nothing")
        return [f"the column {column.name} says {strange}, which is no timeframe: it was not compared"]
    other = [word for word, name in known.items() if name != timeframe]
    if not other:
        return []
    where = np.flatnonzero((column.astype(str) == other[0]).to_numpy(bool))
    line = "" if len(said) == 1 else f"{rows.named(where[:1])}: "
    raise DataError(f"{line}the bars are {known[other[0]]}, as the column {column.name} says ({other[0]}), not {timeframe}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more
