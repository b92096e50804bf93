"""The label report: what the labels of the training rows are worth by themselves, before a network sees them.

Every figure is taken over each label's own life: from the close of its row's bar to the close of the
last bar that the label looked at. Only training rows count, so nothing is told of the bars that judge.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies_app.grammar.schema import StrategySpec
from training.core.values import Dataset, Splits, independent_rows, rows_by_symbol
from training.pipeline import kernels
from training.pipeline.features import bar_columns, duration
from training.pipeline.frames import bar_times
from training.pipeline.loading import RunBars

#: What a trade costs there and back, as a share of the price, where the strategy does not say.
ASSUMED_COST = 0.001
#: Classes that say where the price goes; all others say nothing of it.
DIRECTIONS = {"BUY": 1, "SELL": -1, "BULLISH": 1, "BEARISH": -1, "UP": 1, "DOWN": -1}
#: Groups of a label that is a number, by its sign and the cost.
RISE, FALL, WITHIN = "above the cost", "below minus the cost", "within the cost"


class _Lives:
    """Lives of n rows: change, up, down float64 (n,) as shares of the row's close: at the end, at the highest and at
    the lowest close; length, to_top, to_bottom int64 (n,) in bars of the symbol."""

    def __init__(self, count: int) -> None:
        self.change, self.up, self.down = np.empty(count), np.empty(count), np.empty(count)
        self.length, self.to_top, self.to_bottom = (np.empty(count, dtype=np.int64) for _ in range(3))


def label_report(spec: StrategySpec, bars: RunBars, dataset: Dataset, splits: Splits) -> dict[str, Any]:
    """JSON-ready. Per class: direction (+1, −1 or 0), rows, share, median_run and longest_run (rows of one symbol in a row),
    expected_return (mean change over the life), best_return and bars_to_target.

    best_return: the mean of the best move at a close in the label's life, of a long position where the class
    says up, of a short one where it says down, else the larger of the two. bars_to_target: the median
    number of bars until that close. fitness: over the rows whose class has a direction, the mean of
    direction · change − cost: what one trade earns that follows a right label from its bar to its end.
    paying_share: how many of them earn more than the cost. None where there are no such rows. trades: those rows;
    independent_trades: how many of them can be taken so that no label looks at another's bars.
    """
    model = spec.decisions.cost_model
    cost = ASSUMED_COST if model is None else model.round_trip_cost
    lives = _lives(spec, bars, dataset, splits.train)
    names, directions, group = _groups(spec, dataset.rows.labels[splits.train], cost)
    runs = _runs(group, dataset.rows.symbols[splits.train], len(names))
    side = directions[group]
    rows, trades = dataset.rows, splits.train[side != 0]
    gained = (side * lives.change)[side != 0]
    return {
        "rows": len(splits.train),
        "longest_look_ahead": int(lives.length.max()),
        "cost": cost,
        "cost_assumed": model is None,
        "classes": [
            {"name": name, "direction": int(direction)} | _class(lives, group == number, int(direction), runs[number])
            for number, (name, direction) in enumerate(zip(names, directions, strict=True))
        ],
        "trades": len(trades),
        "independent_trades": independent_rows(
            rows.times[trades], rows.label_ends[trades], rows.symbols[trades], duration(spec.base_timeframe)
        ),
        "fitness": float(gained.mean() - cost) if len(gained) else None,
        "paying_share": float((gained > cost).mean()) if len(gained) else None,
    }  # fmt: skip


def _groups(
    spec: StrategySpec, labels: NDArray[Any], cost: float
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Names and directions of the classes, and the class of each row; returns are put in three groups by the cost."""
    if spec.class_names:
        return spec.class_names, np.array([DIRECTIONS.get(name, 0) for name in spec.class_names]), labels
    return (RISE, WITHIN, FALL), np.array([1, 0, -1]), np.where(labels > cost, 0, np.where(labels < -cost, 2, 1))


def _lives(spec: StrategySpec, bars: RunBars, dataset: Dataset, positions: NDArray[np.int64]) -> _Lives:
    rows, lives = dataset.rows, _Lives(len(positions))
    of_symbol = rows_by_symbol(rows.symbols[positions], len(dataset.symbols))
    for symbol, mine in zip(dataset.symbols, of_symbol, strict=True):
        frame = bars.frames[symbol][spec.base_timeframe]
        close, times = bar_columns(frame)["close"], bar_times(frame)
        at = np.searchsorted(times, rows.times[positions[mine]])
        end = np.searchsorted(times, rows.label_ends[positions[mine]] - duration(spec.base_timeframe))
        reach = np.full(len(close), -1, dtype=np.int64)
        reach[at] = end
        top, bottom = np.empty(len(close), dtype=np.int64), np.empty(len(close), dtype=np.int64)
        kernels.extremes_ahead(close, reach, top, bottom)
        lives.change[mine], lives.length[mine] = close[end] / close[at] - 1.0, end - at
        lives.up[mine], lives.to_top[mine] = close[top[at]] / close[at] - 1.0, top[at] - at
        lives.down[mine], lives.to_bottom[mine] = close[bottom[at]] / close[at] - 1.0, bottom[at] - at
    return lives


def _class(lives: _Lives, own: NDArray[np.bool_], direction: int, runs: NDArray[np.int64]) -> dict[str, Any]:
    """Figures of the rows of one class; None where it has none."""
    count = int(own.sum())
    told: dict[str, Any] = {"rows": count, "share": count / len(own)}
    if not count:
        nothing = ("median_run", "longest_run", "expected_return", "best_return", "bars_to_target")
        return told | dict.fromkeys(nothing)
    up, down = lives.up[own], -lives.down[own]
    long = up >= down if direction == 0 else np.full(count, direction > 0)
    return told | {
        "median_run": float(np.median(runs)),
        "longest_run": int(runs.max()),
        "expected_return": float(lives.change[own].mean()),
        "best_return": float(np.where(long, up, down).mean()),
        "bars_to_target": float(np.median(np.where(long, lives.to_top[own], lives.to_bottom[own]))),
    }


def _runs(group: NDArray[np.int64], symbols: NDArray[np.int32], classes: int) -> list[NDArray[np.int64]]:
    """Per class the lengths of its runs: rows of one symbol, one after the other, of one class."""
    new = np.ones(len(group), dtype=np.bool_)
    new[1:] = (np.diff(group) != 0) | (np.diff(symbols) != 0)
    begins = np.flatnonzero(new)
    lengths = np.diff(np.append(begins, len(group)))
    return [lengths[group[begins] == number] for number in range(classes)]
