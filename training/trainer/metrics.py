"""Measures: a confusion matrix → accuracy, balanced accuracy, MCC, precision, recall and F1. Division by zero gives 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def confusion(labels: NDArray[Any], answers: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """int64 (classes, classes): rows are the true class, columns the predicted one."""
    return np.bincount(labels.astype(np.int64) * classes + answers, minlength=classes * classes).reshape(classes, classes)


def accuracy(matrix: NDArray[Any]) -> float:
    return _ratio(matrix.trace(), matrix.sum())


def balanced_accuracy(matrix: NDArray[Any]) -> float:
    """Mean recall of the classes that occur among the labels."""
    support = matrix.sum(axis=1)
    present = support > 0
    return float((matrix.diagonal()[present] / support[present]).mean()) if present.any() else 0.0


def correlation(matrix: NDArray[Any]) -> float:
    """Matthews correlation for several classes (Gorodkin 2004); 0 if the labels or the answers are all of one class.

    Python's integers, because the products pass 2^63 for a few million rows.
    """
    true, answered = matrix.sum(axis=1).tolist(), matrix.sum(axis=0).tolist()
    total, right = sum(true), int(matrix.trace())
    covariance = right * total - sum(t * a for t, a in zip(true, answered, strict=True))
    spread = (total * total - sum(t * t for t in true)) * (total * total - sum(a * a for a in answered))
    return float(covariance / spread**0.5) if spread else 0.0


def measures(matrix: NDArray[Any], class_names: tuple[str, ...]) -> dict[str, Any]:
    """Everything a confusion matrix tells, JSON-ready.

    precision, recall and f1_score are means over the classes that occur among labels or answers.
    """
    total, support, answered = int(matrix.sum()), matrix.sum(axis=1), matrix.sum(axis=0)
    classes = {}
    for c, name in enumerate(class_names):
        precision, recall = _ratio(matrix[c, c], answered[c]), _ratio(matrix[c, c], support[c])
        classes[name] = {
            "precision": precision,
            "recall": recall,
            "f1_score": _ratio(2 * matrix[c, c], support[c] + answered[c]),
            "support": int(support[c]),
            "share": _ratio(support[c], total),
            "predicted_share": _ratio(answered[c], total),
        }
    seen = [classes[name] for c, name in enumerate(class_names) if support[c] + answered[c]]
    macro = {key: sum(float(c[key]) for c in seen) / len(seen) if seen else 0.0 for key in ("precision", "recall", "f1_score")}
    return {
        "rows": total,
        "accuracy": accuracy(matrix),
        "balanced_accuracy": balanced_accuracy(matrix),
        "mcc": correlation(matrix),
        **macro,
        "per_class": classes,
        "confusion_matrix": matrix.tolist(),
    }


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else 0.0
