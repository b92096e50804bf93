"""Losses: logits and class labels, or predicted and true returns → one loss, always Σ w·l / Σ w.

w is the weight of the row's class, in training times the weight of the row itself where rows count differently; for
returns, which are in units of their training deviation, it is 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from strategies_app.grammar.schema import Training

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
