"""Who asks is mailed when a training has ended, by a real mail server; one that fails costs the run nothing."""

from __future__ import annotations

import email
import json
import socket
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as Collect
from django.utils import timezone

from strategies_app.models import Strategy
from strategies_app.stored import FoundStrategy
from tests.examples.api import TEXT, Examples, make_examples, register_worker, send, start, store_bars
from tests.examples.homes import Home, operation_in
from training.access.audit import Actor
from training.jobs.notices import NoMail, checked_address, mail_end
from training.jobs.requests import start_training
from training.models import Operation, Status
from training.workers.attempt import train_operation
from training.workers.reaper import Reaper


class Letters(Collect):
    """Keeps what arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[Message] = []
        self.refused: set[str] = set()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refused:
            return "550 no such box"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    def handle_message(self, message: Message) -> None:
        self.arrived.append(email.message_from_bytes(message.as_bytes()))


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


@pytest.fixture
def server() -> Iterator[tuple[Letters, int]]:
    letters, port = Letters(), free_port()
    controller = Controller(letters, hostname="127.0.0.1", port=port)
    controller.start()
    yield letters, port
    controller.stop()


@pytest.fixture
def mailing(settings: Any, server: tuple[Letters, int]) -> Letters:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server[1]
    return server[0]


def ended(**fields: Any) -> Operation:
    return start(Strategy.objects.import_text(TEXT), notify="trader@example.org", **fields)


@pytest.mark.django_db
def test_a_failure_is_mailed_with_what_to_do(mailing: Letters) -> None:
    failure = {"category": "resources", "cause": "no room", "happening": "While saving the model.", "kept": "Nothing.",
               "advice": "Make room, then resume.", "resuming_helps": True}  # fmt: skip
    mail_end(ended(status=Status.FAILED, error="no room", failure=failure).pk)
    (letter,) = mailing.arrived
    assert letter["To"] == "trader@example.org" and letter["Subject"].endswith(": failed")
    text = letter.get_payload()
    for words in ("no room", "kind of fault: resources", "what to do: Make room, then resume."):
        assert words in text, text


@pytest.mark.django_db
def test_a_failure_that_is_tried_again_by_itself_is_not_mailed_yet(mailing: Letters) -> None:
    mail_end(ended(status=Status.FAILED, error="away", retry_at=timezone.now()).pk)
    mail_end(ended(status=Status.CANCELLED).pk)  # by who started it
    operation = ended(status=Status.COMPLETED)
    Operation.objects.filter(pk=operation.pk).update(notify="")
    mail_end(operation.pk)
    assert mailing.arrived == []


@pytest.mark.django_db(transaction=True)
def test_a_job_of_a_worker_mails_at_its_end(mailing: Letters, empty_redis: Any, settings: Any, tmp_path: Path) -> None:
    settings.STORE_DIR = tmp_path  # without bars
    operation = ended()
    assert train_operation(operation.pk, 1) == "failed"
    (letter,) = mailing.arrived
    assert letter["Subject"].endswith(": failed") and "kind of fault: data" in letter.get_payload()


@pytest.mark.django_db
def test_what_the_reaper_gives_up_is_mailed_too(mailing: Letters, empty_redis: Any, settings: Any) -> None:
    """Nobody is there who could take it: a run that waits for a worker, and one whose package has gone before its next try."""
    now = [0.0]
    reaper = Reaper(lambda: now[0])
    waiting = ended()
    gone = {"indicator gone_value": {"package": "gone", "version": "1.0", "sha256": "0"}}
    failed = ended(status=Status.FAILED, error="away", retry_at=timezone.now(), plugins=gone)
    assert [said.partition(":")[0] for said in reaper.look()] == [f"{failed.pk} is not tried again"]
    now[0] = settings.WORKER_WAIT_SECONDS
    assert reaper.look() == [f"{waiting.pk}: no worker for 86400 s, failed"]
    texts = [letter.get_payload() for letter in mailing.arrived]
    assert len(texts) == 2 and failed.pk in texts[0] and waiting.pk in texts[1] and "no worker is running" in texts[1]
    assert not Operation.objects.filter(retry_at__isnull=False).exists()
    reaper.look()
    assert len(mailing.arrived) == 2


@pytest.mark.django_db
def test_a_mail_server_that_is_away_costs_one_sentence(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
    operation = ended(status=Status.COMPLETED)
    mail_end(operation.pk)
    assert [
        record.getMessage().startswith(f"{operation.pk} could not be mailed to trader@example.org") for record in caplog.records
    ]
    assert len(caplog.records) == 1 and "Traceback" not in caplog.text


@pytest.mark.django_db
def test_a_letter_that_the_server_does_not_take_costs_one_sentence(mailing: Letters, caplog: pytest.LogCaptureFixture) -> None:
    operation = ended(status=Status.COMPLETED)
    Operation.objects.filter(pk=operation.pk).update(notify="trader@nowhere")
    mailing.refused = {"trader@nowhere"}
    mail_end(operation.pk)
    (said,) = [record.getMessage() for record in caplog.records if record.name == "training.jobs.notices"]
    assert said.startswith(f"{operation.pk} could not be mailed to trader@nowhere") and "no such box" in said
    assert mailing.arrived == []


def test_an_address_is_looked_at_before_anything_is_started(settings: Any) -> None:
    settings.EMAIL_HOST = "mail.example.org"
    assert checked_address("trader@example.org") == "trader@example.org" and checked_address("") == ""
    with pytest.raises(NoMail, match=r"'trader' is no mail address, wanted one such as"):
        checked_address("trader")
    settings.EMAIL_HOST = ""
    with pytest.raises(NoMail, match="EMAIL_HOST names no mail server"):
        checked_address("trader@example.org")


@pytest.mark.django_db
def test_a_wish_that_cannot_be_met_starts_nothing(settings: Any) -> None:
    settings.EMAIL_HOST = ""
    with pytest.raises(NoMail):
        start_training(FoundStrategy(TEXT, "", None), {}, Actor(), inline=True, notify="trader@example.org")
    assert not Operation.objects.exists()


@pytest.mark.django_db
def test_the_api_mails_to_the_address_of_the_account(settings: Any, empty_redis: Any) -> None:
    settings.EMAIL_HOST = "mail.example.org"
    examples: Examples = make_examples()
    store_bars()
    register_worker("cpu")
    client = examples.signed_in("trainer")
    refused = send(client, "post", "/trainings/start", {"strategy_yaml": TEXT, "notify": True})
    assert refused.status_code == 422 and "has no mail address" in json.loads(refused.content)["error"]["message"]
    examples.users["trainer"].email = "trader@example.org"
    examples.users["trainer"].save()
    started = send(examples.signed_in("trainer"), "post", "/trainings/start", {"strategy_yaml": TEXT, "notify": True})
    assert started.status_code == 202, started.content
    assert Operation.objects.get(pk=started.json()["operation_id"]).notify == "trader@example.org"


def test_the_command_mails_when_its_training_is_completed(home: Home, server: tuple[Letters, int]) -> None:
    letters, port = server
    mail = {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": port}
    done = home.run("train", home.strategy("mailed", epochs=1), "--inline", "--mail", "trader@example.org", **mail)
    assert done.returncode == 0, done.stderr
    (letter,) = letters.arrived
    assert letter["Subject"] == "mailed: completed" and operation_in(done.stdout) in letter.get_payload()
