"""Signing in and out of the pages, one's own account, and one's own keys to the API."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import LoginView, LogoutView
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from training.access.audit import audit
from training.access.plain_requests import READ_AND_WRITE
from training.access.roles import role_of
from training.access.sign_ins import OwnPasswordView, PageSignInForm
from training.access.tokens import TokenError, create, scopes_of
from training.models import ApiToken
from training.web.page import actor_of, next_of, page

#: What a role may, in words.
ROLE_MEANINGS = {
    "viewer": "looks at everything",
    "trainer": "also edits strategies, loads bars, starts trainings and controls own ones",
    "admin": "everything",
}


class SignIn(LoginView):
    template_name = "site/sign_in.html"
    authentication_form = PageSignInForm
    redirect_authenticated_user = True

    def get_redirect_url(self) -> str:
        """The page that was asked for; empty if that is no path of ours."""
        return next_of(self.request, "")

    def form_invalid(self, form: forms.Form) -> HttpResponse:
        """Refused, and said so with the status too."""
        throttled = any(error.code == "throttled" for error in form.non_field_errors().as_data())
        return self.render_to_response(self.get_context_data(form=form, throttled=throttled), status=429 if throttled else 422)


class SignOut(LogoutView):
    """By POST only, as Django demands."""


@page("training.view_operation")
def account(request: HttpRequest) -> HttpResponse:
    """Who is signed in, with which role, and what it may."""
    role = role_of(request.user)
    return render(request, "site/account.html", {"role": role, "meaning": ROLE_MEANINGS.get(role, "nothing yet")})


class Password(OwnPasswordView):
    """One's own password; the other sessions of the user end with the old one."""

    template_name = "site/password.html"
    success_url = reverse_lazy("site:account")

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        answer = super().form_valid(form)
        audit(actor_of(self.request), "change password", self.request.user.get_username())
        messages.success(self.request, "Your password is changed. Other browsers that are signed in as you were signed out.")
        return answer

    def form_invalid(self, form: PasswordChangeForm) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=422)


PER_PAGE = 50
#: Forms of this session that made a token, and how many of them are remembered.
SENT, MOST_SENT = "token_forms_sent", 20
DAYS = (("30", "30 days"), ("90", "90 days"), ("365", "one year"), ("0", "never"))
SCOPE_MEANINGS = {"read": "look at everything", "train": "also start and stop trainings", "admin": "everything that you may"}


class TokenForm(forms.Form):
    name = forms.CharField(max_length=100, label="What it is for")
    scope = forms.ChoiceField(label="What it may")
    days = forms.ChoiceField(choices=DAYS, initial="90", label="Expires after")
    #: Of the page that the form stood on: a reload that sends it again makes no second token.
    once = forms.CharField(max_length=32, required=False, widget=forms.HiddenInput)

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scope"].choices = [(scope, f"{scope}: {SCOPE_MEANINGS[scope]}") for scope in scopes_of(user)]  # type: ignore[attr-defined]


@sensitive_variables("secret")
@page("training.view_operation", *READ_AND_WRITE)
def tokens(request: HttpRequest) -> HttpResponse:
    """Own tokens; the answer to making one is the only page that ever shows its secret."""
    form = TokenForm(request.user, request.POST if request.method == "POST" else None)
    made, secret = None, ""
    if request.method == "POST" and form.is_valid() and _sent_before(request, form.cleaned_data["once"]):
        messages.info(request, "This form was sent before, and its token was made then. It is not shown again.")
        return redirect("site:tokens")
    if request.method == "POST" and form.is_valid():
        wanted = form.cleaned_data
        days = int(wanted["days"])
        try:
            made, secret = create(
                request.user, wanted["name"], wanted["scope"], timezone.now() + timedelta(days=days) if days else None
            )
        except TokenError as problem:
            form.add_error(None, str(problem))
        else:
            audit(actor_of(request), "create token", made.prefix, name=made.name, scope=made.scope)
            request.session[SENT] = [*request.session.get(SENT, [])[-MOST_SENT:], wanted["once"]]
            form = TokenForm(request.user)
    rows = ApiToken.objects.filter(user=request.user)
    found = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    context = {"found": found, "form": form, "made": made, "secret": secret, "now": timezone.now(), "kept": ""}
    context["once"] = secrets.token_hex(16)
    status = 422 if request.method == "POST" and made is None else 200
    answer = render(request, "site/tokens.html", context, status=status)
    answer["Cache-Control"] = "no-store"
    return answer


def _sent_before(request: HttpRequest, once: str) -> bool:
    return bool(once) and once in request.session.get(SENT, [])


@page("training.view_operation", "POST")
def revoke(request: HttpRequest, token: int) -> HttpResponse:
    """From now on it opens nothing."""
    row = ApiToken.objects.filter(pk=token, user=request.user).first()
    if row is None:
        raise Http404("There is no such token of yours.")
    if ApiToken.objects.filter(pk=row.pk, revoked=None).update(revoked=timezone.now()):
        audit(actor_of(request), "revoke token", row.prefix, name=row.name)
        messages.success(request, f"{row.name} is revoked. Whoever uses it is refused from now on.")
    else:
        messages.warning(request, f"{row.name} was revoked before.")
    return redirect("site:tokens")
