"""Queues: which one a training goes to, its job in Redis, and the workers that listen. The only import of django_rq.

Redis carries messages; the database is the truth. A job's id is `<operation>-<attempt>`, so that the
same attempt is never queued twice.
"""

from __future__ import annotations

import datetime as dt
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from training.core.values import Refusal
from training.jobs import belonging

QUEUES = ("gpu", "cpu", "quick")
#: The job, by name: nothing here imports what it needs.
JOB = "training.workers.attempt.train_operation"
#: What the quick queue runs: a question by its name, answered in seconds.
QUICK_JOB = "training.workers.quick.answer"
#: One turn of a fetch of bars; it ends by itself after some seconds and queues the next one, so that questions come between.
FETCH_JOB = "training.bars.fetching.work"
FETCH_TIMEOUT_SECONDS = 120
#: A quick job is worth nothing to anyone later: it leaves the queue after so long, and its answer is kept as long.
QUICK_TTL_SECONDS = 300
#: A worker that has not been heard of for longer is gone; its heartbeat comes at least every 25 s.
ALIVE_SECONDS = 35
#: A question waits so long for a quick worker that `up` is starting.
STARTING_SECONDS = 60
#: Written by whoever wants to know whether Redis takes writes.
PROBE_KEY, PROBE_SECONDS = "ktrdr:probe", 60
#: How Redis refuses a write, besides for want of memory: its disk is full, it is a copy of another one, it lacks its copies.
REFUSALS = ("MISCONF", "READONLY", "NOREPLICAS")
FULL = "Redis is full and takes nothing new, while trainings that run go on: raise its maxmemory, or make room"
log = logging.getLogger(__name__)


class NoWorker(Refusal):
    """No worker is running: one sentence with the command that starts a worker."""

    category = "resources"


class RedisAway(NoWorker):
    """Redis does not answer: one sentence."""


class RedisFull(NoWorker):
    """Redis answers and takes no writes: one sentence with its reason."""


@dataclass(frozen=True)
class WorkerState:
    """One live worker as it reports itself. `environment`: host, device, memory, versions."""

    name: str
    queue: str
    state: str
    job: str | None
    heartbeat: dt.datetime
    environment: dict[str, Any]


def queue_of(tag: str) -> Any:
    """The library's own queue; its connection is the way to Redis."""
    import django_rq

    return django_rq.get_queue(tag)


def takes_no_writes(error: Exception) -> bool:
    """Whether it is Redis that says: I am there, but I write nothing."""
    is_refusal = isinstance(error, OutOfMemoryError | ReadOnlyError)
    return is_refusal or (isinstance(error, ResponseError) and any(word in str(error) for word in ("OOM", *REFUSALS)))


def trouble(error: RedisError) -> NoWorker:
    """What a failure of Redis is told as."""
    if takes_no_writes(error):
        if isinstance(error, OutOfMemoryError) or "OOM" in str(error):
            return RedisFull(FULL)
        return RedisFull(f"Redis takes no writes ({error}), while trainings that run go on: mend that first")
    where = "the embedded Redis is not running" if settings.REDIS_EMBEDDED else f"Redis does not answer ({error})"
    return RedisAway(f"{where}: start everything with `manage.py up` (a training alone: `manage.py train STRATEGY --inline`)")


@contextmanager
def told() -> Iterator[None]:
    """Inside, what Redis cannot do is RedisAway or RedisFull."""
    try:
        yield
    except RedisError as error:
        raise trouble(error) from None


def ping() -> None:
    """RedisAway if Redis does not answer, RedisFull if it takes no writes."""
    import django_rq

    with told():
        django_rq.get_connection("cpu").set(PROBE_KEY, 1, ex=PROBE_SECONDS)


def live_workers(queue: str | None = None) -> list[WorkerState]:
    """Workers heard of lately, of one queue or of all."""
    import django_rq
    from rq import Worker

    connection = django_rq.get_connection("cpu")
    now = dt.datetime.now(dt.UTC)
    found = []
    for worker in Worker.all(connection=connection):
        names = worker.queue_names()
        if worker.last_heartbeat is None or not names or (queue is not None and names[0] != queue):
            continue
        heartbeat = worker.last_heartbeat.replace(tzinfo=worker.last_heartbeat.tzinfo or dt.UTC)
        if (now - heartbeat).total_seconds() > ALIVE_SECONDS:
            continue
        environment = {k.decode(): v.decode() for k, v in connection.hgetall(environment_key(worker.name)).items()}
        state = str(getattr(worker.get_state(), "value", worker.get_state()))
        found.append(WorkerState(worker.name, names[0], state, worker.get_current_job_id(), heartbeat, environment))
    if any("database" in worker.environment for worker in found):  # those of another one take nothing of ours
        key = belonging.own().key
        found = [worker for worker in found if worker.environment.get("database", key) == key]
    return sorted(found, key=lambda w: (QUEUES.index(w.queue) if w.queue in QUEUES else len(QUEUES), w.name))


def environment_key(worker_name: str) -> str:
    """Where a worker writes what it is: a hash in Redis, which ends with the worker."""
    return f"ktrdr:worker:{worker_name}"


def choose_queue() -> str:
    """`gpu` if a live gpu worker listens, else `cpu`, else one whose worker `up` is starting, else NoWorker."""
    ping()
    with told():
        tags = {worker.queue for worker in live_workers()}
    for listed in (tags, settings.STARTED_BY_UP):
        for queue in ("gpu", "cpu"):
            if queue in listed:
                return queue
    raise NoWorker("no worker is running: start one with `manage.py worker --tag cpu`, or everything with `manage.py up`")


