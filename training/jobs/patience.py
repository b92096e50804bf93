"""Patience with a database that is busy or away for a while: what a run has to write at its turning points is tried again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import Error, InterfaceError, OperationalError, close_old_connections, connection

#: So long a finished training waits to be recorded; SQLite's own waiting (DATABASE_BUSY_SECONDS) is part of each try.
PATIENCE_SECONDS = 900.0
PAUSE_SECONDS = 0.5
log = logging.getLogger(__name__)
Result = TypeVar("Result")


def patiently(write: Callable[[], Result], what: str, seconds: float = PATIENCE_SECONDS) -> Result:
    """What `write` gives, tried again for so long while the database is busy or away. `write` is whole or nothing."""
    until = time.monotonic() + seconds
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError) as error:
            if not will_pass(error) or time.monotonic() >= until:
                raise
            log.warning("%s waits for the database: %s", what, error)
            close_old_connections()  # one that the database has ended would never work again
            time.sleep(PAUSE_SECONDS)


def will_pass(error: Error) -> bool:
    """Whether waiting may help: not with a full disk, nor with tables that are not there."""
    return connection.vendor != "sqlite" or "locked" in str(error)
