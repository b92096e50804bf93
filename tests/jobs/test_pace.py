"""How long a run will take: from the pace of this attempt alone, and from earlier runs that can be compared."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.examples import admin_rows
from tests.examples.api import Examples
from training.admin.operations import live_values
from training.core.pace import Pace
from training.jobs import status
from training.jobs.broadcast import StageTimes
from training.jobs.status import seconds_for
from training.management import terminal
from training.models import EpochMetric, Operation, Status, TrainedModel


def test_what_is_left_follows_the_latest_epochs() -> None:
    pace = Pace()
    assert pace.left(0.0) is None
    pace.batch(0, 10, 0.5, 1.0)
    pace.epoch(0, 2.0)
    for epoch, now in ((1, 4.0), (2, 6.0), (3, 18.0), (4, 20.0)):  # the machine slept for ten seconds
        pace.epoch(epoch, now)
    assert pace.left(20.0) == 10.0, "five epochs of two seconds each"
    pace.batch(5, 10, 0.5, 21.0)
    assert pace.left(21.0) == 9.0


def test_batches_tell_it_before_an_epoch_does() -> None:
    pace = Pace()
    pace.batch(0, 4, 0.1, 100.0)
    assert pace.left(100.0) is None, "nothing was trained since"
    pace.batch(0, 4, 0.2, 110.0)
    assert pace.left(110.0) == pytest.approx(380.0), "ten seconds for each tenth of four epochs"


def test_epochs_of_an_earlier_attempt_do_not_hurry_a_resumed_one() -> None:
    """They are done at the first batch, however far they reach."""
    pace = Pace()
    pace.batch(60, 100, 0.5, 1.1)
    assert pace.left(1.5) is None, "nothing was trained yet"
    pace.batch(61, 100, 0.5, 11.1)
    assert pace.left(11.1) == pytest.approx(385.0)


def test_imports_and_compilation_are_no_pace() -> None:
    """What stands before the end of the first epoch of a process is left out."""
    pace = Pace()
    pace.batch(0, 10, 0.5, 18.0)
    pace.epoch(0, 28.0)
    assert pace.left(28.1) is None
    pace.epoch(1, 29.0)
    assert pace.left(29.0) == pytest.approx(8.0), "one second for each after it"


def test_a_message_tells_the_training_alone() -> None:
    times = StageTimes(0.0)
    assert times.enter("load", 0.0) == {}
    assert times.enter("train", 5.0) == {"load": 5.0}
    times.pace.batch(0, 2, 0.5, 6.0)
    times.pace.batch(0, 2, 1.0, 7.0)
    assert times.told(8.0) == {"elapsed": 8.0, "stage_elapsed": 3.0, "eta": 4.0}
    times.enter("evaluate", 9.0)
    assert times.told(9.0)["eta"] is None


def test_page_admin_api_and_terminal_say_the_same_of_one_run(examples: Examples) -> None:
    """All of it epochs of two seconds, 41 minutes before the end: a step's own seconds are a small part of an epoch's."""
    spec = json.loads(examples.completed.spec)
    spec["training"]["epochs"] = 1236
    row = admin_rows.operation(Status.RUNNING, attempt=2, queue="")
    row.spec, row.stage, row.epoch = json.dumps(spec), "train", 5
    row.save()
    told, shown = Pace(), terminal.State(clock=lambda: 10.0)
    shown.stage("train", 0.0, 10.0)
    told.batch(3, 1236, 0.5, 1.0)
    begin = timezone.now()
    for number, epoch in enumerate((3, 4, 5)):
        EpochMetric.objects.create(
            operation=row, attempt=2, epoch=epoch, train_loss=1.0, val_loss=1.0, metrics={"seconds": 0.05},
            created=begin + timedelta(seconds=2 * number),
        )  # fmt: skip
        told.epoch(epoch, 6.0 + 2 * number)
    shown.pace = told
    assert told.left(10.0) == shown.seconds_left() == 2460.0
    assert status.standing_of(row)["eta_seconds"] == status.remaining_seconds(row) == 2460.0
    assert live_values(row)["left"] == "about 41 min left"


@pytest.fixture
def earlier(examples: Examples) -> Operation:
    """One completed run: 10 epochs in 20 seconds."""
    TrainedModel.objects.all().delete()
    Operation.objects.all().delete()
    row = admin_rows.operation(Status.COMPLETED, attempt=1)
    row.started = row.finished - timedelta(seconds=20)
    row.save()
    model = admin_rows.model(row)
    model.metrics = {"training": {"epochs_completed": 10}}
    model.save()
    return row


def asked(of: Operation, **training: Any) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(of.spec)
    return spec | {"training": spec["training"] | training}


def test_a_run_takes_as_long_as_those_like_it(earlier: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.jobs.status._bars", lambda spec, stored: 1000.0)
    batch = json.loads(earlier.spec)["training"]["batch_size"]
    assert seconds_for(asked(earlier, epochs=100)) == 200.0
    assert seconds_for(asked(earlier, epochs=100, batch_size=2 * batch)) == 200.0
    assert seconds_for(asked(earlier, epochs=100, batch_size=8 * batch)) is None, "a run of other batches says little"


def test_what_a_process_does_once_is_no_epochs_time(earlier: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 s of imports, compiled kernels and the first step; the epochs after the first took 0.1 s each."""
    monkeypatch.setattr("training.jobs.status._bars", lambda spec, stored: 1000.0)
    earlier.stage_seconds = {"load": 16.0, "train": 4.0}
    earlier.save()
    assert seconds_for(asked(earlier, epochs=100)) == 40.0, "the training stage alone, where no epoch is kept"
    for epoch in range(10):
        EpochMetric.objects.create(
            operation=earlier, attempt=1, epoch=epoch, train_loss=1.0, val_loss=1.0,
            created=earlier.started + timedelta(seconds=3.0 + 0.1 * epoch),
        )  # fmt: skip
    assert seconds_for(asked(earlier, epochs=100)) == pytest.approx(10.0)
