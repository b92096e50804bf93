"""Made-up bars for tests and benchmarks: a seed in, a frame out, the same on every machine with this numpy."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.pipeline.frames import bar_frame, bar_times, bar_values

_YEAR = 365.25 * 86_400
#: 1970-01-05 in seconds: the grid of every timeframe passes through it.
_MONDAY = 4 * 86_400
#: Yearly drift and volatility of the regimes a market wanders between: rising, falling, quiet, stormy.
_DRIFT = np.array([0.25, -0.25, 0.0, -0.1])
_VOLATILITY = np.array([0.15, 0.20, 0.08, 0.50])
_MEAN_REGIME_BARS = 250


def make_bars(count: int, timeframe: str = "1h", seed: int = 0, start: str = "2015-01-01", regimes: bool = True) -> pd.DataFrame:
    """`count` bars, one in every step of the timeframe from its first open at or after `start` (UTC).

    Prices are positive, high and low enclose the rest, volume is a whole number of at least 1.

    With `regimes`, drift, volatility and volume switch between four states that last 250 bars on average;
    without, the price is one random walk.
    """
    random = np.random.default_rng(seed)
    step = TIMEFRAMES[timeframe]
    state = _regimes(count, random) if regimes else np.full(count, 2)
    years = step / _YEAR
    deviation = _VOLATILITY[state] * np.sqrt(years)
    returns = _DRIFT[state] * years + deviation * random.standard_normal(count)
    # A pull towards the starting price keeps a million bars within what a price can be.
    level = np.cumsum(returns)
    close = 100.0 * np.exp(2.0 * np.tanh(level / 2.0))
    gap = 0.1 * deviation * random.standard_normal(count)
    opens = np.concatenate([[100.0], close[:-1]]) * np.exp(gap)
    wicks = 0.6 * deviation * np.abs(random.standard_normal((2, count)))
    highs = np.maximum(opens, close) * np.exp(wicks[0])
    lows = np.minimum(opens, close) * np.exp(-wicks[1])
    volume = np.floor(1000.0 * np.exp(0.4 * random.standard_normal(count) + 0.3 * np.abs(returns) / deviation)) + 1.0
    from_monday = int(np.datetime64(start, "s").astype(np.int64)) - _MONDAY
    first = -(-from_monday // step) * step + _MONDAY
    times = (first + np.arange(count, dtype=np.int64) * step) * 1_000_000
    return bar_frame(times, np.stack([opens, highs, lows, close, volume]))


def _regimes(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """The state of each bar, int64 (count,): geometric lengths, a state never follows itself."""
    switches = random.random(count) < 1.0 / _MEAN_REGIME_BARS
    steps = np.where(switches, random.integers(1, len(_DRIFT), count), 0)
    states: NDArray[np.int64] = np.cumsum(steps) % len(_DRIFT)
    return states


def with_holes(frame: pd.DataFrame, share: float, seed: int = 0) -> pd.DataFrame:
    """The frame without about that share of its bars, drawn at random; the first and the last bar stay."""
    keep = np.random.default_rng(seed).random(len(frame)) >= share
    keep[:1], keep[-1:] = True, True
    return bar_frame(bar_times(frame)[keep], np.ascontiguousarray(bar_values(frame)[:, keep]))
