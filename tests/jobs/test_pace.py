"""How long a run will take: from the pace of this attempt alone, and from earlier runs that can be compared."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.examples import admin_rows
from tests.examples.api import Examples
from training.jobs.broadcast import Pace
from training.jobs.status import seconds_for
from training.models import EpochMetric, Operation, Status, TrainedModel


def test_what_is_left_follows_the_pace_of_the_stage() -> None:
    pace = Pace(0.0)
    pace.enter("train", 10.0, 5.0)
    pace.batch(10.0, 5.0)
    assert pace.told(10.0, 5.1)["eta"] is None
    assert pace.told(30.0, 15.0) == {"elapsed": 15.0, "stage_elapsed": 10.0, "eta": 35.0}


def test_epochs_of_an_earlier_attempt_do_not_hurry_a_resumed_one() -> None:
    """They are done at the first batch, however far they reach."""
    pace = Pace(0.0)
    pace.enter("train", 10.0, 1.0)
    assert pace.told(10.0, 1.0)["eta"] is None
    pace.batch(60.0, 1.1)
    assert pace.told(60.0, 1.5)["eta"] is None, "nothing was trained yet"
    assert pace.told(61.0, 11.1)["eta"] == pytest.approx(390.0)


def test_imports_and_compilation_are_no_pace() -> None:
    """The first stages of a process take long and are a small part of the run; so is its first epoch's beginning."""
    pace = Pace(0.0)
    pace.enter("load", 0.0, 0.0)
    assert pace.told(3.0, 16.0)["eta"] is None, "16 s for 3 % would be eight minutes"
    pace.enter("train", 15.0, 17.0)
    pace.batch(15.0, 18.0)
    pace.epoch(23.0, 28.0)  # ten seconds for the first of ten epochs
    assert pace.told(23.0, 28.1)["eta"] is None
    pace.epoch(31.0, 29.0)
    assert pace.told(31.0, 29.0)["eta"] == pytest.approx(69.0 / 8.0, abs=0.1), "one second for each after it"


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
        seconds = 3.0 if epoch == 0 else 0.1
        EpochMetric.objects.create(
            operation=earlier, attempt=1, epoch=epoch, train_loss=1.0, val_loss=1.0, metrics={"seconds": seconds}
        )
    assert seconds_for(asked(earlier, epochs=100)) == 10.0
