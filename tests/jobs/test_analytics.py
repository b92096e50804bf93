"""Detailed analytics beside a run: what is kept through attempts and crashes, what is judged of it, when an alert is given."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.conf import settings as django_settings

from strategies_app.models import Strategy
from tests.bars.test_stored_in_part import StopAfter
from tests.examples.analytics import record, returns_record
from tests.examples.api import start, store_bars
from tests.examples.homes import STRATEGY
from training.jobs import lifecycle
from training.jobs.analytics import (
    BETTER,
    FILES,
    JOURNAL,
    OVER_FITTING,
    PATIENCE,
    WORDS,
    Journal,
    analytics_of,
    as_file,
    folder_of,
    judged,
    read_journal,
)
from training.models import Operation
from training.workers.attempt import run_operation

# --- a run ---


@pytest.mark.django_db(transaction=True)
def test_a_training_that_asks_for_them_keeps_them_and_ends_in_the_same_weights() -> None:
    store_bars()
    version = Strategy.objects.import_text(STRATEGY.format(name="inside", epochs=4, batch_size=64))
    plain, watched = start(version), start(version, detailed_analytics=True)
    assert run_operation(plain.pk, 1, device="cpu") == "completed"
    stop = StopAfter()
    assert run_operation(watched.pk, 1, [stop], device="cpu", on_start=stop.hand) == "cancelled"
    folder = folder_of(watched.pk)
    assert [r["epoch"] for r in read_journal(folder)] == [0] and (folder / "layers.parquet").exists()
    lifecycle.resume(watched.pk, "cpu")
    assert run_operation(watched.pk, 2, device="cpu") == "completed"

    records = read_journal(folder)
    assert [(r["epoch"], r["attempt"]) for r in records] == [(0, 1), (1, 2), (2, 2), (3, 2)]
    assert {path.name for path in folder.iterdir()} == {JOURNAL, "analytics.json", "layers.parquet", "epochs.parquet"}
    assert json.loads((folder / "analytics.json").read_text()) == judged(records)
    assert pq.read_table(folder / "layers.parquet").num_rows == 4 * 2
    history = Operation.objects.get(pk=watched.pk).trained_model.metrics["history"]
    assert [r["val_loss"] for r in records] == [epoch["val_loss"] for epoch in history]
    bundles = [Path(django_settings.BUNDLE_DIR) / Operation.objects.get(pk=o.pk).trained_model.folder for o in (plain, watched)]
    weights = [(bundle / "weights.safetensors").read_bytes() for bundle in bundles]
    assert weights[0] == weights[1] and not folder_of(plain.pk).exists()
    files = [sorted(path.name for path in bundle.iterdir()) for bundle in bundles]
    assert files[0] == files[1]


@pytest.mark.django_db
def test_a_folder_that_cannot_be_written_costs_the_analytics_and_is_noted_not_the_run(settings: Any, tmp_path: Path) -> None:
    settings.ANALYTICS_DIR = tmp_path / "taken"
    settings.ANALYTICS_DIR.write_text("a file")
    notes: list[str] = []
    with analytics_of(Operation(id="op_training_1", detailed_analytics=True), notes.append) as sink:
        assert sink is not None
        sink(record(0))
    assert notes and all("could not be kept" in note for note in notes)
    with analytics_of(Operation(id="op_training_2"), notes.append) as sink:
        assert sink is None


# --- the journal ---


def test_epochs_that_are_trained_again_take_the_place_of_themselves_and_all_that_followed(tmp_path: Path) -> None:
    first, second = Journal(tmp_path, 1), Journal(tmp_path, 2)
    for epoch in range(5):
        first.add(record(epoch, val_loss=1.0))
    second.add(record(2, val_loss=2.0))
    first.add(record(5))  # the former process woke up
    assert [(r["epoch"], r["attempt"], r["val_loss"]) for r in read_journal(tmp_path)] == [(0, 1, 1.0), (1, 1, 1.0), (2, 2, 2.0)]


def test_a_run_that_went_back_to_an_earlier_epoch_tells_of_what_it_trained_last(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1)
    for epoch, loss in ((0, 1.0), (1, 2.0), (2, 3.0), (1, 0.9)):
        journal.add(record(epoch, val_loss=loss))
    assert [(r["epoch"], r["val_loss"]) for r in read_journal(tmp_path)] == [(0, 1.0), (1, 0.9)]


@pytest.mark.parametrize("rest", [b'{"attempt":1,"epo', b"\xff\x00"])
def test_a_line_that_a_killed_process_began_costs_that_line_only(tmp_path: Path, rest: bytes) -> None:
    journal = Journal(tmp_path, 1)
    journal.add(record(0))
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(rest)
    assert [r["epoch"] for r in read_journal(tmp_path)] == [0]
    Journal(tmp_path, 2).add(record(1))
    assert [r["epoch"] for r in read_journal(tmp_path)] == [0, 1]


def test_without_an_epoch_nothing_is_written(tmp_path: Path) -> None:
    Journal(tmp_path / "none", 1).finish()
    assert not (tmp_path / "none").exists() and read_journal(tmp_path / "none") == []


@pytest.mark.parametrize("make", [record, returns_record])
def test_every_file_holds_every_epoch(make: Any) -> None:
    records = [make(epoch) for epoch in range(3)]
    assert json.loads(as_file("analytics.json", records)) == judged(records)
    for stem, count in (("layers", 6), ("epochs", 3)):
        lines = list(csv.DictReader(io.StringIO(as_file(f"{stem}.csv", records).decode())))
        table = pq.read_table(io.BytesIO(as_file(f"{stem}.parquet", records)))
        assert len(lines) == table.num_rows == count and list(lines[0]) == table.column_names
        assert [int(line["epoch"]) for line in lines] == table["epoch"].to_pylist()
    assert lines[2]["over_fitting"] == "0.0" and set(FILES) >= {"layers.csv", "epochs.parquet"}


# --- what is judged ---


def test_over_fitting_is_the_loss_over_its_least_so_far_less_one() -> None:
    told = judged([record(epoch, loss) for epoch, loss in enumerate([1.0, 0.8, 0.9, 0.6, 0.75])])["epochs"]
    assert [epoch["over_fitting"] for epoch in told] == pytest.approx([0.0, 0.0, 0.125, 0.0, 0.25])
    assert told[4]["gap"] == pytest.approx(0.75 - 0.96)


def test_a_plateau_begins_after_five_epochs_that_are_no_better_by_a_thousandth() -> None:
    losses = [1.0, *(1.0 - BETTER * 0.1 * n for n in range(1, PATIENCE + 2)), 0.9]
    told = judged([record(epoch, loss) for epoch, loss in enumerate(losses)])["epochs"]
    assert [epoch["plateau"] for epoch in told] == [False] * PATIENCE + [True, True, False]
    assert told[PATIENCE]["since_better"] == PATIENCE


def test_the_best_epoch_is_the_last_one_that_was_marked() -> None:
    assert judged([record(0), record(1, best=True), record(2)])["best_epoch"] == 1
    assert judged([]) == {"best_epoch": None, "alerts": [], "epochs": []}


CALM = [0.5 - 0.02 * epoch for epoch in range(6)]
NEVER = {"BUY": {"precision": 0.5, "recall": 1.0, "share": 0.5, "predicted_share": 1.0},
         "SELL": {"precision": None, "recall": 0.0, "share": 0.5, "predicted_share": 0.0}}  # fmt: skip
#: Kind → what changes at the last of six epochs, and a word of what is seen.
FIRES: dict[str, tuple[dict[str, Any], str]] = {
    "vanishing": ({"hidden": {"gradient_norm": 0.00005}}, "hidden_0 is 5e-05"),
    "exploding": ({"output": {"gradient_norm_max": 7.0}}, "70 times the usual"),
    "dead": ({"hidden": {"dead_share": 0.75}}, "75% of the units of hidden_0"),
    "over-fitting": ({"val_loss": 0.42 * (1 + 2 * OVER_FITTING)}, "10% above that of epoch 5"),
    "imbalance": ({"per_class": NEVER, "balance": 0.5}, "SELL 0% of calls, 50% of rows"),
    "stall": ({"hidden": {"update_ratio": 1e-7}, "output": {"update_ratio": 1e-8}}, "no layer moves"),
    "over-confidence": ({"overconfidence": 0.2, "confidence_mean": 0.8}, "80% sure on average and right on 60%"),
}


def test_a_calm_run_gives_no_alert_and_every_kind_has_a_case() -> None:
    assert judged([record(epoch, loss) for epoch, loss in enumerate(CALM)])["alerts"] == []
    assert set(FIRES) == set(WORDS)


@pytest.mark.parametrize("kind", FIRES)
def test_an_alert_says_what_was_seen_what_it_means_and_what_to_try(kind: str) -> None:
    changes, words = FIRES[kind]
    last = record(5, **({"val_loss": CALM[5]} | changes))
    (alert,) = judged([*(record(epoch, loss) for epoch, loss in enumerate(CALM[:5])), last])["alerts"]
    assert alert["kind"] == kind and words in alert["seen"]
    assert (alert["head"], alert["means"], alert["try"]) == WORDS[kind]


def test_a_class_that_is_never_called_is_told_however_rare_it_is() -> None:
    (alert,) = judged([record(0, per_class=NEVER, balance=0.99)])["alerts"]
    assert alert["kind"] == "imbalance"


def test_a_validation_loss_that_rises_with_the_training_loss_is_no_over_fitting() -> None:
    last = record(5, val_loss=0.6, train_loss=9.0)
    assert judged([*(record(epoch, loss) for epoch, loss in enumerate(CALM[:5])), last])["alerts"] == []


def test_a_step_that_rewrites_a_layer_is_an_explosion_and_a_long_plateau_is_a_stall() -> None:
    (jump,) = judged([record(0, output={"update_ratio": 0.3})])["alerts"]
    assert jump["kind"] == "exploding" and "moves its weights by 30%" in jump["seen"]
    (stall,) = judged([record(epoch, 0.5) for epoch in range(PATIENCE + 1)])["alerts"]
    assert stall["kind"] == "stall" and "No epoch since 1" in stall["seen"]


def test_returns_are_never_said_to_be_out_of_balance_or_over_confident() -> None:
    assert judged([returns_record(epoch, val_loss=loss) for epoch, loss in enumerate(CALM)])["alerts"] == []
