"""A worker whose entry expired while its machine slept, or whose Redis was emptied, takes its place again, idle or at work."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.examples.homes import Home, home_with_redis, operation_in, until

SETTINGS = {"CHECKPOINT_EPOCH_INTERVAL": 3, "HEARTBEAT_SECONDS": 0.5, "ORPHAN_CHECK_INTERVAL_SECONDS": 1}
START_SECONDS = 240


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with home_with_redis() as home:
        yield home


@pytest.fixture
def connection(home: Home) -> Any:
    return redis.Redis(unix_socket_path=str(home.redis_socket), decode_responses=True)


def listed(connection: Any, tag: str) -> str | None:
    """The name of the worker that both lists hold, with all that is told of it; None if something is missing."""
    for key in connection.smembers(f"rq:workers:{tag}") & connection.smembers("rq:workers"):
        name, told = key.removeprefix("rq:worker:"), connection.hgetall(key)
        if told.get("queues") == tag and told.get("state") in ("idle", "busy") and connection.hget(f"ktrdr:worker:{name}", "pid"):
            return str(name)
    return None


@pytest.fixture(params=["cpu", "quick"])
def worker(request: pytest.FixtureRequest, home: Home, connection: Any) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    tag = request.param
    connection.flushall()
    process = home.begin("worker", "--tag", tag, **SETTINGS)
    try:
        until(lambda: listed(connection, tag), "the worker", START_SECONDS)
        yield tag, process
    finally:
        process.terminate()
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in told, told


def taken_for_dead(connection: Any, name: str) -> None:
    """What is left of a worker that was frozen for longer than its entry lives, after another one's upkeep."""
    connection.delete(f"rq:worker:{name}", f"ktrdr:worker:{name}")
    for key in connection.scan_iter("rq:workers*"):
        connection.srem(key, f"rq:worker:{name}")


def test_an_idle_worker_is_listed_again(worker: tuple[str, subprocess.Popen[str]], connection: Any) -> None:
    tag, process = worker
    name = listed(connection, tag)
    assert name is not None
    taken_for_dead(connection, name)
    assert until(lambda: listed(connection, tag), "the worker's return") == name
    connection.flushall()
    assert until(lambda: listed(connection, tag), "the worker's return to an emptied Redis") == name
    assert process.poll() is None


@pytest.mark.parametrize("worker", ["cpu"], indirect=True)
def test_a_worker_at_work_is_listed_again_and_can_be_told_to_end_it_by_force(
    worker: tuple[str, subprocess.Popen[str]], connection: Any, home: Home
) -> None:
    _, process = worker
    name = listed(connection, "cpu")
    assert name is not None
    done = home.run("train", home.strategy("long", 5000, 16))
    assert done.returncode == 0, done.stdout + done.stderr
    operation = operation_in(done.stdout)
    until(lambda: "epoch 2:" in home.log(operation), "its second epoch")
    taken_for_dead(connection, name)
    assert until(lambda: listed(connection, "cpu"), "the worker's return") == name
    connection.flushall()
    assert until(lambda: listed(connection, "cpu"), "the worker's return to an emptied Redis") == name
    until(lambda: operation in home.run("workers").stdout, "what it is at")
    assert home.value(operation, "status") == "running"

    done = home.run("operations", "cancel", operation, "--force")
    assert done.returncode == 0, done.stderr
    until(lambda: home.value(operation, "status") == "cancelled", "the end of the training")
    after = home.run("train", home.strategy("after", 2))
    assert after.returncode == 0, after.stderr
    until(lambda: home.value(operation_in(after.stdout), "status") == "completed", "the next training")
    assert process.poll() is None
