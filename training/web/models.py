"""Trained models in the browser: the list, the page of one, its files, and what it says of stored bars."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Case, F, IntegerField, Q, QuerySet, Value, When
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from strategies_app.grammar.schema import Decisions, TrainingData
from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.access.audit import audit
from training.core.files import FolderError
from training.core.values import SIGNALS
from training.jobs.downloads import bundle_zip, provenance
from training.jobs.requests import recorded_ranges
from training.models import TrainedModel, unseen_through
from training.results.figures_bars import moment, prediction_figure, returns_figure
from training.results.metric_table import cells_of, heads_of
from training.results.verdict import baseline_name, baselines_of, judge
from training.store.coverage import DAY, DataError, day_of, source_of
from training.store.series_names import file_name
from training.templatetags.words import sentence
from training.web.page import Told, actor_of, ask, look, page, searched, without_page, without_worker

PER_PAGE = 50
#: Lines of the table of a prediction, the last ones; the CSV file has them all.
SHOWN = 60
#: Points of a curve; more are taken together by their mean.
MOST_POINTS = 1_500
#: So many bars back from the last a prediction begins, unless told otherwise.
BARS_BACK = 300


#: How the list can be sorted: the word, and the figure of the summary, best first; None: newest first.
ORDERS = {
    "newest": None, "lead over the best baseline": "lead", "MCC": "mcc", "accuracy": "accuracy",
    "IC (returns)": "ic", "R² (returns)": "r2",
}  # fmt: skip


@page("training.view_trainedmodel")
def models(request: HttpRequest) -> HttpResponse:
    """Each model beside the best of its baselines."""
    words, order = searched(request), request.GET.get("order", "")
    rows = _sorted(_unread(), ORDERS.get(order))
    if words:
        rows = rows.filter(Q(name__icontains=words) | Q(operation__strategy_version__strategy__name__icontains=words))
    found = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "found": found, "words": words, "order": order if order in ORDERS else "newest", "orders": list(ORDERS),
        "kept": without_page(request), "any": bool(found.paginator.count) or TrainedModel.objects.exists(),
        "any_returns": any((row.summary or {}).get("output_format") == "regression" for row in found),
    }  # fmt: skip
    return render(request, "site/models.html", context)


def _unread() -> QuerySet[TrainedModel]:
    """Models without what no list needs: metrics hold every epoch, specifications and texts are long."""
    rows = TrainedModel.objects.select_related("operation__strategy_version__strategy", "operation__user")
    return rows.defer("metrics", "importance", *unseen_through("operation", "spec"))


def _sorted(rows: QuerySet[TrainedModel], figure: str | None) -> QuerySet[TrainedModel]:
    """By a figure of the summary, models without it last; by age where they are equal."""
    if figure is None:
        return rows.order_by("-created")
    key = f"summary__{figure}"
    lacking = Q(**{key: None}) | Q(**{f"{key}__isnull": True})  # null as JSON has it, and no such key
    last = Case(When(lacking, then=Value(1)), default=Value(0), output_field=IntegerField())
    return rows.order_by(last, F(key).desc(), "-created")


def model_or_404(name: str) -> TrainedModel:
    related = ("operation__strategy_version__strategy", "operation__user")
    model = TrainedModel.objects.select_related(*related).filter(name=name).first()
    if model is None:
        raise Http404(f"There is no model {name}.")
    return model


def _sections(shown: TrainedModel) -> tuple[TrainingData, Decisions]:
    """What the page needs of the strategy: it is shown also where a package that the strategy uses is not installed."""
    plain = shown.operation.spec_data
    return TrainingData.model_validate(plain["training_data"]), Decisions.model_validate(plain.get("decisions", {}))


@page("training.view_trainedmodel")
def model(request: HttpRequest, name: str) -> HttpResponse:
    """What a model reaches, where it comes from, and a form to predict with."""
    shown = model_or_404(name)
    data, decisions = _sections(shown)
    context: dict[str, Any] = {
        "model": shown, "operation": shown.operation, "verdict": judge(shown.metrics), "splits": _splits(shown),
        "symbols": data.symbols.names, "timeframes": data.timeframes.names, "base": data.base_timeframe,
        "choices": _choices(data), "threshold": decisions.confidence_threshold, "edge": _edge(decisions),
        "columns": heads_of(shown.metrics.get("validation") or {}),
        "otherwise": "HOLD" if "HOLD" in shown.metrics.get("class_names", []) else "none",
        "job": _job(request), "no_worker": without_worker(),
        "asked": {key: request.GET.get(key, "") for key in ("symbol", "start", "end")},
    }  # fmt: skip
    try:
        context |= _from_bundle(shown)
    except FolderError as problem:
        context["problem"] = str(problem)
    return render(request, "site/model.html", context)


def _edge(decisions: Decisions) -> float | None:
    """The predicted return that makes a signal; None for classes."""
    return decisions.cost_model.edge if decisions.output_format == "regression" and decisions.cost_model else None


def _job(request: HttpRequest) -> str:
    job = request.GET.get("job", "")
    return job if re.fullmatch(r"quick-[0-9a-f]{32}", job) else ""


def _splits(model: TrainedModel) -> list[dict[str, Any]]:
    """Each split's measures beside those of its baselines, as lines of a table."""
    lines = []
    for split in ("validation", "test"):
        seen = model.metrics.get(split)
        if seen:
            lines.append({"split": split, "who": "this model", "ours": True, "cells": cells_of(seen), "loss": seen.get("loss")})
            lines += [
                {"split": split, "who": baseline_name(of), "ours": False, "cells": cells_of(of, seen)}
                for of in baselines_of(seen)
            ]
    return lines


