"""When a series should have a bar: by the habit that it shows, or by an exchange's calendar; and where one is missing.

The calendars come from the optional package exchange_calendars, which is imported only for a series that names one:
two seconds that nobody else pays.
"""

from __future__ import annotations

import functools
import importlib.util
import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import TIMEFRAMES, nearest
from training.core.findings import INFO, Finding
from training.pipeline.frames import bar_times
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


#: A time of the week is usual if it has a bar nearly as often as the times at which most bars lie, as far as chance allows:
#: in this share of their weeks, less so many deviations. A series with many holes has them at all its times; the last hour
#: of a week, quiet in every fourth one, makes no session.
USUAL, CHANCE = 0.8, 2.0
#: Below so many weeks the five working days are taken together.
FEW_WEEKS = 10
#: No bar at a time of day for so many weeks in a row is a season, if chance would not bring it about: opening hours that
#: moved with summer time, or trading that began or ended. At the ends of the series fewer weeks will do.
SEASON, SEASON_AT_END, BY_CHANCE = 6, 2, 1e-6
#: Outside of those a bar is there this often, as a share of how often one is at the times at which most bars lie.
OPEN_SEASON = 0.95
#: More changes than these are no market's: then all weeks are taken alike.
MOST_SEASONS = 200

_WEEK = 7 * 86_400


