"""Classes: weights learned on train, absent classes, and the two losses against their formulas."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.examples.trainer import dataset, strategy
from training.core.values import Dataset, Silent
from training.trainer.evaluation import evaluate
from training.trainer.loop import fit
from training.trainer.networks import TrainingError
from training.trainer.targets import learn_class_weights, make_loss, mean_loss, row_losses


def relabelled(rows: Dataset, labels: np.ndarray) -> Dataset:
    return dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, labels=labels.astype(np.int64)))


def test_balanced_weights_are_learned_on_the_training_rows_only() -> None:
    rows, splits = dataset()
    weights, warnings = learn_class_weights(rows, splits, "balanced")
    counts = np.bincount(rows.rows.labels[splits.train])
    np.testing.assert_allclose(weights, len(splits.train) / (3 * counts))
    assert not warnings
    elsewhere = rows.rows.labels.copy()
    elsewhere[splits.test] = 0
    assert learn_class_weights(relabelled(rows, elsewhere), splits, "balanced")[0] == weights


def test_a_class_absent_from_train_weighs_nothing_and_is_reported() -> None:
    rows, splits = dataset()
    labels = rows.rows.labels.copy()
    labels[splits.train] %= 2
    fitted = fit(relabelled(rows, labels), splits, strategy(), Silent())
    assert fitted.class_weights[2] == 0 and all(w > 0 for w in fitted.class_weights[:2])
    assert [w for w in fitted.warnings if "collapsed" not in w and "come apart" not in w] == [
        "class SELL does not occur in the training rows and cannot be learned"
    ]
    assert all(np.isfinite(m["val_loss"]) for m in fitted.history)


def test_what_cannot_be_trained_is_refused_in_one_sentence() -> None:
    rows, splits = dataset()
    none = np.zeros(0, np.int64)
    with pytest.raises(TrainingError, match="no training rows"):
        fit(rows, dataclasses.replace(splits, train=none), strategy(), Silent())
    with pytest.raises(TrainingError, match="no validation rows"):
        fit(rows, dataclasses.replace(splits, validation=none), strategy(), Silent())
    with pytest.raises(TrainingError, match="every training row has the class HOLD"):
        fit(relabelled(rows, np.ones(len(rows.rows))), splits, strategy(), Silent())
    only_new = rows.rows.labels.copy() % 2
    only_new[splits.validation] = 2
    with pytest.raises(TrainingError, match="no validation row has a class"):
        fit(relabelled(rows, only_new), splits, strategy(), Silent())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_its_formula_normalised_by_the_weights(gamma: float) -> None:
    random = np.random.default_rng(1)
    logits, labels, weights = random.normal(size=(50, 3)), random.integers(0, 3, 50), np.array([0.5, 2.0, 1.0])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = p[np.arange(50), labels]
    w = weights[labels]
    expected = (w * -((1 - true) ** gamma) * np.log(true)).sum() / w.sum()
    training = strategy(loss="focal", focal_gamma=gamma).training
    tensors = torch.tensor(logits), torch.from_numpy(labels)
    assert float(make_loss(training, torch.tensor(weights))(*tensors)) == pytest.approx(expected, rel=1e-9)
    assert mean_loss(*tensors, training, torch.tensor(weights)) == pytest.approx(expected, rel=1e-9)
    unweighted = float(make_loss(training, None)(*tensors))
    assert unweighted == pytest.approx(float(row_losses(*tensors, training).mean()), rel=1e-12)


def test_focal_gradient_is_finite_for_a_row_that_is_certain() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    make_loss(strategy(loss="focal", focal_gamma=0.5).training, None)(logits, torch.tensor([0])).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())


def test_a_mean_of_batches_is_weighted_by_their_weights() -> None:
    rows, splits = dataset()
    spec = strategy(epochs=1, learning_rate=1e-12, weight_decay=0.0, gradient_clip=0.0)
    fitted = fit(rows, splits, spec, Silent())
    evaluation = evaluate(fitted.network, rows, splits.train, splits.train, spec.training, fitted.class_weights)
    assert evaluation is not None
    assert fitted.history[0]["train_loss"] == pytest.approx(evaluation.metrics["loss"], rel=1e-5)
