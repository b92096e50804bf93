"""Indicators that weigh prices by volume. Where nothing was traded in a window, each says what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import talib

from training.pipeline.indicator_inputs import Array, Columns, running_sums, share, source_of, window_sums


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
