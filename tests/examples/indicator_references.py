"""Indicators bar by bar, as their authors describe them: slow, plain, sharing nothing with the pipeline but TA-Lib's primitives.

Each takes the columns and the parameters by name and gives the outputs in the vocabulary's order; a window is always summed
afresh, so there is nothing that could drift.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import talib

Columns = dict[str, np.ndarray]
Outputs = tuple[np.ndarray, ...]


def source(c: Columns, name: str) -> np.ndarray:
    """The price by its formula, from the columns."""
    parts = {"hl2": ("high", "low"), "hlc3": ("high", "low", "close"), "ohlc4": ("open", "high", "low", "close")}
    return sum(c[p] for p in parts.get(name, (name,))) / len(parts.get(name, (name,)))  # type: ignore[return-value]


def each_window(count: int, period: int, value: Callable[[slice], float]) -> np.ndarray:
    """`value` of the last `period` bars at every bar that has so many."""
    result = np.full(count, np.nan)
    for t in range(period - 1, count):
        result[t] = value(slice(t - period + 1, t + 1))
    return result


def true_ranges(c: Columns) -> list[float]:
    high, low, close = c["high"], c["low"], c["close"]
    return [max(high[t] - low[t], abs(high[t] - close[t - 1]), abs(low[t] - close[t - 1])) for t in range(1, len(close))]


def plain_atr(c: Columns, period: int) -> np.ndarray:
    ranges = true_ranges(c)
    return each_window(len(c["close"]), period + 1, lambda w: math.fsum(ranges[w.start : w.stop - 1]) / period)


def ema(values: np.ndarray, period: int) -> np.ndarray:
    """Seeded with the mean of the first `period` values."""
    result = np.full(len(values), np.nan)
    if len(values) >= period:
        result[period - 1] = values[:period].mean()
        for t in range(period, len(values)):
            result[t] = result[t - 1] + 2 / (period + 1) * (values[t] - result[t - 1])
    return result


def wilder_atr(c: Columns, period: int) -> np.ndarray:
    result, ranges = np.full(len(c["close"]), np.nan), true_ranges(c)
    if len(ranges) >= period:
        result[period] = sum(ranges[:period]) / period
        for t in range(period + 1, len(result)):
            result[t] = (result[t - 1] * (period - 1) + ranges[t - 1]) / period
    return result


def rvi(c: Columns, p: dict[str, Any]) -> Outputs:
    count, weights = len(c["close"]), (1, 2, 2, 1)
    body, spread = c["close"] - c["open"], c["high"] - c["low"]
    up = [sum(w * body[t - k] for k, w in enumerate(weights)) / 6 for t in range(3, count)]
    wide = [sum(w * spread[t - k] for k, w in enumerate(weights)) / 6 for t in range(3, count)]
    value = np.full(count, np.nan)
    for t in range(p["period"] + 2, count):
        window = slice(t - 2 - p["period"], t - 2)
        value[t] = math.fsum(up[window]) / math.fsum(wide[window]) if any(wide[window]) else 0.0
    length = p["signal_period"]
    triangle = [min(k, length - 1 - k) + 1 for k in range(length)]
    signal = each_window(count, length, lambda w: float(np.dot(value[w], triangle) / sum(triangle)))
    return value, signal


def fisher(c: Columns, p: dict[str, Any]) -> Outputs:
    price, period = (c["high"] + c["low"]) / 2, p["period"]
    fishers, signals = np.full(len(price), np.nan), np.full(len(price), np.nan)
    place = before = 0.0
    for t in range(period - 1, len(price)):
        low, high = min(price[t - period + 1 : t + 1]), max(price[t - period + 1 : t + 1])
        now = 2 * ((price[t] - low) / (high - low) - 0.5) if high > low else 0.0
        place += (now - place) / p["smoothing"]
        if abs(place) > 0.99:
            place = math.copysign(0.999, place)
        if t >= period:
            signals[t] = before
        before = fishers[t] = math.atanh(place) + before / 2
    return fishers, signals


def keltner(c: Columns, p: dict[str, Any]) -> Outputs:
    middle, width = ema(c["close"], p["period"]), p["multiplier"] * wilder_atr(c, p["atr_period"])
    return middle + width, middle, middle - width


def donchian(c: Columns, p: dict[str, Any]) -> Outputs:
    upper = each_window(len(c["high"]), p["period"], lambda w: max(c["high"][w]))
    lower = each_window(len(c["low"]), p["period"], lambda w: min(c["low"][w]))
    return upper, (upper + lower) / 2, lower


def supertrend(c: Columns, p: dict[str, Any]) -> Outputs:
    """With TA-Lib's ATR, on which the other side of a band may turn."""
    high, low, close = c["high"], c["low"], c["close"]
    width = p["multiplier"] * talib.ATR(high, low, close, timeperiod=p["period"])
    trend, direction = np.full(len(close), np.nan), np.full(len(close), np.nan)
    last_upper = last_lower = math.nan
    for t in range(p["period"], len(close)):
        upper, lower = (high[t] + low[t]) / 2 + width[t], (high[t] + low[t]) / 2 - width[t]
        falling = True
        if t > p["period"]:
            upper = upper if upper < last_upper or close[t - 1] > last_upper else last_upper
            lower = lower if lower > last_lower or close[t - 1] < last_lower else last_lower
            falling = not close[t] > upper if direction[t - 1] < 0 else bool(close[t] < lower)
        last_upper, last_lower = upper, lower
        trend[t], direction[t] = (upper, -1) if falling else (lower, 1)
    return trend, direction


