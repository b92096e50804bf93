"""The reaper: finds operations whose process, job or worker is gone, and puts them where they can go on.

It trusts no clock but its own: an operation is orphaned when its heartbeat has not changed for so long while the reaper
looked on, and could itself write. Several reapers may run; each change is one conditional UPDATE.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from training import operations, queues, requests
from training.failures import Moment, failure_of
from training.mails import mail_end
from training.models import LIVE, Operation, Status

#: A pending operation is left alone for so long: its job may be on the way.
PENDING_SECONDS = 15.0
#: Nobody is buried before the reaper got to write so often since the last beat: who lives would have got to it too.
WRITES = 3
#: (operation, attempt)
Key = tuple[str, int]


@dataclass(frozen=True)
class Seen:
    """What stands there, since when by the reaper's clock, and how often the reaper could write meanwhile."""

    what: object
    since: float
    writes: int = 0


class Reaper:
    """Call `look` every ORPHAN_CHECK_INTERVAL_SECONDS; it remembers what it saw before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._beats: dict[Key, Seen] = {}
        self._waiting: dict[Key, Seen] = {}

    def look(self) -> list[str]:
        """One pass; gives a sentence for everything that was changed."""
        return [*self._orphans(), *self._forgotten(), *retried()]

    def _orphans(self) -> list[str]:
        """running → interrupted, cancelling → cancelled, where nothing beats any more."""
        live = {(o.pk, o.attempt): o.heartbeat for o in Operation.objects.filter(status__in=LIVE)}
        began = self.clock()
        self._beats = _since(self._beats, live, began)
        silent = [key for key, seen in self._beats.items() if seen.since < began]
        if not silent:
            return []
        try:
            with transaction.atomic():  # nothing beats between what is read here and what is changed
                # A row that somebody holds is at work, or its holder is gone and the next look finds it.
                rows = list(
                    Operation.objects.select_for_update(skip_locked=True).filter(pk__in=[pk for pk, _ in silent]).order_by("pk")
                )
                self._beats |= {key: replace(self._beats[key], writes=self._beats[key].writes + 1) for key in silent}
                return [sentence for row in rows if (sentence := self._bury(row, began))]
        finally:  # while the reaper waited for the database nobody may have been able to beat: that was no silence
            waited = self.clock() - began
            self._beats = {key: replace(seen, since=seen.since + waited) for key, seen in self._beats.items()}

    def _bury(self, row: Operation, at: float) -> str | None:
        # Heartbeats are compared here: those of the database's own clock are other text in SQLite than the same as a value.
        seen = self._beats.get((row.pk, row.attempt))
        if seen is None or seen.what != row.heartbeat or seen.writes < WRITES:
            return None
        silence = at - seen.since
        after = Status.CANCELLED if row.status == Status.CANCELLING else Status.INTERRUPTED
        if silence < settings.ORPHAN_TIMEOUT_SECONDS:
            return None
        if not operations.stop(row.pk, row.attempt, after, operations.ORPHANED):
            return None
        transaction.on_commit(lambda: mail_end(row.pk))
        return f"{row.pk}: no sign of life for {silence:.0f} s"

    def _forgotten(self) -> Iterator[str]:
        """Pending operations whose job Redis lost, or that wait for a worker who is gone."""
        waiting = {(o.pk, o.attempt): o for o in Operation.objects.filter(status=Status.PENDING).exclude(queue="")}
        self._waiting = _since(self._waiting, dict.fromkeys(waiting), self.clock())
        overdue = [(key, self.clock() - self._waiting[key].since) for key in waiting]
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
        except (queues.RedisAway, queues.RedisFull):
            return
        except queues.NoWorker as error:
            failure = failure_of(error, Moment(kept=_kept_epoch(operation)))
            if seconds >= settings.WORKER_WAIT_SECONDS and pending.update(
                status=Status.FAILED, finished=timezone.now(), error=failure.cause, failure=failure.plain()
            ):
                queues.forget(operation.pk, operation.attempt)
                mail_end(operation.pk)
                yield f"{operation.pk}: no worker for {seconds:.0f} s, failed"
            return
        if queue == operation.queue:  # its worker has come this moment, or `up` is starting it
            return
        if pending.update(queue=queue):
            queues.forget(operation.pk, operation.attempt)
            queues.enqueue(operation.pk, operation.attempt, queue)
            yield f"{operation.pk}: no worker on {operation.queue}, moved to {queue}"


def retried() -> Iterator[str]:
    """Runs that failed of something passing go on as their next attempt, once their pause is over."""
    for operation in Operation.objects.filter(status=Status.FAILED, retry_at__lte=timezone.now()):
        again = {"allow_inexact": operation.allow_inexact, "by_itself": True}
        try:
            attempt = requests.resume(operation, requests.Actor(via="retry"), **again)
        except queues.NoWorker:
            return  # a later look finds them
        except operations.OperationError as refusal:
            if operations.drop_retry(operation.pk):
                mail_end(operation.pk)
                yield f"{operation.pk} is not tried again: {refusal}"
        else:
            yield f"{operation.pk} is tried again as attempt {attempt}, retry {operation.retries + 1} of {settings.RETRIES}"


def _kept_epoch(operation: Operation) -> int | None:
    newest = operation.checkpoints.first()
    return newest.epoch + 1 if newest else None


def _since(before: Mapping[Key, Seen], now: Mapping[Key, object], at: float) -> dict[Key, Seen]:
    """What is seen now, with what was known of it if it is still the same; what is gone is forgotten."""
    return {key: before[key] if key in before and before[key].what == what else Seen(what, at) for key, what in now.items()}
