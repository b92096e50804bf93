"""The part of a run's page that shows its detailed analytics, and the files of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from training.access.audit import audit
from training.jobs.analytics import FILES, TYPES, as_file, folder_of, judged, read_journal
from training.models import Operation
from training.results import figures_analytics as figures
from training.results.metric_table import NOTHING, written
from training.web.page import actor_of, operation_or_404, page

VIEW = "training.view_operation"


@page(VIEW)
def analytics(request: HttpRequest, operation_id: str) -> HttpResponse:
    """As it stands: read from the journal, so also while the run is at work."""
    return render(request, "site/_analytics.html", context_of(operation_or_404(operation_id)))


@page(VIEW)
def analytics_file(request: HttpRequest, operation_id: str, name: str) -> HttpResponse:
    """One of FILES, of all epochs until now."""
    operation = operation_or_404(operation_id)
    records = read_journal(folder_of(operation.pk))
    if name not in FILES or not records:
        raise Http404(f"{operation.pk} has no {name[:40]}.")
    audit(actor_of(request), "export", operation.pk, kind=name)
    answer = HttpResponse(as_file(name, records), content_type=TYPES[name.rpartition(".")[2]])
    answer["Content-Disposition"] = f'attachment; filename="{operation.pk}-{name}"'
    return answer


def context_of(operation: Operation) -> dict[str, Any]:
    told = judged(read_journal(folder_of(operation.pk)))
    epochs = told["epochs"]
    context: dict[str, Any] = {"operation": operation, "is_open": operation.is_open, "epochs": len(epochs)}
    if not epochs:
        return context
    last = epochs[-1]
    return context | {
        "alerts": told["alerts"],
        "facts": _facts(told, last),
        "layers": [_layer(name, of) for name, of in last["layers"].items()],
        "classes": _classes(last),
        "cards": _cards(figures.thinned(epochs)),
        "sampled": last["sampled_steps"],
        "last": last["epoch"] + 1,
        "files": FILES,
    }


def _facts(told: Mapping[str, Any], last: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Word, figure, and what it means for who points at it."""
    best = told["best_epoch"]
    found = [
        ("Best epoch", NOTHING if best is None else str(best + 1), "whose weights are kept"),
        ("Over-fitting", written(last["over_fitting"], "share"), "validation loss over its best so far"),
        ("Since better", f"{last['since_better']} epochs", "since the validation loss was lower by a thousandth"),
        ("Signal", written(last["signal"], "share"), "share of the gradient that batches agree on"),
    ]
    if "balance" in last:
        found += [
            ("Class balance", written(last["balance"], "share"), "what called and true shares of the classes have in common"),
            ("Calibration error", written(last["calibration_error"], "share"), "mean gap between how sure and how right"),
            ("Over-confidence", written(last["overconfidence"], "share"), "mean confidence less the share that is right"),
        ]
    if "residuals" in last:
        mean, deviation = 100 * last["residual_mean"], 100 * last["residual_deviation"]
        found.append(("Residual", f"{mean:+.2f} ± {deviation:.2f} %".replace("-", "−"), "what came less what was predicted"))
    return found


def _layer(name: str, of: Mapping[str, Any]) -> dict[str, Any]:
    small = ("gradient_norm", "gradient_norm_max", "update_ratio")
    cells = [*(_short(of[key]) for key in small), written(of["signal"], "share")]
    cells += [_short(of[key]) for key in ("weight_mean", "weight_std", "weight_min", "weight_max")]
    return {"name": name, "cells": [*cells, written(of["dead_share"], "share")]}


def _short(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3g}".replace("-", "−")


def _classes(last: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys = ("share", "predicted_share", "precision", "recall")
    return [
        {"name": name, "cells": [written(of[key], "share") for key in keys]} for name, of in (last.get("per_class") or {}).items()
    ]


def _cards(epochs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each picture with its head, a text for who cannot see it, and what it says."""
    last = epochs[-1]
    layers = "the table below has the last epoch in figures"
    found = [
        ("gradients", 6, "Gradient norm by layer", f"Gradient norm before clipping, layers by epochs; {layers}",
         "Before clipping, mean of the sampled steps. Faint upper rows: little of the loss arrives there.",
         figures.layer_map(epochs, "gradient_norm", "gradient norm")),
        ("updates", 6, "Update beside weight by layer", f"Ratio of update to weight, layers by epochs; {layers}",
         "What one step changes, beside the layer's size. About 1e-3 is usual.",
         figures.layer_map(epochs, "update_ratio", "update ratio")),
        ("over-fitting", 6, "Over-fitting", "Validation loss over its best so far by epoch, with the best epoch and plateaus",
         "Zero: this epoch is the best so far. Rising while the training loss falls: learning by heart.",
         figures.over_fitting(epochs)),
        ("signal", 6, "Learning signal", "Signal strength, and class balance where there are classes, by epoch",
         "What the batches of an epoch agree on. Near zero: what is left is noise.", figures.signal(epochs)),
    ]  # fmt: skip
    if "calibration" in last:
        found += [
            ("calibration", 6, "How sure and how right", "Share right by confidence, last epoch, validation rows",
             "Below the straight line it is surer than it is right.", figures.calibration(last["calibration"])),
            ("confidence", 6, "How sure it is", "Rows by confidence, last epoch, validation rows",
             "Confidence of the called class, last epoch.", figures.shares(last["confidence"], "confidence")),
            ("entropy", 4, "How undecided it is", "Rows by entropy, last epoch, validation rows",
             "0: sure of one class. 1: all classes alike.", figures.shares(last["entropy"], "entropy")),
            ("recall", 4, "Recall by class", "Recall of each class by epoch", "Of those that are it, how many were called.",
             figures.by_class(epochs, "recall")),
            ("precision", 4, "Precision by class", "Precision of each class by epoch", "Of those called, how many are it.",
             figures.by_class(epochs, "precision")),
        ]  # fmt: skip
    if "residuals" in last:
        found.append(
            ("residuals", 12, "What came less what was predicted", "Rows by residual, last epoch, validation rows",
             "Validation rows of the last epoch. The outermost bars hold what lies beyond.",
             figures.residuals(last["residual_edges"], last["residuals"]))
        )  # fmt: skip
    names = ("id", "span", "head", "alternative", "says", "figure")
    return [
        dict(zip(names, card, strict=True)) | {"id": f"analytics-{card[0]}", "fitted": "height" in card[-1]["layout"]}
        for card in found
    ]
