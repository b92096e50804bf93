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

from strategies_app.grammar import plugins
from training.core.plugin_code import indicator_arrays
from training.pipeline import indicators_channels, indicators_volume, kernels
from training.pipeline.indicator_inputs import (
    Array,
    Columns,
    Computation,
    after,
    average,
    share,
    source_of,
    window_sums,
)

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
    "bbands": indicators_channels.bbands,
    "bollingerbandwidth": indicators_channels.bandwidth,
    "atr": indicators_channels.atr,
    "adx": _adx,
    "cci": _on_range(talib.CCI),
    "stochastic": _stochastic,
    "williamsr": _on_range(talib.WILLR),
    "momentum": _on_source(talib.MOM),
    "roc": _on_source(talib.ROC),
    "aroon": _aroon,
    "rvi": _relative_vigor,
    "fishertransform": _fisher_transform,
    "keltnerchannels": indicators_channels.keltner,
    "donchianchannels": indicators_channels.donchian,
    "supertrend": indicators_channels.supertrend,
    "parabolicsar": indicators_channels.parabolic_sar,
    "ichimoku": indicators_channels.ichimoku,
    "obv": indicators_volume.obv,
    "vwap": indicators_volume.vwap,
    "mfi": indicators_volume.mfi,
    "cmf": indicators_volume.chaikin_money_flow,
    "adline": indicators_volume.accumulation,
    "volumeratio": indicators_volume.volume_ratio,
    "distancefromma": _distance,
    "squeezeintensity": indicators_channels.squeeze_intensity,
}


def compute(kind: str, parameters: Mapping[str, Any], columns: Columns) -> dict[str, Array]:
    """Outputs of one indicator by their bare names, each float64 (n,), for columns of n bars without NaN.

    A series shorter than an output's warm-up gives NaN throughout. PluginFailed if another package's kind does not compute.
    """
    row = plugins.indicator_kind(kind)
    added = plugins.plugin(plugins.INDICATORS, kind)
    arrays = COMPUTATIONS[kind](columns, parameters) if added is None else indicator_arrays(added, parameters, columns)
    return dict(zip(row.outputs, arrays, strict=True))
