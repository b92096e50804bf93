"""Small sentences of pages that must be true: an address to copy, what a cancel keeps, a number beside its noun, a device."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from tests.examples.api import Examples, bearer
from training.admin import verbs
from training.admin.parts import ago, span
from training.core.findings import counted
from training.jobs import checkpoints
from training.models import Operation, Status
from training.web.live import _stored

pytestmark = pytest.mark.django_db


def test_the_address_on_the_page_of_tokens_answers_to_the_token(examples: Examples) -> None:
    client = examples.signed_in("viewer")
    once = re.search(r'name="once" value="([^"]+)"', client.get("/tokens/").content.decode())
    assert once is not None
    page = client.post("/tokens/", {"once": once[1], "name": "mine", "scope": "read", "days": "30"}, follow=True).content.decode()
    secret = re.search(r'id="secret"[^>]*>([^<]+)<', page)
    address = re.search(r"Bearer TOKEN.*?https?://[^/]+(/[^<\s]+)", html.unescape(page))
    assert secret is not None and address is not None
    assert bearer(secret[1]).get(address[1]).status_code == 200


@pytest.fixture
def resumed(examples: Examples) -> Operation:
    """A second attempt that has completed no epoch yet, with the first one's checkpoint."""
    row = examples.own
    Operation.objects.filter(pk=row.pk).update(status=Status.RUNNING, attempt=2, epoch=None)
    checkpoints.save(row.pk, 1, 17, "cancellation", {"model.safetensors": b"weights"})
    row.refresh_from_db()
    return row


def test_what_a_cancel_of_a_resumed_run_keeps_is_its_checkpoint(examples: Examples, resumed: Operation) -> None:
    said = verbs.VERBS["cancel"].keeps(resumed)
    assert "the checkpoint of epoch 18 stays" in said and "first" not in said
    page = " ".join(examples.signed_in("trainer").get(f"/operations/{resumed.pk}/").content.decode().split())
    assert "It stops within a moment; the checkpoint of epoch 18 stays." in page
    Operation.objects.filter(pk=resumed.pk).update(status=Status.PENDING)
    resumed.refresh_from_db()
    assert verbs.VERBS["cancel"].keeps(resumed).startswith("attempt 2 has not begun")
    page = examples.signed_in("trainer").get(f"/operations/{resumed.pk}/").content.decode()
    assert "This attempt has not begun; the checkpoint of epoch 18 stays." in page


def test_without_a_checkpoint_a_cancel_begins_at_the_first_epoch(resumed: Operation) -> None:
    resumed.checkpoints.all().delete()
    assert "a resumed run starts again at the first" in verbs.VERBS["cancel"].keeps(resumed)


@pytest.mark.parametrize(
    ("hours", "said"), [(23, "23 h ago"), (25, "25 h ago"), (48, "2 days ago"), (72, "3 days ago")], ids=lambda value: str(value)
)
def test_a_number_of_days_fits_its_noun(hours: float, said: str) -> None:
    assert said in str(ago(timezone.now() - timedelta(hours=hours, seconds=1)))
    assert (span(86_400 * 2), span(86_400 * 3)) == ("2 days", "3 days")


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [(1, "epoch", "1 epoch"), (17, "epoch", "17 epochs"), (2, "stretch", "2 stretches"), (1234, "bar", "1,234 bars"), (3, "loss", "3 losses")],
)  # fmt: skip
def test_a_number_of_things_fits_its_noun(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said


def test_the_device_is_told_as_soon_as_the_worker_has_chosen_it(examples: Examples) -> None:
    Operation.objects.filter(pk=examples.own.pk).update(status=Status.RUNNING, device="cuda:0")
    rows: list[Any] = _stored([examples.own.pk], {}, set())[0]
    assert SimpleNamespace(**rows[0]).device == "cuda:0"
