"""A Redis that is full or fails in the moment of a start: the answer is what is true, and nothing is trained twice."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from django.test import Client
from rq import SimpleWorker
from rq.job import JobStatus

from tests.examples.api import Examples, register_worker, send
from tests.examples.homes import Home, home_with_redis, operation_in, until
from tests.examples.quick_work import asking  # noqa: F401 - a fixture
from training.access.audit import Actor
from training.jobs import fetches, queues, requests
from training.models import BarFetch, Operation, Status
from training.workers.reaper import PENDING_SECONDS, Reaper
from training.workers.worker import REFUSED_SECONDS, make_worker

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def full(connection: Any) -> Iterator[None]:
    """Inside, the server refuses what would need memory."""
    connection.config_set("maxmemory", 1)
    try:
        yield
    finally:
        connection.config_set("maxmemory", 0)


@pytest.fixture
def ready(asking: Examples) -> Examples:  # noqa: F811
    register_worker("cpu")
    return asking


def full_once(monkeypatch: pytest.MonkeyPatch, name: str) -> Callable[[], None]:
    """From now on the named enqueueing meets a full Redis; gives what makes room again."""
    enqueue = getattr(queues, name)

    def enqueue_without_room(*args: Any) -> None:
        with full(queues.queue_of("cpu").connection):
            enqueue(*args)

    monkeypatch.setattr(queues, name, enqueue_without_room)
    return lambda: monkeypatch.setattr(queues, name, enqueue)


def test_a_start_while_it_is_full_is_refused_and_nothing_is_stored(ready: Examples, empty_redis: Any) -> None:
    trainer, before = ready.signed_in("trainer"), Operation.objects.count()
    with full(empty_redis):
        answer = send(trainer, "post", "/trainings/start", {"strategy_name": "stored", "task_id": "once"})
        health = send(trainer, "get", "/healthz")
        scraped = trainer.get("/metrics").content.decode()
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "redis_full")
    assert error["message"] == queues.FULL
    assert Operation.objects.count() == before
    assert "ktrdr_redis_up 1.0" in scraped and "ktrdr_redis_full 1.0" in scraped
    assert (health.status_code, health.json()["redis_state"], health.json()["redis"]) == (503, "full", queues.FULL)
    assert send(trainer, "post", "/trainings/start", {"strategy_name": "stored", "task_id": "once"}).status_code == 202


def test_a_start_that_it_fails_after_is_stored_says_that_it_waits_and_is_queued_once(
    ready: Examples, empty_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, body = ready.signed_in("trainer"), {"strategy_name": "stored", "task_id": "once"}
    make_room = full_once(monkeypatch, "enqueue")
    answer = send(trainer, "post", "/trainings/start", body)
    assert answer.status_code == 202, answer.json()
    operation = answer.json()["operation_id"]
    assert not queues.has_job(operation, 1)
    with full(empty_redis):
        told = send(trainer, "get", f"/trainings/{operation}/status").json()
        assert told["waiting_for"] == f"waiting for Redis: {queues.FULL}"
        assert queues.FULL.replace("maxmemory", "")[:40] in trainer.get(f"/operations/{operation}/").content.decode()
    again = send(trainer, "post", "/trainings/start", body)
    assert (again.status_code, again.json()["operation_id"]) == (200, operation)

    make_room()
    now = [0.0]
    reaper = Reaper(lambda: now[0])
    assert reaper.look() == []
    now[0] = PENDING_SECONDS
    assert f"{operation}: its job was lost and is queued again" in reaper.look()
    assert reaper.look() == []
    assert queues.queue_of("cpu").job_ids.count(f"{operation}-1") == 1


@pytest.mark.parametrize("way", ["api", "page", "admin"])
def test_a_resume_that_it_fails_after_is_not_told_as_refused(
    way: str, ready: Examples, empty_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = ready.completed
    Operation.objects.filter(pk=operation.pk).update(status=Status.FAILED)
    full_once(monkeypatch, "enqueue")
    admin = ready.signed_in("admin")
    if way == "api":
        assert send(admin, "post", f"/operations/{operation.pk}/resume").status_code == 202
    elif way == "page":
        page = admin.post(f"/operations/{operation.pk}/resume/", follow=True).content.decode()
        assert "It continues as attempt 2" in page
    else:
        attempt = requests.resume(operation, Actor(via="admin"))
        assert attempt == 2
    operation.refresh_from_db()
    assert (operation.status, operation.attempt) == (Status.PENDING, 2)


def test_a_cancel_by_force_that_cannot_be_passed_on_says_what_was_done(ready: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = ready.completed
    Operation.objects.filter(pk=operation.pk).update(status=Status.RUNNING)

    def away(*args: Any) -> bool:
        raise redis.exceptions.ConnectionError("away")

    monkeypatch.setattr(queues, "kill", away)
    answer = send(ready.signed_in("admin"), "post", f"/operations/{operation.pk}/cancel", {"force": True})
    operation.refresh_from_db()
    assert operation.status == Status.CANCELLING
    assert answer.status_code == 503
    assert f"{operation.pk} is asked to stop with a checkpoint, but cannot be ended by force" in answer.json()["error"]["message"]


def test_a_fetch_that_it_fails_after_has_failed_and_can_go_on(
    ready: Examples, empty_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_worker("quick") if not queues.live_workers("quick") else None
    make_room = full_once(monkeypatch, "enqueue_fetch")
    row = fetches.begin(Actor(), "MSFT", "1d", "yahoo", market="", since=None, until=None, replace=False)
    assert (row.status, row.error) == (Status.FAILED, queues.FULL)
    make_room()
    fetches.go_on(row)
    row.refresh_from_db()
    assert row.status == Status.PENDING
    assert queues.queue_of("quick").job_ids == [f"fetch-{row.key}-{row.turn}"]
    assert BarFetch.objects.count() == 1


def test_pages_say_that_it_is_full_and_not_that_it_does_not_answer(ready: Examples, empty_redis: Any) -> None:
    client: Client = ready.signed_in("admin")
    with full(empty_redis):
        for address in ("/", "/workers/", "/data/fetch/", "/data/upload/"):
            page = client.get(address).content.decode()
            assert "Redis is full" in page and "does not answer" not in page, address
        told = client.post("/data/sample/", {"next": "/"}, follow=True).content.decode()
    assert "Redis is full" in told and "not stored" in told


def test_a_job_of_an_earlier_version_is_queued_again_under_its_new_name(
    ready: Examples, empty_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It bears the name of a function that has moved: it fails at its import, and nothing of the training is lost."""
    monkeypatch.setattr(queues, "JOB", "training.workers.train_operation")
    operation = send(ready.signed_in("trainer"), "post", "/trainings/start", {"strategy_name": "stored"}).json()["operation_id"]
    monkeypatch.undo()
    queue = queues.queue_of("cpu")
    SimpleWorker([queue], connection=queue.connection, serializer=queue.serializer).work(burst=True, logging_level="CRITICAL")
    assert queue.fetch_job(f"{operation}-1").get_status() == JobStatus.FAILED
    assert Operation.objects.get(pk=operation).status == Status.PENDING
    now = [0.0]
    reaper = Reaper(lambda: now[0])
    assert reaper.look() == []
    now[0] = PENDING_SECONDS
    assert f"{operation}: its job was lost and is queued again" in reaper.look()
    job = queue.fetch_job(f"{operation}-1")
    assert (job.get_status(), job.func_name) == (JobStatus.QUEUED, "training.workers.attempt.train_operation")


