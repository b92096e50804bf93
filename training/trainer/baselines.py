"""Baselines: answers that cost nothing, on the same rows and by the same measures as the model's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.core.values import Dataset, rows_by_symbol
from training.trainer import metrics

#: What a baseline is compared in; its matrix and classes tell nothing more.
COMPARED = ("rows", "accuracy", "balanced_accuracy", "mcc", "precision", "recall", "f1_score")


def baselines(dataset: Dataset, positions: NDArray[np.int64], train: NDArray[np.int64], bar: int) -> list[dict[str, Any]]:
    """In the order in which they are shown, for the rows at `positions`; learned on the rows at `train`.

    bar: the length of a base bar in µs, so that it is known when a row is decided on.
    """
    labels, names = dataset.rows.labels[positions], dataset.class_names
    shares = np.bincount(dataset.rows.labels[train], minlength=len(names)) / max(len(train), 1)
    majority = int(shares.argmax())
    known = known_last(dataset, positions, majority, bar)
    return [
        {"name": "majority class of train", "class": names[majority]}
        | metrics.class_metrics(metrics.confusion(labels, np.full_like(labels, majority), len(names)), names),
        {"name": "label known last"} | _compared(metrics.class_metrics(metrics.confusion(labels, known, len(names)), names)),
        {"name": "guessing by the shares of train"} | _guessing(labels, shares, names),
    ]


def return_baselines(
    dataset: Dataset, positions: NDArray[np.int64], train: NDArray[np.int64], bar: int
) -> dict[str, NDArray[np.float64]]:
    """Name → predicted returns (n,) of the rows at `positions`, in the order in which they are shown; see `baselines`.

    The last one says that what happened over the last horizon happens again; where none is known, the mean.
    """
    centre = float(dataset.rows.labels[train].mean())
    return {
        "always zero": np.zeros(len(positions)),
        "always the mean of train": np.full(len(positions), centre),
        "the last known return": known_last(dataset, positions, centre, bar),
    }


def known_last(dataset: Dataset, positions: NDArray[np.int64], otherwise: float, bar: int) -> NDArray[Any]:
    """For each row the label of the same symbol's newest row whose label is known when the row's bar closes.

    Known is what ended by then: a label that looks ten bars ahead is ten bars old. `otherwise` where none is known.
    """
    rows = dataset.rows
    answers = np.full(len(positions), otherwise, dtype=rows.labels.dtype)
    count = len(dataset.symbols)
    for own, asked in zip(rows_by_symbol(rows.symbols, count), rows_by_symbol(rows.symbols[positions], count), strict=True):
        if not len(own) or not len(asked):
            continue
        order = np.argsort(rows.label_ends[own], kind="stable")
        newest = np.maximum.accumulate(own[order])  # rows of a symbol are in order of time
        found = np.searchsorted(rows.label_ends[own[order]], rows.times[positions[asked]] + bar, side="right") - 1
        answers[asked[found >= 0]] = rows.labels[newest[found[found >= 0]]]
    return answers


def _guessing(labels: NDArray[np.int64], shares: NDArray[np.float64], names: tuple[str, ...]) -> dict[str, Any]:
    """What drawing classes at random with these shares reaches on average: its correlation with anything is 0."""
    expected = np.outer(np.bincount(labels, minlength=len(names)), shares)
    return _compared(metrics.class_metrics(expected, names)) | {"rows": len(labels), "mcc": 0.0}


def _compared(measured: dict[str, Any]) -> dict[str, Any]:
    return {name: measured[name] for name in COMPARED}
