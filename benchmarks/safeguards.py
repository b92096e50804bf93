"""Safeguards benchmark: the share of training's CPU time that the always-on watch over its numbers takes, at batch 32.

The same epochs with the watch and without it, in turns in one run: the ratio of a pair is free of what else the machine
does, and the median over the pairs of what one pair met. What is counted: the look for numbers that are not finite, at
every step and at the epoch's end, in losses, norms and weights; and what is found of the epochs so far.
"""

from __future__ import annotations

import functools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.trainer import CLASSES, FEATURES, strategy_of
from training.core.values import BatchMetrics, EpochMetrics
from training.trainer import batches, rollback, stability
from training.trainer.batches import place
from training.trainer.engine import EpochSums, Reference, _Sums
from training.trainer.networks import build_network


class Blind(_Sums):
    """The sums of an epoch without the watch."""

    def mean_loss(self, count: int) -> float:
        losses, weights = self.losses[:count].cpu().double(), self.weights[:count].cpu().double()
        return float((losses * weights).sum() / weights.sum())

    def whole(self, count: int) -> EpochSums:
        return EpochSums(self.mean_loss(count), float(self.norms[:count].max()))


def run(rows: int = 8_192, size: int = 32, pairs: int = 60, epochs_before: int = 100) -> dict[str, Any]:
    """`share`: median over the pairs of (with − without) / without, of CPU time; `share_range` its quartiles;
    `step_share` and `epoch_share`: what a step and the epoch's end do for it, by themselves, as shares of an epoch."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    features, labels = random.random((rows, FEATURES), dtype=np.float32), random.integers(0, CLASSES, rows)
    epoch, watch = _epoch(features, labels, size, epochs_before)
    epoch(True), epoch(False)
    shares, plain = [], []
    for pair in range(pairs):
        order = (True, False) if pair % 2 else (False, True)
        seconds = {watched: _cpu_seconds(functools.partial(epoch, watched)) for watched in order}
        shares.append(seconds[True] / seconds[False] - 1)
        plain.append(seconds[False])
    count = batches.batch_count(rows, size)
    step = statistics.median(_cpu_seconds(lambda: _look(count)) for _ in range(50))
    own = statistics.median(_cpu_seconds(watch) for _ in range(200))
    low, _, high = statistics.quantiles(shares, n=4)
    return {
        "share": statistics.median(shares), "share_range": [low, high], "step_share": step / statistics.median(plain),
        "epoch_share": own / statistics.median(plain), "pairs": pairs, "batch": size, "batches": count,
    }  # fmt: skip


def _epoch(
    features: NDArray[np.float32], labels: NDArray[np.int64], size: int, epochs_before: int
) -> tuple[Callable[[bool], object], Callable[[], object]]:
    spec = strategy_of(size)
    network = build_network(spec, FEATURES, CLASSES, np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32))
    engine = Reference(network, spec.training, place(features, labels, "cpu"), torch.ones(CLASSES), True)
    metrics = BatchMetrics(1, batches.batch_count(len(labels), size))
    order = batches.epoch_order(1, 1, len(labels))
    guessing = stability.guessing_loss(spec.training, CLASSES)
    history: list[EpochMetrics] = [
        {"epoch": n, "train_loss": 1.0 / (n + 1), "val_loss": 1.0, "gradient_norm": 1.0, "learning_rate": 0.001}
        for n in range(epochs_before)
    ]

    def watch(sums: EpochSums) -> None:
        rollback.require_finite(epochs_before, sums, network)
        stability.news(history, guessing)

    def epoch(watched: bool) -> None:
        from training.trainer import engine as module

        module._Sums = _Sums if watched else Blind  # type: ignore[misc]
        try:
            sums = engine.train_epoch(order, 1, metrics, lambda metrics: None)
        finally:
            module._Sums = _Sums  # type: ignore[misc]
        if watched:
            watch(sums)

    return epoch, lambda: watch(EpochSums(1.0, 1.0))


def _look(count: int) -> None:
    """What a step does beside training: it asks whether a loss that was read was finite."""
    sums = _Sums(count, torch.device("cpu"))
    for _ in range(count):
        if sums.broken:
            raise AssertionError


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def table(figures: dict[str, Any]) -> list[str]:
    low, high = figures["share_range"]
    return [
        "",
        "## Safeguards",
        "",
        f"At batch {figures['batch']}, {figures['batches']} batches an epoch, {figures['pairs']} pairs in turns, one thread.",
        "",
        "| | | wanted |",
        "|---|---:|---:|",
        f"| what every step does for it, share of training's CPU time | {figures['step_share']:.3%} | |",
        f"| what the end of an epoch does for it | {figures['epoch_share']:.3%} | |",
        f"| both | {figures['step_share'] + figures['epoch_share']:.3%} | < 1 % |",
        f"| the same as the difference of the pairs, median (quartiles) | {figures['share']:.1%} ({low:.1%} to {high:.1%}) | |",
    ]


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
