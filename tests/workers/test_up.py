"""`up`: one command starts everything, keeps it alive, and stops it with running trainings saved."""

from __future__ import annotations

import http.client
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.homes import Home, made_home, operation_in, until
from tests.examples.ups import Up, lives

EPOCHS, BATCH = 5000, 16


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder:
        yield made_home(Path(folder))


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
    web = http.client.HTTPConnection(up.address.split("/")[2], timeout=10)
    web.request("GET", "/admin/login/")
    answer = web.getresponse()
    assert answer.status < 500
    assert answer.getheader("Server") is None, "a stranger need not know what to look for"
    assert len(up.password) >= 12


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
    until(lambda: not [p for p in family if lives(p)], "the end of all that it started", 10)
    assert home.value(operation, "status") == "interrupted"
    assert home.last_epoch_is_saved(operation, attempt=2)


def test_a_port_that_is_taken_is_told_before_anything_starts(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = home.run("up", "--host", "127.0.0.1", "--port", str(port))
    assert done.returncode == 1
    assert f"127.0.0.1 port {port} cannot be listened on (Address already in use)" in done.stderr


def test_a_redis_that_does_not_answer_is_told_before_anything_starts(tmp_path: Path) -> None:
    done = Home(tmp_path).run("up", "--port", "0", REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert "the Redis of REDIS_URL does not answer" in done.stderr
