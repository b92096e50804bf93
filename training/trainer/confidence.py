"""Certainty: what a network says about validation rows → how sure it is, how right it is when it is sure, how it errs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.trainer import metrics

#: Bins of confidence and of entropy over [0, 1], of the calibration curve, and of residuals over ± RESIDUAL_WIDTH deviations.
BINS, CALIBRATION_BINS, RESIDUAL_BINS, RESIDUAL_WIDTH = 20, 15, 24, 3.0


def of_classes(labels: NDArray[np.int64], chances: NDArray[np.float64], names: Sequence[str]) -> dict[str, Any]:
    """labels (n,), class probabilities (n, k) → per class precision and recall, balance, histograms and calibration.

    precision: of those called a class, the share that is of it, None if none was called; recall: of those of it, the share
    that was called, None if there is none. confidence is the largest probability of a row. entropy is
    −Σ p ln p / ln k: 0 sure, 1 all classes alike (Shannon, 1948).
    """
    called, confidence = chances.argmax(axis=1), chances.max(axis=1)
    matrix = metrics.confusion(labels, called, len(names))
    entropy = -(chances * np.log(np.where(chances > 0, chances, 1.0))).sum(axis=1) / np.log(max(len(names), 2))
    right = called == labels
    return {
        "per_class": per_class(matrix, names),
        "balance": balance(matrix),
        "confidence_mean": float(confidence.mean()),
        "confidence": histogram(confidence),
        "entropy_mean": float(entropy.mean()),
        "entropy": histogram(entropy),
        **calibration(confidence, right),
    }


def per_class(matrix: NDArray[np.int64], names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Confusion matrix, rows are the true class → class → precision, recall, share and predicted_share."""
    right, true, called = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    total = max(int(matrix.sum()), 1)
    return {
        name: {
            "precision": float(right[i] / called[i]) if called[i] else None,
            "recall": float(right[i] / true[i]) if true[i] else None,
            "share": float(true[i] / total),
            "predicted_share": float(called[i] / total),
        }
        for i, name in enumerate(names)
    }


def balance(matrix: NDArray[np.int64]) -> float:
    """Class-balance score, in [0, 1]: 1 − ½ Σ |called share − true share|, what the two distributions of classes have in
    common (1 less their total variation distance). 1: each class is called as often as it is there.
    """
    total = max(int(matrix.sum()), 1)
    return float(1 - np.abs(matrix.sum(axis=0) - matrix.sum(axis=1)).sum() / (2 * total))


def histogram(values: NDArray[np.float64], bins: int = BINS) -> list[int]:
    """Rows in each of so many bins of equal width over [0, 1]; the upper end belongs to the last one."""
    places = np.clip((values * bins).astype(np.int64), 0, bins - 1)
    return [int(count) for count in np.bincount(places, minlength=bins)]


def calibration(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> dict[str, Any]:
    """The calibration curve (rows, mean confidence and share right of each bin that has rows), and from it the errors.

    calibration_error: Σ rows/n · |right − confidence| over bins of equal width (Naeini, Cooper, Hauskrecht, 2015; Guo,
    Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, 2017). overconfidence: mean confidence − share right
    of all rows, negative for a network that is surer than it says.
    """
    places = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    rows = np.bincount(places, minlength=bins)
    sure = np.bincount(places, weights=confidence, minlength=bins)
    hits = np.bincount(places, weights=right, minlength=bins)
    curve = [
        {"rows": int(rows[i]), "confidence": float(sure[i] / rows[i]), "right": float(hits[i] / rows[i])}
        for i in np.flatnonzero(rows)
    ]
    return {
        "calibration": curve,
        "calibration_error": float(np.abs(hits - sure).sum() / max(len(confidence), 1)),
        "overconfidence": float(confidence.mean() - right.mean()),
    }


def of_returns(realised: NDArray[np.float64], predicted: NDArray[np.float64], scale: float) -> dict[str, Any]:
    """Realised and predicted returns (n,), the deviation of the training labels → the residuals, realised − predicted.

    Bins of equal width over ± three deviations of the training labels, the same in every epoch; what lies beyond is counted
    in the outermost ones.
    """
    residuals = realised - predicted
    edges = np.linspace(-RESIDUAL_WIDTH * scale, RESIDUAL_WIDTH * scale, RESIDUAL_BINS + 1)
    places = np.clip(np.searchsorted(edges, residuals, side="right") - 1, 0, RESIDUAL_BINS - 1)
    return {
        "residual_mean": float(residuals.mean()),
        "residual_deviation": float(residuals.std()),
        "residual_edges": edges.tolist(),
        "residuals": [int(count) for count in np.bincount(places, minlength=RESIDUAL_BINS)],
    }
