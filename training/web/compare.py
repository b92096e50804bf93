"""Compare: choose runs in a table, see them side by side; which figures may be compared, and in what settings they differ."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from training.access.roles import is_admin
from training.core.files import FolderError
from training.models import Operation, OperationRows, Status
from training.results import figures
from training.results.metric_table import written
from training.results.pairs import Difference, Losses, are_of_the_same_rows, difference
from training.web.page import page
from training.web.predictions import kept_predictions

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


def _completed() -> OperationRows:
    rows = Operation.objects.filter(status=Status.COMPLETED, trained_model__isnull=False)
    return rows.select_related("strategy_version__strategy", "user", "trained_model").defer("strategy_version__text")


def _chosen(asked: list[str]) -> list[Run]:
    """In the order asked for; unknown ones are left out."""
    found = {row.pk: row for row in _completed().filter(pk__in=asked)} if asked else {}
    return [run_of(found[name]) for name in asked if name in found]


def _table(request: HttpRequest, chosen: list[str]) -> dict[str, Any]:
    words, tag = (request.GET.get(name, "").strip()[:200].replace("\0", "") for name in ("q", "tag"))
    sort = request.GET.get("sort", "") if request.GET.get("sort", "") in SORTS else "newest"
    rows = _completed().for_lists()
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


@dataclass(frozen=True, eq=False)
class Run:
    """One training as it is compared. settings: path → value of the effective strategy, flattened."""

    operation: Operation
    name: str
    spec: dict[str, Any]
    settings: dict[str, Any]
    summary: dict[str, Any]
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class Comparability:
    """tone: good, warn or bad; reasons: what differs, in words."""

    tone: str
    headline: str
    reasons: tuple[str, ...]


def run_of(operation: Operation) -> Run:
    spec = operation.spec_data
    model = operation.trained_model
    return Run(operation, model.name, spec, flat(spec), model.summary, model.metrics.get("history") or [])


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """`{"model.architecture.dropout": 0.3, …}`; lists of plain values stay whole, others are numbered."""
    if isinstance(value, Mapping):
        items = [(f"{path}.{key}" if path else str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        items = [(f"{path}[{number}]", inner) for number, inner in enumerate(value)]
    else:
        return {path: value}
    found: dict[str, Any] = {}
    for where, inner in items:
        found |= flat(inner, where)
    return found


def settings_table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One line per path in the order of the first run that has it: `{path, values, differs}`; a value is text."""
    paths = list(dict.fromkeys(path for run in runs for path in run.settings))
    lines = []
    for path in paths:
        values = [as_text(run.settings[path]) if path in run.settings else None for run in runs]
        lines.append({"path": path, "values": values, "differs": len(set(values)) > 1})
    return lines


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def comparability(runs: Sequence[Run]) -> Comparability:
    """Figures can be compared if they are of the same rows; what differs in bars, split or labels is named either way."""
    kinds = {_kind(run) for run in runs}
    if len(kinds) > 1:
        return Comparability(
            "bad", "Some of these predict classes and some returns: their figures measure different things.",
            (f"{_names(runs, 'regression')} predict returns", f"{_names(runs, 'classification')} predict classes"),
        )  # fmt: skip
    reasons = tuple(_differences(runs))
    digests = {run.summary.get("rows_sha256") for run in runs}
    splits = {run.summary.get("split") for run in runs}
    rows = runs[0].summary.get("rows") or 0
    if len(digests) == 1 and None not in digests and len(splits) == 1:
        return Comparability(
            "good", f"These figures are of the same {rows:,} {splits.pop()} rows: they can be compared.", reasons
        )
    if None in digests and not reasons:
        return Comparability("warn", "Bars, split and labels are the same; whether the rows are was not recorded.", ())
    others = reasons or ("the indicators warm up differently, so the splits hold other rows",)
    return Comparability("bad", "These figures are of different rows: do not compare them.", others)


def _kind(run: Run) -> str:
    return str(run.summary.get("output_format") or "classification")


def _names(runs: Sequence[Run], kind: str) -> str:
    return ", ".join(run.name for run in runs if _kind(run) == kind)


def _differences(runs: Sequence[Run]) -> list[str]:
    found = []
    symbols, timeframes = _distinct(map(_symbols, runs)), _distinct(", ".join(run.operation.timeframes) for run in runs)
    if len(symbols) > 1:
        found.append(f"other symbols: {'; '.join(symbols)}")
    found += [f"other bars of {series}" for series in _other_bars(runs)]
    if len(timeframes) > 1:
        found.append(f"other timeframes: {'; '.join(timeframes)}")
    dates = _distinct(f"{r.spec['training_data'].get('start_date')} to {r.spec['training_data'].get('end_date')}" for r in runs)
    if len(dates) > 1:
        found.append(f"other dates: {'; '.join(dates)}")
    for section, word in (("data_split", "split"), ("labels", "labels")):
        told = _distinct(_section(run.spec["training"].get(section)) for run in runs)
        if len(told) > 1:
            found.append(f"other {word}: {'; '.join(told)}")
    judged = _distinct(str(run.summary.get("split") or "nothing") for run in runs)
    if len(judged) > 1:
        found.append(f"judged on {' and '.join(judged)} sets")
    return found


