"""The REST API under /api/v1: a route fetches, asks for the right, acts through the job layer, and answers with a shape."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import DatabaseError, connection
from django.http import HttpRequest
from ninja import NinjaAPI, Query, Router, Schema
from ninja.responses import Status as Answer

from training.access.audit import audit
from training.api import data, errors, models, operations, quick, strategies, trainings
from training.api.auth import Access, identify
from training.api.errors import ApiError, Bodies, not_found
from training.api.shapes import (
    ERRORS,
    ErrorBody,
    Health,
    Limit,
    Worker,
    Workers,
    listed,
    page,
)
from training.jobs import checkpoints, homes, queues
from training.models import OPEN, Checkpoint


class CheckpointLine(Schema):
    id: int
    operation_id: str
    attempt: int
    epoch: int
    kind: str
    size: int
    sha256: str
    created: dt.datetime


class Checkpoints(Schema):
    checkpoints: list[CheckpointLine]
    next_cursor: str | None


router = Router()
VIEW = Access("training.view_operation")
#: Of what a client that was generated from the document calls by name.
NAMED_LIBRARY = frozenset({strategies.__name__, models.__name__, quick.__name__, data.__name__})


@router.get("/workers", auth=VIEW, tags=["workers"], response={200: Workers | list[Worker], **ERRORS})
def list_workers(request: HttpRequest, limit: Limit = None, cursor: str = "") -> dict[str, Any] | list[queues.WorkerState]:
    """Workers that are alive, as they report themselves, as a page if `limit` is given."""
    queues.ping()
    live = queues.live_workers()
    if limit is None:
        return live
    found, next_cursor = listed(live, lambda worker: worker.name, limit, cursor)
    return {"workers": found, "next_cursor": next_cursor}


@router.get("/checkpoints", auth=Access("training.view_checkpoint"), tags=["checkpoints"], response={
    200: Checkpoints, **ERRORS})  # fmt: skip
def list_checkpoints(
    request: HttpRequest, operation: str = "", limit: int = Query(50, ge=1, le=500), cursor: str = ""
) -> dict[str, Any]:
    """Checkpoints, newest first."""
    rows = Checkpoint.objects.filter(operation_id=operation) if operation else Checkpoint.objects.all()
    found, next_cursor = page(rows, limit, cursor)
    return {"checkpoints": found, "next_cursor": next_cursor}


@router.delete("/checkpoints/{checkpoint_id}", auth=Access("training.delete_checkpoint"), tags=["checkpoints"], response={
    204: None, **ERRORS})  # fmt: skip
def delete_checkpoint(request: HttpRequest, checkpoint_id: int) -> Answer[None]:
    """Delete a checkpoint with its files; 409 while its operation may need it."""
    row = Checkpoint.objects.select_related("operation").filter(pk=checkpoint_id).first()
    if row is None:
        raise not_found(f"checkpoint {checkpoint_id}")
    status = row.operation.status
    if status in OPEN:
        raise ApiError(409, "wrong_state", f"{row.operation_id} is {status} and may need its checkpoints", status=status)
    homes.require("checkpoints")
    checkpoints.remove(row)
    audit(request.auth.actor, "delete", row.folder, kind="checkpoint")  # type: ignore[attr-defined]
    return Answer(204, None)


@router.get("/healthz", auth=None, tags=["health"], response={
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
    found["folders"] = homes.watch.states()
    is_well = found["redis"] == "ok" and set(found["folders"].values()) == {"ok"}
    caller = identify(request)
    told = found if caller is not None and caller.may(VIEW.permission) else {}
    return Answer(200 if is_well else 503, {"status": "ok" if is_well else "failing", **told})


class Api(NinjaAPI):
    """Names its operations as ever, wherever their routes stand: clients are generated from the document."""

    def get_openapi_operation_id(self, operation: Any) -> str:
        view = operation.view_func
        of_library = view.__module__ in NAMED_LIBRARY or view.__name__.startswith("operation_analytics")
        return f"training_api_{'library_' if of_library else ''}{view.__name__}"


api = Api(
    title="KTRDR Train",
    version="1",
    description="Strategies as YAML, trained on stored bars. Every error is `{error: {code, message, details}}`.",
    urls_namespace="api",
    parser=Bodies(),
    auth=[VIEW],  # a route that names no permission of its own
)
errors.install(api)
for part in (
    trainings.router,
    operations.router,
    router,
    strategies.router,
    operations.analytics,
    models.router,
    quick.router,
    data.router,
):
    api.add_router("", part)
