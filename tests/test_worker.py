"""Trainings on real workers: forked, stopped, killed and resumed, they end in the weights of the undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from ktrdr_site import embedded_redis
from tests.homes import Home, made_home, operation_in, until

EPOCHS, BATCH = 24, 4
SETTINGS = {"CHECKPOINT_EPOCH_INTERVAL": 3, "HEARTBEAT_SECONDS": 0.5, "ORPHAN_CHECK_INTERVAL_SECONDS": 1}


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """A home with sample bars and a Redis; short, since a socket's path must be."""
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder:
        server = embedded_redis.start(Path(folder) / "redis", Path(folder) / "redis" / "redis.sock")
        try:
            yield made_home(Path(folder))
        finally:
            embedded_redis.stop(server)


@pytest.fixture(scope="module")
def undisturbed(home: Home) -> bytes:
    done = home.run("train", home.strategy("undisturbed", EPOCHS, BATCH), "--inline")
    assert done.returncode == 0, done.stderr
    return home.weights(operation_in(done.stdout))


class Workers:
    """One cpu worker, started when it is needed and none is there."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.process: subprocess.Popen[str] | None = None
        self.redis = redis.Redis(unix_socket_path=str(home.folder / "redis" / "redis.sock"))

    def one(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            before = set(self.redis.smembers("rq:workers"))
            self.process = self.home.begin("worker", "--tag", "cpu", **SETTINGS)
            until(lambda: set(self.redis.smembers("rq:workers")) - before, "a worker")
        return self.process


@pytest.fixture(scope="module")
def workers(home: Home) -> Iterator[Workers]:
    workers = Workers(home)
    yield workers
    if workers.process is not None and workers.process.poll() is None:
        workers.process.terminate()
        workers.process.communicate(timeout=30)


def dispatched(home: Home, name: str, epochs: int = EPOCHS, batch: int = BATCH) -> str:
    done = home.run("train", home.strategy(name, epochs, batch))
    assert done.returncode == 0, done.stdout + done.stderr
    return operation_in(done.stdout)


def resumed(home: Home, operation: str) -> None:
    done = home.run("operations", "resume", operation)
    assert done.returncode == 0, done.stdout + done.stderr


def wait_for(home: Home, operation: str, *statuses: str) -> str:
    return str(until(lambda: (s := home.value(operation, "status")) in statuses and s, f"{operation} {statuses}"))


def wait_for_epoch(home: Home, operation: str, epoch: int, attempt: int = 1) -> psutil.Process:
    """The training process, alive, with the epoch (from 1) behind it."""
    until(lambda: f"epoch {epoch}:" in home.log(operation, attempt), f"epoch {epoch} of {operation}")
    horse = psutil.Process(int(home.value(operation, "process").partition("@")[0]))
    assert home.value(operation, "status") == "running", "it ended before it could be disturbed"
    return horse


def finish(home: Home, operation: str) -> bytes:
    assert wait_for(home, operation, "completed", "failed", "interrupted") == "completed", home.value(operation, "error")
    return home.weights(operation)


def test_a_worker_ends_in_the_weights_of_the_inline_run(home: Home, workers: Workers, undisturbed: bytes) -> None:
    workers.one()
    operation = dispatched(home, "on_worker")
    wait_for(home, operation, "running")
    table = home.run("workers").stdout
    assert operation in table and "busy" in table
    assert finish(home, operation) == undisturbed
    assert home.value(operation, "queue") == home.value(operation, "device") == "cpu"
    assert "stage evaluate" in home.log(operation)


def test_a_terminated_worker_saves_within_two_seconds_and_the_next_one_continues(
    home: Home, workers: Workers, undisturbed: bytes
) -> None:
    worker = workers.one()
    operation = dispatched(home, "terminated")
    wait_for_epoch(home, operation, 3)
    asked = time.monotonic()
    worker.terminate()
    assert wait_for(home, operation, "interrupted") == "interrupted"
    assert time.monotonic() - asked < 2
    assert home.last_epoch_is_saved(operation)
    told, _ = worker.communicate(timeout=10)
    assert worker.returncode == 0, told
    workers.one()
    resumed(home, operation)
    assert finish(home, operation) == undisturbed
    assert "continues bit for bit from epoch" in home.value(operation, "certificate")


def test_a_killed_training_is_interrupted_at_once_with_the_reason(home: Home, workers: Workers, undisturbed: bytes) -> None:
    workers.one()
    operation = dispatched(home, "killed")
    wait_for_epoch(home, operation, 3).kill()
    wait_for(home, operation, "interrupted")
    assert "killed from outside (signal 9)" in home.value(operation, "error")
    resumed(home, operation)
    assert finish(home, operation) == undisturbed


def test_the_training_of_a_killed_worker_saves_and_stops_by_itself(home: Home, workers: Workers, undisturbed: bytes) -> None:
    worker = workers.one()
    operation = dispatched(home, "orphaned")
    horse = wait_for_epoch(home, operation, 3)
    worker.kill()
    worker.communicate()
    wait_for(home, operation, "interrupted")
    assert home.last_epoch_is_saved(operation)
    until(lambda: not horse.is_running() or horse.status() == psutil.STATUS_ZOMBIE, "the end of the training process")
    workers.one()
    resumed(home, operation)
    assert finish(home, operation) == undisturbed


def test_a_signal_before_the_first_epoch_is_not_lost(home: Home, workers: Workers) -> None:
    worker = workers.one()
    operation = dispatched(home, "early", epochs=5, batch=1)
    until(lambda: psutil.Process(worker.pid).children(), "the training process")
    worker.terminate()
    until(lambda: home.value(operation, "status") in ("interrupted", "pending") and worker.poll() is not None, "the end")
    assert not (home.folder / "checkpoints" / operation).exists()
    if home.value(operation, "status") == "interrupted":
        workers.one()
        resumed(home, operation)
    else:  # it came before the claim
        workers.one()
    wait_for(home, operation, "running", "completed")
    home.run("operations", "cancel", operation)


def test_cancelling_before_the_first_epoch_needs_no_checkpoint(home: Home, workers: Workers) -> None:
    workers.one()
    operation = dispatched(home, "cancelled", epochs=5, batch=1)
    wait_for(home, operation, "running")
    home.run("operations", "cancel", operation, "--reason", "wrong symbol")
    wait_for(home, operation, "cancelled")
    assert home.value(operation, "reason") == "wrong symbol"


def test_force_ends_the_process_and_then_writes_cancelled(home: Home, workers: Workers) -> None:
    workers.one()
    operation = dispatched(home, "forced")
    horse = wait_for_epoch(home, operation, 3)
    os.kill(horse.pid, signal.SIGSTOP)  # it cannot hear a friendly request
    done = home.run("operations", "cancel", operation, "--force")
    assert done.returncode == 0, done.stderr
    wait_for(home, operation, "cancelled")
    assert not horse.is_running()
    assert home.value(operation, "error") == "stopped by force"
    assert workers.one().poll() is None, "the worker lives on"


def test_a_cancelled_operation_is_not_begun_by_a_worker_that_comes_later(home: Home, workers: Workers) -> None:
    workers.one()
    first, second = dispatched(home, "first_in_line"), dispatched(home, "second_in_line")
    home.run("operations", "cancel", second)
    assert home.value(second, "status") == "cancelled"
    home.run("operations", "cancel", first)
    wait_for(home, first, "cancelled")
    assert not home.log(second)


def test_a_gpu_worker_is_refused_where_there_is_no_graphics_card(home: Home) -> None:
    done = home.run("worker", "--tag", "gpu", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "torch finds no graphics card on this machine: start a worker with --tag cpu" in done.stderr


def test_without_redis_a_worker_and_the_list_of_workers_say_what_to_do(tmp_path: Path) -> None:
    elsewhere = Home(tmp_path)
    for command in (("worker", "--tag", "cpu"), ("workers",)):
        done = elsewhere.run(*command)
        assert done.returncode == 1
        assert "the embedded Redis is not running: start everything with `manage.py up`" in done.stderr
