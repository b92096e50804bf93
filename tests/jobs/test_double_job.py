"""A job that was queued twice does no harm: the process that finds nothing to do leaves the attempt to the one that has it."""

from __future__ import annotations

from typing import Any

import pytest

from strategies_app.models import Strategy
from tests.examples.homes import STRATEGY
from training.jobs import lifecycle
from training.models import Operation, Status
from training.workers.worker import make_worker


@pytest.fixture
def running(db: None) -> Operation:
    version = Strategy.objects.import_text(STRATEGY.format(name="twice", epochs=1, batch_size=32))
    operation = lifecycle.start(version, {}, queue="cpu")
    assert lifecycle.claim(operation.pk, 1), "by this process"
    operation.refresh_from_db()
    return operation


@pytest.fixture
def worker(empty_redis: Any, db: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("training.workers.worker.connections.close_all", lambda: None)  # they are the test's own
    return make_worker("cpu", {})


def test_the_end_of_the_second_process_interrupts_nothing(running: Operation, worker: Any) -> None:
    own = int(running.process.partition("@")[0])
    worker._settle(running.pk, 1, 0, own + 1)
    running.refresh_from_db()
    assert running.status == Status.RUNNING
    worker._settle(running.pk, 1, -9, own)
    running.refresh_from_db()
    assert (running.status, "signal 9" in running.error) == (Status.INTERRUPTED, True)
