"""Two workers, cancelling, force, reaping, resuming and finishing in any order: one owner at most, and only allowed changes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strategies_app.models import Strategy
from tests.examples.homes import STRATEGY
from training.jobs import lifecycle
from training.jobs.lifecycle import OperationError
from training.models import LIVE, Operation, Status
from training.workers.reaper import Reaper

pytestmark = pytest.mark.django_db

ALLOWED = {
    "pending": {"running", "cancelled", "failed"},
    "running": {"completed", "failed", "cancelled", "interrupted", "cancelling"},
    "cancelling": {"cancelled", "completed", "failed", "interrupted"},
    "completed": set(),
    "failed": {"pending"},
    "cancelled": {"pending"},
    "interrupted": {"pending", "running"},
}
ACTIONS = (
    "claim",
    "beat",
    "cancel",
    "finish",
    "fail",
    "stop",
    "interrupt",
    "die",
    "wait and reap",
    "resume",
    "fail for now",
    "retry",
)


LATER = datetime(2100, 1, 1, tzinfo=UTC)


class World:
    """One operation, two workers that each may hold an attempt, and a reaper with a clock of its own."""

    def __init__(self) -> None:
        version = Strategy.objects.import_text(STRATEGY.format(name="fought_over", epochs=1, batch_size=32))
        self.operation = lifecycle.start(version, {})
        self.now = 0.0
        self.reaper = Reaper(clock=lambda: self.now)
        #: worker → the attempt it believes to own; a worker that died or froze keeps it and may wake up.
        self.held: dict[int, int] = {}
        self.beating: set[int] = set()

    @property
    def row(self) -> Operation:
        return Operation.objects.get(pk=self.operation.pk)

    def act(self, action: str, worker: int) -> None:
        row = self.row
        if action == "claim":
            if lifecycle.claim(row.pk, row.attempt):
                self.held[worker] = row.attempt
                self.beating.add(worker)
        elif action == "cancel":
            self.try_verb(lambda: lifecycle.request_cancel(row.pk))
        elif action == "resume":
            self.try_verb(lambda: lifecycle.resume(row.pk))
        elif action == "retry":
            self.try_verb(lambda: lifecycle.resume(row.pk, by_itself=True))
        elif action == "die":
            self.beating.discard(worker)
        elif action == "wait and reap":
            self.wait_and_reap()
        elif worker in self.held:
            self.act_as_owner(action, worker, row)

    def act_as_owner(self, action: str, worker: int, row: Operation) -> None:
        attempt = self.held[worker]
        owned = row.attempt == attempt and row.status in LIVE
        if action == "beat":  # it may wake up after it was taken for dead
            owned |= row.attempt == attempt and (row.status, row.error) == (Status.INTERRUPTED, lifecycle.ORPHANED)
        happened = {
            "beat": lambda: lifecycle.beat(row.pk, attempt) is not None,
            "finish": lambda: lifecycle.finish(row.pk, attempt),
            "fail for now": lambda: (
                lifecycle.fail(row.pk, attempt, "away", retry_at=LATER) if row.status != Status.PENDING else owned
            ),
            "fail": lambda: lifecycle.fail(row.pk, attempt, "broken") if row.status != Status.PENDING else owned,
            "stop": lambda: lifecycle.stop(row.pk, attempt, Status.CANCELLED, "asked"),
            "interrupt": lambda: lifecycle.stop(row.pk, attempt, Status.INTERRUPTED, "shutdown"),
        }[action]()
        assert happened == owned, f"{action} by attempt {attempt} while {row.status} at attempt {row.attempt}"

    def wait_and_reap(self) -> None:
        """Two looks with more than the timeout between; whoever beats has beaten in between."""
        self.reaper.look()
        for worker in self.beating:
            lifecycle.beat(self.operation.pk, self.held[worker])
        before = self.row
        self.now += 61
        self.reaper.look()
        owners = [w for w in self.beating if self.held[w] == before.attempt]
        if before.status in LIVE and owners:
            # Beats within one second look the same only if the database's clock stood still; it did not.
            assert self.row.status == before.status or before.heartbeat == self.row.heartbeat

    @staticmethod
    def try_verb(verb) -> None:
        try:
            verb()
        except OperationError as refusal:
            assert "only a" in str(refusal)

    def owners(self) -> list[int]:
        row = self.row
        return [w for w, attempt in self.held.items() if row.status in LIVE and attempt == row.attempt]


@given(steps=st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 1)), max_size=40))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_they_interleave_one_owner_remains(steps: list[tuple[str, int]]) -> None:
    world = World()
    for action, worker in steps:
        before = world.row
        world.act(action, worker)
        after = world.row
        assert after.status == before.status or after.status in ALLOWED[before.status], (action, before.status, after.status)
        if (before.status, after.status) == (Status.INTERRUPTED, Status.RUNNING):
            assert (action, before.error) == ("beat", lifecycle.ORPHANED) and world.held[worker] == after.attempt
        assert after.attempt - before.attempt == (1 if action in ("resume", "retry") and after.status != before.status else 0)
        if action == "retry":
            assert (after.status == Status.PENDING) == (before.waits_to_retry or before.status == Status.PENDING)
        if action == "cancel" and before.waits_to_retry:
            assert (after.status, after.retry_at) == (Status.FAILED, None)
        assert after.retry_at is None or after.status == Status.FAILED
        assert len(world.owners()) == (1 if after.status in LIVE else 0)


def test_a_retry_that_is_cancelled_between_the_look_and_the_resume_does_not_begin() -> None:
    world = World()
    world.act("claim", 0)
    world.act("fail for now", 0)
    seen = world.row  # as the reaper has read it
    assert seen.waits_to_retry
    assert lifecycle.request_cancel(seen.pk, "enough") == Status.FAILED
    with pytest.raises(OperationError):
        lifecycle.resume(seen.pk, by_itself=True)
    assert (world.row.status, world.row.attempt, world.row.reason) == (Status.FAILED, 1, "enough")
    with pytest.raises(OperationError, match="only a pending or running operation can be cancelled"):
        lifecycle.request_cancel(seen.pk)
    assert lifecycle.resume(seen.pk) == 2, "a person may still resume it"
