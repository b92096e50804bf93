"""Addresses of the pages."""

from __future__ import annotations

from django.urls import path, re_path

from training.pages import (
    compare,
    data,
    home,
    loading,
    marks,
    models,
    operations,
    previews,
    result_files,
    result_parts,
    signing,
    start,
    tokens,
    workers,
)

app_name = "site"
#: An uploaded file that waits; no symbol's timeframe looks like it.
KEY = "(?P<key>[0-9a-f]{32})"
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
    path("data/", data.data, name="data"),
    path("data/sample/", loading.sample, name="sample"),
    re_path(r"^data/sample/(?P<job>quick-[0-9a-f]{32})/$", loading.sample_loading, name="sample-loading"),
    path("data/upload/", loading.upload, name="upload"),
    re_path(rf"^data/upload/{KEY}/$", loading.uploaded, name="uploaded"),
    re_path(rf"^data/upload/{KEY}/preview/$", loading.preview, name="upload-preview"),
    re_path(rf"^data/upload/{KEY}/loading/(?P<job>quick-[0-9a-f]{{32}})/$", loading.upload_loading, name="upload-loading"),
    path("data/<str:symbol>/<str:timeframe>/", data.series, name="series"),
    path("data/<str:symbol>/<str:timeframe>/candles/", data.candles, name="candles"),
    path("models/", models.models, name="models"),
    path("models/<str:name>/", models.model, name="model"),
    path("models/<str:name>/download/", models.download, name="model-download"),
    path("models/<str:name>/predict/", models.predict, name="predict"),
    path("models/<str:name>/prediction/<str:job>/", models.prediction, name="prediction"),
    path("models/<str:name>/prediction/<str:job>/csv/", models.prediction_csv, name="prediction-csv"),
    path("workers/", workers.workers, name="workers"),
    path("tokens/", tokens.tokens, name="tokens"),
    path("tokens/<int:token>/revoke/", tokens.revoke, name="token-revoke"),
    path("account/", signing.account, name="account"),
    path("account/password/", signing.Password.as_view(), name="password"),
]
