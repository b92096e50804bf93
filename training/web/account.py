"""Signing in and out of the pages, and one's own account."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse_lazy

from training.access.audit import audit
from training.access.roles import role_of
from training.access.sign_ins import OwnPasswordView, PageSignInForm
from training.web.page import actor_of, next_of, page

#: What a role may, in words.
MEANINGS = {
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
    return render(request, "site/account.html", {"role": role, "meaning": MEANINGS.get(role, "nothing yet")})


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
