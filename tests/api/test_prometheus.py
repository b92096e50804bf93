"""`/metrics` as Prometheus reads it: the state of database and Redis at this moment, for who has a token."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import ConnectionError as NoConnection

from tests.examples.api import Examples, bearer, register_worker
from training.jobs import queues
from training.models import Operation, Status


@pytest.fixture(autouse=True)
def _redis(empty_redis: Any) -> None:
    return


def scraped(client: Client) -> dict[tuple[str, ...], float]:
    """Sample name and its labels' values → value."""
    answer = client.get("/metrics")
    assert answer.status_code == 200 and answer["Content-Type"].startswith("text/plain"), answer.content
    families = list(text_string_to_metric_families(answer.content.decode()))
    assert all(family.documentation and family.type != "unknown" for family in families)
    return {(s.name, *_values(s.labels)): s.value for family in families for s in family.samples}


def _values(labels: dict[str, str]) -> list[str]:
    """A bucket's bound comes last."""
    return [value for _, value in sorted(labels.items(), key=lambda label: (label[0] == "le", label[0]))]


def test_operations_and_workers_are_counted(examples: Examples) -> None:
    register_worker("cpu")
    register_worker("quick")
    queues.queue_of("cpu").enqueue_call("training.workers.attempt.train_operation", args=("x", 1), job_id="x-1")
    Operation.objects.filter(pk=examples.own.pk).update(queue="cpu", created=timezone.now() - timedelta(seconds=90))
    found = scraped(examples.with_token("viewer", "read"))
    for status in Status.values:
        assert found["ktrdr_operations", status] == Operation.objects.filter(status=status).count()
    assert found["ktrdr_operations", "pending"] >= 2 and found["ktrdr_operations", "completed"] == 1
    assert 90 <= found["ktrdr_oldest_pending_seconds", "cpu"] < 120 and found["ktrdr_oldest_pending_seconds", "gpu"] == 0
    assert found[("ktrdr_redis_up",)] == 1 and found["ktrdr_queue_jobs", "cpu"] == 1 and found["ktrdr_queue_jobs", "gpu"] == 0
    assert sum(value for key, value in found.items() if key[:2] == ("ktrdr_workers", "cpu")) == 1
    assert sum(value for key, value in found.items() if key[:2] == ("ktrdr_workers", "gpu")) == 0
    assert found[("ktrdr_models",)] == 1


def test_durations_are_a_histogram_of_what_is_stored(examples: Examples) -> None:
    now = timezone.now()
    Operation.objects.filter(pk=examples.completed.pk).update(started=now - timedelta(seconds=42.5), finished=now)
    found = scraped(examples.with_token("viewer", "read"))
    name = "ktrdr_operation_duration_seconds"
    bounds = {key[2]: value for key, value in found.items() if key[:2] == (f"{name}_bucket", "completed")}
    assert bounds["15.0"] == 0 and bounds["60.0"] == 1 and bounds["+Inf"] == 1
    assert list(bounds.values()) == sorted(bounds.values()), "each bucket holds those before it"
    assert found[f"{name}_sum", "completed"] == 42.5 and found[f"{name}_count", "completed"] == 1
    assert found[f"{name}_count", "failed"] == 0


def test_a_signed_in_user_a_token_and_the_scraper_may_read_it(examples: Examples, settings: Any) -> None:
    assert Client().get("/metrics").status_code == 401
    assert bearer("wrong").get("/metrics").status_code == 401
    assert examples.with_token("nobody", "read").get("/metrics").status_code == 403
    assert examples.signed_in("viewer").get("/metrics").status_code == 200
    assert bearer("").get("/metrics").status_code == 401, "no token is set, so none is right"
    settings.METRICS_TOKEN = "scraper-token"
    assert bearer("scraper-token").get("/metrics").status_code == 200
    assert bearer("scraper-toke").get("/metrics").status_code == 401
    assert bearer("scraper-token").get("/api/v1/operations").status_code == 401, "it opens nothing else"


def test_without_redis_the_rest_is_still_told(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise NoConnection("away")

    monkeypatch.setattr(queues, "waiting", away)
    found = scraped(examples.with_token("viewer", "read"))
    assert found[("ktrdr_redis_up",)] == 0 and found["ktrdr_operations", "completed"] == 1
    assert not any(key[0] in ("ktrdr_workers", "ktrdr_queue_jobs") for key in found)


def test_its_size_and_its_queries_do_not_grow_with_what_is_stored(examples: Examples) -> None:
    client = examples.with_token("viewer", "read")
    before = set(scraped(client))
    rows = [
        Operation(id=f"op_training_{n}", strategy_version=examples.version, spec="{}", status=Status.FAILED, queue=f"q{n}")
        for n in range(300)
    ]
    Operation.objects.bulk_create(rows)
    with CaptureQueriesContext(connection) as queries:
        assert set(scraped(client)) == before
    assert len(queries) <= 8
