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
import talib
from numpy.typing import NDArray

from strategies_app.grammar import plugins
from strategies_app.grammar.schema import (
    ContextLabels,
    ForwardReturnLabels,
    PluginLabels,
    RegimeLabels,
    StrategySpec,
    TripleBarrierLabels,
    ZigzagLabels,
)
from training.core.plugin_code import label_arrays
from training.pipeline import kernels
from training.pipeline.indicators import Columns


@dataclass(frozen=True)
class LabelColumn:
    """Labels of n bars. values (n,): class numbers int64, or returns float64; ends int64 (n,): the last bar
    looked at, −1 where there is no label; events bool (n,): the bars that an event filter keeps, None: all."""

    values: NDArray[Any]
    ends: NDArray[np.int64]
    events: NDArray[np.bool_] | None = None


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


def zigzag_pivots(close: NDArray[np.float64], thresholds: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The bars that are confirmed pivots and the bars that confirm them, both (k,); thresholds (n,): see the kernel."""
    pivots, confirmed = np.empty(len(close), dtype=np.int64), np.empty(len(close), dtype=np.int64)
    count = kernels.zigzag_pivots(close, thresholds, pivots, confirmed)
    return pivots[:count], confirmed[:count]


def _zigzag_segments(close: NDArray[np.float64], threshold: float) -> LabelColumn:
    """Legs between confirmed pivots; a row is known when the pivot that closes its leg (or that it is) is confirmed."""
    pivots, confirmed = zigzag_pivots(close, np.full(len(close), threshold))
    values = np.full(len(close), kernels.NO_LABEL, dtype=np.int64)
    ends = np.full(len(close), -1, dtype=np.int64)
    if len(pivots):
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
    return np.array(pd.Series(log_returns(columns["close"])).ewm(span=span, min_periods=span).std())


def log_returns(close: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln(close[t] / close[t − 1]); NaN at the first bar."""
    returns = np.full(len(close), np.nan)
    returns[1:] = np.diff(np.log(close))
    return returns


def cusum_events(columns: Columns, labels: TripleBarrierLabels, sigma: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """The bars that the event filter keeps, None if it is off.

    The threshold of a bar is cusum_multiplier times σ of the bar before, never less than cusum_threshold: it owes
    nothing to its own bar, so that a jump does not raise the bar that it has to clear.
    """
    if labels.cusum_threshold is None:
        return None
    thresholds = np.full(len(sigma), np.nan)
    thresholds[1:] = np.maximum(labels.cusum_multiplier * sigma[:-1], labels.cusum_threshold)
    events = np.empty(len(sigma), dtype=np.bool_)
    kernels.cusum_events(log_returns(columns["close"]), thresholds, events)
    return events


def _triple_barrier(columns: Columns, labels: TripleBarrierLabels) -> LabelColumn:
    """López de Prado, Advances in Financial Machine Learning (2018), chapter 3, with σ-scaled barriers on high and low."""
    count = len(columns["close"])
    sigma = barrier_volatility(columns, labels.vol_span, labels.vol_method)
    values, ends = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    kernels.triple_barrier(
        columns["high"], columns["low"], columns["close"], sigma,
        labels.pt_multiplier, labels.sl_multiplier, labels.max_holding_period, values, ends,
    )  # fmt: skip
    return LabelColumn(values, ends, cusum_events(columns, labels, sigma))


def typical_range(columns: Columns, period: int) -> NDArray[np.float64]:
    """The median so far of ATR(period) / close, known at each bar; NaN in the warm-up of the ATR."""
    share = talib.ATR(columns["high"], columns["low"], columns["close"], period) / columns["close"]
    medians = np.empty(len(share))
    kernels.expanding_median(share, medians)
    return medians


def volatile_bars(close: NDArray[np.float64], ahead: int, back: int, threshold: float) -> NDArray[np.int64]:
    """1 where the deviation of the next `ahead` log returns is more than threshold times that of the last `back`,
    0 where it is not, −1 where either is not in the data. Population deviations, int64 (n,)."""
    found = np.full(len(close), kernels.NO_LABEL, dtype=np.int64)
    if len(close) <= ahead + back:
        return found
    returns = log_returns(close)[1:]
    past, coming = np.empty(len(returns) - back + 1), np.empty(len(returns) - ahead + 1)
    kernels.window_deviations(returns, back, past)
    kernels.window_deviations(returns, ahead, coming)
    found[back : len(close) - ahead] = coming[back:] > threshold * past[:-ahead]
    return found


def _regime(columns: Columns, labels: RegimeLabels) -> LabelColumn:
    """The leg of a coarse zigzag in which a bar lies, judged by the legs of a fine one; VOLATILE goes before both."""
    close = columns["close"]
    unit = typical_range(columns, labels.atr_period)
    macro = zigzag_pivots(close, labels.macro_atr_mult * unit)
    micro = zigzag_pivots(close, labels.micro_atr_mult * unit)
    values = np.full(len(close), kernels.NO_LABEL, dtype=np.int64)
    ends = np.full(len(close), -1, dtype=np.int64)
    kernels.leg_regimes(close, *macro, *micro, labels.progression_tolerance, values, ends)
    volatile = volatile_bars(close, labels.atr_period, labels.vol_lookback, labels.vol_crisis_threshold)
    there = (ends >= 0) & (volatile >= 0)
    values = np.where(there, np.where(volatile == 1, kernels.VOLATILE, values), kernels.NO_LABEL)
    return LabelColumn(values, np.where(there, np.maximum(ends, np.arange(len(close)) + labels.atr_period), -1))


LABELS: dict[str, Callable[[Columns, Any], LabelColumn]] = {
    "zigzag": _zigzag,
    "forward_return": _forward_return,
    "context": _context,
    "triple_barrier": _triple_barrier,
    "regime": _regime,
}


def compute_labels(spec: StrategySpec, columns: Columns) -> LabelColumn:
    """Labels of one symbol's base bars (columns without NaN). PluginFailed if another package's label does not compute."""
    labels = spec.training.labels
    if isinstance(labels, PluginLabels):
        added = plugins.plugin(plugins.LABELS, labels.source)
        assert added is not None
        return LabelColumn(*label_arrays(added, labels.parameters, columns))
    return LABELS[labels.source](columns, labels)


def look_ahead(spec: StrategySpec) -> int:
    """Bars that a label looks ahead at least; a leg of a zigzag may take longer."""
    labels = spec.training.labels
    if isinstance(labels, ZigzagLabels):
        return labels.label_lookahead if labels.mode == "window" else 1
    if isinstance(labels, TripleBarrierLabels):
        return labels.max_holding_period
    if isinstance(labels, PluginLabels):
        return labels.kind.look_ahead(labels.parameters)
    return labels.atr_period if isinstance(labels, RegimeLabels) else labels.horizon


def label_warm_up(spec: StrategySpec) -> int:
    """Bars that a label needs before its own."""
    labels = spec.training.labels
    if isinstance(labels, RegimeLabels):
        return max(labels.vol_lookback, labels.atr_period)
    if isinstance(labels, PluginLabels):
        return labels.kind.warm_up(labels.parameters) if labels.kind.warm_up else 0
    return labels.vol_span if isinstance(labels, TripleBarrierLabels) else 0


def weighs_rows(spec: StrategySpec) -> bool:
    """Whether rows weigh by how unique their labels are."""
    labels = spec.training.labels
    return isinstance(labels, TripleBarrierLabels) and labels.compute_weights


def uniqueness(rows: NDArray[np.int64], ends: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """How unique each label of one symbol is: the mean of 1 / concurrency over the bars that it looks at, in (0, 1].

    rows, ends int64 (k,): the labelled bars that become rows, and the last bar each looks at, of `count` bars.
    """
    weights = np.empty(len(rows))
    kernels.uniqueness(rows, ends, count, weights)
    return weights.astype(np.float32)
