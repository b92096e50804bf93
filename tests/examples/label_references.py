"""Slow references for labels, memberships and resampling, written from the words of the contract; they share no code with the pipeline."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from strategies_app.grammar.schema import ContextLabels, ForwardReturnLabels, RegimeLabels, TripleBarrierLabels, ZigzagLabels

BUY, HOLD, SELL = 0, 1, 2
#: Per bar (label, last bar looked at), or None where there is no label.
Labelled = list[tuple[float, int] | None]


def zigzag_window(bars: pd.DataFrame, labels: ZigzagLabels) -> Labelled:
    close = bars["close"].tolist()
    out: Labelled = []
    for t, price in enumerate(close):
        window = close[t + 1 : t + 1 + labels.label_lookahead]
        if len(window) < labels.label_lookahead:
            out.append(None)
            continue
        gain, loss = (max(window) - price) / price, (price - min(window)) / price
        bars_to_top, bars_to_bottom = window.index(max(window)) + 1, window.index(min(window)) + 1
        label = HOLD
        if gain >= labels.zigzag_threshold and gain > loss and bars_to_top >= labels.min_swing_length:
            label = BUY
        if loss >= labels.zigzag_threshold and loss > gain and bars_to_bottom >= labels.min_swing_length:
            label = SELL
        out.append((label, t + labels.label_lookahead))
    return out


def confirmed_pivots(close: Sequence[float], thresholds: Sequence[float | None]) -> list[tuple[int, int]]:
    """(pivot, bar that confirms it): each pivot is the first extreme since the one before, left by at least the bar's threshold."""
    found: list[tuple[int, int]] = []
    since, looking = 0, 0  # looking for: +1 a top, −1 a bottom, 0 either
    for t in range(1, len(close)):
        stretch = list(close[since : t + 1])
        top, bottom = since + stretch.index(max(stretch)), since + stretch.index(min(stretch))
        threshold = thresholds[t]
        if threshold is None:
            continue
        if looking >= 0 and close[t] < close[top] and close[t] <= close[top] * (1 - threshold):
            found.append((top, t))
            since, looking = t, -1
        elif looking <= 0 and close[t] > close[bottom] and close[t] >= close[bottom] * (1 + threshold):
            found.append((bottom, t))
            since, looking = t, 1
    return found


def zigzag_segments(bars: pd.DataFrame, labels: ZigzagLabels) -> Labelled:
    close = bars["close"].tolist()
    pivots = confirmed_pivots(close, [labels.zigzag_threshold] * len(close))
    out: Labelled = [None] * len(close)
    for (begin, _), (end, confirmed) in itertools.pairwise(pivots):
        for t in range(begin + 1, end):
            out[t] = (BUY if close[end] > close[begin] else SELL, confirmed)
    for pivot, confirmed in pivots:
        out[pivot] = (HOLD, confirmed)
    return out


def forward_return(bars: pd.DataFrame, labels: ForwardReturnLabels) -> Labelled:
    close = bars["close"].tolist()
    h = labels.horizon
    return [(close[t + h] / close[t] - 1, t + h) if t + h < len(close) else None for t in range(len(close))]


def context(bars: pd.DataFrame, labels: ContextLabels) -> Labelled:
    close = bars["close"].tolist()
    out: Labelled = []
    for t in range(len(close)):
        if t + labels.horizon >= len(close):
            out.append(None)
            continue
        change = close[t + labels.horizon] / close[t] - 1
        label = 0 if change >= labels.bullish_threshold else 1 if change <= labels.bearish_threshold else 2
        out.append((label, t + labels.horizon))
    return out


def sigma_at(bars: pd.DataFrame, t: int, labels: TripleBarrierLabels) -> float | None:
    """Volatility from bars up to t alone, by weighted sums; None before `vol_span` values."""
    high, low, close = (bars[c].to_numpy()[: t + 1] for c in ("high", "low", "close"))
    values = (high - low) / close if labels.vol_method == "atr" else np.log(close[1:]) - np.log(close[:-1])
    if len(values) < labels.vol_span:
        return None
    weights = (1 - 2 / (labels.vol_span + 1)) ** np.arange(len(values))[::-1]
    total = weights.sum()
    mean = float((weights * values).sum() / total)
    if labels.vol_method == "atr":
        return mean
    biased = (weights * (values - mean) ** 2).sum() / total
    return math.sqrt(biased * total**2 / (total**2 - (weights**2).sum()))


def triple_barrier(bars: pd.DataFrame, labels: TripleBarrierLabels) -> Labelled:
    high, low, close = (bars[c].tolist() for c in ("high", "low", "close"))
    holding = labels.max_holding_period
    out: Labelled = []
    for t, entry in enumerate(close):
        sigma = sigma_at(bars, t, labels)
        if sigma is None or t + holding >= len(close):
            out.append(None)
            continue
        upper, lower = entry * (1 + labels.pt_multiplier * sigma), entry * (1 - labels.sl_multiplier * sigma)
        touches = [j for j in range(t + 1, t + holding + 1) if high[j] >= upper or low[j] <= lower]
        if touches:
            first = touches[0]
            up, down = high[first] >= upper, low[first] <= lower
            direction = close[first] - entry if up and down else 1 if up else -1
        else:
            first = t + holding
            change = close[first] / entry - 1
            direction = 0 if abs(change) < 0.5 * sigma * math.sqrt(holding) else change
        out.append((BUY if direction > 0 else SELL if direction < 0 else HOLD, first))
    return out


