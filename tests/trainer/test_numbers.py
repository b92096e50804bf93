"""Numbers: normalization is learned on train and lives in the network; nothing that is not finite is ever saved."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples.trainer import Recorder, dataset, strategy
from training.core.values import Silent
from training.trainer import networks
from training.trainer.batches import resident
from training.trainer.evaluation import probabilities
from training.trainer.loop import Diverged, fit
from training.trainer.networks import build_network, fit_normalization, parameter_count


def test_normalization_is_learned_on_training_rows_only() -> None:
    rows, splits = dataset(raw=2)
    fitted = fit(rows, splits, strategy(), Silent())
    train = rows.rows.features[splits.train].astype(np.float64)
    np.testing.assert_allclose(fitted.offset[:2], train[:, :2].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(fitted.scale[:2], train[:, :2].std(axis=0), rtol=1e-6)
    assert (fitted.offset[2:] == 0).all() and (fitted.scale[2:] == 1).all()
    changed = rows.rows.features.copy()
    changed[splits.test] += 1000
    other = dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, features=changed))
    np.testing.assert_array_equal(fit(other, splits, strategy(), Silent()).offset, fitted.offset)


def test_normalization_is_a_layer_of_the_network() -> None:
    rows, splits = dataset(raw=2)
    fitted = fit(rows, splits, strategy(epochs=2), Silent())
    plain = build_network(strategy(), 5, 3, np.zeros(5, np.float32), np.ones(5, np.float32))
    weights = {k: v for k, v in fitted.network.state_dict().items() if not k.startswith("normalization")}
    plain.load_state_dict(weights, strict=False)
    by_hand = (rows.rows.features - fitted.offset) / fitted.scale
    np.testing.assert_array_equal(probabilities(plain, by_hand), probabilities(fitted.network, rows.rows.features))
    assert parameter_count(fitted.network) == (5 * 9 + 9) + (9 * 5 + 5) + (5 * 3 + 3)


@given(st.integers(1, 200), st.integers(0, 1000), st.integers(1, 64))
@settings(max_examples=40, deadline=None)
def test_chunks_change_nothing_but_rounding(count: int, seed: int, chunk: int) -> None:
    random = np.random.default_rng(seed)
    values = (1e4 + random.normal(size=(count, 3))).astype(np.float32)
    positions = np.sort(random.choice(count, size=max(1, count // 2), replace=False)).astype(np.int64)
    kinds = ("zscore", "minmax", "none")
    before, networks.CHUNK_ROWS = networks.CHUNK_ROWS, chunk
    try:
        offset, scale, _ = fit_normalization(values, kinds, positions)
    finally:
        networks.CHUNK_ROWS = before
    train = values[positions].astype(np.float64)
    low, width = train[:, 1].min(), np.ptp(train[:, 1])
    np.testing.assert_allclose(offset, [train[:, 0].mean(), low, 0], rtol=1e-7)
    np.testing.assert_allclose(scale, [train[:, 0].std() or 1, width or 1, 1], rtol=1e-6)


def test_a_constant_feature_keeps_scale_one_and_is_named() -> None:
    rows, splits = dataset(raw=2)
    features = rows.rows.features.copy()
    features[splits.train, 1] = 0.1
    other = dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, features=features))
    fitted = fit(other, splits, strategy(), Silent())
    assert fitted.scale[1] == 1
    assert [w for w in fitted.warnings if "collapsed" not in w and "come apart" not in w] == [
        "feature 1h_feature_1 is constant (0.1) over the training rows, so it is shifted but not scaled"
    ]


@pytest.mark.parametrize("fused", [True, False])
def test_a_run_that_leaves_the_finite_numbers_ends_before_its_state_is_offered(fused: bool) -> None:
    rows, splits = dataset()
    features = rows.rows.features.copy()
    recorder = Recorder()

    class Poison(Recorder):
        def on_epoch_end(self, metrics: object, state: object) -> None:
            recorder.states.append(state)
            features[splits.train[0]] = np.nan

    other = dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, features=features))
    with pytest.raises(
        Diverged,
        match=r"epoch 2: the training loss is nan since batch \d of 6; epoch 1 ended .*; try a lower learning_rate \(now 0.01\)",
    ):
        fit(other, splits, strategy(), Poison(), fused=fused)
    assert len(recorder.states) == 1
    assert b"NaN" not in recorder.states[0]()["state.json"]


def test_a_diverging_learning_rate_is_one_sentence() -> None:
    rows, splits = dataset()
    spec = strategy(
        [32, 32], learning_rate=10.0, optimizer="sgd", gradient_clip=0.0, epochs=50, early_stopping={"enabled": False}
    )
    with pytest.raises(Diverged, match=r"^epoch \d+: "):
        fit(
            dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, features=rows.rows.features * 1e6)),
            splits,
            spec,
            Silent(),
        )


@pytest.mark.filterwarnings("error")
def test_read_only_features_train_without_a_copy_or_a_warning() -> None:
    rows, splits = dataset()
    rows.rows.features.flags.writeable = False
    fit(rows, splits, strategy(epochs=1), Silent())
    assert resident(rows.rows.features, "cpu").data_ptr() == rows.rows.features.ctypes.data


@pytest.mark.parametrize("probability", [0.001, 0.2, 0.5, 0.9, 0.9999999])
def test_dropout_zeroes_its_share_and_keeps_the_mean(probability: float) -> None:
    torch.manual_seed(0)
    layer = networks.Dropout(probability)
    values = torch.ones(1001, 333, requires_grad=True)
    dropped = layer(values)
    dropped.sum().backward()
    kept = dropped != 0
    share = 1 - layer.level / layer.LEVELS
    noise = 4 * (share * (1 - share) / values.numel()) ** 0.5
    assert abs(share - (1 - probability)) <= 1.1 / layer.LEVELS
    assert float(kept.float().mean()) == pytest.approx(share, abs=noise)
    assert float(dropped.detach().mean()) == pytest.approx(1, abs=noise / share)
    assert values.grad is not None and torch.equal(values.grad != 0, kept), "the gradient passes where the value did"
    pairs = (kept[:, :-1] & kept[:, 1:]).float().mean()
    assert float(pairs) == pytest.approx(share * share, abs=4 * noise), "neighbours are independent"
    assert layer.eval()(values) is values


def test_an_infinite_gradient_norm_is_not_clipped_into_silence() -> None:
    rows, splits = dataset(raw=0)
    huge = dataclasses.replace(rows.rows, features=rows.rows.features * np.float32(1e25))
    with pytest.raises(Diverged, match=r"^epoch 1: the (gradient norm|training loss) is (inf|nan)"):
        fit(dataclasses.replace(rows, rows=huge), splits, strategy([], gradient_clip=1.0, weight_decay=0.0), Silent())
