"""Addresses of writing strategies; those of looking at them, which show trainings too, are wired beside these."""

from __future__ import annotations

from django.urls import path

from strategies_app import views

app_name = "strategies"
urlpatterns = [
    path("new/", views.new, name="new"),
    path("new/check/", views.check, name="check"),
    path("new/samples/", views.add_sample, name="add-sample"),
    path("<str:name>/edit/", views.edit, name="edit"),
    path("<str:name>/versions/<int:number>/download/", views.download, name="download"),
]
