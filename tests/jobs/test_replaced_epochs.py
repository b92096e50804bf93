"""A resumed run that goes back leaves epochs of the attempt before it behind its new end: every place says that they count no more."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples.api import Examples, send
from training.jobs import checkpoints, lifecycle
from training.jobs.progress import Progress
from training.jobs.status import replaced_among, standing_of
from training.management.runs import _best_so_far, _show_row
from training.models import Operation


@given(st.lists(st.integers(0, 8), max_size=40))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_counts_is_one_way_from_the_first_epoch_that_was_measured(epochs: list[int]) -> None:
    way: list[tuple[int, int]] = []
    for key, epoch in enumerate(epochs):  # the rule, written out: it takes the place of itself and of all that followed it then
        way = [(k, e) for k, e in way if e < epoch] + [(key, epoch)]
    gone = replaced_among(reversed(list(enumerate(epochs))))
    assert {key for key, _ in way} == set(range(len(epochs))) - gone


def measure(progress: Progress, *epochs: tuple[int, float]) -> None:
    for epoch, loss in epochs:
        metrics = {"epoch": epoch, "train_loss": loss, "val_loss": loss, "samples_per_second": 1.0, "learning_rate": 0.1}
        progress.on_epoch_end(metrics, lambda: {"state.json": b"{}"})
    progress.write()


@pytest.fixture
def went_back(examples: Examples, empty_redis: Any) -> Operation:
    """Seven epochs; the second attempt does the last two again, goes back to the third, and ends with the fourth."""
    operation = examples.own
    assert lifecycle.claim(operation.pk, 1)
    measure(Progress(operation.pk, 1, checkpoints.Schedule(100, 1e9)), *((epoch, 0.5 - epoch / 100) for epoch in range(7)))
    lifecycle.stop(operation.pk, 1, lifecycle.Status.INTERRUPTED, "stopped on request (shutdown)")
    assert lifecycle.resume(operation.pk, "cpu") == 2 and lifecycle.claim(operation.pk, 2)
    second = Progress(operation.pk, 2, checkpoints.Schedule(100, 1e9))
    measure(second, (5, 0.9))
    measure(second, (2, 0.7), (3, 0.6))
    return Operation.objects.get(pk=operation.pk)


def test_the_api_says_which_count(went_back: Operation, examples: Examples) -> None:
    client = examples.signed_in("viewer")
    told = send(client, "get", f"/operations/{went_back.pk}/metrics").json()
    rows = [(row["attempt"], row["epoch"], row["counts"]) for row in told["metrics"]]
    assert rows == [
        (1, 0, True), (1, 1, True), *((1, epoch, False) for epoch in range(2, 7)), (2, 2, True), (2, 3, True),
    ]  # fmt: skip
    later = send(client, "get", f"/operations/{went_back.pk}/metrics?since={told['metrics'][4]['id']}").json()["metrics"]
    assert [row["counts"] for row in later] == [False, False, True, True]


def test_the_last_epoch_is_the_one_measured_last(went_back: Operation) -> None:
    assert standing_of(went_back)["metrics"]["val_loss"] == 0.6
    assert _best_so_far(went_back) == 0.49, "the lower losses are of epochs that the run went back over"
    shown: list[tuple[int, float]] = []

    class Seen:
        state: Any = None

        def epoch(self, metrics: Any, percent: float) -> None:
            shown.append((metrics["epoch"], metrics["val_loss"]))

        def note(self, text: str) -> None: ...

    known: dict[str, object] = {"notes": 0, "epoch": None, "queued": False}
    for _ in range(2):
        _show_row(went_back, Seen(), known, silent=False)  # type: ignore[arg-type]
    assert shown == [(3, 0.6)]


def test_the_admin_marks_them(went_back: Operation, examples: Examples) -> None:
    page = examples.signed_in("admin").get(f"/admin/training/operation/{quote(went_back.pk)}/change/").content.decode()
    lines = re.findall(r'<tr( class="quiet")?><td>(\d+)</td><td>(\d)(, replaced)?</td>', page)
    assert {(int(epoch), int(attempt)) for quiet, epoch, attempt, word in lines if quiet and word} == {
        (e, 1) for e in range(3, 8)
    }
    assert [(epoch, attempt) for quiet, epoch, attempt, _ in lines if not quiet] == [
        ("4", "2"),
        ("3", "2"),
        ("2", "1"),
        ("1", "1"),
    ]
