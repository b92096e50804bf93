"""Checkpoints are whole or not there, the last two are kept, damage is told, and a disk that is full costs no run."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import OperationalError
from django.utils import timezone

from strategies_app.models import Strategy
from tests.examples.homes import STRATEGY
from training.core.values import BatchMetrics, Cancelled
from training.jobs import checkpoints, homes, lifecycle
from training.jobs import progress as progress_module
from training.jobs.failures import category_of
from training.jobs.progress import STAGES, Progress, learned_weights
from training.models import Checkpoint, EpochMetric, Operation

pytestmark = pytest.mark.django_db
METRICS = {"train_loss": 1.0, "val_loss": 1.0, "samples_per_second": 1.0}


@pytest.fixture
def operation(settings, tmp_path: Path) -> Operation:
    settings.CHECKPOINT_DIR = tmp_path
    version = Strategy.objects.import_text(STRATEGY.format(name="saved", epochs=1, batch_size=32))
    operation = lifecycle.start(version, {})
    lifecycle.claim(operation.pk, 1)
    homes.require("checkpoints")
    return operation


def save(operation: Operation, epoch: int, content: bytes = b"state") -> Checkpoint:
    return checkpoints.save(operation.pk, 1, epoch, "periodic", {"model": content, "state": b"{}"})


def test_the_last_two_are_kept_and_the_newest_comes_back(operation: Operation, tmp_path: Path) -> None:
    for epoch in range(4):
        save(operation, epoch, f"epoch {epoch}".encode())
    assert sorted(p.name for p in (tmp_path / operation.pk / "1").iterdir()) == ["epoch_000002_periodic", "epoch_000003_periodic"]
    row, parts, notes = checkpoints.newest(operation)
    assert (row is not None and row.epoch, parts["model"], notes) == (3, b"epoch 3", [])


@pytest.mark.parametrize("file", ["model", "state", "manifest.json"])
def test_a_changed_byte_is_told_and_the_one_before_is_used(operation: Operation, tmp_path: Path, file: str) -> None:
    save(operation, 1, b"older")
    newest = tmp_path / save(operation, 2).folder / file
    newest.write_bytes(newest.read_bytes().replace(b"a", b"b") if file == "manifest.json" else b"changed")
    row, parts, (note,) = checkpoints.newest(operation)
    assert row is not None and row.epoch == 1 and parts["model"] == b"older"
    assert "epoch_000002_periodic is damaged" in note and "put aside as epoch_000002_periodic.damaged" in note
    assert (newest.parent.with_name("epoch_000002_periodic.damaged") / file).exists(), "what was damaged is kept"
    assert [row.epoch for row in operation.checkpoints.all()] == [1]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_one_moment_in_which_a_checkpoint_cannot_be_reached_removes_nothing(
    operation: Operation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    save(operation, 1, b"older")
    newest = save(operation, 2, b"newest")
    really = os.open

    def unreachable(path: object, *arguments: object, **more: object) -> int:
        if str(path).endswith("epoch_000002_periodic/model"):
            raise OSError(number, os.strerror(number))
        return really(path, *arguments, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", unreachable)
        with pytest.raises(checkpoints.CheckpointError, match=r"cannot be reached.*nothing was removed") as refused:
            checkpoints.newest(operation)
    assert category_of(refused.value) == ("resources" if number == errno.EACCES else "transient"), "who tries again by itself"
    row, parts, notes = checkpoints.newest(operation)
    assert (row, parts["model"], notes) == (newest, b"newest", [])


@pytest.mark.parametrize("instead", [Path.mkdir, os.mkfifo])
def test_something_else_in_the_place_of_a_file_removes_nothing(
    operation: Operation, tmp_path: Path, instead: Callable[[Path], None]
) -> None:
    newest = save(operation, 2, b"newest")
    file = tmp_path / newest.folder / "model"
    file.rename(tmp_path / "elsewhere")
    instead(file)
    with pytest.raises(checkpoints.CheckpointError, match="cannot be reached"):
        checkpoints.newest(operation)
    file.rmdir() if file.is_dir() else file.unlink()
    (tmp_path / "elsewhere").rename(file)
    assert checkpoints.newest(operation)[:2] == (newest, {"model": b"newest", "state": b"{}"})


def test_a_checkpoint_that_is_gone_is_said_and_is_taken_again_when_it_is_back(operation: Operation, tmp_path: Path) -> None:
    save(operation, 1, b"older")
    newest = save(operation, 2, b"newest").folder
    (tmp_path / newest).rename(tmp_path / "elsewhere")
    row, _, notes = checkpoints.newest(operation)
    assert row is not None and (row.epoch, notes) == (1, [f"checkpoint {newest} is missing; the one before it is used"])
    (tmp_path / "elsewhere").rename(tmp_path / newest)
    row, parts, _ = checkpoints.newest(operation)
    assert row is not None and (row.folder, parts["model"]) == (newest, b"newest")


def test_epochs_are_recorded_with_the_checkpoint_that_covers_them_or_not_at_all(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress(operation.pk, 1, checkpoints.Schedule(2, 1e9), clock=lambda: 0.0)
    progress.on_epoch_end({"epoch": 0, **METRICS}, dict)

    def broken(*arguments: object, **more: object) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint.objects, "update_or_create", broken)
        patch.setattr(progress_module, "close_old_connections", lambda: None)  # it is the test's own
        progress.on_epoch_end({"epoch": 1, **METRICS}, lambda: {"state.json": b"{}"})
    assert operation.epoch_metrics.count() == 1 and not operation.checkpoints.exists()
    progress.request_stop("shutdown")
    assert progress.save("shutdown")
    assert list(operation.epoch_metrics.values_list("epoch", flat=True)) == [0, 1]
    assert operation.checkpoints.get().epoch == 1


def test_a_whole_folder_without_a_row_is_adopted_and_a_damaged_one_put_aside(operation: Operation, tmp_path: Path) -> None:
    whole = save(operation, 5)
    Checkpoint.objects.all().delete()
    half = tmp_path / operation.pk / "1" / "epoch_000009_periodic"
    half.mkdir()
    (half / "model").write_bytes(b"half")
    row, parts, _ = checkpoints.newest(operation)
    assert row is not None and row.folder == whole.folder and row.epoch == 5 and parts["model"] == b"state"
    assert not half.exists() and (half.with_name("epoch_000009_periodic.damaged") / "model").read_bytes() == b"half"


def test_a_full_disk_is_noted_and_the_run_goes_on(operation: Operation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress(operation.pk, 1, checkpoints.Schedule(1, 1e9))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for epoch in range(3):
            progress.on_epoch_end({"epoch": epoch, **METRICS}, lambda: {"model": b"0"})
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [homes.MARK]
    told = [f"checkpoint of epoch 0 could not be saved in {tmp_path}: No space left on device"]
    assert progress.notes == told, "once, not for every epoch"
    progress.on_epoch_end({"epoch": 3, **METRICS}, lambda: {"model": b"1"})
    assert checkpoints.newest(operation)[1] == {"model": b"1"}


def test_a_checkpoint_is_due_by_epochs_or_by_seconds() -> None:
    now = [0.0]
    schedule = checkpoints.Schedule(10, 300, clock=lambda: now[0])
    assert [epoch for epoch in range(25) if schedule.due(epoch)] == [9, 19]
    now[0] = 301
    assert schedule.due(3)
    schedule.saved()
    assert not schedule.due(3)


def test_old_checkpoints_of_stopped_operations_are_pruned(operation: Operation, tmp_path: Path) -> None:
    row = save(operation, 1)
    Checkpoint.objects.update(created=timezone.now() - timedelta(days=31))
    assert checkpoints.prune(30) == 0, "the operation is running"
    lifecycle.fail(operation.pk, 1, "broken")
    assert checkpoints.prune(30) == 1
    assert not (tmp_path / row.folder).exists()


def test_a_stop_inside_an_epoch_saves_the_end_of_the_last_one(operation: Operation) -> None:
    progress = Progress(operation.pk, 1, checkpoints.Schedule(10, 1e9))
    progress.on_epoch_end({"epoch": 0, **METRICS}, lambda: {"model": b"end of epoch 0"})
    progress.request_stop("cancellation")
    with pytest.raises(Cancelled):
        progress.on_batch_end(batch(1))
    assert progress.save("cancellation")
    row, parts, _ = checkpoints.newest(operation)
    assert row is not None and (row.epoch, row.kind) == (0, "cancellation") and parts == {"model": b"end of epoch 0"}


def test_before_the_first_epoch_there_is_nothing_to_save(operation: Operation) -> None:
    assert not Progress(operation.pk, 1, checkpoints.Schedule(10, 1e9)).save("cancellation")
    assert checkpoints.newest(operation) == (None, {}, [])


def test_the_percentage_never_goes_back_and_epochs_are_kept(operation: Operation) -> None:
    now = [0.0]
    progress = Progress(operation.pk, 1, checkpoints.Schedule(10, 1e9), clock=lambda: now[0])
    seen = []
    for stage, fraction in (("load", 0.0), ("load", 1.0), ("features", 0.5), ("labels", 0.0), ("features", 0.2), ("train", 0.0)):
        progress.on_stage(stage, fraction)
        seen.append(progress.percent)
    for epoch in range(2):
        now[0] += 2
        progress.on_batch_end(batch(epoch))
        progress.on_epoch_end({"epoch": epoch, **METRICS}, dict)
        seen.append(progress.percent)
    assert seen == sorted(seen)
    progress.write()
    assert list(EpochMetric.objects.values_list("attempt", "epoch")) == [(1, 0), (1, 1)]
    operation.refresh_from_db()
    assert (operation.stage, operation.epoch) == ("train", 1)


def test_a_run_notices_that_it_was_cancelled_or_taken_over(operation: Operation) -> None:
    progress = Progress(operation.pk, 1, checkpoints.Schedule(10, 1e9), clock=iter(range(0, 1000, 2)).__next__)
    lifecycle.request_cancel(operation.pk)
    with pytest.raises(Cancelled, match="cancellation"):
        progress.on_batch_end(batch(0))
    lifecycle.stop(operation.pk, 1, lifecycle.Status.CANCELLED, "")
    lifecycle.resume(operation.pk)
    with pytest.raises(Cancelled, match="took this operation over") as stop:
        Progress(operation.pk, 1, checkpoints.Schedule(10, 1e9), clock=iter(range(0, 1000, 2)).__next__).on_batch_end(batch(0))
    assert stop.value.kind == "superseded"


def test_what_was_written_by_who_was_taken_over_goes_unless_the_other_has_found_it(operation: Operation, tmp_path: Path) -> None:
    found, late = (checkpoints.write(operation.pk, 1, epoch, "periodic", {"model": b"m", "state": b"{}"}) for epoch in (4, 9))
    checkpoints.record(found)  # as the next attempt does with what it finds on disk
    for written in (found, late):
        checkpoints.discard(written)
    assert [(tmp_path / written.folder).exists() for written in (found, late)] == [True, False]


def batch(epoch: int) -> BatchMetrics:
    metrics = BatchMetrics(epochs=10, batches=4)
    metrics.epoch, metrics.batch = epoch, 2
    return metrics


def test_stages_are_weighed_by_what_the_last_run_took(operation: Operation) -> None:
    assert learned_weights(operation.pk) is STAGES
    took = {"load": 8.0, "train": 1.0, "save": 1.0}
    assert lifecycle.finish(operation.pk, 1, stage_seconds=took)
    again = lifecycle.start(operation.strategy_version, {})
    progress = Progress(again.pk, 1, checkpoints.Schedule(10, 1e9), weights=learned_weights(again.pk))
    lifecycle.claim(again.pk, 1)
    progress.on_stage("load", 1.0)
    assert progress.percent == pytest.approx(100 * 8 / (10 + 7 * 0.05))


def test_the_time_of_each_stage_is_kept(operation: Operation) -> None:
    now = [0.0]
    progress = Progress(operation.pk, 1, checkpoints.Schedule(10, 1e9), clock=lambda: now[0])
    for name, seconds in (("load", 2.0), ("train", 5.0), ("train", 1.0), ("save", 0.0)):
        progress.on_stage(name, 0.0)
        now[0] += seconds
    assert progress.stage_seconds == {"load": 2.0, "train": 6.0}


def test_a_run_that_went_back_leaves_the_rows_and_checkpoints_of_its_new_way_alone(operation: Operation) -> None:
    progress = Progress(operation.pk, 1, checkpoints.Schedule(1, 1e9))
    told = {"kind": "rollback", "since": 3, "seen": "it diverged", "advice": "", "text": "epoch 4: it diverged; went back"}

    def epoch(number: int, loss: float, **more: object) -> None:
        metrics = {"epoch": number, "train_loss": loss, "val_loss": loss, "samples_per_second": 1.0, **more}
        progress.on_epoch_end(metrics, lambda: {"state.json": b"%d %f" % (number, loss)})

    for number in range(3):
        epoch(number, 9.0 + number)
    progress.write()
    epoch(1, 0.5, rollbacks=1, findings=[told])
    progress.write()
    assert list(operation.epoch_metrics.values_list("epoch", "train_loss")) == [(0, 9.0), (1, 0.5)]
    assert list(operation.checkpoints.values_list("epoch", flat=True)) == [1]
    row, parts, _ = checkpoints.newest(operation)
    assert row is not None and row.epoch == 1 and parts["state.json"] == b"1 0.500000"
    operation.refresh_from_db()
    assert operation.notes == ["epoch 4: it diverged; went back"], "what terminal, API and page say of it"
