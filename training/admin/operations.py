"""Operations in the admin: list and page, both live while something runs; verbs with a confirmation; nothing is edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from training.admin.operations_list import OperationList
from training.admin.operations_verbs import MOST_SELECTED, OperationVerbs
from training.admin.parts import NOTHING, address_of, ago, as_yaml, block, bullets, exact, link
from training.admin.values import checkpoint_line, epoch_columns, failure_lines, live_values, metric_line
from training.admin.verbs import buttons
from training.jobs.logs import log_tail
from training.jobs.status import replaced
from training.models import AuditEntry, Operation
from training.web import checks

METRICS_PER_PAGE = 200


@admin.register(Operation)
class OperationAdmin(OperationList, OperationVerbs):
    change_form_template = "admin/training/operation_page.html"
    fieldsets = (
        ("Run", {"fields": ("strategy", "symbols", "timeframes", "user", "created_at", "started_at", "finished_at", "heard_of",
                            "tries", "runs_on", "owner", "task_id", "reason", "trained", "analytics")}),
        ("Effective strategy", {"classes": ("collapse",), "fields": ("settings_yaml",)}),
        ("Bars", {"classes": ("collapse",), "description": "sha256 of exactly the bars that were used",
                  "fields": ("bars_used",)}),
    )  # fmt: skip

    class Media:
        js = ("training/admin_live.js",)

    @admin.display(description="Created")
    def created_at(self, operation: Operation) -> str:
        return exact(operation.created)

    @admin.display(description="Started")
    def started_at(self, operation: Operation) -> str:
        return exact(operation.started)

    @admin.display(description="Finished")
    def finished_at(self, operation: Operation) -> str:
        return exact(operation.finished)

    @admin.display(description="Last heard of")
    def heard_of(self, operation: Operation) -> SafeString | str:
        return ago(operation.heartbeat)

    @admin.display(description="Process")
    def owner(self, operation: Operation) -> str:
        process = operation.process.partition("@")[0]
        return f"{process} on {operation.host}" if process else NOTHING

    @admin.display(description="Model")
    def trained(self, operation: Operation) -> SafeString | str:
        return link(getattr(operation, "trained_model", None))

    @admin.display(description="Detailed analytics")
    def analytics(self, operation: Operation) -> SafeString | str:
        if not operation.detailed_analytics:
            return "not kept"
        return format_html(
            '<a href="{}#analytics">kept, on the page of the run</a>', reverse("site:operation", args=[operation.pk])
        )

    @admin.display(description="Settings")
    def settings_yaml(self, operation: Operation) -> SafeString | str:
        return as_yaml(operation.spec_data)

    @admin.display(description="Fingerprints")
    def bars_used(self, operation: Operation) -> SafeString | str:
        return as_yaml(operation.fingerprints)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        operation = self.get_object(request, unquote(object_id))
        if operation is not None and self.has_view_permission(request, operation):
            extra_context = {**(extra_context or {}), **self._page(request, operation)}
        return super().change_view(request, object_id, form_url, extra_context)

    def _page(self, request: HttpRequest, operation: Operation) -> dict[str, Any]:
        metrics = Paginator(operation.epoch_metrics.order_by("-epoch", "-attempt"), METRICS_PER_PAGE)
        page, gone = metrics.get_page(request.GET.get("metrics_page")), replaced(operation)
        return {
            "operation": operation,
            "title": f"{operation.name}, {operation.status}",
            "subtitle": None,
            "values": live_values(operation),
            "verbs": [(verb, address_of(operation, verb.name)) for verb in buttons(request.user, operation)],
            "notes": bullets(operation.notes) if operation.notes else "",
            "findings": checks.findings_of(operation),
            "error": block("\n".join([operation.error, *failure_lines(operation)]), "text told") if operation.error else "",
            "metrics": page,
            "metrics_columns": [word for _, word, _ in epoch_columns(page[0].metrics if len(page) else {})],
            "metrics_lines": [metric_line(row, gone) for row in page],
            "checkpoints": [checkpoint_line(row) for row in operation.checkpoints.all()],
            "log": log_tail(operation.pk, operation.attempt),
            "audit": AuditEntry.objects.filter(target=operation.pk)[:50],
            "live_address": reverse("admin:training_operation_live"),
        }

    # --- what changes by itself ---

    def get_urls(self) -> list[URLPattern]:
        return [path("live/", self.admin_site.admin_view(self.live), name="training_operation_live"), *super().get_urls()]

    def live(self, request: HttpRequest) -> JsonResponse:
        """The present values of the operations that a page shows; with `log`, the end of its log as well."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        wanted = request.GET.get("ids", "").split(",")[:MOST_SELECTED]
        rows = Operation.objects.for_lists("spec", "error", "failure").filter(pk__in=wanted)
        answer: dict[str, Any] = {"operations": {row.pk: live_values(row) for row in rows}}
        if "log" in request.GET and len(rows) == 1:
            answer["log"] = log_tail(rows[0].pk, rows[0].attempt)
        return JsonResponse(answer, headers={"Cache-Control": "no-store"})
