"""The roll call of `up`: which of its workers are listed, and so get work; one that lives and is not listed is started anew."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence

import psutil
from django.conf import settings

from training.jobs import queues
from training.workers.supervisor import Child

#: A worker that was never listed may take so long to start: it imports torch from a slow disk.
STARTING_SECONDS = 180.0
#: One that was asked to end, and is frozen, is killed after so long.
FROZEN_SECONDS = 5.0


def listed_processes() -> set[int]:
    """Numbers of the processes on this machine that are listed as live workers. RedisAway, RedisFull."""
    queues.ping()
    with queues.told():
        workers = queues.live_workers()
    of_this_host = [w.environment for w in workers if w.environment.get("host") == socket.gethostname()]
    return {int(told["pid"]) for told in of_this_host if told.get("pid", "").isdigit()}


def worker_processes(children: Sequence[Child]) -> dict[int, Child]:
    """The workers among the children, by the number of their process."""
    return {child.process.pid: child for child in children if child.rank == 0 and child.process is not None}


class RollCall:
    """Call `look` every now and then; it remembers since when a worker is not listed."""

    def __init__(self, children: Sequence[Child], clock: Callable[[], float] = time.monotonic) -> None:
        self.children, self.clock = children, clock
        self._absent: dict[int, float] = {}
        self._known: set[int] = set()
        self._asked: dict[int, float] = {}

    def look(self) -> Iterator[str]:
        """Ends idle workers that have been absent for too long, of which `up` starts others; gives a sentence for each."""
        workers, now = worker_processes(self.children), self.clock()
        try:
            listed = listed_processes()
        except queues.NoWorker:  # while Redis is away or full nobody can be listed
            self._absent.clear()
            return
        self._known = (self._known | listed) & set(workers)
        self._absent = {pid: self._absent.get(pid, now) for pid in workers if pid not in listed}
        self._asked = {pid: since for pid, since in self._asked.items() if pid in self._absent}
        for pid, since in self._absent.items():
            allowed = settings.ORPHAN_TIMEOUT_SECONDS if pid in self._known else STARTING_SECONDS
            if now - since >= allowed and _is_idle(pid):
                yield from self._end(pid, workers[pid], now)

    def _end(self, pid: int, child: Child, now: float) -> Iterator[str]:
        if child.process is None or child.process.pid != pid:
            return
        if pid not in self._asked:
            self._asked[pid] = now
            child.process.terminate()
            yield f"{child.name} lives but is not listed as a worker, and is started anew"
        elif now - self._asked[pid] >= FROZEN_SECONDS:
            child.process.kill()
            yield f"{child.name} does not end by itself and is killed"


def _is_idle(pid: int) -> bool:
    """Whether the worker has no process at work, whose training would be cut short."""
    try:
        return not psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return False
