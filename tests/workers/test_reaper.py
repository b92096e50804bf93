"""The reaper finds what has lost its process, by its own clock only, and leaves alone what lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import OperationalError

from strategies_app.models import Strategy
from tests.examples.homes import STRATEGY
from training.jobs import lifecycle
from training.models import Operation, Status
from training.workers import reaper as reaper_module
from training.workers.reaper import WRITES, Reaper

pytestmark = pytest.mark.django_db
INTERVAL = 15.0


@pytest.fixture
def running() -> Operation:
    version = Strategy.objects.import_text(STRATEGY.format(name="watched", epochs=1, batch_size=32))
    operation = lifecycle.start(version, {})
    lifecycle.claim(operation.pk, 1)
    return operation


class Clock:
    """Time as the reaper sees it; each look is INTERVAL after the one before."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def looks(self, reaper: Reaper, until: float) -> list[str]:
        """What the reaper says from now until a moment, that moment included."""
        said = reaper.look()
        while self.now < until:
            self.now = min(until, self.now + INTERVAL)
            said += reaper.look()
        return said


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[Clock, float], None]:
    """From now on each transaction of the reaper begins only after so many seconds."""

    def wait(clock: Clock, seconds: float) -> None:
        begin = reaper_module.transaction.atomic

        @contextmanager
        def begun_late() -> Iterator[None]:
            clock.now += seconds
            with begin():
                yield

        monkeypatch.setattr(reaper_module.transaction, "atomic", begun_late)

    return wait


def test_a_silent_operation_is_interrupted_after_the_timeout_and_not_before(running: Operation) -> None:
    clock = Clock()
    reaper = Reaper(clock)
    assert clock.looks(reaper, 59) == []
    assert clock.looks(reaper, 60) == [f"{running.pk}: no sign of life for 60 s"]
    running.refresh_from_db()
    assert (running.status, running.error) == (Status.INTERRUPTED, "its process gave no sign of life any more")
    assert reaper.look() == []


def test_an_operation_that_has_beaten_before_it_died_is_buried_as_well(running: Operation) -> None:
    clock = Clock()
    reaper = Reaper(clock)
    reaper.look()
    assert lifecycle.beat(running.pk, 1) == Status.RUNNING, "in the time of the database"
    assert clock.looks(reaper, 59) == []
    assert clock.looks(reaper, 60) == [f"{running.pk}: no sign of life for 60 s"]


def test_a_heartbeat_starts_the_waiting_anew(running: Operation) -> None:
    clock = Clock()
    reaper = Reaper(clock)
    for moment in (50.0, 100.0, 150.0):
        assert clock.looks(reaper, moment) == []
        Operation.objects.filter(pk=running.pk).update(heartbeat=f"2026-01-01T00:00:{int(moment) % 60:02d}Z")
    assert clock.looks(reaper, 209) == []
    assert len(clock.looks(reaper, 225)) == 1


def test_a_new_reaper_waits_the_whole_timeout_whatever_the_row_says(running: Operation) -> None:
    Operation.objects.filter(pk=running.pk).update(heartbeat="2020-01-01T00:00:00Z")
    clock = Clock()
    assert clock.looks(Reaper(clock), 59) == []


def test_what_was_being_cancelled_is_cancelled(running: Operation) -> None:
    lifecycle.request_cancel(running.pk)
    clock = Clock()
    assert clock.looks(Reaper(clock), 60)
    running.refresh_from_db()
    assert running.status == Status.CANCELLED


def test_on_a_machine_where_every_write_waits_the_dead_are_buried_too(running: Operation, slow: Callable[..., None]) -> None:
    clock = Clock()
    reaper = Reaper(clock)
    reaper.look()
    slow(clock, 5.0)
    assert clock.looks(reaper, 60) == [], "what it waited itself does not count as silence"
    assert len(clock.looks(reaper, 60 + 6 * 5 + INTERVAL)) == 1


