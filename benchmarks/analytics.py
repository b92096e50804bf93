"""Analytics benchmark: what `--detailed-analytics` costs, as a share of the training time of the same run without it.

The trainer benchmark's network and rows, a fifth of them validation; epochs in turns with and without, CPU time on one
thread. The share is that of the median times; the range is that of the least times, the lower quartiles and the medians.
Epochs are short, which counts what is done once per epoch for more than usual.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.trainer import CLASSES, FEATURES, seconds, strategy_of
from training.core.values import BatchMetrics, Dataset, Rows, Splits
from training.trainer.analytics import Analyst
from training.trainer.batches import batch_count, epoch_order, place
from training.trainer.engine import Reference
from training.trainer.evaluation import Validation
from training.trainer.networks import build_network
from training.trainer.targets import Target, learn_target

if TYPE_CHECKING:
    from training.jobs.analytics import Journal


def run(sizes: tuple[int, ...] = (32, 256), pairs: int = 25) -> dict[str, Any]:
    """Shares by batch size. 160 steps an epoch, and 80 of the larger batch."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ktrdr_site.settings")
    django.setup()
    torch.set_num_threads(1)
    return {str(size): _measure(size, 5_120 if size < 256 else 20_480, pairs) for size in sizes}


def _measure(size: int, train: int, pairs: int) -> dict[str, Any]:
    from training.jobs.analytics import Journal

    dataset, splits = _rows(train)
    spec = strategy_of(size)
    target, _ = learn_target(dataset, splits, spec.training)
    with tempfile.TemporaryDirectory() as folder:
        plain = _Epochs(dataset, splits, spec, target, None)
        watched = _Epochs(dataset, splits, spec, target, Journal(Path(folder), 1))
        plain()
        watched()
        measured = []
        for turn in range(pairs):
            first, second = (plain, watched) if turn % 2 else (watched, plain)
            times = {first: seconds(first)[1], second: seconds(second)[1]}
            measured.append((times[plain], times[watched]))
    without, with_it = np.quantile(np.array(measured), [0.0, 0.25, 0.5], axis=0).T
    shares = (with_it / without - 1).tolist()
    return {
        "share": shares[2],
        "share_range": [min(shares), max(shares)],
        "epoch_seconds": float(without[2]),
        "steps": batch_count(train, size),
    }


class _Epochs:
    """What the loop does in an epoch, one more with every call: train, validate, and with a journal look inside."""

    def __init__(self, dataset: Dataset, splits: Splits, spec: Any, target: Target, journal: Journal | None) -> None:
        ones = np.ones(FEATURES, np.float32)
        self.network = build_network(spec, FEATURES, CLASSES, 0 * ones, ones)
        rows = place(dataset.rows.features, target.labels, "cpu")
        self.validation = Validation(dataset, splits, rows, target)
        self.engine = Reference(self.network, spec.training, rows, target.step_weights(spec.training, "cpu"), True)
        self.analyst = Analyst(self.network, self.validation) if journal else None
        self.engine.watch = self.analyst.steps if self.analyst else None
        self.spec, self.splits, self.journal, self.epoch = spec, splits, journal, 0

    def __call__(self) -> None:
        training, train = self.spec.training, self.splits.train
        batch = BatchMetrics(1, batch_count(len(train), training.batch_size))
        order = train[epoch_order(1, self.epoch, len(train))]
        sums = self.engine.train_epoch(order, self.epoch, batch, lambda metrics: None)
        logits = self.validation.logits(self.network)
        measured = self.validation.measure(logits, training)
        if self.analyst is not None and self.journal is not None:
            metrics = {"epoch": self.epoch, "train_loss": sums.loss, **measured}
            self.journal.add(self.analyst.record(metrics, logits, self.epoch))
        self.epoch += 1


def _rows(train: int) -> tuple[Dataset, Splits]:
    count = train * 5 // 4
    random = np.random.default_rng(0)
    features = random.random((count, FEATURES), dtype=np.float32)
    labels = np.digitize(features[:, :3].sum(axis=1) + random.standard_normal(count), [1.0, 2.0]).astype(np.int64)
    times = np.arange(count, dtype=np.int64)
    rows = Rows(features, labels, times, times, np.zeros(count, np.int32))
    names = tuple(f"feature_{number}" for number in range(FEATURES))
    none = np.zeros(0, np.int64)
    dataset = Dataset(rows, times, ("AAA",), names, ("none",) * FEATURES, ("BUY", "HOLD", "SELL"))
    return dataset, Splits(times[:train], times[train:], none, (train, count), (train, count), none, none)


def table(figures: dict[str, Any]) -> list[str]:
    lines = [
        "",
        "## Detailed analytics",
        "",
        "What `--detailed-analytics` adds to training and validating the trainer's network; wanted: under 10 %.",
        "",
        "| batch | added | range | an epoch without | steps |",
        "|---:|---:|---:|---:|---:|",
    ]
    for size, f in figures.items():
        low, high = f["share_range"]
        lines.append(
            f"| {int(size):,} | {f['share']:.1%} | {low:.1%} to {high:.1%} | {1e3 * f['epoch_seconds']:.0f} ms | {f['steps']:,} |"
        )
    return lines


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
