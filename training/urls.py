"""Addresses of the pages."""

from __future__ import annotations

from django.urls import path

from training.pages import compare, home, marks, operations, previews, result_files, result_parts, signing, start

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
    path("operations/<str:operation_id>/annotate/", marks.annotate, name="annotate"),
    path("operations/<str:operation_id>/probabilities/", result_parts.probabilities, name="probabilities"),
    path("operations/<str:operation_id>/importance/", result_parts.importance, name="importance"),
    path("operations/<str:operation_id>/bundle/", result_files.bundle, name="bundle"),
    path("operations/<str:operation_id>/report/", result_files.report, name="report"),
    path("operations/<str:operation_id>/epochs/", result_files.epochs, name="epochs"),
    path("operations/<str:operation_id>/predictions/", result_files.predictions, name="predictions"),
    path("operations/<str:operation_id>/results/", result_files.as_json, name="results-json"),
    path("compare/", compare.compare, name="compare"),
]
