"""The result of a completed training: the answer first, then everything that it rests on, some of it fetched by itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from training.access.plain_requests import READ_AND_WRITE
from training.core.files import FolderError
from training.core.values import Refusal
from training.jobs.downloads import provenance
from training.jobs.questions import Broken, Reply, UnknownJob, ask, look
from training.models import Operation, TrainedModel
from training.results import figures
from training.results.metric_table import cells_of, heads_of, written
from training.results.verdict import baseline_name, baselines_of, is_of_returns, judge, judged_split, rows_of
from training.store.coverage import day_of
from training.web import checks
from training.web.page import operation_or_404, page
from training.web.predictions import between, drawn, drawn_returns, kept_predictions, ledger_spans, said_of, span_of

Metrics = Mapping[str, Any]
#: What the importance of inputs is measured by.
IMPORTANCE_WORDS = {"balanced_accuracy": "balanced accuracy", "r2": "R²"}
#: Of so many symbols the bars are named in the provenance.
MOST_SERIES = 20
PARTS = {"train": "Train", "validation": "Validation", "test": "Test", "purged": "Purged", "embargoed": "Embargo",
         "crossing": "Window over a cut"}  # fmt: skip


def context_of(operation: Operation) -> dict[str, Any]:
    """What `site/_result.html` shows; `model` is None where a completed operation has none."""
    model = getattr(operation, "trained_model", None)
    if model is None:
        return {"operation": operation, "model": None}
    metrics = model.metrics
    origin, problem = _origin(model)
    split = judged_split(metrics)
    side: Metrics = metrics.get(split) or {}
    return {
        "operation": operation,
        "model": model,
        "verdict": judge(metrics),
        "split": split,
        "sides": [_side(name, metrics[name], origin) for name in ("test", "validation") if metrics.get(name)],
        "columns": heads_of(side),
        "returns": returns_of(side),
        "classes": _classes(side, metrics.get("class_names", [])),
        "symbols": _symbols(side),
        "training": _training(metrics),
        "ledger": _ledger(origin.get("split") or {}),
        "importance": importance_of(model),
        "provenance": _provenance(operation, model, origin),
        "notes": checks.other_notes([*operation.notes, *origin.get("notes", [])], operation),
        "checks": checks.context_of(operation.checks),
        "problem": problem,
        "seen_symbols": operation.symbols,
        "judged_days": span_of(origin["split"], split) if split and (origin.get("split") or {}).get("cuts") else ("", ""),
        "matrix": _matrix(side, metrics.get("class_names", [])),
        **_figures(metrics, side, origin.get("split") or {}),
    }


def _origin(model: TrainedModel) -> tuple[dict[str, Any], str]:
    """The bundle's own words, and what is wrong with its files if they cannot be read."""
    try:
        return provenance(model), ""
    except FolderError as problem:
        return {}, str(problem)


def _figures(metrics: Metrics, side: Metrics, split: Metrics) -> dict[str, Any]:
    """Every picture, or None where there is nothing to draw."""
    history, best = metrics.get("history") or [], (metrics.get("training") or {}).get("best_epoch")
    spans = ledger_spans(dict(split)) if split.get("cuts") else {}
    matrix = side.get("confusion_matrix")
    return {
        "loss_figure": figures.learning_curves(history, best) if history else None,
        "measure_figure": figures.measure_curves(history, best) if any({"val_mcc", "val_ic"} & set(e) for e in history) else None,
        "matrix_figure": figures.confusion_matrix(matrix, metrics["class_names"]) if matrix else None,
        "ledger_figure": figures.split_ledger(spans) if spans else None,
    }


def _side(name: str, side: Metrics, origin: Metrics) -> dict[str, Any]:
    """One split: the model and its baselines, by the same measures on the same rows."""
    split = origin.get("split") or {}
    begin, end = span_of(split, name) if split.get("cuts") else ("", "")
    lines = [{"name": "This model", "cells": cells_of(side), "ours": True}]
    lines += [{"name": _capital(baseline_name(b)), "cells": cells_of(b, side), "ours": False} for b in baselines_of(side)]
    return {"name": name, "begin": begin, "end": end, "rows": written(rows_of(side), "count"), "lines": lines}


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _classes(side: Metrics, names: Iterable[str]) -> list[dict[str, Any]]:
    found = side.get("per_class") or {}
    shares, counts = ("share", "predicted_share", "precision", "recall"), ("support",)
    return [
        {"name": name, "tone": figures.CLASS_COLOURS.get(name, "--accent").removeprefix("--"),
         "cells": [written(of.get(key), "count") for key in counts] + [written(of.get(key), "share") for key in shares]
         + [written(of.get("f1_score"), "figure")]}
        for name in names if (of := found.get(name))
    ]  # fmt: skip


