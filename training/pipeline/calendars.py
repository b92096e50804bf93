"""Exchange calendars: a calendar's name and a range of bars → the bars that the exchange's sessions expect.

The calendars come from the optional package exchange_calendars, which is imported only for a series that names one:
two seconds that nobody else pays.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import TIMEFRAMES, nearest
from training.core.findings import INFO, Finding
from training.pipeline.gaps import Expected, slots_of
from training.store.coverage import DAY, DataError

PACKAGE = "exchange_calendars"
INSTALL = "in the folder of KTRDR Train run: pip install -c constraints.txt -e '.[calendars]'"


class Sessions(NamedTuple):
    """Sessions in order, int64 (s,) µs UTC: the session's date at 00:00, and its open stretches, two where it has a break."""

    dates: NDArray[np.int64]
    opens: NDArray[np.int64]
    closes: NDArray[np.int64]


def installed() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


def known_calendars() -> list[str]:
    """The names that may be chosen, by themselves and as others call them; none without the package."""
    if not installed():
        return []
    from exchange_calendars import get_calendar_names

    return sorted(get_calendar_names(include_aliases=True))


def require_calendar(name: str) -> None:
    """DataError if there is no such calendar, or no package that would know."""
    if not installed():
        raise DataError(f"the calendar {name} cannot be used, since {PACKAGE} is not installed: {INSTALL}")
    from exchange_calendars import get_calendar_names

    known = get_calendar_names(include_aliases=True)
    if name in known:
        return
    near = nearest(name.upper(), known)
    hint = f"did you mean {near}?" if near else "such as XNYS (New York), XLON (London), XETR (Frankfurt), 24/5 or 24/7"
    raise DataError(f"unknown calendar '{name}'; {hint}")


def expected_bars(name: str, timeframe: str, times: NDArray[np.int64]) -> tuple[Expected, list[Finding]]:
    """The slots from the first to the last of `times` (µs) in which the calendar has a bar; None, and why, if it cannot tell."""
    if not name or not len(times):
        return None, []
    try:
        require_calendar(name)
        found = sessions(name, int(times[0]) // DAY, int(times[-1]) // DAY)
    except (DataError, ValueError) as problem:
        sentence = f"gaps are counted by the usual hours of the bars, not by the calendar {name}: {problem}"
        return None, [Finding("no_calendar", sentence.rstrip("."), severity=INFO)]
    slots = session_slots(found, timeframe)
    first, last = slots_of(times[[0, -1]], timeframe)[0]
    return slots[(slots >= first) & (slots <= last)], []


@functools.lru_cache(maxsize=64)
def sessions(name: str, first_day: int, last_day: int) -> Sessions:
    """The sessions between two days (days since 1970), a few more on both sides. ValueError beyond what the calendar knows."""
    from exchange_calendars import get_calendar

    start, end = (pd.Timestamp(day * DAY, unit="us") for day in (first_day, last_day + 7))
    schedule = get_calendar(name, start=start, end=end).schedule
    dates = schedule.index.as_unit("us").asi8
    opens, closes, breaks, resumes = (
        pd.DatetimeIndex(schedule[column]).as_unit("us").asi8 for column in ("open", "close", "break_start", "break_end")
    )
    paused = breaks != pd.NaT._value  # how pandas writes a break that is not there
    return Sessions(
        dates,
        np.sort(np.concatenate([opens, resumes[paused]])),
        np.sort(np.concatenate([np.where(paused, breaks, closes), closes[paused]])),
    )


def session_slots(found: Sessions, timeframe: str) -> NDArray[np.int64]:
    """Slots in which a bar belongs: of every session's date for days and weeks, else of every bar that meets an open stretch."""
    if TIMEFRAMES[timeframe] * 1_000_000 >= DAY:
        return np.unique(slots_of(found.dates, timeframe)[0])
    starts, ends = slots_of(found.opens, timeframe)[0], slots_of(found.closes - 1, timeframe)[0]
    lengths = ends - starts + 1
    places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.unique(np.repeat(starts, lengths) + places)
