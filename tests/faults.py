"""`python -m tests.faults N`: kills processes of a running system at random moments and looks what is lost. `make faults N=100`.

Each run trains for some twenty seconds with at least five checkpoints; at a moment drawn from a
printed seed one process is killed with SIGKILL: the one that trains, its worker, Redis, or the web
server. The run is resumed until it completes, and its weights are compared byte for byte with those
of an undisturbed run.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.homes import ROOT, Home, made_home, operation_in

EPOCHS, BATCH = 160, 4
VICTIMS = ("training", "training", "worker", "redis", "web")
SETTINGS = {
    "ORPHAN_TIMEOUT_SECONDS": 3,
    "ORPHAN_CHECK_INTERVAL_SECONDS": 1,
    "CHECKPOINT_EPOCH_INTERVAL": 20,
    "HEARTBEAT_SECONDS": 0.5,
}
#: Longer than this in one state and one epoch is stuck.
PATIENCE_SECONDS = 120.0


@dataclass
class Tally:
    """What became of the runs."""

    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    lost: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    def faults(self) -> int:
        return len(self.lost) + len(self.damaged) + len(self.stuck) + len(self.different)


class Stuck(Exception):
    """A state did not change for too long."""


def wait(
    what: str, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS, moves: Callable[[], object] = lambda: None
) -> None:
    """Until the condition holds; Stuck after so many seconds in which `moves` stayed the same."""
    until, seen = time.monotonic() + seconds, moves()
    while not condition():
        if (now := moves()) != seen:
            until, seen = time.monotonic() + seconds, now
        if time.monotonic() > until:
            raise Stuck(what)
        time.sleep(0.05)


class System:
    """A running `up` with two cpu workers in a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.home: Home = made_home(folder)
        for name, value in {**self.home.environment(**SETTINGS), "DJANGO_SETTINGS_MODULE": "ktrdr_site.settings"}.items():
            os.environ[name] = value
        # Tests have a Redis of their own; this system is the embedded one's.
        os.environ.pop("REDIS_URL", None)
        self.log = (folder / "up.log").open("w")
        command = [sys.executable, "-u", "manage.py", "up", "--cpu", "2", "--gpu", "0", "--port", "0"]
        self.up = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=self.log, stderr=subprocess.STDOUT)
        import django

        django.setup()

    def ready(self) -> None:
        from training import queues

        def two_workers() -> bool:
            assert self.up.poll() is None, "up ended by itself"
            try:
                return len(queues.live_workers("cpu")) >= 2
            except OSError:
                return False
            except Exception as error:  # noqa: BLE001 - redis raises its own kinds while it starts
                return type(error).__module__.startswith("redis") and False

        wait("two workers are up", two_workers, 60)

    def pids(self, word: str) -> list[int]:
        """Processes below `up` whose command line holds the word."""
        children = psutil.Process(self.up.pid).children(recursive=True)
        return [child.pid for child in children if word in " ".join(_command_line(child))]

    def stop(self) -> None:
        self.up.terminate()
        self.up.wait(30)
        self.log.close()


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def one_run(
    number: int, system: System, text: str, expected: bytes, moments: random.Random, tally: Tally, lock: threading.Lock
) -> None:
    """Start, kill, resume until complete, compare."""
    from django.db import connection

    from strategies_app.stored import FoundStrategy
    from training import requests
    from training.models import Operation

    victim, moment = moments.choice(VICTIMS), moments.uniform(0.2, 18.0)
    operation, _ = _patiently(lambda: requests.start_training(FoundStrategy(text, "", None), {}, requests.Actor()))
    label = f"run {number} ({operation.pk}, {victim} at {moment:.1f} s)"

    def row() -> Operation:
        return Operation.objects.get(pk=operation.pk)

    try:
        wait(f"{label}: training", lambda: row().status == "running")
        until = time.monotonic() + moment
        wait(f"{label}: its moment", lambda: time.monotonic() >= until or row().status == "completed", moment + 5)
        killed = row().status == "running" and _kill(victim, row(), system)
        with lock:
            tally.kills[victim if killed else "too late"] += 1
        _finish(label, row, tally, lock)
        _compare(label, row(), system, expected, tally, lock)
    except Stuck as stuck:
        with lock:
            tally.stuck.append(str(stuck))
    finally:
        with lock:
            tally.runs += 1
            verdict = "different weights" if label in tally.different else "equal weights"
            print(f"{label}: {row().status}, attempt {row().attempt}, {verdict}", flush=True)
        connection.close()


