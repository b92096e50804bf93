"""Addresses of the web site: the admin and the REST API."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, path
from django.views.generic import RedirectView

from training.api import api

admin.autodiscover()  # here, since at start it would cost every command

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("api/v1/", api.urls),
    path("admin/", admin.site.urls),
]
