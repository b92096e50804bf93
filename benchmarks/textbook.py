"""The same features and labels as many projects compute them: pandas, and Python loops where pandas has no word for it.

RSI and OBV walk over the bars with `.iloc`, memberships go through `Series.apply`, labels look at a slice
per bar, the higher timeframe comes by `merge_asof`. Nothing here is slowed down on purpose, and nothing
is tuned. It needs bars without holes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Degree = Callable[[float], float]


def rsi(close: pd.Series, period: int) -> pd.Series:
    gains, losses = [0.0], [0.0]
    for i in range(1, len(close)):
        change = close.iloc[i] - close.iloc[i - 1]
        gains.append(max(change, 0.0))
        losses.append(max(-change, 0.0))
    result = pd.Series(np.nan, index=close.index)
    gain, loss = sum(gains[1 : period + 1]) / period, sum(losses[1 : period + 1]) / period
    for i in range(period, len(close)):
        if i > period:
            gain = (gain * (period - 1) + gains[i]) / period
            loss = (loss * (period - 1) + losses[i]) / period
        result.iloc[i] = 100.0 * gain / (gain + loss)
    return result


def obv(close: pd.Series, volume: pd.Series) -> pd.Series:
    values = [volume.iloc[0]]
    for i in range(1, len(close)):
        if close.iloc[i] > close.iloc[i - 1]:
            values.append(values[-1] + volume.iloc[i])
        elif close.iloc[i] < close.iloc[i - 1]:
            values.append(values[-1] - volume.iloc[i])
        else:
            values.append(values[-1])
    return pd.Series(values, index=close.index)


def seeded_average(values: pd.Series, period: int, at: int, alpha: float) -> pd.Series:
    """An exponential average that begins with the plain mean of `period` values at position `at`."""
    seeded = values.copy()
    seeded.iloc[at] = values.iloc[at + 1 - period : at + 1].mean()
    seeded.iloc[:at] = np.nan
    return seeded.ewm(alpha=alpha, adjust=False).mean()


def ema(values: pd.Series, period: int, at: int | None = None) -> pd.Series:
    return seeded_average(values, period, period - 1 if at is None else at, 2 / (period + 1))


def macd_histogram(close: pd.Series, fast: int, slow: int, signal: int) -> pd.Series:
    line = ema(close, fast, slow - 1) - ema(close, slow)
    return line - ema(line, signal, slow + signal - 2)


def upper_band(close: pd.Series, period: int, multiplier: float) -> pd.Series:
    return close.rolling(period).mean() + multiplier * close.rolling(period).std(ddof=0)


def atr(bars: pd.DataFrame, period: int) -> pd.Series:
    before = bars["close"].shift()
    ranges = pd.concat([bars["high"] - bars["low"], (bars["high"] - before).abs(), (bars["low"] - before).abs()], axis=1)
    return seeded_average(ranges.max(axis=1), period, period, 1 / period)


def stochastic(bars: pd.DataFrame, period: int, smooth: int) -> tuple[pd.Series, pd.Series]:
    lowest, highest = bars["low"].rolling(period).min(), bars["high"].rolling(period).max()
    k = (100 * (bars["close"] - lowest) / (highest - lowest)).rolling(smooth).mean()
    return k, k.rolling(smooth).mean()


def triangular(a: float, b: float, c: float) -> Degree:
    def degree(x: float) -> float:
        if math.isnan(x):
            return x
        return max(0.0, min((x - a) / (b - a), (c - x) / (c - b)))

    return degree


def gaussian(mean: float, deviation: float) -> Degree:
    return lambda x: math.exp(-0.5 * ((x - mean) / deviation) ** 2)


def sigmoid(centre: float, width: float) -> Degree:
    return lambda x: 1 / (1 + math.exp(-(x - centre) / width))


def memberships(bars: pd.DataFrame) -> pd.DataFrame:
    """Ten columns from eight indicators, in the order of `pipeline.strategy`."""
    close = bars["close"]
    strength = rsi(close, 14)
    k, d = stochastic(bars, 14, 3)
    columns = {
        "low": strength.apply(triangular(0, 25, 50)),
        "high": strength.apply(triangular(50, 75, 100)),
        "trend": (100 * (ema(close, 20) / close - 1)).apply(gaussian(0, 1)),
        "swing": (macd_histogram(close, 12, 26, 9) / close).apply(sigmoid(0, 0.001)),
        "band": (100 * (upper_band(close, 20, 2.0) / close - 1)).apply(triangular(-1, 0.5, 2)),
        "range": (atr(bars, 14) / close).apply(triangular(-0.001, 0.003, 0.02)),
        "k": k.apply(sigmoid(50, 10)),
        "d": d.apply(gaussian(50, 20)),
        "flow": obv(close, bars["volume"]).apply(sigmoid(0, 50_000)),
        "change": (100 * (close / close.shift(10) - 1)).apply(triangular(-2, 0, 2)),
    }
    return pd.DataFrame(columns)


def zigzag_labels(close: pd.Series, threshold: float, lookahead: int, swing: int) -> pd.Series:
    labels = pd.Series(np.nan, index=close.index)
    for i in range(len(close) - lookahead):
        price, future = close.iloc[i], close.iloc[i + 1 : i + 1 + lookahead]
        gain, loss = (future.max() - price) / price, (price - future.min()) / price
        label = 1.0
        if gain >= threshold and gain > loss and future.argmax() + 1 >= swing:
            label = 0.0
        elif loss >= threshold and loss > gain and future.argmin() + 1 >= swing:
            label = 2.0
        labels.iloc[i] = label
    return labels


def build(bars: pd.DataFrame, base: pd.Timedelta, higher: pd.Timedelta, threshold: float, lookahead: int, swing: int) -> tuple[
    NDArray[np.float32], NDArray[np.int64]
]:  # fmt: skip
    """Features (n, 20) and labels (n,) of the bars that have them all."""
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    buckets = bars.resample(higher, closed="left", label="left", origin="epoch").agg(how).dropna()
    slow = memberships(buckets).add_prefix("slow_")
    slow["known"] = slow.index + higher
    rows = memberships(bars).assign(known=bars.index + base, time=bars.index)
    rows["label"] = zigzag_labels(bars["close"], threshold, lookahead, swing)
    joined = pd.merge_asof(rows, slow, on="known").dropna()
    names = [name for fast in rows.columns if fast not in ("known", "time", "label") for name in (fast, f"slow_{fast}")]
    return joined[names].to_numpy(np.float32), joined["label"].to_numpy(np.int64)
