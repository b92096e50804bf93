"""What trainings use and leave, in the admin: trained models, checkpoints, bar series; to look at, to hand out, to delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from training.access.audit import Actor, audit
from training.admin.parts import (
    NOTHING,
    ReadOnlyAdmin,
    address_of,
    ago,
    as_yaml,
    block,
    bullets,
    confirmation,
    exact,
    figure,
    link,
    list_address,
    measure,
    share,
    size,
)
from training.core.files import FolderError
from training.core.findings import counted
from training.core.values import Refusal
from training.jobs import deletions
from training.jobs.downloads import bundle_zip, provenance
from training.models import BarSeries, Checkpoint, TrainedModel, unseen_through
from training.results.metric_table import columns_of, heads_of
from training.results.verdict import baseline_name, is_of_returns


def ask_then_delete(
    model_admin: admin.ModelAdmin, request: HttpRequest, row: Model, keeps: str, delete: Callable[[Actor], None]
) -> HttpResponse:
    """The page that asks, then the deed with its traces."""
    if request.method != "POST":
        return confirmation(model_admin, request, "Delete", [(row, keeps)], address_of(row))
    try:
        delete(Actor(request.user, "admin"))
    except Refusal as refusal:
        messages.error(request, f"{row} was left as it is: {refusal}.")
        return HttpResponseRedirect(address_of(row))
    LogEntry.objects.log_actions(request.user.pk, [row], DELETION, single_object=True)
    messages.success(request, f"{row} is deleted with its files.")
    return HttpResponseRedirect(list_address(row))


def _wanted(model_admin: admin.ModelAdmin, request: HttpRequest, object_id: str) -> Any:
    """The row of a delete page, if this user may delete it."""
    row = model_admin.get_object(request, unquote(object_id))
    if not model_admin.has_delete_permission(request, row):
        raise PermissionDenied
    if row is None:
        raise Http404(f"there is no {model_admin.opts.verbose_name} {object_id}")
    return row


@admin.register(TrainedModel)
class TrainedModelAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "version",
        "judged_on",
        "accuracy",
        "majority",
        "balanced",
        "mcc",
        "correlation",
        "made_by",
        "since",
        "operation_link",
    )
    list_select_related = ("operation__strategy_version__strategy", "operation__user")
    search_fields = ("name", "operation__id", "operation__strategy_version__strategy__name")
    search_help_text = "model, strategy or operation id"
    date_hierarchy = "created"
    list_per_page = 50
    change_form_template = "admin/training/model_page.html"
    fieldsets: ClassVar = (
        ("Measures", {"fields": ("measures",)}),
        ("Provenance", {"fields": ("version", "operation_link", "made_by", "made", "sha256", "origin")}),
    )

    has_delete_permission = admin.ModelAdmin.has_delete_permission

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrainedModel]:
        return super().get_queryset(request).select_related(*self.list_select_related).defer(*_UNSEEN)

    @admin.display(description="Strategy", ordering="operation__strategy_version__strategy__name")
    def version(self, model: TrainedModel) -> SafeString | str:
        return link(model.operation.strategy_version)

    @admin.display(description="Judged on")
    def judged_on(self, model: TrainedModel) -> str:
        return _judged(model)[0] or NOTHING

    @admin.display(description="Accuracy")
    def accuracy(self, model: TrainedModel) -> str:
        return share(_judged(model)[1].get("accuracy"))

    @admin.display(description="Best baseline")
    def majority(self, model: TrainedModel) -> str:
        seen = _judged(model)[1]
        baseline = seen.get("baseline", {})
        if is_of_returns(seen):
            return f"RMSE {measure(baseline.get('rmse'), 'return')} {baseline_name(baseline)}"
        return f"{share(baseline.get('accuracy'))} {baseline.get('class', '')}"

    @admin.display(description="IC (returns)")
    def correlation(self, model: TrainedModel) -> str:
        return figure(_judged(model)[1].get("ic"), 3)

    @admin.display(description="Balanced")
    def balanced(self, model: TrainedModel) -> str:
        return figure(_judged(model)[1].get("balanced_accuracy"), 3)

    @admin.display(description="MCC")
    def mcc(self, model: TrainedModel) -> str:
        return figure(_judged(model)[1].get("mcc"), 3)

    @admin.display(description="Trained by", ordering="operation__user")
    def made_by(self, model: TrainedModel) -> str:
        return str(model.operation.user or NOTHING)

    @admin.display(description="Trained", ordering="created")
    def since(self, model: TrainedModel) -> SafeString | str:
        return ago(model.created)

    @admin.display(description="Trained")
    def made(self, model: TrainedModel) -> str:
        return exact(model.created)

    @admin.display(description="Operation")
    def operation_link(self, model: TrainedModel) -> SafeString | str:
        return link(model.operation)

    @admin.display(description="Validation and test")
    def measures(self, model: TrainedModel) -> SafeString | str:
        lines = []
        for split in ("validation", "test"):
            seen = model.metrics.get(split) or {}
            baseline = seen.get("baseline", {})
            if seen:
                lines += [
                    (split, "this model", *_figures(seen, seen)),
                    (split, baseline_name(baseline), *_figures(baseline, seen)),
                ]
        if not lines:
            return NOTHING
        cell = '<td class="number">{}</td>'
        words = [column["word"] for column in heads_of(_judged(model)[1])]
        rows = format_html_join("", f"<tr><td>{{}}</td><td>{{}}</td>{cell * (len(words) + 1)}</tr>", lines)
        head = "".join(f'<th class="number">{name}</th>' for name in (*words, "Loss"))
        return format_html(f"<table><thead><tr><th>Rows of</th><th></th>{head}</tr></thead><tbody>{{}}</tbody></table>", rows)

    @admin.display(description="Bundle")
    def origin(self, model: TrainedModel) -> SafeString | str:
        try:
            return as_yaml(provenance(model))
        except FolderError as problem:
            return str(problem)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is not None and self.has_view_permission(request, row):
            addresses = {"download": address_of(row, "download"), "delete": address_of(row, "delete")}
            extra_context = {
                **(extra_context or {}),
                "title": row.name,
                "subtitle": None,
                "verdict": verdict_of(row),
                **addresses,
            }
        return super().change_view(request, object_id, form_url, extra_context)

    def get_urls(self) -> list[URLPattern]:
        download = self.admin_site.admin_view(self.download)
        return [path("<path:object_id>/download/", download, name="training_trainedmodel_download"), *super().get_urls()]

    def download(self, request: HttpRequest, object_id: str) -> HttpResponse | FileResponse:
        """The bundle as a zip file; refused if a byte of it is not what was recorded."""
        row = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if row is None:
            raise Http404(f"there is no model {object_id}")
        try:
            file = bundle_zip(row)
        except FolderError as problem:
            messages.error(request, f"{row.name} is not handed out: {problem}.")
            return HttpResponseRedirect(address_of(row))
        audit(Actor(request.user, "admin"), "export", row.name, sha256=row.sha256)
        return FileResponse(file, as_attachment=True, filename=f"{row.name}.zip", content_type="application/zip")

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        row = _wanted(self, request, object_id)
        keeps = f"Its bundle is removed and it cannot predict any more; the operation {row.operation_id} stays."
        return ask_then_delete(self, request, row, keeps, lambda actor: deletions.delete_model(row.pk, actor))


#: Texts of related rows that no list needs.
_UNSEEN = unseen_through("operation", "spec", "error", "failure")


def _judged(model: TrainedModel) -> tuple[str, dict[str, Any]]:
    """The split that the model is judged on, and its measures: the test, or validation while that is all there is."""
    for split in ("test", "validation"):
        if model.metrics.get(split):
            return split, model.metrics[split]
    return "", {}


def _figures(measured: dict[str, Any], side: dict[str, Any]) -> tuple[str, ...]:
    """The columns that fit `side`, and the loss."""
    return (*(measure(measured.get(key), how) for key, _, how in columns_of(side)), figure(measured.get("loss")))


def verdict_of(model: TrainedModel) -> str:
    """The verdict in words, as the command line says it; empty while nothing was measured."""
    from training.results.report import verdict

    return verdict(model.metrics) if _judged(model)[1].get("baseline") else ""


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ("operation_link", "state", "after", "kind", "attempt", "weight", "since")
    list_display_links = ("after",)
    list_filter = ("kind", "operation__status")
    list_select_related = ("operation",)
    search_fields = ("operation__id", "folder")
    search_help_text = "operation id"
    list_per_page = 50
    fields: ClassVar = ("operation_link", "state", "after", "kind", "attempt", "weight", "since", "folder", "sha256")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Checkpoint]:
        unseen = unseen_through("operation", "spec", "error", "failure")
        return (
            super().get_queryset(request).select_related("operation").defer(*(u for u in unseen if "__strategy_version" not in u))
        )

    def has_delete_permission(self, request: HttpRequest, obj: Checkpoint | None = None) -> bool:
        live = obj is not None and obj.operation.status not in deletions.FINAL
        return not live and request.user.has_perm("training.delete_checkpoint")

    @admin.display(description="Operation", ordering="operation")
    def operation_link(self, row: Checkpoint) -> SafeString | str:
        return link(row.operation)

    @admin.display(description="State", ordering="operation__status")
    def state(self, row: Checkpoint) -> SafeString:
        return format_html('<span class="pill {}">{}</span>', row.operation.status, row.operation.status)

    @admin.display(description="After epoch", ordering="epoch")
    def after(self, row: Checkpoint) -> int:
        return row.epoch + 1

    @admin.display(description="Size", ordering="size")
    def weight(self, row: Checkpoint) -> str:
        return size(row.size)

    @admin.display(description="Saved", ordering="created")
    def since(self, row: Checkpoint) -> SafeString | str:
        return ago(row.created)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        row = _wanted(self, request, object_id)
        before = row.operation.checkpoints.exclude(pk=row.pk).first()
        stays = (
            f"the checkpoint of epoch {before.epoch + 1} stays"
            if before
            else "without it a resumed run starts at the first epoch"
        )
        return ask_then_delete(
            self, request, row, f"Its files are removed; {stays}.", lambda actor: deletions.delete_checkpoint(row.pk, actor)
        )


@admin.register(BarSeries)
class BarSeriesAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "begins", "ends", "rows", "gaps", "warned", "source", "loaded")
    list_filter = ("timeframe",)
    search_fields = ("symbol",)
    search_help_text = "symbol"
    list_per_page = 100
    fields: ClassVar = (
        "symbol",
        "timeframe",
        "begins",
        "ends",
        "rows",
        "gaps",
        "warnings",
        "source",
        "loaded",
        "sha256",
        "details",
    )

    has_delete_permission = admin.ModelAdmin.has_delete_permission

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        row = _wanted(self, request, object_id)
        keeps = "Its bars are removed for good; strategies, results and trained models stay."
        return ask_then_delete(
            self, request, row, keeps, lambda actor: deletions.delete_series(row.symbol, row.timeframe, actor) and None
        )

    @admin.display(description="First bar", ordering="first")
    def begins(self, series: BarSeries) -> str:
        return f"{series.first:%Y-%m-%d %H:%M}"

    @admin.display(description="Last bar", ordering="last")
    def ends(self, series: BarSeries) -> str:
        return f"{series.last:%Y-%m-%d %H:%M}"

    @admin.display(description="Gaps")
    def gaps(self, series: BarSeries) -> str:
        gaps = series.quality.get("gaps") or {}
        return f"{gaps['count']:,} ({counted(gaps['bars'], 'bar')})" if gaps.get("count") else "none"

    @admin.display(description="Warnings")
    def warned(self, series: BarSeries) -> int:
        return len(series.quality.get("warnings") or ())

    @admin.display(description="Warnings")
    def warnings(self, series: BarSeries) -> SafeString | str:
        return bullets(series.quality.get("warnings") or ["none"])

    @admin.display(description="Loaded", ordering="updated")
    def loaded(self, series: BarSeries) -> SafeString | str:
        return ago(series.updated)

    @admin.display(description="Quality")
    def details(self, series: BarSeries) -> SafeString | str:
        return as_yaml({k: v for k, v in series.quality.items() if k != "warnings"}) if series.quality else block("")