def _matrix(side: Metrics, names: list[str]) -> dict[str, Any] | None:
    """The confusion matrix as a table: the picture's other form."""
    counts = side.get("confusion_matrix")
    if not counts:
        return None
    lines = [{"name": name, "cells": [written(n, "count") for n in row]} for name, row in zip(names, counts, strict=True)]
    return {"names": names, "lines": lines}


def _symbols(side: Metrics) -> list[dict[str, Any]]:
    """Empty where there is only one symbol: it would say the same again."""
    found = side.get("per_symbol") or {}
    if len(found) < 2:
        return []
    return [{"name": name, "cells": [written(of.get("rows"), "count"), *cells_of(of, side)]} for name, of in found.items()]


def _training(metrics: Metrics) -> dict[str, Any]:
    told = metrics.get("training") or {}
    if not told:
        return {}
    stopped = "stopped early" if told.get("early_stopped") else "ran to the end"
    return {"epochs": told["epochs_completed"], "best": told["best_epoch"] + 1, "stopped": stopped}


def _ledger(split: Metrics) -> dict[str, Any]:
    """The counts behind the picture: per symbol what became of every base bar."""
    if not split.get("per_symbol"):
        return {}
    dropped = split.get("dropped_by_symbol") or {}
    reasons = list(dict.fromkeys(reason for counts in dropped.values() for reason in counts)) or list(split.get("dropped") or {})
    parts = [part for part in PARTS if part in split["rows"]]
    lines = [
        {"name": symbol, "cells": [written(counts.get(part, 0), "count") for part in parts]
         + [written((dropped.get(symbol) or {}).get(reason), "count") for reason in reasons]}
        for symbol, counts in split["per_symbol"].items()
    ]  # fmt: skip
    total = [split["rows"][part] for part in parts] + [split["dropped"].get(reason, 0) for reason in reasons]
    return {
        "parts": [PARTS[part] for part in parts],
        "windows": "crossing" in parts,
        "reasons": [_capital(reason) for reason in reasons],
        "lines": lines,
        "total": [written(count, "count") for count in total] if len(lines) > 1 else [],
        "drawn": figures.MOST_LEDGER_LINES if len(lines) > figures.MOST_LEDGER_LINES else None,
        "count": written(len(lines), "count"),
        "cuts": [day_of(cut).isoformat() for cut in split["cuts"]],
    }


def importance_of(model: TrainedModel) -> dict[str, Any] | None:
    """What was found once: figures and lists of features and sets; None as long as nobody asked."""
    found = model.importance
    if not found:
        return None
    parts = [("sets", "Indicators and fuzzy sets", found["sets"]), ("features", "Features", found["features"])]
    measure = IMPORTANCE_WORDS[found.get("measure", "balanced_accuracy")]
    return {
        **{name: written(found[name], "count") for name in ("repeats", "rows", "of_rows")},
        "seed": found["seed"],
        "baseline": written(found["baseline"], "figure"),
        "measure": measure,
        "parts": [
            {"id": f"importance-{name}", "word": word, "count": len(of), "figure": figures.importance_bars(of, what=measure),
             "lines": [{"name": of_name, "mean": _points(of_part["mean"]), "spread": f"± {100 * of_part['spread']:.2f}"}
                       for of_name, of_part in sorted(of.items(), key=lambda item: -item[1]["mean"])]}
            for name, word, of in parts if of
        ],
    }  # fmt: skip


def _points(value: float) -> str:
    return f"{100 * value:+.2f}".replace("-", "−")


def _provenance(operation: Operation, model: TrainedModel, origin: Metrics) -> list[tuple[str, str]]:
    version = operation.strategy_version
    found = [
        ("Strategy", f"{version.strategy.name}, version {version.number}"),
        ("Model", model.name),
        ("Trained by", str(operation.user or "the command line")),
        ("Operation", operation.pk),
        ("Attempts", str(operation.attempt)),
    ]
    if operation.certificate:
        found.append(("Resumed", operation.certificate))
    if origin:
        how = f"{origin['threads']} thread, engine {origin['engine']}, {origin.get('precision', 'float32')}"
        found += [
            ("Computed on", f"{origin['device']}, {how}, seed {origin['seed']}"),
            ("Features", f"{len(origin['feature_names']):,}"),
            ("Versions", ", ".join(f"{name} {version}" for name, version in origin["versions"].items())),
        ]
    for name, of in operation.plugins.items():
        found.append((name.capitalize(), f"{of['package']} {of['version']}, code {of['code']}"))
    for symbol, timeframes in islice(operation.fingerprints.items(), MOST_SERIES):
        found.append((f"Bars of {symbol}", ", ".join(f"{t} sha256 {digest[:12]}…" for t, digest in timeframes.items())))
    if (more := len(operation.fingerprints) - MOST_SERIES) > 0:
        found.append(("Bars", f"of {more:,} more symbols, each with its sha256 in the bundle"))
    return [*found, ("Bundle", f"sha256 {model.sha256[:16]}…")]


