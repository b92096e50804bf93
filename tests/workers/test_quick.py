"""Questions to the quick worker: answered, refused in a sentence, or asked for again later, and only by who put them."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.examples.api import Examples, send
from tests.examples.quick_work import asking, work, worked
from training.jobs import questions, queues
from training.jobs.questions import ask, look
from training.workers import quick

__all__ = ["asking"]  # a fixture


def test_a_plan_is_what_a_dry_run_prints(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    with worked(monkeypatch):
        answer = send(asking.signed_in("trainer"), "post", "/trainings/plan", {"strategy_name": "stored"})
    told = answer.json()
    assert answer.status_code == 200, told
    assert told["strategy"] == "stored (stored@1)" and told["dates"] == "2003-01-01 to 2010-12-31"
    assert told["worker"].startswith("none: no worker is running")
    assert len(told["features"]) == 7 and told["split"]["rows"]["train"] > 500
    assert set(told["class_shares"]) == {"train", "validation", "test"}
    report = told["label_report"]
    assert report["rows"] == told["split"]["rows"]["train"] and report["cost_assumed"] and report["fitness"] > 0
    assert {line["name"]: line["share"] for line in report["classes"]} == pytest.approx(told["class_shares"]["train"])


def test_what_a_plan_refuses_is_one_sentence(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"strategy_name": "stored", "start_date": "2010-12-20", "end_date": "2010-12-31"}
    with worked(monkeypatch):
        answer = send(asking.signed_in("trainer"), "post", "/trainings/plan", body)
    assert answer.status_code == 422, answer.content
    error = answer.json()["error"]
    assert error["code"] == "bars" and "\n" not in error["message"] and error["message"]


def test_without_a_quick_worker_the_answer_says_how_to_start_one(examples: Examples, empty_redis: Any) -> None:
    answer = send(examples.signed_in("viewer"), "post", "/models/stored-1/predict", {"symbol": "AAPL", "timeframe": "1d"})
    assert answer.status_code == 503
    assert "manage.py worker --tag quick" in answer.json()["error"]["message"]


def test_what_takes_longer_is_asked_for_again_and_only_by_who_asked(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "WAIT_SECONDS", 1)
    trainer = asking.signed_in("trainer")
    began = time.monotonic()
    answer = send(trainer, "post", "/trainings/plan", {"strategy_name": "stored"})
    assert answer.status_code == 202
    assert 0.9 < time.monotonic() - began < 3
    where = answer.json()["where"].removeprefix("/api/v1")
    assert where == f"/quick/{answer.json()['job']}"
    assert send(trainer, "get", where).status_code == 202
    assert send(asking.signed_in("admin"), "get", where).status_code == 404, "only its starter"
    work()
    assert send(trainer, "get", where).json()["strategy"] == "stored (stored@1)"
    assert send(asking.with_token("trainer", "read"), "get", where).status_code == 200, "the same user"


def test_an_answer_that_comes_while_the_asker_waits_is_given_at_once(asking: Examples) -> None:
    timer = threading.Timer(0.5, lambda: SlowQueue().finish())
    timer.start()
    began = time.monotonic()
    reply = ask("plan", {}, asking.users["trainer"], seconds=8)
    assert reply.result == {"done": True}
    assert time.monotonic() - began < 4
    timer.join()


class SlowQueue:
    """A worker elsewhere that answers the one job that waits."""

    def finish(self) -> None:
        from rq.results import Result

        queue = queues.queue_of("quick")
        (job,) = queue.jobs
        Result.create(job, Result.Type.SUCCESSFUL, ttl=60, return_value={"result": {"done": True}})


def test_an_unexpected_error_is_told_as_nothing_but_that(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(**arguments: Any) -> dict[str, Any]:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setitem(quick.QUESTIONS, "plan", stumble)
    with worked(monkeypatch):
        answer = send(asking.signed_in("trainer"), "post", "/trainings/plan", {"strategy_name": "stored"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert b"hunter2" not in answer.content


def test_a_question_that_takes_too_long_is_given_up(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(quick.QUESTIONS, "plan", lambda: time.sleep(5))
    job = queues.enqueue_quick("plan", {}, asking.users["trainer"].pk)
    found = queues.quick_job(job)
    found.timeout = 1
    found.save()
    work()
    with pytest.raises(questions.TookTooLong, match="took longer"):
        look(job, asking.users["trainer"])


def test_a_prediction_is_that_of_the_command(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from training.management.runs import start_inline

    stream = io.StringIO()
    assert start_inline("stored", {}, stream, "manage.py") == "completed", stream.getvalue()
    client = asking.signed_in("viewer")
    with worked(monkeypatch):
        answer = send(
            client,
            "post",
            "/models/stored-2/predict",
            {"symbol": "AAPL", "timeframe": "1d", "start": "2010-01-01", "end": "2010-12-31"},
        )
        told = answer.json()
        assert answer.status_code == 200, told
        assert told["class_names"] == ["BUY", "HOLD", "SELL"] and len(told["bars"]) == 252
        assert all(abs(sum(bar["probabilities"]) - 1) < 1e-5 for bar in told["bars"])
        assert told["bars"][0]["timestamp"] == "2010-01-04T00:00:00Z"
        wrong = send(client, "post", "/models/stored-2/predict", {"symbol": "AAPL", "timeframe": "1h"})
        assert (wrong.status_code, wrong.json()["error"]["message"]) == (422, "this model predicts on 1d bars, seen 1h")
        missing = send(client, "post", "/models/stored-2/predict", {"symbol": "NONE", "timeframe": "1d"})
        assert (missing.status_code, missing.json()["error"]["code"]) == (422, "bars")
        monkeypatch.setattr(quick, "MAX_BARS", 100)
        long = send(client, "post", "/models/stored-2/predict", {"symbol": "AAPL", "timeframe": "1d", "start": "2010-01-01"})
        assert "ask for fewer days" in long.json()["error"]["message"]


def test_an_asker_waits_longer_than_the_client_of_redis_takes_silence_for_an_answer(asking: Examples) -> None:
    """That is five seconds; nobody works on the question here."""
    reply = ask("plan", {}, asking.users["trainer"], 6)
    assert reply.result is None and reply.job.startswith("quick-")
