"""A row's probabilities depend on the network and that row alone; measures equal their formulas written out slowly."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples.trainer import CLASSES, HOUR, dataset, strategy
from training.core.values import Silent
from training.trainer.evaluation import COMPARED, baselines, evaluate, known_last, probabilities, rows_digest
from training.trainer.loop import fit
from training.trainer.metrics import class_metrics, confusion
from training.trainer.networks import build_network, evaluation_rows

WIDTHS = [1, 2, 3, 5, 7, 9, 11, 15, 16, 17, 31, 33, 64, 65, 100, 127, 129]


@given(
    features=st.sampled_from([*range(1, 35), 45, 63, 65, 127, 129, 257]),
    hidden=st.lists(st.sampled_from(WIDTHS), max_size=3),
    classes=st.integers(2, 5),
    activation=st.sampled_from(["relu", "tanh", "sigmoid", "leaky_relu", "gelu"]),
    seed=st.integers(0, 10**6),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_probabilities_do_not_depend_on_neighbours_or_place(
    features: int, hidden: list[int], classes: int, activation: str, seed: int, data: Any
) -> None:
    random = np.random.default_rng(seed)
    offset, scale = random.normal(size=features).astype(np.float32), (0.5 + random.random(features)).astype(np.float32)
    network = build_network(strategy(hidden, activation=activation, dropout=0.1, seed=seed), features, classes, offset, scale)
    count = data.draw(st.sampled_from([1, 2, 1023, 1024, 1025, 1500]))
    values = random.normal(size=(count, features)).astype(np.float32)
    whole = probabilities(network, values)
    start = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(start + 1, count))
    np.testing.assert_array_equal(probabilities(network, values[start:end]), whole[start:end])
    shuffled = random.permutation(count)
    np.testing.assert_array_equal(probabilities(network, values[shuffled]), whole[shuffled])
    surrounded = np.concatenate([np.full((start + 1, features), 1e6, np.float32), values[start : start + 1]])
    np.testing.assert_array_equal(probabilities(network, surrounded)[-1], whole[start])
    with torch.no_grad():
        plain = torch.softmax(network.eval()(torch.from_numpy(values)), dim=1).numpy()
    np.testing.assert_allclose(whole, plain, rtol=1e-4, atol=1e-6)


def test_threads_outside_change_no_probability() -> None:
    network = build_network(strategy([512, 512]), 33, 3, np.zeros(33, np.float32), np.ones(33, np.float32))
    values = np.random.default_rng(0).normal(size=(3000, 33)).astype(np.float32)
    alone = probabilities(network, values)
    torch.set_num_threads(2)
    try:
        np.testing.assert_array_equal(probabilities(network, values), alone)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_no_rows_give_no_probabilities() -> None:
    network = build_network(strategy(), 4, 3, np.zeros(4, np.float32), np.ones(4, np.float32))
    assert probabilities(network, np.zeros((0, 4), np.float32)).shape == (0, 3)


def slow_measures(labels: list[int], answers: list[int], classes: int) -> dict[str, float]:
    """The textbook formulas, pair by pair; the correlation is Pearson's over one-hot columns."""
    pairs = list(zip(labels, answers, strict=True))
    recalls, precisions, f1s, balanced = [], [], [], []
    for c in range(classes):
        hit = sum(a == c and b == c for a, b in pairs)
        missed, wrong = sum(a == c and b != c for a, b in pairs), sum(a != c and b == c for a, b in pairs)
        if hit + missed:
            balanced.append(hit / (hit + missed))
        if hit + missed + wrong:
            recalls.append(hit / (hit + missed) if hit + missed else 0.0)
            precisions.append(hit / (hit + wrong) if hit + wrong else 0.0)
            f1s.append(2 * hit / (2 * hit + missed + wrong))
    x, y = np.eye(classes)[labels], np.eye(classes)[answers]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    spread = np.sqrt((x * x).sum() * (y * y).sum())
    return {
        "accuracy": sum(a == b for a, b in pairs) / len(pairs),
        "balanced_accuracy": float(np.mean(balanced)),
        "mcc": float((x * y).sum() / spread) if spread > 1e-9 else 0.0,
        "precision": float(np.mean(precisions)),
        "recall": float(np.mean(recalls)),
        "f1_score": float(np.mean(f1s)),
    }


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_measures_equal_their_formulas(pairs: list[tuple[int, int]]) -> None:
    labels, answers = [a for a, _ in pairs], [b for _, b in pairs]
    seen = class_metrics(confusion(np.array(labels), np.array(answers), 3), CLASSES)
    for name, value in slow_measures(labels, answers, 3).items():
        assert seen[name] == pytest.approx(value, abs=1e-12), name
    assert seen["confusion_matrix"][1][2] == pairs.count((1, 2)), "rows are true, columns predicted"
    assert sum(c["support"] for c in seen["per_class"].values()) == len(pairs)
    assert sum(c["predicted_share"] for c in seen["per_class"].values()) == pytest.approx(1)


