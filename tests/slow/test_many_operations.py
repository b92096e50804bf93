"""Many trainings at once on two workers all finish, each exactly once; two starts with one task_id are one operation."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from tests.examples.homes import ROOT, Home, home_with_redis, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
OPERATIONS, WORKERS = 50, 2
#: Starts trainings of a strategy file in one process: argv is the file, then a task_id for each. Prints [id, whether it is new].
START = """
import json, sys
import django
django.setup()
from strategies_app.stored import find_strategy
from training.jobs.requests import Actor, start_training
found = find_strategy(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([(o.pk, new) for o, new in (start_training(found, {}, Actor(), task_id=task) for task in sys.argv[2:])]))
"""


class Starter:
    """A process that is ready to start trainings at a word."""

    def __init__(self, home: Home, strategy: str, tasks: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, strategy, *tasks], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=home.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings"),
        )  # fmt: skip
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"

    def go(self) -> list[tuple[str, bool]]:
        told, _ = self.process.communicate("\n", timeout=240)
        assert self.process.returncode == 0
        return [(operation, new) for operation, new in json.loads(told)]


def started_at_once(*starters: Starter) -> list[tuple[str, bool]]:
    """What all of them started, together."""
    with ThreadPoolExecutor(len(starters)) as pool:
        return [one for some in pool.map(Starter.go, starters) for one in some]


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """With two cpu workers."""
    with home_with_redis() as home:
        workers = [home.begin("worker", "--tag", "cpu") for _ in range(WORKERS)]
        try:
            connection = redis.Redis(unix_socket_path=str(home.redis_socket))
            until(lambda: connection.scard("rq:workers") == WORKERS, "the workers", 60)
            yield home
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.communicate(timeout=60)


def test_fifty_operations_started_at_once_finish_each_exactly_once(home: Home) -> None:
    strategy = home.strategy("many", epochs=1)
    tasks = [f"many-{number}" for number in range(OPERATIONS)]
    started = started_at_once(*(Starter(home, strategy, tasks[part::WORKERS]) for part in range(WORKERS)))
    assert len({operation for operation, new in started if new}) == OPERATIONS
    ended = {"completed", "failed", "cancelled", "interrupted"}
    for operation, _new in started:
        until(lambda operation=operation: home.value(operation, "status") in ended, f"the end of {operation}", 200)
    assert {(home.value(o, "status"), home.value(o, "attempt"), home.value(o, "error")) for o, _ in started} == {
        ("completed", 1, "")
    }
    # A second run of the same attempt would have begun the log anew in it and left another bundle.
    logs = [(home.folder / "logs" / f"{operation}-1.log").read_text() for operation, _ in started]
    assert [log.count("stage save") for log in logs] == [1] * OPERATIONS
    assert len(list((home.folder / "bundles").glob("op_training_*"))) == OPERATIONS
    assert len({home.weights(operation) for operation, _ in started}) == 1, "the same strategy, bars and seed"


def test_two_starts_at_once_with_one_task_id_are_one_operation(home: Home) -> None:
    strategy = home.strategy("once", epochs=1)
    started = started_at_once(*(Starter(home, strategy, ["the-same"]) for _ in range(2)))
    assert len({operation for operation, _ in started}) == 1
    assert sorted(new for _, new in started) == [False, True]
    until(lambda: home.value(started[0][0], "status") == "completed", "its end", 60)
