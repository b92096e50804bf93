"""Detailed analytics on the page of a run, in the API, the admin and the start form; gone with the operation's files."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.admin.utils import quote

from tests.examples.analytics import record, returns_record
from tests.examples.api import Examples, register_worker, send, start
from tests.examples.quick_work import asking
from tests.web.test_start import FORM, TRAIN, newest
from training.access.audit import Actor
from training.jobs import deletions
from training.jobs.analytics import FILES, Journal, folder_of, judged
from training.models import AuditEntry, Operation, Status
from training.results.figures_analytics import MOST_EPOCHS, plateaus, thinned

__all__ = ["asking"]


def kept(examples: Examples, status: Status = Status.FAILED, make: Any = record, epochs: int = 3) -> Operation:
    operation = start(examples.version, examples.users["trainer"], status=status, detailed_analytics=True)
    journal = Journal(folder_of(operation.pk), 1)
    for epoch in range(epochs):
        journal.add(make(epoch))
    return operation


def part(examples: Examples, operation: Operation, role: str = "viewer") -> str:
    answer = examples.signed_in(role).get(f"/operations/{operation.pk}/analytics/")
    assert answer.status_code == 200
    return str(answer.content.decode())


def figures_in(page: str) -> dict[str, Any]:
    found = re.findall(r'<script id="(analytics-[\w-]+)" type="application/json">(.*?)</script>', page)
    return {name: json.loads(text) for name, text in found}


def test_the_page_of_a_run_asks_for_its_analytics_only_where_they_are_kept(examples: Examples) -> None:
    for operation, there in ((kept(examples), True), (examples.own, False)):
        page = examples.signed_in("viewer").get(f"/operations/{operation.pk}/").content.decode()
        assert (f'hx-get="/operations/{operation.pk}/analytics/"' in page) is there


def test_pictures_tables_and_alerts_are_those_of_the_journal(examples: Examples) -> None:
    page = part(examples, kept(examples, make=lambda epoch: record(epoch, hidden={"dead_share": 0.75, "gradient_norm": 0.01})))
    figures = figures_in(page)
    assert set(figures) == {f"analytics-{name}" for name in (
        "gradients", "updates", "over-fitting", "signal", "calibration", "confidence", "entropy", "recall", "precision")}  # fmt: skip
    cells = figures["analytics-gradients"]["data"][0]
    assert cells["y"] == ["hidden_0", "output"] and cells["x"] == [1, 2, 3]
    assert cells["customdata"] == [[0.01] * 3, [0.1] * 3] and cells["z"][0] == pytest.approx([-2.0] * 3)
    assert figures["analytics-calibration"]["data"][1]["y"] == [0.58]
    assert "Dead units.</strong> In epoch 3 75% of the units of hidden_0 are dead." in page and "leaky_relu" in page
    assert "0.01" in page and "75.0 %" in page and 'hx-trigger="every 5s"' not in page


def test_of_returns_there_are_residuals_and_nothing_of_classes(examples: Examples) -> None:
    page = part(examples, kept(examples, make=returns_record))
    figures = figures_in(page)
    assert "analytics-residuals" in figures and "analytics-calibration" not in figures
    assert figures["analytics-residuals"]["data"][0]["x"] == [-1.0, 1.0]
    assert "Class balance" not in page and "Precision" not in page


@pytest.mark.parametrize(
    ("status", "words"), [(Status.RUNNING, "the end of the first epoch"), (Status.FAILED, "No epoch was completed")]
)
def test_without_an_epoch_it_says_so_and_reads_again_while_there_may_come_one(
    examples: Examples, status: Status, words: str
) -> None:
    page = part(examples, kept(examples, status, epochs=0))
    assert words in page and ("every 5s" in page) is (status == Status.RUNNING)
    assert "started without them" in part(examples, examples.own)


def test_files_are_handed_out_with_a_trace_and_unknown_ones_are_not(examples: Examples) -> None:
    operation, viewer = kept(examples), examples.signed_in("viewer")
    for name in FILES:
        answer = viewer.get(f"/operations/{operation.pk}/analytics/{name}/")
        assert answer.status_code == 200 and f'filename="{operation.pk}-{name}"' in answer["Content-Disposition"]
        assert answer.content == send(viewer, "get", f"/operations/{operation.pk}/analytics/{name}").content
    assert AuditEntry.objects.filter(action="export", target=operation.pk).count() == 2 * len(FILES)
    assert viewer.get(f"/operations/{operation.pk}/analytics/journal.jsonl/").status_code == 404
    assert viewer.get(f"/operations/{examples.own.pk}/analytics/layers.csv/").status_code == 404


def test_the_api_gives_what_was_judged(examples: Examples) -> None:
    operation, client = kept(examples), examples.with_token("trainer", "read")
    told = send(client, "get", f"/operations/{operation.pk}/analytics").json()
    assert told == judged([record(epoch) for epoch in range(3)])
    assert send(client, "get", f"/operations/{operation.pk}").json()["detailed_analytics"] is True
    assert send(client, "get", "/operations/nowhere/analytics").status_code == 404


def test_the_form_asks_for_them_and_train_again_remembers(asking: Examples, django_capture_on_commit_callbacks: Any) -> None:
    register_worker("cpu")
    trainer = asking.signed_in("trainer")
    with django_capture_on_commit_callbacks(execute=True):
        trainer.post(TRAIN, FORM | {"detailed_analytics": "1"})
    operation = newest()
    assert operation.detailed_analytics
    box = r'name="detailed_analytics" value="1" checked'
    assert re.search(box, trainer.get(TRAIN, {"again": operation.pk}).content.decode())
    assert not re.search(box, trainer.get(TRAIN, {"strategy": "stored"}).content.decode())
    with django_capture_on_commit_callbacks(execute=True):
        trainer.post(TRAIN, FORM | {"task_id": "b" * 32})
    assert not newest().detailed_analytics


def test_the_api_starts_with_them_and_takes_the_same_task_without_them_for_another(
    asking: Examples, django_capture_on_commit_callbacks: Any
) -> None:
    register_worker("cpu")
    client = asking.with_token("trainer", "train")
    body = {"strategy_name": "stored", "task_id": "monday", "detailed_analytics": True}
    with django_capture_on_commit_callbacks(execute=True):
        assert send(client, "post", "/trainings/start", body).status_code == 202
    assert newest().detailed_analytics
    assert send(client, "post", "/trainings/start", body).status_code == 200
    assert send(client, "post", "/trainings/start", body | {"detailed_analytics": False}).status_code == 409


def test_the_admin_says_whether_they_are_kept(examples: Examples) -> None:
    admin = examples.signed_in("admin")
    for operation, words in ((kept(examples), "kept, on the page of the run"), (examples.own, "not kept")):
        assert words in admin.get(f"/admin/training/operation/{quote(operation.pk)}/change/").content.decode()


@pytest.mark.django_db(transaction=True)
def test_they_go_with_the_operation(examples: Examples) -> None:
    operation, other = kept(examples), kept(examples)
    deletions.delete_operation(operation.pk, Actor(examples.users["admin"]))
    assert not folder_of(operation.pk).exists() and folder_of(other.pk).exists()


def test_a_long_run_is_thinned_for_drawing_and_plateaus_are_stretches() -> None:
    many = [record(epoch) for epoch in range(3 * MOST_EPOCHS)]
    drawn = [r["epoch"] for r in thinned(many)]
    assert len(drawn) == MOST_EPOCHS and drawn[0] == 0 and drawn[-1] == many[-1]["epoch"] and drawn == sorted(set(drawn))
    flags = [False, True, True, False, True]
    assert plateaus([{"epoch": epoch, "plateau": flag} for epoch, flag in enumerate(flags)]) == [(2, 3), (5, 5)]
