"""Targets: the labels of a run → what its network learns: class numbers with their weights, or returns in one unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from strategies_app.grammar.schema import Training
from training.core.values import Dataset, Splits
from training.trainer.classes import learn_class_weights, refuse_empty
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
