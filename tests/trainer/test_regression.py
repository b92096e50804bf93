"""A network that predicts returns obeys the laws of the others: learned on train alone, resumed bit for bit, served as trained."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies_app.grammar.schema import StrategySpec
from tests.examples.trainer import HOUR, Recorder, dataset, recurrent, regression_strategy, returns_dataset, strategy, windows
from tests.trainer.test_resume import outcome
from training.core.values import Cancelled, Dataset, Silent, Splits
from training.recipe import edge_of
from training.trainer import targets
from training.trainer.evaluation import evaluate, predicted_returns, return_baselines
from training.trainer.loop import Fitted, fit
from training.trainer.networks import MOST_ROWS, TrainingError
from training.trainer.state import CheckpointError
from training.trainer.targets import make_loss, mean_loss, row_losses


def relabelled(rows: Dataset, labels: Any) -> Dataset:
    return dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, labels=labels))


def evaluated(fitted: Fitted, rows: Dataset, splits: Splits, spec: Any, positions: Any) -> Any:
    return evaluate(
        fitted.network, rows, positions, splits.train, spec.training, [], bar=HOUR,
        target_scale=fitted.target_scale, edge=edge_of(spec),
    )  # fmt: skip


# --- the target ----------------------------------------------------------------------------------


def owes_nothing_to_judges(rows: Dataset, splits: Splits) -> None:
    """AssertionError if the scale of the target changes with the returns of validation or test rows."""
    scale = fit(rows, splits, regression_strategy(epochs=1), Silent()).target_scale
    for positions in (splits.validation, splits.test):
        labels = rows.rows.labels.copy()
        labels[positions] *= 7
        assert fit(relabelled(rows, labels), splits, regression_strategy(epochs=1), Silent()).target_scale == scale


def test_the_scale_is_the_deviation_of_the_training_returns() -> None:
    rows, splits = returns_dataset()
    fitted = fit(rows, splits, regression_strategy(), Silent())
    assert fitted.target_scale == pytest.approx(np.std(rows.rows.labels[splits.train]), rel=1e-12)
    assert fitted.class_weights == []
    owes_nothing_to_judges(rows, splits)


def test_a_scale_learned_on_all_rows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, splits = returns_dataset()
    monkeypatch.setattr(targets, "learn_scale", lambda returns, train: float(returns.std()))
    with pytest.raises(AssertionError):
        owes_nothing_to_judges(rows, splits)


def test_what_cannot_be_learned_is_refused_in_one_sentence() -> None:
    rows, splits = returns_dataset()
    spec, none = regression_strategy(), np.zeros(0, np.int64)
    with pytest.raises(TrainingError, match=r"every training row has the return 0\.01, so there is nothing to learn"):
        fit(relabelled(rows, np.full(len(rows.rows), 0.01)), splits, spec, Silent())
    with pytest.raises(TrainingError, match="no validation rows are left"):
        fit(rows, dataclasses.replace(splits, validation=none), spec, Silent())
    with pytest.raises(TrainingError, match="loss cross_entropy does not fit labels that are returns, wanted huber or mse"):
        fit(rows, splits, regression_strategy(loss="cross_entropy"), Silent())
    classes, cuts = dataset()
    with pytest.raises(TrainingError, match="loss mse does not fit class labels, wanted cross_entropy or focal"):
        fit(classes, cuts, strategy(loss="mse"), Silent())


# --- the loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "delta"), [("mse", 1.0), ("huber", 0.5), ("huber", 2.0)])
def test_the_losses_are_their_formulas_in_units_of_the_training_deviation(loss: str, delta: float) -> None:
    random = np.random.default_rng(1)
    said, came = random.normal(size=50), random.normal(size=50)
    x = np.abs(said - came)
    wanted = x**2 if loss == "mse" else np.where(x <= delta, 0.5 * x**2, delta * (x - 0.5 * delta))
    training = regression_strategy(loss=loss, huber_delta=delta).training
    tensors = torch.tensor(said)[:, None], torch.tensor(came)
    np.testing.assert_allclose(row_losses(*tensors, training).numpy(), wanted, rtol=1e-12)
    assert float(make_loss(training, None)(*tensors)) == pytest.approx(wanted.mean())
    assert mean_loss(*tensors, training, None) == pytest.approx(wanted.mean())


@pytest.mark.parametrize("loss", ["huber", "mse"])
def test_a_price_in_another_unit_of_return_trains_the_same_network(loss: str) -> None:
    rows, splits = returns_dataset()
    spec = regression_strategy(loss=loss)
    one = fit(rows, splits, spec, Silent())
    twice = fit(relabelled(rows, rows.rows.labels * 4), splits, spec, Silent())  # by a power of 2: no bit is rounded otherwise
    assert twice.target_scale == 4 * one.target_scale  # type: ignore[operator]
    assert [m["val_loss"] for m in twice.history] == [m["val_loss"] for m in one.history]
    assert [m["val_mae"] for m in twice.history] == [4 * m["val_mae"] for m in one.history]


def test_it_learns_what_there_is_to_learn() -> None:
    rows, splits = returns_dataset(1200, noise=0.1)
    spec = regression_strategy(epochs=30, dropout=0.0)
    fitted = fit(rows, splits, spec, Silent())
    metrics = evaluated(fitted, rows, splits, spec, splits.test).metrics
    assert metrics["r2"] > 0.8 and metrics["ic"] > 0.9 and metrics["sign_accuracy"] > 0.8
    assert metrics["signals"]["BUY"]["mean_return"] > 0 > metrics["signals"]["SELL"]["mean_return"]
    assert all(other["gain"] > other["gain_margin"] for other in metrics["baselines"])


# --- the laws ------------------------------------------------------------------------------------


@given(
    optimizer=st.sampled_from(["adam", "sgd"]),
    loss=st.sampled_from(["huber", "mse"]),
    sampling=st.sampled_from(["proportional", "balanced"]),
    dropout=st.sampled_from([0.0, 0.4]),
    fused=st.booleans(),
    stop_at=st.integers(0, 5 * 6 - 1),
)
@settings(max_examples=20, deadline=None)
def test_a_run_stopped_at_any_batch_and_resumed_ends_in_the_same_bits(
    optimizer: str, loss: str, sampling: str, dropout: float, fused: bool, stop_at: int
) -> None:
    rows, splits = returns_dataset()
    spec = regression_strategy(
        epochs=5, optimizer=optimizer, loss=loss, sampling=sampling, dropout=dropout, early_stopping={"enabled": False}
    )
    whole, first, second = Recorder(), Recorder(Cancelled(), at_batch=stop_at), Recorder()
    undisturbed = fit(rows, splits, spec, whole, fused=fused)
    with pytest.raises(Cancelled):
        fit(rows, splits, spec, first, fused=fused)
    resumed = fit(rows, splits, spec, second, fused=fused, resume=first.last_parts())
    assert outcome(undisturbed, whole.states[-1]()) == outcome(resumed, second.states[-1]())
    assert resumed.target_scale == undisturbed.target_scale


def test_a_checkpoint_of_other_returns_is_refused() -> None:
    rows, splits = returns_dataset()
    recorder = Recorder()
    fit(rows, splits, regression_strategy(), recorder)
    with pytest.raises(CheckpointError, match="scale of the returns was learned on other labels"):
        fit(relabelled(rows, rows.rows.labels * 2), splits, regression_strategy(), Silent(), resume=recorder.last_parts())


def test_the_kept_weights_reach_the_smallest_validation_loss_again() -> None:
    rows, splits = returns_dataset()
    spec = regression_strategy(epochs=8, learning_rate=0.05)
    fitted = fit(rows, splits, spec, Silent())
    told = evaluated(fitted, rows, splits, spec, splits.validation).metrics
    best = fitted.history[fitted.best_epoch]
    assert told["loss"] == best["val_loss"] == min(m["val_loss"] for m in fitted.history)
    assert {name: told[name] for name in ("mae", "rmse", "r2", "ic", "rank_ic", "sign_accuracy")} == {
        name: best[f"val_{name}"] for name in ("mae", "rmse", "r2", "ic", "rank_ic", "sign_accuracy")
    }


def test_a_predicted_return_depends_on_its_row_alone() -> None:
    rows, splits = returns_dataset(MOST_ROWS + 300)
    fitted = fit(rows, splits, regression_strategy(), Silent())
    assert fitted.target_scale is not None
    whole = predicted_returns(fitted.network, rows.rows.features, fitted.target_scale)
    for part in (slice(5, 6), slice(3, 40), slice(700, None)):
        np.testing.assert_array_equal(
            predicted_returns(fitted.network, rows.rows.features[part], fitted.target_scale), whole[part]
        )
    kept = evaluated(fitted, rows, splits, regression_strategy(), splits.test).predictions
    np.testing.assert_array_equal(kept.returns, whole[splits.test])
    np.testing.assert_array_equal(kept.labels, rows.rows.labels[splits.test])
    assert kept.probabilities is None


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_recurrent_network_predicts_returns_under_the_same_laws(kind: str) -> None:
    rows, splits = windows()
    rows = dataclasses.replace(relabelled(rows, 0.01 * rows.rows.labels + 0.001 * np.sin(rows.rows.times / HOUR)), class_names=())
    plain = regression_strategy(epochs=3).plain() | {"model": recurrent(kind, dropout=0.2).plain()["model"]}
    spec = StrategySpec.model_validate(plain)
    whole, first, second = Recorder(), Recorder(Cancelled(), at_batch=8), Recorder()
    undisturbed = fit(rows, splits, spec, whole)
    with pytest.raises(Cancelled):
        fit(rows, splits, spec, first)
    resumed = fit(rows, splits, spec, second, resume=first.last_parts())
    assert outcome(undisturbed, whole.states[-1]()) == outcome(resumed, second.states[-1]())
    kept = evaluated(undisturbed, rows, splits, spec, splits.validation)
    assert kept.metrics["loss"] == min(m["val_loss"] for m in undisturbed.history)
    ends = rows.rows.last_bars(splits.validation)
    assert undisturbed.target_scale is not None
    some = predicted_returns(undisturbed.network, rows.rows.features, undisturbed.target_scale, ends[5:9])
    np.testing.assert_array_equal(some, kept.predictions.returns[5:9])


def test_streamed_rows_train_the_same_bits() -> None:
    rows, splits = returns_dataset()
    one, other = Recorder(), Recorder()
    resident = fit(rows, splits, regression_strategy(), one)
    streamed = fit(rows, splits, regression_strategy(), other, resident_limit=0)
    assert outcome(resident, one.states[-1]()) == outcome(streamed, other.states[-1]())


# --- the baselines -------------------------------------------------------------------------------


def test_the_last_known_return_is_the_newest_one_whose_end_was_heard() -> None:
    rows, splits = returns_dataset()
    said = return_baselines(rows, splits.test, splits.train, HOUR)
    assert list(said) == ["always zero", "always the mean of train", "the last known return"]
    assert (said["always zero"] == 0).all()
    assert said["always the mean of train"] == pytest.approx(rows.rows.labels[splits.train].mean())
    own, ends, labels = rows.rows.symbols, rows.rows.label_ends, rows.rows.labels
    for place, row in enumerate(splits.test.tolist()):
        known = [r for r in range(row + 1) if own[r] == own[row] and ends[r] <= rows.rows.times[row] + HOUR]
        assert said["the last known return"][place] == labels[known[-1]]


def test_every_baseline_has_the_models_own_measures() -> None:
    rows, splits = returns_dataset()
    spec = regression_strategy()
    metrics = evaluated(fit(rows, splits, spec, Silent()), rows, splits, spec, splits.test).metrics
    for other in metrics["baselines"]:
        assert {"rows", "mae", "rmse", "r2", "sign_accuracy", "ic", "rank_ic", "gain", "gain_margin"} <= set(other)
    assert metrics["baseline"]["rmse"] == min(other["rmse"] for other in metrics["baselines"])
    assert set(metrics["per_symbol"]) == {"AAA", "BBB"}
    assert 1 <= metrics["independent_rows"] < metrics["rows"], "labels that look three rows ahead overlap"
