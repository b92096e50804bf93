"""Operations in the admin: list and page, both live while something runs, in the words of the admin; nothing is edited."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from strategies_app.models import Strategy
from training.admin.parts import (
    NOTHING,
    ReadOnlyAdmin,
    address_of,
    ago,
    as_yaml,
    block,
    bullets,
    exact,
    figure,
    link,
    measure,
    size,
    span,
)
from training.admin.verbs import MOST_SELECTED, OperationVerbs, buttons
from training.jobs.logs import log_tail
from training.jobs.status import remaining_seconds, replaced
from training.models import LIVE, AuditEntry, Checkpoint, EpochMetric, Operation, Status
from training.web import checks


class StrategyFilter(admin.SimpleListFilter):
    title = parameter_name = "strategy"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        used = Strategy.objects.filter(versions__operations__isnull=False).distinct().order_by("name")
        return [(name, name) for name in used.values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Operation]) -> QuerySet[Operation]:
        return queryset.filter(strategy_version__strategy__name=self.value()) if self.value() else queryset


class QueueFilter(admin.SimpleListFilter):
    title = parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("gpu", "gpu"), ("cpu", "cpu"), ("inline", "in the starter's process")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Operation]) -> QuerySet[Operation]:
        if not self.value():
            return queryset
        return queryset.filter(queue="" if self.value() == "inline" else self.value())


class OperationList(ReadOnlyAdmin):
    """The columns, filters and search; a page of one operation shows some of the columns too."""

    list_display = (
        "identity", "state", "progress", "strategy", "bars", "tries", "runs_on", "user", "since", "took",
    )  # fmt: skip
    list_display_links = ("identity",)
    list_filter = ("status", StrategyFilter, QueueFilter, ("user", admin.RelatedOnlyFieldListFilter), "created")
    search_fields = ("id", "strategy_version__strategy__name")
    search_help_text = "operation id, strategy or symbol"
    date_hierarchy = "created"
    list_per_page = 50
    change_list_template = "admin/training/operation_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Operation]:
        return super().get_queryset(request).select_related("strategy_version__strategy", "user")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Operation], search_term: str
    ) -> tuple[QuerySet[Operation], bool]:
        """Every word must be found in the id, the strategy's name, or be one of the symbols."""
        for word in search_term.split():
            listed = rf'"symbols": \{{[^}}]*("symbol": |"list": \[[^]]*)"{_literal(word)}"'
            queryset = queryset.filter(
                Q(pk__icontains=word) | Q(strategy_version__strategy__name__icontains=word) | Q(spec__iregex=listed)
            )
        return queryset, False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        live = {"live_address": reverse("admin:training_operation_live")}
        return super().changelist_view(request, {**(extra_context or {}), **live})

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        shown = super().get_changelist_instance(request)
        shown.result_list = shown.result_list.for_lists("error", "failure")
        return shown

    @admin.display(description="State", ordering="status")
    def state(self, operation: Operation) -> SafeString:
        return format_html(
            '<span class="pill {}" data-live="status" data-operation="{}">{}</span>',
            operation.status, operation.pk, operation.status,
        )  # fmt: skip

    @admin.display(description="Progress", ordering="percent")
    def progress(self, operation: Operation) -> SafeString:
        values = live_values(operation)
        return format_html(
            '<span class="progress"><progress max="100" value="{}" data-live="percent" data-operation="{}"'
            ' aria-label="progress"></progress> {} <small>{}</small></span>',
            values["percent"], operation.pk,
            live_span(operation, "share", values["share"]), live_span(operation, "doing", values["doing"]),
        )  # fmt: skip

    @admin.display(description="Strategy", ordering="strategy_version__strategy__name")
    def strategy(self, operation: Operation) -> SafeString:
        version = operation.strategy_version
        return format_html("{}<br>{}", link(version.strategy), link(version, f"version {version.number}"))

    @admin.display(description="Symbols")
    def symbols(self, operation: Operation) -> str:
        return ", ".join(operation.symbols)

    @admin.display(description="Timeframes")
    def timeframes(self, operation: Operation) -> str:
        return ", ".join(operation.timeframes)

    @admin.display(description="Bars")
    def bars(self, operation: Operation) -> SafeString:
        several = operation.symbols
        short = f"{', '.join(several[:3])} and {len(several) - 3} more" if len(several) > 4 else ", ".join(several)
        return format_html('{}<br><span class="quiet">{}</span>', short, ", ".join(operation.timeframes))

    @admin.display(description="Attempt", ordering="attempt")
    def tries(self, operation: Operation) -> SafeString:
        return live_span(operation, "attempt", str(operation.attempt))

    @admin.display(description="Runs on", ordering="queue")
    def runs_on(self, operation: Operation) -> SafeString:
        return live_span(operation, "where", where(operation))

    @admin.display(description="Created", ordering="created")
    def since(self, operation: Operation) -> SafeString | str:
        return ago(operation.created)

    @admin.display(description="Took")
    def took(self, operation: Operation) -> SafeString:
        return live_span(operation, "duration", duration(operation))

    @admin.display(description="Operation", ordering="id")
    def identity(self, operation: Operation) -> SafeString:
        # The end is enough for commands and the search; the whole is on hover and on the page.
        return format_html('<span class="id" title="{}">…{}</span>', operation.pk, operation.pk[-8:])


