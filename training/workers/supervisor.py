"""The supervisor behind `up`: starts children, passes on what they say, restarts those that die; and which workers are listed.

One thread, which sleeps until a child speaks, a signal comes or something is due.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

import psutil
from django.conf import settings

from training.core.processes import end_in_words
from training.core.values import Refusal
from training.jobs import queues

#: A child that dies sooner than this is restarted after a growing pause.
STABLE_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: Everything stops within this; whoever has not by his share of it is killed.
STOP_SECONDS = 5.0
#: Shares of STOP_SECONDS for those of rank 0 (workers, who save), 1 (web), 2 (Redis).
STOP_SHARES = (0.7, 0.15, 0.1)
ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TURN_SECONDS = 0.5


@dataclass
class Child:
    """One process to keep alive. `rank`: those of rank 0 stop first."""

    name: str
    rank: int
    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    quick_deaths: int = 0
    due: float = 0.0


class Supervisor:
    """Use as `begin()`, then `run(tick)`, and `stop()` whatever happened."""

    def __init__(self, children: Sequence[Child], say: Callable[[str], None]) -> None:
        self.children, self.say = list(children), say
        self._selector = selectors.DefaultSelector()
        self._read, self._write = os.pipe()
        for descriptor in (self._read, self._write):
            os.set_blocking(descriptor, False)
        self._selector.register(self._read, selectors.EVENT_READ)
        self._unfinished: dict[int, bytes] = {}
        self._asked = 0

    def begin(self) -> None:
        """Take the signals, and start every child in order; what cannot be started at first is refused."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (*ASKED, signal.SIGCHLD):
            signal.signal(number, _woken)
        for child in self.children:
            self._start(child)

    def add(self, child: Child) -> None:
        """One more to keep alive, from now on."""
        self.children.append(child)
        self._start(child)

    def run(self, tick: Callable[[], None]) -> None:
        """Until a signal asks to stop; `tick` is called between."""
        while not self._asked:
            self._turn(TURN_SECONDS)
            self._restart_dead()
            tick()

    def stop(self) -> None:
        """Rank after rank: ask, wait, kill. A second request kills at once."""
        began, requests = time.monotonic(), self._asked
        share = 0.0
        for rank, part in enumerate(STOP_SHARES):
            share += part
            running = [c for c in self.children if c.rank == rank and _is_running(c)]
            for child in running:
                _process_of(child).terminate()
            while any(map(_is_running, running)):
                left = began + share * STOP_SECONDS - time.monotonic()
                if left <= 0 or self._asked > requests:
                    break
                self._turn(min(left, TURN_SECONDS))
            for child in filter(_is_running, running):
                self.say(f"{child.name} did not stop in time and is killed")
                _kill_family(_process_of(child))
        self._turn(0)

    # --- children ---

    def _start(self, child: Child) -> None:
        child.process, child.began = child.start(), time.monotonic()
        if child.process.stdout is not None:
            os.set_blocking(child.process.stdout.fileno(), False)
            self._selector.register(child.process.stdout, selectors.EVENT_READ, child.name)

    def _restart_dead(self) -> None:
        now = time.monotonic()
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._mourn(child, end_in_words(child.process.returncode), now)
            if child.process is None and now >= child.due:
                try:
                    self._start(child)
                except (OSError, Refusal) as error:
                    self._mourn(child, f"could not be started: {error}", now)

    def _mourn(self, child: Child, how: str, now: float) -> None:
        lived = now - child.began if child.process is not None else 0.0
        child.process = None
        child.quick_deaths = 1 if lived >= STABLE_SECONDS else child.quick_deaths + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (child.quick_deaths - 1))
        child.due = now + pause
        self.say(f"{child.name} {how}; it is started again in {pause:g} s")

    # --- what they say ---

    def _turn(self, seconds: float) -> None:
        """Sleep until something happens, at most so long, and pass on what was said."""
        for key, _ in self._selector.select(seconds):
            if key.fd == self._read:
                self._asked += sum(number in ASKED for number in os.read(self._read, 4096))
            else:
                self._pass_on(key)

    def _pass_on(self, key: selectors.SelectorKey) -> None:
        said = os.read(key.fd, 65536)
        *lines, rest = (self._unfinished.pop(key.fd, b"") + said).split(b"\n")
        if not said:
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
            lines, rest = ([rest] if rest else []), b""
        for line in lines:
            self.say(f"{key.data:8} {line.decode(errors='replace')}")
        if rest:
            self._unfinished[key.fd] = rest


def _woken(number: int, frame: FrameType | None) -> None:
    """The number arrives through the pipe of set_wakeup_fd."""


def _process_of(child: Child) -> subprocess.Popen[bytes]:
    assert child.process is not None
    return child.process


def _is_running(child: Child) -> bool:
    return child.process is not None and child.process.poll() is None


def _kill_family(process: subprocess.Popen[bytes]) -> None:
    """With the processes that it forked, which have groups of their own."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    process.wait()
    for member in family:
        if member.is_running():
            member.kill()


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
