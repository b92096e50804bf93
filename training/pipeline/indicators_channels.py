"""Channels around the price and stops that trail it, from the ranges of bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import talib

from training.pipeline import kernels
from training.pipeline.indicator_inputs import Array, Columns, after, source_of, window_sums


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
