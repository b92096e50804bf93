"""What every computation of an indicator is made with: types, the price it works on, averages and sums over a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.pipeline import kernels

Array = NDArray[np.float64]
Columns = Mapping[str, Array]
Computation = Callable[[Columns, Mapping[str, Any]], tuple[Array, ...]]


def source_of(columns: Columns, source: str) -> Array:
    """The price that an indicator works on: a column, or a mean of columns (hl2, hlc3, ohlc4)."""
    if source == "hl2":
        return (columns["high"] + columns["low"]) / 2
    if source == "hlc3":
        return (columns["high"] + columns["low"] + columns["close"]) / 3
    if source == "ohlc4":
        return (columns["open"] + columns["high"] + columns["low"] + columns["close"]) / 4
    return columns[source]


def average(function: Callable[..., Array], values: Array, period: int) -> Array:
    """A moving average; over one bar it is the bar itself, which TA-Lib refuses to compute."""
    return values.copy() if period == 1 else function(values, period)


def after(missing: int, values: Array, count: int) -> Array:
    """`values` behind `missing` bars without one: (count,), also where there are fewer bars than that."""
    result = np.full(count, np.nan)
    result[missing:] = values
    return result


def window_sums(values: Array, period: int) -> Array:
    """Sums of the last `period` values, (n,), NaN before there are so many; of zeros exactly zero."""
    sums = np.empty(len(values))
    kernels.window_sums(np.ascontiguousarray(values), period, sums)
    return sums


def running_sums(values: Array) -> Array:
    """Sums of all values so far, (n,)."""
    sums = np.empty(len(values))
    kernels.running_sums(np.ascontiguousarray(values), sums)
    return sums


def share(parts: Array, wholes: Array, empty: float) -> Array:
    """parts / wholes; `empty` where the whole is zero, NaN where it is missing."""
    result = np.full(len(parts), empty)
    np.divide(parts, wholes, out=result, where=wholes != 0)
    return result
