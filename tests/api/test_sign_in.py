"""Sessions: a forged request is refused, guessing passwords is throttled, and every sign-in leaves a trace."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import authenticate
from django.db import connections
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from tests.examples.api import Examples, bearer, send
from training.access import sign_ins
from training.access.sign_ins import SignInForm
from training.models import AuditEntry

pytestmark = pytest.mark.django_db


def test_an_unsafe_request_of_a_session_needs_the_csrf_token(examples: Examples, empty_redis: Any) -> None:
    client, path = examples.signed_in("trainer", csrf=True), f"/operations/{examples.own.pk}/cancel"
    refused = send(client, "post", path, {})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf")
    examples.own.refresh_from_db()
    assert examples.own.status == "pending"
    assert send(client, "get", "/operations").status_code == 200, "reading needs none"
    client.cookies["csrftoken"] = "a" * 32
    assert send(client, "post", path, {}, **{"X-CSRFToken": "b" * 32}).status_code == 403
    assert send(client, "post", path, {}, **{"X-CSRFToken": "a" * 32}).status_code == 200


def test_a_token_needs_no_csrf_token(examples: Examples, empty_redis: Any) -> None:
    client = examples.with_token("trainer", "train")
    client.handler.enforce_csrf_checks = True
    assert send(client, "post", f"/operations/{examples.own.pk}/cancel", {}).status_code == 200


def sign_in(name: str, password: str, address: str = "192.0.2.1") -> SignInForm:
    request = RequestFactory().post("/", REMOTE_ADDR=address)
    return SignInForm(request, data={"username": name, "password": password})


@pytest.fixture
def admin(examples: Examples, settings: Any) -> Any:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # dozens of wrong passwords are tried here
    user = examples.users["admin"]
    user.set_password("right-secret")
    user.save()
    return user


def test_too_many_wrong_passwords_for_a_name_are_refused_whatever_comes_next(admin: Any) -> None:
    for number in range(sign_ins.PER_NAME):
        assert not sign_in("admin", "wrong", f"192.0.2.{number}").is_valid()
    form = sign_in("admin", "right-secret", "198.51.100.1")
    assert not form.is_valid()
    assert form.errors["__all__"] == ["Too many failed sign-ins: try again in 15 minutes."]
    AuditEntry.objects.filter(action=sign_ins.FAILED).update(at=timezone.now() - sign_ins.WINDOW + timedelta(seconds=50))
    assert sign_in("admin", "right-secret").errors["__all__"] == ["Too many failed sign-ins: try again in 1 minute."]
    AuditEntry.objects.filter(action=sign_ins.FAILED).update(at=timezone.now() - sign_ins.WINDOW)
    assert sign_in("admin", "right-secret").is_valid()


def test_too_many_wrong_passwords_from_an_address_are_refused_whoever_it_is_next(admin: Any) -> None:
    for number in range(sign_ins.PER_ADDRESS):
        assert not sign_in(f"user{number}", "wrong", f"2001:db8::{number:x}").is_valid(), "one network, many addresses"
    assert "Too many" in sign_in("admin", "right-secret", "2001:db8::ffff").errors["__all__"][0]
    assert sign_in("admin", "right-secret", "2001:db9::1").is_valid()


def test_a_refused_try_is_not_counted_again(admin: Any) -> None:
    for _ in range(sign_ins.PER_NAME + 5):
        sign_in("admin", "wrong").is_valid()
    assert AuditEntry.objects.filter(action=sign_ins.FAILED).count() == sign_ins.PER_NAME


def test_sign_in_failed_sign_in_and_sign_out_leave_a_trace(admin: Any) -> None:
    client = Client(REMOTE_ADDR="192.0.2.7")
    client.force_login(admin)
    client.logout()
    request = RequestFactory().post("/", REMOTE_ADDR="192.0.2.9")
    assert authenticate(request, username="admin", password="wrong") is None
    entries = [(e.action, e.username, e.target) for e in AuditEntry.objects.order_by("pk")]
    assert entries == [("sign-in", "admin", "admin"), ("sign-out", "admin", "admin"), ("failed sign-in", "", "admin")]
    assert AuditEntry.objects.get(action="failed sign-in").details["address"] == "192.0.2.9"
    assert "wrong" not in str(list(AuditEntry.objects.values()))


def test_what_is_nobodys_name_is_not_kept_as_it_was_typed(admin: Any) -> None:
    for typed in ("right-secret", "right-secret", "other-secret", "admin"):
        assert not sign_in(typed, "wrong").is_valid()
    kept = list(AuditEntry.objects.order_by("pk").values_list("target", flat=True))
    assert "secret" not in str(list(AuditEntry.objects.values()))
    assert kept[0] == kept[1] != kept[2] and kept[0].startswith("unknown name ") and kept[3] == "admin"


def test_a_name_that_nobody_has_is_limited_like_one_that_is_there(admin: Any) -> None:
    for number in range(sign_ins.PER_NAME):
        assert "Too many" not in str(filled(sign_in("nobody-of-that-name", "wrong", f"192.0.2.{number}")))
    assert "Too many" in str(filled(sign_in("nobody-of-that-name", "wrong", "198.51.100.1")))


def filled(form: SignInForm) -> Any:
    form.is_valid()
    return form.errors


def test_a_right_password_is_no_failure_and_one_who_may_not_enter_the_admin_is_none_either(
    admin: Any, examples: Examples
) -> None:
    assert sign_in("admin", "right-secret").is_valid()
    examples.users["nobody"].set_password("right-secret")
    examples.users["nobody"].save()
    assert not sign_in("nobody", "right-secret").is_valid(), "no staff"
    assert AuditEntry.objects.filter(action=sign_ins.FAILED).count() == 0


@pytest.mark.parametrize("page", ["site:password", "admin:password_change"])
def test_guessing_the_old_password_of_an_open_session_counts_like_signing_in(page: str, admin: Any) -> None:
    client = Client()
    client.force_login(admin)
    new = {"new_password1": "an0ther-secret", "new_password2": "an0ther-secret"}
    for _ in range(sign_ins.PER_NAME):
        assert b"Too many" not in client.post(reverse(page), {"old_password": "wrong", **new}).content
    assert b"Too many failed sign-ins" in client.post(reverse(page), {"old_password": "right-secret", **new}).content
    AuditEntry.objects.all().delete()
    assert client.post(reverse(page), {"old_password": "right-secret", **new}).status_code == 302
    assert AuditEntry.objects.filter(action=sign_ins.FAILED).count() == 0


def test_only_admins_see_who_signed_in_from_where_and_which_names_were_tried(admin: Any, examples: Examples) -> None:
    for action in sign_ins.OF_ADMINS:
        AuditEntry.objects.create(action=action, target=f"typed at {action}", details={"address": "192.0.2.77", "via": "web"})
    AuditEntry.objects.create(action="start", target="op_x", details={"via": "web"})
    rows = {entry.action: entry.pk for entry in AuditEntry.objects.all()}
    for role in ("viewer", "trainer", "admin"):
        client = examples.signed_in(role)
        AuditEntry.objects.filter(target=role).delete()
        listing = reverse("admin:training_auditentry_changelist")
        seen = client.get(listing).content.decode()
        asked = client.get(listing, {"details__address__startswith": "192"}).content.decode()
        assert ("192.0.2.77" in seen) is (role == "admin") and ("typed at" in seen) is (role == "admin")
        assert "1 audit" not in asked or role == "admin"
        assert "start" in seen
        for action, pk in rows.items():
            answer = client.get(reverse("admin:training_auditentry_change", args=[pk]))
            assert (answer.status_code == 200) is (role == "admin" or action == "start"), (role, action)


def test_a_migration_forgets_names_that_belong_to_nobody(admin: Any) -> None:
    from importlib import import_module

    for target in ("admin", "my-password", "unknown name 0123456789ab"):
        AuditEntry.objects.create(action=sign_ins.FAILED, target=target)
    AuditEntry.objects.create(action="start", target="op_x")
    import_module("training.migrations.0010_names_in_failed_sign_ins").forget(apps, None)
    kept = list(AuditEntry.objects.order_by("pk").values_list("target", flat=True))
    assert kept == ["admin", "unknown name", "unknown name 0123456789ab", "op_x"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["passwords", "tokens"])
def test_of_thirty_at_once_no_more_are_looked_at_than_the_limit_lets(
    what: str, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    together = threading.Barrier(30)

    def check(self: Any, raw: str) -> bool:
        looked.append(1)
        time.sleep(0.05)  # as a hasher takes: all others come in between
        return False

    monkeypatch.setattr(type(admin), "check_password", check)

    def guess(number: int) -> int:
        try:
            together.wait(60)
            if what == "passwords":
                return Client().post(reverse("site:sign-in"), {"username": "admin", "password": f"guess{number}"}).status_code
            return int(bearer(f"ktrdr_{number}").get("/api/v1/operations").status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(30) as pool:
        statuses = list(pool.map(guess, range(30)))
    limit, wrong = (sign_ins.PER_NAME, 422) if what == "passwords" else (sign_ins.PER_ADDRESS, 401)
    assert (statuses.count(wrong), statuses.count(429)) == (limit, 30 - limit)
    assert len(looked) == (limit if what == "passwords" else 0)
    action = sign_ins.FAILED if what == "passwords" else sign_ins.BAD_TOKEN
    assert AuditEntry.objects.filter(action=action).count() == limit