def _symbols(run: Run) -> str:
    names = run.operation.symbols
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _distinct(values: Any) -> list[str]:
    return list(dict.fromkeys(values))


def _section(section: Any) -> str:
    return ", ".join(f"{path} {as_text(value)}" for path, value in flat(section or {}).items()) or "default"


def _other_bars(runs: Sequence[Run]) -> list[str]:
    """Series that several runs used with different content."""
    seen: dict[str, set[str]] = {}
    for run in runs:
        for symbol, timeframes in run.operation.fingerprints.items():
            for timeframe, digest in timeframes.items():
                seen.setdefault(f"{symbol} {timeframe}", set()).add(digest)
    return [series for series, digests in seen.items() if len(digests) > 1]


def losses_of(run: Run) -> Losses:
    """What the model lost on each row that it is judged on: 0 right and 1 wrong, or the squared error. FolderError if its
    predictions cannot be read."""
    model, split = run.operation.trained_model, str(run.summary.get("split"))
    kept = kept_predictions(model)
    side = model.metrics.get(split) or {}
    try:
        times, symbols, labels = (kept[f"{split}.{name}"] for name in ("times", "symbols", "labels"))
        if _kind(run) == "regression":
            values = np.square(labels - kept[f"{split}.returns"])
        else:
            values = (kept[f"{split}.probabilities"].argmax(axis=1) != labels).astype(np.float64)
    except KeyError as missing:
        raise FolderError(f"the predictions of {run.name} hold no {missing}") from None
    return Losses(times, symbols, values, len(times) / max(side.get("independent_rows") or len(times), 1))


def whom_to_trust(runs: Sequence[Run], same_rows: bool, losses: Callable[[Run], Losses] = losses_of) -> str:
    """Which of the runs beat their own baselines, and which of those is the better as far as the figures say.

    A leader is one whose lead over each other run is real, row by row on the same rows; of several runs so much clearer
    as there are pairs that might have led by chance.
    """
    better = [run for run in runs if run.summary.get("beats")]
    if not better:
        return "None of them beats its own baselines: there is nothing to trust yet."
    names = ", ".join(run.name for run in better)
    if len(better) == 1:
        return f"Only {names} beats its own baselines."
    if not same_rows:
        return f"{names} beat their own baselines. Which of them is better cannot be told from different rows."
    try:
        lost = {run: losses(run) for run in better}
    except FolderError as error:
        return f"{names} beat their own baselines. Which of them is better cannot be told: {error}."
    first, *others = sorted(better, key=lambda run: float(lost[run].values.mean()))
    if not all(are_of_the_same_rows(lost[first], lost[other]) for other in others):
        return f"{names} beat their own baselines. Which of them is better cannot be told: their rows were kept in other orders."
    pairs = len(better) * (len(better) - 1) // 2
    leads = [difference(lost[first], lost[other], pairs) for other in others]
    told = _lead_in_words(first, others[0], leads[0])
    if all(lead.is_real for lead in leads):
        return f"{first.name} leads: {told}."
    return f"{names} beat their own baselines. They cannot be told apart: {told}."


def _lead_in_words(first: Run, second: Run, lead: Difference) -> str:
    """How much the first has before the second on the same rows, and the margin of error of that."""
    if lead.margin is None:
        return "their labels overlap so much that too few independent rows are left"
    if not lead.mean:
        return f"{first.name} and {second.name} are equally good on these rows"
    if _kind(first) == "regression":
        scale = _error_of_baseline(second)
        return (
            f"the squared error of {first.name} is {100 * lead.mean / scale:.1f} % of the best baseline's lower than that of "
            f"{second.name} (margin of error ±{100 * lead.margin / scale:.1f} %, row by row)"
        )
    return (
        f"{first.name} is right on {100 * lead.mean:.1f} points more of the rows than {second.name} "
        f"(margin of error ±{100 * lead.margin:.1f} points, row by row)"
    )


def _error_of_baseline(run: Run) -> float:
    """The mean squared error of the best baseline, which is the same for all models of the same rows."""
    return float(run.summary["baseline_rmse"]) ** 2 or 1.0


def axes_of(runs: Sequence[Run], most: int = 7) -> list[dict[str, Any]]:
    """For parallel coordinates: the numbers among the settings that differ, then what was reached."""
    axes = []
    for path in dict.fromkeys(path for run in runs for path in run.settings):
        values = [_number(run.settings.get(path)) for run in runs]
        if len({v for v in values if v is not None}) > 1:
            axes.append({"name": path.removeprefix("training.").removeprefix("model.architecture."), "values": values})
    reached = [
        ("accuracy", "accuracy"), ("balanced", "balanced_accuracy"), ("MCC", "mcc"), ("RMSE", "rmse"),
        ("R²", "r2"), ("IC", "ic"), ("validation loss", "val_loss"),
    ]  # fmt: skip
    figures = [{"name": word, "values": [run.summary.get(key) for run in runs]} for word, key in reached]
    return axes[:most] + [axis for axis in figures if any(value is not None for value in axis["values"])]


def _number(value: Any) -> float | int | None:
    """A number, or the sum of a list of them, such as the widths of hidden layers."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, list) and value and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        return sum(value)
    return None
