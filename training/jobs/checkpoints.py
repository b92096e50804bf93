"""Checkpoints on disk: when to save one, how it gets there whole, which one to continue from. It moves bytes only.

A checkpoint is a folder CHECKPOINT_DIR/<operation>/<attempt>/epoch_<n>_<kind> with the parts and a
manifest of their sha256. It is written under a temporary name, synced and renamed, then recorded in
a database row; a whole folder without a row (the process died in between) is adopted. Nothing is judged or removed
while CHECKPOINT_DIR is not the folder that the database knows; what was read and is damaged is put aside.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from training.core.files import FolderError, Missing, Unreachable, manifest_sha256, read_folder, write_folder
from training.core.values import Parts, Refusal
from training.jobs import homes
from training.models import Checkpoint, Operation, Status

KEPT = 2
#: The end of the name of what was damaged: nothing reads it, and it goes with its operation or as other old ones do.
ASIDE = ".damaged"
DAY_SECONDS = 86400.0
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


@dataclass(frozen=True)
class Written:
    """A checkpoint whose folder is whole on disk and that has no row yet."""

    operation_id: str
    attempt: int
    epoch: int
    kind: str
    folder: str
    sha256: str
    size: int


def save(operation_id: str, attempt: int, epoch: int, kind: str, parts: Parts) -> Checkpoint:
    """Write the parts and record them; see `write` and `record`."""
    return record(write(operation_id, attempt, epoch, kind, parts))


def write(operation_id: str, attempt: int, epoch: int, kind: str, parts: Parts) -> Written:
    """Put the parts on disk, whole. Raises CheckpointError, and Away while the folder is not there."""
    root = homes.require("checkpoints")
    folder = f"{operation_id}/{attempt}/epoch_{epoch:06d}_{kind}"
    try:
        for parent in (root / operation_id, (root / folder).parent):
            parent.mkdir(exist_ok=True)
        shutil.rmtree(root / folder, ignore_errors=True)  # the same epoch, saved but never recorded
        digest = write_folder(root / folder, parts)
    except OSError as error:
        homes.require("checkpoints")  # it may have gone meanwhile
        raise CheckpointError(f"checkpoint of epoch {epoch} could not be saved in {root}: {error.strerror or error}") from error
    homes.require("checkpoints")  # what was written into an empty place is not saved
    return Written(operation_id, attempt, epoch, kind, folder, digest, sum(map(len, parts.values())))


def record(written: Written, before: Callable[[], None] = lambda: None) -> Checkpoint:
    """The row of what is on disk; of an operation's checkpoints the last two are kept.

    `before` is called in the transaction that records it.
    """
    values = asdict(written)
    with transaction.atomic():
        before()
        row, _ = Checkpoint.objects.update_or_create(folder=values.pop("folder"), defaults={**values, "created": timezone.now()})
    for old in _in_order(written.operation_id)[KEPT:]:
        remove(old)
    return row


def newest(operation: Operation) -> tuple[Checkpoint | None, Parts, list[str]]:
    """The newest checkpoint that is whole, its parts, and a note for every other one passed over.

    Away or CheckpointError while one cannot be reached: of its content nothing is known, so nothing is passed over.
    """
    homes.require("checkpoints")
    adopt(operation)
    notes = []
    for row in _in_order(operation.pk):
        try:
            return row, read(row), notes
        except CheckpointError as error:
            if isinstance(error.__cause__, OSError):
                raise
            homes.require("checkpoints")  # gone meanwhile, it has nothing in it
            missing = isinstance(error.__cause__, Missing)
            aside = "" if missing else f" and put aside as {_put_aside(row.folder)}"
            notes.append(f"{error}{aside}; the one before it is used")
            row.delete()  # else it would take the place of one that is whole; found again, it is adopted
    return None, {}, notes


def read(row: Checkpoint) -> Parts:
    """The parts of a checkpoint, each checked against its sha256.

    CheckpointError if anything differs; one that comes of Missing or of OSError if there was nothing to compare.
    """
    folder = Path(settings.CHECKPOINT_DIR) / row.folder
    try:
        parts = read_folder(folder)
        if manifest_sha256(folder) != row.sha256:
            raise CheckpointError(f"checkpoint {row.folder} is damaged: it is not the one that was recorded")
    except Missing as error:
        raise CheckpointError(f"checkpoint {row.folder} is missing") from error
    except Unreachable as error:
        text = f"checkpoint {row.folder} cannot be reached: {error}; nothing was removed, resume once it can be read"
        raise CheckpointError(text) from error.__cause__  # the system's own, which tells whether it passes
    except FolderError as error:
        raise CheckpointError(f"checkpoint {row.folder} is damaged: {error}") from error
    return parts


def adopt(operation: Operation) -> None:
    """Record whole checkpoint folders of an operation that have no row; put damaged ones aside, remove half-written ones."""
    root = homes.require("checkpoints")
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
        except (Missing, Unreachable):
            continue
        except FolderError:
            _put_aside(name)
            continue
        Checkpoint.objects.create(
            operation=operation, attempt=int(folder.parent.name), epoch=int(match[1]), kind=match[2], folder=name,
            sha256=digest, size=sum(map(len, parts.values())),
        )  # fmt: skip


def _put_aside(name: str) -> str:
    """What was damaged is kept under another name, for whoever wants to know why; gives that name."""
    folder = homes.require("checkpoints") / name
    aside, number = folder.with_name(f"{folder.name}{ASIDE}"), 1
    while aside.exists():
        number += 1
        aside = folder.with_name(f"{folder.name}{ASIDE}-{number}")
    try:
        folder.rename(aside)
    except OSError as error:
        text = f"checkpoint {name} is damaged and could not be put aside: {error.strerror or error}"
        raise CheckpointError(text) from error
    return aside.name


def discard(written: Written) -> None:
    """What was written for an operation that another process has taken over meanwhile: nobody would sweep it.

    Unless that one has found and recorded it: then it may have to be continued from.
    """
    if Checkpoint.objects.filter(folder=written.folder).exists():
        return
    shutil.rmtree(Path(settings.CHECKPOINT_DIR) / written.folder, ignore_errors=True)


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
    """A completed operation needs none of its checkpoints. Away while they are not there."""
    root = homes.require("checkpoints")
    Checkpoint.objects.filter(operation_id=operation_id).delete()
    shutil.rmtree(root / operation_id, ignore_errors=True)


def prune(max_age_days: float) -> int:
    """Remove checkpoints older than so many days of operations that are not live; gives their number.

    None while the folder is not there: rows of what was not removed would be gone.
    """
    if not homes.is_there("checkpoints"):
        return 0
    live = (Status.PENDING, Status.RUNNING, Status.CANCELLING)
    old = Checkpoint.objects.filter(created__lt=timezone.now() - timedelta(days=max_age_days)).exclude(operation__status__in=live)
    rows = list(old)
    for row in rows:
        remove(row)
    for aside in Path(settings.CHECKPOINT_DIR).glob(f"*/*/*{ASIDE}*"):
        if time.time() - aside.stat().st_mtime > max_age_days * DAY_SECONDS:
            shutil.rmtree(aside, ignore_errors=True)
    return len(rows)


def _in_order(operation_id: str) -> list[Checkpoint]:
    """Newest first: a later attempt continued from the best that an earlier one had left, even if that was nothing."""
    return list(Checkpoint.objects.filter(operation_id=operation_id).order_by("-attempt", "-epoch", "-created"))


def _folders(operation_folder: Path) -> Iterator[Path]:
    yield from sorted(p for p in operation_folder.glob("*/*") if p.is_dir() and p.parent.name.isdigit())
