"""Routes of what is stored, strategies, models and bars, and of the questions that a quick worker answers."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.db.models import Count, F, Max, QuerySet
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import reverse
from ninja import Query, Router
from ninja.responses import Status as Answer

from strategies_app.grammar.reader import StrategyError, read_strategy, warnings_of
from strategies_app.grammar.schema import feature_names
from strategies_app.models import Strategy
from strategies_app.stored import FoundStrategy, stored_strategy
from training.access.audit import audit
from training.api.api_shapes_library import (
    Bars,
    Features,
    ModelDetail,
    Models,
    Predict,
    Predictions,
    Series,
    SeriesPage,
    Strategies,
    StrategyDetail,
    StrategyLine,
    StrategyText,
    Validation,
)
from training.api.api_shapes_operations import Analytics
from training.api.auth import Access
from training.api.errors import ApiError, not_found
from training.api.shapes import Asked, ErrorBody, Limit, listed, page
from training.core.files import FolderError, Unreachable
from training.jobs.analytics import FILES, TYPES, Record, as_file, folder_of, judged, read_journal
from training.jobs.deletions import delete_series
from training.jobs.downloads import bundle_zip, series_response
from training.jobs.homes import Away
from training.jobs.questions import Reply, ask, look
from training.models import BarSeries, Operation, TrainedModel

router = Router()
ERRORS = dict.fromkeys((400, 401, 403, 404, 409, 413, 422, 429, 500, 503), ErrorBody)
BINARY = {"description": "OK", "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
TABLE = {
    "description": "OK",
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("text/csv", "application/vnd.apache.parquet")
    },
}
ZIP = {"description": "OK", "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
VIEW_STRATEGIES, VIEW_MODELS = Access("strategies_app.view_strategy"), Access("training.view_trainedmodel")
VIEW_BARS, VIEW = Access("training.view_barseries"), Access("training.view_operation")


# --- strategies --------------------------------------------------------------------------------


@router.get("/strategies", auth=VIEW_STRATEGIES, tags=["strategies"], response={
    200: Strategies | list[StrategyLine], **ERRORS})  # fmt: skip
def list_strategies(request: HttpRequest, limit: Limit = None, cursor: str = "") -> dict[str, Any] | list[dict[str, Any]]:
    """The stored strategies by name, as a page if `limit` is given."""
    rows = Strategy.objects.annotate(
        version=Max("versions__number"), versions_count=Count("versions"), changed=Max("versions__created")
    )
    fields = ("name", "version", "created", "changed")
    lines = [{**{f: getattr(row, f) for f in fields}, "versions": row.versions_count} for row in rows]
    if limit is None:
        return lines
    found, next_cursor = listed(lines, lambda line: str(line["name"]), limit, cursor)
    return {"strategies": found, "next_cursor": next_cursor}


@router.post("/strategies/validate", auth=VIEW_STRATEGIES, tags=["strategies"], response={200: Validation, **ERRORS})
def validate_strategy(request: HttpRequest, body: StrategyText) -> dict[str, Any]:
    """Whether a text is a valid strategy, and if not, everything that is wrong with it. Stores nothing."""
    try:
        spec = read_strategy(body.strategy_yaml)
    except StrategyError as error:
        return {"valid": False, "problems": error.problems}
    labels = spec.training.labels.source
    return {
        "valid": True, "name": spec.name, "features": len(feature_names(spec)), "labels": labels, "warnings": warnings_of(spec),
    }  # fmt: skip


@router.get("/strategies/{name}", auth=VIEW_STRATEGIES, tags=["strategies"], response={200: StrategyDetail, **ERRORS})
def show_strategy(request: HttpRequest, name: str, version: int | None = Query(None, ge=1, lt=2**31)) -> dict[str, Any]:
    """A strategy's text, the newest version if not told otherwise."""
    _, row = _stored(name, version)
    numbers = row.strategy.versions.order_by("number").values_list("number", flat=True)
    return {
        "name": name, "version": row.number, "text": row.text, "sha256": row.sha256, "path": row.source_path,
        "created": row.created, "versions": list(numbers),
    }  # fmt: skip


@router.get("/strategies/{name}/features", auth=VIEW_STRATEGIES, tags=["strategies"], response={
    200: Features, **ERRORS})  # fmt: skip
