"""`python -m tests.campaigns.faults N`: does N things to a running system at random moments and looks what is lost. `make faults N=100`.

The home lies in a path with a space and an equals sign. Each run trains for some twenty seconds with at least five
checkpoints; at an epoch drawn from a printed seed one thing happens: the process that trains, its worker, Redis or the
web server is killed, worker and training are frozen, Redis is emptied or full, the folders of checkpoints and bundles
are away, or the newest checkpoint cannot be read. The run is resumed until it completes; its weights are compared byte
for byte with those of an undisturbed run, and its history must have every epoch.
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
from typing import Any

import psutil

from tests.campaigns import fault_kinds
from tests.campaigns.fault_kinds import Missed
from tests.examples.homes import ROOT, Home, made_home, operation_in

#: Epochs, rows of a batch, and epochs between two checkpoints: some twenty seconds, or with --short some five.
LONG, SHORT = (160, 4, 20), (40, 16, 5)
FAULTS = ("training", "worker", "redis", "web", "frozen", "emptied", "full", "unmounted", "unreachable", "training")
SETTINGS = {
    "ORPHAN_TIMEOUT_SECONDS": 10,
    "ORPHAN_CHECK_INTERVAL_SECONDS": 1,
    "HEARTBEAT_SECONDS": 0.5,
}
#: Longer than this in one state and one epoch is stuck.
PATIENCE_SECONDS = 240.0


OUTCOMES = ("lost", "damaged", "stuck", "different", "missing")


@dataclass
class Tally:
    """What became of the runs."""

    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    lost: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def failures(self) -> int:
        return sum(len(getattr(self, name)) for name in OUTCOMES)


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

    def __init__(self, folder: Path, size: tuple[int, int, int]) -> None:
        self.home: Home = made_home(folder)
        self.epochs, batch, interval = size
        done = self.home.run("train", self.home.strategy("undisturbed", self.epochs, batch), "--inline")
        assert done.returncode == 0, done.stdout + done.stderr
        self.undisturbed = self.home.weights(operation_in(done.stdout))
        self.text = Path(self.home.strategy("disturbed", self.epochs, batch)).read_text()
        chosen = self.home.environment(**SETTINGS, CHECKPOINT_EPOCH_INTERVAL=interval)
        for name, value in {**chosen, "DJANGO_SETTINGS_MODULE": "ktrdr_site.settings"}.items():
            os.environ[name] = value
        # Tests have a Redis of their own; this system is the embedded one's.
        os.environ.pop("REDIS_URL", None)
        self.log = (folder.parent / "up.log").open("w")
        command = [sys.executable, "-u", "manage.py", "up", "--cpu", "2", "--gpu", "0", "--port", "0"]
        self.up = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=self.log, stderr=subprocess.STDOUT)
        import django

        django.setup()

    def ready(self) -> None:
        from training.jobs import queues

        def two_workers() -> bool:
            assert self.up.poll() is None, "up ended by itself"
            try:
                return len(queues.live_workers("cpu")) >= 2
            except OSError:
                return False
            except Exception as error:  # noqa: BLE001 - redis raises its own kinds while it starts
                return type(error).__module__.startswith("redis") and False

        wait("two workers are up", two_workers, 240)

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
    number: int,
    fault: str,
    system: System,
    moments: random.Random,
    tally: Tally,
    lock: threading.Lock,
) -> None:
    """Start, disturb, resume until complete, compare."""
    from django.db import connection

    from strategies_app.stored import FoundStrategy
    from training.access.audit import Actor
    from training.jobs import requests
    from training.models import Operation

    epoch, inside = moments.randrange(-1, system.epochs * 7 // 8), moments.uniform(0.0, 0.5)
    operation, _ = _patiently(lambda: requests.start_training(FoundStrategy(system.text, "", None), {}, Actor()))
    label = f"run {number} ({operation.pk}, {fault} after epoch {epoch + 1})"

    def row() -> Operation:
        return Operation.objects.get(pk=operation.pk)

    try:
        wait(f"{label}: training", lambda: row().status == "running")
        wait(
            f"{label}: its moment",
            lambda: epoch < 0 or (row().epoch or 0) >= epoch or row().status != "running",
            moves=lambda: (row().status, row().attempt, row().epoch),
        )
        time.sleep(inside)
        done = _disturb(fault, row, system, moments)
        with lock:
            tally.faults[fault if done else "too late"] += 1
        _finish(label, row, tally, lock)
        _compare(label, row(), system, tally, lock)
    except AssertionError as problem:
        with lock:
            tally.lost.append(f"{label}: {problem}")
    except Stuck as stuck:
        with lock:
            tally.stuck.append(str(stuck))
    finally:
        with lock:
            tally.runs += 1
            verdict = "different weights" if label in tally.different else "equal weights"
            print(f"{label}: {row().status}, attempt {row().attempt}, {verdict}", flush=True)
        connection.close()


def _disturb(fault: str, row: Callable[[], Any], system: System, moments: random.Random) -> bool:
    """Do it, and undo what passes by itself; whether the run was at work then."""
    operation = row()
    if operation.status != "running":
        return False
    home = system.home.folder
    try:
        match fault:
            case "training":
                fault_kinds.kill(fault_kinds.horse_of(operation))
            case "worker":
                fault_kinds.kill(fault_kinds.worker_of(operation))
            case "redis":
                fault_kinds.kill(next(iter(system.pids("unixsocket")), 0))
            case "web":
                fault_kinds.kill(next(iter(system.pids("daphne")), 0))
            case "frozen":
                fault_kinds.freeze(operation, moments)
            case "emptied":
                fault_kinds.empty_redis()
            case "full":
                fault_kinds.fill_redis()
            case "unmounted":
                fault_kinds.unmount(home, moments)
            case "unreachable":
                _resume_without_checkpoint(row, system)
    except Missed:
        return False
    return True


def _resume_without_checkpoint(row: Callable[[], Any], system: System) -> None:
    """Killed, and resumed in a moment in which its newest checkpoint cannot be read: refused, and nothing is removed."""
    from training.access.audit import Actor
    from training.jobs import requests

    fault_kinds.kill(fault_kinds.horse_of(row()))
    wait("the end of what was killed", lambda: row().status != "running")
    if row().status != "interrupted":
        raise Missed
    with fault_kinds.unreachable(system.home.folder, row().pk):
        before = set(row().checkpoints.values_list("folder", flat=True))
        _patiently(lambda: requests.resume(row(), Actor()))
        wait("an attempt without its checkpoint", lambda: row().status not in ("pending", "running"))
        assert row().status in ("failed", "interrupted"), f"it is {row().status} without its checkpoint"
        assert before <= set(row().checkpoints.values_list("folder", flat=True)), "the row of a checkpoint was removed"


def _finish(label: str, row: Callable[[], object], tally: Tally, lock: threading.Lock) -> None:

    from training.access.audit import Actor
    from training.jobs import lifecycle, requests

    for _ in range(5):
        # On a slow machine a run takes long; it is stuck when its epochs stand still.
        wait(
            f"{label}: an end",
            lambda: row().status not in ("pending", "running", "cancelling"),  # type: ignore[attr-defined]
            moves=lambda: (row().status, row().attempt, row().epoch),  # type: ignore[attr-defined]
        )
        if row().status == "completed":  # type: ignore[attr-defined]
            return
        try:
            _patiently(lambda: requests.resume(row(), Actor()))  # type: ignore[arg-type]
        except lifecycle.OperationError:
            if row().status not in ("running", "completed"):  # type: ignore[attr-defined]
                raise
            continue  # what was frozen woke up, and took itself back
        with lock:
            tally.resumed += 1
    raise Stuck(f"{label}: five resumes did not complete it")


def _patiently(verb: Callable[[], object]):  # type: ignore[no-untyped-def]
    """A dead worker or Redis is started again within seconds: ask until somebody is there."""
    from redis.exceptions import RedisError

    from training.jobs.queues import NoWorker

    until = time.monotonic() + 60
    while True:
        try:
            return verb()
        except (NoWorker, RedisError) as error:
            if time.monotonic() > until:
                raise Stuck(f"no worker for a minute: {error}") from error
            time.sleep(0.2)


def _compare(label: str, operation: object, system: System, tally: Tally, lock: threading.Lock) -> None:
    from training.jobs.status import replaced

    try:
        weights = system.home.weights(operation.pk)  # type: ignore[attr-defined]
    except (OSError, ValueError) as error:
        with lock:
            tally.lost.append(f"{label}: {error}")
        return
    with lock:
        if weights != system.undisturbed:
            tally.different.append(label)
        if any("is damaged" in note for note in operation.notes):  # type: ignore[attr-defined]
            tally.damaged.append(label)
        gone, rows = replaced(operation), operation.epoch_metrics.values_list("pk", "epoch")  # type: ignore[arg-type, attr-defined]
        told = [epoch["epoch"] for epoch in operation.trained_model.metrics["history"]]  # type: ignore[attr-defined]
        recorded = sorted(epoch for key, epoch in rows if key not in gone)
        if not recorded == told == list(range(system.epochs)):
            counts = [system.epochs - len(set(found)) for found in (recorded, told)]
            tally.missing.append(f"{label}: {counts[0]} in the table, {counts[1]} in the model")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--short", action="store_true", help="runs of a quarter of the length")
    parser.add_argument("--at-once", type=int, default=2)
    options = parser.parse_args()
    print(f"{options.count} faults, seed {options.seed}{', short runs' if options.short else ''}", flush=True)
    tally, lock = Tally(), threading.Lock()
    with tempfile.TemporaryDirectory(prefix="ktrdr-faults-", ignore_cleanup_errors=True) as folder:
        system = System(Path(folder) / "a home = of mine", SHORT if options.short else LONG)
        try:
            system.ready()
            seeds = random.Random(options.seed)
            drawn = [random.Random(seeds.random()) for _ in range(options.count)]
            faults = [fault for _ in range(-(-options.count // len(FAULTS))) for fault in seeds.sample(FAULTS, len(FAULTS))]
            with ThreadPoolExecutor(options.at_once) as pool:
                tasks = [
                    pool.submit(one_run, number, faults[number], system, moments, tally, lock)
                    for number, moments in enumerate(drawn)
                ]
                for task in tasks:
                    task.result()
        finally:
            system.stop()
    faults = ", ".join(f"{n} {fault}" for fault, n in sorted(tally.faults.items()))
    print(f"{tally.runs} runs; {faults}; {tally.resumed} resumed")
    for name in OUTCOMES:
        found = getattr(tally, name)
        print(f"{len(found)} {name}" + "".join(f"\n  {what}" for what in found))
    return 1 if tally.failures() or tally.runs != options.count else 0


if __name__ == "__main__":
    sys.exit(main())
