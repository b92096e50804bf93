"""`up`: one command starts everything, keeps it alive, and stops it with running trainings saved."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.homes import Home, made_home, operation_in, until

EPOCHS, BATCH = 5000, 16
SETTINGS = {"CHECKPOINT_EPOCH_INTERVAL": 1000, "HEARTBEAT_SECONDS": 0.5, "ORPHAN_CHECK_INTERVAL_SECONDS": 1}


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder:
        yield made_home(Path(folder))


class Up:
    """A running `up` and what it said."""

    def __init__(self, home: Home, *arguments: str) -> None:
        self.process = home.begin("up", "--port", "0", "--gpu", "0", *arguments, **SETTINGS)
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.heard(r"ready: ")
        self.heard(r"^cpu +worker ")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line

    def heard(self, pattern: str) -> re.Match[str]:
        def search() -> re.Match[str] | None:
            assert self.process.poll() is None, self.said
            return re.search(pattern, self.said, re.MULTILINE)

        return until(search, f"{pattern!r} in what it says")

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def member(self, word: str) -> psutil.Process:
        return until(lambda: next((p for p in self.family() if word in _command(p)), None), f"a process with {word}")

    def stop(self) -> float:
        """Ctrl-C; gives the seconds that it took."""
        family, asked = self.family(), time.monotonic()
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=30) == 0, self.said
        took = time.monotonic() - asked
        self._reader.join(timeout=10)
        assert not [p for p in family if _lives(p)], "it left something running"
        return took


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def up(home: Home) -> Iterator[Up]:
    up = Up(home)
    yield up
    if up.process.poll() is None:
        up.stop()


def dispatched(home: Home, name: str) -> str:
    done = home.run("train", home.strategy(name, EPOCHS, BATCH))
    assert done.returncode == 0, done.stdout + done.stderr
    return operation_in(done.stdout)


def wait_for_epoch(home: Home, operation: str, epoch: int, attempt: int = 1) -> None:
    until(lambda: f"epoch {epoch}:" in home.log(operation, attempt), f"epoch {epoch} of {operation}")
    assert home.value(operation, "status") == "running", "it ended before it could be disturbed"


def test_the_web_answers_and_a_first_user_is_shown_once(home: Home, up: Up) -> None:
    port = up.heard(r"ready: http://127\.0\.0\.1:(\d+)/admin/")[1]
    web = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    web.request("GET", "/admin/login/")
    assert web.getresponse().status < 500
    assert len(up.heard(r"first user: admin   password: (\S+)")[1]) >= 12


def test_a_second_one_on_the_same_home_is_refused_with_the_number_of_the_first(home: Home, up: Up) -> None:
    done = home.run("up")
    assert done.returncode == 1
    assert f"`up` already runs on {home.folder}, process {up.process.pid}: stop it first" in done.stderr


def test_it_keeps_all_alive_saves_at_ctrl_c_resumes_and_leaves_nothing_when_killed(home: Home, up: Up) -> None:
    operation = dispatched(home, "long")
    wait_for_epoch(home, operation, 2)

    # What dies is started again; meanwhile the training goes on.
    up.member("redis.sock").kill()
    up.member("daphne").kill()
    up.heard(r"^redis +was killed from outside .*; it is started again in 0\.5 s")
    up.heard(r"^web +was killed from outside .*; it is started again in 0\.5 s")
    assert up.member("redis.sock") and up.member("daphne")
    until(lambda: operation in home.run("workers").stdout, "the return of the worker, still at it")
    assert home.value(operation, "attempt") == 1

    # Ctrl-C saves it in time.
    up.stop()
    took = re.search(r"stopped in (\d+\.\d) s", up.said)
    assert took is not None and float(took[1]) <= 5
    assert home.value(operation, "status") == "interrupted"
    assert home.last_epoch_is_saved(operation)

    # The next one resumes it, if told to.
    again = Up(home, "--resume-interrupted")
    assert "first user" not in again.said
    again.heard(f"{operation} is resumed as attempt 2")
    wait_for_epoch(home, operation, 2 + max(home.saved_epochs(operation)), attempt=2)

    # Killed, it leaves nothing running.
    family = again.family()
    assert len(family) == 5, "Redis, web, two workers and a training"
    again.process.kill()
    again.process.wait()
    until(lambda: not [p for p in family if _lives(p)], "the end of all that it started", 10)
    assert home.value(operation, "status") == "interrupted"
    assert home.last_epoch_is_saved(operation, attempt=2)


def test_a_port_that_is_taken_is_told_before_anything_starts(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = home.run("up", "--port", str(port))
    assert done.returncode == 1
    assert f"127.0.0.1 port {port} cannot be listened on (Address already in use)" in done.stderr


def test_a_redis_that_does_not_answer_is_told_before_anything_starts(home: Home) -> None:
    done = home.run("up", "--port", "0", REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert "the Redis of REDIS_URL does not answer" in done.stderr
