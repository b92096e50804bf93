"""The first page: what runs, what waits, what to do next; and the page of the workers."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from strategies_app.models import Strategy
from training.jobs.queues import QUEUES, NoWorker, WorkerState, live_workers, ping, told, waiting
from training.models import LIVE, OPEN, RESUMABLE, BarSeries, Operation, Status, TrainedModel
from training.web.operations import line_of
from training.web.page import page

MOST_RUNNING, MOST_WAITING, LATEST = 6, 20, 5


@page("training.view_operation")
def home(request: HttpRequest) -> HttpResponse:
    rows = Operation.objects.for_lists()
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
    counts = Operation.objects.filter(status__in=OPEN).count()
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


#: What a queue is for, and the command that starts a worker of it.
MEANINGS = {
    "gpu": "trains on a graphics card",
    "cpu": "trains on the processor",
    "quick": "answers previews, plans and predictions",
}


@page("training.view_operation")
def workers(request: HttpRequest) -> HttpResponse:
    """The page; the part that moves asks for itself every five seconds."""
    part = request.htmx  # type: ignore[attr-defined]
    return render(request, "site/_workers.html" if part else "site/workers.html", _around())


def _around() -> dict[str, Any]:
    try:
        ping()
        with told():
            states, counts = live_workers(), waiting()
    except NoWorker as problem:
        return {"queues": [], "lines": [], "problem": str(problem)}
    names = _operation_names(states)
    return {
        "queues": [_queue(tag, states, counts[tag]) for tag in QUEUES],
        "lines": [_line(state, names) for state in states], "problem": "",
        "no_trainer": not any(state.queue in ("gpu", "cpu") for state in states),
        "no_quick": not any(state.queue == "quick" for state in states),
    }  # fmt: skip


def _queue(tag: str, states: list[WorkerState], count: int) -> dict[str, Any]:
    own = [state for state in states if state.queue == tag]
    busy = sum(state.job is not None for state in own)
    return {"tag": tag, "meaning": MEANINGS[tag], "workers": len(own), "busy": busy, "idle": len(own) - busy, "waiting": count}


def _operation_of(job: str | None) -> tuple[str, str]:
    """Operation and attempt of a job's name, `<operation>-<attempt>`; jobs of the quick queue belong to none."""
    operation, _, attempt = (job or "").rpartition("-")
    return (operation, attempt) if operation.startswith("op_") else ("", "")


def _operation_names(states: list[WorkerState]) -> dict[str, str]:
    ids = [operation for operation, _ in (_operation_of(state.job) for state in states) if operation]
    if not ids:
        return {}
    return dict(Operation.objects.filter(pk__in=ids).values_list("pk", "strategy_version__strategy__name"))


def _line(state: WorkerState, names: dict[str, str]) -> dict[str, Any]:
    of = state.environment
    operation, attempt = _operation_of(state.job)
    memory = int(of["memory"]) if of.get("memory", "").isdigit() else None
    return {
        "name": state.name, "queue": state.queue, "busy": state.job is not None, "operation": operation, "attempt": attempt,
        "strategy": names.get(operation, operation), "host": of.get("host", ""), "heartbeat": state.heartbeat,
        "device": of.get("device_name") or of.get("device") or "", "memory": memory,
        "versions": ", ".join(f"{name} {of[name]}" for name in ("torch", "numpy", "python") if of.get(name)),
        "started": of.get("started", ""),
    }  # fmt: skip
