"""The reaper finds what has lost its process, by its own clock only, and leaves alone what lives."""

from __future__ import annotations

import pytest

from strategies_app.models import Strategy
from tests.homes import STRATEGY
from training import operations
from training.models import Operation, Status
from training.reaper import Reaper

pytestmark = pytest.mark.django_db


@pytest.fixture
def running() -> Operation:
    version = Strategy.objects.import_text(STRATEGY.format(name="watched", epochs=1, batch_size=32))
    operation = operations.start(version, {})
    operations.claim(operation.pk, 1)
    return operation


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_silent_operation_is_interrupted_after_the_timeout_and_not_before(running: Operation) -> None:
    clock = Clock()
    reaper = Reaper(clock)
    assert reaper.look() == []
    clock.now = 59
    assert reaper.look() == []
    clock.now = 60
    assert reaper.look() == [f"{running.pk}: no sign of life for 60 s"]
    running.refresh_from_db()
    assert running.status == Status.INTERRUPTED
    assert reaper.look() == []


def test_a_heartbeat_starts_the_waiting_anew(running: Operation) -> None:
    clock = Clock()
    reaper = Reaper(clock)
    reaper.look()
    for clock.now in (50.0, 100.0, 150.0):
        Operation.objects.filter(pk=running.pk).update(heartbeat=f"2026-01-01T00:00:{int(clock.now) % 60:02d}Z")
        assert reaper.look() == []
    clock.now = 211
    assert len(reaper.look()) == 1


def test_a_new_reaper_waits_the_whole_timeout_whatever_the_row_says(running: Operation) -> None:
    Operation.objects.filter(pk=running.pk).update(heartbeat="2020-01-01T00:00:00Z")
    clock = Clock()
    reaper = Reaper(clock)
    assert reaper.look() == []
    clock.now = 59
    assert reaper.look() == []


def test_what_was_being_cancelled_is_cancelled(running: Operation) -> None:
    operations.request_cancel(running.pk)
    clock = Clock()
    reaper = Reaper(clock)
    reaper.look()
    clock.now = 61
    assert reaper.look()
    running.refresh_from_db()
    assert running.status == Status.CANCELLED


def test_the_zombie_that_wakes_up_finds_that_it_owns_nothing(running: Operation) -> None:
    clock = Clock()
    reaper = Reaper(clock)
    reaper.look()
    clock.now = 61
    reaper.look()
    operations.resume(running.pk)
    assert operations.beat(running.pk, 1) is None
    assert operations.live_status(running.pk, 1) is None
    assert not operations.finish(running.pk, 1)
