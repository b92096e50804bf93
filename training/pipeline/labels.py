"""Labels: what the next bars turned out to be, on the base timeframe, each with the bar at which it is known.

A label looks only at bars after its own; `ends` is the last bar it looked at, so that splits can be
purged. Where the whole look-ahead is not in the data there is no label, never a HOLD.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.schema import ContextLabels, ForwardReturnLabels, StrategySpec, TripleBarrierLabels, ZigzagLabels
from training.pipeline import kernels
from training.pipeline.indicators import Columns


@dataclass(frozen=True)
class LabelColumn:
    """Labels of n bars. values (n,): class numbers int64, or returns float64; ends int64 (n,): the last bar
    looked at, −1 where there is no label."""

    values: NDArray[Any]
    ends: NDArray[np.int64]


def _ahead(count: int, horizon: int) -> NDArray[np.int64]:
    """ends of labels that always look exactly `horizon` bars ahead."""
    ends = np.arange(count, dtype=np.int64) + horizon
    ends[ends >= count] = -1
    return ends


def _zigzag(columns: Columns, labels: ZigzagLabels) -> LabelColumn:
    close = columns["close"]
    if labels.mode == "segments":
        return _zigzag_segments(close, labels.zigzag_threshold)
    values = np.empty(len(close), dtype=np.int64)
    kernels.zigzag_window(close, labels.label_lookahead, labels.zigzag_threshold, labels.min_swing_length, values)
    return LabelColumn(values, _ahead(len(close), labels.label_lookahead))


def _zigzag_segments(close: NDArray[np.float64], threshold: float) -> LabelColumn:
    """Legs between confirmed pivots; a row is known when the pivot that closes its leg (or that it is) is confirmed."""
    pivots, confirmed = np.empty(len(close), dtype=np.int64), np.empty(len(close), dtype=np.int64)
    count = kernels.zigzag_pivots(close, threshold, pivots, confirmed)
    values = np.full(len(close), kernels.NO_LABEL, dtype=np.int64)
    ends = np.full(len(close), -1, dtype=np.int64)
    if count:
        pivots, confirmed = pivots[:count], confirmed[:count]
        rows = np.arange(pivots[0], pivots[-1] + 1)
        closing = np.searchsorted(pivots, rows)  # the first pivot at or after the row
        rising = np.append(close[pivots[1:]] > close[pivots[:-1]], False)
        values[rows] = np.where(rising[np.maximum(closing - 1, 0)], kernels.BUY, kernels.SELL)
        values[pivots] = kernels.HOLD
        ends[rows] = confirmed[closing]
    return LabelColumn(values, ends)


def _returns_ahead(close: NDArray[np.float64], horizon: int) -> NDArray[np.float64]:
    result = np.full(len(close), np.nan)
    if len(close) > horizon:
        result[:-horizon] = close[horizon:] / close[:-horizon] - 1.0
    return result


def _forward_return(columns: Columns, labels: ForwardReturnLabels) -> LabelColumn:
    close = columns["close"]
    return LabelColumn(_returns_ahead(close, labels.horizon), _ahead(len(close), labels.horizon))


def _context(columns: Columns, labels: ContextLabels) -> LabelColumn:
    """0 BULLISH at or above the upper threshold, 1 BEARISH at or below the lower one, 2 NEUTRAL between."""
    change = _returns_ahead(columns["close"], labels.horizon)
    values = np.where(change >= labels.bullish_threshold, 0, np.where(change <= labels.bearish_threshold, 1, 2))
    ends = _ahead(len(change), labels.horizon)
    values[ends < 0] = kernels.NO_LABEL
    return LabelColumn(values.astype(np.int64), ends)


def barrier_volatility(columns: Columns, span: int, method: str) -> NDArray[np.float64]:
    """σ known at each bar, as a share of the price: ewm mean of (H − L)/C, or ewm deviation of log returns.

    `span` as in pandas.ewm with its default weights (adjust=True, bias=False); NaN before `span` values.
    """
    if method == "atr":
        share = (columns["high"] - columns["low"]) / columns["close"]
        return np.array(pd.Series(share).ewm(span=span, min_periods=span).mean())
    returns = np.full(len(columns["close"]), np.nan)
    returns[1:] = np.diff(np.log(columns["close"]))
    return np.array(pd.Series(returns).ewm(span=span, min_periods=span).std())


def _triple_barrier(columns: Columns, labels: TripleBarrierLabels) -> LabelColumn:
    """López de Prado, Advances in Financial Machine Learning (2018), chapter 3, with σ-scaled barriers on high and low."""
    count = len(columns["close"])
    sigma = barrier_volatility(columns, labels.vol_span, labels.vol_method)
    values, ends = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    kernels.triple_barrier(
        columns["high"], columns["low"], columns["close"], sigma,
        labels.pt_multiplier, labels.sl_multiplier, labels.max_holding_period, values, ends,
    )  # fmt: skip
    return LabelColumn(values, ends)


LABELS: dict[str, Callable[[Columns, Any], LabelColumn]] = {
    "zigzag": _zigzag,
    "forward_return": _forward_return,
    "context": _context,
    "triple_barrier": _triple_barrier,
}


def compute_labels(spec: StrategySpec, columns: Columns) -> LabelColumn:
    """Labels of one symbol's base bars (columns without NaN)."""
    return LABELS[spec.training.labels.source](columns, spec.training.labels)


def look_ahead(spec: StrategySpec) -> int:
    """Bars that a label looks ahead at least; a leg of the segments mode may take longer."""
    labels = spec.training.labels
    if isinstance(labels, ZigzagLabels):
        return labels.label_lookahead if labels.mode == "window" else 1
    if isinstance(labels, TripleBarrierLabels):
        return labels.max_holding_period
    return labels.horizon if isinstance(labels, ForwardReturnLabels | ContextLabels) else 1


def label_warm_up(spec: StrategySpec) -> int:
    """Bars that a label needs before its own."""
    labels = spec.training.labels
    return labels.vol_span if isinstance(labels, TripleBarrierLabels) else 0
