"""Epochs that are not part of a run any more: a later attempt did them again, or went back to before them.

An epoch that is measured again takes the place of itself and of all that followed it then, whoever measured those. Rows of
the attempt that went back are gone; those of earlier attempts stay, as what was measured then, and count no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from training.models import EpochMetric, Operation


def replaced_among(newest_first: Iterable[tuple[int, int]]) -> set[int]:
    """Of (key, epoch) from the newest to the oldest, the keys whose place a later one took."""
    found, least = set[int](), float("inf")
    for key, epoch in newest_first:
        if epoch >= least:
            found.add(key)
        least = min(least, epoch)
    return found


def replaced(operation: Operation, since: int = 0) -> set[int]:
    """Keys of the rows after `since` that count no more."""
    rows = operation.epoch_metrics.filter(pk__gt=since).order_by("-pk")
    return replaced_among(rows.values_list("pk", "epoch").iterator())


def last_measured(operation: Operation) -> EpochMetric | None:
    """Not the highest epoch: an earlier attempt may have come further."""
    return operation.epoch_metrics.order_by("-pk").first()


def counted_losses(operation: Operation) -> list[Any]:
    """Validation losses of the epochs that count."""
    gone = replaced(operation)
    return [loss for key, loss in operation.epoch_metrics.values_list("pk", "val_loss") if key not in gone]
