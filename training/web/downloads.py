"""A result to take along: the bundle, tables as CSV, figures as JSON, and a report in one file that opens anywhere."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterator
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from django.contrib import messages
from django.contrib.staticfiles import finders
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.safestring import mark_safe

from training.access.audit import audit
from training.core.files import FolderError
from training.jobs.downloads import bundle_zip, results_of
from training.models import Operation, TrainedModel
from training.web import analytics
from training.web.page import actor_of, operation_or_404, page
from training.web.predictions import kept_predictions
from training.web.result import NoResult, context_of, model_of, probabilities_figure

VIEW = "training.view_trainedmodel"
#: A report draws the probabilities of so many symbols; each takes some hundred kilobytes.
REPORT_SYMBOLS = 4
#: Rows of a table that are sent at once.
CHUNK = 2000

Download = Callable[[HttpRequest, Operation, TrainedModel], HttpResponseBase]


def download(kind: str) -> Callable[[Download], Callable[..., HttpResponse]]:
    """Decorator: only for who may see models, leaves a trace, and says on the page what cannot be handed out."""

    def decorate(view: Download) -> Callable[..., HttpResponse]:
        @page(VIEW)
        @wraps(view)
        def guarded(request: HttpRequest, operation_id: str) -> HttpResponse:
            operation = operation_or_404(operation_id)
            try:
                model = model_of(operation)
                answer = view(request, operation, model)
            except (NoResult, FolderError) as problem:
                messages.error(request, f"There is nothing to download: {problem}.")
                return redirect("site:operation", operation.pk)
            audit(actor_of(request), "export", model.name, kind=kind, sha256=model.sha256)
            return answer  # type: ignore[return-value]

        return guarded

    return decorate


@download("bundle")
def bundle(request: HttpRequest, operation: Operation, model: TrainedModel) -> HttpResponseBase:
    """The whole model as a zip file, checked byte by byte."""
    return FileResponse(bundle_zip(model), as_attachment=True, filename=f"{model.name}.zip", content_type="application/zip")


@download("json")
def as_json(request: HttpRequest, operation: Operation, model: TrainedModel) -> HttpResponseBase:
    """The results as the API gives them."""
    answer = JsonResponse(results_of(operation, model), json_dumps_params={"indent": 1, "ensure_ascii": False})
    return _attached(answer, f"{model.name}.json")


@download("epochs")
def epochs(request: HttpRequest, operation: Operation, model: TrainedModel) -> HttpResponseBase:
    """One line per epoch; nested figures get a column each."""
    lines = [_flat(epoch) for epoch in model.metrics.get("history") or []]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    return _attached(HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8"), f"{model.name}-epochs.csv")


def _flat(epoch: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in epoch.items():
        found |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return found


@download("predictions")
def predictions(request: HttpRequest, operation: Operation, model: TrainedModel) -> HttpResponseBase:
    """One line per validation and test row: what was right with the probability of each class, or what came with what
    was predicted."""
    arrays = kept_predictions(model)
    lines = _lines(arrays, operation.symbols, list(model.metrics["class_names"]))
    return _attached(HttpResponse(lines, content_type="text/csv; charset=utf-8"), f"{model.name}-predictions.csv")


def _lines(arrays: dict[str, Any], symbols: list[str], classes: list[str]) -> Iterator[str]:
    told = ["label", *(f"p_{name}" for name in classes)] if classes else ["realised_return", "predicted_return"]
    yield ",".join(["split", "symbol", "timestamp", *told]) + "\n"
    for split in ("validation", "test"):
        if f"{split}.times" not in arrays:
            continue
        times = np.datetime_as_string(arrays[f"{split}.times"].view("M8[us]"), unit="s").tolist()
        columns = (arrays[f"{split}.{name}"].tolist() for name in ("symbols", "labels"))
        chances = arrays[f"{split}.probabilities"] if classes else arrays[f"{split}.returns"][:, None]
        lines = (
            ",".join([split, symbols[symbol], f"{time}Z", classes[label] if classes else str(label), *map(str, row)]) + "\n"
            for time, symbol, label, row in zip(times, *columns, chances, strict=True)
        )
        while part := "".join(itertools.islice(lines, CHUNK)):
            yield part


@download("report")
def report(request: HttpRequest, operation: Operation, model: TrainedModel) -> HttpResponseBase:
    """One HTML file with everything in it: it opens without a network."""
    symbols = operation.symbols
    spec = operation.spec_data
    context = {
        "operation": operation,
        "result": context_of(operation),
        "offline": True,
        "timeframes": operation.timeframes,
        "dates": f"{spec['training_data'].get('start_date')} to {spec['training_data'].get('end_date')}",
        "description": spec.get("description", ""),
        "settings": yaml.safe_dump(spec, sort_keys=False, allow_unicode=True, width=110),
        "made": timezone.now(),
        "said": [
            {"symbol": symbol, "id": f"said-{number}", "figure": probabilities_figure(operation, symbol)}
            for number, symbol in enumerate(symbols[:REPORT_SYMBOLS])
        ],
        "left_out": symbols[REPORT_SYMBOLS:],
        "style": _own("training/site.css") + _own("training/result.css"),
        "scripts": [_plotly(), _own("training/charts.js")],
    }
    if operation.detailed_analytics:
        context |= analytics.context_of(operation)
    return _attached(render(request, "site/report.html", context), f"{model.name}.html")


def _own(name: str) -> str:
    """A static file of ours, to be written into the page as it is."""
    path = finders.find(name)
    if path is None:
        raise FileNotFoundError(name)
    return mark_safe(Path(str(path)).read_text(encoding="utf-8"))  # noqa: S308 - our own file


def _plotly() -> str:
    """Plotly's one file, from its Python package; found without importing it."""
    spec = find_spec("plotly")
    assert spec is not None and spec.origin is not None
    return mark_safe((Path(spec.origin).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8"))  # noqa: S308 - as it comes


def _attached(answer: Any, name: str) -> Any:
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