def _kill(victim: str, operation: object, system: System) -> bool:
    """SIGKILL to a process that is proven alive; whether it was."""
    horse = int(operation.process.partition("@")[0])  # type: ignore[attr-defined]
    try:
        pid = {
            "training": lambda: horse,
            "worker": lambda: psutil.Process(horse).ppid(),
            "redis": lambda: system.pids("redis.sock")[0],
            "web": lambda: system.pids("daphne")[0],
        }[victim]()
        target = psutil.Process(pid)
        assert target.is_running() and target.status() != psutil.STATUS_ZOMBIE
        target.kill()
    except (psutil.NoSuchProcess, IndexError):
        return False
    return True


def _finish(label: str, row: Callable[[], object], tally: Tally, lock: threading.Lock) -> None:
    from training import requests

    for _ in range(5):
        # On a slow machine a run takes long; it is stuck when its epochs stand still.
        wait(
            f"{label}: an end",
            lambda: row().status not in ("pending", "running", "cancelling"),  # type: ignore[attr-defined]
            moves=lambda: (row().status, row().attempt, row().epoch),  # type: ignore[attr-defined]
        )
        if row().status == "completed":  # type: ignore[attr-defined]
            return
        with lock:
            tally.resumed += 1
        _patiently(lambda: requests.resume(row(), requests.Actor()))  # type: ignore[arg-type]
    raise Stuck(f"{label}: five resumes did not complete it")


def _patiently(verb: Callable[[], object]):  # type: ignore[no-untyped-def]
    """A dead worker or Redis is started again within seconds: ask until somebody is there."""
    from redis.exceptions import RedisError

    from training.queues import NoWorker

    until = time.monotonic() + 60
    while True:
        try:
            return verb()
        except (NoWorker, RedisError) as error:
            if time.monotonic() > until:
                raise Stuck(f"no worker for a minute: {error}") from error
            time.sleep(0.2)


def _compare(label: str, operation: object, system: System, expected: bytes, tally: Tally, lock: threading.Lock) -> None:
    try:
        weights = system.home.weights(operation.pk)  # type: ignore[attr-defined]
    except (OSError, ValueError) as error:
        with lock:
            tally.lost.append(f"{label}: {error}")
        return
    with lock:
        if weights != expected:
            tally.different.append(label)
        if any("is damaged" in note for note in operation.notes):  # type: ignore[attr-defined]
            tally.damaged.append(label)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--at-once", type=int, default=2)
    options = parser.parse_args()
    print(f"{options.count} kills, seed {options.seed}", flush=True)
    tally, lock = Tally(), threading.Lock()
    with tempfile.TemporaryDirectory(prefix="ktrdr-faults-", ignore_cleanup_errors=True) as folder:
        system = System(Path(folder))
        try:
            done = system.home.run("train", system.home.strategy("undisturbed", EPOCHS, BATCH), "--inline")
            expected = system.home.weights(operation_in(done.stdout))
            text = Path(system.home.strategy("disturbed", EPOCHS, BATCH)).read_text()
            system.ready()
            seeds = random.Random(options.seed)
            moments = [random.Random(seeds.random()) for _ in range(options.count)]
            with ThreadPoolExecutor(options.at_once) as pool:
                tasks = [pool.submit(one_run, i, system, text, expected, m, tally, lock) for i, m in enumerate(moments)]
                for task in tasks:
                    task.result()
        finally:
            system.stop()
    kills = ", ".join(f"{n} {victim}" for victim, n in sorted(tally.kills.items()))
    print(f"{tally.runs} runs; killed: {kills}; {tally.resumed} resumed")
    for name in ("lost", "damaged", "stuck", "different"):
        found = getattr(tally, name)
        print(f"{len(found)} {name}" + "".join(f"\n  {what}" for what in found))
    return 1 if tally.faults() or tally.runs != options.count else 0


if __name__ == "__main__":
    sys.exit(main())
