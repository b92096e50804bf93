"""A failed run says what kind of fault it was, when, what was kept, what to do, and whether resuming helps; what passes is tried again."""

from __future__ import annotations

import errno
from datetime import timedelta
from typing import Any

import pytest
import torch
from django.contrib.admin.utils import quote
from django.db import IntegrityError, InterfaceError, OperationalError
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import ResponseError

from strategies_app.grammar.reader import StrategyError, read_strategy
from strategies_app.models import Strategy
from tests.examples.api import TEXT, start, store_bars
from training.core.files import FolderError
from training.core.plugin_code import PluginFailed
from training.jobs import lifecycle, queues
from training.jobs.checkpoints import CheckpointError
from training.jobs.failures import BUG, DATA, RESOURCES, STRATEGY, TRANSIENT, Moment, category_of, cause_of, failure_of
from training.jobs.logs import log_path, log_tail
from training.models import AuditEntry, Operation, Status
from training.pipeline.bars import Unreachable
from training.store.coverage import DataError
from training.trainer.loop import Diverged
from training.trainer.networks import NotEnoughMemory, TrainingError
from training.workers.attempt import run_operation
from training.workers.reaper import Reaper


def wrapped(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def strategy_error() -> Exception:
    with pytest.raises(StrategyError) as caught:
        read_strategy("name: 1")
    return caught.value


FAULTS = [
    (OperationalError("database is locked"), TRANSIENT),
    (OperationalError("server closed the connection unexpectedly\n\tThis probably means"), TRANSIENT),
    (InterfaceError("connection already closed"), TRANSIENT),
    (RedisGone("Error 111 connecting to redis:6379"), TRANSIENT),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), TRANSIENT),
    (TimeoutError("timed out"), TRANSIENT),
    (OSError(errno.EIO, "Input/output error", "/bars/AAPL.parquet"), TRANSIENT),
    (wrapped(CheckpointError("checkpoint of epoch 3 could not be read"), OSError(errno.EIO, "Input/output error")), TRANSIENT),
    (wrapped(Unreachable("AAPL_1d.parquet could not be read"), OSError(errno.EIO, "Input/output error")), TRANSIENT),
    (wrapped(Unreachable("AAPL_1d.parquet could not be read"), OSError(errno.EACCES, "Permission denied")), RESOURCES),
    (DataError("no bars of AAPL 1d are stored; wanted load_data"), DATA),
    (lifecycle.OtherBars("the stored bars of AAPL 1d are not those"), DATA),
    (Diverged("epoch 2: the training loss is nan; try a lower learning_rate"), STRATEGY),
    (TrainingError("no validation rows are left"), STRATEGY),
    (strategy_error(), STRATEGY),
    (MemoryError("the allocation failed"), RESOURCES),
    (NotEnoughMemory("there is not enough memory on cpu"), RESOURCES),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), RESOURCES),
    (OSError(errno.ENOSPC, "No space left on device", "/var/bundles"), RESOURCES),
    (PermissionError(errno.EACCES, "Permission denied", "/var/bundles"), RESOURCES),
    (OperationalError("database or disk is full"), RESOURCES),
    (OperationalError("no such table: training_operation"), RESOURCES),
    (ResponseError("MISCONF Redis is configured to save snapshots"), RESOURCES),
    (wrapped(FolderError("a bundle cannot be read"), OSError(errno.ENOSPC, "No space left on device")), RESOURCES),
    (lifecycle.OperationError("op needs a package"), RESOURCES),
    (KeyError("close"), BUG),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), BUG),
    (IntegrityError("UNIQUE constraint failed"), BUG),
    (PluginFailed("indicator ema of package other 1.0 raised ZeroDivisionError"), BUG),
]


@pytest.mark.parametrize(("error", "category"), FAULTS, ids=lambda value: value if isinstance(value, str) else repr(value)[:40])
def test_every_fault_has_its_category_and_a_cause_of_one_line(error: Exception, category: str) -> None:
    assert category_of(error) == category
    if not isinstance(error, StrategyError):
        assert "\n" not in cause_of(error) and cause_of(error)


