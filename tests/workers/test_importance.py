"""Importance: what is lost by shuffling an input; asked of the quick worker, worked out once, kept with the model."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from strategies_app.grammar.reader import read_strategy
from strategies_app.grammar.schema import feature_names
from tests.examples.api import Examples, make_examples, register_worker
from tests.examples.quick_work import work, worked
from tests.examples.results import completed, other_bars, sample_bars, text_of
from training.models import TrainedModel
from training.trainer.importance import permutation_importance, shuffled_within
from training.workers import importance
from training.workers.prediction import ModelError


class Threshold(nn.Sequential):
    """Class 1 where the first input is above 0.5; the others play no part."""

    def __init__(self) -> None:
        layer = nn.Linear(3, 2)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[-40.0, 0, 0], [40.0, 0, 0]]))
            layer.bias.copy_(torch.tensor([20.0, -20.0]))
        super().__init__(layer)


def rows(count: int = 4000) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(0)
    features = random.random((count, 3)).astype(np.float32)
    return features, (features[:, 0] > 0.5).astype(np.int64), (random.random(count) < 0.3).astype(np.int32)


def importance_of(inputs: dict[str, list[int]], has_time: Any = lambda: True, seed: int = 7) -> dict[str, Any]:
    return permutation_importance(Threshold(), *rows(), inputs, 2, seed, has_time)


def test_what_decides_loses_everything_and_what_plays_no_part_nothing() -> None:
    found = importance_of({"first": [0], "rest": [1, 2], "all": [0, 1, 2]})
    assert found["baseline"] == 1.0 and found["repeats"] == 5
    assert found["inputs"]["first"]["mean"] == pytest.approx(0.5, abs=0.03)
    assert found["inputs"]["rest"] == {"mean": 0.0, "spread": 0.0, "drops": [0.0] * 5}
    assert found["inputs"]["all"]["drops"] == found["inputs"]["first"]["drops"], "the same rows were exchanged"
    assert found["inputs"]["first"]["spread"] > 0


def test_it_is_a_function_of_its_seed_and_leaves_the_rows_alone() -> None:
    features, labels, symbols = rows()
    before = features.copy()
    permutation_importance(Threshold(), features, labels, symbols, {"first": [0]}, 2, 7, lambda: True)
    np.testing.assert_array_equal(features, before)
    assert importance_of({"first": [0]}) == importance_of({"first": [0]})
    assert importance_of({"first": [0]}) != importance_of({"first": [0]}, seed=8)


def test_only_whole_rounds_count() -> None:
    calls = itertools.count()
    found = importance_of({"a": [0], "b": [1]}, lambda: next(calls) < 5)
    assert found["repeats"] == 2 and len(found["inputs"]["a"]["drops"]) == len(found["inputs"]["b"]["drops"]) == 2


def test_a_row_is_exchanged_only_within_its_symbol() -> None:
    _, _, symbols = rows()
    order = shuffled_within(symbols, 1, 0)
    assert sorted(order.tolist()) == list(range(len(symbols)))
    np.testing.assert_array_equal(symbols[order], symbols)
    assert (order != shuffled_within(symbols, 1, 1)).any()


def test_a_fuzzy_set_is_all_its_columns_on_every_timeframe_and_lag() -> None:
    spec = read_strategy(text_of("lagged", model__features={"lookback_periods": 2}))
    names, groups = feature_names(spec), importance.input_groups(spec)
    assert sorted(column for columns in groups.values() for column in columns) == list(range(len(names)))
    assert all(("_zone_" in names[column]) == (group == "zone") for group, columns in groups.items() for column in columns)
    assert len(groups["macd_1.histogram"]) == 3


# --- as a question -----------------------------------------------------------------------------


@pytest.fixture
def asking(transactional_db: None, empty_redis: Any) -> Examples:
    return make_examples()


def test_it_is_worked_out_once_and_then_on_the_page(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    register_worker("quick")
    operation = completed()
    client, address = asking.signed_in("viewer"), f"/operations/{operation.pk}/importance/"
    assert "Work it out" in client.get(f"/operations/{operation.pk}/").content.decode()
    with worked(monkeypatch):
        answer = client.post(address).content.decode()
    kept = TrainedModel.objects.get(operation=operation).importance
    assert "importance-features" in answer and "importance-sets" in answer
    assert kept["repeats"] == 5 and kept["measure"] == "balanced_accuracy"
    assert kept["baseline"] == pytest.approx(operation.trained_model.metrics["validation"]["balanced_accuracy"])
    assert set(kept["sets"]) == {"zone", "macd_1.histogram"} and len(kept["features"]) == 7
    monkeypatch.setattr(importance, "_shuffle", lambda *_: pytest.fail("it is kept"))
    assert importance.importance(operation.trained_model.name) == kept
    assert "importance-features" in client.get(f"/operations/{operation.pk}/").content.decode()


def test_while_it_is_worked_out_the_page_asks_again(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.web import result

    monkeypatch.setattr(result, "FIRST_SECONDS", 0)
    register_worker("quick")
    operation = completed()
    client, address = asking.signed_in("viewer"), f"/operations/{operation.pk}/importance/"
    waiting = client.post(address).content.decode()
    job = waiting.partition("?job=")[2].partition('"')[0]
    assert job.startswith("quick-") and "hx-trigger" in waiting
    assert f"?job={job}" in client.get(f"{address}?job={job}").content.decode()
    assert "Work it out" in asking.signed_in("trainer").get(f"{address}?job={job}").content.decode(), "somebody else's job"
    work()
    assert "importance-features" in client.get(f"{address}?job={job}").content.decode()


def test_without_a_quick_worker_the_page_says_so_and_everything_else_is_there(asking: Examples) -> None:
    operation = completed()
    client = asking.signed_in("viewer")
    answer = client.post(f"/operations/{operation.pk}/importance/").content.decode()
    assert "no quick worker is running" in answer and "manage.py worker --tag quick" in answer and "Try again" in answer
    page = client.get(f"/operations/{operation.pk}/").content.decode()
    assert "verdict" in page and "said-chart" in page and "How every bar was used" in page


def test_other_bars_than_those_of_the_training_are_refused(asking: Examples) -> None:
    operation = completed(text_of("moved"))
    other_bars("AAPL")
    try:
        with pytest.raises(ModelError, match="not those of the training any more"):
            importance.importance(operation.trained_model.name)
    finally:
        sample_bars("AAPL")
    assert TrainedModel.objects.get(operation=operation).importance is None


def test_too_little_time_is_a_refusal_and_no_figure(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "BUDGET_SECONDS", -1.0)
    with pytest.raises(ModelError, match="take too long for a quick question"):
        importance.importance(completed().trained_model.name)
