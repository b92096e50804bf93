"""Strategies to look at: the list, and a strategy with its versions, their differences and its operations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.db.models import Count, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from strategies_app.grammar.reader import StrategyError, read_strategy, warnings_of
from strategies_app.grammar.schema import StrategySpec
from strategies_app.models import Strategy, StrategyVersion
from strategies_app.starters import samples
from strategies_app.stored import difference_lines, glance
from training.models import BarSeries, Operation, TrainedModel
from training.web.page import page

PER_PAGE, SYMBOLS_SHOWN = 50, 4
VERSIONS_SHOWN, OPERATIONS_SHOWN = 200, 20
_FIGURES = [
    f"metrics__{split}__{figure}"
    for split in ("test", "validation")
    for figure in ("accuracy", "baseline__accuracy", "baseline__class", "rmse", "baseline__rmse", "baseline__name")
]


@page("strategies_app.view_strategy")
def strategies(request: HttpRequest) -> HttpResponse:
    """Those used last first; the filter looks at names and at the newest texts, so that a symbol finds its strategies."""
    words = request.GET.get("q", "").strip()[:100].replace("\0", "")
    found = Paginator(_ordered(words), PER_PAGE).get_page(request.GET.get("page"))
    found.object_list = shown = _with_latest(list(found.object_list))
    results = results_of([row.last_model for row in shown])
    last = Operation.objects.in_bulk([row.last_operation for row in shown if row.last_operation])
    for row in shown:
        row.symbols = glance(row.text).symbols
        row.more_symbols = max(0, len(row.symbols) - SYMBOLS_SHOWN)
        row.symbols = row.symbols[:SYMBOLS_SHOWN]
        row.result, row.operation = results.get(row.last_model), last.get(row.last_operation)
    context = {
        "found": found,
        "words": words,
        "kept": urlencode({"q": words}) if words else "",
        "any": bool(words) or found.paginator.count,
        "samples": _samples(),
    }
    template = "strategies/_list.html" if request.headers.get("HX-Target") == "strategies" else "strategies/list.html"
    return render(request, template, context)


def _newest_version() -> QuerySet[StrategyVersion]:
    return StrategyVersion.objects.filter(strategy=OuterRef("pk")).order_by("-number")


def _ordered(words: str) -> QuerySet[Strategy, int]:
    """Keys in the order of the list; all else is looked up for those that are shown."""
    rows = Strategy.objects.filter(versions__isnull=False)
    if words:
        rows = rows.annotate(text=Subquery(_newest_version().values("text")[:1]))
        rows = rows.filter(Q(name__icontains=words) | Q(text__icontains=words))
    used = Coalesce(Max("versions__operations__created"), Max("versions__created"))
    return rows.annotate(used=used).order_by("-used", "name").values_list("pk", flat=True)


def _with_latest(keys: list[int]) -> list[Strategy]:
    """The strategies of these keys with their newest version, last operation and last model."""
    newest = _newest_version()
    operations = Operation.objects.filter(strategy_version__strategy=OuterRef("pk")).order_by("-created")
    models = TrainedModel.objects.filter(operation__strategy_version__strategy=OuterRef("pk")).order_by("-operation__created")
    rows = Strategy.objects.annotate(
        number=Subquery(newest.values("number")[:1]),
        changed=Subquery(newest.values("created")[:1]),
        text=Subquery(newest.values("text")[:1]),
        runs=Count("versions__operations", distinct=True),
        last_operation=Subquery(operations.values("pk")[:1]),
        last_model=Subquery(models.values("pk")[:1]),
    ).in_bulk(keys)
    return [rows[key] for key in keys if key in rows]


def _samples() -> list[dict[str, Any]]:
    """The samples, and whether they can be trained on what is stored."""
    stored = set(BarSeries.objects.values_list("symbol", flat=True))
    return [{"sample": sample, "missing": [s for s in sample.glance.symbols if s not in stored]} for sample in samples().values()]


def results_of(models: Iterable[int | None]) -> dict[int, dict[str, Any]]:
    """Per trained model the figure that is told in a list: labels called right beside always the same class, or by how much
    returns are missed beside the best baseline."""
    rows = TrainedModel.objects.filter(pk__in=[pk for pk in models if pk]).values("pk", "name", "operation_id", *_FIGURES)
    return {row["pk"]: _result(row) for row in rows}


def _result(row: dict[str, Any]) -> dict[str, Any]:
    tested = {row["metrics__test__accuracy"], row["metrics__test__rmse"]} != {None}
    split = "test" if tested else "validation"
    ours, theirs = row[f"metrics__{split}__accuracy"], row[f"metrics__{split}__baseline__accuracy"]
    return {
        "model": row["name"],
        "operation": row["operation_id"],
        "split": split,
        "ours": None if ours is None else f"{ours:.1%}",
        "theirs": None if theirs is None else f"{theirs:.1%}",
        "always": row[f"metrics__{split}__baseline__class"],
        "missed": row[f"metrics__{split}__rmse"],
        "baseline_missed": row[f"metrics__{split}__baseline__rmse"],
        "baseline": row[f"metrics__{split}__baseline__name"],
    }


@page("strategies_app.view_strategy")
def strategy(request: HttpRequest, name: str) -> HttpResponse:
    """One strategy. `version` is the one shown; `before` and `after` are those compared."""
    row = get_object_or_404(Strategy, name=name)
    listed = list(row.versions.defer("text").annotate(runs=Count("operations")).order_by("-number")[:VERSIONS_SHOWN])
    if not listed:
        raise Http404(f"The strategy {name} has no version.")
    shown = _version(row, request.GET.get("version"), listed[0].number)
    context = {
        "strategy": row,
        "versions": listed,
        "newest": listed[0],
        "shown": shown,
        "facts": _facts(shown.text),
        "operations": _operations(row),
        "symbols": sorted(set(BarSeries.objects.values_list("symbol", flat=True))),
        **_compared(request, row, listed),
    }
    return render(request, "strategies/page.html", context)


def _version(row: Strategy, number: str | None, otherwise: int) -> StrategyVersion:
    wanted = otherwise if number is None else int(number) if number.isdecimal() and len(number) < 10 else 0
    return get_object_or_404(StrategyVersion, strategy=row, number=wanted)


def _facts(text: str) -> dict[str, Any]:
    """What the text says; one that an older grammar took and this one does not says why not."""
    try:
        spec: StrategySpec = read_strategy(text)
    except StrategyError as error:
        return {"problems": [str(problem) for problem in error.problems]}
    return {"spec": spec, "warnings": warnings_of(spec)}


def _compared(request: HttpRequest, row: Strategy, listed: list[StrategyVersion]) -> dict[str, Any]:
    """The two versions asked for, the newest two if none are, and what differs."""
    if len(listed) < 2:
        return {}
    after = _version(row, request.GET.get("after"), listed[0].number)
    before = _version(row, request.GET.get("before"), listed[1].number)
    lines = difference_lines(before.text, after.text, (f"version {before.number}", f"version {after.number}"))
    counts = [sum(line.kind == kind for line in lines) for kind in ("added", "removed")]
    return {"before": before, "after": after, "difference": lines, "added": counts[0], "removed": counts[1]}


def _operations(row: Strategy) -> list[Operation]:
    rows = Operation.objects.filter(strategy_version__strategy=row).select_related("strategy_version", "user", "trained_model")
    found = list(rows.defer("spec", "trained_model__metrics", "strategy_version__text").order_by("-created")[:OPERATIONS_SHOWN])
    results = results_of(getattr(getattr(o, "trained_model", None), "pk", None) for o in found)
    for operation in found:
        model = getattr(operation, "trained_model", None)
        operation.result = results.get(model.pk) if model else None
    return found
