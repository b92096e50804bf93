"""Indicator kind → computation: bar columns in, one float64 array per output out, NaN in the warm-up and nowhere else.

Each computation takes the columns it may need and its parameters, both by name, and gives the
outputs in the vocabulary's order. What TA-Lib has is TA-Lib's own result, unchanged. Columns must
hold no NaN: TA-Lib's recursions never recover from one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import talib
from numpy.typing import NDArray

from strategies_app.grammar import plugins
from training.core.plugin_code import indicator_arrays
from training.pipeline import kernels

Array = NDArray[np.float64]
Columns = Mapping[str, Array]
Computation = Callable[[Columns, Mapping[str, Any]], tuple[Array, ...]]


def source_of(columns: Columns, source: str) -> Array:
    """The price that an indicator works on: a column, or a mean of columns (hl2, hlc3, ohlc4)."""
    if source == "hl2":
        return (columns["high"] + columns["low"]) / 2
    if source == "hlc3":
        return (columns["high"] + columns["low"] + columns["close"]) / 3
    if source == "ohlc4":
        return (columns["open"] + columns["high"] + columns["low"] + columns["close"]) / 4
    return columns[source]


def average(function: Callable[..., Array], values: Array, period: int) -> Array:
    """A moving average; over one bar it is the bar itself, which TA-Lib refuses to compute."""
    return values.copy() if period == 1 else function(values, period)


def after(missing: int, values: Array, count: int) -> Array:
    """`values` behind `missing` bars without one: (count,), also where there are fewer bars than that."""
    result = np.full(count, np.nan)
    result[missing:] = values
    return result


def window_sums(values: Array, period: int) -> Array:
    """Sums of the last `period` values, (n,), NaN before there are so many; of zeros exactly zero."""
    sums = np.empty(len(values))
    kernels.window_sums(np.ascontiguousarray(values), period, sums)
    return sums


def running_sums(values: Array) -> Array:
    """Sums of all values so far, (n,)."""
    sums = np.empty(len(values))
    kernels.running_sums(np.ascontiguousarray(values), sums)
    return sums


def share(parts: Array, wholes: Array, empty: float) -> Array:
    """parts / wholes; `empty` where the whole is zero, NaN where it is missing."""
    result = np.full(len(parts), empty)
    np.divide(parts, wholes, out=result, where=wholes != 0)
    return result


def _scaled(values: Array, factor: float) -> Array:
    """The values times `factor`, in their own place: new memory costs more than the product."""
    return np.multiply(values, factor, out=values)


def _middle(upper: Array, lower: Array, result: Array) -> Array:
    """The middle between the two, in the place of `result`, which may be one of them."""
    kernels.middles(upper, lower, result)
    return result


def bbands(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """TA-Lib's BBANDS, with the population deviation. Constant price: the price, three times."""
    upper, middle, lower = talib.BBANDS(source_of(c, p["source"]), p["period"], p["multiplier"], p["multiplier"])
    return upper, middle, lower


