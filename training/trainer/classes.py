"""Classes: the labels of the training rows → the weight of each class in the loss."""

from __future__ import annotations

import numpy as np

from training.trainer.networks import TrainingError
from training.values import Dataset, Splits


def learn_class_weights(dataset: Dataset, splits: Splits, kind: str) -> tuple[list[float], list[str]]:
    """Weights (k,) learned on the training rows, and warnings; TrainingError if there is nothing to learn from.

    balanced: n / (k·n_c) over the k classes that occur in train; a class that does not gets weight 0.
    none: 1 for every class.
    """
    for name, positions in (("training", splits.train), ("validation", splits.validation)):
        if not len(positions):
            raise TrainingError(f"no {name} rows are left: choose a longer date range, shorter labels or another data_split")
    names = dataset.class_names
    if not names:
        raise TrainingError("the label has no classes, and regression is not available yet")
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
