"""Targets: the labels of a run → what its network learns, with the weights of classes and rows, and the loss."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from strategies_app.grammar.schema import Training
from training.core.values import Dataset, Splits, rows_by_symbol
from training.trainer.networks import TrainingError


@dataclass(frozen=True)
class Target:
    """What a network learns, learned itself on the training rows only.

    labels (n,): class numbers int64, or returns float32 in units of `scale`. class_weights: one per
    class, empty for returns. scale: the deviation of the training returns, None for classes.
    """

    labels: NDArray[Any]
    class_weights: list[float]
    scale: float | None = None

    def step_weights(self, training: Training, device: str) -> torch.Tensor | None:
        """Weights (k,) of the classes in a training step; None: all one."""
        if self.scale is not None or training.class_weights == "none":
            return None
        return torch.tensor(self.class_weights, device=device)


def learn_target(dataset: Dataset, splits: Splits, training: Training) -> tuple[Target, list[str]]:
    """The target and warnings; TrainingError if there is nothing to learn."""
    labels = dataset.rows.labels
    _refuse_loss(bool(dataset.class_names), training.loss_name)
    if dataset.class_names:
        weights, warnings = learn_class_weights(dataset, splits, training.class_weights)
        return Target(labels.astype(np.int64, copy=False), weights), warnings
    refuse_empty(splits)
    scale = learn_scale(labels, splits.train)
    return Target(scaled(labels, scale), [], scale), []


def _refuse_loss(has_classes: bool, loss: str) -> None:
    """A strategy from a file was checked by its reader; one made in Python may say anything."""
    wanted = ("cross_entropy", "focal") if has_classes else ("huber", "mse")
    if loss not in wanted:
        kind = "class labels" if has_classes else "labels that are returns"
        raise TrainingError(f"loss {loss} does not fit {kind}, wanted {' or '.join(wanted)}")


def learn_scale(returns: NDArray[np.float64], train: NDArray[np.int64]) -> float:
    """The population deviation of the returns at `train`; all others play no part."""
    known = returns[train]
    scale = float(known.std())
    if known.min() == known.max() or not scale > 0:
        raise TrainingError(
            f"every training row has the return {known[0]:g}, so there is nothing to learn: wanted bars whose price moves"
        )
    return scale


def scaled(returns: NDArray[np.float64], scale: float) -> NDArray[np.float32]:
    """Returns as the loss sees them, and so huber_delta: float32 (n,) in units of `scale`."""
    return (returns / scale).astype(np.float32)


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


#: (logits (b, k) and labels int64 (b,), or returns (b, 1) and float32 (b,); weights of the rows (b,) or None) → mean loss ().
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def make_loss(training: Training, weights: torch.Tensor | None) -> Loss:
    """The mean loss of a training step. weights float32 (k,), None: all one."""

    def weighted(logits: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        if rows is None and training.loss_name == "cross_entropy":
            return functional.cross_entropy(logits, labels, weight=weights)
        losses = row_losses(logits, labels, training)
        if rows is None and weights is None:
            return losses.mean()
        of_rows = row_weights(labels, weights, rows)
        return (of_rows * losses).sum() / of_rows.sum()

    return weighted


def row_weights(labels: torch.Tensor, weights: torch.Tensor | None, rows: torch.Tensor | None = None) -> torch.Tensor:
    """w per row, float32 (n,). weights float32 (k,) of the classes, rows float32 (n,) of the rows; None: all one."""
    if weights is None:
        return torch.ones_like(labels, dtype=torch.float32) if rows is None else rows
    return weights[labels] if rows is None else weights[labels] * rows


def summed_loss(logits: torch.Tensor, labels: torch.Tensor, training: Training, of_rows: torch.Tensor) -> torch.Tensor:
    """Σ w·l (), for a part of a batch whose Σ w is known as a whole. of_rows float32 (b,): w per row."""
    return (of_rows * row_losses(logits, labels, training)).sum()


def row_losses(logits: torch.Tensor, labels: torch.Tensor, training: Training) -> torch.Tensor:
    """l per row (n,), unweighted.

    logits (n, k) with labels int64 (n,), or predicted returns (n, 1) with true ones float32 (n,).
    huber: ½x² up to huber_delta, linear beyond (Huber 1964); mse: x².
    focal: −(1 − p)^γ · ln p of the true class (Lin et al. 2017). 1 − p is kept above 1e-12, because
    the derivative of its power at 0 is infinite for γ < 1.
    """
    if training.loss_name == "cross_entropy":
        return functional.cross_entropy(logits, labels, reduction="none")
    if training.loss_name == "huber":
        return functional.huber_loss(logits[:, 0], labels, reduction="none", delta=training.huber_delta)
    if training.loss_name == "mse":
        return functional.mse_loss(logits[:, 0], labels, reduction="none")
    log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    return -((-torch.expm1(log_p)).clamp_min(1e-12) ** training.focal_gamma) * log_p


def mean_loss(logits: torch.Tensor, labels: torch.Tensor, training: Training, weights: torch.Tensor | None) -> float:
    """Σ w·l / Σ w over a whole split, summed in float64 on the CPU; weights (k,) of the classes, None: all one.
    NaN if every weight is 0."""
    logits, labels = logits.cpu(), labels.cpu()
    of_rows = row_weights(labels, None if weights is None else weights.cpu()).double()
    return float((of_rows * row_losses(logits, labels, training).double()).sum() / of_rows.sum())
