"""Where an operation stands at this moment: from its row, its last epoch, and what the running process publishes."""

from __future__ import annotations

from statistics import median
from typing import Any

from training.jobs.broadcast import Listener
from training.jobs.estimates import PACE_EPOCHS
from training.jobs.replaced import last_measured
from training.jobs.waiting import waits_for
from training.models import Operation, Status

#: A running training publishes five times a second; who asks waits so long for its next word.
LISTEN_SECONDS = 0.25


def standing_of(operation: Operation) -> dict[str, Any]:
    """State, stage, percent, epoch, batch, remaining seconds, metrics of the last epoch, warnings."""
    last = last_measured(operation)
    live = _published(operation) if operation.status == Status.RUNNING and operation.queue else {}
    in_training = live.get("stage") == "train"
    return {
        "operation_id": operation.pk,
        "status": operation.status,
        "state": operation.status,
        "waiting_for": waits_for(operation),
        "attempt": operation.attempt,
        "stage": operation.stage,
        "percent": max(operation.percent, live.get("percent", 0.0)),
        "epoch": operation.epoch,
        "batch": live.get("batch") if in_training else None,
        "batches": live.get("batches") if in_training else None,
        "eta_seconds": live.get("eta") or remaining_seconds(operation),
        "metrics": last.metrics if last else {},
        "warnings": operation.notes,
        "error": operation.error,
        "failure": operation.failure or None,
    }


def remaining_seconds(operation: Operation) -> float | None:
    """Of the epochs that are left, at the pace of this attempt's latest ones; None while nothing can be said.

    Not of its first epoch, nor of what came before: there a process imports, compiles and fills caches.
    """
    if operation.status != Status.RUNNING or operation.stage != "train":
        return None
    rows = operation.epoch_metrics.filter(attempt=operation.attempt).order_by("-pk")
    latest = [(epoch, seconds) for epoch, seconds in rows.values_list("epoch", "metrics__seconds")[: PACE_EPOCHS + 1] if seconds]
    if len(latest) < 2:
        return None
    left = operation.epochs - latest[0][0] - 1
    return round(max(left, 0) * median(seconds for _, seconds in latest[:-1]), 1)


def _published(operation: Operation) -> dict[str, Any]:
    """The next message of the present attempt, {} if none comes in time."""
    listener = Listener(operation.pk)
    try:
        message = next(iter(listener.messages(LISTEN_SECONDS)), {})
    finally:
        listener.close()
    return message if message.get("attempt") == operation.attempt else {}
