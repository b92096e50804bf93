"""Trainings: what starts one, how it stands, and what came of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from ninja import Field, Router, Schema
from ninja.responses import Status as Answer
from pydantic import WithJsonSchema, model_validator

from strategies_app.stored import FoundStrategy, stored_strategy
from training.api.auth import Access
from training.api.errors import ApiError
from training.api.operations import Failure, OperationLine, operation_or_404
from training.api.quick import asked
from training.api.shapes import (
    ERRORS,
    Asked,
    Name,
    Path,
    Request,
)
from training.jobs import queues, requests
from training.jobs.downloads import results_of
from training.jobs.notices import own_address
from training.jobs.questions import ask
from training.jobs.status import seconds_for, standing_of, waits_for
from training.results.metric_table import MEASURED_OF_CLASSES, MEASURED_OF_RETURNS


class Start(Request):
    """A training: a stored strategy by name, or a strategy's text; the rest stands in place of the strategy's own values."""

    strategy_name: Name | None = None
    strategy_yaml: str | None = None
    strategy_path: Path | None = Field(None, description="where the text comes from, kept as provenance")
    task_id: Name | None = Field(None, description="your own id: asked twice, started once")
    symbols: Annotated[list[Name], Field(min_length=1, max_length=10_000)] | None = None
    timeframes: Annotated[list[Name], Field(min_length=1, max_length=20)] | None = None
    start_date: dt.date | None = Field(None, description="first UTC day")
    end_date: dt.date | None = Field(None, description="last UTC day")
    validation_split: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] | None = None
    detailed_analytics: bool = Field(False, description="keep what happens inside the network, epoch by epoch")
    notify: bool = Field(False, description="mail me when it has ended")

    @model_validator(mode="after")
    def _one_strategy(self) -> Start:
        if (self.strategy_name is None) == (self.strategy_yaml is None):
            raise ValueError("wanted strategy_name or strategy_yaml, and not both")
        return self

    def options(self) -> dict[str, Any]:
        """As `read_strategy` takes them, JSON-ready."""
        given = {
            "symbols": self.symbols,
            "timeframes": self.timeframes,
            "start": self.start_date and self.start_date.isoformat(),
            "end": self.end_date and self.end_date.isoformat(),
            "validation_split": self.validation_split,
            "detailed_analytics": self.detailed_analytics or None,
        }
        return {name: value for name, value in given.items() if value is not None}


class Started(Schema):
    operation_id: str
    status: str
    queue: str
    symbols: list[str]
    timeframes: list[str]
    strategy_name: str
    strategy_version: int
    estimated_duration_seconds: float | None
    waiting_for: str = Field(description="what it waits for before it can begin, in one sentence; empty once it has begun")


class TrainingStatus(Schema):
    operation_id: str
    status: str
    state: str = Field(description="an older word for `status`; gone after the next release", deprecated=True)
    waiting_for: str = Field(description="what a pending one waits for, in one sentence; empty for all others")
    attempt: int
    stage: str
    percent: float
    epoch: int | None = Field(description="the last completed epoch, counted from 0")
    batch: int | None = Field(description="the batch at work now, counted from 0; null unless it is in training")
    batches: int | None
    eta_seconds: float | None
    metrics: dict[str, Any] = Field(description="those of the last completed epoch")
    warnings: list[str]
    error: str
    failure: Failure | None = Field(description="of a failed run")


class Bundle(Schema):
    model: str
    sha256: str
    download: str


def _described(names: Mapping[str, str], **numbers: str) -> WithJsonSchema:
    """An object with these numbers or nulls, and those that are always there; it may hold more."""
    known: dict[str, Any] = {name: {"type": kind} for name, kind in numbers.items()}
    known |= {name: {"type": ["number", "null"], "description": text} for name, text in names.items()}
    return WithJsonSchema({"type": "object", "properties": known, "required": list(known), "additionalProperties": True})


#: Of the epoch whose weights were kept; what is not a loss was measured on validation rows.
TrainingMeasures = Annotated[
    dict[str, Any],
    _described(
        {"accuracy": MEASURED_OF_CLASSES["accuracy"], **MEASURED_OF_RETURNS},
        train_loss="number", val_loss="number", best_epoch="integer", epochs_completed="integer", early_stopped="boolean",
    ),
]  # fmt: skip


SplitMeasures = Annotated[
    dict[str, Any], _described({"loss": "with the weights learned on train", **MEASURED_OF_CLASSES, **MEASURED_OF_RETURNS})
]


class TrainingResults(Schema):
    operation_id: str
    output_format: Literal["classification", "regression"]
    training_metrics: TrainingMeasures
    validation: SplitMeasures
    test: SplitMeasures | None
    test_state: Literal["open", "sealed"]
    class_names: list[str]
    history: list[dict[str, Any]]
    baselines: dict[str, list[dict[str, Any]]]
    bundle: Bundle


router = Router()
VIEW = Access("training.view_operation")


def _found(body: Start) -> FoundStrategy:
    if body.strategy_name is not None:
        return stored_strategy(body.strategy_name)
    return FoundStrategy(body.strategy_yaml or "", body.strategy_path or "", None)


@router.post("/trainings/start", auth=Access("training.start_operation"), tags=["trainings"], response={
    200: Started, 202: Started, **ERRORS})  # fmt: skip
def start_training(request: HttpRequest, body: Start) -> Answer[dict[str, Any]]:
    """Start a training. 200 with the first operation if the task_id was used for the same request before."""
    caller = request.auth  # type: ignore[attr-defined]
    if body.strategy_yaml is not None:
        caller.must("strategies_app.add_strategyversion")
    wish = {"task_id": body.task_id, "notify": own_address(caller.user) if body.notify else ""}
    operation, is_new = requests.start_training(_found(body), body.options(), caller.actor, **wish)
    started = operation_or_404(operation.pk)
    told = {"estimated_duration_seconds": seconds_for(operation.spec_data), "waiting_for": waits_for(started)}
    return Answer(202 if is_new else 200, OperationLine.from_orm(started).dict() | told)


@router.post("/trainings/plan", auth=Access("training.start_operation"), tags=["trainings"], response={
    200: dict[str, Any], 202: Asked, **ERRORS})  # fmt: skip
def plan_training(request: HttpRequest, body: Start) -> Answer[dict[str, Any]]:
    """What a training would do, without doing it: rows per split, class shares, features. Takes what start takes."""
    found = _found(body)
    requests.effective_spec(found.text, body.options())  # what is wrong is said without a job
    try:
        worker = f"a {queues.choose_queue()} worker"
    except queues.NoWorker as error:
        worker = f"none: {error}"
    arguments = {"text": found.text, "label": found.label or "as sent", "options": body.options(), "worker": worker}
    return asked(ask("plan", arguments, request.auth.user))  # type: ignore[attr-defined]


@router.get("/trainings/{operation_id}/status", auth=VIEW, tags=["trainings"], response={200: TrainingStatus, **ERRORS})
def training_status(request: HttpRequest, operation_id: str) -> dict[str, Any]:
    """Where a training stands."""
    return standing_of(operation_or_404(operation_id))


@router.get("/trainings/{operation_id}/results", auth=VIEW, tags=["trainings"], response={200: TrainingResults, **ERRORS})
def training_results(request: HttpRequest, operation_id: str) -> dict[str, Any]:
    """What a completed training reached; 409 while there is nothing to show."""
    operation = operation_or_404(operation_id)
    model = getattr(operation, "trained_model", None)
    if model is None:
        raise ApiError(409, "unfinished", f"{operation.pk} is {operation.status} and has no results", status=operation.status)
    return results_of(operation, model)
