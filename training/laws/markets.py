"""Made-up markets for the laws: bar columns of a lively price, the same on every run; what may happen to them later; and
the clocks by which markets and servers stamp their bars."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import BAR_COLUMNS, TIMEFRAMES
from training.pipeline.features import bar_columns
from training.pipeline.synthetic import make_bars

Columns = dict[str, NDArray[np.float64]]


def market(count: int, seed: int) -> Columns:
    """Bars of a symbol of its own."""
    if count == 0:
        return {name: np.empty(0) for name in BAR_COLUMNS}
    return dict(bar_columns(make_bars(count, "1d", seed)))


def constant_market(count: int, price: float, volume: float) -> Columns:
    """A price that never moves."""
    return {name: np.full(count, volume if name == "volume" else price) for name in BAR_COLUMNS}


def first_bars(columns: Columns, count: int) -> Columns:
    """The market as it was when only its first bars were there."""
    return {name: column[:count].copy() for name, column in columns.items()}


def other_future(columns: Columns, after: int, factor: float, seed: int) -> Columns:
    """The market with other bars behind position `after`: those of another symbol, at prices `factor` times as high."""
    count = len(columns["close"])
    another = market(count, seed)
    changed = {}
    for name, column in columns.items():
        scale = 1.0 if name == "volume" else factor
        changed[name] = np.concatenate([column[: after + 1], scale * another[name][after + 1 :]])
    return changed


def scaled(columns: Columns, factor: float) -> Columns:
    """The market in another unit of price."""
    return {name: column if name == "volume" else column * factor for name, column in columns.items()}


def definition(name: str, key: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {key: name, **parameters}


# --- clocks ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clock:
    """How a market's bars are stamped. sessions: the stretches of a trading day in minutes from its midnight in `zone`, which
    may begin on the day before; the bars of each are counted from its open. days: trading days, Monday is 0. day_opens:
    where in the day its daily bar is stamped, in minutes; week_opens: in days from Monday, −1 is the Sunday before."""

    zone: str
    sessions: tuple[tuple[int, int], ...]
    days: tuple[int, ...] = (0, 1, 2, 3, 4)
    day_opens: int = 0
    week_opens: int = 0


CLOCKS: Mapping[str, Clock] = {
    "New York from 09:30": Clock("America/New_York", ((570, 960),), day_opens=570),
    "India from 09:15": Clock("Asia/Kolkata", ((555, 930),)),
    "Kathmandu, five days from Sunday": Clock("Asia/Kathmandu", ((660, 900),), (6, 0, 1, 2, 3), week_opens=-1),
    "Hong Kong with its lunch": Clock("Asia/Hong_Kong", ((570, 720), (780, 960)), day_opens=570),
    "a server on New York's close": Clock("America/New_York", ((-420, 1020),), day_opens=-420, week_opens=-1),
    "a server on Athens time": Clock("Europe/Athens", ((0, 1440),)),
    "Adelaide, round the day": Clock("Australia/Adelaide", ((0, 1440),), week_opens=-1),
}


def opens(clock: Clock, timeframe: str, first: dt.date, days: int) -> NDArray[np.int64]:
    """The opens (µs UTC) of all bars of a timeframe that the clock stamps in so many days from the day `first`."""
    step = TIMEFRAMES[timeframe] // 60
    found = []
    for day in (first + dt.timedelta(number) for number in range(days)):
        if step >= 7 * 1440 and day.weekday() == 0:
            found.append(_utc(clock, day, clock.week_opens * 1440))
        elif step == 1440 and day.weekday() in clock.days:
            found.append(_utc(clock, day, clock.day_opens))
        elif step < 1440 and day.weekday() in clock.days:
            found += [_utc(clock, day, minute) for begin, end in clock.sessions for minute in range(begin, end, step)]
    return np.unique(np.array(found, dtype=np.int64))


def _utc(clock: Clock, day: dt.date, minute: int) -> int:
    local = dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=minute)
    return int(local.replace(tzinfo=ZoneInfo(clock.zone)).timestamp()) * 1_000_000
