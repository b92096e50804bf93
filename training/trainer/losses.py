"""Losses: logits and labels → one loss, always Σ w·l / Σ w.

w is the weight of the row's class, in training times the weight of the row itself where rows count differently.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from strategies_app.schema import Training
from training.trainer.networks import TrainingError

#: (logits (b, k), labels int64 (b,), weights of the rows float32 (b,) or None) → mean loss ().
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

    focal: −(1 − p)^γ · ln p of the true class (Lin et al. 2017). 1 − p is kept above 1e-12, because
    the derivative of its power at 0 is infinite for γ < 1.
    """
    if training.loss_name == "cross_entropy":
        return functional.cross_entropy(logits, labels, reduction="none")
    if training.loss_name != "focal":
        raise TrainingError(f"loss {training.loss_name} does not fit class labels, wanted cross_entropy or focal")
    log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    return -((-torch.expm1(log_p)).clamp_min(1e-12) ** training.focal_gamma) * log_p


def mean_loss(logits: torch.Tensor, labels: torch.Tensor, training: Training, weights: torch.Tensor) -> float:
    """Σ w·l / Σ w over a whole split, summed in float64 on the CPU. NaN if every weight is 0."""
    logits, labels, weights = logits.cpu(), labels.cpu(), weights.cpu()
    of_rows = weights[labels].double()
    return float((of_rows * row_losses(logits, labels, training).double()).sum() / of_rows.sum())
