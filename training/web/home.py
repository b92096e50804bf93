"""The first page: what runs, what waits, who works, what was trained last, and what to do next."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from strategies_app.models import Strategy
from training.jobs.queues import NoWorker, WorkerState, live_workers, ping, told
from training.models import LIVE, RESUMABLE, BarSeries, Operation, Status, TrainedModel
from training.web.operations import UNSEEN, line_of
from training.web.page import page

MOST_RUNNING, MOST_WAITING, LATEST = 6, 20, 5


@page("training.view_operation")
def home(request: HttpRequest) -> HttpResponse:
    rows = Operation.objects.select_related("strategy_version__strategy", "user").defer(*UNSEEN)
    running = list(rows.filter(status__in=LIVE).order_by("-started")[:MOST_RUNNING])
    stopped = rows.filter(status__in=RESUMABLE).order_by("-finished")[:3]
    models = TrainedModel.objects.select_related("operation__strategy_version__strategy").defer("operation__spec")[:LATEST]
    stored = BarSeries.objects.aggregate(series=Count("pk"), bars=Sum("rows"), symbols=Count("symbol", distinct=True))
    context = {
        "running": [line_of(operation) for operation in running],
        "waiting": [line_of(operation) for operation in rows.filter(status=Status.PENDING).order_by("created")[:MOST_WAITING]],
        "stopped": [line_of(operation) for operation in stopped],
        "models": list(models),
        "stored": stored,
        "strategies": Strategy.objects.count(),
        **workers_around(),
    }
    context["is_new"] = not (stored["series"] and context["strategies"]) and not models and not running
    return render(request, "site/home.html", context)


@page("training.view_operation")
def around(request: HttpRequest) -> HttpResponse:
    """Part of the frame: how many operations run, and who is there to train."""
    counts = Operation.objects.filter(status__in=(*LIVE, Status.PENDING)).count()
    return render(request, "site/_around.html", {"live_count": counts, **workers_around()})


def workers_around() -> dict[str, Any]:
    """Live workers, their number per kind and the kinds that are starting, or the sentence on why there are none to show."""
    try:
        ping()
        with told():
            workers = live_workers()
    except NoWorker as problem:
        return {"workers": [], "kinds": [], "problem": str(problem), "starting": []}
    there = {worker.queue for worker in workers}
    starting = [tag for tag in settings.STARTED_BY_UP if tag not in there]
    kinds = [_kind(tag, workers) for tag in ("gpu", "cpu", "quick")]
    return {"workers": workers, "kinds": kinds, "problem": "", "starting": starting}


def _kind(tag: str, workers: list[WorkerState]) -> dict[str, Any]:
    own = [worker for worker in workers if worker.queue == tag]
    busy = sum(worker.job is not None for worker in own)
    return {"tag": tag, "count": len(own), "busy": busy, "idle": len(own) - busy}