def test_what_a_failure_says_of_its_moment() -> None:
    gone = failure_of(RedisGone("away"), Moment("train", 5, 20, 4, 60))
    assert gone.cause == "Redis does not answer: away"
    assert gone.happening == "While training, in epoch 5 of 20."
    assert gone.kept == "The checkpoint of epoch 4. Resuming continues in epoch 5."
    assert gone.advice == "No action is needed. It is tried again by itself in 60 s." and gone.resuming_helps
    assert failure_of(RedisGone("away"), Moment("train", 5, 20, 4)).advice == "No action is needed. Resume it."
    full = OSError(errno.ENOSPC, "No space left on device", "/var/bundles")
    assert failure_of(full, Moment("save", 12, 12, 12)).kept == (
        "The checkpoint of epoch 12, the last that was trained. Resuming goes on after it."
    )
    assert failure_of(full, Moment("save", 12, 12, 10)).kept == "The checkpoint of epoch 10. Resuming continues in epoch 11."
    bug = failure_of(KeyError("close"), Moment("labels"))
    assert (bug.cause, bug.happening) == ("KeyError: 'close'", "While computing labels.")
    assert bug.kept == "Nothing: no epoch was saved. Resuming starts at the first one." and not bug.resuming_helps


def test_bars_that_can_be_brought_back_are_worth_resuming_others_are_not() -> None:
    other = failure_of(lifecycle.OtherBars("the stored bars of AAPL 1d are not those"), Moment("load"))
    assert other.resuming_helps and "then resume" in other.advice
    few = failure_of(DataError("AAPL 1d: 99 bars"), Moment("load"))
    assert not few.resuming_helps and "start a new training" in few.advice


# --- runs ---


@pytest.fixture
def queued(db: None, monkeypatch: pytest.MonkeyPatch) -> Operation:
    """A training of a cpu worker that waits for it; what is queued later goes nowhere."""
    store_bars()
    monkeypatch.setattr(queues, "choose_queue", lambda: "cpu")
    monkeypatch.setattr(queues, "enqueue", lambda *job: None)
    return start(Strategy.objects.import_text(TEXT))


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, after_epoch: int = 1) -> None:
    """From the end of that epoch on every run meets this fault."""
    from training.jobs.progress import Progress

    whole = Progress.on_epoch_end

    def broken(self: Progress, metrics: Any, state: Any) -> None:
        whole(self, metrics, state)
        if metrics["epoch"] + 1 >= after_epoch:
            raise error

    monkeypatch.setattr(Progress, "on_epoch_end", broken)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("error", "category"),
    [
        (RedisGone("away"), TRANSIENT),
        (DataError("the bars have a hole"), DATA),
        (Diverged("epoch 1: the training loss is nan"), STRATEGY),
        (OSError(errno.ENOSPC, "No space left on device", "/full"), RESOURCES),
        (MemoryError("the allocation failed"), RESOURCES),
        (ZeroDivisionError("division by zero"), BUG),
    ],
)
def test_a_run_that_meets_a_fault_records_it_and_keeps_its_epoch(
    error: Exception, category: str, queued: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, error)
    assert run_operation(queued.pk, 1, device="cpu") == "failed"
    queued.refresh_from_db()
    assert queued.failure["category"] == category and queued.error == queued.failure["cause"]
    assert queued.failure["happening"].startswith("While training, in epoch 1 of ")
    assert queued.failure["kept"].startswith("The checkpoint of epoch 1.")
    assert (queued.retry_at is not None) == (category == TRANSIENT)
    told = isinstance(error, DataError | Diverged)
    assert ("Traceback" in log_tail(queued.pk, 1)) == (not told), "the way to the error is in the log, and only there"
    assert "Traceback" not in str(queued.failure)


