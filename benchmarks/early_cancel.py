"""Early cancels: a training of a million bars on a worker, cancelled at random moments before its first epoch.

`python -m benchmarks.early_cancel N` asks for N of them and prints, by the stage that was under way, the seconds from
the request to the row that says *cancelled*. Everything is real: a home, its SQLite file, Redis, a forked training.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BARS, LONGEST_WAIT = 1_000_000, 6.0
POLL_SECONDS = 0.005


def main(count: int) -> None:
    """All figures, in a home of its own."""
    from training.workers import embedded_redis

    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "ktrdr_site.settings", "KTRDR_HOME": folder, "REDIS_URL": "",
            "KTRDR_CACHE_LIMIT_BYTES": "0",
        }  # fmt: skip
        os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
        redis = embedded_redis.start(Path(folder) / "redis", Path(folder) / "redis" / "redis.sock")
        import django

        django.setup()
        _prepare()
        worker = subprocess.Popen([sys.executable, "manage.py", "worker", "--tag", "cpu"], cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            print(json.dumps(_figures(count), indent=1))
        finally:
            worker.terminate()
            worker.wait()
            embedded_redis.stop(redis)


def _prepare() -> None:
    from django.core.management import call_command

    from benchmarks import pipeline
    from training.bars.series import store_frame
    from training.pipeline.synthetic import make_bars

    call_command("migrate", verbosity=0)
    store_frame(pipeline.SYMBOL, pipeline.BASE, make_bars(BARS, pipeline.BASE), source="synthetic")


def _figures(count: int) -> dict[str, dict[str, float]]:
    from benchmarks import pipeline
    from strategies_app.stored import FoundStrategy
    from training.access.audit import Actor
    from training.jobs import queues
    from training.jobs.requests import cancel, start_training
    from training.models import Operation, Status

    text = json.dumps(pipeline.strategy().plain())
    while not queues.live_workers("cpu"):
        time.sleep(0.1)
    moments, seconds = random.Random(0), defaultdict[str, list[float]](list)
    for _ in range(count):
        operation, _new = start_training(FoundStrategy(text, "", None), {}, Actor())
        row = Operation.objects.filter(pk=operation.pk)
        while row.values_list("status", flat=True).get() == Status.PENDING:
            time.sleep(POLL_SECONDS)
        time.sleep(moments.uniform(0.0, LONGEST_WAIT))
        operation.refresh_from_db()
        asked = time.monotonic()
        cancel(operation, Actor())
        while row.values_list("status", flat=True).get() == Status.CANCELLING:
            time.sleep(POLL_SECONDS)
        seconds[operation.stage].append(time.monotonic() - asked)
    everything = [value for found in seconds.values() for value in found]
    return {stage: _told(found) for stage, found in {**seconds, "all": everything}.items()}


def _told(found: list[float]) -> dict[str, float]:
    ordered = sorted(found)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {"count": len(ordered), "median": ordered[len(ordered) // 2], "p95": p95, "worst": ordered[-1]}


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 40)
