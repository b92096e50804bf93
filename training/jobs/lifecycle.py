"""What can happen to an operation: each verb is one conditional UPDATE, and tells whether it happened.

A verb names the attempt that it speaks for, so the writes of an earlier attempt (a process that was
thought dead and woke up) match no row.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from typing import Any

import psutil
from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from strategies_app.grammar import plugins
from strategies_app.models import StrategyVersion
from training.core.values import Refusal
from training.jobs.failures import without_retry
from training.models import LIVE, OPEN, RESUMABLE, Operation, Status

#: What is told of an operation whose process was taken for dead. It may have been cut off from the database, or frozen.
ORPHANED = "its process gave no sign of life any more"
log = logging.getLogger(__name__)


class OperationError(Refusal):
    """The verb does not fit the operation's state: one sentence with the state that was seen."""

    category = "resources"


class OtherBars(OperationError):
    """The stored bars are not those that the operation began with."""

    category = "data"
    resuming_helps = True


class UnknownOperation(OperationError):
    """No operation, or several, of an id."""

    exit_code = 2


def start(version: StrategyVersion, spec: dict[str, Any], **fields: Any) -> Operation:
    """A new pending operation for the effective strategy `spec` (plain data) of a stored version."""
    return Operation.objects.create(strategy_version=version, spec=json.dumps(spec), **fields)


def stored(operation_id: str) -> Operation | None:
    """The operation of an id, with what its pages and answers tell of it."""
    related = ("strategy_version__strategy", "user", "trained_model")
    return Operation.objects.select_related(*related).filter(pk=operation_id).first()


def find(operation_id: str) -> Operation:
    """The operation of an id, or of the only id that ends with what was given."""
    found = list(Operation.objects.filter(pk__endswith=operation_id).select_related("strategy_version__strategy")[:2])
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownOperation(f"several operations end with '{operation_id}', give more of the id")
    newest = ", ".join(Operation.objects.values_list("pk", flat=True)[:3])
    hint = f"the newest are {newest}" if newest else "none was started yet"
    raise UnknownOperation(f"no operation '{operation_id}'; {hint}")


def claim(operation_id: str, attempt: int) -> bool:
    """pending → running, owned by this process."""
    now = timezone.now()
    fresh = {"started": now, "heartbeat": now, "finished": None, "error": "", "percent": 0.0}
    return _change(operation_id, attempt, (Status.PENDING,), Status.RUNNING, **owner(), **fresh)


def beat(operation_id: str, attempt: int, **progress: Any) -> str | None:
    """Record progress of a live attempt; gives its status now, or None if the attempt is no longer the owner."""
    live = Operation.objects.filter(pk=operation_id, attempt=attempt, status__in=LIVE)
    # In the database's time: the clocks of several hosts differ.
    if not live.update(heartbeat=Now(), **progress) and not _take_back(operation_id, attempt, **progress):
        return None
    return live.values_list("status", flat=True).first()


def live_status(operation_id: str, attempt: int) -> str | None:
    """The status of a live attempt, None if it is no longer the owner; writes nothing unless it was taken for dead."""
    live = Operation.objects.filter(pk=operation_id, attempt=attempt, status__in=LIVE)
    status = live.values_list("status", flat=True).first()
    return Status.RUNNING if status is None and _take_back(operation_id, attempt) else status


def _take_back(operation_id: str, attempt: int, **progress: Any) -> bool:
    """interrupted → running, for the very process that was taken for dead, unless somebody went on with its attempt.

    One conditional UPDATE, as a resume is one: whichever comes first, the other matches no row. What ended in any other way,
    or of another process, is not taken back.
    """
    lost = Operation.objects.filter(pk=operation_id, attempt=attempt, status=Status.INTERRUPTED, error=ORPHANED, **owner())
    fresh = {"status": Status.RUNNING, "heartbeat": Now(), "finished": None, "error": "", "mailed": ""}
    if not lost.update(**fresh, **progress):
        return False
    log.warning("%s attempt %s was taken for dead, and goes on", operation_id, attempt)
    return True


def request_cancel(operation_id: str, reason: str = "") -> str:
    """pending → cancelled, running → cancelling; a failed one that waits to be tried again stays failed. Gives the status.

    Asked in the order in which an operation moves, so that none slips through between two questions.
    """
    if drop_retry(operation_id, reason=reason):
        return Status.FAILED
    now = timezone.now()
    one = Operation.objects.filter(pk=operation_id)
    if one.filter(status=Status.PENDING).update(status=Status.CANCELLED, finished=now, reason=reason):
        return Status.CANCELLED
    if one.filter(status__in=LIVE).update(status=Status.CANCELLING, reason=reason):
        return Status.CANCELLING
    raise OperationError(f"{operation_id} is {_status_of(operation_id)}, only a pending or running operation can be cancelled")


