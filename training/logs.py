"""The log of each attempt at an operation: one file in LOG_DIR, read from its end."""

from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from training import homes

if TYPE_CHECKING:
    from training.terminal import LogFile

TAIL_BYTES = 64 * 1024
log = logging.getLogger(__name__)


def log_path(operation_id: str, attempt: int) -> Path:
    return Path(settings.LOG_DIR) / f"{operation_id}-{attempt}.log"


def log_file(operation_id: str, attempt: int) -> LogFile:
    """The watcher that writes it; while the folder is away the run goes without, and one that is not known yet is made."""
    from training.terminal import LogFile

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
