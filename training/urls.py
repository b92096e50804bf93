"""Addresses of the pages."""

from __future__ import annotations

from django.urls import path

from training.pages import home, operations, signing

app_name = "site"
urlpatterns = [
    path("", home.home, name="home"),
    path("around/", home.around, name="around"),
    path("sign-in/", signing.SignIn.as_view(), name="sign-in"),
    path("sign-out/", signing.SignOut.as_view(), name="sign-out"),
    path("operations/", operations.operations, name="operations"),
    path("operations/<str:operation_id>/", operations.operation, name="operation"),
    path("operations/<str:operation_id>/cancel/", operations.cancel, name="cancel"),
    path("operations/<str:operation_id>/resume/", operations.resume, name="resume"),
    path("operations/<str:operation_id>/log/", operations.log, name="log"),
    path("operations/<str:operation_id>/checkpoints/", operations.checkpoints, name="checkpoints"),
]
