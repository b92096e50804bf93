"""Classes: the labels of the training rows → the weight of each class, and of each row, in the loss."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from training.core.values import Dataset, Splits, rows_by_symbol
from training.trainer.networks import TrainingError


def learn_class_weights(dataset: Dataset, splits: Splits, kind: str) -> tuple[list[float], list[str]]:
    """Weights (k,) learned on the training rows, and warnings; TrainingError if there is nothing to learn from.

    balanced: n / (k·n_c) over the k classes that occur in train; a class that does not gets weight 0.
    none: 1 for every class.
    """
    refuse_empty(splits)
    names = dataset.class_names
    counts = np.bincount(dataset.rows.labels[splits.train], minlength=len(names))
    present = np.flatnonzero(counts)
    if len(present) < 2:
        raise TrainingError(
            f"every training row has the class {names[present[0]]}, wanted at least two classes: change the labels"
        )
    warnings = [
        f"class {names[c]} does not occur in the training rows and cannot be learned" for c in np.flatnonzero(counts == 0)
    ]
    if kind == "none":
        return [1.0] * len(names), warnings
    weights = [float(len(splits.train) / (len(present) * n)) if n else 0.0 for n in counts]
    if not any(weights[c] for c in np.unique(dataset.rows.labels[splits.validation])):
        raise TrainingError("no validation row has a class that occurs in the training rows: change data_split or the labels")
    return weights, warnings


def refuse_empty(splits: Splits) -> None:
    for name, positions in (("training", splits.train), ("validation", splits.validation)):
        if not len(positions):
            raise TrainingError(f"no {name} rows are left: choose a longer date range, shorter labels or another data_split")


def learn_row_weights(dataset: Dataset, splits: Splits) -> NDArray[np.float32] | None:
    """Weights (n,) whose mean over the training rows of each symbol is 1; None if all rows count alike.

    Rows outside train take no part: theirs are never read, and they change nothing.
    """
    rows = dataset.rows
    if rows.weights is None:
        return None
    weights = np.zeros(len(rows), dtype=np.float32)
    for of in rows_by_symbol(rows.symbols[splits.train], len(dataset.symbols)):
        if len(of):
            raw = rows.weights[splits.train[of]].astype(np.float64)
            weights[splits.train[of]] = raw / raw.mean()
    return weights


def weights_digest(weights: NDArray[np.float32] | None) -> str | None:
    """sha256 of row weights: what a checkpoint keeps of them."""
    return None if weights is None else hashlib.sha256(weights.astype("<f4").tobytes()).hexdigest()