def average_true_range(bars: pd.DataFrame, period: int) -> list[float | None]:
    """Wilder: the mean of the first `period` true ranges, then (period − 1) parts of the one before and one of the new."""
    high, low, close = (bars[c].tolist() for c in ("high", "low", "close"))
    ranges = [max(high[t], close[t - 1]) - min(low[t], close[t - 1]) for t in range(1, len(close))]
    out: list[float | None] = [None] * min(period, len(close))
    for t in range(period, len(close)):
        before = out[-1]
        smooth = sum(ranges[:period]) / period if before is None else (before * (period - 1) + ranges[t - 1]) / period
        out.append(smooth)
    return out


def typical_range(bars: pd.DataFrame, period: int) -> list[float | None]:
    """At each bar the median of ATR / close up to it, None before the first."""
    close, ranges = bars["close"].tolist(), average_true_range(bars, period)
    shares = [None if r is None else r / c for r, c in zip(ranges, close, strict=True)]
    out: list[float | None] = []
    for t in range(len(close)):
        seen = [s for s in shares[: t + 1] if s is not None]
        out.append(statistics.median(seen) if seen else None)
    return out


def leg_class(
    pivots: Sequence[tuple[int, int]], close: Sequence[float], begin: int, end: int, known: int, tolerance: float
) -> int:
    """The class of the leg from pivot `begin` to pivot `end` by the fine pivots in it that are confirmed by bar `known`."""
    inside = [(p, close[p] > close[c]) for p, c in pivots if begin <= p <= end and c <= known]
    if len(inside) < 4:
        return 2
    lows, highs = [close[p] for p, top in inside if not top], [close[p] for p, top in inside if top]
    rising = [b > a for a, b in itertools.pairwise(lows)]
    falling = [b < a for a, b in itertools.pairwise(highs)]
    if close[end] > close[begin] and sum(rising) / len(rising) >= tolerance:
        return 0
    if close[end] < close[begin] and sum(falling) / len(falling) >= tolerance:
        return 1
    return 2


def regime(bars: pd.DataFrame, labels: RegimeLabels) -> Labelled:
    close, unit = bars["close"].tolist(), typical_range(bars, labels.atr_period)
    macro, micro = (
        confirmed_pivots(close, [None if u is None else multiple * u for u in unit])
        for multiple in (labels.macro_atr_mult, labels.micro_atr_mult)
    )
    returns = [math.nan, *np.diff(np.log(close)).tolist()] if close else []
    ahead, back = labels.atr_period, labels.vol_lookback
    out: Labelled = [None] * len(close)
    for (begin, _), (end, known) in itertools.pairwise(macro):
        kind = leg_class(micro, close, begin, end, known, labels.progression_tolerance)
        for t in range(begin, end):
            if t - back < 0 or t + ahead >= len(close):
                continue
            coming, past = statistics.pstdev(returns[t + 1 : t + 1 + ahead]), statistics.pstdev(returns[t + 1 - back : t + 1])
            out[t] = (3 if coming > labels.vol_crisis_threshold * past else kind, max(known, t + ahead))
    return out


def cusum_events(bars: pd.DataFrame, labels: TripleBarrierLabels) -> list[bool]:
    """Whether each bar is an event: the threshold of a bar comes from the bars before it alone."""
    close = bars["close"].tolist()
    events, rise, fall = [False] * len(close), 0.0, 0.0
    for t in range(1, len(close)):
        sigma = sigma_at(bars, t - 1, labels)
        if sigma is None:
            continue
        change = float(np.log(close[t]) - np.log(close[t - 1]))
        assert labels.cusum_threshold is not None
        threshold = max(labels.cusum_threshold, labels.cusum_multiplier * sigma)
        rise, fall = max(0.0, rise + change), min(0.0, fall + change)
        events[t] = rise >= threshold or fall <= -threshold
        rise, fall = (0.0 if rise >= threshold else rise), (0.0 if fall <= -threshold else fall)
    return events


def uniqueness(rows: Sequence[int], ends: Sequence[int]) -> list[float]:
    """Per label the mean, over the bars that it looks at, of one over the number of labels that look at that bar."""
    lives = [range(row + 1, end + 1) for row, end in zip(rows, ends, strict=True)]
    concurrency = [0] * (max(ends, default=0) + 1)
    for life in lives:
        for bar in life:
            concurrency[bar] += 1
    return [sum(1 / concurrency[bar] for bar in life) / len(life) for life in lives]


def reference_labels(bars: pd.DataFrame, labels: Any) -> Labelled:
    """The labels of any section."""
    table: dict[str, Callable[[pd.DataFrame, Any], Labelled]] = {
        "zigzag": zigzag_segments if getattr(labels, "mode", "") == "segments" else zigzag_window,
        "forward_return": forward_return,
        "context": context,
        "triple_barrier": triple_barrier,
        "regime": regime,
    }
    return table[labels.source](bars, labels)


# --- memberships -------------------------------------------------------------------------------


def degree(kind: str, points: Sequence[float], x: float) -> float:
    """A membership by its formula, one number at a time."""
    if math.isnan(x):
        return math.nan
    if kind == "gaussian":
        return math.exp(-0.5 * min(abs((x - points[0]) / points[1]), 1e150) ** 2)
    if kind == "sigmoid":
        z = (x - points[0]) / points[1]
        return 1 / (1 + math.exp(-z)) if z > -700 else 0.0
    a, b, c, d = (points[0], points[1], points[1], points[2]) if kind == "triangular" else points
    if b <= x <= c:
        return 1.0
    if x < a or x > d:
        return 0.0
    if x < b:
        return 1.0 if math.isinf(a) else (x - a) / (b - a)
    return 1.0 if math.isinf(d) else (d - x) / (d - c)


def transformed(name: str, value: float, close: float) -> float:
    return {"identity": value, "price_ratio": value / close, "pct_of_price": 100 * (value / close - 1)}[name]
