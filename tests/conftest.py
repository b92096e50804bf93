"""Fixtures that several files share."""

from __future__ import annotations

import pytest

from tests.homes import Home, made_home


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One home per test process, with sample bars; tests in it use strategies of different names."""
    return made_home(tmp_path_factory.mktemp("home"))
