"""Validation: a network at an epoch's end → what the validation split says about it."""

from __future__ import annotations

import torch
from torch import nn

from strategies_app.schema import Training
from training.trainer import batches, measures
from training.trainer.evaluation import split_logits
from training.trainer.losses import mean_loss
from training.trainer.placement import Placed
from training.values import Dataset, EpochMetrics, Splits


class Validation:
    """The validation rows, read from where the run's rows lie; class weights as learned on train."""

    def __init__(self, dataset: Dataset, splits: Splits, rows: Placed, class_weights: list[float]) -> None:
        self.features = rows.features
        self.last = batches.resident(dataset.rows.last_bars(splits.validation), str(rows.features.device))
        self.labels = dataset.rows.labels[splits.validation]
        self.class_weights = torch.tensor(class_weights)
        self.class_names = dataset.class_names

    def measure(self, network: nn.Module, training: Training) -> EpochMetrics:
        """val_loss, val_accuracy, val_balanced_accuracy, val_mcc and predicted_shares by class."""
        logits = split_logits(network, self.features, self.last)
        matrix = measures.confusion(self.labels, logits.argmax(dim=1).numpy(), len(self.class_names))
        shares = matrix.sum(axis=0) / matrix.sum()
        return {
            "val_loss": mean_loss(logits, torch.from_numpy(self.labels), training, self.class_weights),
            "val_accuracy": measures.accuracy(matrix),
            "val_balanced_accuracy": measures.balanced_accuracy(matrix),
            "val_mcc": measures.correlation(matrix),
            "predicted_shares": dict(zip(self.class_names, shares.tolist(), strict=True)),
        }
