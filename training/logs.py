"""The log of each attempt at an operation: one file in LOG_DIR, read from its end."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings

TAIL_BYTES = 64 * 1024


def log_path(operation_id: str, attempt: int) -> Path:
    return Path(settings.LOG_DIR) / f"{operation_id}-{attempt}.log"


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
