"""Job benchmark: what reporting costs a training, how long a dispatch takes, how soon a cancel is noticed.

A home of its own in a temporary folder with its SQLite file, and the embedded Redis; nothing is simulated. Reporting
is measured as CPU time of the whole process, its threads counted: the same training in turns with and without.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BARS, EPOCHS, BATCH = 12_000, 10, 32
PAIRS, REPEATS = 5, 20
ROOT = Path(__file__).resolve().parent.parent


def run() -> dict[str, Any]:
    """All figures, from a process that is set up for a home of its own."""
    from training.workers import embedded_redis

    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder:  # short, for the socket
        redis = embedded_redis.start(Path(folder) / "redis", Path(folder) / "redis" / "redis.sock")
        try:
            done = subprocess.run([*_COMMAND, "measure"], cwd=ROOT, env=_environment(folder), stdout=subprocess.PIPE, check=True)
        finally:
            embedded_redis.stop(redis)
    return dict(json.loads(done.stdout))


_COMMAND = (sys.executable, "-m", "benchmarks.jobs")


def _environment(folder: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("KTRDR_") and name != "DATABASE_URL"}
    numba = os.environ.get("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    site = {"DJANGO_SETTINGS_MODULE": "ktrdr_site.settings", "KTRDR_HOME": folder, "REDIS_URL": "", "NUMBA_CACHE_DIR": numba}
    return own | site


def measure() -> dict[str, Any]:
    """The figures of this home."""
    import torch
    from django.core.management import call_command

    from training.bars.series import load_samples

    torch.set_num_threads(1)
    call_command("migrate", verbosity=0)
    load_samples()
    training = Training()
    return {"reporting": reporting(training), "dispatch": dispatch(training), "cancel": cancelling(training)}


class Training:
    """A training of the trainer benchmark's size on synthetic bars, prepared once, and operations to run it for."""

    def __init__(self) -> None:
        from benchmarks import pipeline
        from strategies_app.grammar.schema import StrategySpec
        from strategies_app.models import Strategy
        from training.pipeline.features import duration, resample
        from training.pipeline.frames import bar_times
        from training.pipeline.loading import RunBars
        from training.pipeline.prepare import prepare
        from training.pipeline.synthetic import make_bars

        plain = pipeline.strategy().plain()
        plain["model"]["architecture"] |= {"hidden_layers": [128, 64, 32], "dropout": 0.2}
        plain["training"] |= {"epochs": EPOCHS, "batch_size": BATCH}
        plain["training"]["early_stopping"]["enabled"] = False
        self.spec = StrategySpec.model_validate(plain)
        frame = make_bars(BARS, pipeline.BASE)
        times = bar_times(frame)
        frames = {pipeline.SYMBOL: {pipeline.BASE: frame, pipeline.HIGHER: resample(frame, pipeline.HIGHER)}}
        end = int(times[-1]) + duration(pipeline.BASE)
        bars = RunBars(frames, int(times[0]), end, {pipeline.SYMBOL: times}, {}, {}, {})
        self.prepared = prepare(self.spec, bars)
        self.ended = 0.0  # when the last one stood still, by the monotonic clock
        self.version = Strategy.objects.import_text(  # type: ignore[attr-defined]  # our manager
            (ROOT / "strategies_app" / "samples" / "minimal.yaml").read_text()
        )

    def fit(self, callback: Any) -> None:
        from training.trainer.loop import fit

        try:
            fit(self.prepared.dataset, self.prepared.splits, self.spec, callback)
        finally:
            self.ended = time.monotonic()

    def silent(self) -> None:
        from training.core.values import Silent

        self.fit(Silent())

    def reported(self, on_start: Callable[[str], None] = lambda operation_id: None) -> None:
        """As a worker does it: row, checkpoints, log, messages, pulse."""
        from django.conf import settings

        from training.jobs import checkpoints, lifecycle
        from training.jobs.broadcast import Publisher
        from training.jobs.logs import LogFile, log_path
        from training.jobs.progress import Progress
        from training.workers.monitoring import Pulse

        operation = lifecycle.start(self.version, self.spec.plain())
        schedule = checkpoints.Schedule(settings.CHECKPOINT_EPOCH_INTERVAL, settings.CHECKPOINT_TIME_INTERVAL_SECONDS)
        publisher = Publisher(operation.pk, 1)
        try:
            with LogFile(log_path(operation.pk, 1)) as log:
                progress = Progress(operation.pk, 1, schedule, (log, publisher))
                assert lifecycle.claim(operation.pk, 1)
                with Pulse(operation.pk, 1, progress.request_stop):
                    on_start(operation.pk)
                    self.fit(progress)
                assert lifecycle.finish(operation.pk, 1)
        finally:
            publisher.close("completed")


