"""Without fused updates, training is bit for bit the loop that a tutorial shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from strategies_app.grammar.schema import StrategySpec
from tests.examples.trainer import dataset, strategy
from training.core.values import Dataset, Silent, Splits
from training.trainer import batches
from training.trainer.loop import Fitted, fit
from training.trainer.networks import build_network

OPTIMIZERS: dict[str, Any] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": lambda parameters, **settings: torch.optim.SGD(parameters, momentum=0.9, **settings),
}


def plain_loop(rows: Dataset, splits: Splits, spec: StrategySpec, fitted: Fitted) -> nn.Module:
    """DataLoader, zero_grad, loss, backward, clip_grad_norm_, step; no scheduler, last weights."""
    torch.set_num_threads(1)
    training = spec.training
    network = build_network(spec, len(rows.feature_names), len(rows.class_names), fitted.offset, fitted.scale)
    optimizer = OPTIMIZERS[training.optimizer](
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    weights = torch.tensor(fitted.class_weights) if training.class_weights == "balanced" else None
    criterion = nn.CrossEntropyLoss(weight=weights)
    network.train()
    for epoch in range(training.epochs):
        order = splits.train[batches.epoch_order(training.seed, epoch, len(splits.train))]
        examples = TensorDataset(torch.from_numpy(rows.rows.features[order]), torch.from_numpy(rows.rows.labels[order]))
        for x, y in DataLoader(examples, batch_size=training.batch_size, shuffle=False):
            optimizer.zero_grad()
            loss = criterion(network(x), y)
            loss.backward()
            if training.gradient_clip > 0:
                nn.utils.clip_grad_norm_(network.parameters(), training.gradient_clip)
            optimizer.step()
    return network


def last_weights(rows: Dataset, splits: Splits, spec: StrategySpec, fused: bool) -> tuple[Fitted, dict[str, torch.Tensor]]:
    from safetensors.torch import load

    from tests.examples.trainer import Recorder

    recorder = Recorder()
    fitted = fit(rows, splits, spec, recorder, fused=fused)
    return fitted, load(recorder.states[-1]()["model.safetensors"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip", [0.1, 0.0])
@pytest.mark.parametrize(("features", "batch_size"), [(5, 32), (20, 7), (3, 1000)])
def test_weights_are_those_of_a_plain_loop(optimizer: str, clip: float, features: int, batch_size: int) -> None:
    rows, splits = dataset(features=features)
    spec = strategy(
        epochs=3, optimizer=optimizer, gradient_clip=clip, batch_size=batch_size, lr_scheduler="none",
        class_weights="none" if clip else "balanced",
    )  # fmt: skip
    fitted, weights = last_weights(rows, splits, spec, fused=False)
    for name, tensor in plain_loop(rows, splits, spec, fitted).state_dict().items():
        assert torch.equal(weights[name], tensor), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fused_updates_stay_within_rounding_of_it(optimizer: str) -> None:
    rows, splits = dataset()
    spec = strategy(epochs=3, optimizer=optimizer, lr_scheduler="none", learning_rate=0.001)
    fitted, weights = last_weights(rows, splits, spec, fused=True)
    for name, tensor in plain_loop(rows, splits, spec, fitted).state_dict().items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-5)


def test_block_size_of_the_gather_changes_no_batch() -> None:
    features, labels = torch.rand(1000, 3), torch.arange(1000)
    order = batches.epoch_order(1, 0, 1000)
    whole = [b for x, _ in batches.blocks(features, labels, order, 16) for b in x.split(16)]
    small = [b for x, _ in batches.blocks(features, labels, order, 16, block_bytes=500) for b in x.split(16)]
    assert len(whole) == len(small) and all(torch.equal(a, b) for a, b in zip(whole, small, strict=True))


def test_the_callers_random_numbers_and_rows_are_left_alone() -> None:
    rows, splits = dataset()
    before, features = torch.random.get_rng_state(), rows.rows.features.copy()
    fit(rows, splits, strategy(dropout=0.3, epochs=2), Silent())
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(rows.rows.features, features)