def test_measures_of_millions_of_rows_do_not_overflow() -> None:
    matrix = np.array([[4_000_000_000, 10], [10, 4_000_000_000]])
    assert class_metrics(matrix, ("UP", "DOWN"))["mcc"] == pytest.approx(1, abs=1e-6)


def test_an_evaluation_tells_of_the_whole_each_symbol_and_a_baseline_learned_on_train() -> None:
    rows, splits = dataset(600)
    spec = strategy(epochs=3)
    fitted = fit(rows, splits, spec, Silent())
    evaluation = evaluate(fitted.network, rows, splits.test, splits.train, spec.training, fitted.class_weights)
    assert evaluation is not None
    metrics, predictions = evaluation.metrics, evaluation.predictions
    labels = rows.rows.labels[splits.test]
    majority = np.bincount(rows.rows.labels[splits.train]).argmax()
    assert metrics["baseline"]["class"] == CLASSES[majority]
    assert metrics["baseline"]["accuracy"] == pytest.approx((labels == majority).mean())
    assert metrics["baseline"]["mcc"] == 0
    assert set(metrics["per_symbol"]) == {"AAA", "BBB"}
    assert sum(m["rows"] for m in metrics["per_symbol"].values()) == metrics["rows"] == len(splits.test)
    assert metrics["accuracy"] == pytest.approx((predictions.probabilities.argmax(axis=1) == labels).mean())
    np.testing.assert_array_equal(predictions.times, rows.rows.times[splits.test])
    again = probabilities(fitted.network, rows.rows.features[splits.test[5:40]])
    np.testing.assert_array_equal(again, predictions.probabilities[5:40])


def test_an_empty_split_has_no_evaluation() -> None:
    rows, splits = dataset()
    spec = strategy()
    network = fit(rows, splits, spec, Silent()).network
    assert evaluate(network, rows, np.zeros(0, np.int64), splits.train, spec.training, [1.0, 1.0, 1.0]) is None


def test_the_evaluation_batch_is_part_of_the_format() -> None:
    network = build_network(strategy(), 4, 3, np.zeros(4, np.float32), np.ones(4, np.float32))
    assert evaluation_rows(network) == 1024


def test_every_baseline_has_the_same_measures_on_the_same_rows() -> None:
    rows, splits = dataset(600)
    found = baselines(rows, splits.test, splits.train, HOUR)
    assert [b["name"] for b in found] == ["majority class of train", "label known last", "guessing by the shares of train"]
    assert all(set(COMPARED) <= set(b) and b["rows"] == len(splits.test) for b in found)
    shares = np.bincount(rows.rows.labels[splits.train], minlength=3) / len(splits.train)
    there = np.bincount(rows.rows.labels[splits.test], minlength=3) / len(splits.test)
    assert found[2]["accuracy"] == pytest.approx(float(shares @ there)) and found[2]["mcc"] == 0
    assert found[2]["balanced_accuracy"] == pytest.approx(1 / 3)


@given(seed=st.integers(0, 10**6), horizon=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_the_label_known_last_is_never_one_that_was_not_known(seed: int, horizon: int) -> None:
    """Against the definition, row by row; labels end in no order."""
    random = np.random.default_rng(seed)
    rows, splits = dataset(120, seed=seed)
    ends = rows.rows.times + HOUR + random.integers(1, horizon + 1, len(rows.rows)) * HOUR
    order = np.lexsort((rows.rows.times, rows.rows.symbols))
    columns = {name: getattr(rows.rows, name)[order] for name in ("features", "labels", "times", "symbols")}
    rows = dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, **columns, label_ends=ends[order]))
    found = known_last(rows, splits.test, 2, HOUR)
    r = rows.rows
    for place, answer in zip(splits.test.tolist(), found.tolist(), strict=True):
        now = r.times[place] + HOUR
        known = [j for j in range(len(r)) if r.symbols[j] == r.symbols[place] and r.label_ends[j] <= now]
        assert answer == (r.labels[max(known, key=lambda j: r.times[j])] if known else 2)


def test_rows_are_told_apart_by_what_they_are_and_by_what_is_right_for_them() -> None:
    rows, splits = dataset(300)
    digest = rows_digest(rows, splits.test)
    other = dataclasses.replace(rows.rows, features=rows.rows.features * 2)
    assert digest == rows_digest(dataclasses.replace(rows, rows=other), splits.test), "other features are no other rows"
    assert digest != rows_digest(rows, splits.validation)
    labels = rows.rows.labels.copy()
    labels[splits.test[3]] = (labels[splits.test[3]] + 1) % 3
    assert digest != rows_digest(dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, labels=labels)), splits.test)