def _literal(word: str) -> str:
    """The word as a regular expression that both databases read alike."""
    return "".join(letter if letter.isalnum() else f"[{letter}]" if letter not in r"\^[]" else rf"\{letter}" for letter in word)


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
        rows = Operation.objects.for_lists("error", "failure").filter(pk__in=wanted)
        answer: dict[str, Any] = {"operations": {row.pk: live_values(row) for row in rows}}
        if "log" in request.GET and len(rows) == 1:
            answer["log"] = log_tail(rows[0].pk, rows[0].attempt)
        return JsonResponse(answer, headers={"Cache-Control": "no-store"})


def live_values(operation: Operation) -> dict[str, Any]:
    """What of an operation changes while it runs, in the words of the page. `mark` changes when more than these did."""
    epoch = f"epoch {operation.epoch + 1}" if operation.epoch is not None else ""
    doing = operation.stage if operation.status in LIVE else ""
    return {
        "status": operation.status,
        "percent": round(operation.percent, 1),
        "share": f"{operation.percent:.0f}%",
        "doing": ", ".join(filter(None, (doing, epoch))),
        "duration": duration(operation),
        "left": f"about {span(left)} left" if (left := remaining_seconds(operation)) is not None else "",
        "where": where(operation),
        "attempt": operation.attempt,
        "live": operation.is_unsettled,
        "mark": f"{operation.attempt} {operation.status} {operation.epoch}",
    }


def duration(operation: Operation) -> str:
    """Of the present attempt."""
    if operation.started is None or operation.status == Status.PENDING:
        return NOTHING
    end = operation.finished or timezone.now()
    return span(max((end - operation.started).total_seconds(), 0.0))


def where(operation: Operation) -> str:
    """Queue and device; an attempt in the starter's own process has no queue."""
    return " · ".join(filter(None, (operation.queue or "own process", operation.device)))


def live_span(operation: Operation, field: str, value: str) -> SafeString:
    return format_html('<span data-live="{}" data-operation="{}">{}</span>', field, operation.pk, value)


def failure_lines(operation: Operation) -> list[str]:
    return [f"{word.capitalize()}: {text}" for word, text in operation.failure_lines.items()]


#: What validation measured of classes and of returns, per epoch: key, word, how it is written.
_OF_CLASSES = (
    ("val_accuracy", "Accuracy", "share"), ("val_balanced_accuracy", "Balanced", "figure"), ("val_mcc", "MCC", "figure"),
)  # fmt: skip
_OF_RETURNS = (("val_mae", "MAE", "return"), ("val_r2", "R²", "figure"), ("val_ic", "IC", "figure"))


def epoch_columns(metrics: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    return _OF_RETURNS if "val_mae" in metrics else _OF_CLASSES


def metric_line(row: EpochMetric, replaced: Container[int]) -> dict[str, Any]:
    of = row.metrics
    return {
        "replaced": row.pk in replaced,
        "epoch": row.epoch + 1, "attempt": row.attempt, "train_loss": figure(row.train_loss), "val_loss": figure(row.val_loss),
        "measures": [measure(of.get(key), how) for key, _, how in epoch_columns(of)],
        "rate": f"{of['learning_rate']:.3g}" if isinstance(of.get("learning_rate"), float) else NOTHING,
    }  # fmt: skip


def checkpoint_line(row: Checkpoint) -> dict[str, Any]:
    return {"row": row, "page": address_of(row), "epoch": row.epoch + 1, "size": size(row.size), "age": ago(row.created)}