def parabolic(c: Columns, p: dict[str, Any]) -> Outputs:
    """Wilder's rules: the stop moves towards the extreme, never into the last two bars, and turns when a bar reaches it."""
    high, low = c["high"], c["low"]
    top = p["max_af"]
    first, step = min(p["initial_af"], top), min(p["step_af"], top)
    stops = np.full(len(high), np.nan)
    if len(high) < 2:
        return (stops,)
    down, up = low[0] - low[1], high[1] - high[0]
    rising = not (down > 0 and down > up)
    stop, extreme, factor = (low[0], high[1], first) if rising else (high[0], low[1], first)
    for t in range(1, len(high)):
        # TA-Lib has the second bar stand for the one before it as well.
        before = max(t - 1, 1)
        if (rising and low[t] <= stop) or (not rising and high[t] >= stop):
            rising = not rising
            beyond = (high[before], high[t]) if not rising else (low[before], low[t])
            stop = max(extreme, *beyond) if not rising else min(extreme, *beyond)
            stops[t] = stop
            factor, extreme = first, (high[t] if rising else low[t])
        else:
            stops[t] = stop
            better = high[t] > extreme if rising else low[t] < extreme
            if better:
                extreme, factor = (high[t] if rising else low[t]), min(factor + step, top)
        stop += factor * (extreme - stop)
        stop = min(stop, low[before], low[t]) if rising else max(stop, high[before], high[t])
    return (stops,)


def ichimoku(c: Columns, p: dict[str, Any]) -> Outputs:
    tenkan, kijun, span_b = (donchian(c, {"period": p[name]})[1] for name in ("tenkan_period", "kijun_period", "senkou_b_period"))
    return tenkan, kijun, (tenkan + kijun) / 2, span_b


def vwap(c: Columns, p: dict[str, Any]) -> Outputs:
    price, volume = source(c, p["source"]), c["volume"]

    def paid(w: slice) -> float:
        return float(np.average(price[w], weights=volume[w] if volume[w].any() else None))

    if p["period"]:
        return (each_window(len(price), p["period"], paid),)
    return (np.array([paid(slice(0, t + 1)) for t in range(len(price))]),)


def money_flows(c: Columns) -> np.ndarray:
    bars = zip(c["high"], c["low"], c["close"], c["volume"], strict=True)
    return np.array([v * ((last - low) - (high - last)) / (high - low) if high > low else 0.0 for high, low, last, v in bars])


def cmf(c: Columns, p: dict[str, Any]) -> Outputs:
    flow, volume = money_flows(c), c["volume"]
    return (each_window(len(flow), p["period"], lambda w: math.fsum(flow[w]) / (math.fsum(volume[w]) or 1.0)),)


def adline(c: Columns, p: dict[str, Any]) -> Outputs:
    return (np.array([math.fsum(money_flows(c)[: t + 1]) for t in range(len(c["close"]))]),)


def volume_ratio(c: Columns, p: dict[str, Any]) -> Outputs:
    volume = c["volume"]
    return (each_window(len(volume), p["period"], lambda w: volume[w][-1] / volume[w].mean() if volume[w].any() else 1.0),)


def distance(c: Columns, p: dict[str, Any]) -> Outputs:
    price, period = source(c, p["source"]), p["period"]
    mean = ema(price, period) if p["ma_type"] == "ema" else each_window(len(price), period, lambda w: price[w].mean())
    return (100 * (price - mean) / mean,)


def squeeze(c: Columns, p: dict[str, Any]) -> Outputs:
    close, count = c["close"], len(c["close"])
    middle = each_window(count, p["bb_period"], lambda w: close[w].mean())
    deviation = p["bb_multiplier"] * each_window(count, p["bb_period"], lambda w: close[w].std())
    upper, centre, lower = keltner(c, {"period": p["kc_period"], "atr_period": p["kc_period"], "multiplier": p["kc_multiplier"]})
    room = np.minimum(upper - (middle + deviation), (middle - deviation) - lower)
    half = (upper - lower) / 2
    result = np.array(
        [min(max(r / h, 0.0), 1.0) if h > 0 else (math.nan if math.isnan(h) else 0.0) for r, h in zip(room, half, strict=True)]
    )
    result[np.isnan(middle + centre)] = np.nan
    return (result,)


SLOW: dict[str, Callable[[Columns, dict[str, Any]], Outputs]] = {
    "rvi": rvi,
    "fishertransform": fisher,
    "keltnerchannels": keltner,
    "donchianchannels": donchian,
    "supertrend": supertrend,
    "parabolicsar": parabolic,
    "ichimoku": ichimoku,
    "vwap": vwap,
    "cmf": cmf,
    "adline": adline,
    "volumeratio": volume_ratio,
    "distancefromma": distance,
    "squeezeintensity": squeeze,
}
