"""Deleting what a training left, and stored bars; never what a live operation needs; with a trace.

What a training left: rows first, in one transaction, then their files. A row that refers to files that are gone misleads;
files without a row only take space. Bars are the other way round, for their file is the truth: it goes last within the
transaction that removes the row, and comes back if that fails.
"""

from __future__ import annotations

import datetime as dt
import glob
import itertools
import json
import logging
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from training.access.audit import Actor, audit
from training.core.files import sync_folder
from training.jobs import homes
from training.jobs.fetches import is_lost
from training.jobs.lifecycle import OperationError
from training.jobs.requests import recorded_ranges
from training.models import OPEN, RESUMABLE, BarFetch, BarSeries, Checkpoint, Operation, Status, TrainedModel
from training.store.candles import locked, series_path
from training.store.coverage import DAY, DataError, day_start, source_of

#: States in which no process will write any more, unless somebody resumes.
FINAL = (Status.COMPLETED, *RESUMABLE)
#: Of the operations that could not be resumed more are not looked for: a page waits for the answer.
MOST_NAMED = 100
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


# --- stored bars -------------------------------------------------------------------------------


class NotStored(DataError):
    """There are no such bars to delete."""


def delete_series(symbol: str, timeframe: str, actor: Actor) -> int:
    """Remove a stored series, its file and its row, both or neither; gives the number of bars that were recorded.

    Raises OperationError while an operation or a fetch needs it, InUse while it is written, NotStored.
    """
    _must_be_there("bars")
    root = homes.require("bars")  # of a disk that is away nothing is known: its files are no rows without one
    path = series_path(root, symbol, timeframe)
    aside: Path | None = None
    with locked(root, symbol, timeframe, wait=False):
        try:
            with transaction.atomic():
                row = BarSeries.objects.select_for_update().filter(symbol=symbol, timeframe=timeframe).first()
                if row is None and not path.exists():
                    raise NotStored(f"no {timeframe} bars of {symbol} are stored")
                if why := why_kept(symbol, timeframe):
                    raise OperationError(why)
                rows = row.rows if row else 0
                BarSeries.objects.filter(symbol=symbol, timeframe=timeframe).delete()
                audit(actor, "delete", f"{symbol} {timeframe}", rows=rows, sha256=row.sha256 if row else "")
                aside = _set_aside(path)
        except BaseException:
            if aside is not None:
                aside.replace(path)
            raise
        if aside is not None:
            aside.unlink()
            sync_folder(root)
    return rows


def _set_aside(path: Path) -> Path | None:
    """The file under a name that the next writer sweeps away, should this process die before it is removed."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.replace(aside)
    except FileNotFoundError:
        return None  # the row alone was left
    except OSError as error:
        raise DataError(f"{path} cannot be removed: {error.strerror or error}; nothing was deleted") from error
    return aside


def why_kept(symbol: str, timeframe: str) -> str:
    """Why a series cannot be deleted now: the operation or the fetch that needs it; empty if none does."""
    for operation in _readers(symbol, timeframe, Q(status__in=OPEN) | Q(status=Status.FAILED, retry_at__isnull=False)):
        state = "waits to be tried again" if operation.waits_to_retry else f"is {operation.status}"
        return f"operation {operation.pk} {state} and reads {symbol} {timeframe}: cancel it first, or wait until it has ended"
    for fetch in BarFetch.objects.filter(symbol=symbol, timeframe=timeframe, status__in=OPEN):
        if not is_lost(fetch):
            return f"{symbol} {timeframe} is being fetched from {fetch.source}: stop the fetch first"
    return ""


def resumable_readers(symbol: str, timeframe: str) -> list[str]:
    """Ids of the stopped operations that could not be resumed without these bars, MOST_NAMED at most."""
    readers = _readers(symbol, timeframe, Q(status__in=RESUMABLE))
    return [operation.pk for operation in itertools.islice(readers, MOST_NAMED)]


def _readers(symbol: str, timeframe: str, which: Q) -> Iterator[Operation]:
    """The operations that read this series, for itself or to make a longer timeframe of it."""
    ranges = None
    for operation in _operations(which, symbol):
        if symbol not in operation.symbols:
            continue
        known = operation.sources.get(symbol, {})
        ranges = ranges or recorded_ranges()
        for wanted in operation.timeframes:
            if (known.get(wanted) or _source(ranges, symbol, wanted, operation.spec_data["training_data"])) == timeframe:
                yield operation
                break


def _operations(which: Q, symbol: str) -> QuerySet[Operation]:
    rows = Operation.objects.filter(which, spec__contains=json.dumps(symbol)).order_by("pk")
    return rows.only("pk", "status", "retry_at", "sources", "spec")


def _source(ranges: Any, symbol: str, timeframe: str, data: dict[str, Any]) -> str:
    """The stored timeframe that a run with these data will read, "" where nothing fits."""
    days = {**data.get("date_range", {}), **{name: data[f"{name}_date"] for name in ("start", "end") if data.get(f"{name}_date")}}
    first, last = (dt.date.fromisoformat(days[name]) if days.get(name) else None for name in ("start", "end"))
    try:
        return source_of(ranges, symbol, timeframe, day_start(first) if first else None, day_start(last) + DAY if last else None)
    except DataError:
        return ""


# --- what a training left ----------------------------------------------------------------------
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
