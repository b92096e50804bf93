"""The log of each attempt at an operation: one file in LOG_DIR, read from its end."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType

from django.conf import settings

from training.core.values import BatchMetrics, EpochMetrics
from training.jobs import homes

TAIL_BYTES = 64 * 1024
#: How often a run whose log cannot be begun looks whether its folder is there.
LOOK_SECONDS = 1.0
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


class LogFile:
    """A watcher that writes what happened, with the time of day, to the attempt's log; rotated. Use it as a context.

    A log that cannot be written (a full disk) is told once and stops no training. It is begun once `is_there` says that its
    folder is.
    """

    def __init__(self, path: Path, is_there: Callable[[], bool] = lambda: True) -> None:
        self.path, self.is_there = path, is_there
        self._handler: AttemptFile | None = None
        self._stage = ""
        self._next_look = 0.0
        self._begun()

    def _begun(self) -> AttemptFile | None:
        if self._handler is None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            if not self.is_there():
                return None
            try:
                self._handler = AttemptFile(self.path)
            except OSError as error:
                self._next_look = math.inf
                log.warning("the log %s cannot be written: %s", self.path, error.strerror or error)
                return None
            self._handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
            self._handler.formatter.converter = time.gmtime  # type: ignore[union-attr]
        return self._handler

    def __enter__(self) -> LogFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._handler is not None:
            self._handler.close()

    def _write(self, text: str) -> None:
        if (handler := self._begun()) is not None:
            handler.handle(logging.makeLogRecord({"msg": text, "levelno": logging.INFO, "levelname": "INFO"}))

    def stage(self, name: str, fraction: float, percent: float) -> None:
        if name != self._stage:
            self._stage = name
            self._write(f"stage {name}")

    def batch(self, metrics: BatchMetrics, percent: float) -> None:
        """Batches are too many for a log."""

    def epoch(self, metrics: EpochMetrics, percent: float) -> None:
        self._write(f"epoch {metrics['epoch'] + 1}: train_loss {metrics['train_loss']:.6f}, val_loss {metrics['val_loss']:.6f}")

    def note(self, text: str) -> None:
        self._write(text)


def log_path(operation_id: str, attempt: int) -> Path:
    return Path(settings.LOG_DIR) / f"{operation_id}-{attempt}.log"


def log_file(operation_id: str, attempt: int) -> LogFile:
    """The watcher that writes it; while the folder is away the run goes without, and one that is not known yet is made."""
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