@pytest.mark.django_db(transaction=True)
def test_what_passes_is_tried_again_so_often_with_growing_pauses(
    queued: Operation, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.RETRIES, settings.RETRY_SECONDS = 2, 30

    def away(*arguments: Any) -> Any:
        raise RedisGone("away")

    monkeypatch.setattr("training.pipeline.prepare.cut_rows", away)
    pauses, reaper = [], Reaper()
    for attempt in (1, 2):
        before = timezone.now()
        assert run_operation(queued.pk, attempt, device="cpu") == "failed"
        queued.refresh_from_db()
        pauses.append(round((queued.retry_at - before).total_seconds() / 30))
        assert reaper.look() == [], "its pause is not over"
        Operation.objects.filter(pk=queued.pk).update(retry_at=timezone.now() - timedelta(seconds=1))
        assert reaper.look() == [f"{queued.pk} is tried again as attempt {attempt + 1}, retry {attempt} of 2"]
        queued.refresh_from_db()
        assert (queued.status, queued.attempt, queued.failure, queued.retry_at) == (Status.PENDING, attempt + 1, {}, None)
    assert pauses == [1, 2]
    assert run_operation(queued.pk, 3, device="cpu") == "failed"
    queued.refresh_from_db()
    assert (queued.retry_at, queued.failure["advice"]) == (None, "No action is needed. Resume it.")
    trail = AuditEntry.objects.filter(target=queued.pk, action="resume")
    assert [entry.details["after"] for entry in trail] == ["Redis does not answer: away"] * 2
    lifecycle.resume(queued.pk, "cpu")
    queued.refresh_from_db()
    assert queued.retries == 0, "a person who resumes begins the count anew"


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_retried_ends_in_the_weights_of_an_undisturbed_one(
    queued: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = start(queued.strategy_version)
    assert run_operation(undisturbed.pk, 1, device="cpu") == "completed"
    with monkeypatch.context() as fault:
        failing(fault, OSError(errno.EIO, "Input/output error"))
        assert run_operation(queued.pk, 1, device="cpu") == "failed"
    Operation.objects.filter(pk=queued.pk).update(retry_at=timezone.now())
    Reaper().look()
    assert run_operation(queued.pk, 2, device="cpu") == "completed"
    one, other = (Operation.objects.get(pk=pk).trained_model for pk in (undisturbed.pk, queued.pk))
    assert one.metrics["history"][-1]["val_loss"] == other.metrics["history"][-1]["val_loss"]


@pytest.mark.django_db(transaction=True)
def test_a_run_in_its_starters_process_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store_bars()
    operation = start(Strategy.objects.import_text(TEXT))
    Operation.objects.filter(pk=operation.pk).update(queue="")
    failing(monkeypatch, RedisGone("away"))
    assert run_operation(operation.pk, 1, device="cpu") == "failed"
    operation.refresh_from_db()
    assert operation.retry_at is None and operation.failure["advice"].endswith("Resume it.")


@pytest.mark.django_db(transaction=True)
def test_page_api_and_admin_tell_it(queued: Operation, monkeypatch: pytest.MonkeyPatch, admin_client: Any) -> None:
    failing(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "/full"))
    run_operation(queued.pk, 1, device="cpu")
    page = admin_client.get(f"/operations/{queued.pk}/").content.decode()
    for words in ("/full: No space left on device", "Kind of fault", "resources", "Make room or bring back", "It can help."):
        assert words in page, words
    assert "Traceback" not in page.split('id="failure"')[1].split("</dl>")[0]
    told = admin_client.get(f"/api/v1/operations/{queued.pk}").json()
    assert told["failure"]["category"] == "resources" and told["retry_at"] is None
    assert admin_client.get(f"/api/v1/trainings/{queued.pk}/status").json()["failure"] == told["failure"]
    admin = admin_client.get(f"/admin/training/operation/{quote(queued.pk)}/change/").content.decode()
    assert "What to do: Make room" in admin and "Resuming: It can help." in admin
    Operation.objects.filter(pk=queued.pk).update(retry_at=timezone.now() + timedelta(seconds=30))
    queued.refresh_from_db()
    assert queued.failure_lines["resuming"] == f"By itself at {queued.retry_at:%Y-%m-%d %H:%M:%S} UTC."
    assert log_path(queued.pk, 1).exists()