@dataclass(frozen=True)
class Habit:
    """weeks int64 (s,): the first week (counted as slots are) of each season, ascending; usual bool (s, slots of a week)."""

    weeks: NDArray[np.int64]
    usual: NDArray[np.bool_]

    def until(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many usual slots lie before each of these, counted from the first season's begin."""
        per_week = self.usual.shape[1]
        before = np.zeros((len(self.weeks), per_week + 1), dtype=np.int64)
        np.cumsum(self.usual, axis=1, out=before[:, 1:])
        seasons = np.concatenate([[0], np.cumsum(np.diff(self.weeks) * before[:-1, -1])])
        week, rest = np.divmod(slots, per_week)
        season = np.maximum(np.searchsorted(self.weeks, week, side="right") - 1, 0)
        counts: NDArray[np.int64] = seasons[season] + (week - self.weeks[season]) * before[season, -1] + before[season, rest]
        return counts

    def coarser(self, timeframe: str) -> Habit:
        """The habit of bars of a higher timeframe that are made of these: usual where a usual bar lies in the bucket."""
        per_week = _WEEK // TIMEFRAMES[timeframe]
        usual = np.logical_or.reduce(self.usual.reshape(len(self.weeks), per_week, -1), axis=2)
        return Habit(self.weeks, usual)

    def packed(self) -> bytes:
        """A few hundred bytes."""
        head = np.array(self.usual.shape, dtype="<i8").tobytes()
        return zlib.compress(head + self.weeks.astype("<i8").tobytes() + np.packbits(self.usual).tobytes())


def unpacked(packed: bytes, timeframe: str) -> Habit | None:
    """The habit of a series from its bytes; None if they are not one's."""
    try:
        content = zlib.decompress(packed)
        seasons, per_week = np.frombuffer(content, dtype="<i8", count=2).tolist()
        weeks = np.frombuffer(content, dtype="<i8", count=seasons, offset=16)
        bits = np.frombuffer(content, dtype=np.uint8, offset=16 + 8 * seasons)
        usual = np.unpackbits(bits, count=seasons * per_week).astype(np.bool_).reshape(seasons, per_week)
    except (zlib.error, ValueError):
        return None
    return Habit(weeks.astype(np.int64), usual) if seasons and per_week == _WEEK // TIMEFRAMES[timeframe] else None


def learn(slots: NDArray[np.int64], timeframe: str) -> Habit:
    """What these slots (ascending) say of the times of the week. Weeks without any bar say nothing."""
    per_week = _WEEK // TIMEFRAMES[timeframe]
    if not len(slots) or per_week < 7:
        return Habit(np.array([slots[0] // per_week if len(slots) else 0]), np.ones((1, per_week), dtype=np.bool_))
    week, rest = np.divmod(slots, per_week)
    active = np.concatenate([[True], np.diff(week) > 0])
    weeks = week[active]
    there = np.zeros((len(weeks), per_week), dtype=np.bool_)
    there[np.cumsum(active) - 1, rest] = True
    possible = np.ones((2, per_week), dtype=np.bool_)  # of the first and of the last week
    possible[0, : rest[0]], possible[1, rest[-1] + 1 :] = False, False
    usual, level = _usual(there, possible, np.zeros_like(there))
    off = _off(there, possible, level)
    # Between seasons without bars lie seasons with them: where bars are rare there too, nothing but chance is at work.
    open_weeks = np.maximum(len(there) - off.sum(axis=0), 1)
    off &= there.sum(axis=0) / open_weeks >= OPEN_SEASON * level - _by_chance(level, open_weeks)
    usual, _ = _usual(there, possible, off)
    off &= usual
    changes = np.flatnonzero((off[1:] != off[:-1]).any(axis=1)) + 1
    if len(changes) > MOST_SEASONS:
        off, changes = np.zeros_like(off), changes[:0]
    begins = np.concatenate([[0], changes]).astype(np.int64)
    return Habit(weeks[begins].astype(np.int64), usual & ~off[begins])


def _off(there: NDArray[np.bool_], possible: NDArray[np.bool_], level: float) -> NDArray[np.bool_]:
    """For each week and time of the week whether it lies in a season without bars: bool (w, slots of a week).

    Working days are looked at together, so is the weekend, and then each day by itself. level: how often a bar is there.
    """
    off = np.zeros_like(there)
    if len(there) < 2 * SEASON_AT_END:
        return off
    by_day, days = there.reshape(len(there), 7, -1), possible.reshape(2, 7, -1)
    off_by_day = off.reshape(by_day.shape)
    for together in (slice(0, 5), slice(5, 7)):
        found = _seasons(by_day[:, together], days[:, together], level)
        off_by_day[:, together] = found[:, None]
        others = ~found.any(axis=0)
        for day in range(together.start, together.stop):
            alone = slice(day, day + 1)
            off_by_day[:, day, others] = _seasons(by_day[:, alone, others], days[:, alone, others], level)
    return off


def _seasons(there: NDArray[np.bool_], possible: NDArray[np.bool_], level: float) -> NDArray[np.bool_]:
    """Long stretches of weeks in which none of these days (w, d, t) has a bar at a time of day: bool (w, t)."""
    seen, whole = np.logical_or.reduce(there, axis=1), np.logical_or.reduce(possible, axis=1)
    seen[0], seen[-1] = np.where(whole[0], seen[0], seen[1]), np.where(whole[1], seen[-1], seen[-2])  # a part of a week
    number = len(seen)
    unlikely = np.log(BY_CHANCE) / (there.shape[1] * np.log(max(1.0 - level, BY_CHANCE)))
    inside = max(min(SEASON, max(SEASON_AT_END, number // 3)), unlikely)
    at_end = max(SEASON_AT_END, unlikely)
    off: NDArray[np.bool_] = np.zeros_like(seen)
    some = np.flatnonzero(seen.any(axis=0) & ~seen.all(axis=0))
    present = seen[:, some]
    # The last and the next week with a bar, at each place.
    places = np.arange(number, dtype=np.int32)[:, None]
    last = np.maximum.accumulate(np.where(present, places, np.int32(-1)), axis=0)
    following = np.minimum.accumulate(np.where(present, places, np.int32(number))[::-1], axis=0)[::-1]
    begins, ends = last < 0, following == number
    length = following - last - 1 - (begins & ~whole[0, some]) - (ends & ~whole[1, some])
    off[:, some] = ~present & (length >= np.where(begins | ends, at_end, inside))
    return off


def _usual(there: NDArray[np.bool_], possible: NDArray[np.bool_], off: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], float]:
    """Which times of the week have a bar as a rule, seasons without bars left out: bool (slots of a week,); and how often
    one is there at the times at which most bars lie."""
    own = there.sum(axis=0).reshape(7, -1)
    own_weeks = (len(there) - (~possible).sum(axis=0) - off.sum(axis=0)).reshape(7, -1)
    counts, open_weeks, trading = own, own_weeks, own.any(axis=1)
    if len(there) < FEW_WEEKS and trading[:5].any():
        counts, open_weeks = (
            np.concatenate([np.tile(of[:5][trading[:5]].sum(axis=0), (5, 1)), of[5:]]) for of in (own, open_weeks)
        )
    counts, open_weeks = counts.ravel(), np.maximum(open_weeks.ravel(), 1)
    shares = counts / open_weeks
    order = np.argsort(shares)
    bars = np.cumsum(own.ravel()[order])
    level = float(shares[order[np.searchsorted(bars, bars[-1] / 2)]])
    as_rule = (shares >= USUAL * level - _by_chance(level, open_weeks)) & (own.ravel() > 0)
    # What could have its only bar and has not may still be usual by the other working days.
    by_others = (shares > USUAL * level) & (own_weeks.ravel() <= 1)
    usual: NDArray[np.bool_] = (as_rule | by_others) & np.repeat(trading, own.shape[1])
    return usual, level


def _by_chance(level: float, weeks: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much less than `level` the share of so many weeks may be by chance; of few weeks one may always be missing."""
    chance = np.minimum(level, 1.0 - 1.0 / weeks)
    below: NDArray[np.float64] = CHANCE * np.sqrt(chance * (1.0 - chance) / weeks)
    return below
