"""Operations in the browser: the list, the page of one, its tags and note, and what can be asked of it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from training.access.plain_requests import READ_AND_WRITE
from training.access.roles import may_control
from training.jobs import requests
from training.jobs.lifecycle import OperationError
from training.jobs.logs import log_tail
from training.jobs.progress import STAGES
from training.jobs.queues import NoWorker
from training.jobs.requests import BadAnnotation
from training.jobs.requests import annotate as keep
from training.jobs.status import waits_for
from training.models import OPEN, RESUMABLE, AuditEntry, Operation, Status
from training.results import figures_analytics
from training.web import checks, result
from training.web.page import actor_of, must_control, operation_or_404, page, searched, without_page

PER_PAGE = 50
#: So long a training may take to stop by itself before stopping it by force is offered.
GRACE_SECONDS = 10
#: What came of a cancel, where it does not stop something at work.
CANCELLED = {
    Status.CANCELLED: "It was cancelled before it began.",
    Status.FAILED: "It is not tried again by itself. It can be resumed.",
}


@page("training.view_operation")
def operations(request: HttpRequest) -> HttpResponse:
    """Newest first, what runs or waits on top."""
    status, words = request.GET.get("status", ""), searched(request)
    rows = Operation.objects.for_lists()
    rows = rows.filter(status=status) if status in Status.values else rows
    if words:
        rows = rows.filter(Q(pk__icontains=words) | Q(strategy_version__strategy__name__icontains=words))
    found = Paginator(_open_first(rows), PER_PAGE).get_page(request.GET.get("page"))
    context = {"lines": [line_of(operation) for operation in found], "found": found, "status": status, "words": words}
    context |= {"statuses": Status.values, "any": bool(found) or Operation.objects.exists(), "kept": without_page(request)}
    return render(request, "site/operations.html", context)


def _open_first(rows: QuerySet[Operation]) -> QuerySet[Operation]:
    is_open = Case(When(status__in=OPEN, then=Value(0)), default=Value(1), output_field=IntegerField())
    return rows.order_by(is_open, "-created")


def line_of(operation: Operation) -> dict[str, Any]:
    """An operation as a line of a list."""
    data = operation.spec_data["training_data"]
    return {
        "operation": operation,
        "symbols": operation.symbols,
        "timeframes": operation.timeframes,
        "dates": f"{data.get('start_date')} to {data.get('end_date')}",
        "is_open": operation.is_open,
        "epochs": operation.epochs,
    }


@page("training.view_operation")
def operation(request: HttpRequest, operation_id: str) -> HttpResponse:
    """The page of one operation: live while it is at work, its result when it is completed."""
    shown = operation_or_404(operation_id)
    output_format = shown.output_format
    context = line_of(shown) | {
        "waits_for": waits_for(shown),
        "stages": _stages(shown),
        "checkpoints": list(shown.checkpoints.all()[:5]),
        "lines": log_tail(shown.pk, shown.attempt, 60),
        "live": {
            "id": shown.pk, "status": shown.status, "attempt": shown.attempt, "stage": shown.stage, "percent": shown.percent,
            "epochs": line_of(shown)["epochs"], "patience": _patience(shown), "stages": list(STAGES),
            "output_format": output_format,
        },
        "notes": checks.other_notes(shown.notes, shown),
        "of_returns": output_format == "regression",
        **verbs_for(request.user, shown),
    }  # fmt: skip
    if shown.status != Status.COMPLETED:
        context |= {"checks": checks.context_of(shown.checks), "found": checks.refusal_of(shown)}
    else:
        context["result"] = result.context_of(shown) | {"may_annotate": may_control(request.user, shown, "annotate_operation")}
    return render(request, "site/operation.html", context)


def _stages(shown: Operation) -> list[dict[str, Any]]:
    """Each stage, whether it is over or was the last one seen, and the seconds that it took."""
    names = list(STAGES)
    at = names.index(shown.stage) if shown.stage in names else -1
    states = ["done" if number < at else "now" if number == at else "" for number in range(len(names))]
    return [{"name": n, "state": state, "seconds": shown.stage_seconds.get(n)} for n, state in zip(names, states, strict=True)]


def _patience(shown: Operation) -> int | None:
    stopping = shown.spec_data["training"].get("early_stopping") or {}
    return stopping.get("patience") if stopping.get("enabled", True) else None


def verbs_for(user: Any, shown: Operation) -> dict[str, Any]:
    """What this user may ask of the operation in its present state."""
    asked = None
    if shown.status == Status.CANCELLING:
        trail = AuditEntry.objects.filter(action="cancel", target=shown.pk).order_by("-at")
        asked = trail.values_list("at", flat=True).first()
    return {
        "may_cancel": (shown.status in (Status.PENDING, Status.RUNNING) or shown.waits_to_retry)
        and may_control(user, shown, "cancel_operation"),
        "may_force": shown.status == Status.CANCELLING and bool(shown.queue) and may_control(user, shown, "force_operation"),
        "may_resume": shown.status in RESUMABLE and may_control(user, shown, "resume_operation"),
        "cancel_asked": asked,
        "grace": GRACE_SECONDS,
    }


@page("training.view_operation")
def log(request: HttpRequest, operation_id: str) -> HttpResponse:
    """The end of the present attempt's log; the whole of it as a text file with `?whole=1`."""
    shown = operation_or_404(operation_id)
    if "whole" in request.GET:
        text = "\n".join(log_tail(shown.pk, attempt, 100_000) for attempt in range(1, shown.attempt + 1))
        return HttpResponse(text, content_type="text/plain; charset=utf-8")
    return render(
        request,
        "site/_log.html",
        {"operation": shown, "lines": log_tail(shown.pk, shown.attempt, 60), "is_open": shown.is_open},
    )


