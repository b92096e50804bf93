"""An operation in the words of the admin: what changes while it runs, its data, its epochs and its checkpoints."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from training.admin.parts import NOTHING, address_of, ago, figure, measure, size, span
from training.jobs.status import remaining_seconds
from training.models import LIVE, Checkpoint, EpochMetric, Operation, Status


def live_values(operation: Operation) -> dict[str, Any]:
    """What of an operation changes while it runs, in the words of the page. `mark` changes when more than these did."""
    epoch = f"epoch {operation.epoch + 1}" if operation.epoch is not None else ""
    doing = operation.stage if operation.status in LIVE else ""
    return {
        "status": operation.status,
        "percent": round(operation.percent, 1),
        "share": f"{operation.percent:.0f}%",
        "doing": ", ".join(filter(None, (doing, epoch))),
        "duration": duration(operation),
        "left": f"about {span(left)} left" if (left := remaining_seconds(operation)) is not None else "",
        "where": where(operation),
        "attempt": operation.attempt,
        "live": operation.is_unsettled,
        "mark": f"{operation.attempt} {operation.status} {operation.epoch}",
    }


def duration(operation: Operation) -> str:
    """Of the present attempt."""
    if operation.started is None or operation.status == Status.PENDING:
        return NOTHING
    end = operation.finished or timezone.now()
    return span(max((end - operation.started).total_seconds(), 0.0))


def where(operation: Operation) -> str:
    """Queue and device; an attempt in the starter's own process has no queue."""
    return " · ".join(filter(None, (operation.queue or "own process", operation.device)))


def live_span(operation: Operation, field: str, value: str) -> SafeString:
    return format_html('<span data-live="{}" data-operation="{}">{}</span>', field, operation.pk, value)


def failure_lines(operation: Operation) -> list[str]:
    return [f"{word.capitalize()}: {text}" for word, text in operation.failure_lines.items()]


#: What validation measured of classes and of returns, per epoch: key, word, how it is written.
_OF_CLASSES = (
    ("val_accuracy", "Labels right", "share"), ("val_balanced_accuracy", "Balanced", "figure"), ("val_mcc", "MCC", "figure"),
)  # fmt: skip
_OF_RETURNS = (("val_mae", "MAE", "return"), ("val_r2", "R²", "figure"), ("val_ic", "IC", "figure"))


def epoch_columns(metrics: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    return _OF_RETURNS if "val_mae" in metrics else _OF_CLASSES


def metric_line(row: EpochMetric, replaced: Container[int]) -> dict[str, Any]:
    of = row.metrics
    return {
        "replaced": row.pk in replaced,
        "epoch": row.epoch + 1, "attempt": row.attempt, "train_loss": figure(row.train_loss), "val_loss": figure(row.val_loss),
        "measures": [measure(of.get(key), how) for key, _, how in epoch_columns(of)],
        "rate": f"{of['learning_rate']:.3g}" if isinstance(of.get("learning_rate"), float) else NOTHING,
    }  # fmt: skip


def checkpoint_line(row: Checkpoint) -> dict[str, Any]:
    return {"row": row, "page": address_of(row), "epoch": row.epoch + 1, "size": size(row.size), "age": ago(row.created)}
