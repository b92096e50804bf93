"""Checkpoints on disk: when to save one, how it gets there whole, which one to continue from. It moves bytes only.

A checkpoint is a folder CHECKPOINT_DIR/<operation>/<attempt>/epoch_<n>_<kind> with the parts and a
manifest of their sha256. It is written under a temporary name, synced and renamed, then recorded in
a database row; a whole folder without a row (the process died in between) is adopted.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from training.files import FolderError, manifest_sha256, read_folder, write_folder
from training.models import Checkpoint, Operation, Status
from training.values import Parts, Refusal

KEPT = 2
_FOLDER = re.compile(r"epoch_(\d+)_([a-z]+)$")


class CheckpointError(Refusal):
    """A checkpoint cannot be written or read: one sentence."""

    category = "resources"


class Schedule:
    """Whether a periodic checkpoint is due: after so many epochs, or so many seconds since the last one."""

    def __init__(self, epochs: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.epochs, self.seconds, self.clock = epochs, seconds, clock
        self.saved_at = clock()

    def due(self, epoch: int) -> bool:
        """`epoch` was just completed, counted from 0."""
        return (epoch + 1) % self.epochs == 0 or self.clock() - self.saved_at >= self.seconds

    def saved(self) -> None:
        self.saved_at = self.clock()


def save(operation_id: str, attempt: int, epoch: int, kind: str, parts: Parts) -> Checkpoint:
    """Write the parts and record them; of an operation's checkpoints the last two are kept. Raises CheckpointError."""
    root = Path(settings.CHECKPOINT_DIR)
    folder = f"{operation_id}/{attempt}/epoch_{epoch:06d}_{kind}"
    try:
        shutil.rmtree(root / folder, ignore_errors=True)  # the same epoch, saved but never recorded
        digest = write_folder(root / folder, parts)
    except OSError as error:
        raise CheckpointError(f"checkpoint of epoch {epoch} could not be saved in {root}: {error.strerror or error}") from error
    row, _ = Checkpoint.objects.update_or_create(
        folder=folder,
        defaults={
            "operation_id": operation_id, "attempt": attempt, "epoch": epoch, "kind": kind,
            "sha256": digest, "size": sum(map(len, parts.values())), "created": timezone.now(),
        },
    )  # fmt: skip
    for old in _in_order(operation_id)[KEPT:]:
        remove(old)
    return row


def newest(operation: Operation) -> tuple[Checkpoint | None, Parts, list[str]]:
    """The newest checkpoint that is whole, its parts, and a note for every damaged one passed over."""
    adopt(operation)
    notes = []
    for row in _in_order(operation.pk):
        try:
            return row, read(row), notes
        except CheckpointError as error:
            notes.append(f"{error}; it is removed and the one before it is used")
            remove(row)  # else it would take the place of one that is whole
    return None, {}, notes


def read(row: Checkpoint) -> Parts:
    """The parts of a checkpoint, each checked against its sha256. Raises CheckpointError if anything differs."""
    folder = Path(settings.CHECKPOINT_DIR) / row.folder
    try:
        parts = read_folder(folder)
        if manifest_sha256(folder) != row.sha256:
            raise CheckpointError(f"checkpoint {row.folder} is damaged: it is not the one that was recorded")
    except FolderError as error:
        raise CheckpointError(f"checkpoint {row.folder} is damaged: {error}") from error
    return parts


def adopt(operation: Operation) -> None:
    """Record whole checkpoint folders of an operation that have no row; remove half-written ones."""
    root = Path(settings.CHECKPOINT_DIR)
    known = set(operation.checkpoints.values_list("folder", flat=True))
    for unfinished in (root / operation.pk).glob("*/.new-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    for folder in _folders(root / operation.pk):
        name = str(folder.relative_to(root))
        match = _FOLDER.search(name)
        if name in known or match is None:
            continue
        try:
            parts, digest = read_folder(folder), manifest_sha256(folder)
        except FolderError:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        Checkpoint.objects.create(
            operation=operation, attempt=int(folder.parent.name), epoch=int(match[1]), kind=match[2], folder=name,
            sha256=digest, size=sum(map(len, parts.values())),
        )  # fmt: skip


def remove(row: Checkpoint) -> None:
    """The row first: a folder without a row can be adopted or swept, a row without a folder misleads."""
    folder = Path(settings.CHECKPOINT_DIR) / row.folder
    row.delete()
    shutil.rmtree(folder, ignore_errors=True)


def remove_after(operation_id: str, attempt: int, epoch: int) -> None:
    """The run went back to before these epochs: what is saved of them would be taken for newer than what it does now."""
    for row in Checkpoint.objects.filter(operation_id=operation_id, attempt=attempt, epoch__gt=epoch):
        remove(row)


def remove_all(operation_id: str) -> None:
    """A completed operation needs none of its checkpoints."""
    Checkpoint.objects.filter(operation_id=operation_id).delete()
    shutil.rmtree(Path(settings.CHECKPOINT_DIR) / operation_id, ignore_errors=True)


def prune(max_age_days: float) -> int:
    """Remove checkpoints older than so many days of operations that are not live; gives their number."""
    live = (Status.PENDING, Status.RUNNING, Status.CANCELLING)
    old = Checkpoint.objects.filter(created__lt=timezone.now() - timedelta(days=max_age_days)).exclude(operation__status__in=live)
    rows = list(old)
    for row in rows:
        remove(row)
    return len(rows)


def _in_order(operation_id: str) -> list[Checkpoint]:
    """Newest first: a later attempt continued from the best that an earlier one had left, even if that was nothing."""
    return list(Checkpoint.objects.filter(operation_id=operation_id).order_by("-attempt", "-epoch", "-created"))


def _folders(operation_folder: Path) -> Iterator[Path]:
    yield from sorted(p for p in operation_folder.glob("*/*") if p.is_dir() and p.parent.name.isdigit())
