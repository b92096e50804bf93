"""Gaps: bars that are missing at times at which a series should have one, by its own habit or by an exchange's calendar.

Times in µs since 1970 UTC; a slot is the number of a bar's place on its timeframe's grid, counted from a Monday.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.pipeline.frames import bar_times
from training.pipeline.habits import Habit, learn

#: A single missing weekday of daily bars is a holiday, unless a calendar says better.
SHORTEST_GAP = {"1d": 2}

#: 1970-01-01 was a Thursday: adding three days makes weeks begin on Monday.
_TO_MONDAY = 3 * 86_400_000_000
_EXAMPLES = 5

#: The slots of all bars that a calendar expects, ascending: int64 (n,); None where no calendar is known.
Expected = NDArray[np.int64] | None


@dataclass(frozen=True)
class Stretches:
    """Runs of bars: how many runs, bars in them, the longest (in bars), and where the longest and the first few begin (µs)."""

    count: int = 0
    bars: int = 0
    longest: int = 0
    longest_at: int | None = None
    first: tuple[int, ...] = ()


def slots_of(times: NDArray[np.int64], timeframe: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each bar's place on the timeframe's grid, int64 (n,) counted from a Monday; positions off the grid."""
    step = TIMEFRAMES[timeframe] * 1_000_000
    since_monday = times + _TO_MONDAY
    slots = since_monday // step
    return slots, np.flatnonzero(slots * step != since_monday)


def habit_of(times: NDArray[np.int64], timeframe: str) -> Habit:
    """At which times of the week a series with bars at these times (µs) has a bar."""
    return learn(slots_of(times, timeframe)[0], timeframe)


def gaps_of(
    times: NDArray[np.int64], slots: NDArray[np.int64], timeframe: str, expected: Expected = None, habit: Habit | None = None
) -> Stretches:
    """Holes in which bars are missing at times of the week at which this series usually has one.

    So nights, weekends and lunch breaks are no gaps for a series that never trades then, and are for one that does.
    Length and sum are in missing bars. Holidays of sub-daily series count, unless `expected` leaves them out.
    habit: of the whole series that these bars are of; None: learned from the bars.
    """
    positions, lengths = _holes(slots, timeframe, expected, habit)
    return summary(times[positions], lengths)


def holes(
    frame: pd.DataFrame, timeframe: str, most: int = 60, expected: Expected = None, habit: Habit | None = None
) -> list[dict[str, Any]]:
    """The longest gaps in order of time, as JSON: the last bar before, the first bar after, bars missing between."""
    times = bar_times(frame)
    positions, lengths = _holes(slots_of(times, timeframe)[0], timeframe, expected, habit)
    longest = np.sort(np.argsort(-lengths, kind="stable")[:most])
    text = np.datetime_as_string(times.view("M8[us]").astype("M8[s]")[np.stack([positions, positions + 1])[:, longest]])
    return [
        {"after": f"{after}Z", "before": f"{before}Z", "bars": int(bars)}
        for after, before, bars in zip(*text, lengths[longest], strict=True)
    ]


def _holes(
    slots: NDArray[np.int64], timeframe: str, expected: Expected, habit: Habit | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Position of the bar before each gap, and the gap's length in missing bars."""
    holes = np.flatnonzero(np.diff(slots) > 1)
    if not len(holes):
        return holes, holes
    if expected is not None:
        lengths = np.searchsorted(expected, slots[holes + 1]) - np.searchsorted(expected, slots[holes], side="right")
        return holes[lengths > 0], lengths[lengths > 0]
    habit = habit or learn(slots, timeframe)
    lengths = habit.until(slots[holes + 1]) - habit.until(slots[holes] + 1)
    real = lengths >= SHORTEST_GAP.get(timeframe, 1)
    return holes[real], lengths[real]


def outside(slots: NDArray[np.int64], expected: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the bars that stand where the calendar expects none."""
    if not len(expected):
        return np.arange(len(slots))
    place = np.minimum(np.searchsorted(expected, slots), len(expected) - 1)
    return np.flatnonzero(expected[place] != slots)


def summary(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Stretches:
    """Runs that begin at `starts` (µs) with so many bars each."""
    if not len(starts):
        return Stretches()
    longest = int(np.argmax(lengths))
    first = tuple(int(time) for time in starts[:_EXAMPLES])
    return Stretches(len(starts), int(lengths.sum()), int(lengths[longest]), int(starts[longest]), first)
