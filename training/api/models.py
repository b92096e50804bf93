"""Trained models: listed, shown, handed out, and what they say of stored bars."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from django.db.models import F, QuerySet
from django.http import FileResponse, HttpRequest
from ninja import Field, Query, Router, Schema
from ninja.responses import Status as Answer
from pydantic import model_validator

from training.access.audit import audit
from training.api.auth import Access
from training.api.errors import ApiError, not_found
from training.api.quick import asked
from training.api.shapes import (
    ERRORS,
    Asked,
    Name,
    Request,
    Symbol,
    page,
)
from training.core.files import FolderError, Unreachable
from training.jobs.downloads import bundle_zip
from training.jobs.homes import Away
from training.jobs.questions import ask
from training.models import TrainedModel


class ModelLine(Schema):
    name: str
    operation_id: str
    strategy_name: str
    strategy_version: int
    created: dt.datetime
    accuracy: float | None = Field(description="on the test split, or the validation split if there is none; null for returns")

    @staticmethod
    def resolve_strategy_name(row: Any) -> str:
        return str(row.operation.strategy_version.strategy.name)

    @staticmethod
    def resolve_strategy_version(row: Any) -> int:
        return int(row.operation.strategy_version.number)

    @staticmethod
    def resolve_accuracy(row: Any) -> float | None:
        return row.validation_accuracy if row.test_accuracy is None else row.test_accuracy


class Models(Schema):
    models: list[ModelLine]
    next_cursor: str | None


class ModelDetail(ModelLine):
    sha256: str
    metrics: dict[str, Any]
    spec: dict[str, Any]
    fingerprints: dict[str, Any]

    @staticmethod
    def resolve_spec(row: Any) -> dict[str, Any]:
        return dict(row.operation.spec_data)

    @staticmethod
    def resolve_fingerprints(row: Any) -> dict[str, Any]:
        return dict(row.operation.fingerprints)


class Predict(Request):
    symbol: Symbol
    timeframe: Name
    start: dt.date | None = Field(None, description="first UTC day; all that is stored if not given")
    end: dt.date | None = Field(None, description="last UTC day")

    @model_validator(mode="after")
    def _in_order(self) -> Predict:
        if self.start and self.end and self.start > self.end:
            raise ValueError("the start is after the end")
        return self


class Predicted(Schema):
    timestamp: str
    probabilities: list[float] | None = Field(description="one per class; null where the model predicts returns")
    predicted_return: float | None = Field(description="over the label's horizon; null where the model has classes")
    signal: str
    split: Literal["before", "train", "validation", "test", "new"] = Field(
        description="what the training had to do with the bar's day: a backtest on train rows is no test"
    )


class Predictions(Schema):
    model: str
    symbol: str
    timeframe: str
    output_format: Literal["classification", "regression"]
    class_names: list[str]
    edge: float | None = Field(
        description="the predicted return from which on a bar is a signal; null where the model has classes"
    )
    bars: list[Predicted]
    notes: list[str]


router = Router()
ZIP = {"description": "OK", "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
VIEW_MODELS = Access("training.view_trainedmodel")


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
