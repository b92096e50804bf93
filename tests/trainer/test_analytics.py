"""Detailed analytics: they change no bit, go on where a resumed run does, and their figures are those of plain formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from strategies_app.grammar.schema import StrategySpec
from tests.examples.trainer import Recorder, dataset, recurrent, regression_strategy, returns_dataset, strategy, windows
from training.core.values import BatchMetrics, Cancelled, Dataset, Silent, Splits
from training.trainer import batches
from training.trainer.analytics import EVERY, Analyst, StepWatch, layers_of, signal_of, weight_figures
from training.trainer.batches import place
from training.trainer.engine import Reference
from training.trainer.evaluation import Validation
from training.trainer.loop import fit
from training.trainer.metrics import calibration, histogram, of_classes, of_returns
from training.trainer.networks import build_network
from training.trainer.targets import learn_target

Records = list[dict[str, Any]]
RUNS: dict[str, tuple[tuple[Dataset, Splits], StrategySpec]] = {
    "classes": (dataset(), strategy(dropout=0.3, gradient_clip=0.1)),
    "returns": (returns_dataset(), regression_strategy(dropout=0.3)),
    "windows": (windows(), recurrent("lstm", dropout=0.2)),
}


def bits(network: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", RUNS)
def test_switching_it_on_changes_no_bit_of_weights_optimizer_or_history(name: str, fused: bool) -> None:
    (rows, splits), spec = RUNS[name]
    without, with_it, records = Recorder(), Recorder(), Records()
    plain = fit(rows, splits, spec, without, fused=fused)
    watched = fit(rows, splits, spec, with_it, fused=fused, on_analytics=records.append)
    assert bits(plain.network) == bits(watched.network)
    ends = [recorder.states[-1]() for recorder in (without, with_it)]
    assert {n: part for n, part in ends[0].items() if n != "state.json"} == {
        n: part for n, part in ends[1].items() if n != "state.json"
    }
    losses = [[(m["train_loss"], m["val_loss"], m["gradient_norm"]) for m in fitted.history] for fitted in (plain, watched)]
    assert losses[0] == losses[1]
    assert [record["epoch"] for record in records] == list(range(plain.epochs_completed))


def test_a_resumed_run_tells_the_same_of_every_epoch_that_it_trains() -> None:
    rows, splits = dataset()
    spec = strategy(dropout=0.3, epochs=5)
    whole, first, second = Records(), Records(), Records()
    fit(rows, splits, spec, Silent(), on_analytics=whole.append)
    stopped = Recorder(Cancelled(), after_epoch=1)
    with pytest.raises(Cancelled):
        fit(rows, splits, spec, stopped, on_analytics=first.append)
    fit(rows, splits, spec, Silent(), resume=stopped.last_parts(), on_analytics=second.append)
    assert [{**r, "seconds": 0} for r in first + second] == [{**r, "seconds": 0} for r in whole]


def test_gradient_norms_and_updates_of_a_layer_are_those_of_a_plain_step_before_clipping() -> None:
    rows, splits = dataset(rows=120)
    spec = strategy(gradient_clip=0.01, batch_size=len(splits.train), optimizer="sgd", class_weights="none")
    ones = np.ones(5, np.float32)
    network, twin = (build_network(spec, 5, 3, 0 * ones, ones) for _ in range(2))
    placed = place(rows.rows.features, rows.rows.labels, "cpu")
    engine = Reference(network, spec.training, placed, None, True)
    engine.watch = StepWatch(network)
    order = splits.train[batches.epoch_order(1, 0, len(splits.train))]
    engine.set_rate(0.5)
    engine.train_epoch(order, 1, BatchMetrics(1, 1), lambda metrics: None)
    told = engine.watch.told()
    x, y = torch.from_numpy(rows.rows.features[order]), torch.from_numpy(rows.rows.labels[order])
    nn.functional.cross_entropy(twin(x), y).backward()  # type: ignore[no-untyped-call]
    after = dict(network.named_parameters())
    for layer in ("hidden_0", "hidden_1", "output"):
        own = {name: p for name, p in twin.named_parameters() if name.startswith(layer)}
        gradient = torch.cat([p.grad.flatten() for p in own.values() if p.grad is not None])
        weight = torch.cat([p.detach().flatten() for p in own.values()])
        moved = torch.cat([(after[name] - p).detach().flatten() for name, p in own.items()])
        assert told["layers"][layer]["gradient_norm"] == pytest.approx(float(gradient.norm()), rel=1e-5)
        assert told["layers"][layer]["update_ratio"] == pytest.approx(float(moved.norm() / weight.norm()), rel=1e-3)
    assert told["sampled_steps"] == 1 and told["signal"] is None


def test_every_sixteenth_step_is_looked_at_the_first_included() -> None:
    watch = StepWatch(nn.Linear(2, 1))
    watch.begin(2 * EVERY + 1)
    assert [step for step in range(2 * EVERY + 1) if watch.due(step)] == [0, EVERY, 2 * EVERY]
    assert watch.norms.shape == (3, 3, 2)


def test_signal_is_one_where_batches_agree_and_none_where_they_cancel() -> None:
    agreeing, opposed = np.array([4.0, 4.0, 4.0]), np.array([4.0, 4.0])
    assert signal_of(agreeing, 4.0) == 1.0 and signal_of(opposed, 0.0) == 0.0
    assert signal_of(np.array([4.0]), 4.0) is None and signal_of(np.zeros(3), 0.0) is None
    random = np.random.default_rng(0)
    gradients = random.standard_normal((400, 50)) + 1.0  # the truth: |G|² = 50, noise 50
    estimate = signal_of((gradients**2).sum(axis=1), float((gradients.mean(axis=0) ** 2).sum()))
    assert estimate == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (strategy(), ["hidden_0", "hidden_1", "output"]),
        (recurrent("gru"), ["cells 1 input", "cells 1 recurrent", "cells 2 input", "cells 2 recurrent", "output"]),
    ],
)
def test_layers_are_named_as_the_strategy_builds_them_and_hold_every_parameter(spec: StrategySpec, wanted: list[str]) -> None:
    ones = np.ones(5, np.float32)
    network = build_network(spec, 5, 3, 0 * ones, ones)
    layers = layers_of(network)
    assert list(layers) == wanted
    assert sorted(position for own in layers.values() for position in own) == list(range(len(list(network.parameters()))))
    everything = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert max(of["weight_max"] for of in weight_figures(network).values()) == pytest.approx(float(everything.max()))


@pytest.mark.parametrize("kind", ["relu", "tanh"])
def test_a_unit_that_gives_the_same_on_every_row_is_dead(kind: str) -> None:
    rows, splits = dataset()
    spec = strategy(hidden=[8, 4], activation=kind, class_weights="none")
    target, _ = learn_target(rows, splits, spec.training)
    offset, scale = np.array([100, 0, 0, 0, 0], np.float32), np.array([7, 1, 1, 1, 1], np.float32)
    network = build_network(spec, 5, 3, offset, scale)
    analyst = Analyst(network, Validation(rows, splits, place(rows.rows.features, target.labels, "cpu"), target))
    assert analyst.dead_shares()["hidden_0"] < 0.9
    first = network.get_submodule("hidden_0")
    with torch.no_grad():
        first.weight[:6] = 0.0  # type: ignore[index,operator]
        first.bias[:] = torch.tensor([-1.0] * 6 + [200.0, 200.0])  # type: ignore[index,operator]
        first.weight[6:] = 1.0  # type: ignore[index,operator]
    network.train()
    assert analyst.dead_shares()["hidden_0"] == (0.75 if kind == "relu" else 1.0)  # tanh of 200 is 1, whatever is added
    assert network.training


def test_dead_units_of_recurrent_cells_are_those_of_the_last_layer() -> None:
    (rows, splits), spec = RUNS["windows"]
    records = Records()
    fit(rows, splits, spec, Silent(), on_analytics=records.append)
    shares = {name: of["dead_share"] for name, of in records[-1]["layers"].items()}
    assert shares["cells 2 recurrent"] is not None and shares["cells 1 input"] is None


def test_precision_recall_and_balance_are_those_of_a_count() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2], dtype=np.int64)
    called = np.array([0, 0, 1, 1, 0, 0])
    chances = np.full((6, 3), 0.1)
    chances[np.arange(6), called] = 0.8
    told = of_classes(labels, chances, ("A", "B", "C"))
    assert told["per_class"]["A"] == {
        "precision": 0.5,
        "recall": pytest.approx(2 / 3),
        "share": 0.5,
        "predicted_share": pytest.approx(4 / 6),
    }
    assert told["per_class"]["C"]["precision"] is None and told["per_class"]["C"]["recall"] == 0.0
    assert told["balance"] == pytest.approx(1 - 1 / 6)  # 4, 2 and 0 called of 3, 2 and 1
    assert told["overconfidence"] == pytest.approx(0.8 - 0.5) and told["calibration_error"] == pytest.approx(0.3)
    entropy = -(0.8 * np.log(0.8) + 0.2 * np.log(0.1)) / np.log(3)
    assert told["entropy_mean"] == pytest.approx(entropy) and sum(told["entropy"]) == sum(told["confidence"]) == 6


def test_calibration_compares_how_sure_with_how_right_bin_by_bin() -> None:
    confidence = np.array([0.62, 0.64, 0.98, 0.96])
    told = calibration(confidence, np.array([True, False, True, True]), bins=10)
    assert told["calibration"] == [
        {"rows": 2, "confidence": pytest.approx(0.63), "right": 0.5},
        {"rows": 2, "confidence": pytest.approx(0.97), "right": 1.0},
    ]
    assert told["calibration_error"] == pytest.approx(0.5 * 0.13 + 0.5 * 0.03)
    assert histogram(np.array([0.0, 0.049, 0.05, 1.0]))[:2] == [2, 1] and histogram(np.array([1.0]))[-1] == 1


def test_a_network_that_knows_its_chances_is_calibrated_and_one_that_boasts_is_not() -> None:
    random = np.random.default_rng(3)
    chance = random.uniform(0.5, 1.0, 40_000)
    right = random.random(len(chance)) < chance
    assert calibration(chance, right)["calibration_error"] < 0.015
    boasting = calibration(np.sqrt(chance), right)
    assert boasting["calibration_error"] > 0.08 and boasting["overconfidence"] > 0.08


def test_returns_have_residuals_and_nothing_of_classes() -> None:
    (rows, splits), spec = RUNS["returns"]
    records = Records()
    fit(rows, splits, spec, Silent(), on_analytics=records.append)
    assert {"per_class", "calibration", "balance", "confidence"} & set(records[0]) == set()
    assert sum(records[0]["residuals"]) == len(splits.validation)
    assert len({tuple(record["residual_edges"]) for record in records}) == 1
    told = of_returns(np.array([0.0, 9.0, -9.0]), np.zeros(3), 1.0)
    assert told["residuals"][0] == told["residuals"][-1] == 1 and told["residuals"][12] == 1
