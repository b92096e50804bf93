"""The log of each attempt at an operation: one file in LOG_DIR, read from its end."""

from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path

from django.conf import settings

TAIL_BYTES = 64 * 1024
log = logging.getLogger(__name__)


def log_path(operation_id: str, attempt: int) -> Path:
    return Path(settings.LOG_DIR) / f"{operation_id}-{attempt}.log"


def write_traceback(operation_id: str, attempt: int, error: BaseException) -> None:
    """The whole way to an error, at the end of an attempt's log; nowhere else is it shown."""
    path = log_path(operation_id, attempt)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError as problem:  # a full disk: what the run failed of is recorded all the same
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
