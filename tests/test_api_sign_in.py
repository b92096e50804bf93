"""Sessions: a forged request is refused, guessing passwords is throttled, and every sign-in leaves a trace."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.test import Client, RequestFactory
from django.utils import timezone

from tests.api_examples import Examples, send
from training import sign_ins
from training.models import AuditEntry
from training.sign_ins import SignInForm

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
