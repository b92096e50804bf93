"""Deleting what a training left: rows first, in one transaction, then their files; never of a live operation; with a trace.

A row that refers to files that are gone misleads; files without a row only take space.
"""

from __future__ import annotations

import glob
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from training import homes
from training.models import RESUMABLE, Checkpoint, Operation, Status, TrainedModel
from training.operations import OperationError
from training.requests import Actor, audit

#: States in which no process will write any more, unless somebody resumes.
FINAL = (Status.COMPLETED, *RESUMABLE)
log = logging.getLogger(__name__)


def delete_operation(operation_id: str, actor: Actor, *, with_model: bool = False) -> None:
    """Remove an operation with its metrics, checkpoints, analytics, logs and bundle folders. Raises OperationError.

    A trained model is only removed with it when that was asked for.
    """
    _must_be_there("checkpoints", "bundles")
    with transaction.atomic():
        operation = _final(operation_id)
        model = TrainedModel.objects.filter(operation=operation).first()
        if model is not None and not with_model:
            raise OperationError(f"{operation_id} trained the model {model.name}: delete the model first, or both together")
        if model is not None:
            _delete_model(model, actor)
        details = {"strategy": str(operation.strategy_version), "status": operation.status}
        operation.delete()
        audit(actor, "delete", operation_id, **details)
        _remove_on_commit(lambda: _files_of(operation_id))


def delete_model(model_id: Any, actor: Actor) -> None:
    """Remove a trained model and its bundle; its operation stays."""
    _must_be_there("bundles")
    with transaction.atomic():
        _delete_model(TrainedModel.objects.select_for_update().get(pk=model_id), actor)


def delete_checkpoint(checkpoint_id: Any, actor: Actor) -> None:
    """Remove one checkpoint, unless its operation may be using it. Raises OperationError."""
    _must_be_there("checkpoints")
    with transaction.atomic():
        row = Checkpoint.objects.filter(pk=checkpoint_id).first()
        if row is None:
            raise OperationError("the checkpoint was removed meanwhile")
        _final(row.operation_id)
        folder = Path(settings.CHECKPOINT_DIR) / row.folder
        row.delete()
        audit(actor, "delete", row.operation_id, checkpoint=row.folder)
        _remove_on_commit(lambda: [folder])


def _must_be_there(*names: str) -> None:
    """What lies in a folder that is away would stay there for ever."""
    for name in names:
        try:
            homes.require(name)
        except homes.Away as away:
            raise OperationError(f"nothing is deleted: {away}") from None


def _final(operation_id: str) -> Operation:
    """The operation, locked until the transaction ends, in a state in which nobody works on it."""
    operation = Operation.objects.select_for_update().filter(pk=operation_id).first()
    if operation is None:
        raise OperationError(f"{operation_id} is not stored any more")
    if operation.status not in FINAL:
        raise OperationError(f"{operation_id} is {operation.status}: cancel it first, nothing is deleted under a live operation")
    return operation


def _delete_model(model: TrainedModel, actor: Actor) -> None:
    folder = Path(settings.BUNDLE_DIR) / model.folder
    model.delete()
    audit(actor, "delete", model.name, operation=model.operation_id)
    _remove_on_commit(lambda: [folder])


def _files_of(operation_id: str) -> list[Path]:
    name = glob.escape(operation_id)
    found = [Path(settings.CHECKPOINT_DIR) / operation_id]
    found.append(Path(settings.ANALYTICS_DIR) / operation_id)
    found += Path(settings.BUNDLE_DIR).glob(f"{name}-*")
    return found + list(Path(settings.LOG_DIR).glob(f"{name}-*.log*"))


def _remove_on_commit(paths: Callable[[], Iterable[Path]]) -> None:
    transaction.on_commit(lambda: _remove(paths()))


def _remove(paths: Iterable[Path]) -> None:
    """Files that cannot be removed are told to the log: the rows are gone, which cannot be taken back."""
    for path in paths:
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s could not be removed: %s", path, error.strerror or error)
