"""Small made-up datasets and strategies for the trainer's tests: seeded, fast, two symbols, three classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from strategies_app.grammar.schema import DataSplit, StrategySpec
from training.core.values import BatchMetrics, Dataset, EpochMetrics, Parts, Rows, Splits
from training.pipeline.splits import cut_rows

CLASSES = ("BUY", "HOLD", "SELL")
HOUR = 3_600_000_000


def strategy(hidden: list[int] | None = None, dropout: float = 0.0, activation: str = "relu", **training: Any) -> StrategySpec:
    """A strategy whose model and training sections are the point; its inputs are a formality."""
    return StrategySpec.model_validate(
        {
            "name": "example",
            "training_data": {
                "symbols": {"mode": "multi_symbol", "list": ["AAA", "BBB"]},
                "timeframes": {"mode": "single", "timeframe": "1h"},
            },
            "indicators": {"rsi_14": {"type": "rsi"}},
            "fuzzy_sets": {"zone": {"indicator": "rsi_14", "low": {"type": "triangular", "parameters": [0, 25, 50]}}},
            "nn_inputs": [{"fuzzy_set": "zone"}],
            "model": {
                "type": "mlp",
                "architecture": {
                    "hidden_layers": [9, 5] if hidden is None else hidden,
                    "dropout": dropout,
                    "activation": activation,
                },
            },
            "training": {"labels": {"source": "zigzag"}, "epochs": 4, "batch_size": 32, "learning_rate": 0.01, **training},
        }
    )


def dataset(
    rows: int = 300, features: int = 5, seed: int = 0, raw: int = 1, classes: tuple[str, ...] = CLASSES
) -> tuple[Dataset, Splits]:
    """Labels depend on the features with noise; the first `raw` columns are price-like and normalized by zscore."""
    random = np.random.default_rng(seed)
    values = random.random((rows, features)).astype(np.float32)
    score = values[:, :3].sum(axis=1) + 0.3 * random.standard_normal(rows)
    labels = np.digitize(score, np.quantile(score, [0.2, 0.7])).astype(np.int64) % len(classes)
    values[:, :raw] = 100 + 7 * values[:, :raw]
    times = np.arange(rows, dtype=np.int64) * HOUR
    symbols = (random.random(rows) < 0.25).astype(np.int32)
    whole = Dataset(
        rows=Rows(values, labels, times, times + HOUR, symbols),
        clock=times,
        symbols=("AAA", "BBB"),
        feature_names=tuple(f"1h_feature_{i}" for i in range(features)),
        normalization=("zscore",) * raw + ("none",) * (features - raw),
        class_names=classes,
    )
    return whole, split(rows)


def split(rows: int) -> Splits:
    first, second = rows * 6 // 10, rows * 8 // 10
    positions, none = np.arange(rows, dtype=np.int64), np.zeros(0, np.int64)
    cuts = (first * HOUR, second * HOUR)
    return Splits(positions[: first - 1], positions[first + 1 : second - 1], positions[second + 1 :], cuts, cuts, none, none)


class Recorder:
    """A callback that keeps what it hears, and stops the run at a batch or an epoch if told to."""

    def __init__(self, stop: Exception | None = None, at_batch: int | None = None, after_epoch: int | None = None) -> None:
        self.stop, self.at_batch, self.after_epoch = stop, at_batch, after_epoch
        self.batches = 0
        self.stages: list[tuple[str, float]] = []
        self.metrics: list[EpochMetrics] = []
        self.states: list[Any] = []

    def on_stage(self, name: str, fraction: float) -> None:
        self.stages.append((name, fraction))

    def on_batch_end(self, metrics: BatchMetrics) -> None:
        self.batches += 1
        if self.stop and self.batches - 1 == self.at_batch:
            raise self.stop

    def on_epoch_end(self, metrics: EpochMetrics, state: Any) -> None:
        self.metrics.append(metrics)
        self.states.append(state)
        if self.stop and metrics["epoch"] == self.after_epoch:
            raise self.stop

    def last_parts(self) -> Parts | None:
        parts: Parts | None = self.states[-1]() if self.states else None
        return parts


def regression_strategy(hidden: list[int] | None = None, dropout: float = 0.0, **training: Any) -> StrategySpec:
    """The same for returns: a round trip costs 0.1 %, a signal must promise twice that."""
    plain = strategy(hidden or [16], dropout, **{"labels": {"source": "forward_return", "horizon": 3}, **training}).plain()
    costs = {"round_trip_cost": 0.001, "min_edge_multiplier": 2.0}
    return StrategySpec.model_validate(plain | {"decisions": {"output_format": "regression", "cost_model": costs}})


def returns_dataset(rows: int = 300, features: int = 5, seed: int = 0, noise: float = 0.5) -> tuple[Dataset, Splits]:
    """Returns of about 1 % that depend on the features with noise, and look three rows ahead."""
    whole, splits = dataset(rows, features, seed)
    random = np.random.default_rng(seed + 1)
    score = whole.rows.features[:, 1:3].sum(axis=1).astype(np.float64) - 1.0 + noise * random.standard_normal(rows)
    made = replace(whole.rows, labels=0.01 * score + 0.002, label_ends=whole.rows.times + 4 * HOUR)
    return replace(whole, rows=made, class_names=()), splits


def recurrent(
    kind: str = "lstm", window: int = 6, hidden: int = 7, layers: int = 2, dropout: float = 0.0, **training: Any
) -> StrategySpec:
    """The same strategy with a recurrent network."""
    architecture = {"sequence_length": window, "hidden_size": hidden, "num_layers": layers, "dropout": dropout}
    plain = strategy(**training).plain() | {"model": {"type": kind, "architecture": architecture}}
    return StrategySpec.model_validate(plain)


def windows(window: int = 6, bars: int = 300, features: int = 5, seed: int = 0) -> tuple[Dataset, Splits]:
    """Two symbols' bars, some of which end no row; labels depend on the whole window with noise."""
    random = np.random.default_rng(seed)
    counts = (bars * 2 // 3, bars - bars * 2 // 3)
    values = random.random((bars, features)).astype(np.float32)
    bar_times = np.concatenate([np.arange(count, dtype=np.int64) * HOUR for count in counts])
    bar_symbols = np.repeat(np.arange(2, dtype=np.int32), counts)
    places = np.concatenate([np.arange(first + window - 1, first + count) for first, count in ((0, counts[0]), counts)])
    ends = places[random.random(len(places)) < 0.9]
    seen = np.lib.stride_tricks.sliding_window_view(values[:, 0], window).mean(axis=1)[ends - window + 1]
    score = seen + 0.05 * random.standard_normal(len(ends))
    labels = np.digitize(score, np.quantile(score, [0.3, 0.6])).astype(np.int64)
    values[:, 0] = 100 + 7 * values[:, 0]
    times = bar_times[ends]
    rows = Rows(
        values, labels, times, times + HOUR, bar_symbols[ends], ends=ends, bar_times=bar_times, bar_symbols=bar_symbols
    )  # fmt: skip
    names = tuple(f"1h_feature_{i}" for i in range(features))
    whole = Dataset(
        rows, np.unique(bar_times), ("AAA", "BBB"), names, ("zscore",) + ("none",) * (features - 1), CLASSES, window=window
    )
    return whole, cut_rows(whole, DataSplit(train=0.6, validation=0.2, test=0.2))
