"""Features and labels are looked through before a network sees them: each fault is put in, found, named and counted."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from strategies_app.grammar.reader import read_strategy
from tests.examples.results import text_of, text_of_returns
from tests.examples.trainer import dataset as example
from tests.examples.trainer import split
from training.bars.series import SAMPLE_BARS
from training.core.findings import Finding
from training.core.values import Dataset
from training.pipeline.checks import (
    ALIKE,
    LARGE,
    MODERATE,
    Checked,
    SetColumns,
    check_rows,
    class_index,
    drift_word,
    set_columns,
    stability_index,
)
from training.pipeline.loading import load_bars
from training.pipeline.prepare import prepare
from training.store.coverage import DataError

#: Column 0 is raw, 1 to 4 are two fuzzy sets of two memberships.
SETS = (SetColumns("zone", "1h", (1, 2)), SetColumns("trend", "1h", (3, 4)))
ROWS = 4000


def checked(dataset: Dataset, sets: Any = SETS) -> Checked:
    return check_rows(dataset, split(ROWS), sets)


def found(dataset: Dataset, sets: Any = SETS) -> dict[str, Finding]:
    return {finding.kind: finding for finding in checked(dataset, sets).findings}


def with_column(column: int, values: Any, rows: Any = slice(None)) -> Dataset:
    """The example with other values in one column."""
    dataset, _ = example(ROWS)
    dataset.rows.features[rows, column] = values
    return dataset


def test_sound_features_have_no_findings_and_their_figures() -> None:
    dataset, splits = example(ROWS)
    told = checked(dataset)
    assert told.findings == ()
    assert [of["name"] for of in told.figures["features"]] == list(dataset.feature_names)
    train = dataset.rows.features[splits.train]
    assert [of["lowest"] for of in told.figures["features"]] == train.min(axis=0).tolist()
    assert [of["highest"] for of in told.figures["features"]] == train.max(axis=0).tolist()
    assert told.figures["rows"] == len(splits.train) and told.figures["against"] == "test"
    json.dumps(told.plain(), allow_nan=False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_stops_the_run(value: float) -> None:
    with pytest.raises(DataError, match=r"^not a finite number in the training rows of 1 feature: 1h_feature_3; look at"):
        checked(with_column(3, value, 77))


def test_a_return_that_is_not_finite_stops_the_run() -> None:
    dataset, _ = example(ROWS, classes=())
    labels = np.random.default_rng(0).standard_normal(ROWS)
    checked(replace(dataset, rows=replace(dataset.rows, labels=labels)))
    labels[5] = np.nan
    with pytest.raises(DataError, match=r"^a label that is not a finite number in 1 training row of 2,399$"):
        checked(replace(dataset, rows=replace(dataset.rows, labels=labels)))


@pytest.mark.parametrize(
    ("column", "values", "kind", "words"),
    [
        (0, 5.0, "constant_feature", "one and the same value on all training rows: 1h_feature_0"),
        (
            3,
            0.001,
            "never_fires",
            "is always 0 on the training rows: 1h_feature_3; the network sees zeros there, shift its points",
        ),
        (3, 0.999, "always_fires", "always fires on the training rows: 1h_feature_3; it tells the network nothing"),
    ],
)
def test_a_feature_that_says_nothing_is_named(column: int, values: float, kind: str, words: str) -> None:
    findings = found(with_column(column, values))
    assert set(findings) == {kind}
    assert (findings[kind].sentence, findings[kind].columns, findings[kind].count) == (words, (f"1h_feature_{column}",), 1)


@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_a_degree_outside_its_range_is_found_in_a_membership_and_not_in_a_raw_input(value: float) -> None:
    assert found(with_column(4, value, 9))["degree_range"].columns == ("1h_feature_4",)
    assert found(with_column(4, value, 9), sets=()) == {}


def test_a_column_that_is_there_twice_is_told_from_one_that_is_nearly() -> None:
    dataset, _ = example(ROWS)
    values = dataset.rows.features
    findings = found(with_column(2, values[:, 1]))
    assert findings["duplicate_features"].sentence == "the same feature twice: 1h_feature_2 like 1h_feature_1"
    noise = np.random.default_rng(1).standard_normal(ROWS) * 1e-3
    near = np.clip(1 - values[:, 1] + noise, 0, 1)
    assert abs(np.corrcoef(values[:, 1], near)[0, 1]) > ALIKE
    told = checked(with_column(4, near))
    assert [f.kind for f in told.findings] == ["alike_features"]
    assert told.figures["features"][4]["like"] == "1h_feature_1"
    far = np.clip(values[:, 1] + 20 * noise, 0, 1)
    assert 0.99 < np.corrcoef(values[:, 1], far)[0, 1] < ALIKE
    assert found(with_column(4, far)) == {}


def test_a_price_level_that_hardly_moves_is_not_like_another() -> None:
    dataset = with_column(0, 1e6 + np.random.default_rng(2).random(ROWS))
    dataset.rows.features[:, 1:3] += 1e6
    assert not {"alike_features", "duplicate_features"} & set(found(dataset, ()))


def test_a_set_that_is_silent_on_many_rows_is_named_with_its_share() -> None:
    dataset, splits = example(ROWS)
    dataset.rows.features[: len(splits.train) // 4, 3:5] = 0.0
    told = checked(dataset)
    silent = {f.kind: f for f in told.findings}["silent_set"]
    assert silent.sentence == "no membership of trend fires on 25.0% of the training rows on 1h: the network sees zeros there"
    assert [one["silent"] for one in told.figures["sets"]] == [0.0, pytest.approx(0.25, abs=0.001)]
    assert silent.count == len(splits.train) // 4
    dataset.rows.features[: len(splits.train) // 4, 4] = 0.5  # one membership of the set is enough
    assert "silent_set" not in found(dataset)


# --- drift -------------------------------------------------------------------------------------


def test_the_index_equals_its_formula_written_out() -> None:
    random = np.random.default_rng(0)
    first, second = random.standard_normal((1000, 1)).astype(np.float32), random.normal(0.4, 1, (800, 1)).astype(np.float32)
    edges = np.sort(first[:, 0])[[int(np.ceil(999 * k / 10)) for k in range(1, 10)]]
    total = 0.0
    for group in range(10):
        low, high = -np.inf if group == 0 else edges[group - 1], np.inf if group == 9 else edges[group]
        p, q = ((((rows > low) & (rows <= high)).sum() + 0.5) / (len(rows) + 5) for rows in (first[:, 0], second[:, 0]))
        total += (q - p) * np.log(q / p)
    assert stability_index(first, second)[0] == pytest.approx(total, rel=1e-9)
    assert MODERATE < total < LARGE


@pytest.mark.parametrize("shape", ["normal", "mostly zero", "constant"])
def test_the_same_distribution_is_steady_and_another_is_not(shape: str) -> None:
    random = np.random.default_rng(3)
    rows = random.standard_normal((6000, 1)).astype(np.float32)
    if shape == "mostly zero":
        rows = np.where(random.random((6000, 1)) < 0.7, 0, np.abs(rows)).astype(np.float32)
    elif shape == "constant":
        rows = np.zeros_like(rows)
    steady, moved = stability_index(rows[:4000], rows[4000:])[0], stability_index(rows[:4000], rows[4000:] + 1)[0]
    assert steady < 0.02 and moved > LARGE


def test_of_few_rows_only_what_chance_does_not_explain_is_drift() -> None:
    random = np.random.default_rng(4)
    rows = random.standard_normal((4000, 200)).astype(np.float32)
    index = stability_index(rows, rows[:60] * 0 + random.standard_normal((60, 200)).astype(np.float32))
    assert (index > MODERATE).mean() > 0.5  # what the thresholds alone would call drift
    assert np.mean([drift_word(value, 4000, 60) != "steady" for value in index]) < 0.1
    assert [drift_word(value, 4000, 4000) for value in (0.09, 0.2, 0.3)] == ["steady", "moderate", "large"]


def test_a_feature_that_drifts_is_named_with_its_index_and_worst_first() -> None:
    dataset, splits = example(ROWS)
    dataset.rows.features[splits.test, 0] += 20
    dataset.rows.features[splits.test, 2] *= 0.55
    dataset.rows.features[splits.test, 4] = dataset.rows.features[splits.test, 4] ** 1.45
    findings = found(dataset)
    large, moderate = findings["large_drift"], findings["moderate_drift"]
    assert large.columns == ("1h_feature_0", "1h_feature_2") and large.severity == "warning"
    assert large.sentence.startswith(
        "2 of 5 features are differently distributed on the test rows than on the training rows, large drift (PSI): 1h_feature_0 ("
    )
    assert moderate.columns == ("1h_feature_4",) and moderate.severity == "info"
    assert moderate.sentence.startswith("1 of 5 features is differently distributed")


def test_without_test_rows_drift_is_measured_to_validation() -> None:
    dataset, splits = example(ROWS)
    dataset.rows.features[splits.validation, 2] *= 0.5
    told = check_rows(dataset, replace(splits, test=splits.test[:0]), SETS)
    assert told.figures["against"] == "validation"
    assert [f.columns for f in told.findings] == [("1h_feature_2",)]


def test_labels_that_drift_are_told() -> None:
    dataset, splits = example(ROWS)
    dataset.rows.labels[splits.test] = 0
    assert found(dataset)["label_drift"].sentence.startswith(
        "labels are differently distributed on the test rows than on the tra"
    )
    assert class_index(np.array([0, 1] * 500), np.array([1, 0] * 300), 2) < 1e-3


# --- a whole run -------------------------------------------------------------------------------


def test_fuzzy_sets_are_found_by_their_columns_on_each_timeframe() -> None:
    assert set_columns(read_strategy(text_of())) == [SetColumns("zone", "1d", (0, 1, 2)), SetColumns("zone", "1w", (3, 4, 5))]


def test_a_run_says_what_it_found_and_keeps_it() -> None:
    zones = {"zone": {"indicator": "rsi_14", "low": [0, 10, 20], "nowhere": [200, 210, 220], "twin": [0, 10, 20]}}
    spec = read_strategy(text_of(fuzzy_sets=zones))
    prepared = prepare(spec, load_bars(spec, SAMPLE_BARS))
    inputs = prepared.checks["inputs"]
    assert {f["kind"] for f in inputs["findings"]} >= {"never_fires", "duplicate_features", "silent_set"}
    assert {f["sentence"] for f in inputs["findings"]} <= set(prepared.notes)
    assert [of["name"] for of in inputs["features"]] == list(prepared.dataset.feature_names)
    assert prepared.checks["data"]["count"] == len(prepared.checks["data"]["findings"]) > 0
    json.dumps(prepared.checks, allow_nan=False)


GRU = {"type": "gru", "architecture": {"hidden_size": 4, "sequence_length": 5}}


@pytest.mark.parametrize("text", [text_of_returns(), text_of(model=GRU)], ids=["returns", "windows"])
def test_returns_and_windows_are_checked_on_the_same_rows_that_train(text: str) -> None:
    spec = read_strategy(text)
    prepared = prepare(spec, load_bars(spec, SAMPLE_BARS))
    places = prepared.dataset.rows.last_bars(prepared.splits.train)
    highest = prepared.dataset.rows.features[places].max(axis=0)
    assert [of["highest"] for of in prepared.checks["inputs"]["features"]] == highest.tolist()


def test_the_checks_cost_next_to_nothing() -> None:
    random = np.random.default_rng(0)
    dataset, _ = example(100_000, 40)
    dataset = replace(dataset, rows=replace(dataset.rows, features=random.random((100_000, 40), dtype=np.float32)))
    sets = [SetColumns(f"set_{k}", "1h", tuple(range(k, k + 4))) for k in range(0, 40, 4)]
    began = time.process_time()
    check_rows(dataset, split(100_000), sets)
    assert time.process_time() - began < 1.0  # about 0.1 s; a training of these rows takes a minute or more
