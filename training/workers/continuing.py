"""Continuing: what a later attempt shares with the first, the very same bars and the newest checkpoint, or why it may not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.db import transaction

from strategies_app.grammar import plugins
from training.core.values import Parts
from training.jobs import checkpoints, lifecycle
from training.jobs.progress import Progress, row_of
from training.jobs.status import replaced
from training.models import Checkpoint, EpochMetric, Operation

if TYPE_CHECKING:
    from training.pipeline.loading import RunBars


def same_bars(operation: Operation, bars: RunBars) -> None:
    """The first attempt records which bars it uses; a later one must use the very same."""
    used = {name: {s: dict(v) for s, v in getattr(bars, name).items()} for name in ("fingerprints", "sources", "first_bars")}
    if not operation.fingerprints:
        Operation.objects.filter(pk=operation.pk, attempt=operation.attempt).update(**used)
        return
    seen = used["fingerprints"]
    for symbol, timeframes in operation.fingerprints.items():
        for timeframe, digest in timeframes.items():
            if seen.get(symbol, {}).get(timeframe) != digest:
                raise lifecycle.OtherBars(
                    f"the stored bars of {symbol} {timeframe} are not those that {operation.pk} was started with; "
                    "load the former bars again, or start a new training"
                )


def continue_from(operation: Operation, progress: Progress, device: str, threads: int, allow_inexact: bool) -> Parts | None:
    """The checkpoint's parts, None for a fresh start. Refuses a continuation that is not exact unless allowed."""
    from training.trainer.state import differences

    if operation.attempt == 1:
        return None
    row, parts, notes = checkpoints.newest(operation)
    for text in notes:
        progress.note(text)
    if row is None:
        other = plugins.differences(operation.plugins)
        ends = f"with other code: {'; '.join(other)}" if other else "and ends in the same weights"
        certificate = f"no checkpoint: starts again at the first epoch, {ends}"
        parts = {}
    else:
        differing = differences(parts, device, threads)
        if differing and not allow_inexact:
            raise lifecycle.OperationError(
                f"continuing from epoch {row.epoch + 2} would not be bit for bit: {'; '.join(differing)}; "
                "to continue all the same, add --allow-inexact"
            )
        how = f"not bit for bit: {'; '.join(differing)}" if differing else "bit for bit"
        certificate = f"continues {how} from epoch {row.epoch + 2}"
        patch_history(row, parts)
    progress.note(certificate)
    Operation.objects.filter(pk=operation.pk, attempt=operation.attempt).update(certificate=certificate)
    return parts or None


def patch_history(row: Checkpoint, parts: Parts) -> None:
    """Epochs that a checkpoint tells of and the table does not: the process died before they were recorded."""
    told = {metrics["epoch"]: metrics for metrics in json.loads(parts["state.json"]).get("history", ())}
    gone = replaced(row.operation)
    kept = {epoch for key, epoch in row.operation.epoch_metrics.values_list("pk", "epoch") if key not in gone}
    missing = sorted(set(told) - kept)
    if not missing:
        return
    with transaction.atomic():  # what is recorded later takes the place of all that follows it, so all of it is
        row.operation.epoch_metrics.filter(attempt=row.attempt, epoch__gte=missing[0]).delete()
        EpochMetric.objects.bulk_create(
            row_of(row.operation_id, row.attempt, told[epoch]) for epoch in sorted(told) if epoch >= missing[0]
        )
