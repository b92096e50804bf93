"""The supervisor behind `up`: starts children, passes on what they say, restarts those that die, stops them in order.

One thread, which sleeps until a child speaks, a signal comes or something is due.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

import psutil

from training.core.processes import end_in_words
from training.core.values import Refusal

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