def bandwidth(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """(upper − lower) / middle. Constant price: 0."""
    upper, middle, lower = bbands(c, p)
    return ((upper - lower) / middle,)


def atr(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """Wilder 1978 by TA-Lib's ATR, or the plain mean of TA-Lib's TRANGE. Constant price: 0."""
    if p["smoothing"] == "wilder":
        return (talib.ATR(c["high"], c["low"], c["close"], p["period"]),)
    true_range = talib.TRANGE(c["high"], c["low"], c["close"])[1:]
    return (after(1, window_sums(true_range, p["period"]) / p["period"], len(c["close"])),)


def keltner(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """Chester Keltner's channel as Linda Raschke draws it: EMA of the close ± multiplier · Wilder's ATR.

    Constant price: the price, three times. Where only the ATR is missing the middle is there alone.
    """
    middle = talib.EMA(c["close"], p["period"])
    width = _scaled(talib.ATR(c["high"], c["low"], c["close"], p["atr_period"]), p["multiplier"])
    upper = middle + width
    return upper, middle, np.subtract(middle, width, out=width)


def donchian(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """Richard Donchian's channel: highest high and lowest low of the last bars, this one included, and their mean.

    TA-Lib's MAX and MIN. Constant price: the price, three times.
    """
    upper, lower = talib.MAX(c["high"], p["period"]), talib.MIN(c["low"], p["period"])
    return upper, _middle(upper, lower, np.empty(len(upper))), lower


def ichimoku(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """Goichi Hosoda's lines: each the middle of the range of its period, the first span the mean of the first two.

    Nothing is displaced: a span stands at the bar from which it is known, and charts draw it kijun_period bars to the
    right of that. Constant price: the price, four times.
    """
    lines = []
    for name in ("tenkan_period", "kijun_period", "senkou_b_period"):
        highest = talib.MAX(c["high"], p[name])
        lines.append(_middle(highest, talib.MIN(c["low"], p[name]), highest))
    tenkan, kijun, span_b = lines
    return tenkan, kijun, _middle(tenkan, kijun, np.empty(len(tenkan))), span_b


def supertrend(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """Olivier Seban's SuperTrend as TradingView computes it: a kernel over (high + low) / 2 ± multiplier · TA-Lib's ATR.

    It begins as falling and turns with the close that passes the band. The band keeps its best level for as long as no
    close passes it, so the first bar may matter for ever. Constant price: the price, −1.
    """
    width = _scaled(talib.ATR(c["high"], c["low"], c["close"], p["period"]), p["multiplier"])
    trend, direction = np.empty(len(width)), np.empty(len(width))
    kernels.supertrend(c["high"], c["low"], c["close"], width, trend, direction)
    return trend, direction


def parabolic_sar(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """Wilder's parabolic stop and reverse, 1978: TA-Lib's SAREXT without the sign that it gives to falling stops.

    The first direction is that of the first two bars' directional movement; a factor above max_af counts as max_af.
    With initial_af = step_af it is TA-Lib's SAR. Constant price: the price.
    """
    factors = (p["initial_af"], p["step_af"], p["max_af"])
    return (np.abs(talib.SAREXT(c["high"], c["low"], 0.0, 0.0, *factors, *factors)),)


def squeeze_intensity(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """How far the Bollinger bands lie inside the Keltner channel (John Carter's squeeze), in [0, 1].

    The smaller of the two distances from band to channel, over half the channel's width: above 0 exactly when both bands
    are inside, 1 when they have no width and share the channel's middle. 0 where the channel has no width, so on a
    constant price.
    """
    upper, _, lower = talib.BBANDS(c["close"], p["bb_period"], p["bb_multiplier"], p["bb_multiplier"])
    middle = talib.EMA(c["close"], p["kc_period"])
    half = _scaled(talib.ATR(c["high"], c["low"], c["close"], p["kc_period"]), p["kc_multiplier"])
    kernels.squeeze(upper, lower, middle, half, half)
    return (half,)


def obv(c: Columns, _: Mapping[str, Any]) -> tuple[Array, ...]:
    """TA-Lib's OBV. Constant price: the first bar's volume."""
    return (talib.OBV(c["close"], c["volume"]),)


def mfi(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """TA-Lib's MFI. Constant price: 0."""
    return (talib.MFI(c["high"], c["low"], c["close"], c["volume"], p["period"]),)


def vwap(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """Volume-weighted average price (Berkowitz, Logue and Noser 1988): Σ price · volume / Σ volume, by our own sums.

    Over `period` bars, or with period 0 over all bars so far. Without volume every bar counts the same: the plain mean of
    the prices. Constant price: the price.
    """
    price, volume, period = source_of(c, p["source"]), c["volume"], p["period"]
    totals = window_sums(volume, period) if period else running_sums(volume)
    paid = window_sums(price * volume, period) if period else running_sums(price * volume)
    nothing = totals == 0
    result = share(paid, totals, 0.0)
    if nothing.any():
        plain = window_sums(price, period) / period if period else running_sums(price) / np.arange(1, len(price) + 1)
        result[nothing] = plain[nothing]
    return (result,)


def chaikin_money_flow(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """Marc Chaikin's money flow: Σ volume · place of the close in its bar (−1 low, 1 high) / Σ volume, by our own sums.

    A bar without range has place 0, as in TA-Lib's AD; a window without volume gives 0. Constant price: 0.
    """
    high, low, close, volume = c["high"], c["low"], c["close"], c["volume"]
    place = share((close - low) - (high - close), high - low, 0.0)
    return (share(window_sums(place * volume, p["period"]), window_sums(volume, p["period"]), 0.0),)


def accumulation(c: Columns, _: Mapping[str, Any]) -> tuple[Array, ...]:
    """Marc Chaikin's accumulation/distribution line, TA-Lib's AD; a bar without range adds nothing. Constant price: 0."""
    return (talib.AD(c["high"], c["low"], c["close"], c["volume"]),)


def volume_ratio(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """Volume / its mean over the last `period` bars, this one included (relative volume), by our own sums.

    1 where the window has no volume: no more and no less than usual. Constant price and volume: 1.
    """
    return (share(c["volume"] * p["period"], window_sums(c["volume"], p["period"]), 1.0),)


__all__ = ["COMPUTATIONS", "Array", "Columns", "compute", "source_of"]

#: TA-Lib's number of the simple moving average.
_SIMPLE: Any = 0
_MOVING_AVERAGES: dict[str, Callable[..., Array]] = {"sma": talib.SMA, "ema": talib.EMA}


def _on_source(function: Callable[..., Array]) -> Computation:
    return lambda c, p: (function(source_of(c, p["source"]), p["period"]),)


def _on_range(function: Callable[..., Array]) -> Computation:
    return lambda c, p: (function(c["high"], c["low"], c["close"], p["period"]),)


def _moving_average(function: Callable[..., Array]) -> Computation:
    return lambda c, p: (average(function, source_of(c, p["source"]), p["period"]),)


def _macd(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    line, signal, histogram = talib.MACD(source_of(c, p["source"]), p["fast_period"], p["slow_period"], p["signal_period"])
    return line, signal, histogram


def _adx(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    bars = (c["high"], c["low"], c["close"], p["period"])
    return talib.ADX(*bars), talib.PLUS_DI(*bars), talib.MINUS_DI(*bars)


def _stochastic(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    k, d = talib.STOCH(c["high"], c["low"], c["close"], p["k_period"], p["smooth_k"], _SIMPLE, p["d_period"], _SIMPLE)
    return k, d


def _aroon(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    down, up = talib.AROON(c["high"], c["low"], p["period"])
    return up, down, talib.AROONOSC(c["high"], c["low"], p["period"])


def _weighted(values: Array) -> Array:
    """Sums of four bars in a row, the middle ones twice: three fewer than there are values."""
    return values[3:] + 2.0 * values[2:-1] + 2.0 * values[1:-2] + values[:-3]


def _relative_vigor(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """John Ehlers's relative vigor index, 2002: what closes won over opens, as a share of the ranges.

    Both are weighted 1, 2, 2, 1 over four bars and summed over `period`, by our own sums. The signal is the triangular
    average of it (TA-Lib's TRIMA), which over 4 bars has Ehlers's weights. No range at all gives 0, so a constant price.
    """
    count, period = len(c["close"]), p["period"]
    won, ranges = window_sums(_weighted(c["close"] - c["open"]), period), window_sums(_weighted(c["high"] - c["low"]), period)
    vigor = share(won, ranges, 0.0)
    signal = average(talib.TRIMA, vigor[period - 1 :], p["signal_period"])
    return after(3, vigor, count), after(period + 2, signal, count)


def _fisher_transform(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """John Ehlers's Fisher transform, 2002, of (high + low) / 2 between its extremes (TA-Lib's MIN and MAX), by a kernel.

    The place in the range is smoothed with weight 1 / smoothing of the new one (3: Ehlers's 0.33), cut at ±0.999, made
    into ½ · ln((1 + x) / (1 − x)), and half of the value before is added. The signal is the value before. A range of
    nothing counts as its middle, so a constant price gives 0 and 0.
    """
    price = (c["high"] + c["low"]) / 2
    fisher, signal = np.empty(len(price)), np.empty(len(price))
    lowest, highest = talib.MIN(price, p["period"]), talib.MAX(price, p["period"])
    kernels.fisher_transform(price, lowest, highest, p["smoothing"], fisher, signal)
    return fisher, signal


def _distance(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    """100 · (price / its moving average − 1), TA-Lib's SMA or EMA. Constant price: 0."""
    price = source_of(c, p["source"])
    result = average(_MOVING_AVERAGES[p["ma_type"]], price, p["period"])
    kernels.distances(price, result)
    return (result,)


COMPUTATIONS: dict[str, Computation] = {
    "rsi": _on_source(talib.RSI),
    "sma": _moving_average(talib.SMA),
    "ema": _moving_average(talib.EMA),
    "wma": _moving_average(talib.WMA),
    "macd": _macd,
    "bbands": bbands,
    "bollingerbandwidth": bandwidth,
    "atr": atr,
    "adx": _adx,
    "cci": _on_range(talib.CCI),
    "stochastic": _stochastic,
    "williamsr": _on_range(talib.WILLR),
    "momentum": _on_source(talib.MOM),
    "roc": _on_source(talib.ROC),
    "aroon": _aroon,
    "rvi": _relative_vigor,
    "fishertransform": _fisher_transform,
    "keltnerchannels": keltner,
    "donchianchannels": donchian,
    "supertrend": supertrend,
    "parabolicsar": parabolic_sar,
    "ichimoku": ichimoku,
    "obv": obv,
    "vwap": vwap,
    "mfi": mfi,
    "cmf": chaikin_money_flow,
    "adline": accumulation,
    "volumeratio": volume_ratio,
    "distancefromma": _distance,
    "squeezeintensity": squeeze_intensity,
}


def compute(kind: str, parameters: Mapping[str, Any], columns: Columns) -> dict[str, Array]:
    """Outputs of one indicator by their bare names, each float64 (n,), for columns of n bars without NaN.

    A series shorter than an output's warm-up gives NaN throughout. PluginFailed if another package's kind does not compute.
    """
    row = plugins.indicator_kind(kind)
    added = plugins.plugin(plugins.INDICATORS, kind)
    arrays = COMPUTATIONS[kind](columns, parameters) if added is None else indicator_arrays(added, parameters, columns)
    return dict(zip(row.outputs, arrays, strict=True))
