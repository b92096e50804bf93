"""Tokens: shown once, stored as a hash, and useless when wrong, expired, revoked, or their user is not active."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from tests.examples.api import Examples, bearer, send
from training.access import sign_ins, tokens
from training.models import ApiToken, AuditEntry

pytestmark = pytest.mark.django_db


def status(secret: str) -> int:
    return int(send(bearer(secret), "get", "/operations").status_code)


def test_only_the_hash_of_a_secret_is_stored(examples: Examples) -> None:
    row, secret = tokens.create(examples.users["trainer"], "laptop", "train")
    assert secret.startswith("ktrdr_") and len(secret) >= 40
    assert row.prefix == secret[:12]
    assert secret not in "".join(str(value) for value in ApiToken.objects.values_list().get())
    assert status(secret) == 200


def test_a_wrong_expired_or_revoked_token_is_refused(examples: Examples) -> None:
    user = examples.users["trainer"]
    expired, old = tokens.create(user, "old", "read", timezone.now() + timedelta(days=1))
    ApiToken.objects.filter(pk=expired.pk).update(expires=timezone.now())
    revoked, gone = tokens.create(user, "gone", "read")
    tokens.revoke(revoked.prefix)
    for secret in (old, gone, f"{gone}x", "ktrdr_", "", "ü", "x" * 5000):
        assert status(secret) == 401
    answer = Client(headers={"Authorization": "Basic dXNlcjpwYXNz"}).get("/api/v1/operations")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_a_bad_token_is_refused_also_where_a_session_would_do(examples: Examples) -> None:
    client = examples.signed_in("admin")
    assert send(client, "get", "/operations", Authorization="Bearer wrong").status_code == 401


def test_the_tokens_of_a_user_who_is_not_active_are_refused(examples: Examples) -> None:
    _, secret = tokens.create(examples.users["trainer"], "laptop", "read")
    examples.users["trainer"].is_active = False
    examples.users["trainer"].save()
    assert status(secret) == 401


def test_the_last_use_is_written_at_most_once_a_minute(examples: Examples, django_assert_num_queries: Any) -> None:
    row, secret = tokens.create(examples.users["trainer"], "laptop", "read")
    with django_assert_num_queries(2):
        tokens.find(secret)
    with django_assert_num_queries(1):
        tokens.find(secret)
    ApiToken.objects.filter(pk=row.pk).update(last_used=timezone.now() - timedelta(seconds=61))
    with django_assert_num_queries(2):
        tokens.find(secret)


def test_no_token_is_made_for_more_than_its_user_may(examples: Examples) -> None:
    for role, scope in (("viewer", "train"), ("trainer", "admin"), ("nobody", "read")):
        with pytest.raises(tokens.TokenError, match="is more than"):
            tokens.create(examples.users[role], "greedy", scope)
    assert tokens.scopes_of(examples.users["admin"]) == ["read", "train", "admin"]


def test_too_many_bad_tokens_are_throttled_but_a_right_one_is_let_in(examples: Examples) -> None:
    _, secret = tokens.create(examples.users["viewer"], "monitor", "read")
    for _ in range(sign_ins.PER_ADDRESS):
        assert status("ktrdr_wrong") == 401
    answer = send(bearer("ktrdr_wrong"), "get", "/operations")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 15 * 60
    assert answer.json()["error"]["code"] == "throttled"
    assert AuditEntry.objects.filter(action=sign_ins.BAD_TOKEN).count() == sign_ins.PER_ADDRESS, "nothing more is written"
    assert status(secret) == 200
    AuditEntry.objects.update(at=timezone.now() - sign_ins.WINDOW)
    assert status("ktrdr_wrong") == 401


def run(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("tokens", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_tokens_are_made_listed_and_revoked_by_command(examples: Examples) -> None:
    secret, said = run("create", "trainer", "nightly", "--scope", "train", "--days", "7")
    assert "scope train, until" in said and "shown this once" in said
    assert status(secret.strip()) == 200
    listed, _ = run("list")
    assert secret[:12] in listed and secret.strip() not in listed and "nightly" in listed
    assert "is revoked" in run("revoke", secret[:12])[0]
    assert status(secret.strip()) == 401
    assert AuditEntry.objects.filter(action__in=("token", "revoke token")).count() == 2


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("create", "unknown", "x"), "no user 'unknown'"),
    (("create", "viewer", "x", "--scope", "admin"), "scope admin is more than viewer may, wanted read"),
    (("create", "viewer", "x", "--days", "-1"), "--days wants"),
    (("revoke", "ktrdr_none"), "no token in use begins with 'ktrdr_none'"),
])  # fmt: skip
def test_the_command_says_what_is_wrong(arguments: tuple[str, ...], sentence: str, examples: Examples) -> None:
    with pytest.raises(CommandError, match=sentence):
        run(*arguments)