def strategy_features(request: HttpRequest, name: str) -> dict[str, Any]:
    """What the network sees, in its order."""
    found, row = _stored(name)
    return {"name": name, "version": row.number, "features": feature_names(read_strategy(found.text))}


def _stored(name: str, number: int | None = None) -> tuple[FoundStrategy, Any]:
    found = stored_strategy(name, number)
    return found, found.version


# --- analytics ---------------------------------------------------------------------------------


def _records(operation_id: str) -> list[Record]:
    if not Operation.objects.filter(pk=operation_id).exists():
        raise not_found(f"operation {operation_id}")
    return read_journal(folder_of(operation_id))


@router.get("/operations/{operation_id}/analytics", auth=VIEW, tags=["operations"], response={200: Analytics, **ERRORS})
def operation_analytics(request: HttpRequest, operation_id: str) -> dict[str, Any]:
    """What happened inside the network, epoch by epoch, with alerts; no epochs if it was not asked for."""
    return judged(_records(operation_id))


@router.get(
    "/operations/{operation_id}/analytics/{name}",
    auth=VIEW, tags=["operations"], response=ERRORS, openapi_extra={"responses": {200: BINARY}},
)  # fmt: skip
def operation_analytics_file(request: HttpRequest, operation_id: str, name: str) -> HttpResponse:
    """The same as a file: analytics.json, or layers and epochs as csv or parquet."""
    records = _records(operation_id)
    if name not in FILES or not records:
        raise not_found(f"{name} of {operation_id}, wanted one of {', '.join(FILES)} of a run that keeps analytics")
    audit(request.auth.actor, "export", operation_id, kind=name)  # type: ignore[attr-defined]
    return HttpResponse(as_file(name, records), content_type=TYPES[name.rpartition(".")[2]])


# --- models ------------------------------------------------------------------------------------


def _models() -> QuerySet[TrainedModel]:
    rows = TrainedModel.objects.select_related("operation__strategy_version__strategy")
    return rows.defer("operation__strategy_version__text").annotate(
        test_accuracy=F("metrics__test__accuracy"), validation_accuracy=F("metrics__validation__accuracy")
    )


def _model(name: str) -> TrainedModel:
    row = _models().filter(name=name).first()
    if row is None:
        raise not_found(f"model {name}")
    return row


@router.get("/models", auth=VIEW_MODELS, tags=["models"], response={200: Models, **ERRORS})
def list_models(request: HttpRequest, limit: int = Query(50, ge=1, le=500), cursor: str = "") -> dict[str, Any]:
    """Trained models, newest first."""
    found, next_cursor = page(_models().defer("metrics", "operation__spec", "operation__strategy_version__text"), limit, cursor)
    return {"models": found, "next_cursor": next_cursor}


@router.get("/models/{name}", auth=VIEW_MODELS, tags=["models"], response={200: ModelDetail, **ERRORS})
def show_model(request: HttpRequest, name: str) -> TrainedModel:
    """A model, what it reached, and where it comes from."""
    return _model(name)


@router.get(
    "/models/{name}/download", auth=VIEW_MODELS, tags=["models"], response=ERRORS, openapi_extra={"responses": {200: ZIP}}
)
def download_model(request: HttpRequest, name: str) -> FileResponse:
    """The bundle as a zip file: weights, strategy, split, metrics, predictions, manifest."""
    row = _model(name)
    try:
        zipped = bundle_zip(row)
    except (Away, Unreachable):  # 503: it may be whole
        raise
    except FolderError as problem:
        raise ApiError(409, "damaged", str(problem)) from None
    audit(request.auth.actor, "export", name, sha256=row.sha256)  # type: ignore[attr-defined]
    return FileResponse(zipped, as_attachment=True, filename=f"{name}.zip", content_type="application/zip")


@router.post("/models/{name}/predict", auth=VIEW_MODELS, tags=["models"], response={
    200: Predictions, 202: Asked, **ERRORS})  # fmt: skip
def predict(request: HttpRequest, name: str, body: Predict) -> Answer[dict[str, Any]]:
    """Probabilities and signal of every stored bar between two days; 202 with where to ask if it takes more than 10 s."""
    _model(name)
    days = {key: day.isoformat() if day else None for key, day in (("start", body.start), ("end", body.end))}
    arguments = {"model": name, "symbol": body.symbol, "timeframe": body.timeframe, **days}
    return asked(ask("predict", arguments, request.auth.user))  # type: ignore[attr-defined]


