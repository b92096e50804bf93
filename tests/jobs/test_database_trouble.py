"""A database that cannot be used is called what it is: junk, a folder, gone, read-only, full, not set up, or really busy."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection
from django.test import Client

from tests.examples.api import Examples, send
from tests.examples.homes import Home, empty_home
from training.jobs import database_words

WAYS = (
    "migrate",
    "operations list",
    "train stored --dry-run",
    "strategies list",
    "strategies import strategies_app/samples/gru.yaml",
)


@pytest.mark.parametrize("command", WAYS)
def test_what_is_no_database_is_said_in_a_sentence(tmp_path: Path, command: str) -> None:
    home = Home(tmp_path / "home")
    junk = tmp_path / "junk.sqlite3"
    junk.write_text("no database, but a text that is long enough to be looked at\n" * 20)
    said = {
        junk: f"{junk} is damaged or is no SQLite database (file is not a database); move it away, or bring back a good copy",
        tmp_path: f"{tmp_path} is a folder, wanted a database file (unable to open database file)",
        tmp_path / "no" / "db": f"{tmp_path / 'no' / 'db'} is not there, nor is its folder (unable to open database file)",
    }
    for path, sentence in said.items():
        done = home.run(*command.split(), DATABASE_URL=f"sqlite:///{path}")
        assert done.returncode == 1, path
        assert done.stderr.startswith(f"CommandError: {sentence}"), path
        assert "Traceback" not in done.stderr
    assert junk.read_text().startswith("no database"), "it was left as it was"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, db: None) -> Path:
    """Where the database is said to be; the tests' own goes on."""
    path = tmp_path / "home" / "ktrdr.sqlite3"
    path.parent.mkdir()
    path.write_bytes(b"")
    monkeypatch.setitem(connection.settings_dict, "NAME", str(path))
    return path


def pages(monkeypatch: pytest.MonkeyPatch, error: Exception) -> tuple[Any, Any]:
    """What a page and the API say when the database says this."""

    def broken(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr("training.web.account.SignIn.get", broken)
    monkeypatch.setattr("training.api.auth.Access.__call__", broken)
    client = Client(raise_request_exception=False)
    return client.get("/sign-in/"), client.get("/api/v1/operations")


SAYS = [
    ("unable to open database file", "gone", "The database is not there"),
    ("disk I/O error", "gone", "The database is not there"),
    ("attempt to write a readonly database", "read_only", "The database is read-only"),
    ("database or disk is full", "full", "The disk is full or failing"),
    ("database disk image is malformed", "junk", "The database cannot be read"),
    ("no such table: auth_user", "unset", "The database is not set up"),
    ("database is locked", "busy", "The database is busy"),
]


@pytest.mark.parametrize(("said", "kind", "heading"), SAYS)
def test_pages_and_api_say_what_is_true(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: str, heading: str
) -> None:
    if kind == "gone":
        elsewhere.unlink()
        elsewhere.parent.rmdir()
    page, answer = pages(monkeypatch, OperationalError(said))
    assert page.status_code == answer.status_code == 503
    assert f"<h1>{heading}</h1>" in page.content.decode()
    assert ("try again" in page.content.decode()) == (kind == "busy"), "waiting helps with nothing else"
    message = answer.json()["error"]["message"]
    assert message.startswith(heading[0].lower() + heading[1:])
    assert ("try again" in message) == (kind == "busy")
    for text in (page.content.decode(), message):
        assert str(elsewhere.parent) not in text and said not in text, "what is inside is not shown to everybody"


def test_a_file_that_is_no_database_is_no_fault_of_the_program(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, answer = pages(monkeypatch, DatabaseError("file is not a database"))
    assert page.status_code == answer.status_code == 503


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_home_that_may_not_be_written_is_called_so(elsewhere: Path) -> None:
    elsewhere.parent.chmod(0o500)
    try:
        assert database_words.kind_of(OperationalError("unable to open database file")) == "read_only"
    finally:
        elsewhere.parent.chmod(0o700)


def test_a_home_removed_under_a_running_command_is_called_gone(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "home")
    with sqlite3.connect(home.folder / "ktrdr.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM training_operation").fetchone() == (0,)
    home.folder.joinpath("ktrdr.sqlite3").rename(tmp_path / "moved")
    done = home.run("operations", "list")
    assert done.stderr == "CommandError: the database is not set up yet, run: python manage.py migrate\n"


def test_a_busy_database_is_not_called_a_strategy_that_is_not_there(
    examples: Examples, empty_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("database is locked")

    client = examples.signed_in("trainer")
    monkeypatch.setattr("strategies_app.stored.Strategy.objects.filter", busy)
    answer = send(client, "post", "/trainings/start", {"strategy_name": "stored"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database")
