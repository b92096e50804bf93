"""Own API tokens in the browser: shown once, never more than the role, revoked for good; nobody else's."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.examples.api import Examples, bearer, send
from training.access.tokens import create
from training.models import ApiToken, AuditEntry

XSS = "<script>alert(1)</script>"


def make(client: Client, **fields: str) -> Any:
    return client.post("/tokens/", {"name": "notebook", "scope": "read", "days": "90", **fields})


def test_a_new_token_is_shown_once_and_works(examples: Examples) -> None:
    client = examples.signed_in("trainer")
    answer = make(client, scope="train")
    (secret,) = set(re.findall(r"ktrdr_[\w-]{40,}", answer.content.decode()))
    assert answer["Cache-Control"] == "no-store" and f'data-copy="{secret}"' in answer.content.decode()
    assert send(bearer(secret), "get", "/operations").status_code == 200
    page = client.get("/tokens/").content.decode()
    assert secret not in page and secret[:12] in page
    row = ApiToken.objects.get()
    assert (row.scope, row.user) == ("train", examples.users["trainer"]) and 89 <= (row.expires - timezone.now()).days <= 90
    entry = AuditEntry.objects.get(action="create token")
    assert entry.target == row.prefix and secret not in str(entry.details)
    make(client, days="0")
    assert ApiToken.objects.filter(expires=None).count() == 1


def test_a_form_that_is_sent_again_makes_no_second_token(examples: Examples) -> None:
    """A reload of the page that shows the secret sends the form again."""
    client = examples.signed_in("trainer")
    once = re.findall(r'name="once" value="(\w{32})"', client.get("/tokens/").content.decode())
    assert make(client, once=once[0]).status_code == 200
    again = client.post("/tokens/", {"name": "notebook", "scope": "read", "days": "90", "once": once[0]}, follow=True)
    assert ApiToken.objects.count() == 1 and b"This form was sent before" in again.content and again.redirect_chain
    other = re.findall(r'name="once" value="(\w{32})"', again.content.decode())
    assert other != once and make(client, once=other[0]).status_code == 200 and ApiToken.objects.count() == 2


@pytest.mark.parametrize(("role", "scope"), [("viewer", "train"), ("viewer", "admin"), ("trainer", "admin"), ("admin", "root")])
def test_no_token_is_more_than_its_users_role(examples: Examples, role: str, scope: str) -> None:
    answer = make(examples.signed_in(role), scope=scope)
    assert answer.status_code == 422 and b"is not one of the available choices" in answer.content
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize("fields", [{"name": ""}, {"name": "x" * 101}, {"days": "-1"}, {"days": "nan"}, {"name": "a\0b"}])
def test_what_is_not_filled_in_well_is_refused(examples: Examples, fields: dict[str, str]) -> None:
    assert make(examples.signed_in("admin"), **fields).status_code == 422
    assert not ApiToken.objects.exists()


def test_a_revoked_token_opens_nothing(examples: Examples) -> None:
    row, secret = create(examples.users["viewer"], "notebook", "read")
    client = examples.signed_in("viewer")
    answer = client.post(f"/tokens/{row.pk}/revoke/", follow=True)
    assert b"notebook is revoked" in answer.content and send(bearer(secret), "get", "/operations").status_code == 401
    assert AuditEntry.objects.get(action="revoke token").target == row.prefix
    again = client.post(f"/tokens/{row.pk}/revoke/", follow=True)
    assert b"was revoked before" in again.content and AuditEntry.objects.filter(action="revoke token").count() == 1


def test_others_tokens_are_not_there(examples: Examples) -> None:
    row, _ = create(examples.users["trainer"], "somebody elses", "read")
    client = examples.signed_in("admin")
    assert b"somebody elses" not in client.get("/tokens/").content
    assert client.post(f"/tokens/{row.pk}/revoke/").status_code == 404
    row.refresh_from_db()
    assert row.revoked is None


def test_names_stay_texts_and_the_page_stays_short(examples: Examples, django_assert_max_num_queries: Any) -> None:
    user = examples.users["viewer"]
    past = timezone.now() - dt.timedelta(days=1)
    ApiToken.objects.bulk_create(
        ApiToken(user=user, name=XSS, prefix=f"ktrdr_{n:06}", sha256=f"{n:064}", scope="read", expires=past) for n in range(1000)
    )
    client = examples.signed_in("viewer")
    with django_assert_max_num_queries(15):
        page = client.get("/tokens/").content.decode()
    assert XSS not in page and "page 1 of 20" in page and "expired" in page
    assert XSS.encode() not in make(client, name=XSS).content


def test_who_may(examples: Examples) -> None:
    row, _ = create(examples.users["viewer"], "own", "read")
    for address in ("/tokens/", f"/tokens/{row.pk}/revoke/"):
        assert Client().post(address)["Location"].startswith("/sign-in/")
        assert examples.signed_in("nobody").post(address).status_code == 403
        assert examples.signed_in("viewer", csrf=True).post(address).status_code == 403
    assert examples.signed_in("viewer").get(f"/tokens/{row.pk}/revoke/").status_code == 405
