"""A recurrent model from plan to page: planned, trained, judged, explained, and predicting what it said in training."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from strategies_app.grammar.reader import read_strategy
from tests.examples.api import Examples, make_examples, register_worker, send
from tests.examples.results import completed, sample_bars, text_of, trained
from training.core.memory import batch_bytes
from training.jobs.requests import recorded_ranges, recorded_rows
from training.jobs.status import _work, seconds_for
from training.models import Operation
from training.store.coverage import DataError, check_windows
from training.trainer.networks import build_network
from training.workers import importance, plan
from training.workers.prediction import open_model, predict_stored

WINDOW = 12


def memory(kind: str = "lstm", window: int = WINDOW, **changes: Any) -> str:
    architecture = {"sequence_length": window, "hidden_size": 8, "num_layers": 2, "dropout": 0.2}
    return text_of("memory", model={"type": kind, "architecture": architecture}, **changes)


@pytest.fixture
def ready(transactional_db: None, empty_redis: Any) -> Examples:
    examples = make_examples()
    register_worker("cpu")
    return examples


def test_a_loaded_model_says_of_stored_bars_what_it_said_in_training(db: None) -> None:
    operation = completed(memory())
    bundle = open_model(operation.trained_model.name)
    kept = bundle.predictions["test"]
    for number, symbol in enumerate(bundle.symbols):
        said, _ = predict_stored(bundle, symbol, "1d", "2008-01-01", "2009-12-31", recent=False)
        own = np.flatnonzero((kept.symbols == number) & (kept.times >= said.times[0]))
        at = np.searchsorted(said.times, kept.times[own])
        np.testing.assert_array_equal(said.times[at], kept.times[own])
        np.testing.assert_array_equal(said.probabilities[at], kept.probabilities[own])
        assert len(own) > 100


def test_the_ledger_of_its_page_counts_what_windows_cost(ready: Examples) -> None:
    operation = completed(memory())
    ledger = trained(memory()).split
    crossing = ledger["rows"]["crossing"]
    assert 0 < crossing <= 2 * 2 * (WINDOW - 1)
    rows, dropped = sum(ledger["rows"].values()), sum(ledger["dropped"].values())
    assert rows + dropped == sum(sum(of.values()) for of in ledger["per_symbol"].values()) + dropped
    page = ready.signed_in("viewer").get(f"/operations/{operation.pk}/").content.decode()
    assert "Window over a cut: the row" in page and "Without a whole window" in page
    plain = ready.signed_in("viewer").get(f"/operations/{completed().pk}/").content.decode()
    assert "Window over a cut" not in plain


def test_its_inputs_are_explained(db: None) -> None:
    operation = completed(memory("gru"))
    found = importance.importance(operation.trained_model.name)
    rows = trained(memory("gru")).split["rows"]["validation"]
    assert found["rows"] == min(20_000 // WINDOW, rows) and found["of_rows"] == rows
    assert set(found["sets"]) == {"zone", "macd_1.histogram"} and found["repeats"] >= 2


def test_its_plan_says_what_it_sees_and_takes(db: None) -> None:
    for symbol in ("AAPL", "MSFT"):
        sample_bars(symbol)
    told = plan.plan(memory(), "a test", {})
    parameters = 4 * 8 * (7 + 8 + 2) + 4 * 8 * (8 + 8 + 2) + 9 * 3
    assert told["network"] == f"lstm, {parameters:,} parameters, 7 features in windows of 12 bars, 3 classes"
    batch = batch_bytes(read_strategy(memory()), 7)
    assert batch == 4 * 128 * WINDOW * (2 * 7 + (2 * 17 + 5) * 16) and "a batch 3.9 MB" in told["memory"]
    assert told["split"]["rows"]["crossing"] > 0
    plain = plan.plan(text_of().replace("\n  epochs:", "\n  precision: bfloat16\n  epochs:"), "a test", {}, "a gpu worker")
    assert "crossing" not in plain["split"]["rows"]
    assert any("on any other device the run computes in float32" in note for note in plain["notes"])
    rounded = plan.plan(memory().replace("\n  epochs:", "\n  precision: bfloat16\n  epochs:"), "a test", {})
    assert "precision bfloat16: recurrent networks are computed in float32 all the same" in rounded["notes"]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_memory_of_a_batch_is_about_what_torch_keeps_of_it(kind: str) -> None:
    spec = read_strategy(memory(kind, model__architecture__hidden_size=32))
    network = build_network(spec, 7, 3, np.zeros(7, np.float32), np.ones(7, np.float32))
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network.train()(torch.rand(128, WINDOW, 7))
    assert 1 <= batch_bytes(spec, 7) / sum(kept.values()) < 2


@pytest.mark.parametrize("window", [500, 10_000])
def test_a_sequence_longer_than_a_split_is_refused_before_anything_is_queued(window: int, ready: Examples) -> None:
    for symbol in ("AAPL", "MSFT"):
        sample_bars(symbol)
    before = Operation.objects.count()
    for path in ("/trainings/start", "/trainings/plan"):
        answer = send(ready.signed_in("trainer"), "post", path, {"strategy_yaml": memory(window=window)})
        assert answer.status_code == 422, answer.content
        message = answer.json()["error"]["message"]
        assert (
            message.startswith(f"sequence_length is {window:,}, and the validation split holds at most ") and "\n" not in message
        )
    assert Operation.objects.count() == before


def test_no_window_is_refused_that_fits(db: None) -> None:
    """The longest sequence with which the rows can still be cut passes the check that reads no bar."""
    for symbol in ("AAPL", "MSFT"):
        sample_bars(symbol)
    fits, too_long = (
        memory(window=window, training_data__timeframes={"mode": "single", "timeframe": "1d"}) for window in (220, 300)
    )
    assert plan.plan(fits, "a test", {})["split"]["rows"]["validation"] < 60
    check_windows(read_strategy(fits), recorded_ranges(), recorded_rows())
    with pytest.raises(DataError, match=r"split has no rows: .* have a window of 300 bars that reaches back over a cut"):
        plan.plan(too_long, "a test", {})


def test_the_time_of_a_run_is_told_by_runs_of_the_same_kind_of_network(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.jobs.status._bars", lambda spec, stored: 1000.0)
    operation = completed(memory())
    spec = json.loads(operation.spec)
    Operation.objects.filter(pk=operation.pk).update(started=operation.created, finished=operation.created.replace(year=2099))
    alike, took = seconds_for(spec), (operation.created.replace(year=2099) - operation.created).total_seconds()
    assert alike == pytest.approx(took)
    longer = json.loads(json.dumps(spec))
    longer["model"]["architecture"]["sequence_length"] = 2 * WINDOW
    assert seconds_for(longer) == pytest.approx(2 * took)
    longer["model"]["architecture"]["sequence_length"] = 50 * WINDOW
    assert seconds_for(longer) is None and _work(longer) == 50 * _work(spec)
    assert seconds_for(json.loads(json.dumps(spec)) | {"model": {"type": "mlp", "architecture": {}}}) is None