class NoResult(Refusal):
    """A completed training without a model, or a training that is not completed."""


def model_of(operation: Operation) -> TrainedModel:
    model: TrainedModel | None = getattr(operation, "trained_model", None)
    if model is None:
        raise NoResult(f"{operation.pk} is {operation.status} and has no results")
    return model


#: How long the page waits for an answer before it shows that it waits.
FIRST_SECONDS = 1.0
VIEW = "training.view_trainedmodel"


@page(VIEW)
def probabilities(request: HttpRequest, operation_id: str) -> HttpResponse:
    """The picture of one symbol between two days, as data."""
    operation = operation_or_404(operation_id)
    try:
        figure = probabilities_figure(
            operation, request.GET.get("symbol", ""), _day(request, "from"), _day(request, "to")
        )  # fmt: skip
    except (NoResult, FolderError) as problem:
        return JsonResponse({"problem": str(problem)}, status=409)
    return JsonResponse(figure)


def _day(request: HttpRequest, name: str) -> dt.date | None:
    text = request.GET.get(name, "")
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        raise Http404(f"'{text[:20]}' is not a day, wanted YYYY-MM-DD.") from None


def probabilities_figure(
    operation: Operation, symbol: str, first: dt.date | None = None, last: dt.date | None = None
) -> dict[str, Any]:
    """An empty picture says that no row lies between the days. Http404 for a symbol that was not trained on."""
    model = model_of(operation)
    split, names = judged_split(model.metrics), list(model.metrics["class_names"])
    side = model.metrics.get(split) or {}
    symbols = operation.symbols
    if symbol not in symbols:
        raise Http404(f"{operation.pk} was not trained on {symbol}.")
    said = between(said_of(kept_predictions(model), split, symbols.index(symbol)), first, last)
    if not len(said):
        return _empty(f"{symbol} has no {split} row between these days")
    if is_of_returns(side):
        candles, told = drawn_returns(operation, symbol, said, side["edge"])
        figure = figures.predictions(candles, told, side["edge"])
    else:
        candles, told = drawn(operation, symbol, said, names)
        figure = figures.probabilities(candles, told, names)
    if candles is None:
        figure["layout"]["annotations"] = [_note("the bars are not stored any more: only what was said")]
    return figure


def _note(text: str) -> dict[str, Any]:
    return {"text": text, "xref": "paper", "yref": "paper", "x": 0, "y": 1, "yanchor": "bottom", "showarrow": False}


def _empty(text: str) -> dict[str, Any]:
    hidden = {"visible": False}
    return {"data": [], "layout": {"xaxis": hidden, "yaxis": hidden, "annotations": [_note(text) | {"x": 0.5, "y": 0.5}]}}


@page(VIEW, *READ_AND_WRITE)
def importance(request: HttpRequest, operation_id: str) -> HttpResponse:
    """POST puts the question, GET with `?job=` looks for the answer; either way the part of the page as it stands."""
    operation = operation_or_404(operation_id)
    shown: dict[str, Any] = {"operation": operation, "refocus": request.method == "POST"}
    try:
        model = model_of(operation)
        if not model.importance:
            shown |= _asked(request, model.name)
            model.refresh_from_db(fields=["importance"])
        shown["importance"] = importance_of(model)
    except Refusal as refusal:
        shown["refusal"] = str(refusal)
    except Broken:
        shown["refusal"] = "the quick worker met something unexpected; its log says what"
    return render(request, "site/_importance.html", shown)


def _asked(request: HttpRequest, name: str) -> dict[str, Any]:
    """The job to wait for, or nothing if the answer is there or nobody asked."""
    job = request.GET.get("job", "")
    if request.method == "POST":
        return _waiting(ask("importance", {"model": name}, request.user, seconds=FIRST_SECONDS))
    if not job:
        return {}
    try:
        return _waiting(look(job, request.user))
    except UnknownJob:
        return {}  # its answer was forgotten, or is with the model by now


def _waiting(reply: Reply) -> dict[str, Any]:
    return {} if reply.result is not None else {"job": reply.job}


def returns_of(side: Mapping[str, Any]) -> dict[str, Any] | None:
    """Pictures with their tables; None for classes."""
    if not is_of_returns(side):
        return None
    rows = side["rows"]
    return {
        "reliability_figure": figures.reliability(side["reliability"]),
        "reliability": [
            [written(group["rows"], "count"), *(written(group[name], "return") for name in ("predicted", "realised"))]
            for group in side["reliability"]
        ],
        "misses_figure": figures.misses(side["misses"]),
        "edge": written(side["edge"], "return"),
        "signals": [
            {"name": name, "cells": [written(told["rows"], "count"), written(told["rows"] / rows, "share"),
                                     written(told["mean_return"], "return")]}
            for name, told in side["signals"].items()
        ],
    }  # fmt: skip
