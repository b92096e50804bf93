"""A training that somebody else cancels, that is forced or dies mails who asked for it, once; who stopped it himself knows."""

from __future__ import annotations

import os
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tests.examples.api import Examples, make_examples, start
from tests.jobs.test_mails import Letters, mailing, server
from training.access.audit import Actor, audit
from training.jobs import lifecycle, queues, requests
from training.jobs.notices import mail_end
from training.models import Operation, Status
from training.workers import reaper
from training.workers.reaper import Reaper, retried
from training.workers.worker import Worker

__all__ = ["mailing", "server"]  # fixtures
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def examples(empty_redis: Any, mailing: Letters, monkeypatch: pytest.MonkeyPatch) -> Examples:
    monkeypatch.setattr(queues, "kill", lambda *job: None)
    return make_examples()


def asked(examples: Examples, **fields: Any) -> Operation:
    """A training of `trainer`, who wants a mail when it has ended."""
    return start(examples.version, examples.users["trainer"], notify="trader@example.org", **fields)


def running(examples: Examples, **fields: Any) -> Operation:
    operation = asked(examples, **fields)
    assert lifecycle.claim(operation.pk, 1)
    return Operation.objects.get(pk=operation.pk)


def waiting(examples: Examples) -> Operation:
    """It failed of something passing and is tried again later."""
    failure = {"category": "transient", "cause": "away", "happening": "While training.", "kept": "Nothing.",
               "advice": "No action is needed. It is tried again by itself in 60 s.", "resuming_helps": True}  # fmt: skip
    return asked(examples, status=Status.FAILED, error="away", failure=failure, finished=timezone.now(), retry_at=timezone.now())


def letters_of(mailing: Letters) -> list[tuple[str, str]]:
    return [(str(one["Subject"]).partition(": ")[2], one.get_payload().replace("\r\n", "\n")) for one in mailing.arrived]


def by(examples: Examples, role: str) -> Actor:
    return Actor(examples.users[role], "web")


def test_a_waiting_one_that_somebody_else_cancels(examples: Examples, mailing: Letters) -> None:
    operation = asked(examples)
    requests.cancel(operation, by(examples, "admin"), reason="the machine is needed")
    mail_end(operation.pk)  # whoever else notices it
    ((subject, text),) = letters_of(mailing)
    assert subject == "cancelled"
    assert text.splitlines() == [
        f"stored, {operation.pk}, attempt 1: cancelled",
        "",
        "cancelled by admin: the machine is needed",
        "kept: Nothing: no epoch was saved. Resuming starts at the first one.",
        "what to do: No action is needed. Resume it.",
    ]


def test_one_at_work_is_told_of_when_it_has_stopped(examples: Examples, mailing: Letters) -> None:
    operation = running(examples)
    requests.cancel(operation, Actor(), reason="")
    assert mailing.arrived == []
    assert lifecycle.stop(operation.pk, 1, Status.CANCELLED, "stopped on request (cancellation)")
    mail_end(operation.pk)
    ((_, text),) = letters_of(mailing)
    assert "cancelled by the command line\n" in text and "stopped on request" not in text


def test_who_cancels_his_own_is_not_mailed(examples: Examples, mailing: Letters) -> None:
    before, at_work = asked(examples), running(examples)
    for operation in (before, at_work):
        requests.cancel(operation, by(examples, "trainer"))
    lifecycle.stop(at_work.pk, 1, Status.CANCELLED, "stopped on request (cancellation)")
    mail_end(at_work.pk)
    assert mailing.arrived == []
    lifecycle.resume(at_work.pk, "cpu")
    audit(by(examples, "trainer"), "resume", at_work.pk)
    at_work.refresh_from_db()
    requests.cancel(at_work, by(examples, "admin"))
    ((_, text),) = letters_of(mailing)
    assert "attempt 2: cancelled" in text and "trainer" not in text, "the first attempt's cancel is another story"


