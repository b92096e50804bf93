"""Processes: children that do not outlive the one that started them, locks that end with their owner, ends in words."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from training.core.values import Refusal

PR_SET_PDEATHSIG = 1
# Looked up before any fork: between fork and exec nothing may be imported.
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


class Occupied(Refusal):
    """Another process holds the lock: one sentence with its number."""


def die_with(parent: int, number: int = signal.SIGTERM) -> None:
    """Have the system send this process a signal once `parent` is gone, at once if it is gone already; Linux only."""
    if _prctl is None:
        return
    _prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def dying_with_parent(number: int = signal.SIGTERM) -> Callable[[], None]:
    """For Popen's preexec_fn. Start such a child from the main thread: the system means the thread that forked."""
    parent = os.getpid()
    return lambda: die_with(parent, number)


def take_lock(path: Path, sentence: str, patience: float = 0.0) -> int:
    """The descriptor of a lock that ends when it and every inherited copy is closed.

    Occupied, `sentence` with its {pid} filled in, if another holds it for longer than `patience` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # less the umask
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            pid = os.pread(descriptor, 32, 0).decode() or "unknown"
            os.close(descriptor)
            raise Occupied(sentence.replace("{pid}", pid)) from None
        note_owner(descriptor, os.getpid())
        return descriptor


def note_owner(descriptor: int, pid: int) -> None:
    """Write whose lock it is into the lock file, for the sentence that the next one reads."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(pid).encode(), 0)


def end_in_words(code: int) -> str:
    """How a process ended, from its return code (negative: a signal, as Popen gives it)."""
    if code == -signal.SIGKILL:
        return "was killed from outside (signal 9): by hand, or by the system for want of memory"
    if code < 0:
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, Ctrl-C waits: what belongs together is written together."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt
