"""Trainer benchmark: samples per second of `fit`'s engine as a multiple of a textbook DataLoader loop.

Same network (128-64-32 on 20 features, dropout 0.2), optimizer, rows and one thread; the two run in turns, and
the ratio is the median over the pairs, so that a machine that slows down slows both.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from strategies_app.grammar.schema import StrategySpec, Training
from training.core.values import BatchMetrics
from training.trainer import batches
from training.trainer.batches import place
from training.trainer.engine import Reference
from training.trainer.networks import build_network

FEATURES, CLASSES, HIDDEN, DROPOUT = 20, 3, [128, 64, 32], 0.2


def run(sizes: tuple[int, ...] = (32, 256, 4096), rows: int = 85_000, pairs: int = 5) -> dict[str, Any]:
    """Ratios by batch size. Each measured piece lasts about half a second."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    features = random.random((rows, FEATURES), dtype=np.float32)
    labels = random.integers(0, CLASSES, rows)
    return {str(size): _measure(features, labels, size, pairs) for size in sizes}


def _measure(features: NDArray[np.float32], labels: NDArray[np.int64], size: int, pairs: int) -> dict[str, Any]:
    count = min(len(features), 16_384 if size < 256 else 40_960)
    features, labels = features[:count], labels[:count]
    ours, plain = _ours(features, labels, size), _textbook(features, labels, size)
    ours(), plain()
    products = _matrix_products(count, size)
    measured, bounds = [], []
    for _ in range(pairs):
        measured.append((seconds(plain), seconds(ours)))
        bounds.append(min(seconds(products)[0] for _ in range(2)))
    bound = min(bounds)
    ratios = [p[0] / o[0] for p, o in measured]
    best = min(o[0] for _, o in measured)
    if best < bound:
        raise RuntimeError(f"batch {size}: an epoch took {best:.4f} s, its matrix products alone take {bound:.4f} s")
    wall, cpu = (sum(pair[i] for both in measured for pair in both) for i in (0, 1))
    return {
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "samples_per_second": count / statistics.median(o[0] for _, o in measured),
        "textbook_samples_per_second": count / statistics.median(p[0] for p, _ in measured),
        "share_of_matrix_product_bound": statistics.median(b / o[0] for b, (_, o) in zip(bounds, measured, strict=True)),
        "cpu_over_wall": cpu / wall,
        "threads": torch.get_num_threads(),
    }


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def strategy_of(size: int) -> StrategySpec:
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
            "model": {"type": "mlp", "architecture": {"hidden_layers": HIDDEN, "dropout": DROPOUT}},
            "training": {"labels": {"source": "zigzag"}, "batch_size": size},
        }
    )


def _ours(features: NDArray[np.float32], labels: NDArray[np.int64], size: int) -> Callable[[], object]:
    spec = strategy_of(size)
    network = build_network(spec, FEATURES, CLASSES, np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32))
    engine = Reference(network, spec.training, place(features, labels, "cpu"), torch.ones(CLASSES), True)
    metrics = BatchMetrics(1, batches.batch_count(len(labels), size))
    state = {"epoch": 0}

    def epoch() -> None:
        state["epoch"] += 1
        order = batches.epoch_order(1, state["epoch"], len(labels))
        engine.train_epoch(order, state["epoch"], metrics, lambda metrics: None)

    return epoch


def _textbook(features: NDArray[np.float32], labels: NDArray[np.int64], size: int) -> Callable[[], object]:
    """What a tutorial shows: DataLoader over a TensorDataset, Adam, clip_grad_norm_, loss.item() per batch."""
    training = strategy_of(size).training
    layers: list[nn.Module] = []
    width = FEATURES
    for hidden in HIDDEN:
        layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(DROPOUT)]
        width = hidden
    network = nn.Sequential(*layers, nn.Linear(width, CLASSES))
    loader = DataLoader(TensorDataset(torch.from_numpy(features), torch.from_numpy(labels)), batch_size=size, shuffle=True)
    return plain_loop(network, loader, training)


def plain_loop(network: nn.Module, loader: DataLoader[Any], training: Training) -> Callable[[], object]:
    """An epoch as textbooks write it: Adam, clip_grad_norm_, loss.item() per batch."""
    optimizer = torch.optim.Adam(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    criterion = nn.CrossEntropyLoss(weight=torch.ones(CLASSES))

    def epoch() -> float:
        total = 0.0
        network.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(network(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), training.gradient_clip)
            optimizer.step()
            total += loss.item() * len(y)
        return total

    return epoch


def _matrix_products(count: int, size: int) -> Callable[[], object]:
    """Nothing but the products of an epoch: forward, and backward to weights and inputs."""
    widths = [FEATURES, *HIDDEN, CLASSES]
    layers = [
        (
            torch.rand(size, i),
            torch.rand(o, i),
            torch.rand(size, o),
            torch.empty(size, o),
            torch.empty(o, i),
            torch.empty(size, i),
        )
        for i, o in itertools.pairwise(widths)
    ]

    def products() -> None:
        for _ in range(count // size):
            for position, (x, w, g, out, gradient, back) in enumerate(layers):
                torch.mm(x, w.t(), out=out)
                torch.mm(g.t(), x, out=gradient)
                if position:
                    torch.mm(g, w, out=back)

    products()
    return products


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
