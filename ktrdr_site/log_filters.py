"""What of the log is said at all, and how often: filters that settings name, so nothing here may need an app."""

from __future__ import annotations

import logging
import time

#: The same sentence of the same logger is said again only after so long.
REPEATED_SECONDS = 60.0


class WithoutTraceback(logging.Filter):
    """For loggers of answers: one that refuses (403, 400, 413, …) is one line, the traceback of a fault (500) stays."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "status_code", 500) < 500:
            record.exc_info = record.exc_text = None
        return True


class Once(logging.Filter):
    """For loggers of what is tried again and again: a full disk is said once a minute, not five times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text, now = record.getMessage(), time.monotonic()
        if now - self._said.get(text, -REPEATED_SECONDS) < REPEATED_SECONDS:
            return False
        self._said = {old: at for old, at in self._said.items() if now - at < REPEATED_SECONDS} | {text: now}
        return True
