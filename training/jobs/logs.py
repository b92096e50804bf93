"""The log of each attempt at an operation: one file in LOG_DIR, read from its end."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from training.jobs import homes

if TYPE_CHECKING:
    from training.management.terminal import LogFile

TAIL_BYTES = 64 * 1024
log = logging.getLogger(__name__)


class AttemptFile(RotatingFileHandler):
    """An attempt's log, rotated at 5 MB. What cannot be written is told once, with the file's name, and stops nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=5_000_000, backupCount=2, encoding="utf-8")
        self._told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            log.warning("%s cannot be written: %s; the training goes on", self.baseFilename, error.strerror or error)

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:  # the end of it did not fit on the disk either
            if not self._told:
                log.warning("%s cannot be written: %s", self.baseFilename, error.strerror or error)


def log_path(operation_id: str, attempt: int) -> Path:
    return Path(settings.LOG_DIR) / f"{operation_id}-{attempt}.log"


def log_file(operation_id: str, attempt: int) -> LogFile:
    """The watcher that writes it; while the folder is away the run goes without, and one that is not known yet is made."""
    from training.management.terminal import LogFile

    try:
        homes.require("logs")
    except homes.Away as away:
        log.warning("the log of %s is begun later: %s", operation_id, away)
    return LogFile(log_path(operation_id, attempt), lambda: homes.is_there("logs"))


def write_traceback(operation_id: str, attempt: int, error: BaseException) -> None:
    """The whole way to an error, at the end of an attempt's log; nowhere else is it shown."""
    path = log_path(operation_id, attempt)
    try:
        homes.require("logs")
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
    except (OSError, homes.Away) as problem:  # a full disk: what the run failed of is recorded all the same
        log.warning("the traceback of %s could not be kept: %s", operation_id, problem)


def log_tail(operation_id: str, attempt: int, lines: int = 200) -> str:
    """The last lines of an attempt's log; empty if it has none."""
    try:
        with log_path(operation_id, attempt).open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    found = text.splitlines()
    if length > TAIL_BYTES:
        found = found[1:]  # cut in the middle
    return "\n".join(found[-lines:])
