"""Addresses of the pages."""

from __future__ import annotations

from django.urls import path

from training.pages import home, operations, previews, signing, start

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
    path("train/", start.train, name="train"),
    path("train/plan/", start.plan, name="plan"),
    path("train/plan/<str:job>/", start.planned, name="plan-job"),
    path("previews/", previews.preview, name="preview"),
    path("previews/symbols/", previews.symbols, name="preview-symbols"),
    path("previews/<str:job>/", previews.waiting, name="preview-job"),
]
