"""The list of operations in the admin: what a line shows, what it is found by, and what of it is live."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from strategies_app.models import Strategy
from training.admin.parts import ReadOnlyAdmin, ago, link
from training.admin.values import duration, live_span, live_values, where
from training.models import Operation


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
