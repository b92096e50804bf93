"""The reaper: finds operations whose process, job or worker is gone, and puts them where they can go on.

It trusts no clock but its own: an operation is orphaned when its heartbeat has not changed for so
long while the reaper looked on. Several reapers may run; each change is one conditional UPDATE.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone

from training import queues
from training.models import LIVE, Operation, Status

#: A pending operation is left alone for so long: its job may be on the way.
PENDING_SECONDS = 15.0
#: A transaction that begins only after so long waited for another one's end (SQLite has one writer at a time).
BUSY_SECONDS = 0.5


class Reaper:
    """Call `look` every ORPHAN_CHECK_INTERVAL_SECONDS; it remembers what it saw before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        #: (operation, attempt) → what was seen, and since when it has been so.
        self._beats: dict[tuple[str, int], tuple[object, float]] = {}
        self._waiting: dict[tuple[str, int], tuple[object, float]] = {}

    def look(self) -> list[str]:
        """One pass; gives a sentence for everything that was changed."""
        try:
            return [*self._orphans(), *self._forgotten()]
        except DatabaseError:
            self._beats.clear()  # who could not write here could not beat there
            raise

    def _orphans(self) -> Iterator[str]:
        live = {(o.pk, o.attempt): o for o in Operation.objects.filter(status__in=LIVE)}
        self._beats = _since(self._beats, {key: o.heartbeat for key, o in live.items()}, self.clock())
        for key, operation in live.items():
            silent = self.clock() - self._beats.get(key, (None, self.clock()))[1]
            if silent >= settings.ORPHAN_TIMEOUT_SECONDS and self._bury(operation):
                yield f"{operation.pk}: no sign of life for {silent:.0f} s"

    def _bury(self, operation: Operation) -> bool:
        """running → interrupted, cancelling → cancelled, if it has still not beaten, and could have."""
        after = Status.CANCELLED if operation.status == Status.CANCELLING else Status.INTERRUPTED
        same = Operation.objects.filter(
            pk=operation.pk, attempt=operation.attempt, status=operation.status, heartbeat=operation.heartbeat
        )
        reason = "its process gave no sign of life any more"
        asked = self.clock()
        with transaction.atomic():
            if self.clock() - asked > BUSY_SECONDS:  # whoever lives could not write either: it gets its time anew
                self._beats.clear()
                return False
            return same.update(status=after, finished=timezone.now(), error=reason) == 1

    def _forgotten(self) -> Iterator[str]:
        """Pending operations whose job Redis lost, or that wait for a worker who is gone."""
        waiting = {(o.pk, o.attempt): o for o in Operation.objects.filter(status=Status.PENDING).exclude(queue="")}
        self._waiting = _since(self._waiting, dict.fromkeys(waiting), self.clock())
        overdue = [(key, self.clock() - self._waiting[key][1]) for key in waiting]
        overdue = [(key, seconds) for key, seconds in overdue if seconds >= min(PENDING_SECONDS, settings.ORPHAN_TIMEOUT_SECONDS)]
        if not overdue:
            return
        try:
            queues.ping()
        except queues.NoWorker:
            return  # nothing can be told of Redis while it does not answer; it keeps its jobs on disk
        tags = {worker.queue for worker in queues.live_workers()}
        for key, seconds in overdue:
            operation = waiting[key]
            if operation.queue not in tags:
                yield from self._reroute(operation, seconds)
            elif not queues.is_known(*key):
                queues.enqueue(*key, operation.queue)
                yield f"{operation.pk}: its job was lost and is queued again"

    def _reroute(self, operation: Operation, seconds: float) -> Iterator[str]:
        pending = Operation.objects.filter(
            pk=operation.pk, attempt=operation.attempt, status=Status.PENDING, queue=operation.queue
        )
        try:
            queue = queues.choose_queue()
        except queues.NoWorker as error:
            if seconds >= settings.ORPHAN_TIMEOUT_SECONDS and pending.update(
                status=Status.FAILED, finished=timezone.now(), error=str(error)
            ):
                queues.forget(operation.pk, operation.attempt)
                yield f"{operation.pk}: no worker for {seconds:.0f} s, failed"
            return
        if pending.update(queue=queue):
            queues.forget(operation.pk, operation.attempt)
            queues.enqueue(operation.pk, operation.attempt, queue)
            yield f"{operation.pk}: no worker on {operation.queue}, moved to {queue}"


def _since(
    before: dict[tuple[str, int], tuple[object, float]], now: dict[tuple[str, int], object], at: float
) -> dict[tuple[str, int], tuple[object, float]]:
    """What is seen now with the time since when it has been the same; what is gone is forgotten."""
    return {key: before[key] if key in before and before[key][0] == seen else (seen, at) for key, seen in now.items()}
