"""Strategies in the admin: a list, a validated text whose every save is a new version, and versions to look at."""

from __future__ import annotations

import copy
import datetime as dt
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from strategies_app.forms import StrategyTextForm
from strategies_app.models import Strategy, StrategyInUse, StrategyVersion
from strategies_app.signals import strategy_deleted, strategy_saved
from strategies_app.stored import difference_lines

VERSIONS_SHOWN = 100


def _page(row: Strategy | StrategyVersion) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[quote(row.pk)])


def _minute(time: dt.datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


@admin.register(Strategy)
class StrategyAdmin(admin.ModelAdmin):
    form = StrategyTextForm
    list_display = ("name", "newest_number", "operations", "last_used", "stored")
    search_fields = ("name",)
    search_help_text = "part of a strategy's name"
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    change_form_template = "admin/strategies_app/strategy_page.html"

    class Media:
        js = ("strategies_app/strategy_editor.js",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Strategy]:
        return (
            super()
            .get_queryset(request)
            .annotate(
                newest_version=Max("versions__number"),
                operation_count=Count("versions__operations", distinct=True),
                used=Max("versions__operations__created"),
            )
        )

    @admin.display(description="Newest version", ordering="newest_version")
    def newest_number(self, strategy: Strategy) -> int | None:
        return strategy.newest_version

    @admin.display(description="Operations", ordering="operation_count")
    def operations(self, strategy: Strategy) -> SafeString | int:
        if not strategy.operation_count:
            return 0
        address = reverse("admin:training_operation_changelist")
        return format_html('<a href="{}?strategy={}">{}</a>', address, strategy.name, strategy.operation_count)

    @admin.display(description="Last used", ordering="used")
    def last_used(self, strategy: Strategy) -> str:
        return _minute(strategy.used) if strategy.used else "never"

    @admin.display(description="Stored", ordering="created")
    def stored(self, strategy: Strategy) -> str:
        return _minute(strategy.created)

    @admin.display(description="Versions")
    def versions(self, strategy: Strategy) -> SafeString:
        shown = strategy.versions.defer("text").annotate(operation_count=Count("operations")).order_by("-number")
        rows = format_html_join(
            "",
            '<tr><td><a href="{}">version {}</a></td><td>{}</td><td class="number">{}</td><td>{}</td></tr>',
            ((_page(v), v.number, _minute(v.created), v.operation_count, v.source_path) for v in shown[:VERSIONS_SHOWN]),
        )
        return format_html(
            '<table><thead><tr><th>Version</th><th>Stored</th><th class="number">Operations</th><th>Came from</th></tr></thead>'
            "<tbody>{}</tbody></table>",
            rows,
        )

    @admin.display(description="Newest text")
    def newest_text(self, strategy: Strategy) -> SafeString | str:
        newest = strategy.newest()
        return format_html('<pre class="text" tabindex="0">{}</pre>', newest.text) if newest else "no version is stored"

    def get_fieldsets(self, request: HttpRequest, obj: Strategy | None = None) -> list[tuple[str | None, dict[str, Any]]]:
        if obj is None:
            return [(None, {"fields": ["text"]})]
        text = "text" if self.has_change_permission(request, obj) else "newest_text"
        return [(None, {"fields": [text]}), ("Versions", {"fields": ["versions"]})]

    def get_readonly_fields(self, request: HttpRequest, obj: Strategy | None = None) -> tuple[str, ...]:
        return ("versions", "newest_text") if obj else ()

    # --- saving: a new version, or nothing ---

    def save_model(self, request: HttpRequest, obj: Strategy, form: StrategyTextForm, change: bool) -> None:
        version = Strategy.objects.import_text(form.cleaned_data["text"])
        obj.pk, obj.created = version.strategy_id, version.strategy.created
        obj.stored_version = version
        obj.is_new_version = form.newest is None or version.number != form.newest.number
        if obj.is_new_version:
            details = {"version": version.number}
            strategy_saved.send(sender=Strategy, user=request.user, name=version.strategy.name, details=details)

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> str:
        version = form.instance.stored_version
        return f"stored version {version.number}" if form.instance.is_new_version else "saved the same text, no new version"

    def response_add(self, request: HttpRequest, obj: Strategy, post_url_continue: str | None = None) -> HttpResponse:
        return self._stored(request, obj)

    def response_change(self, request: HttpRequest, obj: Strategy) -> HttpResponse:
        return self._stored(request, obj)

    def _stored(self, request: HttpRequest, strategy: Strategy) -> HttpResponse:
        version = strategy.stored_version
        if strategy.is_new_version:
            messages.success(request, f"{version.strategy.name}: stored as version {version.number}.")
        else:
            messages.info(request, f"{version.strategy.name}: the text is that of version {version.number}, nothing was stored.")
        return HttpResponseRedirect(_page(strategy))

    # --- deleting: only what nothing refers to ---

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        strategy = self.get_object(request, unquote(object_id))
        if not self.has_delete_permission(request, strategy):
            raise PermissionDenied
        if strategy is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if request.method == "POST":
            return self._delete(request, strategy)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Delete strategy {strategy.name}?",
            "strategy": strategy,
            "versions": strategy.versions.count(),
            "used_by": strategy.operation_count,
            "operations_address": f"{reverse('admin:training_operation_changelist')}?strategy={strategy.name}",
            "back": _page(strategy),
        }
        return TemplateResponse(request, "admin/strategies_app/delete_strategy.html", context)

    def _delete(self, request: HttpRequest, strategy: Strategy) -> HttpResponse:
        name, gone = strategy.name, copy.copy(strategy)  # a deleted row forgets its key
        try:
            strategy.delete_unused()
        except StrategyInUse as refusal:
            messages.error(request, f"{name} was left as it is: {refusal}.")
            return HttpResponseRedirect(_page(strategy))
        self.log_deletions(request, [gone])
        strategy_deleted.send(sender=Strategy, user=request.user, name=name, details={})
        messages.success(request, f"{name} is deleted with its versions.")
        return HttpResponseRedirect(reverse("admin:strategies_app_strategy_changelist"))


