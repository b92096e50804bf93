"""`operations`: what a trader reads and asks for on the command line."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.examples.api import Examples, register_worker
from training.models import Operation, Status


def operations(*arguments: str) -> str:
    """What `operations …` prints before it ends well."""
    output = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("operations", *arguments, stdout=output)
    assert not ended.value.code, output.getvalue()
    return output.getvalue()


def test_operations_are_listed_newest_first_and_by_state(examples: Examples) -> None:
    listed = [line.split()[0] for line in operations("list").splitlines()[1:]]
    assert listed == list(Operation.objects.order_by("-created", "-pk").values_list("pk", flat=True))
    completed = operations("list", "--status", "completed").splitlines()[1:]
    assert [line.split()[0] for line in completed] == [examples.completed.pk]
    assert len(operations("list", "--limit", "1").splitlines()) == 2


def test_one_is_shown_by_the_end_of_its_id(examples: Examples) -> None:
    shown = operations("show", examples.completed.pk[-8:])
    assert examples.completed.pk in shown and "completed" in shown


def test_following_one_that_has_ended_ends_as_it_did(examples: Examples) -> None:
    Operation.objects.filter(pk=examples.own.pk).update(status=Status.FAILED, error="no bars")
    output = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("operations", "follow", examples.own.pk, stdout=output)
    assert ended.value.code == 1 and "no bars" in output.getvalue()


def test_a_pending_one_is_cancelled_with_its_reason(examples: Examples) -> None:
    operations("cancel", examples.own.pk, "--reason", "wrong symbol")
    examples.own.refresh_from_db()
    assert examples.own.status == Status.CANCELLED
    assert "wrong symbol" in operations("show", examples.own.pk)


def test_what_was_stopped_waits_again_also_where_it_would_not_be_exact(examples: Examples, empty_redis: Any) -> None:
    Operation.objects.filter(pk=examples.own.pk).update(status=Status.INTERRUPTED)
    with pytest.raises(CommandError, match="worker"):
        call_command("operations", "resume", examples.own.pk, stdout=StringIO())
    register_worker("cpu")
    operations("resume", examples.own.pk, "--allow-inexact")
    examples.own.refresh_from_db()
    assert (examples.own.status, examples.own.allow_inexact) == (Status.PENDING, True)
