"""The parts of a result that are fetched by themselves: what was said over the candles, and the importance of the inputs."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from training.access.plain_requests import READ_AND_WRITE
from training.core.files import FolderError
from training.core.values import Refusal
from training.jobs.questions import Broken, Reply, UnknownJob, ask, look
from training.models import Operation
from training.results import figures
from training.results.verdict import is_of_returns, judged_split
from training.web.page import operation_or_404, page
from training.web.predictions import between, drawn, drawn_returns, kept_predictions, said_of
from training.web.result import NoResult, importance_of, model_of

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
