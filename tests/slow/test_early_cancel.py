"""A cancel while one call of a library computes on, before the first epoch: it is cancelled, and does not wait for the call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.examples.homes import STRATEGY, Home, home_with_redis, operation_in, until
from tests.examples.outsiders import write_package

SETTINGS = {"HEARTBEAT_SECONDS": 0.5, "ORPHAN_CHECK_INTERVAL_SECONDS": 1}
#: An indicator whose one call takes longer than any test waits.
MODULE = """
import pathlib, time
from strategies_app.kinds import IndicatorKind

def compute(columns, parameters):
    (pathlib.Path(__file__).parent / "computes").touch()
    time.sleep(600)
    return columns["close"] * 1.0

SLOW = IndicatorKind(
    name="slowvalue", outputs=("value",), parameters=(), warm_up=lambda p: (0,), constant="the price", formula="the close",
    compute="slow_package:compute",
)
"""


@pytest.fixture
def home() -> Iterator[Home]:
    with home_with_redis() as home:
        yield home


def test_it_is_cancelled_and_the_worker_takes_the_next_one(home: Home) -> None:
    site = home.folder / "site"
    write_package(site, "slow-package", "[ktrdr.indicators]\nslowvalue = slow_package:SLOW\n", {"slow_package": MODULE})
    package = {"PYTHONPATH": str(site)}
    connection = redis.Redis(unix_socket_path=str(home.redis_socket), decode_responses=True)
    text = STRATEGY.format(name="slow", epochs=2, batch_size=128).replace("{type: rsi, period: 14}", "{type: slowvalue}")
    path = home.folder / "slow.yaml"
    path.write_text(text)
    worker = home.begin("worker", "--tag", "cpu", **SETTINGS, **package)
    try:
        until(lambda: connection.smembers("rq:workers"), "the worker", 240)
        done = home.run("train", str(path), **package)
        assert done.returncode == 0, done.stdout + done.stderr
        operation = operation_in(done.stdout)
        until((site / "computes").exists, "the long call", 120)
        home.run("operations", "cancel", operation)
        until(lambda: home.value(operation, "status") == "cancelled", "the end of the training")
        assert home.value(operation, "error") == "stopped on request (cancellation)"

        after = operation_in(home.run("train", home.strategy("after", 2)).stdout)
        until(lambda: home.value(after, "status") == "completed", "the next training", 120)
        assert not connection.keys(f"rq:job:{operation}*")
        assert not [name for name in connection.zrange("rq:wip:cpu", 0, -1) if name.startswith(operation)]
    finally:
        worker.terminate()
        told, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0 and "terminated unexpectedly" not in told and "Traceback" not in told, told
