"""Operations: what is asked of one, its row in a list and in full, and what it left epoch by epoch."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Field, Query, Router, Schema
from ninja.responses import Status as Answer

from training.access.audit import audit
from training.api.auth import Access
from training.api.errors import ApiError, not_found
from training.api.shapes import (
    BINARY,
    ERRORS,
    Reason,
    Request,
    page,
)
from training.jobs import lifecycle, requests
from training.jobs.analytics import FILES, TYPES, Record, as_file, folder_of, judged, read_journal
from training.jobs.lifecycle import OperationError
from training.jobs.logs import log_tail
from training.jobs.status import replaced
from training.models import Operation, Status


class Cancel(Request):
    reason: Reason = ""
    force: bool = Field(False, description="end the process now, without a checkpoint")


class Resume(Request):
    allow_inexact: bool = Field(False, description="continue also where it would not be bit for bit")


class Changed(Schema):
    operation_id: str
    status: str
    attempt: int

    @staticmethod
    def resolve_operation_id(row: Any) -> str:
        return str(row.pk)


class OperationLine(Changed):
    strategy_name: str
    strategy_version: int
    symbols: list[str]
    timeframes: list[str]
    user: str | None
    queue: str
    stage: str
    percent: float
    epoch: int | None = Field(description="the last completed epoch, counted from 0")
    created: dt.datetime
    started: dt.datetime | None
    finished: dt.datetime | None
    error: str
    model: str | None

    @staticmethod
    def resolve_strategy_name(row: Any) -> str:
        return str(row.strategy_version.strategy.name)

    @staticmethod
    def resolve_strategy_version(row: Any) -> int:
        return int(row.strategy_version.number)

    @staticmethod
    def resolve_user(row: Any) -> str | None:
        return row.user.get_username() if row.user else None

    @staticmethod
    def resolve_model(row: Any) -> str | None:
        model = getattr(row, "trained_model", None)
        return model.name if model else None


class Failure(Schema):
    category: Literal["transient", "data", "strategy", "resources", "bug"]
    cause: str
    happening: str = Field(description="what the run was doing")
    kept: str = Field(description="the checkpoint that a resumed run continues from")
    advice: str = Field(description="what to do")
    resuming_helps: bool


class OperationDetail(OperationLine):
    failure: Failure | None = Field(description="of a failed run")
    retries: int = Field(description="attempts made by themselves after something passing")
    retry_at: dt.datetime | None = Field(description="when a failed run is tried again by itself")
    task_id: str | None
    reason: str
    notes: list[str]
    certificate: str
    allow_inexact: bool
    detailed_analytics: bool
    heartbeat: dt.datetime | None
    host: str
    device: str
    strategy_path: str
    spec: dict[str, Any]
    fingerprints: dict[str, Any]

    @staticmethod
    def resolve_failure(row: Any) -> dict[str, Any] | None:
        return row.failure or None

    @staticmethod
    def resolve_strategy_path(row: Any) -> str:
        return str(row.strategy_version.source_path)

    @staticmethod
    def resolve_spec(row: Any) -> dict[str, Any]:
        return dict(row.spec_data)


class Operations(Schema):
    operations: list[OperationLine]
    next_cursor: str | None


class Metric(Schema):
    id: int  # what `since` takes
    attempt: int
    epoch: int
    train_loss: float
    val_loss: float
    metrics: dict[str, Any]
    counts: bool = Field(description="false where a later row took its place: done again, or gone back to before it")


class Metrics(Schema):
    """`next` is the `since` of the next call: only what was measured after these is answered then."""

    metrics: list[Metric]
    next: int


class Log(Schema):
    attempt: int
    lines: list[str]


class Analytics(Schema):
    best_epoch: int | None = Field(description="counted from 0")
    alerts: list[dict[str, str]] = Field(description="kind, head, what was seen, what it means, what to try")
    epochs: list[dict[str, Any]]


class Finding(Schema):
    kind: str = Field(description="gaps, splits, spikes, never_fires, large_drift and the like")
    severity: Literal["error", "warning", "info"] = Field(description="an error has stopped the training")
    symbol: str = Field(description="empty where it is about features or labels")
    timeframe: str
    count: int = Field(description="bars, rows or features")
    first: str | None = Field(description="open of the first bar, UTC")
    columns: list[str] = Field(description="the features that it is about")
    sentence: str


class DataChecks(Schema):
    count: int = Field(description="of all findings; the first 300 are kept")
    findings: list[Finding]


class FeatureFigures(Schema):
    name: str
    lowest: float = Field(description="on the training rows, as is highest")
    highest: float
    like: str | None = Field(description="an earlier feature that says the same")
    drift: float | None = Field(description="population stability index between the training rows and those of `against`")
    drift_word: Literal["steady", "moderate", "large"] | None


class SetFigures(Schema):
    name: str
    timeframe: str
    silent: float = Field(description="share of the training rows on which no membership fires")


class LabelDrift(Schema):
    drift: float
    drift_word: Literal["steady", "moderate", "large"]


class InputChecks(Schema):
    rows: int
    against: Literal["test", "validation"]
    features: list[FeatureFigures]
    sets: list[SetFigures]
    label_drift: LabelDrift | None
    findings: list[Finding]


class Checks(Schema):
    """None of a part until the run has come so far."""

    data: DataChecks | None = None
    inputs: InputChecks | None = None


router = Router()
analytics = Router()
VIEW = Access("training.view_operation")


def operation_or_404(operation_id: str) -> Operation:
    operation = lifecycle.stored(operation_id)
    if operation is None:
        raise not_found(f"operation {operation_id}")
    return operation


@router.get("/operations", auth=VIEW, tags=["operations"], response={200: Operations, **ERRORS})
def list_operations(
    request: HttpRequest, status: Status | None = None, strategy: str = "", limit: int = Query(50, ge=1, le=500), cursor: str = ""
) -> dict[str, Any]:
    """Operations, newest first."""
    rows = Operation.objects.for_lists()
    rows = rows.filter(status=status) if status else rows
    rows = rows.filter(strategy_version__strategy__name=strategy) if strategy else rows
    found, next_cursor = page(rows, limit, cursor)
    return {"operations": found, "next_cursor": next_cursor}


@router.get("/operations/{operation_id}", auth=VIEW, tags=["operations"], response={200: OperationDetail, **ERRORS})
def show_operation(request: HttpRequest, operation_id: str) -> Operation:
    """All that is known of an operation."""
    return operation_or_404(operation_id)


@router.get("/operations/{operation_id}/metrics", auth=VIEW, tags=["operations"], response={200: Metrics, **ERRORS})
def operation_metrics(
    request: HttpRequest, operation_id: str, since: int = Query(0, ge=0, lt=2**63), limit: int = Query(1000, ge=1, le=5000)
) -> dict[str, Any]:
    """What each epoch measured, in the order of measuring; a resumed attempt measures the epochs after its checkpoint again."""
    operation = operation_or_404(operation_id)
    rows, gone = list(operation.epoch_metrics.filter(pk__gt=since).order_by("pk")[:limit]), replaced(operation, since)
    for row in rows:
        row.counts = row.pk not in gone  # type: ignore[attr-defined]
    return {"metrics": rows, "next": rows[-1].pk if rows else since}


@router.get("/operations/{operation_id}/checks", auth=VIEW, tags=["operations"], response={200: Checks, **ERRORS})
def operation_checks(request: HttpRequest, operation_id: str) -> dict[str, Any]:
    """What was found of the bars, the features and the labels before the first epoch."""
    return dict(operation_or_404(operation_id).checks)


@router.get("/operations/{operation_id}/log", auth=VIEW, tags=["operations"], response={200: Log, **ERRORS})
def operation_log(
    request: HttpRequest, operation_id: str, tail: int = Query(200, ge=1, le=2000), attempt: int | None = Query(None, ge=1)
) -> dict[str, Any]:
    """The last lines of an attempt's log, the present attempt's if not told otherwise."""
    operation = operation_or_404(operation_id)
    attempt = attempt or operation.attempt
    if attempt > operation.attempt:
        raise not_found(f"attempt {attempt} of {operation_id}")
    return {"attempt": attempt, "lines": log_tail(operation.pk, attempt, tail).splitlines()}


@router.post("/operations/{operation_id}/cancel", auth=Access("training.cancel_operation"), tags=["operations"], response={
    200: Changed, **ERRORS})  # fmt: skip
def cancel_operation(request: HttpRequest, operation_id: str, body: Cancel | None = None) -> Operation:
    """Ask an operation to stop with a checkpoint; with force, end its process now."""
    caller, body = request.auth, body or Cancel()  # type: ignore[attr-defined]
    operation = operation_or_404(operation_id)
    caller.must_control(operation, "training.force_operation" if body.force else "training.cancel_operation")
    try:
        requests.cancel(operation, caller.actor, reason=body.reason, force=body.force)
    except OperationError as error:
        raise _wrong_state(operation, error) from None
    return operation_or_404(operation_id)


@router.post("/operations/{operation_id}/resume", auth=Access("training.resume_operation"), tags=["operations"], response={
    202: Changed, **ERRORS})  # fmt: skip
def resume_operation(request: HttpRequest, operation_id: str, body: Resume | None = None) -> Answer[Operation]:
    """Continue a failed, cancelled or interrupted operation from its last checkpoint."""
    caller, body = request.auth, body or Resume()  # type: ignore[attr-defined]
    operation = operation_or_404(operation_id)
    caller.must_control(operation, "training.resume_operation")
    try:
        requests.resume(operation, caller.actor, allow_inexact=body.allow_inexact)
    except OperationError as error:
        raise _wrong_state(operation, error) from None
    return Answer(202, operation_or_404(operation_id))


def _wrong_state(operation: Operation, error: OperationError) -> ApiError:
    operation.refresh_from_db(fields=["status"])
    return ApiError(409, "wrong_state", str(error), status=operation.status)


def _records(operation_id: str) -> list[Record]:
    if not Operation.objects.filter(pk=operation_id).exists():
        raise not_found(f"operation {operation_id}")
    return read_journal(folder_of(operation_id))


@analytics.get("/operations/{operation_id}/analytics", auth=VIEW, tags=["operations"], response={200: Analytics, **ERRORS})
def operation_analytics(request: HttpRequest, operation_id: str) -> dict[str, Any]:
    """What happened inside the network, epoch by epoch, with alerts; no epochs if it was not asked for."""
    return judged(_records(operation_id))


@analytics.get(
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
