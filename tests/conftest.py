"""Fixtures that several files share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests import plugin
from tests.examples.api import Examples, make_examples
from tests.examples.bar_servers import NOW, BarServer, bar_server, opener
from tests.examples.homes import Home, made_home
from tests.examples.outsiders import install_outsider

#: A package of its own, whose tests are run where it is installed.
collect_ignore = ["outsider"]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """The tests' database knows no folder yet, so that a test may name another one."""
    from training.models import Identity

    with django_db_blocker.unblock():
        Identity.objects.all().delete()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One home per test process, with sample bars; tests in it use strategies of different names."""
    return made_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def outsider_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the package of tests/outsider is installed."""
    return install_outsider(tmp_path_factory.mktemp("outsider"))


@pytest.fixture
def empty_redis() -> Iterator[Any]:
    """The connection to this test process's own Redis, without a key."""
    from django.conf import settings

    from training.jobs import queues

    assert settings.REDIS_URL == plugin.REDIS_URL, "tests would empty a Redis that is not theirs"
    connection = queues.queue_of("cpu").connection
    connection.flushdb()
    yield connection
    connection.flushdb()


@pytest.fixture
def examples(db: None) -> Examples:
    """Users of every role, and something of everything that the API shows."""
    return make_examples()


@pytest.fixture
def folders(settings: Any, tmp_path: Path, db: None) -> Path:
    """All folders, known to the database."""
    from training.jobs import homes

    settings.HOME_DIR = tmp_path
    for name, setting in homes.FOLDERS.items():
        if name != "home":
            setattr(settings, setting, tmp_path / name)
    homes.require_all()
    return tmp_path


@pytest.fixture
def server(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[BarServer]:
    """A server on this machine in the place of the bar sources; and a fetch's clock stands where all its bars are over."""
    from training.bars import fetching

    settings.STORE_DIR = tmp_path / "bars"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetching, "clock", lambda: NOW)
    monkeypatch.setattr(fetching, "rest", lambda seconds: None)
    with bar_server() as served:
        monkeypatch.setattr(fetching, "opened", opener(served, tmp_path / "sources"))
        yield served


def pytest_configure() -> None:
    """What costs time and proves nothing is left out: passwords are hashed slowly on purpose, and tests make hundreds."""
    # Plain names: nothing was collected, and hashing every file would cost each test process seconds.
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
