"""Worker, queue and job are of one database: a worker of another one is refused with both named, and no job is lost to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.examples.homes import Home, folder_with_redis, made_home, operation_in, until

SETTINGS = {"ORPHAN_CHECK_INTERVAL_SECONDS": 1, "HEARTBEAT_SECONDS": 0.5}


class Shared:
    """Two homes, each with a database of its own, and one Redis that both were told."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis" / "redis.sock"
        self.one, self.other = made_home(folder / "one"), made_home(folder / "other")
        for home, key in ((self.one, "1" * 32), (self.other, "2" * 32)):
            with closing(sqlite3.connect(home.folder / "ktrdr.sqlite3")) as database:
                database.execute("DELETE FROM training_identity WHERE name = 'database'")
                database.execute(
                    "INSERT INTO training_identity VALUES ('database', ?, '2026-01-01 00:00:00')", [key]
                )  # the homes are copies of one
                database.commit()

    @property
    def settings(self) -> dict[str, object]:
        return {"REDIS_URL": f"unix://{self.socket}?db=0", **SETTINGS}

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket))

    def worker(self, home: Home):  # type: ignore[no-untyped-def]
        before = set(self.redis.smembers("rq:workers"))
        process = home.begin("worker", "--tag", "cpu", **self.settings)
        until(lambda: set(self.redis.smembers("rq:workers")) - before or process.poll() is not None, "a worker", 120)
        return process

    def dispatched(self, home: Home, name: str) -> str:
        done = home.run("train", home.strategy(name), **self.settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return operation_in(done.stdout)


@pytest.fixture
def shared() -> Iterator[Shared]:
    with folder_with_redis() as folder:
        yield Shared(folder)


def test_a_worker_of_another_database_is_refused_and_what_waits_is_trained_by_its_own(shared: Shared) -> None:
    own = shared.worker(shared.one)
    try:
        refused = shared.other.run("worker", "--tag", "cpu", **shared.settings)
        assert refused.returncode == 1 and "Traceback" not in refused.stderr
        both = f"those of the SQLite database {shared.one.folder}/ktrdr.sqlite3 (id 11111111)"
        assert both in refused.stderr and f"{shared.other.folder}/ktrdr.sqlite3 (id 22222222)" in refused.stderr
        nobody = shared.other.run("train", shared.other.strategy("elsewhere"), **shared.settings)
        assert nobody.returncode == 1 and "no worker is running" in nobody.stderr, "a worker of others is none of ours"
        operation = shared.dispatched(shared.one, "mine")
        until(lambda: shared.one.value(operation, "status") == "completed", "the end", 120)
    finally:
        own.terminate()
        own.communicate(timeout=60)


def test_a_job_of_another_database_is_put_back_and_the_worker_ends(shared: Shared) -> None:
    own = shared.worker(shared.one)
    own.kill()  # its queue keeps what it was asked for
    operation = shared.dispatched(shared.one, "waiting")
    assert shared.redis.lrange("rq:queue:cpu", 0, -1) == [f"{operation}-1".encode()]

    shared.redis.delete("ktrdr:database")  # as two minutes after its last worker
    refused = shared.other.run("worker", "--tag", "cpu", **shared.settings)
    assert refused.returncode == 1 and f"job {operation}-1 is of the SQLite database {shared.one.folder}" in refused.stderr

    shared.redis.rename("rq:queue:cpu", "kept")  # it comes while the stranger is at work already
    shared.redis.delete("ktrdr:database")
    stranger = shared.worker(shared.other)
    shared.redis.rename("kept", "rq:queue:cpu")
    told, _ = stranger.communicate(timeout=60)
    assert stranger.returncode == 1 and f"the worker ends: job {operation}-1 is of" in told
    assert shared.redis.lrange("rq:queue:cpu", 0, -1) == [f"{operation}-1".encode()], "it waits as before"
    assert shared.one.value(operation, "status") == "pending"

    shared.redis.delete("ktrdr:database")
    own = shared.worker(shared.one)
    try:
        until(lambda: shared.one.value(operation, "status") == "completed", "the end", 120)
    finally:
        own.terminate()
        own.communicate(timeout=60)
