"""n epochs = k + checkpoint + (n − k), bit for bit; a checkpoint that does not fit is refused with the difference named."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples.trainer import Recorder, dataset, strategy
from training.core.values import Cancelled, Parts, Silent
from training.trainer.loop import Fitted, fit
from training.trainer.state import CheckpointError, differences

TIMES = ("seconds", "samples_per_second")
SCHEDULERS: list[Any] = [
    "none",
    "exponential",
    "cosine",
    {"type": "step", "step_size": 2},
    {"type": "reduce_on_plateau", "patience": 0, "factor": 0.3},
]


def outcome(fitted: Fitted, parts: Parts) -> tuple[Any, ...]:
    """Everything that must agree to the last bit: clocks are the only thing left out."""
    state = json.loads(parts["state.json"])
    histories = [[{k: v for k, v in m.items() if k not in TIMES} for m in h] for h in (fitted.history, state.pop("history"))]
    weights = {name: tensor.numpy().tobytes() for name, tensor in fitted.network.state_dict().items()}
    bytes_only = {name: content for name, content in parts.items() if name != "state.json"}
    return weights, histories, fitted.best_epoch, fitted.early_stopped, state, bytes_only


@given(
    optimizer=st.sampled_from(["adam", "adamw", "sgd", "rmsprop"]),
    scheduler=st.sampled_from(SCHEDULERS),
    sampling=st.sampled_from(["proportional", "balanced"]),
    loss=st.sampled_from(["cross_entropy", "focal"]),
    dropout=st.sampled_from([0.0, 0.4]),
    fused=st.booleans(),
    patience=st.sampled_from([2, 50]),
    stop_at=st.integers(0, 6 * 6 - 1),
)
@settings(max_examples=40, deadline=None)
def test_a_run_stopped_at_any_batch_and_resumed_ends_in_the_same_bits(
    optimizer: str, scheduler: Any, sampling: str, loss: str, dropout: float, fused: bool, patience: int, stop_at: int
) -> None:
    rows, splits = dataset()
    spec = strategy(
        epochs=6, optimizer=optimizer, lr_scheduler=scheduler, sampling=sampling, loss=loss, dropout=dropout,
        early_stopping={"patience": patience}, learning_rate=0.03,
    )  # fmt: skip
    whole = Recorder()
    undisturbed = fit(rows, splits, spec, whole, fused=fused)
    first = Recorder(Cancelled(), at_batch=stop_at)
    if undisturbed.epochs_completed * 6 > stop_at:
        with pytest.raises(Cancelled):
            fit(rows, splits, spec, first, fused=fused)
    else:
        fit(rows, splits, spec, first, fused=fused)
    second = Recorder()
    resumed = fit(rows, splits, spec, second, fused=fused, resume=first.last_parts())
    end = second.last_parts() or first.last_parts()
    assert end is not None
    assert outcome(undisturbed, whole.states[-1]()) == outcome(resumed, end)


def test_a_state_is_still_right_after_training_went_on() -> None:
    rows, splits = dataset()
    at_once: list[Parts] = []

    class Saver(Recorder):
        def on_epoch_end(self, metrics: Any, state: Any) -> None:
            super().on_epoch_end(metrics, state)
            at_once.append(state())

    recorder = Saver()
    fit(rows, splits, strategy(dropout=0.2), recorder)
    assert [state() for state in recorder.states] == at_once


def test_a_finished_run_goes_straight_to_its_end() -> None:
    rows, splits = dataset()
    recorder, again = Recorder(), Recorder()
    fitted = fit(rows, splits, strategy(), recorder)
    repeated = fit(rows, splits, strategy(), again, resume=recorder.last_parts())
    assert again.batches == 0 and again.stages == [("train", 0.0), ("train", 1.0)]
    assert repeated.history == fitted.history
    for a, b in zip(fitted.network.state_dict().values(), repeated.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_run_is_refused_and_says_why() -> None:
    rows, splits = dataset()
    recorder = Recorder()
    fit(rows, splits, strategy(), recorder)
    parts = recorder.last_parts()
    assert parts is not None
    names = list(rows.feature_names)
    swapped = dataclasses.replace(rows, feature_names=(names[1], names[0], *names[2:]))
    fewer = dataclasses.replace(splits, train=splits.train[:-1])
    moved = dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, features=rows.rows.features + 1))
    for other, other_splits, spec, message in (
        (swapped, splits, strategy(), "feature 0 is '1h_feature_0' in the checkpoint and '1h_feature_1' in this run"),
        (rows, fewer, strategy(), "trained on 179 rows, this run has 178"),
        (moved, splits, strategy(), "normalization.offset was learned on other"),
        (rows, splits, strategy(batch_size=16), "training.batch_size is 32 in the checkpoint and 16 in this run"),
        (rows, splits, strategy(hidden=[4]), "model.architecture.hidden_layers"),
    ):
        with pytest.raises(CheckpointError, match=message.replace("(", r"\(")):
            fit(other, other_splits, spec, Silent(), resume=parts)


def test_a_damaged_or_incomplete_checkpoint_is_refused() -> None:
    rows, splits = dataset()
    recorder = Recorder()
    fit(rows, splits, strategy(), recorder)
    parts = recorder.last_parts()
    assert parts is not None
    for name in parts:
        with pytest.raises(CheckpointError, match=name.split(".")[0]):
            fit(rows, splits, strategy(), Silent(), resume={k: v for k, v in parts.items() if k != name})
        with pytest.raises(CheckpointError):
            fit(rows, splits, strategy(), Silent(), resume={**parts, name: parts[name][: len(parts[name]) // 2]})
    newer = parts["state.json"].replace(b'"format": 1', b'"format": 2')
    with pytest.raises(CheckpointError, match="format 2"):
        fit(rows, splits, strategy(), Silent(), resume={**parts, "state.json": newer})


def test_another_way_of_computing_is_a_difference_not_an_error() -> None:
    rows, splits = dataset()
    recorder = Recorder()
    fit(rows, splits, strategy(), recorder)
    parts = recorder.last_parts()
    assert parts is not None
    assert differences(parts, "cpu") == []
    assert differences(parts, "cpu", threads=2, fused=False) == ["threads was 1, is 2", "fused was True, is False"]
    elsewhere = {**parts, "state.json": parts["state.json"].replace(b'"device": "cpu"', b'"device": "cuda"')}
    assert differences(elsewhere, "cpu") == ["device was cuda, is cpu"]
    older = {**parts, "state.json": parts["state.json"].replace(b'"torch": "', b'"torch": "0')}
    assert [text.split(" was ")[0] for text in differences(older, "cpu")] == ["torch version"]


def test_another_version_of_a_package_is_a_difference_that_is_named() -> None:
    rows, splits = dataset()
    recorder = Recorder()
    fit(rows, splits, strategy(), recorder)
    parts = recorder.last_parts()
    assert parts is not None
    document = json.loads(parts["state.json"])
    assert document["plugins"] == {}
    document["plugins"] = {"indicator kama": {"package": "kama-plus", "version": "1.0", "code": "ab"}}
    other = {**parts, "state.json": json.dumps(document).encode()}
    assert differences(other, "cpu") == ["the package kama-plus 1.0 (indicator kama) is not there"]


def test_a_checkpoint_of_fused_updates_can_be_continued_without_them() -> None:
    rows, splits = dataset()
    recorder = Recorder(Cancelled(), after_epoch=1)
    with pytest.raises(Cancelled):
        fit(rows, splits, strategy(), recorder)
    fitted = fit(rows, splits, strategy(), Silent(), fused=False, resume=recorder.last_parts())
    assert fitted.epochs_completed == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_resume_on_cuda_ends_in_the_same_bits(optimizer: str) -> None:
    rows, splits = dataset(3000, 20)
    spec = strategy([64, 32], dropout=0.3, optimizer=optimizer, epochs=5)
    whole, first, second = Recorder(), Recorder(Cancelled(), after_epoch=2), Recorder()
    undisturbed = fit(rows, splits, spec, whole, device="cuda")
    with pytest.raises(Cancelled):
        fit(rows, splits, spec, first, device="cuda")
    resumed = fit(rows, splits, spec, second, device="cuda", resume=first.last_parts())
    assert outcome(undisturbed, whole.states[-1]()) == outcome(resumed, second.states[-1]())
