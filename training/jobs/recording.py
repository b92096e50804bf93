"""Recording: a thread that writes to the database for a run, so that training never waits for it; and patience where it must.

What it is given waits in a queue of bounded length, and is tried again until the database takes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from django.db import DatabaseError, Error, InterfaceError, OperationalError, close_old_connections, connection

#: So many pieces of work wait at most: each holds a checkpoint's folder and the rows of some epochs.
MOST_WAITING = 8
PAUSE_SECONDS = 0.5
#: So long the thread is waited for when a run has ended; what the database then still has to say is of no use to it.
END_SECONDS = 5.0
log = logging.getLogger(__name__)


class Recorder:
    """A context; inside, work that is handed over is done in its order by one thread with a connection of its own."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._waiting: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._at_work = self._ended = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(END_SECONDS)

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= MOST_WAITING

    def put(self, work: Callable[[], None]) -> None:
        """Done as soon as the database takes it, after all that was put before."""
        with self._changed:
            self._waiting.append(work)
            self._changed.notify_all()

    def offer(self, work: Callable[[], None]) -> None:
        """Done now or never: nothing if the thread is still busy with something else."""
        with self._changed:
            if self._waiting or self._at_work:
                return
            self._waiting.append(work)
            self._changed.notify_all()

    def drain(self, seconds: float) -> bool:
        """Wait until all is done; False if it is not after so long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._at_work, seconds)

    def _run(self) -> None:
        try:
            while self._take():
                self._do()
        finally:
            connection.close()  # each thread has a connection of its own

    def _take(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._ended)
            self._at_work = bool(self._waiting) and not self._ended
            return self._at_work

    def _do(self) -> None:
        """The work stays in the queue until it is done, so that whoever drains waits for it."""
        done = False
        try:
            self._waiting[0]()
            done = True
        except DatabaseError as error:
            log.warning("%s could not be recorded yet: %s", self.what, error)
            close_old_connections()  # one that the database has ended would never work again
        finally:
            with self._changed:
                if done:
                    self._waiting.popleft()
                self._at_work = False
                self._changed.notify_all()
        if not done:
            self._rest()

    def _rest(self) -> None:
        until = time.monotonic() + PAUSE_SECONDS
        with self._changed:
            self._changed.wait_for(lambda: self._ended, until - time.monotonic())


#: So long a finished training waits to be recorded; SQLite's own waiting (DATABASE_BUSY_SECONDS) is part of each try.
PATIENCE_SECONDS = 900.0
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
