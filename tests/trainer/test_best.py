"""The best weights are those of the best epoch; patience and rates follow the strategy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from strategies_app.grammar.schema import EarlyStopping, Scheduler
from tests.examples.trainer import Recorder, dataset, strategy
from training.core.values import Silent
from training.trainer.evaluation import evaluate
from training.trainer.loop import fit
from training.trainer.optimizers import Monitor, Schedule


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_the_loss_of_the_restored_weights_is_the_minimum_of_the_history(loss: str) -> None:
    rows, splits = dataset()
    spec = strategy([32, 16], epochs=25, learning_rate=0.05, loss=loss, dropout=0.1)
    fitted = fit(rows, splits, spec, Silent())
    losses = [metrics["val_loss"] for metrics in fitted.history]
    assert 0 < fitted.best_epoch < fitted.epochs_completed - 1, "the example must get worse again"
    evaluation = evaluate(fitted.network, rows, splits.validation, splits.train, spec.training, fitted.class_weights)
    assert evaluation is not None
    assert evaluation.metrics["loss"] == min(losses) == losses[fitted.best_epoch]
    assert evaluation.metrics["mcc"] == fitted.history[fitted.best_epoch]["val_mcc"]
    assert not fitted.network.training


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_balanced_accuracy", "val_mcc"])
def test_other_monitors_keep_the_first_maximum(monitor: str) -> None:
    rows, splits = dataset()
    fitted = fit(rows, splits, strategy(epochs=12, early_stopping={"monitor": monitor}), Silent())
    values = [metrics[monitor] for metrics in fitted.history]
    assert fitted.best_epoch == int(np.argmax(values))


def test_training_stops_after_patience_and_says_so() -> None:
    rows, splits = dataset()
    spec = strategy([32, 16], epochs=60, learning_rate=0.05, early_stopping={"patience": 3})
    fitted = fit(rows, splits, spec, Silent())
    assert fitted.early_stopped and fitted.epochs_completed == fitted.best_epoch + 4
    patient = fit(rows, splits, strategy([32, 16], epochs=15, learning_rate=0.05, early_stopping={"enabled": False}), Silent())
    assert not patient.early_stopped and patient.epochs_completed == 15


def test_min_delta_feeds_patience_and_never_the_choice_of_the_best() -> None:
    stopping, monitor = EarlyStopping(patience=3, min_delta=0.1), Monitor()
    best = [monitor.see(stopping, epoch, value) for epoch, value in enumerate([1.0, 0.95, 0.93, 0.91])]
    assert best == [True, True, True, True] and monitor.best_epoch == 3
    assert monitor.waited == 3 and monitor.exhausted(stopping), "no value was better than 1.0 by more than 0.1"
    monitor.see(stopping, 4, 0.85)
    assert monitor.waited == 0 and not monitor.exhausted(stopping)


def test_equal_values_do_not_replace_the_best() -> None:
    monitor = Monitor()
    assert [monitor.see(EarlyStopping(), e, 0.5) for e in range(3)] == [True, False, False]
    assert monitor.best_epoch == 0


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        ({"type": "none"}, None),
        ({"type": "step", "step_size": 3}, lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.1)),
        ({"type": "step", "step_size": 4, "gamma": 0.5}, lambda o: torch.optim.lr_scheduler.StepLR(o, 4, 0.5)),
        ({"type": "exponential", "gamma": 0.8}, lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.8)),
        ({"type": "exponential"}, lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.95)),
        ({"type": "cosine", "min_rate": 0.001}, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20, 0.001)),
        (
            {"type": "reduce_on_plateau", "patience": 2, "min_rate": 1e-4},
            lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=2, min_lr=1e-4, eps=0),
        ),
    ],
)
def test_learning_rates_are_those_of_torchs_schedulers(settings: dict[str, Any], theirs: Any) -> None:
    losses = [1, 0.9, 0.95, 0.91, 0.92, 0.9, 0.8, *[0.8 - 1e-5 * i for i in range(13)]]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = theirs(optimizer) if theirs else None
    ours = Schedule(0.1)
    for done, loss in enumerate(losses, start=1):
        optimizer.step()
        if scheduler is not None:
            scheduler.step(*([loss] if settings["type"] == "reduce_on_plateau" else []))
        ours.advance(Scheduler.model_validate(settings), 0.1, done, 20, loss)
        assert ours.rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12), done


def test_progress_is_told_from_the_first_moment_and_for_every_batch() -> None:
    rows, splits = dataset()
    seen: list[tuple[int, int, int, float]] = []

    class Watcher(Recorder):
        def on_batch_end(self, metrics: Any) -> None:
            seen.append((metrics.epoch, metrics.batch, metrics.samples, metrics.loss()))

    watcher = Watcher()
    fitted = fit(rows, splits, strategy(epochs=2), watcher)
    assert watcher.stages == [("train", 0.0), ("train", 0.0), ("train", 0.5), ("train", 1.0)]
    assert [row[:3] for row in seen[:6]] == [(0, b, min(32 * (b + 1), 179)) for b in range(6)]
    assert [seen[5][3], seen[11][3]] == [m["train_loss"] for m in fitted.history]


def test_balanced_sampling_and_every_other_setting_take_effect() -> None:
    rows, splits = dataset()
    base: dict[str, Any] = {"epochs": 2, "dropout": 0.1}
    changes: list[dict[str, Any]] = [
        {}, {"sampling": "balanced"}, {"loss": "focal"}, {"loss": "focal", "focal_gamma": 1.0}, {"class_weights": "none"},
        {"gradient_clip": 0.05}, {"weight_decay": 0.1}, {"optimizer": "sgd"}, {"optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "rmsprop"}, {"seed": 1}, {"learning_rate": 0.002}, {"lr_scheduler": "exponential"}, {"batch_size": 16},
        {"dropout": 0.5}, {"activation": "gelu"}, {"hidden": [9, 6]},
    ]  # fmt: skip
    losses = [fit(rows, splits, strategy(**(base | change)), Silent()).history[-1]["val_loss"] for change in changes]
    assert len(set(losses)) == len(changes)
