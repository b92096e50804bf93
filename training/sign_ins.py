"""Signing in: every try leaves a trace, and the trace limits the tries, per address and per user name.

The audit trail is what is counted: it is written anyway, all web processes see the same one, and it
outlives a restart, none of which is true of a cache in memory.
"""

from __future__ import annotations

import ipaddress
import math
from datetime import timedelta
from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import signals
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone

from training.models import AuditEntry
from training.requests import Actor, audit

SIGNED_IN, SIGNED_OUT, FAILED, BAD_TOKEN = "sign-in", "sign-out", "failed sign-in", "bad token"
WINDOW = timedelta(minutes=15)
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


class PageSignInForm(AuthenticationForm):
    """The sign-in form of the pages; after too many failures it says so and does not look at the password."""

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username") or ""
        if seconds := wait_seconds(FAILED, address_of(self.request), name):
            minutes = math.ceil(seconds / 60)
            raise ValidationError(
                f"Too many failed sign-ins: try again in {minutes} minute{'s' * (minutes > 1)}.", code="throttled"
            )
        return dict(super().clean())


class SignInForm(PageSignInForm, AdminAuthenticationForm):
    """The admin's, with its own words and its demand of staff."""


def record(signal: Any, user: Any = None, request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Leave a trace of a sign-in, a failed one or a sign-out: the receiver of Django's three signals."""
    action = {signals.user_logged_in: SIGNED_IN, signals.user_logged_out: SIGNED_OUT, signals.user_login_failed: FAILED}[signal]
    name = user.get_username() if user is not None else str(kwargs.get("credentials", {}).get("username") or "")
    if user is not None or action == FAILED:
        audit(Actor(user, "web"), action, name[:150], address=address_of(request))
