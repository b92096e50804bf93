"""Rollback: a run that diverged → its last good epoch with a smaller learning rate, so many times as the strategy allows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from strategies_app.grammar.schema import Training
from training.core.values import EpochMetrics, Refusal
from training.trainer import stability
from training.trainer.engine import Engine, EpochSums
from training.trainer.state import CheckpointError, State

#: Each rollback multiplies the learning rate by this. Where the run diverges again, the next one does so again.
RATE_FACTOR = 0.5


class Diverged(Refusal):
    """Training left the finite numbers; the message says when, what, and what to try."""


def require_finite(epoch: int, sums: EpochSums, network: nn.Module) -> None:
    """Before anything is offered for saving, so that every saved state is finite."""
    what = sums.broken
    if what is None and not np.isfinite(sums.loss):
        what = f"the training loss is {sums.loss}"
    if what is None and any(not bool(torch.isfinite(parameter).all()) for parameter in network.parameters()):
        what = "a weight is not a finite number"
    if what:
        raise Diverged(f"epoch {epoch + 1}: {what}")


def require_finite_validation(metrics: EpochMetrics) -> None:
    if not np.isfinite(metrics["val_loss"]):
        raise Diverged(f"epoch {metrics['epoch'] + 1}: the validation loss is {metrics['val_loss']}")


def require_way_back(at: State, training: Training, guessing: float) -> None:
    """A loss that rises for good is left by a rollback while there is one; without one the run goes on and says so."""
    if len(at.rollbacks) >= stability.rollbacks_allowed(training):
        return
    found = stability.diverging(at.history, guessing)
    if found:
        raise Diverged(f"epoch {at.epochs_completed}: {found.seen} since epoch {found.since + 1}")


def with_good(after: State, before: State, training: Training, guessing: float) -> State:
    """The state after an epoch, with the last good one beside it where the strategy wants to be able to go back."""
    if not stability.rollbacks_allowed(training) or stability.is_good(after.history, guessing):
        return after
    return replace(after, good=before.good or before)


def go_back(at: State, problem: Diverged, training: Training, engine: Engine) -> State:
    """The last good epoch's end with a smaller rate, in the network and optimizer too; Diverged if no rollback is left."""
    allowed, count = stability.rollbacks_allowed(training), len(at.rollbacks) + 1
    if count > allowed:
        what = f"{problem}, after {allowed} rollback{'s' * (allowed > 1)}" if allowed else str(problem)
        raise Diverged(stability.divergence_text(what, at.history, training, at.schedule.rate)) from None
    good = at.good or at
    schedule = replace(good.schedule, rate=good.schedule.rate * RATE_FACTOR)
    event = {
        "epoch": at.epochs_completed,
        "to_epoch": good.epochs_completed - 1,
        "learning_rate": schedule.rate,
        "text": f"{problem}; went back to the {_end(good)} and cut the learning rate to {schedule.rate:.4g} "
        f"(rollback {count} of {allowed})",
    }
    return put(replace(good, schedule=schedule, rollbacks=(*at.rollbacks, event), micro_batch=engine.micro_batch), engine)


def put(at: State, engine: Engine) -> State:
    """Give the engine the weights and the optimizer of a state; gives that state."""
    engine.network.load_state_dict(at.model)
    engine.micro_batch = at.micro_batch
    try:
        engine.restore_optimizer(at.optimizer)
    except ValueError as problem:
        raise CheckpointError(f"the checkpoint does not fit this network: {problem}") from None
    return at


def first_rate(at: State, training: Training) -> float:
    """The rate that schedules of the epoch count from: the strategy's, cut by every rollback."""
    return training.learning_rate * RATE_FACTOR ** len(at.rollbacks)


def told(at: State, metrics: EpochMetrics, guessing: float) -> EpochMetrics:
    """What an epoch's row says beside its figures: how often the run went back so far, and what is wrong since this epoch."""
    known = at.history[-1].get("rollbacks", 0) if at.history else 0
    fresh = [stability.Finding("rollback", event["epoch"], event["text"]) for event in at.rollbacks[known:]]
    fresh += stability.news((*at.history[-stability.WINDOW :], metrics), guessing)
    counted = {"rollbacks": len(at.rollbacks)} if at.rollbacks else {}
    return {**counted, **({"findings": [finding.plain() for finding in fresh]} if fresh else {})}


def told_in_all(at: State) -> list[str]:
    """Every rollback and finding of a run, each once: also of epochs that were gone back over."""
    return list(dict.fromkeys([*(event["text"] for event in at.rollbacks), *stability.texts(at.history)]))


def _end(good: State) -> str:
    return f"end of epoch {good.epochs_completed}" if good.epochs_completed else "beginning"