def asked(reply: Reply) -> Answer[dict[str, Any]]:
    """200 with the result, or 202 with where to ask for it."""
    if reply.result is not None:
        return Answer(200, reply.result)
    return Answer(202, {"job": reply.job, "where": reverse("api:quick_result", args=[reply.job])})


@router.get("/quick/{job}", auth=VIEW, tags=["quick"], url_name="quick_result", response={
    200: dict[str, Any], 202: Asked, **ERRORS})  # fmt: skip
def quick_result(request: HttpRequest, job: str) -> Answer[dict[str, Any]]:
    """The answer to a plan or a prediction that took longer; only who asked for it may have it."""
    return asked(look(job, request.auth.user))  # type: ignore[attr-defined]


# --- bars --------------------------------------------------------------------------------------


@router.get("/data", auth=VIEW_BARS, tags=["data"], response={200: SeriesPage | list[Series], **ERRORS})
def list_series(request: HttpRequest, limit: Limit = None, cursor: str = "") -> dict[str, Any] | list[BarSeries]:
    """The stored series of bars with coverage and quality, as a page if `limit` is given."""
    rows = list(BarSeries.objects.all())
    if limit is None:
        return rows
    found, next_cursor = listed(rows, str, limit, cursor)
    return {"series": found, "next_cursor": next_cursor}


@router.get(
    "/data/{path:symbol}/{timeframe}/download",
    auth=VIEW_BARS, tags=["data"], response=ERRORS, openapi_extra={"responses": {200: TABLE}},
)  # fmt: skip
def download_series(
    request: HttpRequest, symbol: str, timeframe: str, kind: Literal["csv", "parquet"] = Query("csv", alias="format")
) -> StreamingHttpResponse:
    """All bars of a series as a CSV or Parquet file, which load_data reads back to the same bars."""
    row = _series(symbol, timeframe)
    answer = series_response(request, row, kind)
    audit(request.auth.actor, "export", str(row), kind=kind, sha256=row.sha256)  # type: ignore[attr-defined]
    return answer


@router.get("/data/{path:symbol}/{timeframe}", auth=VIEW_BARS, tags=["data"], response={200: Bars, **ERRORS})
def show_series(
    request: HttpRequest, symbol: str, timeframe: str, start: dt.date | None = None, end: dt.date | None = None,
    limit: int = Query(500, ge=1, le=5000),
) -> dict[str, Any]:  # fmt: skip
    """A series: its coverage, and its last bars between two UTC days, at most `limit` of them."""
    return {"coverage": _series(symbol, timeframe), "bars": _bars(symbol, timeframe, start, end, limit)}


@router.delete("/data/{path:symbol}/{timeframe}", auth=Access("training.delete_barseries"), tags=["data"], response={
    204: None, **ERRORS})  # fmt: skip
def remove_series(request: HttpRequest, symbol: str, timeframe: str) -> Answer[None]:
    """Delete a series, its file and its record; 409 while an operation or a fetch needs it. Trained models stay."""
    _series(symbol, timeframe)
    delete_series(symbol, timeframe, request.auth.actor)  # type: ignore[attr-defined]
    return Answer(204, None)


def _series(symbol: str, timeframe: str) -> BarSeries:
    row = BarSeries.objects.filter(symbol=symbol, timeframe=timeframe).first()
    if row is None:
        raise not_found(f"series {symbol} {timeframe}")
    return row


def _bars(symbol: str, timeframe: str, start: dt.date | None, end: dt.date | None, limit: int) -> list[dict[str, Any]]:
    import numpy as np

    from training.store.candles import read_candles
    from training.store.coverage import DAY, day_start

    first, last = (day_start(start) if start else None, day_start(end) + DAY if end else None)
    times, values = read_candles(Path(settings.STORE_DIR), symbol, timeframe, first, last, limit)
    columns = [[None if value != value else value for value in column.tolist()] for column in values]  # JSON has no NaN
    texts = [f"{text}Z" for text in np.datetime_as_string(times.view("M8[us]"), unit="s").tolist()]
    names = ("timestamp", "open", "high", "low", "close", "volume")
    return [dict(zip(names, bar, strict=True)) for bar in zip(texts, *columns, strict=True)]
