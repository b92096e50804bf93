"""Fixtures that several files share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.api_examples import Examples, make_examples
from tests.homes import Home, made_home
from tests.redis_server import running, test_socket


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One home per test process, with sample bars; tests in it use strategies of different names."""
    return made_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """One server per test process."""
    with running(test_socket()) as connection:
        yield connection


@pytest.fixture
def redis(redis_server: Redis) -> Redis:
    """The server that REDIS_URL names, empty."""
    redis_server.flushall()
    return redis_server


@pytest.fixture
def examples(db: None) -> Examples:
    """Users of every role, and something of everything that the API shows."""
    return make_examples()
