"""The REST API under /api/v1: a route fetches, asks for the right, acts through the job layer, and answers with a shape."""

from __future__ import annotations

import json
from typing import Any

from django.db import DatabaseError, connection
from django.http import HttpRequest
from ninja import NinjaAPI, Query
from ninja.responses import Status as Answer

from strategies_app.stored import FoundStrategy, stored_strategy
from training import api_errors, checkpoints, homes, operations, queues, requests
from training.api_bodies import Bodies
from training.api_errors import ApiError, not_found
from training.api_library import asked
from training.api_library import router as library
from training.api_pages import Limit, listed, page
from training.api_shapes import Asked, ErrorBody, Health, Worker, Workers
from training.api_shapes_checks import Checks
from training.api_shapes_operations import (
    Cancel,
    Changed,
    Checkpoints,
    Log,
    Metrics,
    OperationDetail,
    OperationLine,
    Operations,
    Resume,
)
from training.api_shapes_trainings import Start, Started, TrainingResults, TrainingStatus, results_of
from training.authentication import Access, identify
from training.estimates import seconds_for
from training.folders import watch
from training.logs import log_tail
from training.mails import own_address
from training.models import LIVE, Checkpoint, Operation, Status
from training.operations import OperationError
from training.questions import ask
from training.replaced import replaced
from training.standing import standing_of
from training.waiting import waits_for

VIEW = Access("training.view_operation")
api = NinjaAPI(
    title="KTRDR Train",
    version="1",
    description="Strategies as YAML, trained on stored bars. Every error is `{error: {code, message, details}}`.",
    urls_namespace="api",
    parser=Bodies(),
    auth=[VIEW],  # a route that names no permission of its own
)
api_errors.install(api)
ERRORS = dict.fromkeys((400, 401, 403, 404, 409, 413, 422, 429, 500, 503), ErrorBody)


def _operation(operation_id: str) -> Operation:
    operation = operations.stored(operation_id)
    if operation is None:
        raise not_found(f"operation {operation_id}")
    return operation


def _found(body: Start) -> FoundStrategy:
    if body.strategy_name is not None:
        return stored_strategy(body.strategy_name)
    return FoundStrategy(body.strategy_yaml or "", body.strategy_path or "", None)


# --- trainings ---------------------------------------------------------------------------------


@api.post("/trainings/start", auth=Access("training.start_operation"), tags=["trainings"], response={
    200: Started, 202: Started, **ERRORS})  # fmt: skip
def start_training(request: HttpRequest, body: Start) -> Answer[dict[str, Any]]:
    """Start a training. 200 with the first operation if the task_id was used for the same request before."""
    caller = request.auth  # type: ignore[attr-defined]
    if body.strategy_yaml is not None:
        caller.must("strategies_app.add_strategyversion")
    wish = {"task_id": body.task_id, "notify": own_address(caller.user) if body.notify else ""}
    operation, is_new = requests.start_training(_found(body), body.options(), caller.actor, **wish)
    started = _operation(operation.pk)
    told = {"estimated_duration_seconds": seconds_for(json.loads(operation.spec)), "waiting_for": waits_for(started)}
    return Answer(202 if is_new else 200, OperationLine.from_orm(started).dict() | told)


