"""Who calls the API: a token's user within the token's scope, or a signed-in user; and what a route demands of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from training.access import sign_ins, tokens
from training.access.audit import Actor
from training.access.roles import is_admin
from training.api.errors import ApiError
from training.models import ApiToken, Operation


@dataclass(frozen=True)
class Caller:
    """Who asks; `scope` is None for a signed-in user, who has no limit but the own role."""

    user: Any
    scope: str | None = None

    @property
    def actor(self) -> Actor:
        return Actor(self.user, "api")

    def may(self, permission: str) -> bool:
        """Whether role and scope both allow it, as they are at this moment."""
        return bool(self.user.has_perm(permission)) and (self.scope is None or tokens.allows(self.scope, permission))

    def may_control(self, operation: Operation, permission: str) -> bool:
        """One's own operation, or any as an admin."""
        if not self.may(permission):
            return False
        as_admin = self.scope in (None, ApiToken.Scope.ADMIN) and is_admin(self.user)
        return as_admin or (operation.user_id is not None and operation.user_id == self.user.pk)

    def must(self, permission: str) -> None:
        if not self.may(permission):
            raise _forbidden(self, permission)

    def must_control(self, operation: Operation, permission: str) -> None:
        self.must(permission)
        if not self.may_control(operation, permission):
            owner = operation.user.get_username() if operation.user else "the command line"
            raise ApiError(403, "forbidden", f"{operation.pk} belongs to {owner}: only its owner or an admin may do this")


class Access(AuthBase):
    """What a route demands: a permission, of a user who is known by a token or a session."""

    openapi_type = "http"
    openapi_scheme = "bearer"
    csrf = True  # so that the page of the API sends the session's CSRF token

    def __init__(self, permission: str) -> None:
        self.permission = permission
        super().__init__()

    def __call__(self, request: HttpRequest) -> Caller:
        caller = identify(request)
        if caller is None:
            raise _unknown("sign in, or send a token as `Authorization: Bearer …`")
        caller.must(self.permission)
        return caller


def identify(request: HttpRequest) -> Caller | None:
    """The caller of a request, None for an anonymous one; ApiError for a bad token or a forged session."""
    authorization = request.headers.get("Authorization")
    if authorization is not None:
        scheme, _, secret = authorization.partition(" ")
        return _by_token(request, secret.strip() if scheme.lower() == "bearer" else "")
    if not request.user.is_authenticated:
        return None
    if check_csrf(request) is not None:
        raise ApiError(403, "csrf", "a signed-in browser must send its CSRF token as X-CSRFToken")
    return Caller(request.user)


def _by_token(request: HttpRequest, secret: str) -> Caller:
    """The right token is let in even from a throttled address: it cannot be guessed, and one broken
    script must not shut out everyone who shares its address.
    """
    row = tokens.find(secret) if secret else None
    if row is not None:
        return Caller(row.user, row.scope)
    address = sign_ins.address_of(request)
    known = secret[: tokens.SHOWN] if secret.startswith(tokens.BEGIN) else ""
    try:
        sign_ins.reserve(sign_ins.BAD_TOKEN, Actor(None, "api"), address, known)
    except sign_ins.Throttled as throttled:
        seconds = throttled.seconds
        message = f"too many bad tokens from this address: try again in {seconds} s"
        raise ApiError(429, "throttled", message, headers={"Retry-After": str(seconds)}, retry_after_seconds=seconds) from None
    raise _unknown("the token is wrong, expired or revoked")


def _unknown(message: str) -> ApiError:
    return ApiError(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})


def _forbidden(caller: Caller, permission: str) -> ApiError:
    if caller.user.has_perm(permission):
        message = f"a token of scope {caller.scope} does not allow this"
    else:
        message = f"{caller.user.get_username()} may not do this"
    return ApiError(403, "forbidden", message, permission=permission)
