"""Following an operation that another process runs: messages while it moves, the database for how it ended."""

from __future__ import annotations

import time

from training.core.values import BatchMetrics
from training.jobs.broadcast import Listener
from training.jobs.status import last_measured, waits_for
from training.management.terminal import Display
from training.models import Operation, Status

LOOK_SECONDS = 0.5
#: After so long without a message the row tells where the run stands.
SILENT_SECONDS = 2.0


def follow(operation_id: str, display: Display) -> str:
    """Show a run until it ends; gives its final status. Ctrl-C passes through as KeyboardInterrupt."""
    listener = Listener(operation_id)
    shown: dict[str, object] = {"notes": 0, "epoch": None, "queued": ""}
    looked = heard = 0.0
    try:
        while True:
            for message in listener.messages(LOOK_SECONDS):
                heard = time.monotonic()
                _show(message, display)
            if display.reader_left:
                raise BrokenPipeError
            if time.monotonic() - looked < LOOK_SECONDS:
                continue
            looked = time.monotonic()
            operation = Operation.objects.get(pk=operation_id)
            _show_row(operation, display, shown, silent=time.monotonic() - heard > SILENT_SECONDS)
            if not operation.is_open:
                return str(operation.status)
    finally:
        listener.close()


def _show(message: dict[str, object], display: Display) -> None:
    percent = float(message["percent"])  # type: ignore[arg-type]
    stage = str(message["stage"])
    if stage and stage != display.state.current:
        display.stage(stage, float(message["fraction"]), percent)  # type: ignore[arg-type]
    if "batch" in message and stage == "train":
        display.batch(_batch(message), percent)


def _batch(message: dict[str, object]) -> BatchMetrics:
    metrics = BatchMetrics(int(message["epochs"]), int(message["batches"]))  # type: ignore[call-overload]
    metrics.epoch, metrics.batch = int(message["epoch"]), int(message["batch"])  # type: ignore[call-overload]
    metrics.samples = int(message["samples"])  # type: ignore[call-overload]
    loss = float(message["loss"])  # type: ignore[arg-type]
    metrics.loss = lambda: loss
    return metrics


def _show_row(operation: Operation, display: Display, shown: dict[str, object], *, silent: bool) -> None:
    """What is kept: notes, epochs, and where the run stands if no message came."""
    for text in operation.notes[int(shown["notes"]) :]:  # type: ignore[call-overload]
        display.note(text)
    shown["notes"] = len(operation.notes)
    if operation.status == Status.PENDING and (text := waits_for(operation)) != shown["queued"]:
        display.note(text)
        shown["queued"] = text
    if silent and operation.stage and operation.stage != display.state.current:
        display.stage(operation.stage, 0.0, operation.percent)  # messages are quicker than the row
    row = last_measured(operation)
    if row is not None and row.pk != shown["epoch"]:
        shown["epoch"] = row.pk
        display.epoch(row.metrics, operation.percent)
