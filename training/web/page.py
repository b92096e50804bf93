"""Who may see a page: anonymous visitors are asked to sign in, others without the right are told so."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.http import url_has_allowed_host_and_scheme

from training.access.audit import Actor
from training.access.plain_requests import READ
from training.access.roles import may_control
from training.jobs.lifecycle import stored
from training.models import Operation

#: Longer addresses are in no link of ours.
LONGEST = 2000
View = Callable[..., HttpResponse]


def page(permission: str, *methods: str) -> Callable[[View], View]:
    """Decorator: only for signed-in users who have `app.codename`, and by these methods; by none named, only read."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.is_authenticated:
                return _to_sign_in(request)
            if not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        guarded.methods = methods or READ  # type: ignore[attr-defined]
        return guarded

    return decorate


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    """A part of a page cannot show the sign-in page in its place: the whole page goes there."""
    if request.htmx:  # type: ignore[attr-defined]
        answer = HttpResponse(status=204)
        answer["HX-Refresh"] = "true"
        return answer
    return redirect_to_login(request.get_full_path())


def next_of(request: HttpRequest, otherwise: str) -> str:
    """`next`, if it is a path of this site."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    is_path = wanted.startswith("/") and wanted.isprintable() and len(wanted) <= LONGEST
    return wanted if is_path and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None) else otherwise


def actor_of(request: HttpRequest) -> Actor:
    return Actor(request.user, "web")


def operation_or_404(operation_id: str) -> Operation:
    operation = stored(operation_id)
    if operation is None:
        raise Http404(f"There is no operation {operation_id}.")
    return operation


def must_control(request: HttpRequest, operation: Operation, permission: str) -> None:
    """PermissionDenied unless it is the user's own operation, or the user is an admin."""
    if not may_control(request.user, operation, permission):
        raise PermissionDenied
