"""Each verb of an operation happens in the right states only, for the right attempt only, and once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from strategies_app.models import Strategy, StrategyVersion
from tests.examples.homes import STRATEGY
from training.jobs import lifecycle
from training.jobs.lifecycle import OperationError
from training.models import Operation, Status

pytestmark = pytest.mark.django_db


@pytest.fixture
def version() -> StrategyVersion:
    return Strategy.objects.import_text(STRATEGY.format(name="stored", epochs=1, batch_size=32))


@pytest.fixture
def running(version: StrategyVersion) -> Operation:
    operation = lifecycle.start(version, {"name": "stored"})
    assert lifecycle.claim(operation.pk, 1)
    return status(operation)


def status(operation: Operation) -> Operation:
    operation.refresh_from_db()
    return operation


def test_only_one_of_two_claims_wins(version: StrategyVersion) -> None:
    operation = lifecycle.start(version, {})
    assert [lifecycle.claim(operation.pk, 1), lifecycle.claim(operation.pk, 1)] == [True, False]


def test_an_earlier_attempts_writes_match_no_row(running: Operation) -> None:
    assert lifecycle.fail(running.pk, 1, "broken")
    assert lifecycle.resume(running.pk) == 2
    assert lifecycle.beat(running.pk, 1, percent=50) is None
    assert not lifecycle.finish(running.pk, 1)
    assert not lifecycle.fail(running.pk, 1, "late")
    assert status(running).status == Status.PENDING


def test_a_pending_operation_is_cancelled_at_once_and_a_running_one_when_it_notices(
    version: StrategyVersion, running: Operation
) -> None:
    waiting = lifecycle.start(version, {})
    assert lifecycle.request_cancel(waiting.pk) == Status.CANCELLED
    assert lifecycle.request_cancel(running.pk) == Status.CANCELLING
    assert lifecycle.beat(running.pk, 1) == Status.CANCELLING
    assert lifecycle.stop(running.pk, 1, Status.CANCELLED, "asked")
    with pytest.raises(OperationError, match="is cancelled, only a pending or running operation can be cancelled"):
        lifecycle.request_cancel(running.pk)


def test_a_run_that_completes_while_it_is_being_cancelled_is_completed(running: Operation) -> None:
    lifecycle.request_cancel(running.pk)
    assert lifecycle.finish(running.pk, 1)
    assert status(running).status == Status.COMPLETED


def test_what_is_completed_or_running_cannot_be_resumed(running: Operation) -> None:
    with pytest.raises(OperationError, match="is running, only a failed, cancelled or interrupted operation can be resumed"):
        lifecycle.resume(running.pk)
    lifecycle.finish(running.pk, 1)
    with pytest.raises(OperationError, match="is completed"):
        lifecycle.resume(running.pk)
    with pytest.raises(OperationError, match="is not stored"):
        lifecycle.resume("op_training_none")


def test_an_operation_is_interrupted_only_once_its_process_is_gone(running: Operation) -> None:
    assert not lifecycle.reap(running), "this process is alive"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    import psutil

    name = f"{child.pid}@{psutil.Process(child.pid).create_time():.2f}"
    assert lifecycle.is_running(name)
    child.kill()
    child.wait()
    assert not lifecycle.is_running(name)
    Operation.objects.filter(pk=running.pk).update(process=name)
    assert lifecycle.reap(status(running))
    assert status(running).status == Status.INTERRUPTED


def test_another_process_with_the_same_number_is_not_the_owner() -> None:
    number, _, started = lifecycle.this_process().partition("@")
    assert lifecycle.is_running(f"{number}@{started}")
    assert not lifecycle.is_running(f"{number}@{float(started) - 100:.2f}")


def test_a_process_on_another_host_is_left_alone(running: Operation) -> None:
    Operation.objects.filter(pk=running.pk).update(host="elsewhere", process="1@1.00")
    assert not lifecycle.reap(status(running))


def test_an_operation_is_found_by_the_end_of_its_id(running: Operation) -> None:
    assert lifecycle.find(running.pk[-8:]) == running
    with pytest.raises(OperationError, match="the newest are"):
        lifecycle.find("zzzz")


def test_the_effective_strategy_keeps_the_order_of_its_keys(version: StrategyVersion) -> None:
    operation = lifecycle.start(version, {"zeta": 1, "alpha": 2, "mid": {"b": 1, "a": 2}})
    assert status(operation).spec == '{"zeta": 1, "alpha": 2, "mid": {"b": 1, "a": 2}}'
