"""The start of `up` and what it watches over: in a home of any name, ready when workers listen, whatever the cards do."""

from __future__ import annotations

import http.client
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest
import redis

from tests.examples.homes import empty_home, made_home, operation_in, until
from tests.examples.ups import Up, lives

#: The answer of the graphics cards: none while the file `hangs` is there, then one card.
CARDS = """
import os, sys, time
if "device_count" in " ".join(sys.orig_argv):
    while os.path.exists({hangs!r}):
        time.sleep(0.1)
    print('[{{"device": "cuda:0", "name": "a card", "memory": 1}}]', flush=True)
    os._exit(0)
"""
#: Workers that import what they need only once the file `held` is gone.
HELD = """
import os, sys, time
if "worker" in sys.orig_argv:
    while os.path.exists({held!r}):
        time.sleep(0.1)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as name:
        yield Path(name)


class Browser:
    """One who is signed in as the first user, by the pages alone."""

    def __init__(self, address: str, password: str) -> None:
        self.host, self.cookies = address.split("/")[2], {}
        self.get("/sign-in/")
        assert self.post("/sign-in/", username="admin", password=password)[0] == 302

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, **fields: str) -> tuple[int, str]:
        """The status, and where to go on or what is shown."""
        body = urlencode({"csrfmiddlewaretoken": self.cookies["csrftoken"], **fields})
        return self._ask("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, str]:
        web = http.client.HTTPConnection(self.host, timeout=60)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        web.request(method, path, body, {"Cookie": cookie, **headers})
        answer = web.getresponse()
        for name, value in answer.getheaders():
            if name == "Set-Cookie":
                self.cookies |= {key: morsel.value for key, morsel in SimpleCookie(value).items()}
        text = answer.read().decode()
        return answer.status, answer.getheader("Location") or answer.getheader("HX-Redirect") or text


def test_in_a_home_with_a_space_and_an_equals_sign_everything_starts_and_trains(folder: Path) -> None:
    inside = folder / "my home=1 ü?#%20"
    inside.mkdir()
    home = made_home(inside)
    up = Up(home)
    try:
        assert (inside / "ktrdr.sqlite3").is_file()
        done = home.run("train", home.strategy("anywhere", 2))
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: home.value(operation_in(done.stdout), "status") == "completed", "the training", 120)
        (socket,) = {c.laddr for c in psutil.Process(up.member("valkey|redis").pid).net_connections("unix") if c.laddr}
        assert re.fullmatch(r"/tmp/ktrdr-[0-9a-f]{16}/redis\.sock", socket)
        assert Path(socket).parent.stat().st_mode & 0o777 == 0o700
    finally:
        up.stop()


def test_what_is_clicked_while_workers_start_waits_for_them(folder: Path) -> None:
    (folder / "home").mkdir()
    home, held = empty_home(folder / "home"), folder / "held"
    held.touch()
    (folder / "sitecustomize.py").write_text(HELD.format(held=str(held)))
    up = Up(home, ready=False, PYTHONPATH=folder)
    try:
        address = up.heard(r"the web site answers at (http://\S+/); workers are starting")[1]
        browser = Browser(address, up.password)
        assert "Workers are starting" in browser.get("/")[1]
        status, waiting = browser.post("/data/sample/", next="/data/")
        assert status == 302 and "/data/sample/" in waiting, waiting
        assert "The page goes on by itself" in browser.get(waiting)[1]
        assert browser.get(waiting, **{"HX-Request": "true"}) == (204, "")
        assert "ready:" not in up.said
        held.unlink()
        up.heard(r"ready: ")
        until(lambda: browser.get(waiting, **{"HX-Request": "true"})[1] == "/data/", "the sample bars", 120)
        assert "AAPL" in browser.get("/data/")[1]
    finally:
        held.unlink(missing_ok=True)
        up.stop()


def test_cards_that_do_not_answer_are_left_out_and_asked_again(folder: Path) -> None:
    (folder / "home").mkdir()
    home, hangs = made_home(folder / "home"), folder / "hangs"
    hangs.touch()
    (folder / "sitecustomize.py").write_text(CARDS.format(hangs=str(hangs)))
    up = Up(home, gpu=None, ready=False, PYTHONPATH=folder, KTRDR_DEVICE_SECONDS=1, CUDA_VISIBLE_DEVICES="")
    try:
        said = "the graphics cards did not answer within 1 s; trainings go to cpu workers, and the cards are asked again in 2 s"
        up.heard(re.escape(said))
        hangs.unlink()
        up.heard(r"the graphics cards answer: 1")
        up.heard(r"^cpu +worker cpu-")
        up.heard(r"^gpu +worker gpu-\S+ on a card")
        up.heard(r"ready: ")
    finally:
        up.stop()


def test_a_worker_that_lives_and_is_not_listed_is_started_anew_unless_it_trains(folder: Path) -> None:
    home = made_home(folder)
    up = Up(home, ORPHAN_TIMEOUT_SECONDS=20)
    connection = redis.Redis(unix_socket_path=str(folder / "redis" / "redis.sock"), decode_responses=True)

    def taken_for_dead(tag: str) -> psutil.Process:
        """Frozen, and off the list as after another worker's upkeep."""
        process = next(p for p in up.family() if f"worker --tag {tag}" in " ".join(p.cmdline()))
        os.kill(process.pid, signal.SIGSTOP)
        for key in connection.smembers(f"rq:workers:{tag}"):
            connection.delete(key)
            connection.srem(f"rq:workers:{tag}", key)
            connection.srem("rq:workers", key)
        return process

    try:
        done = home.run("train", home.strategy("long", 5000, 16))
        operation = operation_in(done.stdout)
        until(lambda: "epoch 2:" in home.log(operation), "its second epoch")
        trains, quick = taken_for_dead("cpu"), taken_for_dead("quick")
        up.heard(r"^quick lives but is not listed as a worker, and is started anew")
        up.heard(r"^quick does not end by itself and is killed")
        assert not lives(quick) or quick.status() == psutil.STATUS_ZOMBIE
        until(lambda: connection.smembers("rq:workers:quick"), "another quick worker", 120)
        assert lives(trains) and "cpu lives but" not in up.said
        assert home.value(operation, "status") == "running"
        trains.resume()
        until(lambda: connection.smembers("rq:workers:cpu"), "the return of the other one", 60)
        assert home.value(operation, "attempt") == 1 and home.value(operation, "status") == "running"
    finally:
        up.stop()
