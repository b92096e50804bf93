"""Verbs on operations in the admin: asked once, done through the same layer as everywhere, told in one message each, audited."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from tests.examples import admin_rows as rows
from training.access.audit import Actor
from training.admin.parts import address_of
from training.jobs import deletions, queues
from training.jobs.lifecycle import OperationError
from training.models import AuditEntry, Checkpoint, EpochMetric, Operation, Status, TrainedModel

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "admin:training_operation_changelist"


@pytest.fixture
def tom() -> User:
    return rows.person("tom", "trainer")


@pytest.fixture
def ada() -> User:
    return rows.person("ada", "admin")


@pytest.fixture
def worker(empty_redis: Any) -> Iterator[None]:
    """A cpu worker that listens and never works."""
    from rq import Worker

    worker = Worker([queues.queue_of("cpu")], connection=empty_redis)
    worker.register_birth()
    yield
    worker.register_death()


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def told(answer: HttpResponse) -> list[str]:
    return [str(message) for message in get_messages(answer.wsgi_request)]


def ask(user: User, verb: str, operation: Operation, **answers: str) -> HttpResponse:
    """A button on the page, confirmed."""
    return signed_in(user).post(address_of(operation, verb), {"confirmed": "yes", **answers})


def ask_many(user: User, action: str, operations: list[Operation], **answers: str) -> HttpResponse:
    chosen = {"action": action, "_selected_action": [operation.pk for operation in operations]}
    return signed_in(user).post(reverse(LIST), chosen | answers)


def test_the_page_asks_before_anything_is_done(tom: User) -> None:
    operation = rows.operation(Status.RUNNING, user=tom, epochs=46)
    page = signed_in(tom).get(address_of(operation, "cancel")).content.decode()
    assert "end of its last completed epoch (now 46)" in page
    assert Operation.objects.get().status == Status.RUNNING


def test_cancel_asks_the_run_to_stop(tom: User) -> None:
    operation = rows.operation(Status.RUNNING, user=tom, queue="")
    answer = ask(tom, "cancel", operation, reason="wrong dates")
    operation.refresh_from_db()
    assert (operation.status, operation.reason) == (Status.CANCELLING, "wrong dates")
    assert told(answer) == [f"{operation.pk} is asked to stop, and saves a checkpoint first."]
    entry = AuditEntry.objects.get(action="cancel")
    assert (entry.username, entry.details["via"], entry.details["reason"]) == ("tom", "admin", "wrong dates")
    assert LogEntry.objects.get().object_id == operation.pk


def test_a_pending_operation_leaves_its_queue(tom: User, worker: None) -> None:
    operation = rows.operation(Status.PENDING, user=tom)
    queues.enqueue(operation.pk, 1, "cpu")
    assert told(ask(tom, "cancel", operation)) == [f"{operation.pk} is cancelled."]
    assert not queues.is_known(operation.pk, 1)


def test_resume_queues_the_next_attempt(tom: User, worker: None) -> None:
    operation = rows.operation(Status.FAILED, user=tom, epochs=46)
    rows.checkpoint(operation, 45)
    page = signed_in(tom).get(address_of(operation, "resume")).content.decode()
    assert "continues with epoch 47, as attempt 2; the checkpoint of epoch 46 stays" in page
    ask(tom, "resume", operation, allow_inexact="on")
    operation.refresh_from_db()
    assert (operation.status, operation.attempt, operation.allow_inexact) == (Status.PENDING, 2, True)
    assert queues.is_known(operation.pk, 2)


def test_without_a_worker_resume_says_how_to_start_one(tom: User, empty_redis: Any) -> None:
    operation = rows.operation(Status.FAILED, user=tom)
    (message,) = told(ask(tom, "resume", operation))
    assert "no worker is running" in message and "manage.py worker --tag cpu" in message
    assert Operation.objects.get().status == Status.FAILED and not LogEntry.objects.exists()


def test_force_is_the_second_step(tom: User, empty_redis: Any) -> None:
    operation = rows.operation(Status.RUNNING, user=tom)
    assert "cancel it first" in told(ask(tom, "force", operation))[0]
    Operation.objects.update(status=Status.CANCELLING)
    assert told(ask(tom, "force", operation)) == [
        f"{operation.pk} is being ended; it is cancelled as soon as its process is gone."
    ]
    assert AuditEntry.objects.get(action="force").target == operation.pk


@pytest.mark.parametrize(
    ("verb", "status"),
    [("cancel", Status.COMPLETED), ("resume", Status.RUNNING), ("resume", Status.COMPLETED), ("delete", Status.RUNNING)],
)
def test_a_verb_that_does_not_fit_says_so_and_changes_nothing(verb: str, status: str, ada: User) -> None:
    operation = rows.operation(status, user=ada)
    (message,) = told(ask(ada, verb, operation))
    assert f"it is {status}" in message and Operation.objects.get().status == status


def test_a_state_that_changed_while_the_page_asked_is_told(tom: User, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = rows.operation(Status.RUNNING, user=tom, queue="")
    from training.jobs import requests

    before = requests.lifecycle.request_cancel

    def too_late(operation_id: str, reason: str = "") -> str:
        Operation.objects.update(status=Status.COMPLETED)
        return str(before(operation_id, reason))

    monkeypatch.setattr(requests.lifecycle, "request_cancel", too_late)
    (message,) = told(ask(tom, "cancel", operation))
    assert "left as it is" in message and "completed" in message


def test_a_list_action_asks_first_and_then_acts_on_what_is_allowed(tom: User, ada: User) -> None:
    mine, another = rows.operation(Status.RUNNING, user=tom, queue=""), rows.operation(Status.RUNNING, user=ada, queue="")
    done = rows.operation(Status.COMPLETED, user=tom)
    page = ask_many(tom, "cancel_selected", [mine, another, done])
    assert page.status_code == 200 and "only its owner or an admin may cancel it" in page.content.decode()
    assert Operation.objects.filter(status=Status.CANCELLING).count() == 0
    answer = ask_many(tom, "cancel_selected", [mine, another, done], confirmed="yes")
    messages = told(answer)
    assert len(messages) == 3 and messages[0].startswith(mine.pk)
    assert any("belongs to ada" in message for message in messages) and any("it is completed" in message for message in messages)
    assert [o.pk for o in Operation.objects.filter(status=Status.CANCELLING)] == [mine.pk]


def test_an_action_that_fits_nothing_asks_nothing(tom: User) -> None:
    done = rows.operation(Status.COMPLETED, user=tom)
    answer = ask_many(tom, "cancel_selected", [done])
    assert answer.status_code == 302 and "it is completed" in told(answer)[0]


def test_a_trainer_has_no_delete_action(tom: User) -> None:
    operation = rows.operation(Status.FAILED, user=tom)
    ask_many(tom, "delete_selected_operations", [operation], confirmed="yes")
    ask_many(tom, "delete_selected", [operation], post="yes")
    assert Operation.objects.exists()


def test_deleting_takes_the_files_too(ada: User) -> None:
    operation = rows.operation(Status.FAILED, epochs=3)
    other = rows.operation(Status.FAILED)
    rows.checkpoint(operation, 1), rows.checkpoint(operation, 2), rows.checkpoint(other, 2)
    log, other_log = rows.log(operation), rows.log(other)
    page = signed_in(ada).get(address_of(operation, "delete")).content.decode()
    assert "2 checkpoints (368.6 kB)" in page
    answer = ask(ada, "delete", operation)
    assert answer["Location"] == reverse(LIST)
    assert [o.pk for o in Operation.objects.all()] == [other.pk] and not EpochMetric.objects.exists()
    assert not (Path(settings.CHECKPOINT_DIR) / operation.pk).exists() and (Path(settings.CHECKPOINT_DIR) / other.pk).exists()
    assert not log.exists() and other_log.exists()
    assert AuditEntry.objects.get(action="delete").target == operation.pk


def test_a_trained_model_goes_only_when_that_is_said(ada: User) -> None:
    operation = rows.operation(Status.COMPLETED)
    model = rows.model(operation)
    folder = Path(settings.BUNDLE_DIR) / model.folder
    (message,) = told(ask(ada, "delete", operation))
    assert "delete the model first, or both together" in message and folder.exists() and Operation.objects.exists()
    ask(ada, "delete", operation, with_model="on")
    assert not Operation.objects.exists() and not TrainedModel.objects.exists() and not folder.exists()


def test_many_are_deleted_at_once(ada: User) -> None:
    operations = [rows.operation(Status.FAILED) for _ in range(3)]
    assert ask_many(ada, "delete_selected_operations", operations).status_code == 200
    ask_many(ada, "delete_selected_operations", operations, confirmed="yes")
    assert not Operation.objects.exists()


def test_a_rolled_back_deletion_keeps_the_files(ada: User) -> None:
    from django.db import transaction

    operation = rows.operation(Status.FAILED)
    row = rows.checkpoint(operation, 1)
    with transaction.atomic():
        deletions.delete_operation(operation.pk, Actor(ada, "admin"))
        transaction.set_rollback(True)
    assert Operation.objects.exists() and (Path(settings.CHECKPOINT_DIR) / row.folder).exists()


def test_a_checkpoint_of_a_live_operation_stays(ada: User) -> None:
    operation = rows.operation(Status.RUNNING)
    row = rows.checkpoint(operation, 1)
    assert signed_in(ada).post(address_of(row, "delete"), {"confirmed": "yes"}).status_code == 403
    with pytest.raises(OperationError, match="cancel it first"):
        deletions.delete_checkpoint(row.pk, Actor(ada, "admin"))
    Operation.objects.update(status=Status.FAILED)
    signed_in(ada).post(address_of(row, "delete"), {"confirmed": "yes"})
    assert not Checkpoint.objects.exists() and not (Path(settings.CHECKPOINT_DIR) / row.folder).exists()


def test_a_model_is_deleted_with_its_bundle(ada: User) -> None:
    model = rows.model(rows.operation())
    signed_in(ada).post(address_of(model, "delete"), {"confirmed": "yes"})
    assert not TrainedModel.objects.exists() and not (Path(settings.BUNDLE_DIR) / model.folder).exists()
    assert Operation.objects.exists()