@api.post("/trainings/plan", auth=Access("training.start_operation"), tags=["trainings"], response={
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


@api.get("/trainings/{operation_id}/status", auth=VIEW, tags=["trainings"], response={200: TrainingStatus, **ERRORS})
def training_status(request: HttpRequest, operation_id: str) -> dict[str, Any]:
    """Where a training stands."""
    return standing_of(_operation(operation_id))


@api.get("/trainings/{operation_id}/results", auth=VIEW, tags=["trainings"], response={200: TrainingResults, **ERRORS})
def training_results(request: HttpRequest, operation_id: str) -> dict[str, Any]:
    """What a completed training reached; 409 while there is nothing to show."""
    operation = _operation(operation_id)
    model = getattr(operation, "trained_model", None)
    if model is None:
        raise ApiError(409, "unfinished", f"{operation.pk} is {operation.status} and has no results", status=operation.status)
    return results_of(operation, model)


# --- operations --------------------------------------------------------------------------------


@api.get("/operations", auth=VIEW, tags=["operations"], response={200: Operations, **ERRORS})
def list_operations(
    request: HttpRequest, status: Status | None = None, strategy: str = "", limit: int = Query(50, ge=1, le=500), cursor: str = ""
) -> dict[str, Any]:
    """Operations, newest first."""
    rows = Operation.objects.select_related("strategy_version__strategy", "user", "trained_model")
    rows = rows.defer("strategy_version__text", "strategy_version__source_path", "trained_model__metrics")
    rows = rows.filter(status=status) if status else rows
    rows = rows.filter(strategy_version__strategy__name=strategy) if strategy else rows
    found, next_cursor = page(rows, limit, cursor)
    return {"operations": found, "next_cursor": next_cursor}


@api.get("/operations/{operation_id}", auth=VIEW, tags=["operations"], response={200: OperationDetail, **ERRORS})
def show_operation(request: HttpRequest, operation_id: str) -> Operation:
    """All that is known of an operation."""
    return _operation(operation_id)


@api.get("/operations/{operation_id}/metrics", auth=VIEW, tags=["operations"], response={200: Metrics, **ERRORS})
def operation_metrics(
    request: HttpRequest, operation_id: str, since: int = Query(0, ge=0, lt=2**63), limit: int = Query(1000, ge=1, le=5000)
) -> dict[str, Any]:
    """What each epoch measured, in the order of measuring; a resumed attempt measures the epochs after its checkpoint again."""
    operation = _operation(operation_id)
    rows, gone = list(operation.epoch_metrics.filter(pk__gt=since).order_by("pk")[:limit]), replaced(operation, since)
    for row in rows:
        row.counts = row.pk not in gone  # type: ignore[attr-defined]
    return {"metrics": rows, "next": rows[-1].pk if rows else since}


@api.get("/operations/{operation_id}/checks", auth=VIEW, tags=["operations"], response={200: Checks, **ERRORS})
def operation_checks(request: HttpRequest, operation_id: str) -> dict[str, Any]:
    """What was found of the bars, the features and the labels before the first epoch."""
    return dict(_operation(operation_id).checks)


@api.get("/operations/{operation_id}/log", auth=VIEW, tags=["operations"], response={200: Log, **ERRORS})
def operation_log(
    request: HttpRequest, operation_id: str, tail: int = Query(200, ge=1, le=2000), attempt: int | None = Query(None, ge=1)
) -> dict[str, Any]:
    """The last lines of an attempt's log, the present attempt's if not told otherwise."""
    operation = _operation(operation_id)
    attempt = attempt or operation.attempt
    if attempt > operation.attempt:
        raise not_found(f"attempt {attempt} of {operation_id}")
    return {"attempt": attempt, "lines": log_tail(operation.pk, attempt, tail).splitlines()}


@api.post("/operations/{operation_id}/cancel", auth=Access("training.cancel_operation"), tags=["operations"], response={
    200: Changed, **ERRORS})  # fmt: skip
def cancel_operation(request: HttpRequest, operation_id: str, body: Cancel | None = None) -> Operation:
    """Ask an operation to stop with a checkpoint; with force, end its process now."""
    caller, body = request.auth, body or Cancel()  # type: ignore[attr-defined]
    operation = _operation(operation_id)
    caller.must_control(operation, "training.force_operation" if body.force else "training.cancel_operation")
    try:
        requests.cancel(operation, caller.actor, reason=body.reason, force=body.force)
    except OperationError as error:
        raise _wrong_state(operation, error) from None
    return _operation(operation_id)


@api.post("/operations/{operation_id}/resume", auth=Access("training.resume_operation"), tags=["operations"], response={
    202: Changed, **ERRORS})  # fmt: skip
def resume_operation(request: HttpRequest, operation_id: str, body: Resume | None = None) -> Answer[Operation]:
    """Continue a failed, cancelled or interrupted operation from its last checkpoint."""
    caller, body = request.auth, body or Resume()  # type: ignore[attr-defined]
    operation = _operation(operation_id)
    caller.must_control(operation, "training.resume_operation")
    try:
        requests.resume(operation, caller.actor, allow_inexact=body.allow_inexact)
    except OperationError as error:
        raise _wrong_state(operation, error) from None
    return Answer(202, _operation(operation_id))


def _wrong_state(operation: Operation, error: OperationError) -> ApiError:
    operation.refresh_from_db(fields=["status"])
    return ApiError(409, "wrong_state", str(error), status=operation.status)


# --- workers, checkpoints, health --------------------------------------------------------------


@api.get("/workers", auth=VIEW, tags=["workers"], response={200: Workers | list[Worker], **ERRORS})
def list_workers(request: HttpRequest, limit: Limit = None, cursor: str = "") -> dict[str, Any] | list[queues.WorkerState]:
    """Workers that are alive, as they report themselves, as a page if `limit` is given."""
    queues.ping()
    live = queues.live_workers()
    if limit is None:
        return live
    found, next_cursor = listed(live, lambda worker: worker.name, limit, cursor)
    return {"workers": found, "next_cursor": next_cursor}


@api.get("/checkpoints", auth=Access("training.view_checkpoint"), tags=["checkpoints"], response={
    200: Checkpoints, **ERRORS})  # fmt: skip
def list_checkpoints(
    request: HttpRequest, operation: str = "", limit: int = Query(50, ge=1, le=500), cursor: str = ""
) -> dict[str, Any]:
    """Checkpoints, newest first."""
    rows = Checkpoint.objects.filter(operation_id=operation) if operation else Checkpoint.objects.all()
    found, next_cursor = page(rows, limit, cursor)
    return {"checkpoints": found, "next_cursor": next_cursor}


@api.delete("/checkpoints/{checkpoint_id}", auth=Access("training.delete_checkpoint"), tags=["checkpoints"], response={
    204: None, **ERRORS})  # fmt: skip
def delete_checkpoint(request: HttpRequest, checkpoint_id: int) -> Answer[None]:
    """Delete a checkpoint with its files; 409 while its operation may need it."""
    row = Checkpoint.objects.select_related("operation").filter(pk=checkpoint_id).first()
    if row is None:
        raise not_found(f"checkpoint {checkpoint_id}")
    status = row.operation.status
    if status in (Status.PENDING, *LIVE):
        raise ApiError(409, "wrong_state", f"{row.operation_id} is {status} and may need its checkpoints", status=status)
    homes.require("checkpoints")
    checkpoints.remove(row)
    requests.audit(request.auth.actor, "delete", row.folder, kind="checkpoint")  # type: ignore[attr-defined]
    return Answer(204, None)


@api.get("/healthz", auth=None, tags=["health"], response={
    **dict.fromkeys((200, 503), Health), **dict.fromkeys((400, 401, 403, 429), ErrorBody)})  # fmt: skip
def health(request: HttpRequest) -> Answer[dict[str, Any]]:
    """Whether database and Redis answer, and Redis takes writes; what does not is told to those who may look at operations."""
    found: dict[str, Any] = {"database": "ok", "redis": "ok", "redis_state": "ok", "workers": {}}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return Answer(503, {"status": "failing"})  # nobody can be identified either
    try:
        queues.ping()
        live = [worker.queue for worker in queues.live_workers()]
        found["workers"] = {queue: live.count(queue) for queue in queues.QUEUES}
    except queues.NoWorker as error:
        found |= {"redis": str(error), "redis_state": "full" if isinstance(error, queues.RedisFull) else "away"}
    found["folders"] = watch.states()
    is_well = found["redis"] == "ok" and set(found["folders"].values()) == {"ok"}
    caller = identify(request)
    told = found if caller is not None and caller.may(VIEW.permission) else {}
    return Answer(200 if is_well else 503, {"status": "ok" if is_well else "failing", **told})


api.add_router("", library)
