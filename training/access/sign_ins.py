"""Signing in: every try leaves a trace, and the trace limits the tries, per address and per user name.

The audit trail is what is counted: it is written anyway, all web processes see the same one, and it
outlives a restart, none of which is true of a cache in memory.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import get_user_model, signals
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from training.access.audit import Actor, audit
from training.models import AuditEntry

SIGNED_IN, SIGNED_OUT, FAILED, BAD_TOKEN = "sign-in", "sign-out", "failed sign-in", "bad token"
WINDOW = timedelta(minutes=15)
#: What a failure is kept under whose name belongs to nobody.
UNKNOWN = "unknown name"
#: Of PostgreSQL's advisory locks, the one that tries stand in line for.
LOCK = 0x6B747264
#: What a viewer does not see: names that others typed, and where they were.
OF_ADMINS = (SIGNED_IN, SIGNED_OUT, FAILED, BAD_TOKEN)
#: So many failures within the window, and no further try is looked at until the first of them is out of it.
PER_ADDRESS, PER_NAME = 20, 10


def address_of(request: HttpRequest | None) -> str:
    """Where a request comes from; of an IPv6 address its network, since one host has as many addresses as it likes."""
    text = request.META.get("REMOTE_ADDR", "") if request is not None else ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""  # a unix socket has none
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


def wait_seconds(action: str, address: str, name: str = "") -> int:
    """Seconds until another try is allowed after failures of this kind, 0 if at once."""
    now = timezone.now()
    recent = AuditEntry.objects.filter(action=action, at__gt=now - WINDOW).order_by("-at")
    limits = [(recent.filter(details__address=address), PER_ADDRESS)]
    limits += [(recent.filter(target=name[:150]), PER_NAME)] if name else []
    waits = [0]
    for rows, limit in limits:
        first = list(rows.values_list("at", flat=True)[limit - 1 : limit])
        waits += [max(1, math.ceil((at + WINDOW - now).total_seconds())) for at in first]
    return max(waits)


class Throttled(Exception):
    """Too many failures: `seconds` until the next try."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many failures: the next try is in {seconds} s")
        self.seconds = seconds


def reserve(action: str, actor: Actor, address: str, target: str) -> AuditEntry:
    """Count a try before it is looked at, as the failure that it is until it has turned out well. Throttled if it may not be.

    Of any number at once no more pass than the limit lets: one after the other counts and leaves its row. Whoever asks
    deletes the row when the try was right; a process that ends in between has failed.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":  # SQLite's transactions stand in line by themselves
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if seconds := wait_seconds(action, address, target if action == FAILED else ""):
            raise Throttled(seconds)
        return audit(actor, action, target, address=address)


@contextmanager
def counted(request: HttpRequest, name: str) -> Iterator[AuditEntry]:
    """Around a look at a password: a failure, unless it ends without ValidationError. ValidationError at once after too many."""
    try:
        row = reserve(FAILED, Actor(None, "web"), address_of(request), known_name(name))
    except Throttled as throttled:
        minutes = math.ceil(throttled.seconds / 60)
        text = f"Too many failed sign-ins: try again in {minutes} minute{'s' * (minutes > 1)}."
        raise ValidationError(text, code="throttled") from None
    request.counted = True  # type: ignore[attr-defined] # for `record`: there is a row of this failure already
    yield row
    row.delete()


def known_name(typed: str) -> str:
    """A user's name as it is kept with a failure. What is nobody's name may be a password in the wrong field: it is told
    apart from others by a keyed hash, and not kept."""
    typed = typed[:150]
    if get_user_model().objects.filter(username=typed).exists():
        return typed
    return f"{UNKNOWN} {salted_hmac('failed sign-in', typed).hexdigest()[:12]}"


class PageSignInForm(AuthenticationForm):
    """The sign-in form of the pages; after too many failures it says so and does not look at the password."""

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username") or ""
        if not name or not self.cleaned_data.get("password"):
            return dict(super().clean())
        with counted(self.request, name) as row:
            try:
                return dict(super().clean())
            except ValidationError:
                if self.user_cache is not None:  # the password was right, and the place is the wrong one
                    row.delete()
                raise


class SignInForm(PageSignInForm, AdminAuthenticationForm):
    """The admin's, with its own words and its demand of staff."""


class OwnPasswordForm(PasswordChangeForm):
    """A new password of one's own: the old one is a password that can be guessed, too."""

    #: Set by the view: where it is asked from.
    request: HttpRequest

    def clean_old_password(self) -> str:
        with counted(self.request, self.user.get_username()):
            return str(super().clean_old_password())


class OwnPasswordView(PasswordChangeView):
    form_class = OwnPasswordForm

    def get_form(self, form_class: Any = None) -> OwnPasswordForm:
        form: OwnPasswordForm = super().get_form(form_class)
        form.request = self.request
        return form


def record(signal: Any, user: Any = None, request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Leave a trace of a sign-in, a failed one or a sign-out: the receiver of Django's three signals."""
    action = {signals.user_logged_in: SIGNED_IN, signals.user_logged_out: SIGNED_OUT, signals.user_login_failed: FAILED}[signal]
    name = user.get_username() if user is not None else str(kwargs.get("credentials", {}).get("username") or "")
    if action == FAILED:
        if not getattr(request, "counted", False):
            audit(Actor(None, "web"), action, known_name(name), address=address_of(request))
    elif user is not None:
        audit(Actor(user, "web"), action, name[:150], address=address_of(request))
