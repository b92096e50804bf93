"""Addresses of the web site."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, path

admin.autodiscover()  # here, since at start it would cost every command

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
]
