"""Signing in and out of the pages."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView

from training.sign_ins import PageSignInForm


class SignIn(LoginView):
    template_name = "site/sign_in.html"
    authentication_form = PageSignInForm
    redirect_authenticated_user = True


class SignOut(LogoutView):
    """By POST only, as Django demands."""
