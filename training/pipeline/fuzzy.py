"""Fuzzy memberships: how a membership of the strategy becomes the numbers that the kernels read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies_app.grammar.schema import Membership
from training.pipeline import kernels

TRANSFORMS = {"identity": kernels.IDENTITY, "price_ratio": kernels.PRICE_RATIO, "pct_of_price": kernels.PCT_OF_PRICE}


def kernel_points(membership: Membership) -> tuple[int, tuple[float, float, float, float]]:
    """Shape number and four points of a membership; unused points are 0."""
    points = [float(p) for p in membership.parameters]
    if membership.type == "triangular":
        a, b, c = points
        return kernels.TRAPEZOIDAL, (a, b, b, c)
    if membership.type == "trapezoidal":
        a, b, c, d = points
        return kernels.TRAPEZOIDAL, (a, b, c, d)
    shape = kernels.GAUSSIAN if membership.type == "gaussian" else kernels.SIGMOID
    return shape, (points[0], points[1], 0.0, 0.0)


def transform(values: NDArray[np.float64], close: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """An indicator's values (n,) as the fuzzy set sees them: identity, value / close, or 100·(value/close − 1)."""
    if name == "price_ratio":
        return values / close
    if name == "pct_of_price":
        return 100.0 * (values / close - 1.0)
    return values


def degrees(membership: Membership, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Membership degrees (n,) in [0, 1] of values (n,); NaN for NaN. The same kernel that fills the features."""
    shape, points = kernel_points(membership)
    matrix = np.empty((len(values), 1), dtype=np.float32)
    kernels.fill_features(
        np.ascontiguousarray(values, dtype=np.float64)[None, :],
        np.empty(len(values)),
        np.arange(len(values), dtype=np.int64),
        np.zeros(1, dtype=np.int64),
        np.zeros(1, dtype=np.int64),
        np.array([shape], dtype=np.int64),
        np.array([points]),
        np.zeros(1, dtype=np.int64),
        matrix,
    )
    return matrix[:, 0].astype(np.float64)