# --- a worker of its own ------------------------------------------------------------------------


@pytest.fixture
def own() -> Iterator[tuple[Home, Any]]:
    with home_with_redis() as home:
        yield home, redis.Redis(unix_socket_path=str(home.redis_socket))


@pytest.mark.timeout(900)
def test_a_worker_says_it_in_one_sentence_and_goes_on_when_there_is_room(own: tuple[Home, Any]) -> None:
    home, connection = own
    quick = {"HEARTBEAT_SECONDS": 0.5, "ORPHAN_CHECK_INTERVAL_SECONDS": 1}
    worker = home.begin("worker", "--tag", "cpu", **quick)
    try:
        until(lambda: connection.smembers("rq:workers"), "the worker", 240)
        running = operation_in(home.run("train", home.strategy("running", 40, 32)).stdout)
        until(lambda: "epoch 1:" in home.log(running), "its first epoch")
        with full(connection):
            assert home.value(running, "status") == "running"
            refused = home.run("train", home.strategy("refused", 2))
            assert (refused.returncode, refused.stderr.strip()) == (1, f"CommandError: {queues.FULL}")
            until(lambda: home.value(running, "status") == "completed", "the end of the training", 120)
            refused_at_its_end = connection.info("stats")["total_error_replies"]
            until(lambda: connection.info("stats")["total_error_replies"] > refused_at_its_end + 3, "some refused writes", 240)
            assert worker.poll() is None
        until(lambda: "idle" in home.run("workers").stdout, "the worker's return", 180)
        after = operation_in(home.run("train", home.strategy("after", 2)).stdout)
        until(lambda: home.value(after, "status") == "completed", "the next training", 180)
    finally:
        worker.terminate()
        told, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0, told
    assert "Traceback" not in told, told
    assert told.count("Redis is full") == told.count("Redis takes writes again") == 1, told


