"""Validation: a network at an epoch's end → what the validation split says about it."""

from __future__ import annotations

import torch
from torch import nn

from strategies_app.grammar.schema import Training
from training.core.values import Dataset, EpochMetrics, Splits
from training.trainer import batches, metrics
from training.trainer.batches import Placed
from training.trainer.evaluation import in_returns, split_logits
from training.trainer.targets import Target, mean_loss


class Validation:
    """The validation rows, read from where the run's rows lie; the target as learned on train."""

    def __init__(self, dataset: Dataset, splits: Splits, rows: Placed, target: Target) -> None:
        self.features = rows.features
        self.last = batches.resident(dataset.rows.last_bars(splits.validation), str(rows.features.device))
        self.labels = target.labels[splits.validation]
        self.realised, self.scale = dataset.rows.labels[splits.validation], target.scale
        self.centre = 0.0 if target.scale is None else float(dataset.rows.labels[splits.train].mean())
        self.class_weights = None if target.scale is not None else torch.tensor(target.class_weights)
        self.class_names = dataset.class_names

    def logits(self, network: nn.Module) -> torch.Tensor:
        """What the network says about the rows: float32 (n, k), or returns in units of the scale (n, 1), on the CPU."""
        return split_logits(network, self.features, self.last)

    def measure(self, logits: torch.Tensor, training: Training) -> EpochMetrics:
        """val_loss, and for classes val_accuracy, val_balanced_accuracy, val_mcc and predicted_shares by class; for
        returns val_mae, val_rmse, val_r2, val_sign_accuracy, val_ic and val_rank_ic (None where predictions are all the same)."""
        loss = mean_loss(logits, torch.from_numpy(self.labels), training, self.class_weights)
        if self.scale is not None:
            told = metrics.return_metrics(in_returns(logits, self.scale), self.realised, self.centre)
            return {"val_loss": loss, **{f"val_{name}": told[name] for name in metrics.MEASURES}}
        matrix = metrics.confusion(self.labels, logits.argmax(dim=1).numpy(), len(self.class_names))
        shares = matrix.sum(axis=0) / matrix.sum()
        return {
            "val_loss": loss,
            "val_accuracy": metrics.accuracy(matrix),
            "val_balanced_accuracy": metrics.balanced_accuracy(matrix),
            "val_mcc": metrics.matthews_correlation(matrix),
            "predicted_shares": dict(zip(self.class_names, shares.tolist(), strict=True)),
        }
