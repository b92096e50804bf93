"""A training that waits to be tried again can be told not to: by page, admin, API and command, with a trace."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.core.management import call_command
from django.utils import timezone

from tests.examples.api import Examples, register_worker, send
from training.models import AuditEntry, Operation, Status
from training.workers.reaper import retried

FAILURE = {"category": "transient", "cause": "away", "happening": "While training.", "kept": "Nothing.",
           "advice": "No action is needed. It is tried again by itself in 60 s.", "resuming_helps": True}  # fmt: skip


@pytest.fixture
def waiting(examples: Examples, empty_redis: Any) -> Operation:
    """A training of `trainer` that failed of something passing, and whose pause is nearly over."""
    fields = {"status": Status.FAILED, "error": "away", "failure": FAILURE, "finished": timezone.now()}
    Operation.objects.filter(pk=examples.own.pk).update(retry_at=timezone.now() + timedelta(seconds=1), **fields)
    return Operation.objects.get(pk=examples.own.pk)


def stays_failed(operation: Operation, via: str, reason: str = "") -> None:
    """It is failed as before, says so, left a trace, and is not tried again when its time comes."""
    operation.refresh_from_db()
    assert (operation.status, operation.attempt, operation.retry_at) == (Status.FAILED, 1, None)
    assert operation.failure["advice"] == "No action is needed. Resume it." and operation.reason == reason
    entry = AuditEntry.objects.get(action="cancel", target=operation.pk)
    assert (entry.details["via"], entry.details["reason"]) == (via, reason)
    register_worker("cpu")
    assert list(retried()) == []


def test_on_its_page(waiting: Operation, examples: Examples) -> None:
    client = examples.signed_in("trainer")
    page = client.get(f"/operations/{waiting.pk}/").content.decode()
    assert "Cancel the retry?" in page and "By itself at" in page
    assert "Cancel the retry?" not in examples.signed_in("other").get(f"/operations/{waiting.pk}/").content.decode()
    done = client.post(f"/operations/{waiting.pk}/cancel/", {"reason": "the store is moved"}, follow=True).content.decode()
    assert "It is not tried again by itself. It can be resumed." in done and "By itself at" not in done
    assert "Cancel the retry?" not in done and "Resume this training?" in done
    stays_failed(waiting, "web", "the store is moved")


def test_in_the_admin(waiting: Operation, examples: Examples) -> None:
    client = examples.signed_in("admin")
    address = f"/admin/training/operation/{quote(waiting.pk)}"
    assert f'href="{address}/cancel/"' in client.get(f"{address}/change/").content.decode()
    assert "t is not tried again by itself and stays failed" in client.get(f"{address}/cancel/").content.decode()
    answer = client.post(f"{address}/cancel/", {"confirmed": "yes"}, follow=True).content.decode()
    assert "is not tried again by itself" in answer
    stays_failed(waiting, "admin")


def test_by_the_api(waiting: Operation, examples: Examples) -> None:
    assert send(examples.signed_in("other"), "post", f"/operations/{waiting.pk}/cancel").status_code == 403
    answer = send(examples.signed_in("trainer"), "post", f"/operations/{waiting.pk}/cancel", {"reason": "enough"})
    assert answer.status_code == 200
    assert answer.json() == {"operation_id": waiting.pk, "status": "failed", "attempt": 1}
    assert send(examples.signed_in("trainer"), "post", f"/operations/{waiting.pk}/cancel").status_code == 409
    stays_failed(waiting, "api", "enough")


def test_by_the_command(waiting: Operation) -> None:
    shown = StringIO()
    with pytest.raises(SystemExit):
        call_command("operations", "show", waiting.pk, stdout=shown)
    assert f"resuming     By itself at {waiting.retry_at:%Y-%m-%d %H:%M:%S} UTC.\n" in shown.getvalue()
    written = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("operations", "cancel", waiting.pk, reason="enough", stdout=written)
    assert not ended.value.code
    assert written.getvalue() == f"{waiting.pk} is failed and is not tried again by itself\n"
    stays_failed(waiting, "command", "enough")