def drop_retry(operation_id: str, **fields: Any) -> bool:
    """A failed operation is not tried again by itself; whether it would have been."""
    waiting = Operation.objects.filter(pk=operation_id, status=Status.FAILED, retry_at__isnull=False)
    seen = waiting.values("attempt", "failure").first()
    if seen is None:
        return False
    return waiting.filter(attempt=seen["attempt"]).update(retry_at=None, failure=without_retry(seen["failure"]), **fields) == 1


def finish(operation_id: str, attempt: int, **fields: Any) -> bool:
    return _change(operation_id, attempt, LIVE, Status.COMPLETED, finished=timezone.now(), percent=100.0, **fields)


def fail(operation_id: str, attempt: int, error: str, **fields: Any) -> bool:
    return _change(operation_id, attempt, OPEN, Status.FAILED, finished=timezone.now(), error=error, **fields)


def stop(operation_id: str, attempt: int, status: Status, reason: str) -> bool:
    """A live attempt ended early and knows it: cancelled or interrupted."""
    return _change(operation_id, attempt, LIVE, status, finished=timezone.now(), error=reason)


def refuse_other_plugins(operation: Operation, *, allow_inexact: bool = False) -> None:
    """An operation runs with the code of other packages that it was started with, or, if allowed, with another version."""
    if absent := plugins.missing(operation.plugins):
        raise OperationError(f"{operation.pk} needs {'; '.join(absent)}")
    differing = plugins.differences(operation.plugins)
    if differing and not allow_inexact:
        raise OperationError(
            f"{operation.pk} was started with other code: {'; '.join(differing)}; "
            "install that version again, or continue without the guarantee of identical results with --allow-inexact"
        )


def resume(operation_id: str, queue: str = "", *, allow_inexact: bool = False, by_itself: bool = False) -> int:
    """failed, cancelled or interrupted → pending with the next attempt, whose number it gives. by_itself: nobody asked."""
    seen = Operation.objects.filter(pk=operation_id).values_list("attempt", flat=True).first()
    resumable = Operation.objects.filter(pk=operation_id, attempt=seen, status__in=RESUMABLE)
    if by_itself:  # unless somebody has cancelled that meanwhile
        resumable = resumable.filter(retry_at__isnull=False)
    changed = resumable.update(
        status=Status.PENDING,
        attempt=F("attempt") + 1,
        finished=None,
        queue=queue,
        allow_inexact=allow_inexact,
        reason="",
        error="",
        failure={},
        retry_at=None,
        retries=F("retries") + 1 if by_itself else 0,
        **({} if queue else owner()),
    )
    if seen is None or not changed:
        raise OperationError(
            f"{operation_id} is {_status_of(operation_id)}, only a failed, cancelled or interrupted operation can be resumed"
        )
    return int(seen) + 1


def reap(operation: Operation) -> bool:
    """An operation of its starter's own process, which is gone → interrupted (failed, if it never began); whether it was so.

    On another host (a container that was made anew) the heartbeat tells.
    """
    if operation.queue or not operation.is_open or _has_process(operation):
        return False
    reason = f"its process {operation.process.partition('@')[0]} ended without a word"
    if operation.status == Status.PENDING:
        return fail(operation.pk, operation.attempt, reason)
    return stop(operation.pk, operation.attempt, Status.INTERRUPTED, reason)


def _has_process(operation: Operation) -> bool:
    if operation.host == socket.gethostname():
        return is_running(operation.process)
    beaten = operation.heartbeat or operation.created
    return (timezone.now() - beaten).total_seconds() < settings.ORPHAN_TIMEOUT_SECONDS


def owner() -> dict[str, str]:
    """This process, as the fields of an operation that it owns."""
    return {"host": socket.gethostname(), "process": this_process()}


def this_process() -> str:
    """This process as `pid@start`: a pid alone may be given to another process later."""
    return f"{os.getpid()}@{psutil.Process().create_time():.2f}"


def is_running(process: str) -> bool:
    pid, _, started = process.partition("@")
    try:
        alive = psutil.Process(int(pid))
        return f"{alive.create_time():.2f}" == started and alive.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True  # another user's process: it is there
    except (psutil.NoSuchProcess, ValueError):
        return False


def _change(operation_id: str, attempt: int, seen: tuple[Status, ...], new: Status, **fields: Any) -> bool:
    matching = Operation.objects.filter(pk=operation_id, attempt=attempt, status__in=seen)
    return matching.update(status=new, **fields) == 1


def _status_of(operation_id: str) -> str:
    return Operation.objects.filter(pk=operation_id).values_list("status", flat=True).first() or "not stored"
