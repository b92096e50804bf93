"""Compare: choose runs in a table, see them side by side. The address holds the choice, so it can be passed on."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from training.access.roles import is_admin
from training.models import Operation, Status
from training.results import figures
from training.results.metric_table import written
from training.web.comparing import Run, axes_of, comparability, run_of, settings_table, whom_to_trust
from training.web.page import page

PER_PAGE = 25
#: More lines than these cannot be told apart in one picture.
MOST_RUNS = 8
#: How the table can be sorted: word, what is sorted by.
SORTS = {
    "newest": ("newest first", None),
    "accuracy": ("accuracy", "accuracy"),
    "mcc": ("MCC", "mcc"),
    "balanced": ("balanced", "balanced_accuracy"),
    "lead": ("lead over the best baseline", "lead"),
    "ic": ("IC (returns)", "ic"),
    "r2": ("R² (returns)", "r2"),
    "loss": ("validation loss", "val_loss"),
}
UNSEEN = (
    "notes",
    "checks",
    "sources",
    "first_bars",
    "certificate",
    "stage_seconds",
    "strategy_version__text",
    "trained_model__importance",
)
OVERLAYS = (
    ("val_loss", "validation loss"),
    ("train_loss", "training loss"),
    ("val_accuracy", "accuracy, validation"),
    ("val_mcc", "MCC, validation"),
    ("val_mae", "MAE, validation"),
    ("val_ic", "IC, validation"),
)


@page("training.view_operation")
def compare(request: HttpRequest) -> HttpResponse:
    """The chosen runs side by side, then the table to choose from."""
    if request.GET.getlist("run"):
        return redirect(f"{request.path}?{_canonical(request)}")
    asked = list(dict.fromkeys(re.findall(r"[\w-]+", request.GET.get("runs", ""))))
    runs = _chosen(asked[:MOST_RUNS])
    if len(asked) > MOST_RUNS:
        messages.warning(request, f"These are {len(asked)} runs; the first {MOST_RUNS} are shown.")
    missing = [name for name in asked[:MOST_RUNS] if name not in {run.operation.pk for run in runs}]
    context = _table(request, [run.operation.pk for run in runs])
    context |= {"runs": runs, "missing": missing, "ticked": "ticked" in request.GET}
    if len(runs) > 1:
        context |= _side_by_side(runs)
    return render(request, "site/compare.html", context)


def _canonical(request: HttpRequest) -> str:
    """The ticked boxes as one parameter, with the filter kept."""
    kept = {name: request.GET[name] for name in ("q", "tag", "sort", "page") if request.GET.get(name)}
    return urlencode({"runs": ",".join(dict.fromkeys(request.GET.getlist("run"))), **kept}, safe=",")


def _completed() -> QuerySet[Operation]:
    rows = Operation.objects.filter(status=Status.COMPLETED, trained_model__isnull=False)
    return rows.select_related("strategy_version__strategy", "user", "trained_model").defer(*UNSEEN)


def _chosen(asked: list[str]) -> list[Run]:
    """In the order asked for; unknown ones are left out."""
    found = {row.pk: row for row in _completed().filter(pk__in=asked)} if asked else {}
    return [run_of(found[name]) for name in asked if name in found]


def _table(request: HttpRequest, chosen: list[str]) -> dict[str, Any]:
    words, tag = (request.GET.get(name, "").strip()[:200].replace("\0", "") for name in ("q", "tag"))
    sort = request.GET.get("sort", "") if request.GET.get("sort", "") in SORTS else "newest"
    rows = _completed().defer(*UNSEEN, "fingerprints", "trained_model__metrics")
    if words:
        rows = rows.filter(
            Q(pk__icontains=words) | Q(strategy_version__strategy__name__icontains=words) | Q(comment__icontains=words)
        )
    if tag:
        rows = rows.filter(tags__contains=f" {tag} ")
    found = Paginator(_sorted(rows, sort), PER_PAGE).get_page(request.GET.get("page"))
    mine = request.user.has_perm("training.annotate_operation")
    everybodys = mine and is_admin(request.user)
    lines = [_line(row, chosen, everybodys or (mine and row.user_id == request.user.pk)) for row in found]
    listed = {line["operation"].pk for line in lines}
    return {
        "lines": lines, "any_returns": any(line["of_returns"] for line in lines),
        "found": found, "words": words, "tag": tag, "sort": sort,
        "sorts": [(key, word) for key, (word, _) in SORTS.items()],
        "tags": _tags(), "chosen": chosen, "elsewhere": [name for name in chosen if name not in listed],
        "kept": _kept(request), "any": bool(lines) or _completed().exists(), "most": MOST_RUNS,
    }  # fmt: skip


def _sorted(rows: QuerySet[Operation], sort: str) -> QuerySet[Operation]:
    key = SORTS[sort][1]
    if key is None:
        return rows.order_by("-created")
    figure = F(f"trained_model__summary__{key}")
    return rows.order_by(figure.asc(nulls_last=True) if key == "val_loss" else figure.desc(nulls_last=True), "-created")


def _tags() -> list[str]:
    """Every tag that is in use."""
    texts = Operation.objects.exclude(tags="").order_by().values_list("tags", flat=True).distinct()
    return sorted({tag for text in texts for tag in text.split()})


def _kept(request: HttpRequest) -> str:
    kept = request.GET.copy()
    for name in ("page", "ticked"):
        kept.pop(name, None)
    return kept.urlencode(safe=",")


def _line(operation: Operation, chosen: list[str], may_annotate: bool) -> dict[str, Any]:
    summary = operation.trained_model.summary
    return {
        "operation": operation,
        "model": operation.trained_model.name,
        "chosen": operation.pk in chosen,
        "symbols": operation.symbols,
        "timeframes": operation.timeframes,
        "may_annotate": may_annotate,
        **_figures(summary),
    }


def _figures(summary: dict[str, Any]) -> dict[str, Any]:
    of_returns = summary.get("output_format") == "regression"
    return {
        "of_returns": of_returns,
        "rmse": written(summary.get("rmse"), "return"),
        "r2": written(summary.get("r2"), "figure"),
        "ic": written(summary.get("ic"), "figure"),
        "split": summary.get("split", ""),
        "accuracy": written(summary.get("accuracy"), "share"),
        "baseline": summary.get("baseline", ""),
        "baseline_figure": written(summary.get("baseline_rmse"), "return")
        if of_returns
        else written(summary.get("baseline_accuracy"), "share"),
        "balanced": written(summary.get("balanced_accuracy"), "figure"),
        "mcc": written(summary.get("mcc"), "figure"),
        "loss": written(summary.get("val_loss"), "figure"),
        "epochs": summary.get("epochs"),
        "best": summary["best_epoch"] + 1 if summary.get("best_epoch") is not None else None,
        "tone": summary.get("tone", ""),
        "headline": summary.get("headline", ""),
    }


def _side_by_side(runs: list[Run]) -> dict[str, Any]:
    told = comparability(runs)
    settings = settings_table(runs)
    names = [run.name for run in runs]
    styles = [figures.style_of(number) for number in range(len(runs))]
    histories = [(run.name, run.history) for run in runs]
    overlays = [{"id": f"overlay-{key}", "word": word, "figure": figures.overlay(histories, key, word)} for key, word in OVERLAYS]
    return {
        "comparability": told,
        "tone": "warn" if told.tone == "good" and not any(run.summary.get("beats") for run in runs) else told.tone,
        "trust": whom_to_trust(runs, told.tone == "good"),
        "sides": [
            {"run": run, "colour": colour.removeprefix("--"), "dash": dash, **_figures(run.summary)}
            for run, (colour, dash) in zip(runs, styles, strict=True)
        ],
        "side_returns": any(run.summary.get("output_format") == "regression" for run in runs),
        "side_classes": any(run.summary.get("output_format") != "regression" for run in runs),
        "overlays": [overlay for overlay in overlays if overlay["figure"]["data"]],
        "parallel": figures.parallel_coordinates(axes_of(runs), names),
        "names": names,
        "differing": [line for line in settings if line["differs"]],
        "alike": [line for line in settings if not line["differs"]],
        "alike_count": sum(not line["differs"] for line in settings),
    }
