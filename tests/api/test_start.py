"""Starting over the API: what is answered, and one operation per task_id however often and at once it is asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from strategies_app.models import Strategy
from tests.examples.api import TEXT, Examples, make_examples, register_worker, send, start, store_bars
from tests.examples.strategy_texts import changed
from training.jobs import queues
from training.models import AuditEntry, Operation, Status

pytestmark = pytest.mark.django_db


@pytest.fixture
def ready(examples: Examples, empty_redis: Any) -> Examples:
    store_bars()
    register_worker("cpu")
    return examples


def test_a_start_says_what_will_run_and_where(ready: Examples, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = send(ready.signed_in("trainer"), "post", "/trainings/start", {"strategy_name": "stored", "symbols": ["AAPL"]})
    told = answer.json()
    assert answer.status_code == 202
    assert queues.is_known(told["operation_id"], 1)
    assert told == {
        "operation_id": told["operation_id"], "status": "pending", "queue": "cpu", "symbols": ["AAPL"], "timeframes": ["1d", "1w"],
        "strategy_name": "stored", "strategy_version": 1, "estimated_duration_seconds": None,
        "waiting_for": told["waiting_for"],
    }  # fmt: skip
    status = send(ready.signed_in("trainer"), "get", f"/trainings/{told['operation_id']}/status").json()
    assert status["waiting_for"].startswith("waiting for the cpu worker to begin"), "now that it is committed, it is queued"
    assert AuditEntry.objects.get(action="start").target == told["operation_id"]


def test_a_gpu_worker_is_preferred(ready: Examples) -> None:
    register_worker("gpu")
    assert send(ready.signed_in("trainer"), "post", "/trainings/start", {"strategy_name": "stored"}).json()["queue"] == "gpu"


def test_a_text_is_stored_as_a_version_with_its_path(ready: Examples) -> None:
    body = {"strategy_yaml": changed("epochs: 2", "epochs: 3", TEXT), "strategy_path": "/home/somebody/stored.yaml"}
    assert send(ready.signed_in("trainer"), "post", "/trainings/start", body).json()["strategy_version"] == 2
    assert Strategy.objects.get(name="stored").newest().source_path == "/home/somebody/stored.yaml"


def test_the_duration_is_estimated_from_earlier_runs_of_similar_size(ready: Examples) -> None:
    now = timezone.now()
    Operation.objects.filter(pk=ready.completed.pk).update(started=now - timedelta(seconds=20), finished=now)
    answer = send(ready.signed_in("trainer"), "post", "/trainings/start", {"strategy_name": "stored"})
    assert answer.json()["estimated_duration_seconds"] == pytest.approx(20, abs=0.2), "two epochs of the same bars"
    short = {"strategy_name": "stored", "start_date": "2010-01-01"}
    assert send(ready.signed_in("trainer"), "post", "/trainings/start", short).json()["estimated_duration_seconds"] is None


def test_the_same_task_id_is_the_same_operation_also_when_the_strategy_has_changed_since(ready: Examples) -> None:
    client, body = ready.signed_in("trainer"), {"strategy_name": "stored", "task_id": "monday"}
    first = send(client, "post", "/trainings/start", body)
    Strategy.objects.import_text(changed("epochs: 2", "epochs: 9", TEXT))
    again = send(client, "post", "/trainings/start", body)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["operation_id"] == first.json()["operation_id"]


def test_the_same_task_id_with_another_body_is_a_conflict(ready: Examples) -> None:
    client = ready.signed_in("trainer")
    send(client, "post", "/trainings/start", {"strategy_name": "stored", "task_id": "monday"})
    answer = send(client, "post", "/trainings/start", {"strategy_name": "stored", "task_id": "monday", "symbols": ["AAPL"]})
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "task_id_used"


def test_two_starts_at_once_with_one_task_id_start_one_operation(transactional_db: None, empty_redis: Any) -> None:
    examples = make_examples()
    store_bars()
    register_worker("cpu")
    clients = [examples.signed_in("trainer") for _ in range(4)]
    before = Operation.objects.count()

    def ask(client: Any) -> Any:
        try:
            return send(client, "post", "/trainings/start", {"strategy_name": "stored", "task_id": "at once"})
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, clients))
    assert sorted(a.status_code for a in answers) == [200, 200, 200, 202], [a.content for a in answers]
    assert len({a.json()["operation_id"] for a in answers}) == 1
    assert Operation.objects.count() == before + 1
    assert len(queues.queue_of("cpu").job_ids) == 1


@pytest.mark.parametrize(("body", "status", "code"), [
    ({"strategy_name": "sotred"}, 404, "unknown_strategy"),
    ({"strategy_name": "manage.py"}, 404, "unknown_strategy"),
    ({"strategy_name": "strategies_app/samples/minimal.yaml"}, 404, "unknown_strategy"),
    ({"strategy_yaml": "name: x"}, 422, "invalid_strategy"),
    ({"strategy_name": "stored", "timeframes": ["7h"]}, 422, "invalid_strategy"),
    ({"strategy_name": "stored", "symbols": ["NONE"]}, 422, "bars"),
    ({"strategy_name": "stored", "start_date": "2040-01-01", "end_date": "2041-01-01"}, 422, "bars"),
    ({"strategy_name": "stored", "start_date": "yesterday"}, 422, "invalid_request"),
    ({"strategy_name": "stored", "device": "cuda"}, 422, "invalid_request"),
    ({"strategy_name": "stored", "strategy_yaml": "x"}, 422, "invalid_request"),
    ({}, 422, "invalid_request"),
])  # fmt: skip
def test_what_cannot_be_started_is_said_and_leaves_nothing(body: dict[str, Any], status: int, code: str, ready: Examples) -> None:
    before = Operation.objects.count()
    answer = send(ready.signed_in("trainer"), "post", "/trainings/start", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.content
    assert Operation.objects.count() == before


def test_every_problem_of_a_strategy_is_told_with_its_place(ready: Examples) -> None:
    text = changed("period: 14", "period: -1", changed("[0, 30, 50]", "[0, 60, 50]", TEXT))
    problems = send(ready.signed_in("trainer"), "post", "/trainings/start", {"strategy_yaml": text}).json()["error"]["details"][
        "problems"
    ]
    assert [(p["path"], p["line"] is not None, p["column"] is not None) for p in problems] == [
        ("indicators.rsi_14.period", True, True), ("fuzzy_sets.zone.low", True, True),
    ]  # fmt: skip


def test_without_a_worker_the_answer_says_how_to_start_one(examples: Examples, empty_redis: Any) -> None:
    store_bars()
    answer = send(examples.signed_in("trainer"), "post", "/trainings/start", {"strategy_name": "stored"})
    assert answer.status_code == 503
    assert "manage.py worker --tag cpu" in answer.json()["error"]["message"]


def test_a_cancelled_operation_is_cancelled_once(examples: Examples, empty_redis: Any) -> None:
    client = examples.signed_in("trainer")
    answer = send(client, "post", f"/operations/{examples.own.pk}/cancel", {"reason": "a typo"})
    assert answer.json() == {"operation_id": examples.own.pk, "status": "cancelled", "attempt": 1}
    again = send(client, "post", f"/operations/{examples.own.pk}/cancel")
    assert again.status_code == 409
    assert again.json()["error"]["details"] == {"status": "cancelled"}
    assert AuditEntry.objects.get(action="cancel").details["reason"] == "a typo"


def test_only_what_has_ended_can_be_resumed(examples: Examples, empty_redis: Any) -> None:
    register_worker("cpu")
    client = examples.signed_in("trainer")
    assert send(client, "post", f"/operations/{examples.own.pk}/resume").json()["error"]["details"] == {"status": "pending"}
    failed = start(examples.version, examples.users["trainer"], status=Status.FAILED)
    answer = send(client, "post", f"/operations/{failed.pk}/resume", {"allow_inexact": True})
    assert answer.status_code == 202
    assert answer.json() == {"operation_id": failed.pk, "status": "pending", "attempt": 2}
    failed.refresh_from_db()
    assert failed.allow_inexact


def test_a_training_is_not_resumed_without_the_package_that_it_was_started_with(examples: Examples, empty_redis: Any) -> None:
    register_worker("cpu")
    used = {"indicator kama": {"package": "kama-plus", "version": "1.0", "code": "ab12"}}
    failed = start(examples.version, examples.users["trainer"], status=Status.FAILED, plugins=used)
    answer = send(examples.signed_in("trainer"), "post", f"/operations/{failed.pk}/resume")
    assert answer.status_code == 409
    wanted = "the package kama-plus 1.0 (indicator kama), which is not installed: install version 1.0 from where it came"
    assert answer.json()["error"]["message"] == f"{failed.pk} needs {wanted}"
    failed.refresh_from_db()
    assert (failed.status, failed.attempt) == (Status.FAILED, 1)
