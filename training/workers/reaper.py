"""The reaper finds operations whose process, job or worker is gone; the caretaker of `up` removes, resumes and tries again.

It trusts no clock but its own: an operation is orphaned when its heartbeat has not changed for so long while the reaper
looked on, and could itself write. Several reapers may run; each change is one conditional UPDATE.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from redis.exceptions import RedisError

from training.access.audit import Actor
from training.jobs import checkpoints, homes, lifecycle, queues, requests, uploads
from training.jobs.failures import Moment, failure_of
from training.jobs.notices import mail_end
from training.jobs.queues import NoWorker
from training.models import LIVE, Operation, Status
from training.workers.supervisor import RollCall

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
        if not lifecycle.stop(row.pk, row.attempt, after, lifecycle.ORPHANED):
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
            attempt = requests.resume(operation, Actor(via="retry"), **again)
        except queues.NoWorker:
            return  # a later look finds them
        except lifecycle.OperationError as refusal:
            if lifecycle.drop_retry(operation.pk):
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


DAY_SECONDS = 86400.0


class Caretaker(threading.Thread):
    """Start it once the database is set up; `end` lets it go."""

    def __init__(self, say: Callable[[str], None], roll_call: RollCall, *, resume: bool) -> None:
        super().__init__(name="caretaker", daemon=True)
        self.say, self.roll_call, self.resume = say, roll_call, resume
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        reaper, pruned, folders = Reaper(), -DAY_SECONDS, dict[str, str]()
        while True:
            try:
                for sentence in (*reaper.look(), *self.roll_call.look()):
                    self.say(sentence)
                now = homes.states()
                for name in [name for name in now if now[name] != folders.get(name, "ok")]:
                    self.say(f"the folder of {name} is back" if now[name] == "ok" else now[name])
                folders = now
                if self.resume:
                    for sentence in resume_interrupted():
                        self.say(sentence)
                if time.monotonic() - pruned >= DAY_SECONDS:
                    pruned = time.monotonic()
                    if number := checkpoints.prune(settings.CHECKPOINT_MAX_AGE_DAYS):
                        self.say(f"{number} old checkpoints were removed")
                    uploads.sweep()
            except (DatabaseError, RedisError, NoWorker, OSError) as error:
                self.say(f"could not look after the trainings, will try again: {error}")
            finally:
                connection.close()  # each thread has a connection of its own
            if self._ended.wait(settings.ORPHAN_CHECK_INTERVAL_SECONDS):
                return


def bury_dead() -> list[str]:
    """Live operations whose process on this host is gone → interrupted or cancelled, without waiting for their heartbeat.

    Should one live after all, in another container of the same name, its next write matches no row and it ends.
    """
    buried = []
    for operation in Operation.objects.filter(status__in=LIVE, host=socket.gethostname()):
        if not lifecycle.is_running(operation.process):
            after = Status.CANCELLED if operation.status == Status.CANCELLING else Status.INTERRUPTED
            if lifecycle.stop(operation.pk, operation.attempt, after, "its process ended without a word"):
                mail_end(operation.pk)
                buried.append(operation.pk)
    return buried


def resume_interrupted() -> Iterator[str]:
    """Interrupted operations of workers go on; one whose last attempt came no further is left to a person."""
    for operation in Operation.objects.filter(status=Status.INTERRUPTED).exclude(queue=""):
        if operation.attempt > 1 and not operation.epoch_metrics.filter(attempt=operation.attempt).exists():
            continue
        try:
            attempt = requests.resume(operation, Actor(via="up"))
        except NoWorker:
            return  # the workers are just starting, the next look finds them
        except lifecycle.OperationError:
            continue  # somebody else resumed it meanwhile
        yield f"{operation.pk} is resumed as attempt {attempt}"
