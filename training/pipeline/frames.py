"""A frame of bars: how it is built from arrays, read back as arrays, and identified.

A frame is, here and in every module of the pipeline, a `pandas.DataFrame` with a `DatetimeIndex` named
`timestamp` (UTC, unit µs, strictly increasing, the bar's open) and the float64 columns open, high, low,
close, volume in this order. A value that is not known is NaN. Times as numbers are µs since 1970 UTC.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import BAR_COLUMNS


def bar_frame(times: NDArray[np.int64], values: NDArray[np.float64]) -> pd.DataFrame:
    """The frame of times int64 (n,) in µs and values float64 (5, n); neither is copied."""
    index = pd.DatetimeIndex(times.view("M8[us]"), name="timestamp").tz_localize("UTC")
    return pd.DataFrame(values.T, index=index, columns=list(BAR_COLUMNS), copy=False)


def bar_times(frame: pd.DataFrame) -> NDArray[np.int64]:
    """The opens of a frame's bars: int64 (n,) in µs."""
    index = frame.index if frame.index.unit == "us" else frame.index.as_unit("us")  # which copies in any case
    times: NDArray[np.int64] = index.asi8
    return times


def bar_values(frame: pd.DataFrame) -> NDArray[np.float64]:
    """The columns of a frame, each contiguous: float64 (5, n); a view of a frame that was read from the store."""
    if tuple(frame.columns) != BAR_COLUMNS:
        frame = frame[list(BAR_COLUMNS)]
    return np.ascontiguousarray(frame.to_numpy(dtype=np.float64).T)


def empty_frame() -> pd.DataFrame:
    """A frame without bars."""
    return bar_frame(np.empty(0, np.int64), np.empty((len(BAR_COLUMNS), 0)))


def time_text(microseconds: int) -> str:
    """A time as people read it: the day alone at midnight, else down to what is not zero."""
    text = str(np.datetime64(int(microseconds), "us").astype("M8[us]")).replace("T", " ")
    return re.sub(r"( 00:00)?(:00)?\.000000$", "", text)


def fingerprint(frame: pd.DataFrame) -> str:
    """sha256 of exactly these rows: little-endian int64 µs, then each column as little-endian float64."""
    digest = hashlib.sha256(np.ascontiguousarray(bar_times(frame), dtype="<i8").data)
    digest.update(bar_values(frame).astype("<f8", copy=False).data)
    return digest.hexdigest()


def is_untouched(frame: pd.DataFrame, loaded: pd.DataFrame) -> bool:
    """Whether a frame still has the very values of its shallow copy: pandas gives one that is written to an array of its own."""
    ours, theirs = frame.to_numpy(), loaded.to_numpy()
    same_place = ours.__array_interface__["data"] == theirs.__array_interface__["data"] and ours.strides == theirs.strides
    shape = ours.shape == theirs.shape and ours.dtype == theirs.dtype and tuple(frame.columns) == tuple(loaded.columns)
    return same_place and shape and frame.index.equals(loaded.index)


@dataclass(frozen=True)
class Rows:
    """Where the rows of a table stand in their file: numbers int64 (n,), counted as an editor counts lines."""

    word: str
    numbers: NDArray[np.int64]

    def at(self, positions: NDArray[np.int64]) -> Rows:
        return Rows(self.word, self.numbers[positions])

    def named(self, positions: NDArray[np.int64]) -> str:
        """`line 7`, or `lines 3, 4, 5 and 12 more`."""
        shown = ", ".join(str(number) for number in self.numbers[positions[:5]])
        more = f" and {len(positions) - 5:,} more" if len(positions) > 5 else ""
        return f"{self.word}{'s' if len(positions) > 1 else ''} {shown}{more}"
