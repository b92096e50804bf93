"""Recurrent benchmark: samples per second of `fit`'s engine on windows as a multiple of a DataLoader over a Dataset of windows.

Same network (two layers, windows of 20 bars of 20 features, dropout 0.2), optimizer, rows and one thread, whose CPU time is
taken; the two run in turns, and the ratio is the median over the pairs. The bound is an epoch of nothing but torch's own
forward and backward pass on a batch that is there already.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.trainer import CLASSES, FEATURES, plain_loop, seconds
from strategies_app.grammar.schema import StrategySpec
from training.core.values import BatchMetrics
from training.trainer import batches
from training.trainer.batches import place
from training.trainer.engine import Reference
from training.trainer.networks import build_network

WINDOW, LAYERS, DROPOUT = 20, 2, 0.2


def run(
    kinds: tuple[str, ...] = ("lstm", "gru"),
    widths: tuple[int, ...] = (64, 32),
    sizes: tuple[int, ...] = (32, 256),
    pairs: int = 5,
) -> list[dict[str, Any]]:
    """One entry per kind, width and batch size. Each measured piece lasts about half a second; rates are per CPU second."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    bars = random.random((2048 + WINDOW - 1, FEATURES), dtype=np.float32)
    labels = random.integers(0, CLASSES, len(bars) - WINDOW + 1)
    return [
        {"kind": kind, "hidden": width, "batch": size} | _measure(kind, width, size, bars, labels, pairs)
        for kind in kinds
        for width in widths
        for size in sizes
    ]


def table(figures: list[dict[str, Any]]) -> list[str]:
    """The page's lines."""
    lines = [
        "",
        "## Recurrent networks",
        "",
        f"Two layers on windows of {WINDOW} bars of {FEATURES} features, dropout {DROPOUT}, Adam, one thread and its CPU time,",
        "against a loop over a DataLoader whose Dataset slices a window per example. Torch alone is nothing but its forward and",
        "backward pass on a batch that is there already: the recurrent layers take nearly all the time of both loops, and are",
        "the same.",
        "",
        "| network | hidden | batch | times the textbook | range | samples/s | textbook samples/s | times torch alone |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for f in figures:
        low, high = f["ratio_range"]
        lines.append(
            f"| {f['kind']} | {f['hidden']} | {f['batch']} | {f['ratio']:.1f} | {low:.1f}–{high:.1f} "
            f"| {f['samples_per_second']:,.0f} | {f['textbook_samples_per_second']:,.0f} | {f['times_torch_alone']:.2f} |"
        )
    return lines


def _measure(
    kind: str, width: int, size: int, bars: NDArray[np.float32], labels: NDArray[np.int64], pairs: int
) -> dict[str, Any]:
    spec = _strategy(kind, width, size)
    works = _ours(spec, bars, labels), _textbook(spec, bars, labels), _alone(spec, bars, labels)
    for work in works:
        work()
    rounds = [tuple(seconds(work)[1] for work in works) for _ in range(pairs)]
    ratios = [plain / ours for ours, plain, _ in rounds]
    return {
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "samples_per_second": len(labels) / statistics.median(ours for ours, _, _ in rounds),
        "textbook_samples_per_second": len(labels) / statistics.median(plain for _, plain, _ in rounds),
        "times_torch_alone": statistics.median(alone / ours for ours, _, alone in rounds),
    }


def _strategy(kind: str, width: int, size: int) -> StrategySpec:
    architecture = {"sequence_length": WINDOW, "hidden_size": width, "num_layers": LAYERS, "dropout": DROPOUT}
    return StrategySpec.model_validate(
        {
            "name": "benchmark",
            "training_data": {
                "symbols": {"mode": "single", "symbol": "AAA"},
                "timeframes": {"mode": "single", "timeframe": "1h"},
            },
            "indicators": {"rsi_14": {"type": "rsi"}},
            "fuzzy_sets": {"zone": {"indicator": "rsi_14", "low": [0, 25, 50]}},
            "nn_inputs": [{"fuzzy_set": "zone"}],
            "model": {"type": kind, "architecture": architecture},
            "training": {"labels": {"source": "zigzag"}, "batch_size": size},
        }
    )


def _network(spec: StrategySpec) -> nn.Module:
    return build_network(spec, FEATURES, CLASSES, np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32))


def _ours(spec: StrategySpec, bars: NDArray[np.float32], labels: NDArray[np.int64]) -> Callable[[], object]:
    ends = np.arange(WINDOW - 1, len(bars))
    rows = place(bars, labels, "cpu", ends=ends, window=WINDOW)
    engine = Reference(_network(spec), spec.training, rows, torch.ones(CLASSES), True)
    metrics = BatchMetrics(1, batches.batch_count(len(labels), spec.training.batch_size))
    state = {"epoch": 0}

    def epoch() -> None:
        state["epoch"] += 1
        order = batches.epoch_order(1, state["epoch"], len(labels))
        engine.train_epoch(order, state["epoch"], metrics, lambda metrics: None)

    return epoch


class Windows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """What a tutorial shows: a slice per example."""

    def __init__(self, bars: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        self.bars, self.labels = torch.from_numpy(bars), torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.bars[place : place + WINDOW], self.labels[place]


class Plain(nn.Module):
    """torch's own layers and a linear one on what they say last."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        cells = nn.LSTM if kind == "lstm" else nn.GRU
        self.cells = cells(FEATURES, width, LAYERS, batch_first=True, dropout=DROPOUT)
        self.output = nn.Linear(width, CLASSES)

    def forward(self, bars: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(self.cells(bars)[0][:, -1])
        return logits


def _plain(spec: StrategySpec) -> Plain:
    model: Any = spec.model
    return Plain(model.type, model.architecture.hidden_size)


def _textbook(spec: StrategySpec, bars: NDArray[np.float32], labels: NDArray[np.int64]) -> Callable[[], object]:
    """DataLoader over windows, Adam, clip_grad_norm_, loss.item() per batch."""
    training, network = spec.training, _plain(spec)
    loader = DataLoader(Windows(bars, labels), batch_size=training.batch_size, shuffle=True)
    return plain_loop(network, loader, training)


def _alone(spec: StrategySpec, bars: NDArray[np.float32], labels: NDArray[np.int64]) -> Callable[[], object]:
    network, criterion, size = _plain(spec), nn.CrossEntropyLoss(), spec.training.batch_size
    x, y = next(iter(DataLoader(Windows(bars, labels), batch_size=size)))

    def epoch() -> None:
        for _ in range(len(labels) // size):
            criterion(network(x), y).backward()

    return epoch


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