@page("training.view_operation")
def use(request: HttpRequest, operation_id: str) -> JsonResponse:
    """What its attempts used of their machines: figures, and the same as lines of a table."""
    shown = operation_or_404(operation_id)
    uses = list(shown.resource_use.values("began", "seconds", "points", "facts"))
    figures = {"processor": figures_analytics.processor(uses), "memory": figures_analytics.memory(uses)} if uses else {}
    told = {"figures": figures, "rows": figures_analytics.table(uses), "facts": figures_analytics.facts(uses)}
    return JsonResponse(told | {"is_open": shown.is_open})


@page("training.view_operation")
def checkpoints(request: HttpRequest, operation_id: str) -> HttpResponse:
    shown = operation_or_404(operation_id)
    context = {"operation": shown, "checkpoints": list(shown.checkpoints.all()[:5]), "is_open": shown.is_open}
    return render(request, "site/_checkpoints.html", context)


@page("training.cancel_operation", "POST")
def cancel(request: HttpRequest, operation_id: str) -> HttpResponse:
    """Ask it to stop with a checkpoint; with `force`, end its process now."""
    shown = operation_or_404(operation_id)
    force = request.POST.get("force") == "1"
    must_control(request, shown, "force_operation" if force else "cancel_operation")
    try:
        status = requests.cancel(
            shown, actor_of(request), reason=request.POST.get("reason", "")[:500].replace("\0", ""), force=force
        )
    except (OperationError, NoWorker) as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, CANCELLED.get(status, "It stops now."))
    return redirect("site:operation", operation_id)


@page("training.resume_operation", "POST")
def resume(request: HttpRequest, operation_id: str) -> HttpResponse:
    """Continue from the last checkpoint as the next attempt."""
    shown = operation_or_404(operation_id)
    must_control(request, shown, "resume_operation")
    try:
        attempt = requests.resume(shown, actor_of(request), allow_inexact=request.POST.get("allow_inexact") == "1")
    except (OperationError, NoWorker) as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"It continues as attempt {attempt}.")
    return redirect("site:operation", operation_id)


@page("training.view_operation", *READ_AND_WRITE)
def annotate(request: HttpRequest, operation_id: str) -> HttpResponse:
    """GET: as they are, with `?edit=1` as a form. POST: keep them; one's own, or any as an admin."""
    operation = operation_or_404(operation_id)
    may = may_control(request.user, operation, "annotate_operation")
    shown = {"operation": operation, "may_annotate": may, "editing": may and "edit" in request.GET}
    given = {"tags": operation.tags.strip(), "comment": operation.comment}
    if request.method == "POST":
        must_control(request, operation, "annotate_operation")
        given = {name: request.POST.get(name, "") for name in given}
        try:
            keep(operation, given["tags"], given["comment"], actor_of(request))
        except BadAnnotation as problem:
            shown |= {"editing": True, "problem": f"Not kept: {problem}."}
    if request.method == "POST" and not request.htmx:  # type: ignore[attr-defined]
        if "problem" in shown:
            messages.error(request, str(shown["problem"]))
        return redirect("site:operation", operation.pk)
    # What was pressed is gone: the keyboard goes on where it was.
    return render(request, "site/_marks.html", shown | {"given": given, "refocus": True})
