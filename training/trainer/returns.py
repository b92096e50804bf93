"""Returns: predicted and realised ones → how far they are apart, and how they move together. Shares of the price: 0.01 is 1 %."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.core.values import SIGNALS, signals_of_returns

Floats = NDArray[np.float64]
#: What a prediction of returns is measured by, in the order in which it is shown.
MEASURES = ("mae", "rmse", "r2", "sign_accuracy", "ic", "rank_ic")
#: Groups of the reliability table, and bars of the histogram of what was missed.
BINS, MISS_BARS = 10, 41


def measures(predicted: Floats, realised: Floats, centre: float) -> dict[str, Any]:
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
        "ic": correlation(predicted, realised),
        "rank_ic": correlation(ranks(predicted), ranks(realised)),
    }


def r_squared(predicted: Floats, realised: Floats, centre: float) -> float | None:
    """See `measures`; None if every realised return is `centre`."""
    reference = float(np.square(realised - centre).sum())
    return 1.0 - float(np.square(realised - predicted).sum()) / reference if reference > 0 else None


def correlation(one: Floats, other: Floats) -> float | None:
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
    edges = np.searchsorted(predicted[order], predicted[order][[len(order) * k // BINS for k in range(BINS)]])
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