def test_who_could_not_beat_because_the_database_was_held_gets_its_chance_first(
    running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    reaper = Reaper(clock)
    reaper.look()

    def locked() -> None:
        clock.now += 20
        raise OperationalError("database is locked")

    monkeypatch.setattr(reaper_module.transaction, "atomic", locked)
    for _ in range(10):  # held for minutes
        clock.now += INTERVAL
        with pytest.raises(OperationalError):
            reaper.look()
    monkeypatch.undo()
    assert reaper.look() == [], "the reaper came first when it was let go"
    lifecycle.beat(running.pk, 1)
    assert clock.looks(reaper, clock.now + 59) == []


def test_a_reaper_that_could_not_write_either_needs_a_few_looks_to_be_sure(running: Operation) -> None:
    clock = Clock()
    reaper = Reaper(clock)
    reaper.look()
    clock.now = 1000.0
    said = [reaper.look() for _ in range(WRITES)]
    assert [len(sentences) for sentences in said] == [0] * (WRITES - 1) + [1]


def test_the_zombie_that_wakes_up_finds_that_it_owns_nothing(running: Operation) -> None:
    clock = Clock()
    reaper = Reaper(clock)
    assert clock.looks(reaper, 60)
    lifecycle.resume(running.pk)
    assert lifecycle.beat(running.pk, 1) is None
    assert lifecycle.live_status(running.pk, 1) is None
    assert not lifecycle.finish(running.pk, 1)


def test_who_was_taken_for_dead_takes_itself_back_as_long_as_nobody_went_on(running: Operation) -> None:
    """It was cut off from the database, or frozen: what it has trained meanwhile is not lost."""
    clock = Clock()
    assert clock.looks(Reaper(clock), 60)
    Operation.objects.update(mailed="1 interrupted")
    assert lifecycle.beat(running.pk, 1, epoch=7) == Status.RUNNING
    running.refresh_from_db()
    assert (running.status, running.attempt, running.epoch) == (Status.RUNNING, 1, 7)
    assert (running.finished, running.error, running.mailed) == (None, "", ""), "another interruption is news again"
    with pytest.raises(lifecycle.OperationError, match="is running, only a failed"):
        lifecycle.resume(running.pk)
    assert lifecycle.finish(running.pk, 1)


def test_a_look_at_its_own_status_takes_it_back_too(running: Operation) -> None:
    clock = Clock()
    assert clock.looks(Reaper(clock), 60)
    assert lifecycle.live_status(running.pk, 1) == Status.RUNNING
    assert Operation.objects.get(pk=running.pk).status == Status.RUNNING


def test_what_took_itself_back_is_missed_again_only_after_the_whole_timeout(running: Operation) -> None:
    clock = Clock()
    reaper = Reaper(clock)
    assert clock.looks(reaper, 60)
    assert lifecycle.beat(running.pk, 1) == Status.RUNNING
    assert clock.looks(reaper, 119) == []
    assert clock.looks(reaper, 120 + INTERVAL) != []


@pytest.mark.parametrize(
    "ended",
    [
        {"error": "stopped on request (shutdown)"},  # by itself: its pulse beats on for a moment
        {"error": "its process was killed"},
        {"status": Status.CANCELLED},
        {"status": Status.FAILED},
        {"status": Status.COMPLETED},
        {"process": "1@1.00"},  # another process had this attempt
        {"host": "elsewhere"},
        {"attempt": 2},
    ],
    ids=str,
)
def test_nothing_else_that_ended_is_taken_back(running: Operation, ended: dict[str, object]) -> None:
    clock = Clock()
    assert clock.looks(Reaper(clock), 60)
    Operation.objects.update(**ended)
    before = Operation.objects.values().get()
    assert lifecycle.beat(running.pk, 1) is None
    assert lifecycle.live_status(running.pk, 1) is None
    assert Operation.objects.values().get() == before
