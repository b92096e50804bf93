"""What a pending training waits for, in one sentence: Redis, a worker of its queue, or those that are before it."""

from __future__ import annotations

from django.conf import settings
from redis.exceptions import RedisError

from training.jobs import queues
from training.models import LIVE, Operation, Status


def waits_for(operation: Operation) -> str:
    """The sentence; empty for one that does not wait for a worker."""
    if operation.status != Status.PENDING or not operation.queue:
        return ""
    tag = operation.queue
    try:
        queues.ping()
        own = [worker for worker in queues.live_workers() if worker.queue == tag]
        is_lost = not queues.has_job(operation.pk, operation.attempt)
    except queues.RedisFull as refusal:
        return f"waiting for Redis: {refusal}"
    except (queues.RedisAway, RedisError):
        return "waiting for Redis, which does not answer; it is queued as soon as it does"
    return _for_a_worker(tag, own, is_lost) + _behind(operation)


def _for_a_worker(tag: str, own: list[queues.WorkerState], is_lost: bool) -> str:
    if not own and tag in settings.STARTED_BY_UP:
        return f"waiting for the {tag} worker, which is starting"
    if not own:
        return (
            f"waiting for a {tag} worker: none is running, start one with `manage.py worker --tag {tag}` "
            f"(it is given up after {_duration(settings.WORKER_WAIT_SECONDS)} without one)"
        )
    busy = sum(worker.job is not None for worker in own)
    if busy == len(own):
        return f"waiting for a free {tag} worker"
    if is_lost:
        return "waiting to be put into its queue again, which takes seconds"
    return f"waiting for the {tag} worker to begin"


def _behind(operation: Operation) -> str:
    """How many trainings of its queue were asked for earlier and are not done."""
    open_ones = Operation.objects.filter(status__in=(Status.PENDING, *LIVE), queue=operation.queue)
    count = open_ones.filter(created__lt=operation.created).count()
    return f", behind {count} earlier training{'' if count == 1 else 's'} of the {operation.queue} queue" if count else ""


def _duration(seconds: float) -> str:
    for length, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            count = f"{seconds / length:.3g}"
            return f"{count} {name}{'' if count == '1' else 's'}"
    return f"{seconds:.3g} s"
