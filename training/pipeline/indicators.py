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

from strategies_app.vocabulary import INDICATORS

Array = NDArray[np.float64]
Columns = Mapping[str, Array]
Computation = Callable[[Columns, Mapping[str, Any]], tuple[Array, ...]]
#: TA-Lib's number of the simple moving average.
_SIMPLE: Any = 0


def source_of(columns: Columns, source: str) -> Array:
    """The price that an indicator works on: a column, or a mean of columns (hl2, hlc3, ohlc4)."""
    if source == "hl2":
        return (columns["high"] + columns["low"]) / 2
    if source == "hlc3":
        return (columns["high"] + columns["low"] + columns["close"]) / 3
    if source == "ohlc4":
        return (columns["open"] + columns["high"] + columns["low"] + columns["close"]) / 4
    return columns[source]


def _average(function: Callable[..., Array], values: Array, period: int) -> Array:
    """A moving average; over one bar it is the bar itself, which TA-Lib refuses to compute."""
    return values.copy() if period == 1 else function(values, period)


def _on_source(function: Callable[..., Array]) -> Computation:
    return lambda c, p: (function(source_of(c, p["source"]), p["period"]),)


def _on_range(function: Callable[..., Array]) -> Computation:
    return lambda c, p: (function(c["high"], c["low"], c["close"], p["period"]),)


def _moving_average(function: Callable[..., Array]) -> Computation:
    return lambda c, p: (_average(function, source_of(c, p["source"]), p["period"]),)


def _macd(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    line, signal, histogram = talib.MACD(source_of(c, p["source"]), p["fast_period"], p["slow_period"], p["signal_period"])
    return line, signal, histogram


def _bbands(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    upper, middle, lower = talib.BBANDS(source_of(c, p["source"]), p["period"], p["multiplier"], p["multiplier"])
    return upper, middle, lower


def _bandwidth(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    upper, middle, lower = _bbands(c, p)
    return ((upper - lower) / middle,)


def _atr(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    if p["smoothing"] == "wilder":
        return (talib.ATR(c["high"], c["low"], c["close"], p["period"]),)
    result = np.full(len(c["close"]), np.nan)
    true_range = talib.TRANGE(c["high"], c["low"], c["close"])
    result[1:] = _average(talib.SMA, true_range[1:], p["period"])
    return (result,)


def _adx(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    bars = (c["high"], c["low"], c["close"], p["period"])
    return talib.ADX(*bars), talib.PLUS_DI(*bars), talib.MINUS_DI(*bars)


def _stochastic(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    k, d = talib.STOCH(c["high"], c["low"], c["close"], p["k_period"], p["smooth_k"], _SIMPLE, p["d_period"], _SIMPLE)
    return k, d


def _aroon(c: Columns, p: Mapping[str, Any]) -> tuple[Array, ...]:
    down, up = talib.AROON(c["high"], c["low"], p["period"])
    return up, down, talib.AROONOSC(c["high"], c["low"], p["period"])


COMPUTATIONS: dict[str, Computation] = {
    "rsi": _on_source(talib.RSI),
    "sma": _moving_average(talib.SMA),
    "ema": _moving_average(talib.EMA),
    "wma": _moving_average(talib.WMA),
    "macd": _macd,
    "bbands": _bbands,
    "bollingerbandwidth": _bandwidth,
    "atr": _atr,
    "adx": _adx,
    "cci": _on_range(talib.CCI),
    "stochastic": _stochastic,
    "williamsr": _on_range(talib.WILLR),
    "momentum": _on_source(talib.MOM),
    "roc": _on_source(talib.ROC),
    "aroon": _aroon,
    "obv": lambda c, p: (talib.OBV(c["close"], c["volume"]),),
    "mfi": lambda c, p: (talib.MFI(c["high"], c["low"], c["close"], c["volume"], p["period"]),),
}


def compute(kind: str, parameters: Mapping[str, Any], columns: Columns) -> dict[str, Array]:
    """Outputs of one indicator by their bare names, each float64 (n,), for columns of n bars without NaN.

    A series shorter than an output's warm-up gives NaN throughout.
    """
    row = INDICATORS[kind]
    arrays = COMPUTATIONS[kind](columns, parameters)
    return dict(zip(row.outputs, arrays, strict=True))
