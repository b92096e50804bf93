"""What to ask a source for: stored times and a wanted span → spans that are missing; and whether a page fits what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import PRICE_COLUMNS
from training.pipeline.calendars import holes
from training.pipeline.frames import bar_frame, bar_times, bar_values, empty_frame, time_text
from training.pipeline.quality import bar_faults
from training.store.coverage import duration

#: A span begins and ends with so many stored bars: they show whether its prices are still those of the store.
OVERLAP = 3
#: Prices further apart than this (as a share) are other prices. Adjusted ones differ in their last digits from day to day.
TOLERANCE = 1e-4
#: A high that is lower than a close by no more than this is a matter of rounding.
ROUNDING = 1e-6
#: A bar is whole so long after its end.
SETTLE = 5_000_000
#: Gaps that are asked for at once at most, the longest.
MOST_GAPS = 60


@dataclass(frozen=True)
class Span:
    """Bars to ask for, µs: start ≤ open < end; `core_start` to `core_end` without the stored bars at its ends."""

    start: int
    end: int
    core_start: int
    core_end: int


def missing(frame: pd.DataFrame, timeframe: str, since: int, until: int, empty: Sequence[Sequence[int]] = ()) -> list[Span]:
    """What of [since, until) is not stored and was not found `empty`: before the first bar, in gaps, after the last one."""
    step, times = duration(timeframe), bar_times(frame)
    if not len(times):
        return [Span(since, until, since, until)] if since < until else []
    pieces = [(since, int(times[0]))] if since + step <= times[0] else []
    for hole in holes(frame, timeframe, MOST_GAPS):
        after, before = (int(pd.Timestamp(hole[end]).value // 1000) for end in ("after", "before"))
        pieces.append((max(after + step, since), min(before, until)))
    pieces.append((max(int(times[-1]) + step, since), until))
    left = [(a, b) for a, b in pieces if a < b and not any(x <= a and b <= y for x, y in empty)]
    return [_with_neighbours(times, a, b, step) for a, b in left]


def _with_neighbours(times: NDArray[np.int64], start: int, end: int, step: int) -> Span:
    at, after = np.searchsorted(times, (start, end))
    first = int(times[max(at - OVERLAP, 0)]) if at else start
    last = int(times[min(after + OVERLAP, len(times)) - 1]) + step if after < len(times) else end
    return Span(first, last, start, end)


def last_whole(timeframe: str, now: int) -> int:
    """The last moment at which a bar can have opened that is over now, exclusive."""
    return now - SETTLE - duration(timeframe) + 1


def whole_bars(frame: pd.DataFrame, timeframe: str, now: int) -> pd.DataFrame:
    """Without bars that are not over yet."""
    return frame.iloc[: int(np.searchsorted(bar_times(frame), last_whole(timeframe, now)))]


def possible_bars(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Without bars that cannot be, and how many these were; prices that rounding put in the wrong order are put right."""
    times, values = bar_times(frame), bar_values(frame).copy()
    known = np.isfinite(values[:4]).all(axis=0)
    top, bottom = values[:4].max(axis=0), values[:4].min(axis=0)
    near_top, near_bottom = known & (top - values[1] <= ROUNDING * top), known & (values[2] - bottom <= ROUNDING * top)
    values[1, near_top], values[2, near_bottom] = top[near_top], bottom[near_bottom]
    kept = np.array(np.isfinite(values[:4]).any(axis=0), dtype=np.bool_)  # a bar without any price says nothing, and is no fault
    empty = int((~kept).sum())
    for _, where in bar_faults(values):
        kept[where] = False
    if kept.all():
        return bar_frame(times, values), 0
    if not kept.any():
        return empty_frame(), len(kept) - empty
    return bar_frame(times[kept], np.ascontiguousarray(values[:, kept])), int((~kept).sum()) - empty


def disagreement(stored: pd.DataFrame, page: pd.DataFrame) -> str:
    """Where the page has other prices than the store at the same time, in words; empty if it has not."""
    _, at, there = np.intersect1d(bar_times(stored), bar_times(page), assume_unique=True, return_indices=True)
    before, after = bar_values(stored)[:4, at], bar_values(page)[:4, there]
    differs = np.abs(after - before) > TOLERANCE * np.abs(before)
    if not differs.any():
        return ""
    column, place = (int(found[0]) for found in np.nonzero(differs))
    return (
        f"{time_text(int(bar_times(page)[there[place]]))}: {PRICE_COLUMNS[column]} {before[column, place]:g} stored, "
        f"{after[column, place]:g} now"
    )


def only_new(stored: pd.DataFrame, page: pd.DataFrame) -> pd.DataFrame:
    """The bars of the page whose times are not stored: what is stored stays as it is."""
    return page[~np.isin(bar_times(page), bar_times(stored))]
