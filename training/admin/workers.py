"""Workers in the admin: who listens on which queue and what they do now; and RQ's own dashboard, for superusers only."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django_rq.admin import QueueAdmin
from django_rq.models import Dashboard
from django_rq.stats_views import stats_json
from django_rq.urls import get_admin_urlpatterns
from rq.exceptions import InvalidJobOperation, NoSuchJobError

from training.admin.parts import NOTHING, address_of, ago, size
from training.api.prometheus import metrics
from training.jobs.queues import NoWorker, WorkerState, live_workers, ping, told
from training.models import Operation


def workers_page(request: HttpRequest) -> dict[str, Any]:
    """What the page shows: workers, or the sentence on why there are none to show."""
    if not request.user.has_perm("training.view_operation"):
        raise PermissionDenied
    try:
        ping()
        with told():
            return {"workers": [_line(worker) for worker in live_workers()], "problem": ""}
    except NoWorker as problem:
        return {"workers": [], "problem": str(problem)}


def _line(worker: WorkerState) -> dict[str, Any]:
    of = worker.environment
    return {
        "name": worker.name,
        "queue": worker.queue,
        "state": worker.state,
        "operation": _operation(worker.job),
        "host": of.get("host", NOTHING),
        "device": of.get("device_name") or of.get("device") or NOTHING,
        "memory": size(int(of["memory"])) if of.get("memory", "").isdigit() else of.get("memory", NOTHING),
        "versions": ", ".join(f"{name} {of[name]}" for name in ("torch", "numpy", "python") if of.get(name)),
        "heard": ago(worker.heartbeat),
    }


def _operation(job: str | None) -> str:
    """A job is named `<operation>-<attempt>`; jobs of the quick queue belong to no operation."""
    operation, _, attempt = (job or "").rpartition("-")
    if not operation.startswith("op_"):
        return "a short job" if job else NOTHING
    return format_html('<a class="id" href="{}">{}</a> attempt {}', address_of(Operation(pk=operation)), operation, attempt)


#: What RQ and its pages raise for a job, a result, a worker or a queue that is not there, or for what is no id at all.
UNKNOWN = (NoSuchJobError, InvalidJobOperation, NoReverseMatch, LookupError, ValueError)


def for_superusers(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """RQ's pages ask only for staff, and their Stop button kills without a checkpoint."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_superuser:
            raise PermissionDenied
        request.current_app = admin.site.name
        try:
            answer = view(request, *args, **kwargs)
        except UNKNOWN as error:
            raise Http404(f"the queues have nothing of that name: {error}") from None
        # RQ's pages go back to wherever the browser says that it came from.
        leads_away = answer.has_header("Location") and not url_has_allowed_host_and_scheme(
            answer["Location"], {request.get_host()}
        )
        return HttpResponseRedirect(reverse("admin:django_rq_dashboard_changelist")) if leads_away else answer

    return guarded


admin.site.unregister(Dashboard)


@admin.register(Dashboard)
class DashboardAdmin(QueueAdmin):
    def get_urls(self) -> list[URLPattern]:
        """RQ's pages behind our guard; its figures as JSON too, which it would give to a token without a session."""

        def wrap(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
            return self.admin_site.admin_view(for_superusers(view))

        # It has no table, so of a model's pages it has only the first.
        first = path("", wrap(self.changelist_view), name="django_rq_dashboard_changelist")
        figures = path("stats.json", wrap(stats_json), name="django_rq_home_json")
        scraped = path("metrics", wrap(metrics), name="django_rq_metrics")  # ours in the place of the library's
        return [first, figures, scraped, *get_admin_urlpatterns(name_prefix="django_rq_", view_wrapper=wrap)]

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