def _from_bundle(model: TrainedModel) -> dict[str, Any]:
    found = provenance(model)
    split = found.get("split") or {}
    rows = split.get("rows") or {}
    days = f"{day_of(split['start'])} to {day_of(split['end'] - 1)}" if {"start", "end"} <= split.keys() else ""
    bars = [
        {"series": f"{symbol} {timeframe}", "sha256": digest}
        for symbol, timeframes in (found.get("fingerprints") or {}).items()
        for timeframe, digest in timeframes.items()
    ]
    return {"found": found, "features": found.get("feature_names") or [], "rows": rows, "days": days, "bars": bars}


def _choices(data: TrainingData) -> list[dict[str, Any]]:
    """Symbols that the model can be asked about, the trained ones first, with what is stored and a first range to ask for."""
    ranges = recorded_ranges()
    found = []
    for symbol in sorted(ranges, key=lambda symbol: (symbol not in data.symbols.names, symbol)):
        try:
            first, last = ranges[symbol][source_of(ranges, symbol, data.base_timeframe)]
        except DataError:
            continue  # nothing as fine as the model's bars
        back = max(BARS_BACK * TIMEFRAMES[data.base_timeframe] * 1_000_000 * 7 // 5, DAY)
        start = day_of(max(first, last - back))
        found.append(
            {
                "symbol": symbol,
                "first": f"{day_of(first)}",
                "last": f"{day_of(last)}",
                "start": f"{start}",
                "trained": symbol in data.symbols.names,
            }
        )
    return found


@page("training.view_trainedmodel")
def download(request: HttpRequest, name: str) -> HttpResponse | FileResponse:
    """The bundle as a zip file, checked byte by byte."""
    shown = model_or_404(name)
    try:
        zipped = bundle_zip(shown)
    except FolderError as problem:
        messages.error(request, f"It cannot be downloaded. {sentence(str(problem))}")
        return redirect("site:model", name)
    audit(actor_of(request), "export", name, sha256=shown.sha256)
    return FileResponse(zipped, as_attachment=True, filename=f"{name}.zip", content_type="application/zip")


# --- predicting --------------------------------------------------------------------------------


@page("training.view_trainedmodel", "POST")
def predict(request: HttpRequest, name: str) -> HttpResponse:
    """Put the question; the model's page then shows the answer, also after a reload."""
    shown = model_or_404(name)
    given = {key: request.POST.get(key, "").strip()[:40].replace("\0", "") for key in ("symbol", "start", "end")}
    base = _sections(shown)[0].base_timeframe
    arguments = {"model": name, "timeframe": base, "symbol": given["symbol"]} | {k: given[k] or None for k in ("start", "end")}
    told = ask("predict", arguments, request.user)
    if told.problem:
        messages.error(request, f"Not predicted. {sentence(told.problem)}")
    where = "" if told.problem else "#prediction"  # the refusal stands on top of the page
    return redirect(f"{reverse('site:model', args=[name])}?{_query(given, told)}{where}")


def _query(given: dict[str, str], told: Told) -> str:
    return urlencode({**given, "job": told.job} if told.job else given)


@page("training.view_trainedmodel")
def prediction(request: HttpRequest, name: str, job: str) -> HttpResponse:
    """Part of the model's page: the answer, as soon as there is one."""
    _, decisions = _sections(model_or_404(name))
    told = look(job, request.user)
    context: dict[str, Any] = {"told": told, "name": name, "job": job, "threshold": decisions.confidence_threshold}
    if told.result is not None:
        context |= _shown(told.result)
        chances = [bar["probabilities"] for bar in told.result["bars"] if bar["probabilities"]]
        context["unsure"] = sum(max(own) < context["threshold"] for own in chances)
        context["otherwise"] = "HOLD" if "HOLD" in told.result["class_names"] else "none"
    return render(request, "site/_prediction.html", context)


@page("training.view_trainedmodel")
def prediction_csv(request: HttpRequest, name: str, job: str) -> HttpResponse:
    """Every bar of an answer; the same columns as `predict --output`."""
    told = look(job, request.user)
    if told.result is None:
        messages.error(request, f"The answer is not there any more: {told.problem or 'it is not finished'}. Predict again.")
        return redirect("site:model", name)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["timestamp", *(told.result["class_names"] or ["predicted_return"]), "signal", "split"])
    writer.writerows([bar["timestamp"], *map(str, _said(bar)), bar["signal"], bar["split"]] for bar in told.result["bars"])
    symbol, timeframe = told.result["symbol"], told.result["timeframe"]
    headers = {"Content-Disposition": f'attachment; filename="{name}-{file_name(symbol)}-{timeframe}.csv"'}
    return HttpResponse(stream.getvalue(), content_type="text/csv; charset=utf-8", headers=headers)


