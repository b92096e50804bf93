"""The pulse of a running attempt: a thread that beats in the database and notices requests to stop, whatever training does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection

from training.jobs import lifecycle
from training.models import Status

#: How often a request to stop is looked for.
LOOK_SECONDS = 0.2
#: So long the run may take to hear of it before `leave` is called: one call of a library may take seconds.
HEAR_SECONDS = 0.1
log = logging.getLogger(__name__)


class Pulse:
    """A context; inside, `on_stop` is called once with `cancellation` or `superseded` when the row says so, and `look` often.

    leave: called in the pulse's thread a moment after a cancellation that the run has not ended for.
    """

    def __init__(
        self,
        operation_id: str,
        attempt: int,
        on_stop: Callable[[str], None],
        look: Callable[[], None] = lambda: None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.operation_id, self.attempt, self.on_stop, self.look, self.leave = operation_id, attempt, on_stop, look, leave
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._watch()
        finally:
            connection.close()  # each thread has a connection of its own

    def _watch(self) -> None:
        beaten = time.monotonic()
        while not self._ended.wait(LOOK_SECONDS):
            self.look()
            try:
                if time.monotonic() - beaten >= settings.HEARTBEAT_SECONDS:
                    status = lifecycle.beat(self.operation_id, self.attempt)
                    beaten = time.monotonic()
                else:
                    status = lifecycle.live_status(self.operation_id, self.attempt)
            except DatabaseError as error:
                # A database that is busy or away for a moment must not end hours of training.
                log.warning("the pulse of %s could not be written: %s", self.operation_id, error)
                close_old_connections()  # one that the database has ended would never work again
                continue
            if status is None or status == Status.CANCELLING:
                self.on_stop("superseded" if status is None else "cancellation")
                if status is not None and not self._ended.wait(HEAR_SECONDS):
                    self._leave()
                return self._beat_on()
        return None

    def _leave(self) -> None:
        try:
            self.leave()
        except DatabaseError as error:  # then the run ends by itself
            log.warning("the end of %s could not be written at once: %s", self.operation_id, error)
            close_old_connections()

    def _beat_on(self) -> None:
        """While the run comes to its end it is still alive."""
        while not self._ended.wait(settings.HEARTBEAT_SECONDS):
            try:
                lifecycle.beat(self.operation_id, self.attempt)
            except DatabaseError as error:
                log.warning("the pulse of %s could not be written: %s", self.operation_id, error)
                close_old_connections()
