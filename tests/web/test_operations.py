"""The pages of operations and the first page: who sees them, what they say in each state, what can be asked, and what they cost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.examples import admin_rows
from training.jobs import queues
from training.jobs.queues import NoWorker
from training.models import AuditEntry, Operation, Status

pytestmark = pytest.mark.django_db
NASTY = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def _redis(empty_redis: Any) -> Iterator[None]:
    return


def signed_in(name: str, role: str, *, csrf: bool = False) -> Client:
    client = Client(enforce_csrf_checks=csrf)
    client.force_login(admin_rows.person(name, role))
    return client


def text_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


@pytest.mark.parametrize(
    "address", ["/", "/operations/", "/operations/{}/", "/operations/{}/log/", "/operations/{}/checkpoints/", "/around/"]
)
def test_a_page_asks_the_stranger_to_sign_in_and_refuses_who_has_no_role(address: str) -> None:
    address = address.format(admin_rows.operation().pk)
    answer = Client().get(address)
    assert answer.status_code == 302 and answer["Location"].startswith("/sign-in/?next=")
    without_role = Client()
    without_role.force_login(admin_rows.User.objects.create_user("nobody"))
    assert without_role.get(address).status_code == 403
    assert signed_in("vera", "viewer").get(address).status_code == 200


def test_a_part_of_a_page_whose_session_ended_reloads_the_page() -> None:
    answer = Client().get("/around/", headers={"HX-Request": "true"})
    assert answer.status_code == 204 and answer["HX-Refresh"] == "true"


@pytest.mark.parametrize("status", Status.values)
def test_each_state_has_its_words_and_its_verbs(status: str) -> None:
    client = signed_in("ada", "admin")
    operation = admin_rows.operation(status, queue="cpu", error=f"broke at {NASTY}", reason=NASTY, notes=[NASTY])
    page = text_of(client, f"/operations/{operation.pk}/")
    assert NASTY not in page and ("&lt;script&gt;" in page)
    offered = {verb for verb in ("ask-cancel", "ask-force", "ask-resume") if f'id="{verb}"' in page}
    expected = {
        "pending": {"ask-cancel"}, "running": {"ask-cancel"}, "cancelling": {"ask-force"}, "completed": set(),
        "failed": {"ask-resume"}, "cancelled": {"ask-resume"}, "interrupted": {"ask-resume"},
    }  # fmt: skip
    assert offered == expected[status]


def test_what_waits_says_how_many_are_before_it() -> None:
    client = signed_in("vera", "viewer")
    admin_rows.operation(status=Status.RUNNING, queue="cpu")
    admin_rows.operation(status=Status.RUNNING, queue="gpu")
    first = admin_rows.operation(status=Status.PENDING, queue="cpu")
    second = admin_rows.operation(status=Status.PENDING, queue="cpu")
    assert "behind 1 earlier training of the cpu queue" in text_of(client, f"/operations/{first.pk}/")
    assert "behind 2 earlier trainings of the cpu queue" in text_of(client, f"/operations/{second.pk}/")


def test_another_trainers_operation_offers_no_verb_and_takes_none() -> None:
    client = signed_in("theo", "trainer")
    operation = admin_rows.operation(Status.RUNNING, user=admin_rows.person("tess", "trainer"))
    assert "ask-cancel" not in text_of(client, f"/operations/{operation.pk}/")
    assert client.post(f"/operations/{operation.pk}/cancel/").status_code == 403
    operation.refresh_from_db()
    assert operation.status == Status.RUNNING


def test_cancelling_leaves_a_trace_and_needs_a_token_against_forgery() -> None:
    owner = admin_rows.person("theo", "trainer")
    operation = admin_rows.operation(Status.RUNNING, user=owner, queue="cpu")
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    address = f"/operations/{operation.pk}/cancel/"
    assert client.post(address).status_code == 403
    page = text_of(client, f"/operations/{operation.pk}/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token
    answer = client.post(address, {"reason": "enough\0", "csrfmiddlewaretoken": token[1]})
    assert answer.status_code == 302
    operation.refresh_from_db()
    assert (operation.status, operation.reason) == (Status.CANCELLING, "enough")
    assert AuditEntry.objects.filter(action="cancel", target=operation.pk, user=owner).exists()
    assert client.get(address).status_code == 405


def test_a_verb_that_no_longer_fits_says_so() -> None:
    client = signed_in("ada", "admin")
    operation = admin_rows.operation(Status.COMPLETED)
    answer = client.post(f"/operations/{operation.pk}/cancel/", follow=True)
    assert "only a pending or running operation can be cancelled" in answer.content.decode()


def test_resuming_without_a_worker_says_how_to_start_one() -> None:
    client = signed_in("ada", "admin")
    operation = admin_rows.operation(Status.FAILED)
    answer = client.post(f"/operations/{operation.pk}/resume/", follow=True)
    assert "worker --tag cpu" in answer.content.decode()
    operation.refresh_from_db()
    assert operation.status == Status.FAILED


def test_the_list_is_filtered_searched_and_paged() -> None:
    client = signed_in("vera", "viewer")
    version = admin_rows.version("found_me")
    wanted = admin_rows.operation(Status.FAILED, of=version)
    other = admin_rows.operation(Status.COMPLETED)
    page = text_of(client, "/operations/?q=found_me")
    assert wanted.pk in page and other.pk not in page
    page = text_of(client, "/operations/?status=completed")
    assert other.pk in page and wanted.pk not in page
    assert "Nothing matches" in text_of(client, f"/operations/?q={NASTY}%00")
    assert text_of(client, "/operations/?page=9999&status=nonsense")


def test_empty_pages_say_what_to_do_next() -> None:
    trainer, viewer = signed_in("theo", "trainer"), signed_in("vera", "viewer")
    assert "Use the sample bars" in text_of(trainer, "/")
    assert "Use the sample bars" not in text_of(viewer, "/")
    assert "No training was started yet" in text_of(trainer, "/operations/")


def test_without_redis_the_pages_say_so_and_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise NoWorker("Redis is away")

    monkeypatch.setattr("training.web.home.ping", away)
    client = signed_in("vera", "viewer")
    assert "Redis is away" in text_of(client, "/") and "no workers" in text_of(client, "/around/")
    assert queues.QUEUES


def test_an_operation_that_is_not_there_is_not_found() -> None:
    client = signed_in("vera", "viewer")
    for address in ("/operations/op_none/", "/operations/%00/", "/operations/op_none/log/"):
        assert client.get(address).status_code == 404


def test_a_thousand_operations_cost_no_more_than_fifteen_queries() -> None:
    client, version = signed_in("ada", "admin"), admin_rows.version("many")
    spec = admin_rows.operation(of=version).spec
    states = [s for s in Status.values if s != "completed"]
    Operation.objects.bulk_create(
        Operation(id=f"op_training_many_{n:04}", strategy_version=version, spec=spec, status=states[n % len(states)])
        for n in range(1000)
    )
    for address in ("/", "/operations/", "/operations/?page=3", "/operations/op_training_many_0001/", "/around/"):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            text_of(client, address)
        assert len(queries) <= 15, (address, len(queries))
