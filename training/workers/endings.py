"""Endings: completed with a model, stopped with a checkpoint, or failed; the row says which, and what was kept."""

from __future__ import annotations

import logging
import shutil
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, IntegrityError, close_old_connections, transaction
from django.utils import timezone

from training.core.values import Cancelled, Refusal
from training.jobs import checkpoints, homes, lifecycle
from training.jobs.failures import TRANSIENT, Moment, category_of, failure_of
from training.jobs.logs import write_traceback
from training.jobs.progress import Progress
from training.jobs.recording import patiently
from training.models import Operation, Status, TrainedModel

CANCELLED = "stopped on request (cancellation)"
log = logging.getLogger(__name__)


def record(
    operation: Operation, attempt: int, folder: str, digest: str, metrics: dict[str, object], stage_seconds: dict[str, float]
) -> None:
    """Completed and its model, in one transaction; nothing if a first try did it whose answer was lost."""
    if TrainedModel.objects.filter(operation=operation, folder=folder).exists():
        return
    with transaction.atomic():
        if not lifecycle.finish(operation.pk, attempt, stage_seconds=stage_seconds):
            raise Cancelled("another process took this operation over", kind="superseded")
        model = TrainedModel(operation=operation, folder=folder, sha256=digest, metrics=metrics)
        _name(model)


def _name(model: TrainedModel) -> None:
    """Save under the strategy's name and the next free number."""
    stem = model.operation.name
    number = TrainedModel.objects.filter(operation__strategy_version__strategy__name=stem).count() + 1
    while True:
        model.name = f"{stem}-{number}"
        try:
            with transaction.atomic():
                model.save()
                return
        except IntegrityError:
            if not TrainedModel.objects.filter(name=model.name).exists():
                raise
            number += 1


def sweep(operation: Operation, folder: str) -> None:
    """A completed operation needs its bundle and nothing else of what its attempts left."""
    try:
        patiently(lambda: checkpoints.remove_all(operation.pk), operation.pk)
    except homes.Away as away:
        log.warning("the checkpoints of %s stay, and go when they are old: %s", operation.pk, away)
    for pattern in (f"{operation.pk}-*", f".new-{operation.pk}-*"):  # left by an attempt killed while saving
        for rest in Path(settings.BUNDLE_DIR).glob(pattern):
            if rest.name != folder:
                shutil.rmtree(rest, ignore_errors=True)


def stopped(progress: Progress, stop: Cancelled) -> str:
    if stop.kind == "superseded":
        shutil.rmtree(Path(settings.BUNDLE_DIR) / f"{progress.operation_id}-{progress.attempt}", ignore_errors=True)
        return "superseded"
    if progress.is_left:
        return Status.CANCELLED
    _keep(progress, stop.kind)
    status = Status.CANCELLED if stop.kind == "cancellation" else Status.INTERRUPTED
    reason = CANCELLED if stop.kind == "cancellation" else f"stopped on request ({stop.kind})"
    patiently(lambda: lifecycle.stop(progress.operation_id, progress.attempt, status, reason), progress.operation_id)
    return status


def failed(progress: Progress, error: Exception) -> str:
    """Save what can be saved, and record what it was; when it is tried again, the reaper does it."""
    identity = (progress.operation_id, progress.attempt)
    if not isinstance(error, Refusal):
        write_traceback(*identity, error)
    if found := getattr(error, "findings", ()):
        from training.core.findings import kept

        progress.on_checks({"data": kept(found)})
    _keep(progress, "failure")
    operation = patiently(lambda: Operation.objects.get(pk=progress.operation_id), progress.operation_id)
    newest = patiently(operation.checkpoints.first, progress.operation_id)
    pause = _pause(operation, error)
    epoch, epochs = progress.epoch_under_way
    failure = failure_of(error, Moment(progress.stage, epoch, epochs, newest.epoch + 1 if newest else None, pause))
    log.warning("%s attempt %s failed (%s): %s", *identity, failure.category, failure.cause)
    told = {"failure": failure.plain(), "retry_at": None if pause is None else timezone.now() + timedelta(seconds=pause)}
    patiently(lambda: lifecycle.fail(*identity, failure.cause, **told), progress.operation_id)
    return Status.FAILED


def _pause(operation: Operation, error: Exception) -> float | None:
    """Seconds until it is tried again: only what passes by itself, only on a worker, so often and each time twice as late."""
    if category_of(error) != TRANSIENT or not operation.queue or operation.retries >= settings.RETRIES:
        return None
    return float(settings.RETRY_SECONDS * 2**operation.retries)


def _keep(progress: Progress, kind: str) -> None:
    """Save what can be saved, and bring the row up to date as far as it is still ours."""
    try:
        progress.save(kind)  # first, as it may be stopped by force
        progress.settle()
        progress.write()
    except Cancelled:
        log.warning("%s attempt %s was taken over while it ended", progress.operation_id, progress.attempt)
    except DatabaseError as error:  # the reason that the run ended for matters more
        log.warning("%s: its last state could not be written: %s", progress.operation_id, error)
        close_old_connections()
