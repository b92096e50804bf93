"""The page of workers: who listens, what waits, how to start one, and what still works without Redis."""

from __future__ import annotations

from typing import Any

import django_rq
import pytest
import redis
from django.test import Client

from tests.examples.api import Examples, register_worker
from training.jobs import queues

XSS = "<script>alert(1)</script>"


def test_nobody_is_there_and_the_page_says_how_to_start_one(examples: Examples, empty_redis: Any) -> None:
    page = examples.signed_in("viewer").get("/workers/").content.decode()
    assert "No worker is running" in page and "manage.py up" in page
    for tag in queues.QUEUES:
        assert f"manage.py worker --tag {tag}" in page


def test_each_is_a_line_with_what_it_is_and_does(
    examples: Examples, empty_redis: Any, django_assert_max_num_queries: Any
) -> None:
    worker = register_worker("cpu")
    register_worker("quick")
    empty_redis.hset(queues.environment_key(worker.name), mapping={
        "host": XSS, "device": "cpu", "device_name": "Some Processor", "memory": "16000000000", "torch": "2.13.0", "python": "3.11"})  # fmt: skip
    operation = examples.own.pk
    worker.prepare_execution(queues.queue_of("cpu").create_job("x", job_id=f"{operation}-2", timeout=-1))
    queues.enqueue(operation, 1, "gpu")
    client = examples.signed_in("viewer")
    with django_assert_max_num_queries(15):
        page = client.get("/workers/").content.decode()
    assert f'href="/operations/{operation}/"' in page and "attempt 2" in page and ">stored</a>" in page
    assert "Some Processor" in page and "16.0 GB" in page and "torch 2.13.0, python 3.11" in page and XSS not in page
    assert "1 busy, 0 idle" in page and "1 job waits." in page and "No worker is running" not in page
    django_rq.get_queue("gpu").empty()


def test_the_part_that_moves_is_asked_for_alone(examples: Examples, empty_redis: Any) -> None:
    register_worker("quick")
    part = examples.signed_in("viewer").get("/workers/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part and "No worker is running" in part and "quick-test" in part


def test_without_redis_it_says_what_still_works(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = redis.Redis(unix_socket_path="/nowhere/redis.sock")
    monkeypatch.setattr(django_rq, "get_connection", lambda name: nowhere)
    page = examples.signed_in("viewer").get("/workers/").content.decode()
    assert "does not answer" in page and "What works meanwhile" in page


def test_who_may_look(examples: Examples, empty_redis: Any) -> None:
    assert Client().get("/workers/")["Location"] == "/sign-in/?next=/workers/"
    assert Client().get("/workers/", headers={"HX-Request": "true"})["HX-Refresh"] == "true"
    assert examples.signed_in("nobody").get("/workers/").status_code == 403
