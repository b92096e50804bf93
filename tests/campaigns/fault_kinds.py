"""The faults of the campaign: what is done to a running system, and undone, while a training is at work."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

#: Freezes: longer than the reaper waits for a sign of life, and longer than RQ does.
FREEZES = (15.0, 50.0)
AWAY_SECONDS, FULL_SECONDS = 6.0, 8.0
#: Two runs at once must not take the same folder away.
_folders = threading.Lock()


class Missed(Exception):
    """The moment was too late, or the process is not there: nothing was done."""


def kill(pid: int) -> None:
    """SIGKILL to a process that is proven alive."""
    try:
        target = psutil.Process(pid)
        if target.status() == psutil.STATUS_ZOMBIE:
            raise Missed
        target.kill()
    except psutil.NoSuchProcess:
        raise Missed from None


def horse_of(operation: Any) -> int:
    """The process that trains."""
    return int(operation.process.partition("@")[0])


def worker_of(operation: Any) -> int:
    try:
        return psutil.Process(horse_of(operation)).ppid()
    except psutil.NoSuchProcess:
        raise Missed from None


def freeze(operation: Any, moments: random.Random) -> None:
    """The worker and what it trains stand still, as on a laptop that sleeps; others take the training for lost meanwhile."""
    pids = [worker_of(operation), horse_of(operation)]
    stopped = []
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        time.sleep(moments.choice(FREEZES))
    except ProcessLookupError:
        raise Missed from None
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def empty_redis() -> None:
    _redis().flushall()


def fill_redis() -> None:
    """No write is taken for a while."""
    redis = _redis()
    redis.config_set("maxmemory", 1)
    time.sleep(FULL_SECONDS)
    redis.config_set("maxmemory", 0)


def unmount(home: Path, moments: random.Random) -> None:
    """An empty folder in the place of checkpoints, bundles or both; AssertionError if anything was written into it."""
    names = moments.choice((("checkpoints",), ("bundles",), ("checkpoints", "bundles")))
    with _folders:
        for name in names:
            (home / name).rename(home / f"{name}.away")
            (home / name).mkdir()
        time.sleep(AWAY_SECONDS)
        for name in names:
            (home / name).rename(home / f"{name}.empty")
            (home / f"{name}.away").rename(home / name)
        swallowed = [str(path) for name in names for path in (home / f"{name}.empty").rglob("*")]
        for name in names:
            if not any(Path(path).is_relative_to(home / f"{name}.empty") for path in swallowed):
                (home / f"{name}.empty").rmdir()
    assert not swallowed, f"written where nothing was mounted: {swallowed}"


@contextmanager
def unreachable(home: Path, operation: str) -> Iterator[None]:
    """Inside, a file of the newest checkpoint cannot be read; afterwards it can, and must be there as it was."""
    with _folders:
        found = sorted((home / "checkpoints" / operation).glob("*/epoch_*"), key=lambda p: (int(p.parent.name), p.name))
        if not found:
            raise Missed
        file, aside = found[-1] / "model.safetensors", home / f"{operation}.aside"
        file.rename(aside)
        file.mkdir()
        try:
            yield
        finally:
            file.rmdir()
            aside.rename(file)


def _redis() -> Any:
    import django_rq

    return django_rq.get_connection("cpu")