@admin.register(StrategyVersion)
class StrategyVersionAdmin(admin.ModelAdmin):
    """A version is looked at; it never changes and is only deleted with its strategy."""

    list_display = ("version", "stored", "operations", "source_path")
    search_fields = ("strategy__name",)
    search_help_text = "part of a strategy's name"
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    fields: ClassVar = ("strategy_link", "number", "stored", "source_path", "sha256", "operations", "difference", "whole_text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[StrategyVersion]:
        return super().get_queryset(request).select_related("strategy").annotate(operation_count=Count("operations"))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        shown = super().get_changelist_instance(request)
        shown.result_list = shown.result_list.defer("text")
        return shown

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Stored", ordering="created")
    def stored(self, version: StrategyVersion) -> str:
        return _minute(version.created)

    @admin.display(description="Version", ordering="strategy__name")
    def version(self, version: StrategyVersion) -> str:
        return str(version)

    @admin.display(description="Strategy")
    def strategy_link(self, version: StrategyVersion) -> SafeString:
        return format_html('<a href="{}">{}</a>', _page(version.strategy), version.strategy.name)

    @admin.display(description="Operations", ordering="operation_count")
    def operations(self, version: StrategyVersion) -> int:
        return version.operation_count

    @admin.display(description="Text")
    def whole_text(self, version: StrategyVersion) -> SafeString:
        return format_html('<pre class="text" tabindex="0">{}</pre>', version.text)

    @admin.display(description="Against the version before")
    def difference(self, version: StrategyVersion) -> SafeString | str:
        before = version.strategy.versions.filter(number__lt=version.number).order_by("-number").first()
        if before is None:
            return "this is the first version"
        return difference(before, version)


def difference(before: StrategyVersion, after: StrategyVersion) -> SafeString:
    """The lines that differ, three around each, marked by sign and colour."""
    names = f"version {before.number}", f"version {after.number}"
    lines = difference_lines(before.text, after.text, names)
    marked = format_html_join("", '<span class="{}">{}</span>', ((line.kind, line.text) for line in lines))
    return format_html('<pre class="difference" tabindex="0">{}</pre>', marked) if lines else format_html("only line ends differ")
