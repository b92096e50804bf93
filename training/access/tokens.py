"""Keys to the API: made once and shown once, found by their sha256, refused when expired, revoked or their user is not active."""

from __future__ import annotations

import hashlib
import logging
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError
from django.db.models import Q
from django.utils import timezone

from training.access.roles import ADMIN, TRAINER, VIEWER, is_admin, permissions_of
from training.core.values import Refusal
from training.models import ApiToken

#: What a secret begins with, so that people and secret scanners know one when they see it.
BEGIN = "ktrdr_"
SHOWN = 12
#: A token's last use is written at most this often: reading must not become writing.
USED_SECONDS = 60
#: What a scope allows at most is what this role may.
log = logging.getLogger(__name__)
ROLE_OF = {ApiToken.Scope.READ: VIEWER, ApiToken.Scope.TRAIN: TRAINER, ApiToken.Scope.ADMIN: ADMIN}


class TokenError(Refusal):
    """A token that cannot be made or found: one sentence."""

    exit_code = 2


def create(user: Any, name: str, scope: str, expires: datetime | None = None) -> tuple[ApiToken, str]:
    """A new token and its secret, which is not stored and cannot be shown again."""
    if scope not in ApiToken.Scope.values:
        raise TokenError(f"unknown scope '{scope}', wanted one of {', '.join(ApiToken.Scope.values)}")
    if not user.is_active:
        raise TokenError(f"{user.get_username()} is not active")
    if scope not in (allowed := scopes_of(user)):
        raise TokenError(f"scope {scope} is more than {user.get_username()} may, wanted {' or '.join(allowed) or 'a role first'}")
    if expires is not None and expires <= timezone.now():
        raise TokenError(f"the token would expire on {expires:%Y-%m-%d}, which is over")
    secret = BEGIN + secrets.token_urlsafe(32)
    row = ApiToken.objects.create(
        user=user, name=name, prefix=secret[:SHOWN], sha256=_sha256(secret), scope=scope, expires=expires
    )
    return row, secret


def find(secret: str) -> ApiToken | None:
    """The valid token of a secret, with its user; its use is noted."""
    now = timezone.now()
    valid = Q(expires=None) | Q(expires__gt=now)
    row = (
        ApiToken.objects.select_related("user").filter(valid, sha256=_sha256(secret), revoked=None, user__is_active=True).first()
    )
    if row is not None and (row.last_used is None or now - row.last_used >= timedelta(seconds=USED_SECONDS)):
        try:
            ApiToken.objects.filter(pk=row.pk).update(last_used=now)
        except OperationalError as error:  # reading is possible while SQLite has a writer
            log.warning("the use of token %s could not be noted: %s", row.prefix, error)
    return row


def revoke(prefix: str) -> ApiToken:
    """Make the one token with this prefix useless from now on."""
    found = list(ApiToken.objects.filter(prefix__startswith=prefix, revoked=None).select_related("user")[:2]) if prefix else []
    if len(found) != 1:
        raise TokenError(f"{'several tokens begin' if found else 'no token in use begins'} with '{prefix}'")
    (row,) = found
    row.revoked = timezone.now()
    row.save(update_fields=["revoked"])
    return row


def scopes_of(user: Any) -> list[str]:
    """The scopes that a user's role covers, the least first."""
    scopes = [ApiToken.Scope.READ.value] if user.has_perm("training.view_operation") else []
    if scopes and user.has_perm("training.start_operation"):
        scopes.append(ApiToken.Scope.TRAIN.value)
    return [*scopes, ApiToken.Scope.ADMIN.value] if is_admin(user) else scopes


def allows(scope: str, permission: str) -> bool:
    """Whether a scope covers a permission; whether the user has it is another question."""
    return scope == ApiToken.Scope.ADMIN or permission in permissions_of(ROLE_OF[ApiToken.Scope(scope)])


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
