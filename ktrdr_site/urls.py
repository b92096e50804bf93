"""Addresses of the web site: the pages, the admin and the REST API."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from training.api import api

admin.autodiscover()  # here, since at start it would cost every command

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("training.urls")),
    path("strategies/", include("strategies_app.urls")),
    path("api/v1/", api.urls),
    path("admin/", admin.site.urls),
]
