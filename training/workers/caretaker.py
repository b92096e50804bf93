"""The caretaker of `up`: a thread that looks for orphans, removes what is old, resumes what was interrupted if told to."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

from django.conf import settings
from django.db import DatabaseError, connection
from redis.exceptions import RedisError

from training.access.audit import Actor
from training.jobs import checkpoints, homes, lifecycle, requests, uploads
from training.jobs.notices import mail_end
from training.jobs.queues import NoWorker
from training.models import LIVE, Operation, Status
from training.workers.reaper import Reaper
from training.workers.roll_call import RollCall

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
