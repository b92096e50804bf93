"""Recurrent networks train, stop, continue, predict and are judged as the others are; windows are read from the bars."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from tests.examples.trainer import Recorder, recurrent, windows
from tests.trainer.test_resume import outcome
from training.core.values import Cancelled, Dataset, Silent, Splits
from training.trainer import batches
from training.trainer.batches import place
from training.trainer.evaluation import evaluate, probabilities
from training.trainer.importance import permutation_importance
from training.trainer.loop import Fitted, fit
from training.trainer.networks import FEWEST_ROWS, Recurrent, build_network, evaluation_rows, parameter_count

KINDS = ["lstm", "gru"]


def network_of(spec: Any, features: int = 5) -> nn.Module:
    return build_network(spec, features, 3, np.zeros(features, np.float32), np.ones(features, np.float32))


# --- training ----------------------------------------------------------------------------------


class Windows(TorchDataset[tuple[torch.Tensor, int]]):
    """What a tutorial shows: one slice per example."""

    def __init__(self, rows: Dataset, order: np.ndarray) -> None:
        self.rows, self.order, self.window = rows.rows, order, rows.window

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        row = self.order[place]
        end = self.rows.ends[row]  # type: ignore[index]
        return torch.from_numpy(self.rows.features[end - self.window + 1 : end + 1]), int(self.rows.labels[row])


def plain_loop(rows: Dataset, splits: Splits, spec: Any, fitted: Fitted) -> nn.Module:
    network = build_network(spec, len(rows.feature_names), 3, fitted.offset, fitted.scale)
    optimizer = torch.optim.Adam(network.parameters(), lr=spec.training.learning_rate, weight_decay=spec.training.weight_decay)
    criterion = nn.CrossEntropyLoss(weight=torch.tensor(fitted.class_weights))
    network.train()
    for epoch in range(spec.training.epochs):
        order = splits.train[batches.epoch_order(spec.training.seed, epoch, len(splits.train))]
        for x, y in DataLoader(Windows(rows, order), batch_size=spec.training.batch_size):
            optimizer.zero_grad()
            criterion(network(x), y).backward()
            nn.utils.clip_grad_norm_(network.parameters(), spec.training.gradient_clip)
            optimizer.step()
    return network


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [7, 1000])
def test_weights_are_those_of_a_plain_loop_over_windows(kind: str, batch_size: int) -> None:
    rows, splits = windows()
    spec = recurrent(kind, epochs=2, batch_size=batch_size, lr_scheduler="none")
    recorder = Recorder()
    fitted = fit(rows, splits, spec, recorder, fused=False)
    weights = load(recorder.states[-1]()["model.safetensors"])
    for name, tensor in plain_loop(rows, splits, spec, fitted).state_dict().items():
        assert torch.equal(weights[name], tensor), name


@given(
    kind=st.sampled_from(KINDS),
    layers=st.sampled_from([1, 2]),
    dropout=st.sampled_from([0.0, 0.4]),
    fused=st.booleans(),
    sampling=st.sampled_from(["proportional", "balanced"]),
    streaming=st.tuples(st.booleans(), st.booleans()),
    stop_at=st.integers(0, 15),
)
@settings(max_examples=12, deadline=None)
def test_a_run_stopped_at_any_batch_and_resumed_ends_in_the_same_bits_wherever_its_bars_lie(
    kind: str, layers: int, dropout: float, fused: bool, sampling: str, streaming: tuple[bool, bool], stop_at: int
) -> None:
    rows, splits = windows()
    spec = recurrent(kind, layers=layers, dropout=dropout, epochs=3, sampling=sampling, learning_rate=0.03)
    limits = [0 if streams else None for streams in streaming]
    whole, first, second = Recorder(), Recorder(Cancelled(), at_batch=stop_at), Recorder()
    undisturbed = fit(rows, splits, spec, whole, fused=fused, resident_limit=limits[0])
    with pytest.raises(Cancelled):
        fit(rows, splits, spec, first, fused=fused, resident_limit=limits[1])
    resumed = fit(rows, splits, spec, second, fused=fused, resume=first.last_parts(), resident_limit=limits[0])
    assert outcome(undisturbed, whole.states[-1]()) == outcome(resumed, second.states[-1]())


def test_windows_are_gathered_and_no_block_border_changes_them() -> None:
    rows, _ = windows(bars=900)
    order = batches.epoch_order(1, 0, len(rows.rows))
    ends = rows.rows.ends
    assert ends is not None
    by_hand = np.stack([rows.rows.features[end - 5 : end + 1] for end in ends[order]])
    for limit in (None, 0):
        placed = place(rows.rows.features, rows.rows.labels, "cpu", limit, None, ends, 6)
        for size in (500, batches.BLOCK_BYTES):
            blocks = list(placed.blocks(order, 8, size))
            assert all(len(x) % 8 == 0 for x, _ in blocks[:-1]) and (len(blocks) > 10) == (size == 500)
            np.testing.assert_array_equal(torch.cat([x for x, _ in blocks]).numpy(), by_hand)
            np.testing.assert_array_equal(torch.cat([y for _, y in blocks]).numpy(), rows.rows.labels[order])


def test_normalization_is_learned_on_the_last_bars_of_the_training_windows() -> None:
    rows, splits = windows()
    fitted = fit(rows, splits, recurrent(epochs=1), Silent())
    ends = rows.rows.ends
    assert ends is not None
    column = rows.rows.features[ends[splits.train], 0].astype(np.float64)
    np.testing.assert_allclose([fitted.offset[0], fitted.scale[0]], [column.mean(), column.std()], rtol=1e-6)


def test_a_window_is_learned_from_where_its_last_bar_says_little() -> None:
    """The labels follow the mean over the window."""
    rows, splits = windows(bars=3000)
    spec = recurrent("gru", layers=1, hidden=16, epochs=12, learning_rate=0.02, batch_size=64)
    fitted = fit(rows, splits, spec, Silent())
    told = evaluate(fitted.network, rows, splits.test, splits.train, spec.training, fitted.class_weights)
    assert told is not None and told.metrics["balanced_accuracy"] > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_when_memory_runs_out_a_batch_goes_on_in_pieces(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, sizes = Recurrent.forward, []

    def limited(self: Recurrent, rows: torch.Tensor) -> torch.Tensor:
        if self.training:
            sizes.append(len(rows))
            if len(rows) > 10:
                raise torch.OutOfMemoryError("memory that the test says is not there")
        return forward(self, rows)

    rows, splits = windows()
    spec = recurrent(kind, epochs=2, lr_scheduler="none")
    plenty, scarce = Recorder(), Recorder()
    fit(rows, splits, spec, plenty)
    monkeypatch.setattr(Recurrent, "forward", limited)
    fitted = fit(rows, splits, spec, scarce)
    assert fitted.micro_batch == 8 and max(sizes[3:]) == 8
    weights = [load(recorder.states[-1]()["model.safetensors"]) for recorder in (plenty, scarce)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4)


# --- evaluation --------------------------------------------------------------------------------


@given(
    kind=st.sampled_from(KINDS),
    window=st.sampled_from([2, 3, 20]),
    features=st.sampled_from([1, 5, 16, 33]),
    hidden=st.sampled_from([1, 7, 16, 33, 64]),
    layers=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_a_rows_probabilities_depend_on_its_window_alone(
    kind: str, window: int, features: int, hidden: int, layers: int, seed: int, data: Any
) -> None:
    random = np.random.default_rng(seed)
    network = network_of(recurrent(kind, window, hidden, layers, dropout=0.3, seed=seed), features)
    count = data.draw(st.sampled_from([1, 2, 700, 1300]))
    values = random.normal(size=(count + window - 1, features)).astype(np.float32)
    ends = np.arange(window - 1, len(values))
    whole = probabilities(network, values, ends)
    shuffled = random.permutation(count)
    np.testing.assert_array_equal(probabilities(network, values, ends[shuffled]), whole[shuffled])
    row = data.draw(st.integers(0, count - 1))
    alone = values[row : row + window]
    np.testing.assert_array_equal(probabilities(network, alone, np.array([window - 1]))[0], whole[row])
    surrounded = np.concatenate([np.full((row % 50 + 1, features), 1e6, np.float32), alone])
    np.testing.assert_array_equal(probabilities(network, surrounded, np.array([len(surrounded) - 1]))[0], whole[row])
    with torch.no_grad():
        bars = np.lib.stride_tricks.sliding_window_view(values, window, axis=0).transpose(0, 2, 1)
        plain = torch.softmax(network.eval()(torch.from_numpy(bars.copy())), dim=1).numpy()
    np.testing.assert_allclose(whole, plain, rtol=1e-4, atol=1e-6)


def test_an_evaluation_batch_of_long_windows_is_small_and_a_function_of_the_network() -> None:
    short, long = (network_of(recurrent(window=window, hidden=64)) for window in (6, 10_000))
    assert evaluation_rows(short) == 1024 and evaluation_rows(long) == FEWEST_ROWS
    assert evaluation_rows(network_of(recurrent(window=100, hidden=64))) == 256


def test_parameters_are_counted() -> None:
    for kind, gates in (("lstm", 4), ("gru", 3)):
        wanted = gates * 7 * (5 + 7 + 2) + gates * 7 * (7 + 7 + 2) + 8 * 3
        assert parameter_count(network_of(recurrent(kind))) == wanted


def test_importance_shuffles_whole_windows() -> None:
    """A column whose window is the same for all rows tells nothing; the one that decides loses everything."""
    rows, splits = windows(bars=3000)
    features = rows.rows.features.copy()
    features[:, 1] = 0.5
    rows = dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, features=features))
    spec = recurrent("gru", layers=1, hidden=16, epochs=12, learning_rate=0.02, batch_size=64)
    network = fit(rows, splits, spec, Silent()).network
    found = permutation_importance(
        network, features, rows.rows.labels[splits.test], rows.rows.symbols[splits.test], {"a": [0], "b": [1], "c": [2]}, 3, 7,
        lambda: True, rows.rows.last_bars(splits.test),
    )  # fmt: skip
    drops = {name: told["mean"] for name, told in found["inputs"].items()}
    assert drops["b"] == 0.0 and drops["a"] > 0.15 and abs(drops["c"]) < 0.05
    assert found["baseline"] > 0.5 and (features == rows.rows.features).all()


def test_a_network_comes_back_from_its_weights(tmp_path: Path) -> None:
    rows, splits = windows()
    spec = recurrent(epochs=1)
    fitted = fit(rows, splits, spec, Silent())
    again = network_of(spec)
    again.load_state_dict(fitted.network.state_dict())
    ends = rows.rows.last_bars(splits.test)
    same = [probabilities(network, rows.rows.features, ends) for network in (fitted.network, again)]
    np.testing.assert_array_equal(*same)
