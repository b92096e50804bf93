"""Rows that weigh differently enter the training loss as Σ w·l / Σ w, and nothing else; runs stay exact and resumable."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strategies_app.grammar.schema import StrategySpec
from tests.examples.trainer import Recorder, dataset, strategy
from tests.trainer.test_equals_plain_loop import OPTIMIZERS, last_weights
from tests.trainer.test_resume import outcome
from training.core.values import BatchMetrics, Cancelled, Dataset, Silent, Splits
from training.trainer import batches
from training.trainer.batches import Placed, place
from training.trainer.engine import Gradients, Reference
from training.trainer.evaluation import evaluate
from training.trainer.loop import fit
from training.trainer.networks import build_network
from training.trainer.state import CheckpointError
from training.trainer.targets import learn_row_weights, make_loss, row_losses

ALIKE = {"loss": "cross_entropy", "lr_scheduler": "none"}


def weighted(seed: int = 7, **options: Any) -> tuple[Dataset, Splits]:
    """The example's rows, each with a weight of its own between 0.05 and 1."""
    rows, splits = dataset(**options)
    return with_weights(rows, np.random.default_rng(seed).uniform(0.05, 1.0, len(rows.rows))), splits


def with_weights(rows: Dataset, weights: np.ndarray) -> Dataset:
    return dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, weights=weights.astype(np.float32)))


def plain_loop(rows: Dataset, splits: Splits, spec: StrategySpec, fitted: Any) -> nn.Module:
    """Σ w·l / Σ w written out: w is the class's weight times the row's, over its symbol's mean on the training rows."""
    torch.set_num_threads(1)
    training, raw, symbols = spec.training, rows.rows.weights, rows.rows.symbols
    assert raw is not None
    own = np.zeros(len(raw), dtype=np.float32)
    for symbol in (0, 1):
        mine = [i for i in splits.train if symbols[i] == symbol]
        own[mine] = raw[mine].astype(np.float64) / np.mean(raw[mine].astype(np.float64))
    network = build_network(spec, len(rows.feature_names), len(rows.class_names), fitted.offset, fitted.scale)
    optimizer = OPTIMIZERS["adam"](network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    of_class = torch.tensor(fitted.class_weights)
    for epoch in range(training.epochs):
        order = splits.train[batches.epoch_order(training.seed, epoch, len(splits.train))]
        for begin in range(0, len(order), training.batch_size):
            part = order[begin : begin + training.batch_size]
            x, y = torch.from_numpy(rows.rows.features[part]), torch.from_numpy(rows.rows.labels[part])
            w = of_class[y] * torch.from_numpy(own[part])
            optimizer.zero_grad()
            loss = (w * nn.functional.cross_entropy(network(x), y, reduction="none")).sum() / w.sum()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), training.gradient_clip)
            optimizer.step()
    return network


@pytest.mark.parametrize("batch_size", [7, 32, 1000])
def test_weights_are_those_of_the_formula_written_out(batch_size: int) -> None:
    rows, splits = weighted()
    spec = strategy(epochs=3, batch_size=batch_size, gradient_clip=0.1, **ALIKE)
    fitted, found = last_weights(rows, splits, spec, fused=False)
    for name, tensor in plain_loop(rows, splits, spec, fitted).state_dict().items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
@pytest.mark.parametrize("classes", [None, [0.5, 2.0, 1.0]])
def test_a_row_of_twice_the_weight_is_that_row_twice(loss: str, classes: list[float] | None) -> None:
    logits, labels = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0])
    of_class = None if classes is None else torch.tensor(classes, dtype=torch.float64)
    mean = make_loss(strategy(loss=loss).training, of_class)
    twice = [0, 1, 1, 2, 3, 4, 5]
    weights = torch.tensor([1, 2, 1, 1, 1, 1], dtype=torch.float64)
    assert float(mean(logits, labels, weights)) == pytest.approx(float(mean(logits[twice], labels[twice], None)), rel=1e-12)


def test_weights_that_are_all_alike_are_none() -> None:
    rows, splits = dataset()
    spec = strategy(epochs=2, **ALIKE)
    _, alike = last_weights(with_weights(rows, np.full(len(rows.rows), 0.3)), splits, spec, fused=False)
    _, without = last_weights(rows, splits, spec, fused=False)
    for name, tensor in without.items():
        torch.testing.assert_close(alike[name], tensor, rtol=1e-4, atol=1e-6)


