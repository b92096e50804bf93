"""Whatever goes wrong is told in one shape."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from redis.exceptions import ConnectionError as RedisGone

from tests.examples.api import Examples, send
from training.api import errors
from training.jobs import queues, requests

pytestmark = pytest.mark.django_db


def error_in(answer: Any) -> dict[str, Any]:
    """The error of an answer, whose body has nothing else."""
    assert answer.headers["Content-Type"].startswith("application/json")
    body = answer.json()
    assert set(body) == {"error"} and set(body["error"]) == {"code", "message", "details"}
    return dict(body["error"])


@pytest.fixture
def trainer(examples: Examples) -> Client:
    return examples.signed_in("trainer")


@pytest.mark.parametrize(("method", "path", "status", "code"), [
    ("get", "/operations/none", 404, "not_found"),
    ("get", "/models/none", 404, "not_found"),
    ("get", "/strategies/none", 404, "unknown_strategy"),
    ("get", "/quick/quick-none", 404, "not_found"),
    ("get", "/no/such/route", 404, "not_found"),
    ("get", "/", 404, "not_found"),
    ("put", "/operations", 405, "method_not_allowed"),
    ("get", "/trainings/start", 405, "method_not_allowed"),
    ("get", "/operations?limit=0", 422, "invalid_request"),
    ("get", "/operations?status=sleeping", 422, "invalid_request"),
    ("get", "/operations?strategy=%00", 400, "bad_request"),
    ("get", "/operations/a%00b", 400, "bad_request"),
    ("get", "/data/AAPL/1d?start=soon", 422, "invalid_request"),
])  # fmt: skip
def test_every_error_has_the_same_shape(method: str, path: str, status: int, code: str, trainer: Client) -> None:
    answer = send(trainer, method, path)
    assert (answer.status_code, error_in(answer)["code"]) == (status, code)


def test_an_address_without_the_slash_of_the_api_is_a_page_like_any_other(client: Client) -> None:
    assert client.get("/elsewhere").headers["Content-Type"].startswith("text/html")


def test_a_method_that_is_not_allowed_is_told_with_those_that_are(trainer: Client) -> None:
    assert send(trainer, "put", "/operations").headers["Allow"] == "GET"


def test_a_problem_of_a_request_is_told_without_its_value(trainer: Client) -> None:
    body = {"strategy_name": "stored", "validation_split": "hunter2", "device": "cuda"}
    error = error_in(send(trainer, "post", "/trainings/start", body))
    assert {p["path"] for p in error["details"]["problems"]} == {"validation_split", "device"}
    assert "hunter2" not in json.dumps(error)


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"nul", b'{"a": NaN', b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(body: bytes, trainer: Client) -> None:
    answer = trainer.post("/api/v1/trainings/start", body, content_type="application/json")
    assert (answer.status_code, error_in(answer)["code"]) == (400, "bad_request")


def test_a_large_body_is_refused_before_it_is_read(trainer: Client) -> None:
    body = json.dumps({"strategy_yaml": "x" * errors.BODY_LIMIT})
    answer = trainer.post("/api/v1/strategies/validate", body, content_type="application/json")
    assert (answer.status_code, error_in(answer)["code"]) == (413, "too_large")
    chunked = trainer.post("/api/v1/strategies/validate", "{}", content_type="application/json", HTTP_TRANSFER_ENCODING="chunked")
    assert (chunked.status_code, error_in(chunked)["code"]) == (411, "length_required")


def test_what_is_unexpected_is_logged_and_not_told(
    trainer: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(requests, "start_training", stumble)
    with caplog.at_level(logging.ERROR):
        answer = send(trainer, "post", "/trainings/start", {"strategy_name": "stored"})
    assert (answer.status_code, error_in(answer)["code"]) == (500, "internal")
    assert b"hunter2" not in answer.content and b"RuntimeError" not in answer.content
    assert "RuntimeError: the password is hunter2" in caplog.text


@pytest.mark.parametrize(("error", "code"), [(RedisGone("at 10.0.0.1"), "redis"), (OperationalError("at 10.0.0.1"), "database")])
def test_a_database_or_redis_that_is_away_is_told_without_where_it_is(
    error: Exception, code: str, trainer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(queues, "live_workers", refuse)
    monkeypatch.setattr(queues, "ping", lambda: None)
    answer = send(trainer, "get", "/workers")
    assert (answer.status_code, error_in(answer)["code"]) == (503, code)
    assert b"10.0.0.1" not in answer.content
