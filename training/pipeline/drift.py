"""Drift: how far the rows that judge a model are distributed otherwise than the rows that it learned from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Groups of equal size, cut at the training rows' own quantiles.
GROUPS = 10
#: From where on a drift is moderate and large: the thresholds of Siddiqi, Credit Risk Scorecards (2006).
MODERATE, LARGE = 0.10, 0.25
#: The 95 % point of chi-squared with GROUPS − 1 degrees of freedom.
_CHI_SQUARED = 16.92


def stability_index(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Population stability index (f,) of the columns of first (n, f) and second (m, f): Σ (q − p)·ln(q / p) over groups.

    p and q are the shares of the first and the second rows in each of GROUPS groups cut at the quantiles of the first; the
    symmetric divergence of Jeffreys (1946) under the name that credit scoring gave it. Half a row is added to each group,
    so that an empty one is no infinity. Quantiles that are the same make one group: a degree that is often 0 keeps its own.
    """
    edges = np.quantile(first, np.arange(1, GROUPS) / GROUPS, axis=0, method="higher")
    found = np.empty(first.shape[1])
    for column in range(first.shape[1]):
        own = np.unique(edges[:, column])
        p, q = (_shares(own, rows[:, column]) for rows in (first, second))
        found[column] = np.sum((q - p) * np.log(q / p))
    return found


def _shares(edges: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float64]:
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1) + 0.5
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def class_index(first: NDArray[np.int64], second: NDArray[np.int64], classes: int) -> float:
    """The same of class numbers (n,) and (m,), with the classes as groups."""
    p, q = (np.bincount(labels, minlength=classes) + 0.5 for labels in (first, second))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def drift_word(index: float, first: int, second: int) -> str:
    """`steady`, `moderate` or `large`. Of few rows the index is large by chance: what 95 of 100 draws of so many rows from
    one and the same distribution stay below is steady (Yurdakul, Statistical Properties of PSI, 2018)."""
    chance = _CHI_SQUARED * (1 / first + 1 / second)
    if index <= max(MODERATE, chance):
        return "steady"
    return "large" if index > LARGE else "moderate"