def test_the_training_loss_has_both_weights_and_the_validation_loss_those_of_the_classes() -> None:
    rows, splits = weighted()
    spec = strategy(epochs=1, learning_rate=1e-12, weight_decay=0.0, gradient_clip=0.0)
    fitted = fit(rows, splits, spec, Silent())
    learned = learn_row_weights(rows, splits)
    assert learned is not None
    x, y = torch.from_numpy(rows.rows.features[splits.train]), torch.from_numpy(rows.rows.labels[splits.train])
    with torch.no_grad():
        losses = row_losses(fitted.network(x), y, spec.training).double()
    w = torch.tensor(fitted.class_weights)[y].double() * torch.from_numpy(learned[splits.train]).double()
    assert fitted.history[0]["train_loss"] == pytest.approx(float((w * losses).sum() / w.sum()), rel=1e-5)
    of_classes = evaluate(fitted.network, rows, splits.validation, splits.train, spec.training, fitted.class_weights)
    assert of_classes is not None and fitted.history[0]["val_loss"] == of_classes.metrics["loss"]
    plain = dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, weights=None))
    assert fit(plain, splits, spec, Silent()).history[0]["val_loss"] == fitted.history[0]["val_loss"]


@given(
    stop_at=st.integers(0, 6 * 4 - 1),
    sampling=st.sampled_from(["proportional", "balanced"]),
    loss=st.sampled_from(["cross_entropy", "focal"]),
    classes=st.sampled_from(["balanced", "none"]),
    dropout=st.sampled_from([0.0, 0.4]),
    fused=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_a_run_stopped_at_any_batch_and_resumed_ends_in_the_same_bits(
    stop_at: int, sampling: str, loss: str, classes: str, dropout: float, fused: bool
) -> None:
    rows, splits = weighted()
    spec = strategy(epochs=4, sampling=sampling, loss=loss, class_weights=classes, dropout=dropout)
    whole, first, second = Recorder(), Recorder(Cancelled(), at_batch=stop_at), Recorder()
    undisturbed = fit(rows, splits, spec, whole, fused=fused)
    with pytest.raises(Cancelled):
        fit(rows, splits, spec, first, fused=fused)
    resumed = fit(rows, splits, spec, second, fused=fused, resume=first.last_parts())
    end = second.last_parts()
    assert end is not None
    assert outcome(undisturbed, whole.states[-1]()) == outcome(resumed, end)


def test_a_checkpoint_is_refused_under_other_weights() -> None:
    rows, splits = weighted()
    recorder = Recorder()
    fit(rows, splits, strategy(), recorder)
    parts = recorder.last_parts()
    assert parts is not None and rows.rows.weights is not None
    fit(rows, splits, strategy(), Silent(), resume=parts)
    one_other = rows.rows.weights.copy()
    one_other[splits.train[5]] *= 1.01
    unweighted = dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, weights=None))
    for other in (with_weights(rows, one_other), unweighted):
        with pytest.raises(CheckpointError, match="other weights of its rows"):
            fit(other, splits, strategy(), Silent(), resume=parts)
    plain = Recorder()
    fit(unweighted, splits, strategy(), plain)
    with pytest.raises(CheckpointError, match="other weights of its rows"):
        fit(rows, splits, strategy(), Silent(), resume=plain.last_parts())


def test_streamed_rows_give_the_bits_of_resident_ones() -> None:
    rows, splits = weighted()
    spec = strategy(dropout=0.2, batch_size=17)
    resident, streamed = fit(rows, splits, spec, Silent()), fit(rows, splits, spec, Silent(), resident_limit=0)
    for a, b in zip(resident.network.state_dict().values(), streamed.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert [m["train_loss"] for m in resident.history] == [m["train_loss"] for m in streamed.history]


@pytest.mark.parametrize("pieces", [1, 5, 31])
def test_pieces_of_a_batch_add_up_to_it(pieces: int) -> None:
    rows, _ = weighted()
    spec = strategy(loss="focal")
    x, y = torch.from_numpy(rows.rows.features[:32]), torch.from_numpy(rows.rows.labels[:32])
    w = torch.from_numpy(rows.rows.weights[:32])  # type: ignore[index]
    found = []
    for size in (32, pieces):
        network = build_network(spec, 5, 3, np.full(5, 50, np.float32), np.full(5, 60, np.float32))
        placed = place(rows.rows.features, rows.rows.labels, "cpu")
        gradients = Gradients(network, spec.training, placed, torch.tensor([0.5, 2.0, 1.0]), network.zero_grad)
        gradients.micro_batch = size
        loss = gradients.of(x, y, w)
        found.append([loss, *(p.grad for p in network.parameters())])
    for whole, part in zip(*found, strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-5, atol=1e-7)


def test_weights_are_gathered_once_an_epoch_and_lie_with_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, splits = weighted()
    spec, gathered = strategy(batch_size=4), []
    network = build_network(spec, 5, 3, np.zeros(5, np.float32), np.ones(5, np.float32))
    placed = place(rows.rows.features, rows.rows.labels, "cpu", None, learn_row_weights(rows, splits))
    original = Placed.weights_of
    monkeypatch.setattr(Placed, "weights_of", lambda self, order: gathered.append(len(order)) or original(self, order))
    engine = Reference(network, spec.training, placed, None, True)
    engine.train_epoch(splits.train, 1, BatchMetrics(1, 45), lambda metrics: None)
    assert gathered == [len(splits.train)]
    assert place(rows.rows.features, rows.rows.labels, "meta", 0, learn_row_weights(rows, splits)).weights.is_meta  # type: ignore[union-attr]
