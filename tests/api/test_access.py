"""Who may do what over the API: one table, walked over every route, with sessions and tokens of every scope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from tests.examples.api import Examples, register_worker, send, start, store_bars
from tests.examples.role_tables import ADMINS, API, OWNERS
from training.api import models, trainings
from training.api import routes as api_routes
from training.jobs.questions import Reply
from training.models import Operation, Status

PREDICTED = {
    "model": "stored-1",
    "symbol": "AAPL",
    "timeframe": "1d",
    "class_names": [],
    "bars": [],
    "notes": [],
    "output_format": "classification",
    "edge": None,
}


def routes() -> Iterator[tuple[str, str]]:
    for bound in api_routes.api._get_bound_routers():
        for path, view in bound.path_operations.items():
            for operation in view.operations:
                yield from ((method, path) for method in operation.methods)


def callers(examples: Examples) -> dict[str, Client]:
    clients = {role: examples.signed_in(role) for role in ("nobody", "viewer", "trainer", "admin")}
    return clients | {
        "anonymous": Client(),
        "read": examples.with_token("trainer", "read"),
        "train": examples.with_token("trainer", "train"),
        "train of a viewer": examples.with_token("viewer", "train"),
        "admin of a viewer": examples.with_token("viewer", "admin"),
        "read of an admin": examples.with_token("admin", "read"),
        "train of an admin": examples.with_token("admin", "train"),
        "admin token": examples.with_token("admin", "admin"),
    }


def test_every_route_stands_in_the_table_and_nothing_else_does() -> None:
    assert sorted(routes()) == sorted(API)


@pytest.mark.parametrize(("method", "path"), sorted(API))
def test_a_route_is_open_to_whom_the_table_names_and_to_nobody_else(
    method: str, path: str, examples: Examples, empty_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed, body, statuses = API[method, path]
    for tag in ("cpu", "quick"):
        register_worker(tag)
    if "data" in path or "trainings/" in path:
        store_bars()
    for module in (trainings, models):
        monkeypatch.setattr(module, "ask", lambda question, arguments, user: Reply("quick-1", PREDICTED))
    for name, client in callers(examples).items():
        if method == "DELETE" and "data" in path:  # used up, and needed by the operations that wait
            Operation.objects.filter(status=Status.PENDING).update(status=Status.CANCELLED)
            store_bars()
        answer = send(client, method, filled(path, examples), body)
        if name in allowed:
            assert answer.status_code in statuses, (name, answer.content)
        else:
            assert answer.status_code == (401 if name == "anonymous" else 403), (name, answer.content)
            assert set(answer.json()) == {"error"}


def filled(path: str, examples: Examples) -> str:
    """The path with examples in it, made anew for each caller, since some of them are used up."""
    trainer = examples.users["trainer"]
    if "{operation_id}" in path:
        status = Status.CANCELLED if path.endswith("resume") else Status.PENDING
        path = path.replace("{operation_id}", start(examples.version, trainer, status=status).pk)
    if "{checkpoint_id}" in path:
        from training.jobs import checkpoints

        failed = start(examples.version, trainer, status=Status.FAILED)
        path = path.replace("{checkpoint_id}", str(checkpoints.save(failed.pk, 1, 0, "failure", {"a": b"b"}).pk))
    path = path.replace("{name}", "stored-1" if "models" in path else "stored")
    return path.replace("{job}", "quick-none").replace("{path:symbol}", "AAPL").replace("{timeframe}", "1d")


@pytest.mark.parametrize(("verb", "status", "body"), [
    ("cancel", Status.PENDING, {}), ("cancel", Status.RUNNING, {"force": True}), ("resume", Status.FAILED, {}),
])  # fmt: skip
def test_only_owners_and_admins_control_an_operation(
    verb: str, status: Status, body: dict[str, Any], examples: Examples, empty_redis: Any
) -> None:
    register_worker("cpu")
    for name, client in callers(examples).items():
        for owner in ("trainer", "other", None):
            operation = start(examples.version, owner and examples.users[owner], status=status)
            answer = send(client, "post", f"/operations/{operation.pk}/{verb}", body)
            may = name in (OWNERS if owner == "trainer" else ADMINS)
            assert (answer.status_code < 300) is may, (name, owner, answer.content)
            operation.refresh_from_db()
            assert (operation.status != status) is may


def test_a_role_that_is_taken_away_counts_at_the_next_request(examples: Examples) -> None:
    client = examples.with_token("trainer", "train")
    assert send(client, "get", "/operations").status_code == 200
    examples.users["trainer"].groups.clear()
    assert send(client, "get", "/operations").status_code == 403


def test_the_description_of_the_api_is_open_and_served_from_here(client: Client) -> None:
    document = client.get("/api/v1/openapi.json").json()
    assert {path.removeprefix("/api/v1") for path in document["paths"]} == {path.replace("{path:", "{") for _, path in API}
    page = client.get("/api/v1/docs")
    assert page.status_code == 200
    assert b"https://" not in page.content and b"ninja/swagger-ui-bundle.js" in page.content
