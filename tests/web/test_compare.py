"""Compare: runs are chosen in a table and stand side by side; figures of different rows are not compared."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import numpy as np
import pytest
from django.test import Client

from tests.examples.api import Examples
from tests.examples.results import completed, sample_bars, text_of
from training.core.files import FolderError
from training.models import Operation, Status, TrainedModel
from training.results.pairs import Losses, are_of_the_same_rows
from training.web import compare
from training.web.compare import Run, axes_of, comparability, flat, run_of, settings_table, whom_to_trust


def words_of(client: Client, *runs: Operation, **given: str) -> str:
    answer = client.get("/compare/", {"runs": ",".join(run.pk for run in runs), **given})
    assert answer.status_code == 200
    return str(answer.content.decode())


@pytest.fixture
def viewer(examples: Examples) -> Client:
    TrainedModel.objects.all().delete()
    return examples.signed_in("viewer")


def test_an_empty_page_says_what_to_do_next(examples: Examples) -> None:
    TrainedModel.objects.all().delete()
    page = words_of(examples.signed_in("trainer"))
    assert "There is nothing to compare yet" in page and 'href="/train/"' in page


def test_to_compare_nothing_is_told(viewer: Client) -> None:
    completed()
    told = "Nothing is ticked. Tick two runs or more."
    assert told in words_of(viewer, ticked="1") and told not in words_of(viewer)


def test_runs_of_the_same_rows_may_be_compared(viewer: Client) -> None:
    one, two = completed(), completed(text_of("wider", model__architecture__hidden_layers=[32, 8], training__epochs=4))
    page = words_of(viewer, one, two)
    assert re.search(r"These figures are of the same [\d,]+ test rows: they can be compared\.", page)
    assert "do not compare" not in page
    differing = page.partition("Settings that differ")[2].partition("<details>")[0]
    assert "model.architecture.hidden_layers" in differing and "[32, 8]" in differing and "[16]" in differing
    assert "batch_size" not in differing and "training.batch_size" in page.partition("<details>")[2]
    overlay = json.loads(re.search(r'id="overlay-val_loss" type="application/json">(.*?)</script>', page)[1])  # type: ignore[index]
    assert [len(line["x"]) for line in overlay["data"]] == [3, 4]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training__labels__label_lookahead": 5}, "Other labels:"),
        ({"training__data_split": {"train": 0.6, "validation": 0.2, "test": 0.2}}, "Other split:"),
        ({"training_data__end_date": "2008-12-31"}, "Other dates:"),
        ({"training_data__symbols": {"mode": "single", "symbol": "AAPL"}}, "Other symbols: AAPL, MSFT; AAPL"),
        ({"training__data_split": {"train": 0.8, "validation": 0.2, "test": 0.0}}, "Judged on test and validation sets"),
    ],
)
def test_what_makes_figures_incomparable_is_named(viewer: Client, changes: dict[str, Any], reason: str) -> None:
    page = words_of(viewer, completed(), completed(text_of("other", **changes)))
    assert "These figures are of different rows: do not compare them." in page and reason in page


def test_other_bars_are_named_by_their_series(viewer: Client) -> None:
    one, two = completed(), completed(text_of("second"))
    two.fingerprints["MSFT"]["1d"] = "0" * 64
    two.save()
    assert "Other bars of MSFT 1d" in words_of(viewer, one, two)


def run(name: str, wrong: float, *, beats: bool, output: str = "classification") -> Run:
    """A model that is wrong on such a share of 2,000 rows, at places of its own."""
    summary = {"accuracy": 1 - wrong, "beats": beats, "output_format": output, "baseline_rmse": 2.0, "wrong": wrong}
    return Run(Operation(), name, {}, {}, summary, [])


def lost(of: Run, life: float = 10.0, rows: int = 2_000) -> Losses:
    draw = np.random.default_rng(ord(of.name))
    values = (draw.random(rows) < of.summary["wrong"]).astype(np.float64)
    return Losses(np.arange(rows), np.zeros(rows, np.int32), values, life)


A, B = "a", "b"


@pytest.mark.parametrize(
    ("runs", "same", "words"),
    [
        ([run(A, 0.4, beats=False), run(B, 0.3, beats=False)], True, "None of them beats its own baselines"),
        ([run(A, 0.4, beats=True), run(B, 0.3, beats=False)], True, "Only a beats its own baselines."),
        ([run(A, 0.45, beats=True), run(B, 0.3, beats=True)], True, "b leads: b is right on "),
        ([run(A, 0.40, beats=True), run(B, 0.395, beats=True)], True, "They cannot be told apart: "),
        ([run(A, 0.4, beats=True), run(B, 0.3, beats=True)], False, "cannot be told from different rows"),
        ([run(A, 0.45, beats=True), run(B, 0.3, beats=True), run("c", 0.3, beats=True)], True, "a, b, c beat their own baselines."),
        ([run(A, 0.4, beats=True, output="regression"), run(B, 0.2, beats=True, output="regression")], True,
         "b leads: the squared error of b is "),
    ],
)  # fmt: skip
def test_which_run_is_to_be_trusted_claims_no_more_than_the_figures(runs: list[Run], same: bool, words: str) -> None:
    assert words in whom_to_trust(runs, same, lost)


def test_without_enough_independent_rows_nobody_leads() -> None:
    runs = [run(A, 0.45, beats=True), run(B, 0.3, beats=True)]
    said = whom_to_trust(runs, True, lambda of: lost(of, life=100.0))
    assert "They cannot be told apart: their labels overlap so much that too few independent rows are left." in said


def test_predictions_that_cannot_be_read_are_no_ground_for_a_leader() -> None:
    def gone(of: Run) -> Losses:
        raise FolderError("predictions.safetensors cannot be read: No such file or directory")

    runs = [run(A, 0.45, beats=True), run(B, 0.3, beats=True)]
    assert "cannot be told: predictions.safetensors cannot be read" in whom_to_trust(runs, True, gone)


def test_the_losses_of_a_run_are_those_of_its_judged_rows(viewer: Client) -> None:
    one = run_of(completed())
    told = compare.losses_of(one)
    assert told.values.mean() == pytest.approx(1 - one.summary["accuracy"])
    assert len(told.values) == one.summary["rows"] and told.life > 5, "ten bars of look-ahead overlap"
    second = compare.losses_of(run_of(completed(text_of("second", training__epochs=4))))
    assert are_of_the_same_rows(told, second)


def test_settings_are_flattened_by_path_and_compared_as_text() -> None:
    assert flat({"a": {"b": [1, 2]}, "c": [{"d": 1}, {"e": None}]}) == {"a.b": [1, 2], "c[0].d": 1, "c[1].e": None}
    runs = [Run(Operation(), "", {}, settings, {}, []) for settings in ({"x": 1, "y": "same"}, {"y": "same", "z": True})]
    assert settings_table(runs) == [
        {"path": "x", "values": ["1", None], "differs": True},
        {"path": "y", "values": ["same", "same"], "differs": False},
        {"path": "z", "values": [None, "true"], "differs": True},
    ]


def test_axes_are_the_numbers_that_differ_and_what_was_reached(viewer: Client) -> None:
    runs = [run_of(completed()), run_of(completed(text_of("wider", model__architecture__hidden_layers=[32, 8])))]
    axes = {axis["name"]: axis["values"] for axis in axes_of(runs)}
    assert axes["hidden_layers"] == [16, 40] and "batch_size" not in axes
    assert axes["MCC"] == [r.summary["mcc"] for r in runs]
    assert comparability(runs).tone == "good"


def test_the_choice_is_in_the_address(viewer: Client) -> None:
    one, two = completed(), completed(text_of("second"))
    ticked = viewer.get("/compare/", {"run": [one.pk, two.pk], "sort": "mcc"})
    assert ticked.url == f"/compare/?runs={one.pk},{two.pk}&sort=mcc"  # type: ignore[attr-defined]
    page = words_of(viewer, one, two, q="nothing like that")
    assert "Nothing matches" in page and "Beside their own baselines" in page, "the filter is of the table alone"
    assert f"Not found, or not completed: {one.pk}x" in viewer.get(f"/compare/?runs={one.pk}x,{two.pk}").content.decode()
    many = ",".join(f"op_{n}" for n in range(50))
    assert viewer.get(f"/compare/?runs={many}").status_code == 200


def listed(page: str) -> list[str]:
    return re.findall(r'aria-label="Choose ([\w-]+)"', page)


def test_the_table_is_filtered_and_sorted(viewer: Client) -> None:
    low, high = completed(text_of("low")), completed(text_of("high"), tags=" fast night ", comment="the one to keep")
    for operation, accuracy in ((low, 0.3), (high, 0.6)):
        model = operation.trained_model
        model.summary |= {"accuracy": accuracy}
        model.save()
    names = [operation.trained_model.name for operation in (high, low)]
    assert listed(words_of(viewer, sort="accuracy")) == names
    assert listed(words_of(viewer, tag="night")) == names[:1] and listed(words_of(viewer, tag="nigh")) == []
    assert listed(words_of(viewer, q="to keep")) == names[:1]
    assert listed(words_of(viewer, q="LOW")) == names[1:]
    for key in ("newest", "accuracy", "mcc", "balanced", "lead", "loss", "no such"):
        assert len(listed(words_of(viewer, sort=key))) == 2, key


def test_a_thousand_operations_are_paged_fast_and_with_few_queries(viewer: Client, django_assert_max_num_queries: Any) -> None:
    chosen = [completed(), completed(text_of("second"))]
    like, model = chosen[0], chosen[0].trained_model
    fields = {"strategy_version": like.strategy_version, "spec": like.spec, "status": Status.COMPLETED, "tags": " many "}
    rows = Operation.objects.bulk_create(Operation(**fields) for _ in range(1000))
    TrainedModel.objects.bulk_create(
        TrainedModel(operation=row, name=f"bulk-{n}", folder=f"f{n}", sha256="0", metrics=model.metrics, summary=model.summary | {"mcc": n / 1000})
        for n, row in enumerate(rows)
    )  # fmt: skip
    words_of(viewer)  # templates are read once
    began = time.process_time()
    with django_assert_max_num_queries(15):
        page = words_of(viewer, *chosen, sort="mcc")
    assert time.process_time() - began < 0.5
    assert listed(page)[:2] == ["bulk-999", "bulk-998"] and len(listed(page)) == 25 and "page 1 of 41" in page


def test_only_who_may_look_at_operations_may_compare(examples: Examples) -> None:
    assert Client().get("/compare/").url.startswith("/sign-in/")  # type: ignore[attr-defined]
    assert examples.signed_in("nobody").get("/compare/").status_code == 403


def test_models_without_figures_are_listed_and_compared_without_a_stumble(examples: Examples) -> None:
    viewer, full = examples.signed_in("viewer"), completed()
    bare = examples.completed
    TrainedModel.objects.filter(operation=bare).update(metrics={}, summary={})
    sample_bars("AAPL")
    page = words_of(viewer, full, bare)
    assert "do not compare" in page and compare.comparability([run_of(full)]).tone == "good"
