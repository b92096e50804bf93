"""`manage.py train --inline`, as a user runs it: a plan, a run, a result, and predictions that are those of training."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.examples.homes import Home, operation_in
from training.pipeline.splits import SIDES, side_names


@pytest.fixture(scope="module")
def trained(home: Home) -> str:
    """What the first run of a strategy printed."""
    done = home.run("train", home.strategy("first"), "--inline")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_tells_its_stages_and_ends_with_the_model_beside_the_majority_class(trained: str) -> None:
    for words in ("Load bars", "Train", "This model", "Always ", "Test, ", "Accuracy", "first-1"):
        assert words in trained


def test_a_second_run_with_other_training_settings_takes_its_features_from_the_cache(home: Home) -> None:
    days = ("--end", "2010-11-30")  # which no other test of this home trains on
    first = home.run("train", home.strategy("new_features", epochs=1), "--inline", *days)
    assert "taken from the cache" not in first.stdout
    done = home.run("train", home.strategy("other_training", epochs=2), "--inline", *days)
    assert "rows taken from the cache" in done.stdout


def test_predictions_on_the_same_bars_are_those_of_the_test_split_exactly(home: Home, trained: str) -> None:
    done = home.run("predict", "first-1", "AAPL", "1d", "--start", "2003-01-01", "--end", "2010-12-31")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    predicted = {row["timestamp"]: [np.float32(row[name]) for name in ("BUY", "HOLD", "SELL")] for row in rows}
    (bundle,) = (home.folder / "bundles").glob(f"{operation_in(trained)}-*")
    saved = load_file(bundle / "predictions.safetensors")
    times = [f"{time}Z" for time in np.datetime_as_string(saved["test.times"].view("M8[us]").astype("M8[s]"))]
    assert len(times) > 200
    assert np.array_equal(np.array([predicted[time] for time in times], dtype=np.float32), saved["test.probabilities"])


def test_every_predicted_bar_says_what_the_training_had_to_do_with_its_day(home: Home, trained: str) -> None:
    done = home.run("predict", "first-1", "AAPL", "1d")
    (bundle,) = (home.folder / "bundles").glob(f"{operation_in(trained)}-*")
    ledger = json.loads((bundle / "bundle.json").read_text())["split"]
    saved = load_file(bundle / "predictions.safetensors")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    of = {row["timestamp"]: row["split"] for row in rows}
    for name in ("validation", "test"):
        kept = [f"{time}Z" for time in np.datetime_as_string(saved[f"{name}.times"].view("M8[us]").astype("M8[s]"))]
        assert {of[time] for time in kept} == {name}, "the bars that were judged are of the split that judged them"
    first_cut = np.datetime_as_string(np.int64(ledger["cuts"][0]).view("M8[us]").astype("M8[s]"))
    assert {of[time] for time in of if "2003-01-01" <= time < f"{first_cut}Z"} == {"train"}
    assert {of[time] for time in of if time < "2003-01-01"} == {"before"} and {of[time] for time in of if time >= "2011"} == {
        "new"
    }
    order = [row["split"] for row in rows]
    assert list(dict.fromkeys(order)) == ["before", "train", "validation", "test", "new"] and order == sorted(
        order, key=SIDES.index
    )
    assert f"{order.count('train'):,} of {len(rows):,} bars are from days that it was trained on" in done.stderr


def test_without_a_test_split_validation_lasts_to_the_end() -> None:
    ledger = {"start": 10, "embargo_ends": [25, 40], "end": 50, "rows": {"test": 0}}
    assert side_names(ledger, np.array([9, 10, 24, 25, 41, 49, 50])) == [
        "before", "train", "train", "validation", "validation", "validation", "new",
    ]  # fmt: skip


def test_predictions_do_not_depend_on_the_dates_asked_for(home: Home, trained: str) -> None:
    whole = home.run("predict", "first-1", "AAPL", "1d", "--end", "2010-12-31").stdout.splitlines()
    last_year = home.run("predict", "first-1", "AAPL", "1d", "--start", "2010-01-01", "--end", "2010-12-31").stdout.splitlines()
    assert len(last_year) > 250
    assert last_year[1:] == whole[-len(last_year[1:]) :]


def test_another_symbol_or_a_short_warm_up_is_predicted_with_a_caution(home: Home, trained: str) -> None:
    file = home.folder / "predicted.csv"
    other = home.run("predict", "first-1", "MSFT", "1d", "--start", "2010-01-01", "--end", "2010-12-31", "--output", str(file))
    assert other.returncode == 0
    assert f"{len(file.read_text().splitlines()) - 1} bars written to {file}" in other.stdout
    assert "values may differ from those in training: it was not trained on MSFT" in other.stderr
    recent = home.run("predict", "first-1", "AAPL", "1d", "--start", "2010-06-01", "--recent", "--format", "table")
    assert recent.returncode == 0
    assert "--output FILE writes all of them" in recent.stdout
    assert "only the warm-up before the start was read" in recent.stderr


def test_a_plan_shows_features_dates_rows_and_classes_and_trains_nothing(home: Home) -> None:
    done = home.run("train", home.strategy("planned"), "--dry-run", "--validation-split", "0.2")
    assert done.returncode == 0, done.stderr
    for words in (
        "1d_zone_low",
        "1w_zone_high",
        "1d_macd_1.histogram_raw",
        "purged",
        "embargoed",
        "parameters",
        "BUY",
        "memory",
        "Expected return",
        "Longest run",
        "after a round-trip cost of 0.10% (assumed: the strategy has no cost_model)",
    ):
        assert words in " ".join(done.stdout.split())
    assert "planned" not in home.run("models", "list").stdout
    assert "planned" not in home.run("strategies", "list").stdout


def test_a_model_is_listed_and_shown_with_where_it_comes_from(home: Home, trained: str) -> None:
    assert "first-1" in home.run("models", "list").stdout
    shown = home.run("models", "show", "first-1").stdout
    for words in ("This model", "sha256", "2003-01-01 to 2010-12-31", "seed 42", "torch"):
        assert words in shown


def test_options_take_the_place_of_the_strategys_own_values(home: Home) -> None:
    arguments = ("--symbols", "MSFT,IBM", "--timeframes", "1d,1w", "--start", "2005-01-01", "--end", "2008-12-31")
    done = home.run("train", home.strategy("overridden", epochs=1), "--inline", *arguments)
    assert done.returncode == 0, done.stderr
    (bundle,) = (home.folder / "bundles").glob(f"{operation_in(done.stdout)}-*")
    document = json.loads((bundle / "bundle.json").read_text())
    assert document["symbols"] == ["MSFT", "IBM"]
    assert document["spec"]["training_data"]["start_date"] == "2005-01-01"


def test_a_byte_changed_in_a_bundle_is_refused(home: Home) -> None:
    done = home.run("train", home.strategy("tampered", epochs=1), "--inline")
    (bundle,) = (home.folder / "bundles").glob(f"{operation_in(done.stdout)}-*")
    content = bytearray((bundle / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (bundle / "weights.safetensors").write_bytes(content)
    for command in (("predict", "tampered-1", "AAPL", "1d"), ("models", "show", "tampered-1")):
        refused = home.run(*command)
        assert refused.returncode == 1
        assert "was changed after it was saved" in refused.stderr
        assert "Traceback" not in refused.stderr
