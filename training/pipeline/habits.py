"""The habit of a series: at which times of the week it has a bar, learned once from all its bars and kept with it.

A slot is the number of a bar's place on its timeframe's grid, counted from a Monday.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import TIMEFRAMES

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
