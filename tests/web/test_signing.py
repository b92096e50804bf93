"""Signing in on a page: wrong passwords, too many of them, where one wanted to go; one's account and password."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.examples.api import Examples
from training.access import sign_ins
from training.models import AuditEntry

PASSWORD = "correct horse 7"


@pytest.fixture
def known(examples: Examples) -> Examples:
    user = examples.users["trainer"]
    user.set_password(PASSWORD)
    user.save()
    return examples


def sign_in(password: str = PASSWORD, client: Client | None = None, **fields: str) -> object:
    return (client or Client()).post("/sign-in/", {"username": "trainer", "password": password, **fields})


def test_a_wrong_password_is_said_and_the_way_is_kept(known: Examples) -> None:
    answer = sign_in("wrong", next="/data/")
    page = answer.content.decode()
    assert answer.status_code == 422 and "Please enter a correct username and password" in page
    assert (
        'name="next" value="/data/"' in page and 'value="trainer"' in page and "wrong" not in page.replace("wrong username", "")
    )
    assert sign_in(next="/data/")["Location"] == "/data/"


@pytest.mark.parametrize("elsewhere", ["https://example.com/", "//example.com/", "javascript:alert(1)"])
def test_the_way_never_leads_elsewhere(known: Examples, elsewhere: str) -> None:
    assert sign_in(next=elsewhere)["Location"] == "/"


def test_too_many_failures_are_told_with_the_minutes(known: Examples) -> None:
    for _ in range(sign_ins.PER_NAME):
        sign_in("wrong")
    answer = sign_in()
    assert answer.status_code == 429 and "Too many failed sign-ins: try again in 15 minutes." in answer.content.decode()


def test_a_name_stays_a_text(known: Examples) -> None:
    answer = sign_in("wrong", username='"><script>alert(1)</script>')
    assert b"<script>alert" not in answer.content


def test_the_account_says_ones_role(known: Examples) -> None:
    for role, words in (("viewer", "looks at everything"), ("trainer", "controls own ones"), ("admin", "admin: everything")):
        assert words in known.signed_in(role).get("/account/").content.decode()
    assert Client().get("/account/")["Location"].startswith("/sign-in/")


def test_the_password_is_changed_and_other_browsers_are_signed_out(known: Examples) -> None:
    here, there = Client(), Client()
    for client in (here, there):
        sign_in(client=client)
    wrong = here.post(
        "/account/password/", {"old_password": "x", "new_password1": "n3w pass phrase", "new_password2": "n3w pass phrase"}
    )
    assert wrong.status_code == 422 and b"old password was entered incorrectly" in wrong.content
    short = here.post("/account/password/", {"old_password": PASSWORD, "new_password1": "abc", "new_password2": "abc"})
    assert short.status_code == 422 and b"too short" in short.content
    done = here.post(
        "/account/password/",
        {"old_password": PASSWORD, "new_password1": "n3w pass phrase", "new_password2": "n3w pass phrase"},
        follow=True,
    )
    assert b"Your password is changed" in done.content and here.get("/account/").status_code == 200
    assert there.get("/account/")["Location"].startswith("/sign-in/")
    assert AuditEntry.objects.filter(action="change password", target="trainer").count() == 1
    assert sign_in("n3w pass phrase")["Location"] == "/"
    assert Client().post("/account/password/")["Location"].startswith("/sign-in/")


def test_the_side_list_leads_to_account_and_tokens(known: Examples) -> None:
    page = known.signed_in("viewer").get("/workers/").content.decode()
    assert 'href="/account/"' in page and 'href="/tokens/"' in page
