"""Schedule: epochs and validation losses → the learning rate of the next epoch, and when to stop."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from strategies_app.grammar.schema import EarlyStopping, Scheduler

#: A validation loss must fall by this fraction to count for reduce_on_plateau, as torch's scheduler has it.
PLATEAU_THRESHOLD = 1e-4


@dataclass
class Schedule:
    """The learning rate. All but reduce_on_plateau are functions of the epoch; that one counts epochs without progress."""

    rate: float
    best: float | None = None
    waited: int = 0

    def advance(self, scheduler: Scheduler, first_rate: float, done: int, epochs: int, loss: float) -> None:
        """`done` epochs of `epochs` are trained, the last one reached validation loss `loss`: set the next rate."""
        match scheduler.type:
            case "step":
                self.rate = first_rate * _gamma(scheduler, 0.1) ** (done // scheduler.step_size)
            case "exponential":
                self.rate = first_rate * _gamma(scheduler, 0.95) ** done
            case "cosine":
                low = scheduler.floor(first_rate)
                self.rate = low + (first_rate - low) * (1 + math.cos(math.pi * done / epochs)) / 2
            case "reduce_on_plateau":
                self._plateau(scheduler, first_rate, loss)

    def _plateau(self, scheduler: Scheduler, first_rate: float, loss: float) -> None:
        if self.best is None or loss < self.best * (1 - PLATEAU_THRESHOLD):
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > scheduler.patience:
            self.rate = max(self.rate * scheduler.factor, min(scheduler.floor(first_rate), self.rate))
            self.waited = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _gamma(scheduler: Scheduler, default: float) -> float:
    return default if scheduler.gamma is None else scheduler.gamma


@dataclass
class Monitor:
    """The best epoch by strict comparison, and the patience: epochs since a value better than `reference` by min_delta."""

    best: float | None = None
    best_epoch: int = -1
    reference: float | None = None
    waited: int = 0

    def see(self, stopping: EarlyStopping, epoch: int, value: float) -> bool:
        """Take an epoch's value in; True if it is the best so far."""
        sign = 1.0 if stopping.monitor == "val_loss" else -1.0
        if self.reference is None or sign * value < sign * self.reference - stopping.min_delta:
            self.reference, self.waited = value, 0
        else:
            self.waited += 1
        if self.best is None or sign * value < sign * self.best:
            self.best, self.best_epoch = value, epoch
            return True
        return False

    def exhausted(self, stopping: EarlyStopping) -> bool:
        return stopping.enabled and self.waited >= stopping.patience

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
