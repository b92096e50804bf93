"""`/metrics` for Prometheus: computed from database and Redis when it is asked, so that it is the same in every web process.

No label names a user, a symbol, a strategy or an operation: the number of series stays small for ever.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, DurationField, ExpressionWrapper, F, Min, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from redis.exceptions import RedisError

from training.api.auth import identify
from training.api.errors import ApiError
from training.jobs import queues
from training.models import BarFetch, Operation, Status, TrainedModel

#: Upper bounds in seconds of a training's duration.
BUCKETS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 72 * 3600)
ENDED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.INTERRUPTED)
STATES = ("idle", "busy", "suspended", "other")


def metrics(request: HttpRequest) -> HttpResponse:
    """The exposition, for the token of KTRDR_METRICS_TOKEN, an API token of any scope, or a signed-in user."""
    try:
        if not _may(request):
            return _plain("wanted a token: Authorization: Bearer …", 401)
    except ApiError as error:
        return _plain(str(error), error.status)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Now())
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry), content_type=content_type, headers={"Cache-Control": "no-store"})


def _may(request: HttpRequest) -> bool:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    own = settings.METRICS_TOKEN
    if own and scheme.lower() == "bearer" and secrets.compare_digest(secret.strip().encode(), own.encode()):
        return True
    caller = identify(request)
    if caller is None:
        return False
    caller.must("training.view_operation")
    return True


def _plain(text: str, status: int) -> HttpResponse:
    answer = HttpResponse(f"{text}\n", content_type="text/plain; charset=utf-8", status=status)
    if status == 401:
        answer["WWW-Authenticate"] = "Bearer"
    return answer


class Now:
    """A collector of prometheus_client: everything as it is at this moment."""

    def collect(self) -> Iterator[Metric]:
        yield from _operations()
        yield _durations()
        yield from _stored()
        yield from _redis()

    def describe(self) -> list[Metric]:
        """Nothing is asked when the collector is registered."""
        return []


def _operations() -> Iterator[Metric]:
    counts = dict(Operation.objects.order_by().values_list("status").annotate(Count("pk")))
    found = GaugeMetricFamily("ktrdr_operations", "Operations that are stored, by state.", labels=["status"])
    for status in Status.values:
        found.add_metric([status], counts.get(status, 0))
    yield found
    oldest = dict(
        Operation.objects.filter(status=Status.PENDING).exclude(queue="").order_by().values_list("queue").annotate(Min("created"))
    )
    waiting = GaugeMetricFamily(
        "ktrdr_oldest_pending_seconds",
        "How long the oldest pending operation of a queue waits.",
        labels=["queue"],
    )
    for queue in ("gpu", "cpu"):
        waiting.add_metric([queue], (timezone.now() - oldest[queue]).total_seconds() if queue in oldest else 0)
    yield waiting


def _durations() -> Metric:
    """From the last attempt's start to its end. Deleting operations makes it smaller, which Prometheus takes for a restart."""
    took = ExpressionWrapper(F("finished") - F("started"), output_field=DurationField())
    counted = {f"to_{bound}": Count("pk", filter=Q(took__lte=timedelta(seconds=bound))) for bound in BUCKETS}
    rows = (
        Operation.objects.filter(status__in=ENDED, started__isnull=False, finished__gte=F("started"))
        .annotate(took=took).order_by().values("status").annotate(all=Count("pk"), sum=Sum("took"), **counted)
    )  # fmt: skip
    found = HistogramMetricFamily(
        "ktrdr_operation_duration_seconds", "How long ended operations that are stored took, by state.", labels=["status"]
    )
    seen: dict[str, dict[str, Any]] = {row["status"]: row for row in rows}
    for status in ENDED:
        row = seen.get(status, {})
        buckets = [(str(float(bound)), row.get(f"to_{bound}", 0)) for bound in BUCKETS]
        total = row["sum"].total_seconds() if row else 0.0
        found.add_metric([status], [*buckets, ("+Inf", row.get("all", 0))], total)
    return found


def _stored() -> Iterator[Metric]:
    yield GaugeMetricFamily("ktrdr_models", "Trained models that are stored.", value=TrainedModel.objects.count())
    at_work = BarFetch.objects.filter(status__in=(Status.PENDING, Status.RUNNING, Status.CANCELLING)).count()
    yield GaugeMetricFamily("ktrdr_bar_fetches", "Fetches of bars that are under way.", value=at_work)


def _is_full() -> bool:
    try:
        queues.ping()
    except queues.NoWorker as refusal:
        return isinstance(refusal, queues.RedisFull)
    return False


def _redis() -> Iterator[Metric]:
    """Queues and workers; without Redis only that it does not answer."""
    up = GaugeMetricFamily("ktrdr_redis_up", "Whether Redis answers.")
    try:
        waiting, workers = queues.waiting(), queues.live_workers()
    except RedisError:
        up.add_metric([], 0)
        yield up
        return
    up.add_metric([], 1)
    yield up
    full = GaugeMetricFamily("ktrdr_redis_full", "Whether Redis answers and takes no writes.")
    full.add_metric([], _is_full())
    yield full
    jobs = GaugeMetricFamily("ktrdr_queue_jobs", "Jobs that wait in a queue.", labels=["queue"])
    for queue, count in waiting.items():
        jobs.add_metric([queue], count)
    yield jobs
    counts = Counter((worker.queue, worker.state if worker.state in STATES else "other") for worker in workers)
    alive = GaugeMetricFamily("ktrdr_workers", "Workers that are alive, by queue and state.", labels=["queue", "state"])
    for queue in queues.QUEUES:
        for state in STATES:
            alive.add_metric([queue, state], counts.get((queue, state), 0))
    yield alive
