"""The embedded Redis: one per folder, whole after a restart, gone with the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from tests.examples.homes import ROOT, until
from training.core.processes import Occupied
from training.workers import embedded_redis


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, since a socket's path must be."""
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def server(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = embedded_redis.start(folder, folder / "redis.sock")
    yield process
    embedded_redis.stop(process)


def client(folder: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(folder / "redis.sock"))


def test_it_answers_at_once_and_only_on_a_socket_of_the_owner(folder: Path, server: subprocess.Popen[bytes]) -> None:
    assert client(folder).ping()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not psutil.Process(server.pid).net_connections("inet")


def test_it_keeps_its_keys_over_a_restart(folder: Path, server: subprocess.Popen[bytes]) -> None:
    client(folder).set("kept", "yes")
    embedded_redis.stop(server)
    again = embedded_redis.start(folder, folder / "redis.sock")
    try:
        assert client(folder).get("kept") == b"yes"
    finally:
        embedded_redis.stop(again)


def test_a_second_one_on_the_same_folder_is_refused_with_the_number_of_the_first(
    folder: Path, server: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_redis, "TAKE_OVER_SECONDS", 0.0)
    with pytest.raises(Occupied, match=rf"a Redis server \(process {server.pid}\) already runs on {folder}"):
        embedded_redis.start(folder, folder / "other.sock")
    assert client(folder).ping()


def test_it_ends_with_the_process_that_started_it_and_frees_the_folder(folder: Path) -> None:
    code = (
        "import sys, pathlib; from training.workers import embedded_redis as e; f = pathlib.Path(sys.argv[1]);"
        "print(e.start(f, f / 'redis.sock').pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder)]
    owner = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert psutil.pid_exists(pid)
    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()
    embedded_redis.stop(embedded_redis.start(folder, folder / "redis.sock"))  # waits for the first one to let go
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "the end of the server")


def test_a_path_that_the_system_would_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(embedded_redis.RedisError, match="too long for a socket, at most 107 bytes"):
        embedded_redis.start(tmp_path, tmp_path / ("x" * 120))


def test_a_missing_binary_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_SERVER_BIN", "/nowhere/redis-server")
    with pytest.raises(embedded_redis.RedisError, match="REDIS_SERVER_BIN is '/nowhere/redis-server', which is no program"):
        embedded_redis.start(folder, folder / "redis.sock")


def test_a_server_that_cannot_start_is_told_with_its_own_last_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_SERVER_BIN", "false")
    with pytest.raises(embedded_redis.RedisError, match=r"ended at once \(exit code 1\)"):
        embedded_redis.start(folder, folder / "redis.sock")
