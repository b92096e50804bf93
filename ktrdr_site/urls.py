"""Addresses of the web site: the pages, the admin and the REST API."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from strategies_app import urls as writing
from training.api.prometheus import metrics
from training.api.routes import api
from training.web import strategies as looking

admin.autodiscover()  # here, since at start it would cost every command

# Looking at strategies shows their trainings; writing them knows of none. Both are under one address.
strategies = [
    path("", looking.strategies, name="list"),
    *writing.urlpatterns,
    path("<str:name>/", looking.strategy, name="page"),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("training.web.urls")),
    path("strategies/", include((strategies, writing.app_name))),
    path("api/v1/", api.urls),
    path("metrics", metrics),
    path("admin/", admin.site.urls),
]