def test_a_forced_stop_is_mailed_when_its_process_is_gone(examples: Examples, mailing: Letters) -> None:
    operation = running(examples)
    requests.cancel(operation, by(examples, "trainer"))
    operation.refresh_from_db()
    requests.cancel(operation, by(examples, "admin"), reason="it hangs", force=True)
    worker = Worker.__new__(Worker)
    worker._shutdown_requested_date = None
    worker._settle(operation.pk, 1, -9, os.getpid())
    ((subject, text),) = letters_of(mailing)
    assert subject == "cancelled"
    assert "stopped by force by admin: it hangs\ncancelled by trainer\n" in text and "kept:" in text


def test_a_process_that_was_killed_is_mailed_as_interrupted(examples: Examples, mailing: Letters) -> None:
    operation = running(examples)
    worker = Worker.__new__(Worker)
    worker._shutdown_requested_date = None
    worker._settle(operation.pk, 1, -9, os.getpid())
    worker._settle(operation.pk, 1, -9, os.getpid())
    ((subject, text),) = letters_of(mailing)
    assert subject == "interrupted" and "its process was" in text and "Resume it." in text


def test_what_the_reaper_finds_dead_is_mailed_once_however_many_look(examples: Examples, mailing: Letters) -> None:
    operation = running(examples)
    now = 0.0
    reapers = [Reaper(clock=lambda: now), Reaper(clock=lambda: now)]
    for _ in range(8):
        for every_reaper in reapers:
            every_reaper.look()
        now += 15
    mail_end(operation.pk)  # as the process that was thought dead does when it wakes up
    ((subject, text),) = letters_of(mailing)
    assert subject == "interrupted" and "its process gave no sign of life any more" in text


def test_one_that_no_worker_takes_is_mailed_as_failed(examples: Examples, mailing: Letters, settings: Any) -> None:
    settings.WORKER_WAIT_SECONDS = 60
    asked(examples)
    now = 0.0
    reaper = Reaper(clock=lambda: now)
    for _ in range(8):
        reaper.look()
        now += 15
    ((subject, text),) = letters_of(mailing)
    assert subject == "failed" and "no worker is running" in text


@pytest.mark.parametrize("queue", ["", "cpu"])
def test_what_died_with_its_machine_is_mailed(queue: str, examples: Examples, mailing: Letters) -> None:
    operation = running(examples)
    Operation.objects.filter(pk=operation.pk).update(process="1@0.00", queue=queue)
    assert reaper.bury_dead() == [operation.pk] and reaper.bury_dead() == []
    ((subject, text),) = letters_of(mailing)
    assert subject == "interrupted" and "its process ended without a word" in text


def test_a_retry_that_somebody_else_cancels_makes_the_failure_final(examples: Examples, mailing: Letters) -> None:
    operation = waiting(examples)
    mail_end(operation.pk)
    assert mailing.arrived == [], "it is tried again"
    requests.cancel(operation, by(examples, "admin"), reason="the store is moved")
    ((subject, text),) = letters_of(mailing)
    assert subject == "failed" and "what to do: No action is needed. Resume it." in text
    assert "retry cancelled by admin: the store is moved" in text
    requests.cancel(own := waiting(examples), by(examples, "trainer"))
    assert len(mailing.arrived) == 1 and not Operation.objects.get(pk=own.pk).mailed


def test_a_retry_that_is_refused_makes_it_final_too(examples: Examples, mailing: Letters, monkeypatch: Any) -> None:
    operation = waiting(examples)
    Operation.objects.filter(pk=operation.pk).update(plugins={"kama": {"package": "gone", "version": "1", "code": "x"}})
    monkeypatch.setattr(queues, "choose_queue", lambda: "cpu")
    (sentence,) = retried()
    assert "is not tried again" in sentence
    ((subject, _),) = letters_of(mailing)
    assert subject == "failed"


def test_a_mail_is_claimed_in_the_database_before_it_is_sent(examples: Examples, mailing: Letters) -> None:
    operation = asked(examples, status=Status.COMPLETED)
    statements: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        mail_end(operation.pk)
    (claim,) = [sql for sql in statements if sql.startswith("UPDATE")]
    assert '"mailed" = ' in claim and '"attempt" = ' in claim and '"status" = ' in claim
    assert len(mailing.arrived) == 1
