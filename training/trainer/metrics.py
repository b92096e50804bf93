"""Metrics: of a confusion matrix, of predicted returns, and of how sure the network is and how right when it is sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.core.values import SIGNALS, signals_of_returns


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


def matthews_correlation(matrix: NDArray[Any]) -> float:
    """Matthews correlation for several classes (Gorodkin 2004); 0 if the labels or the answers are all of one class.

    Python's integers, because the products pass 2^63 for a few million rows.
    """
    true, answered = matrix.sum(axis=1).tolist(), matrix.sum(axis=0).tolist()
    total, right = sum(true), int(matrix.trace())
    covariance = right * total - sum(t * a for t, a in zip(true, answered, strict=True))
    spread = (total * total - sum(t * t for t in true)) * (total * total - sum(a * a for a in answered))
    return float(covariance / spread**0.5) if spread else 0.0


def class_metrics(matrix: NDArray[Any], class_names: tuple[str, ...]) -> dict[str, Any]:
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
        "mcc": matthews_correlation(matrix),
        **macro,
        "per_class": classes,
        "confusion_matrix": matrix.tolist(),
    }


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else 0.0


Floats = NDArray[np.float64]
#: What a prediction of returns is measured by, in the order in which it is shown.
MEASURES = ("mae", "rmse", "r2", "sign_accuracy", "ic", "rank_ic")
#: Groups of the reliability table, and bars of the histogram of what was missed.
RESIDUAL_SCATTER_BINS, MISS_BARS = 10, 41


def return_metrics(predicted: Floats, realised: Floats, centre: float) -> dict[str, Any]:
    """Rows and MEASURES, JSON-ready; None where one is not defined.

    mae, rmse: mean absolute and root mean square of what was missed. r2: 1 − Σ(y − ŷ)² / Σ(y − centre)²,
    centre being the mean of the *training* returns: what could be known before, not the mean of these rows
    (Campbell & Thompson 2008, Review of Financial Studies 21(4), "Predicting Excess Stock Returns Out of Sample").
    sign_accuracy: how often the sign is right, of the rows where both have one. ic, rank_ic: Pearson's
    and Spearman's correlation (the information coefficient of Grinold & Kahn); None if either side is constant.
    """
    missed = realised - predicted
    signed = (predicted != 0) & (realised != 0)
    return {
        "rows": len(realised),
        "mae": float(np.abs(missed).mean()),
        "rmse": float(np.sqrt(np.square(missed).mean())),
        "r2": r_squared(predicted, realised, centre),
        "sign_accuracy": float(((predicted > 0) == (realised > 0))[signed].mean()) if signed.any() else None,
        "ic": pearson_correlation(predicted, realised),
        "rank_ic": pearson_correlation(ranks(predicted), ranks(realised)),
    }


def r_squared(predicted: Floats, realised: Floats, centre: float) -> float | None:
    """See `measures`; None if every realised return is `centre`."""
    reference = float(np.square(realised - centre).sum())
    return 1.0 - float(np.square(realised - predicted).sum()) / reference if reference > 0 else None


def pearson_correlation(one: Floats, other: Floats) -> float | None:
    """Pearson's correlation; None if either is constant. Sums of numpy, whose order is the same on every machine."""
    if one.min() == one.max() or other.min() == other.max():
        return None
    one, other = one - one.mean(), other - other.mean()
    spread = float(np.sqrt((one * one).sum()) * np.sqrt((other * other).sum()))
    return float(np.clip((one * other).sum() / spread, -1.0, 1.0)) if spread > 0 else None


def ranks(values: Floats) -> Floats:
    """From 1, equal values share the mean of theirs: float64 (n,)."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def gain(predicted: Floats, other: Floats, realised: Floats, independent: int) -> dict[str, float | None]:
    """How much of another prediction's squared error is saved, as a share of it, and the margin of that.

    The margin is two standard errors of the mean difference of the squared errors (Diebold & Mariano
    1995), counting only `independent` rows. Both None where the other one misses nothing.
    """
    theirs = np.square(realised - other)
    saved, scale = theirs - np.square(realised - predicted), float(theirs.mean())
    if scale == 0:
        return {"gain": None, "gain_margin": None}
    return {"gain": float(saved.mean()) / scale, "gain_margin": 2 * float(saved.std()) / scale / max(independent, 1) ** 0.5}


def reliability(predicted: Floats, realised: Floats) -> list[dict[str, Any]]:
    """Rows in BINS groups by prediction, lowest first: rows, mean predicted and mean realised return.

    Rows that are predicted the same stay together, so there may be fewer groups.
    """
    order = np.argsort(predicted, kind="stable")
    edges = np.searchsorted(
        predicted[order], predicted[order][[len(order) * k // RESIDUAL_SCATTER_BINS for k in range(RESIDUAL_SCATTER_BINS)]]
    )
    return [
        {"rows": len(part), "predicted": float(predicted[part].mean()), "realised": float(realised[part].mean())}
        for part in np.split(order, np.unique(edges)[1:])
    ]


def misses(predicted: Floats, realised: Floats) -> dict[str, Any]:
    """Histogram of realised − predicted: counts of MISS_BARS equal bars between ±width, which holds 99 % of the rows.
    The outermost bars hold what lies beyond."""
    missed = realised - predicted
    width = float(np.quantile(np.abs(missed), 0.99)) or float(np.abs(missed).max()) or 1e-9
    counts, _ = np.histogram(np.clip(missed, -width, width), bins=MISS_BARS, range=(-width, width))
    return {"width": width, "counts": counts.tolist()}


def by_signal(predicted: Floats, realised: Floats, edge: float) -> dict[str, dict[str, Any]]:
    """Per signal: rows, and the mean return that followed before costs, None without rows."""
    signals = signals_of_returns(predicted, edge)
    found = {}
    for place, name in enumerate(SIGNALS):
        own = realised[signals == place]
        found[name] = {"rows": len(own), "mean_return": float(own.mean()) if len(own) else None}
    return found


#: Bins of confidence and of entropy over [0, 1], of the calibration curve, and of residuals over ± RESIDUAL_WIDTH deviations.
CONFIDENCE_BINS, CALIBRATION_BINS, RESIDUAL_BINS, RESIDUAL_WIDTH = 20, 15, 24, 3.0


def of_classes(labels: NDArray[np.int64], chances: NDArray[np.float64], names: Sequence[str]) -> dict[str, Any]:
    """labels (n,), class probabilities (n, k) → per class precision and recall, balance, histograms and calibration.

    precision: of those called a class, the share that is of it, None if none was called; recall: of those of it, the share
    that was called, None if there is none. confidence is the largest probability of a row. entropy is
    −Σ p ln p / ln k: 0 sure, 1 all classes alike (Shannon, 1948).
    """
    called, confidence = chances.argmax(axis=1), chances.max(axis=1)
    matrix = confusion(labels, called, len(names))
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


def histogram(values: NDArray[np.float64], bins: int = CONFIDENCE_BINS) -> list[int]:
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