def test_a_worker_that_starts_while_it_is_full_says_so_in_one_sentence(own: tuple[Home, Any]) -> None:
    home, connection = own
    with full(connection):
        done: subprocess.CompletedProcess[str] = home.run("worker", "--tag", "cpu")
    assert (done.returncode, done.stderr.strip()) == (1, f"CommandError: {queues.FULL}")


def test_a_worker_lives_on_when_it_cannot_say_so_between_two_jobs(empty_redis: Any, caplog: pytest.LogCaptureFixture) -> None:
    worker = make_worker("cpu", {"host": "here"})
    worker.register_birth()
    with full(empty_redis):
        worker.heartbeat()
        worker.heartbeat()
    worker.heartbeat()
    assert [record.getMessage().partition(";")[2] for record in caplog.records] == [" the worker waits", " the worker goes on"]


def test_a_worker_waits_at_every_write_of_its_loop(
    empty_redis: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's first act after a job writes a heartbeat, and its maintenance takes a lock."""
    worker, waits = make_worker("cpu", {"host": "here"}), []
    worker.register_birth()

    def make_room(seconds: float) -> None:
        waits.append(seconds)
        empty_redis.config_set("maxmemory", 0)

    monkeypatch.setattr("training.workers.worker.time.sleep", make_room)
    with full(empty_redis):
        worker.run_maintenance_tasks()
        assert not waits, "maintenance is put off"
        worker.check_for_suspension(burst=False)
        assert waits == [REFUSED_SECONDS]
    monkeypatch.undo()
    worker.heartbeat()
    assert caplog.text.count("the worker waits") == caplog.text.count("the worker goes on") == 1


@pytest.mark.parametrize("act", ["heartbeat", "register_death"])
def test_a_redis_that_is_away_between_two_jobs_ends_no_worker_in_a_traceback(
    act: str, empty_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker("cpu", {"host": "here"})
    worker.register_birth()

    def away(*args: Any, **kwargs: Any) -> None:
        raise redis.exceptions.ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(type(worker.connection), "execute_command", away)
        patch.setattr("redis.client.Pipeline.execute", away)
        getattr(worker, act)()
    assert queues.live_workers("cpu"), "it is still listed"