def _said(bar: dict[str, Any]) -> list[float]:
    """The probabilities of a bar, or its predicted return alone."""
    return [bar["predicted_return"]] if bar["probabilities"] is None else list(bar["probabilities"])


def _shown(answer: dict[str, Any]) -> dict[str, Any]:
    bars, names = answer["bars"], answer["class_names"] or SIGNALS
    signals = [bar["signal"] for bar in bars]
    shares = [{"name": name, "count": signals.count(name), "share": signals.count(name) / max(len(bars), 1)} for name in names]
    lines = [
        {
            "time": _clock(bar["timestamp"], answer["timeframe"]),
            "said": _said(bar),
            "signal": bar["signal"],
            "split": bar["split"],
        }
        for bar in reversed(bars[-SHOWN:])
    ]
    return {"answer": answer, "count": len(bars), "shares": shares, "lines": lines, "figure": _figure(answer) if bars else None}


def _clock(text: str, timeframe: str) -> str:
    """A bar's time as one reads it: the day alone where a bar lasts one or longer."""
    return text[:10] if TIMEFRAMES[timeframe] >= 86_400 else text[:16].replace("T", " ")


def _figure(answer: dict[str, Any]) -> dict[str, Any] | None:
    from training.store.candles import read_stored_candles

    times = [round(moment(bar["timestamp"]).timestamp() * 1000) for bar in answer["bars"]]
    step = TIMEFRAMES[answer["timeframe"]] * 1_000_000
    try:
        source = source_of(recorded_ranges(), answer["symbol"], answer["timeframe"], times[0] * 1000, times[-1] * 1000 + step)
        root = Path(settings.STORE_DIR)
        candles = read_stored_candles(root, answer["symbol"], source, times[0] * 1000, times[-1] * 1000 + step)
    except DataError:
        return None  # the bars were removed since; the table stands without them
    stride = -(-len(times) // MOST_POINTS)
    if not answer["class_names"]:
        returns = _means([bar["predicted_return"] for bar in answer["bars"]], stride)
        return returns_figure(candles, times[::stride], returns, answer["edge"])
    chances = [[bar["probabilities"][place] for bar in answer["bars"]] for place in range(len(answer["class_names"]))]
    thinned = {name: _means(curve, stride) for name, curve in zip(answer["class_names"], chances, strict=True)}
    return prediction_figure(candles, times[::stride], thinned)


def _means(values: list[float], stride: int) -> list[float]:
    return [sum(part := values[at : at + stride]) / len(part) for at in range(0, len(values), stride)]
