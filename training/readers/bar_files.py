"""Bars from files that others wrote: CSV or Parquet → frame and notes on what was done; nothing is guessed about prices.

Whatever cannot be read without a guess is a DataError that names the rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import BAR_COLUMNS, PRICE_COLUMNS
from training.core.findings import counted
from training.pipeline.frames import Rows, bar_frame, time_text
from training.pipeline.quality import SPLITS, bar_faults, off_grid_warning, split_name
from training.readers.cells import Table, beginning, read_cells
from training.readers.layouts import NUMERIC
from training.readers.numbers import numbers_of
from training.readers.series_columns import own_rows
from training.readers.times import opens_of
from training.store.coverage import DataError
from training.store.reading import AS_FOUND, Asked, FirstRows, Reading, one_line

__all__ = ["FirstRows", "Reading", "Table", "bars_of", "first_rows", "read_bar_file", "read_cells"]


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
        return _bars(table, timeframe, reading, symbol)
    except Asked as error:
        raise Asked(one_line(f"{name}: {error}"), error.option) from error
    except DataError as error:
        raise DataError(one_line(f"{name}: {error}")) from error


def _bars(table: Table, timeframe: str, reading: Reading, symbol: str) -> tuple[pd.DataFrame, list[str]]:
    table, notes = own_rows(table, timeframe, symbol, reading.only)
    rows = table.rows
    notes = [*table.notes, *notes]
    numbers, number_notes = _numbers(table)
    notes += number_notes
    times, time_notes = opens_of(table.columns["timestamp"], timeframe, reading.tz, rows, table.known)
    notes += time_notes
    if "volume" not in numbers:
        notes.append("there is no volume column: volume is missing in every bar")
        numbers["volume"] = np.full(len(times), np.nan)
    cells = np.stack(list(numbers.values()))
    if reading.drop_impossible:
        possible, dropped = _possible(np.stack([numbers[column] for column in BAR_COLUMNS]), rows)
        times, cells, rows, notes = times[possible], cells[:, possible], rows.at(possible), notes + dropped
    order, order_notes = _in_order(times, cells, rows)
    times, cells, rows = times[order], cells[:, order], rows.at(order)
    numbers = dict(zip(numbers, cells, strict=True))
    notes += order_notes
    values = np.stack([numbers[column] for column in BAR_COLUMNS])
    for fault, where in bar_faults(values):
        raise Asked(f"{rows.named(where)}: {fault}; --drop-impossible leaves such bars out", "drop_impossible")
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


def _numbers(table: Table) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """The columns of numbers, and how they were written."""
    numbers, between = {}, set()
    for role, column in table.columns.items():
        if role in NUMERIC:
            numbers[role], mark = numbers_of(column, table.rows, table.marks, count=role == "volume")
            between.add(mark)
    layout, notes = table.head.layout, []
    if layout is not None and layout.missing_volume is not None and "volume" in numbers:
        none = numbers["volume"] == layout.missing_volume
        numbers["volume"] = np.where(none, np.nan, numbers["volume"])
        if none.any():
            notes.append(f"a volume of {layout.missing_volume:g} is no volume, as in {counted(int(none.sum()), 'row')}")
    notes += ["decimal comma"] if table.marks.decimal == "," else []
    notes += [f"thousands are separated by {mark}s" for mark in sorted(between - {""})]
    return numbers, notes


def _possible(values: NDArray[np.float64], rows: Rows) -> tuple[NDArray[np.int64], list[str]]:
    """Positions of the bars that can be, and what was said of the others."""
    faults = list(bar_faults(values))
    bad = np.unique(np.concatenate([where for _, where in faults])) if faults else np.empty(0, np.int64)
    told = "; ".join(f"{rows.named(where)}: {fault}" for fault, where in faults)
    if len(bad) == values.shape[1]:
        raise DataError(f"no bar is left without the impossible ones ({told})")
    notes = [f"{counted(len(bad), 'impossible bar')} left out ({told})"] if len(bad) else []
    return np.setdiff1d(np.arange(values.shape[1]), bad), notes


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


# --- for whoever assigns the columns -----------------------------------------------------------


def first_rows(path: Path, reading: Reading = AS_FOUND, count: int = 8) -> FirstRows:
    """The beginning of a file as text, and what each column would be read as; also where its bars cannot be read.

    DataError only for a file that is not there, is damaged, or is no table.
    """
    head, needed = beginning(path, reading, count)
    if not isinstance(needed, str):
        needed = _asked(needed, reading)
    cells = tuple(tuple(cell.strip() for cell in row) for row in head.rows[:count])
    layout = head.layout.name if head.layout else ""
    return FirstRows(head.names, cells, head.roles, layout, (needed,) if needed else ())


def _asked(table: Table, reading: Reading) -> str:
    """The field of Reading that rows ask for, "" if none: of several the first, since what comes later is not reached before."""
    try:
        _bars(table, "1h", reading, "")
    except Asked as asked:
        if asked.option != "tz":
            return asked.option
    except DataError:
        return ""
    try:  # dates alone need no zone
        return "tz" if any("times of day" in note for note in _bars(table, "1d", reading, "")[1]) else ""
    except DataError:
        return "tz"


Values = NDArray[np.float64]
#: A step of the adjustment beyond this is a split or a very large dividend.
_STEP = 1.25


def adjusted(
    times: NDArray[np.int64], values: Values, adj_close: Values, split: Values | None, rows: Rows
) -> tuple[Values, list[str]]:
    """Bars float64 (5, n) with every price times adj_close / close, and notes.

    All four prices are multiplied by the same number, so high and low still enclose them to the last bit.
    Volume is divided by the price factor of the splits alone: before a 2:1 split prices are halved (factor 0.5)
    and volume doubles, so that it counts today's shares; dividends do not change it. Splits come from the `split`
    column (2.0 on the day of a 2:1 split) or, without one, from steps of the factor which the raw price confirms.
    """
    wrong = np.flatnonzero((adj_close <= 0) | np.isinf(adj_close))
    if len(wrong):
        raise DataError(f"{rows.named(wrong)}: an adjusted close that is not a positive number")
    factor = adj_close / values[3]
    at, ratios, notes = _column_splits(split) if split is not None else _stepped_splits(times, values, factor)
    steps = np.ones(len(times))
    steps[at] = ratios
    # A bar carries the splits after it, not its own day's.
    later = np.append(np.cumprod(steps[::-1])[::-1][1:], 1.0)
    shown = ", ".join(
        f"{split_name(ratio) or f'{ratio:g}:1'} at {time_text(times[i])}" for i, ratio in zip(at, ratios, strict=True)
    )
    notes.append(
        f"prices adjusted by adjusted close / close; volume divided by the factor of the splits: {shown}"
        if shown
        else "prices adjusted by adjusted close / close; no split is in these bars, volume is as in the file"
    )
    return np.concatenate([values[:4] * factor, values[4:] * later]), notes


def _column_splits(split: Values) -> tuple[NDArray[np.int64], Values, list[str]]:
    """0, 1 and empty cells mean no split."""
    at = np.flatnonzero((split > 0) & (split != 1) & np.isfinite(split))
    return at, split[at], []


def _stepped_splits(times: NDArray[np.int64], values: Values, factor: Values) -> tuple[NDArray[np.int64], Values, list[str]]:
    """Days on which the factor steps by a split's ratio and the raw price falls (or rises) with it."""
    steps = factor[1:] / factor[:-1]
    moves = values[3, :-1] / values[0, 1:]
    candidates = np.flatnonzero((steps > _STEP) | (steps < 1 / _STEP))
    at, ratios, notes = [], [], []
    for i in candidates:
        name = split_name(float(steps[i]), tolerance=0.05)
        if name and abs(moves[i] / SPLITS[name] - 1) < 0.25:
            at.append(i + 1)
            ratios.append(SPLITS[name])
        else:
            day = time_text(times[i + 1])
            notes.append(f"the adjustment steps by {steps[i]:.3f} at {day}, not like a split: volume is left as it is there")
    return np.array(at, np.int64), np.array(ratios), notes
