"""Trainings on real workers: forked, stopped, killed and resumed, they end in the weights of the undisturbed run."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import redis
from rq import Queue
from rq.serializers import JSONSerializer

from tests.examples.homes import Home, home_with_redis, operation_in, until

EPOCHS, BATCH = 24, 4
SETTINGS = {"CHECKPOINT_EPOCH_INTERVAL": 3, "HEARTBEAT_SECONDS": 0.5, "ORPHAN_CHECK_INTERVAL_SECONDS": 1}


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with home_with_redis() as home:
        yield home


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
        self.redis = redis.Redis(unix_socket_path=str(home.redis_socket))

    def one(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            before = set(self.redis.smembers("rq:workers"))
            self.process = self.home.begin("worker", "--tag", "cpu", **SETTINGS)
            until(lambda: set(self.redis.smembers("rq:workers")) - before, "a worker", 240)  # it imports torch
        return self.process


@pytest.fixture(scope="module")
def workers(home: Home) -> Iterator[Workers]:
    workers = Workers(home)
    yield workers
    if workers.process is not None and workers.process.poll() is None:
        workers.process.terminate()
        workers.process.communicate(timeout=60)


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


def test_a_training_stopped_killed_and_orphaned_on_workers_ends_in_the_weights_of_the_inline_run(
    home: Home, workers: Workers, undisturbed: bytes
) -> None:
    worker = workers.one()
    operation = dispatched(home, "hunted")

    # SIGTERM to the worker: saved at once, the worker leaves in peace.
    wait_for_epoch(home, operation, 2)
    asked = time.monotonic()
    worker.terminate()
    wait_for(home, operation, "interrupted")
    assert time.monotonic() - asked < 2
    assert home.last_epoch_is_saved(operation)
    told, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0, told

    # SIGKILL to the training process: told at once, with the reason.
    worker = workers.one()
    resumed(home, operation)
    wait_for_epoch(home, operation, 8, attempt=2).kill()
    wait_for(home, operation, "interrupted")
    assert "killed from outside (signal 9)" in home.value(operation, "error")
    assert worker.poll() is None, "the worker lives on"

    # SIGKILL to the worker: the training process saves and stops by itself.
    resumed(home, operation)
    horse = wait_for_epoch(home, operation, 14, attempt=3)
    worker.kill()
    worker.communicate()
    wait_for(home, operation, "interrupted")
    assert home.last_epoch_is_saved(operation, attempt=3)
    until(lambda: not horse.is_running() or horse.status() == psutil.STATUS_ZOMBIE, "the end of the training process")

    workers.one()
    resumed(home, operation)
    table = home.run("workers").stdout
    assert operation in table and "busy" in table
    assert wait_for(home, operation, "completed", "failed", "interrupted") == "completed", home.value(operation, "error")
    assert home.weights(operation) == undisturbed
    assert "continues bit for bit from epoch" in home.value(operation, "certificate")
    assert home.value(operation, "queue") == home.value(operation, "device") == "cpu"


def test_a_signal_or_a_request_before_the_first_epoch_is_not_lost(home: Home, workers: Workers) -> None:
    worker = workers.one()
    first, second = dispatched(home, "first_in_line", batch=1), dispatched(home, "second_in_line", batch=1)
    home.run("operations", "cancel", second, "--reason", "wrong symbol")
    assert home.value(second, "status") == "cancelled"
    assert home.value(second, "reason") == "wrong symbol"

    worker.terminate()
    worker.communicate(timeout=60)
    assert wait_for(home, first, "interrupted")
    worker = workers.one()
    resumed(home, first)
    until(lambda: psutil.Process(worker.pid).children(), "the training process")
    worker.terminate()  # perhaps before it has claimed the operation: then it waits for the next worker
    worker.communicate(timeout=60)
    assert home.value(first, "status") in ("interrupted", "pending")
    assert not home.log(second), "what was cancelled while it waited is never begun"


def freeze(pid: int, home: Home) -> None:
    """Stop a process with SIGSTOP outside its transactions: frozen inside one it would hold SQLite's lock for ever."""

    def frozen_outside() -> bool:
        os.kill(pid, signal.SIGSTOP)
        with closing(sqlite3.connect(home.folder / "ktrdr.sqlite3", timeout=0.5, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
                return False
            database.execute("ROLLBACK")
            return True

    until(frozen_outside, "a moment outside a transaction")


def test_force_ends_the_process_and_then_writes_cancelled(home: Home, workers: Workers) -> None:
    workers.one()
    operation = dispatched(home, "forced")
    horse = wait_for_epoch(home, operation, 3)
    freeze(horse.pid, home)  # it cannot hear a friendly request
    done = home.run("operations", "cancel", operation, "--force")
    assert done.returncode == 0, done.stderr
    wait_for(home, operation, "cancelled")
    assert not horse.is_running()
    assert home.value(operation, "error") == "stopped by force"
    assert workers.one().poll() is None, "the worker lives on"


def test_a_training_is_followed_to_its_end(home: Home, workers: Workers) -> None:
    workers.one()
    done = home.run("train", home.strategy("followed", 2, BATCH), "--follow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert home.value(operation_in(done.stdout), "status") == "completed"
    assert "This model" in done.stdout


def test_a_quick_worker_answers_a_question_in_a_fork(home: Home) -> None:
    connection = redis.Redis(unix_socket_path=str(home.redis_socket))
    text = Path(home.strategy("asked", EPOCHS, BATCH)).read_text()
    queue = Queue("quick", connection=connection, serializer=JSONSerializer)
    job = queue.enqueue("training.workers.quick.answer", "plan", {"text": text, "label": "", "options": {}, "worker": "cpu"})
    done = home.run("worker", "--tag", "quick", "--burst")
    assert done.returncode == 0, done.stderr
    assert job.return_value(refresh=True)["result"]["features"][:1] == ["1d_zone_low"], done.stdout + done.stderr


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