def job_id(operation_id: str, attempt: int) -> str:
    return f"{operation_id}-{attempt}"


def enqueue(operation_id: str, attempt: int, queue: str) -> None:
    """Put an attempt's job into a queue; call it in transaction.on_commit."""
    import django_rq

    django_rq.get_queue(queue).enqueue_call(
        JOB, args=(operation_id, attempt), job_id=job_id(operation_id, attempt), timeout=-1, result_ttl=3600, failure_ttl=86400,
        meta=belonging.mark(belonging.own()),
    )  # fmt: skip


def hand_over(operation_id: str, attempt: int, queue: str) -> None:
    """Put a stored attempt's job into its queue, now or, where Redis cannot take it, by the reaper as soon as it can.

    For transaction.on_commit: what is stored is stored, so nothing is raised that would tell otherwise.
    """
    try:
        enqueue(operation_id, attempt, queue)
    except RedisError as error:
        log.warning("%s attempt %s waits for Redis: %s", operation_id, attempt, trouble(error))


def is_known(operation_id: str, attempt: int) -> bool:
    """Whether Redis still has the job of an attempt, waiting, or at work with a live worker."""
    import django_rq
    from rq.exceptions import NoSuchJobError
    from rq.job import Job, JobStatus

    queue = django_rq.get_queue("cpu")
    try:
        job = Job.fetch(job_id(operation_id, attempt), connection=queue.connection, serializer=queue.serializer)
    except NoSuchJobError:
        return False
    if job.get_status() == JobStatus.STARTED:
        return job.worker_name in {worker.name for worker in live_workers()}
    # A worker that dies between taking a job and beginning it leaves it queued, but in no queue.
    return job.get_status() == JobStatus.QUEUED and job.get_position() is not None


def has_job(operation_id: str, attempt: int) -> bool:
    """Whether Redis has ever heard of an attempt, wherever its job is now."""
    from rq.job import Job

    return bool(Job.exists(job_id(operation_id, attempt), connection=queue_of("cpu").connection))


def forget(operation_id: str, attempt: int) -> None:
    """Take an attempt's job out of its queue, if it still waits there."""
    import django_rq
    from rq.exceptions import NoSuchJobError
    from rq.job import Job

    queue = django_rq.get_queue("cpu")
    try:
        Job.fetch(job_id(operation_id, attempt), connection=queue.connection, serializer=queue.serializer).delete()
    except NoSuchJobError:
        return


def kill(operation_id: str, attempt: int) -> bool:
    """Have the worker end the attempt's process at once, without a checkpoint; whether it was at work."""
    import django_rq
    from rq.command import send_stop_job_command
    from rq.exceptions import InvalidJobOperation, NoSuchJobError

    queue = django_rq.get_queue("cpu")
    try:
        send_stop_job_command(queue.connection, job_id(operation_id, attempt), serializer=queue.serializer)
    except (NoSuchJobError, InvalidJobOperation):
        return False
    return True


def enqueue_quick(question: str, arguments: dict[str, Any], owner: int) -> str:
    """Put a question to a quick worker; gives the job's id. NoWorker if none lives, and nothing is put."""
    ping()
    must_answer_quickly()
    with told():
        job = queue_of("quick").enqueue_call(
            QUICK_JOB, args=(question, arguments), job_id=f"quick-{secrets.token_hex(16)}",
            meta={"owner": owner, **belonging.mark(belonging.own())},
            ttl=QUICK_TTL_SECONDS, result_ttl=QUICK_TTL_SECONDS, failure_ttl=QUICK_TTL_SECONDS,
        )  # fmt: skip
    return str(job.id)


def enqueue_fetch(key: str, turn: int) -> None:
    """Put the next turn of a fetch of bars behind what waits in the quick queue. RedisAway, RedisFull."""
    with told():
        queue_of("quick").enqueue_call(
            FETCH_JOB, args=(key, turn), job_id=f"fetch-{key}-{turn}", timeout=FETCH_TIMEOUT_SECONDS,
            meta=belonging.mark(belonging.own()),
            result_ttl=QUICK_TTL_SECONDS, failure_ttl=QUICK_TTL_SECONDS,
        )  # fmt: skip


def must_answer_quickly(asked: dt.datetime | None = None) -> None:
    """NoWorker unless a quick worker lives, or, for a question that was asked just now, one is being started by `up`."""
    with told():
        if live_workers("quick"):
            return
    if "quick" not in settings.STARTED_BY_UP:
        raise NoWorker(
            "no quick worker is running: start one with `manage.py worker --tag quick`, or everything with `manage.py up`"
        )
    if asked is not None and (dt.datetime.now(dt.UTC) - asked).total_seconds() > STARTING_SECONDS:
        raise NoWorker("the quick worker does not start: what `up` says tells why")


def waiting() -> dict[str, int]:
    """How many jobs wait in each queue."""
    return {tag: queue_of(tag).count for tag in QUEUES}


def quick_job(job: str) -> Any:
    """RQ's job of a question, None if it is unknown or forgotten."""
    from rq.exceptions import NoSuchJobError
    from rq.job import Job

    queue = queue_of("quick")
    try:
        return Job.fetch(job, connection=queue.connection, serializer=queue.serializer)
    except NoSuchJobError:
        return None
