"""Oddities: prices that jump as after a split, and prices that leave the bars beside them and come back, as a bad tick does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Old price over new price at a split, and how near (as a share) the overnight jump must come to it.
SPLITS = {"3:2": 1.5, **{f"{n}:1": float(n) for n in (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50)}}
SPLITS |= {f"1:{n}": 1.0 / n for n in (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50)}
SPLIT_TOLERANCE = 0.03
#: A price is suspected from so many times the usual move of the close on, if the bars on both sides never went there and
#: stand nearer to each other than this share of the way. On real bars: a holiday's bad tick of 2.5 % in hourly currencies.
SPIKE_MOVES, SPIKE_APART = 25.0, 0.25
MANY_BARS = 50_000


@dataclass(frozen=True)
class Jump:
    """A bar whose open stands to the close before it as after a split: its time (µs) and the split, such as 2:1."""

    time: int
    split: str


@dataclass(frozen=True)
class Spike:
    """A bar with a price that the bars beside it never saw: its time (µs), which price (high or low), and how far (a share)."""

    time: int
    price: str
    far: float


def split_jumps(times: NDArray[np.int64], values: NDArray[np.float64]) -> Iterator[Jump]:
    """Bars that open at a split's ratio to the close before, and close on the same level (a crash or a bad tick does not)."""
    before, opens, closes = values[3, :-1], values[0, 1:], values[3, 1:]
    jumps = np.flatnonzero((opens * 1.4 < before) | (opens > before * 1.4))
    ratios = before[jumps] / opens[jumps]
    stays = np.abs(closes[jumps] / opens[jumps] - 1) < 0.2
    for jump, ratio in zip(jumps[stays], ratios[stays], strict=True):
        name = split_name(float(ratio))
        if name:
            yield Jump(int(times[jump + 1]), name)


def split_name(ratio: float, tolerance: float = SPLIT_TOLERANCE) -> str | None:
    """The split whose ratio of old to new price is nearest, if it is near."""
    name = min(SPLITS, key=lambda split: abs(SPLITS[split] / ratio - 1))
    return name if abs(SPLITS[name] / ratio - 1) <= tolerance else None


def spikes(times: NDArray[np.int64], values: NDArray[np.float64]) -> list[Spike]:
    """Highs and lows that stand alone, in order of time. values float64 (5, n), prices above 0 or NaN.

    The measure is the median move from close to close, so that a currency's 1 % counts like a share's 20 %.
    A real crash stays down; a flash crash comes back within its bar and is suspected too: a suspicion, no error.
    """
    opens, highs, lows, closes = values[:4]
    with np.errstate(divide="ignore", invalid="ignore"):  # prices that are not there, or not above 0, are other findings
        # Of many bars every seventh move tells as much, and falls on every hour of the day in turn.
        step = 1 if len(closes) < MANY_BARS else 7
        moves = np.abs(closes[1::step] / closes[:-1:step] - 1)
        moves = moves[moves > 0]
        if len(moves) < 2:
            return []
        least = SPIKE_MOVES * float(np.median(moves))
        above, below = np.maximum(closes[:-2], opens[2:]), np.minimum(closes[:-2], opens[2:])
        apart = above / below - 1
        sides = {"high": highs[1:-1] / above - 1, "low": below / lows[1:-1] - 1}
        found = [
            Spike(int(times[place + 1]), name, float(away[place] if name == "high" else 1 / (1 + away[place]) - 1))
            for name, away in sides.items()
            for place in np.flatnonzero((away > least) & (apart < SPIKE_APART * away))
        ]
    return sorted(found, key=lambda spike: spike.time)