def reporting(training: Training) -> dict[str, Any]:
    """CPU seconds with the full callback over those without, in turns; either comes first as often."""
    training.silent()
    training.reported()
    pairs = []
    for number in range(PAIRS):
        if number % 2:
            full, bare = _cpu(training.reported), _cpu(training.silent)
        else:
            bare, full = _cpu(training.silent), _cpu(training.reported)
        pairs.append((bare, full))
    shares = [full / bare - 1 for bare, full in pairs]
    return {
        "share": statistics.median(shares),
        "share_range": [min(shares), max(shares)],
        "seconds": statistics.median(bare for bare, _ in pairs),
        "epochs": EPOCHS,
    }


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def dispatch(training: Training) -> dict[str, Any]:
    """Wall seconds of `start_training`. The worker is held once it is known, so that what it does is not measured."""
    from strategies_app.stored import find_strategy
    from training.access.audit import Actor
    from training.jobs.requests import cancel, start_training

    found = find_strategy(training.version.strategy.name)
    with _held_worker():
        start_training(found, {}, Actor())
        seconds, started = [], []
        for _ in range(REPEATS):
            began = time.perf_counter()
            operation, _new = start_training(found, {}, Actor())
            seconds.append(time.perf_counter() - began)
            started.append(operation)
        for operation in started:
            cancel(operation, Actor())
    return {"seconds": statistics.median(seconds), "worst_seconds": max(seconds), "repeats": REPEATS}


@contextlib.contextmanager
def _held_worker() -> Iterator[None]:
    from training.jobs import queues

    worker = subprocess.Popen([sys.executable, "manage.py", "worker", "--tag", "cpu"], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while not queues.live_workers("cpu"):
            assert worker.poll() is None, "the worker ended at once"
            time.sleep(0.05)
        worker.send_signal(signal.SIGSTOP)
        yield
    finally:
        worker.kill()
        worker.wait()


def cancelling(training: Training) -> dict[str, Any]:
    """Seconds from the request in another process until training stands still, at random moments of it."""
    from training.core.values import Cancelled

    other = subprocess.Popen([*_COMMAND, "cancel"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert other.stdin is not None and other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    seconds = []
    try:
        for _ in range(REPEATS):
            try:
                training.reported(lambda operation_id: print(operation_id, file=other.stdin))
                raise RuntimeError("the training ended before it was cancelled")
            except Cancelled:
                seconds.append(training.ended - float(other.stdout.readline()))
    finally:
        other.stdin.close()
        other.wait()
    ordered = sorted(seconds)
    return {"p95_seconds": ordered[int(0.95 * REPEATS) - 1], "median_seconds": statistics.median(ordered), "repeats": REPEATS}


def cancel_as_told() -> None:
    """Cancels each operation that is named on standard input, a moment later, and prints when it was asked (monotonic)."""
    from training.access.audit import Actor
    from training.jobs import lifecycle
    from training.jobs.requests import cancel

    moments = random.Random(0)
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        operation = lifecycle.find(line.strip())
        time.sleep(moments.uniform(0.3, 0.8))
        asked = time.monotonic()
        cancel(operation, Actor())
        print(asked, flush=True)


if __name__ == "__main__":
    role = sys.argv[1] if sys.argv[1:] else ""
    if not role:
        print(json.dumps(run(), indent=1))
    else:
        import django

        django.setup()
        if role == "measure":
            print(json.dumps(measure()))
        else:
            cancel_as_told()
