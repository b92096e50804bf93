"""Another process holds SQLite's write lock for longer than anyone waits: nothing is lost, and nobody is shown a traceback."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import OperationalError

from tests.examples.homes import ROOT, Home, home_with_redis, until
from tests.slow.test_worker import wait_for
from training.admin import workers

SETTINGS = {
    "DATABASE_BUSY_SECONDS": 0.5, "HEARTBEAT_SECONDS": 0.3, "ORPHAN_TIMEOUT_SECONDS": 1.2, "ORPHAN_CHECK_INTERVAL_SECONDS": 1,
    "CHECKPOINT_EPOCH_INTERVAL": 3,
}  # fmt: skip
#: Longer than anyone waits, and longer than a training may be silent.
HELD_SECONDS = 2.0
EPOCHS = 16
LOGIN = """
import django; django.setup()
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from training.access import tokens
from training.workers import up
from training.access.roles import ADMIN, give_role
up.collect()
user = User.objects.create_user("boss", password="x")
give_role(user, ADMIN)
session = SessionStore()
session.update({SESSION_KEY: str(user.pk), BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend", HASH_SESSION_KEY: user.get_session_auth_hash()})
session.save()
print(tokens.create(user, "test", "admin")[1], session.session_key)
"""


class Site:
    """A web server and a cpu worker on a home, as processes, and who may ask them everything."""

    def __init__(self, home: Home) -> None:
        self.home = home
        environment = home.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings", PYTHONUNBUFFERED="1", **SETTINGS)
        command = [sys.executable, "-c", LOGIN]
        self.secret, self.session = subprocess.run(
            command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        ).stdout.split()
        port = _free_port()
        self.address = ("127.0.0.1", port)
        web = [sys.executable, "-m", "daphne", "-v", "0", "-p", str(port), "ktrdr_site.asgi:application"]
        self.log = (home.folder / "processes.log").open("w+")
        self.processes = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=self.log, stderr=self.log)
            for command in (web, [sys.executable, "manage.py", "worker", "--tag", "cpu"])
        ]
        until(lambda: self.ask("GET", "/workers")[1], "a worker", 60)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        try:
            headers = {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"}
            return self._asked(method, f"/api/v1{path}", body, headers)
        except ConnectionError:
            return 0, None

    def page(self, path: str) -> tuple[int, Any]:
        return self._asked("GET", path, None, {"Cookie": f"sessionid={self.session}"})

    def sign_in(self) -> tuple[int, Any]:
        """With the right password: it writes when that was, and a session."""
        token = "x" * 32
        form = urlencode({"username": "boss", "password": "x", "csrfmiddlewaretoken": token})
        kind = "application/x-www-form-urlencoded"
        return self._asked("POST", "/admin/login/", form, {"Cookie": f"csrftoken={token}", "Content-Type": kind})

    def _asked(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        is_json = answer.headers["Content-Type"].startswith("application/json")
        return answer.status, json.loads(content) if is_json else content.decode()

    def start(self, name: str, epochs: int = EPOCHS, batch: int = 4) -> tuple[int, Any]:
        text = Path(self.home.strategy(name, epochs, batch)).read_text()
        return self.ask("POST", "/trainings/start", {"strategy_yaml": text, "task_id": name})

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=60)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with home_with_redis() as home:
        site = Site(home)
        try:
            yield site
        finally:
            site.stop()


@contextmanager
def held(home: Home, seconds: float = HELD_SECONDS) -> Iterator[None]:
    """Another process has a write transaction open from the first moment inside, for so many seconds at least."""
    text = f"""
import sqlite3, sys
database = sqlite3.connect({str(home.folder / "ktrdr.sqlite3")!r}, timeout=30, isolation_level=None)
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE training_barseries SET source = source")
print("held", flush=True)
sys.stdin.read()
database.execute("COMMIT")
"""
    holder = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdin is not None and holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    begun = time.monotonic()
    try:
        yield
    finally:
        threading.Event().wait(max(0.0, begun + seconds - time.monotonic()))
        holder.stdin.close()
        assert holder.wait(timeout=30) == 0


def is_busy(answer: tuple[int, Any]) -> bool:
    status, body = answer
    error = body["error"]
    return (status, error["code"], error["details"]) == (503, "database", {}) and error["message"].count(".") == 0


def test_a_training_outlives_a_database_that_is_held_at_every_moment_of_it(site: Site) -> None:
    home = site.home
    undisturbed = site.start("calm")[1]["operation_id"]
    assert wait_for(home, undisturbed, "completed", "failed") == "completed"

    status, started = site.start("disturbed")
    operation = started["operation_id"]
    assert status == 202
    with held(home):  # while it begins: it may have claimed its row already, or not
        assert site.ask("GET", f"/operations/{operation}")[0] == 200
    until(lambda: "epoch 2:" in home.log(operation), "epoch 2")
    with held(home):  # while it trains
        before = home.log(operation).count("epoch ")
        assert is_busy(site.start("refused"))
        until(
            lambda: home.log(operation).count("epoch ") > before or f"epoch {EPOCHS}:" in home.log(operation),
            "an epoch meanwhile",
        )
        assert is_busy(site.ask("POST", f"/operations/{operation}/cancel", {}))
    until(lambda: f"epoch {EPOCHS}:" in home.log(operation), "the last epoch")
    with held(home):  # while it ends: its model is recorded as soon as that is possible
        pass
    assert wait_for(home, operation, "completed", "failed", "interrupted") == "completed", home.value(operation, "error")
    assert home.value(operation, "attempt") == 1
    assert home.weights(operation) == home.weights(undisturbed)
    with closing(sqlite3.connect(home.folder / "ktrdr.sqlite3")) as database:
        rows = database.execute("SELECT count(*) FROM training_epochmetric WHERE operation_id = ?", [operation]).fetchone()
        names = database.execute("SELECT count(*) FROM training_operation WHERE task_id = 'refused'").fetchone()
    assert (rows, names) == ((EPOCHS,), (0,)), "every epoch is told, and what was refused left nothing"
    assert site.start("refused", epochs=1)[0] == 202, "the same request again"


def test_a_stop_that_was_asked_for_is_recorded_when_that_is_possible(site: Site) -> None:
    home = site.home
    operation = site.start("stopped", epochs=500)[1]["operation_id"]
    until(lambda: "epoch 2:" in home.log(operation), "epoch 2")
    assert site.ask("POST", f"/operations/{operation}/cancel", {"reason": "enough"})[0] == 200
    with held(home):
        pass
    assert wait_for(home, operation, "cancelled", "interrupted", "failed") == "cancelled"
    assert home.last_epoch_is_saved(operation)


def test_pages_and_commands_say_it_in_one_sentence(site: Site) -> None:
    with held(site.home, seconds=0):
        assert site.page("/admin/training/operation/")[0] == 200, "reading goes on"
        status, page = site.sign_in()
        assert status == 503 and "The database is busy" in page
        said = site.home.run("strategies", "import", site.home.strategy("later"), **SETTINGS)
        assert (said.returncode, said.stderr.count("\n")) == (1, 1) and "locked" in said.stderr
        health = site.ask("GET", "/healthz")
        assert health == (200, health[1]) and health[1]["database"] == "ok"
    log = (site.home.folder / "processes.log").read_text()
    assert "Internal Server Error" not in log, log


@pytest.mark.django_db
def test_a_page_whose_view_meets_a_busy_database_is_answered_503(admin_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(workers, "workers_page", refuse)
    answer = admin_client.get("/admin/workers/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert b"The database is busy" in answer.content and b"locked" not in answer.content
