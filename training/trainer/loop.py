"""Loop: dataset, splits and strategy → a fitted network with its best weights and the history of every epoch."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from strategies_app.schema import StrategySpec
from training.trainer import batches, measures, state
from training.trainer.classes import learn_class_weights
from training.trainer.device import repeatable
from training.trainer.engine import Engine, EpochSums, Reference
from training.trainer.evaluation import split_logits
from training.trainer.losses import mean_loss
from training.trainer.networks import build_network, fit_normalization
from training.trainer.schedule import Monitor, Schedule
from training.values import BatchMetrics, Callback, Dataset, EpochMetrics, Parts, Refusal, Splits


class Diverged(Refusal):
    """Training left the finite numbers; the message says when, what, and what to try."""


@dataclass(frozen=True)
class Fitted:
    """A trained network: best weights, evaluation mode, on the CPU.

    history: one dict per epoch (see `fit`). best_epoch counts from 0. class_weights (k,), offset and
    scale float32 (f,) were learned on the training rows. seed, threads, engine, fused and device say
    how it was computed.
    """

    network: nn.Module
    history: list[EpochMetrics]
    best_epoch: int
    epochs_completed: int
    early_stopped: bool
    class_weights: list[float]
    offset: NDArray[np.float32]
    scale: NDArray[np.float32]
    warnings: list[str]
    seed: int
    threads: int
    engine: str
    fused: bool
    device: str


def fit(
    dataset: Dataset,
    splits: Splits,
    spec: StrategySpec,
    callback: Callback,
    *,
    device: str = "cpu",
    fused: bool = True,
    threads: int = 1,
    resume: Parts | None = None,
) -> Fitted:
    """Train, from the first epoch or from a checkpoint; both ways end in the same bits.

    Each epoch gives a dict: epoch (from 0), train_loss, val_loss, val_accuracy, val_balanced_accuracy,
    val_mcc, predicted_shares (per class, on validation), learning_rate, gradient_norm (largest before
    clipping), seconds, samples_per_second. Raises TrainingError, Diverged, CheckpointError, and
    whatever the callback raises.
    """
    callback.on_stage("train", 0.0)
    torch.set_num_threads(threads)
    training = spec.training
    class_weights, warnings = learn_class_weights(dataset, splits, training.class_weights)
    offset, scale, constant = fit_normalization(dataset.rows.features, dataset.normalization, splits.train)
    warnings += [_named(text, dataset.feature_names) for text in constant]

    with repeatable(device):
        network = build_network(spec, len(dataset.feature_names), len(dataset.class_names), offset, scale).to(device)
        rows = _Resident(dataset, splits, class_weights, device)
        weights = rows.class_weights if training.class_weights == "balanced" else None
        engine: Engine = Reference(network, training, rows.features, rows.labels, weights, fused)
        facts = _facts(dataset, splits, spec, class_weights, device, threads, engine.name, fused)
        at = _first_state(engine, training.learning_rate) if resume is None else _restored(resume, facts, engine)
        batch = BatchMetrics(training.epochs, batches.batch_count(len(splits.train), training.batch_size))
        callback.on_stage("train", at.epochs_completed / max(training.epochs, at.epochs_completed))

        while at.epochs_completed < training.epochs and not at.monitor.exhausted(training.early_stopping):
            epoch = batch.epoch = at.epochs_completed
            engine.set_rate(at.schedule.rate)
            order = splits.train[
                batches.epoch_order(training.seed, epoch, len(splits.train), rows.train_symbols, training.sampling)
            ]
            started = time.perf_counter()
            sums = engine.train_epoch(order, batches.torch_seed(training.seed, epoch), batch, callback.on_batch_end)
            seconds = time.perf_counter() - started
            _refuse_divergence(epoch, sums, network)
            metrics: EpochMetrics = {
                "epoch": epoch,
                "train_loss": sums.loss,
                **rows.validate(network, spec),
                "learning_rate": at.schedule.rate,
                "gradient_norm": sums.gradient_norm,
                "seconds": seconds,
                "samples_per_second": len(order) / seconds,
            }
            if not np.isfinite(metrics["val_loss"]):
                raise Diverged(f"epoch {epoch + 1}: the validation loss is {metrics['val_loss']}; try a lower learning_rate")
            at = _next_state(at, spec, engine, metrics)
            callback.on_epoch_end(dict(metrics), functools.partial(state.to_parts, at, facts))
            callback.on_stage("train", at.epochs_completed / training.epochs)

    best = build_network(spec, len(dataset.feature_names), len(dataset.class_names), offset, scale)
    best.load_state_dict(at.best_model)
    return Fitted(
        network=best.eval(),
        history=[dict(metrics) for metrics in at.history],
        best_epoch=at.monitor.best_epoch,
        epochs_completed=at.epochs_completed,
        early_stopped=at.epochs_completed < training.epochs,
        class_weights=class_weights,
        offset=offset,
        scale=scale,
        warnings=warnings,
        seed=training.seed,
        threads=threads,
        engine=engine.name,
        fused=fused,
        device=device,
    )


class _Resident:
    """The rows on the training device, and the validation split measured there."""

    def __init__(self, dataset: Dataset, splits: Splits, class_weights: list[float], device: str) -> None:
        self.features = batches.resident(dataset.rows.features, device)
        self.labels = batches.resident(dataset.rows.labels.astype(np.int64, copy=False), device)
        self.class_weights = torch.tensor(class_weights, device=device)
        self.class_names = dataset.class_names
        self.train_symbols = dataset.rows.symbols[splits.train]
        self.validation = batches.resident(splits.validation, device)
        self.validation_labels = dataset.rows.labels[splits.validation]

    def validate(self, network: nn.Module, spec: StrategySpec) -> EpochMetrics:
        logits = split_logits(network, self.features, self.validation)
        labels = torch.from_numpy(self.validation_labels)
        matrix = measures.confusion(self.validation_labels, logits.argmax(dim=1).numpy(), len(self.class_names))
        shares = matrix.sum(axis=0) / matrix.sum()
        return {
            "val_loss": mean_loss(logits, labels, spec.training, self.class_weights),
            "val_accuracy": measures.accuracy(matrix),
            "val_balanced_accuracy": measures.balanced_accuracy(matrix),
            "val_mcc": measures.correlation(matrix),
            "predicted_shares": dict(zip(self.class_names, shares.tolist(), strict=True)),
        }


def _facts(
    dataset: Dataset,
    splits: Splits,
    spec: StrategySpec,
    class_weights: list[float],
    device: str,
    threads: int,
    engine: str,
    fused: bool,
) -> state.Facts:
    plain = spec.plain()
    sections = {name: plain[name] for name in ("model", "training")}
    names = (dataset.feature_names, dataset.class_names)
    return state.Facts(sections, *names, tuple(class_weights), len(splits.train), device, threads, engine, fused)


def _first_state(engine: Engine, rate: float) -> state.State:
    model = state.clone(engine.network.state_dict())
    return state.State(0, model, {}, model, Schedule(rate), Monitor(), ())


def _restored(parts: Parts, facts: state.Facts, engine: Engine) -> state.State:
    at = state.from_parts(parts, facts, engine.network.state_dict())
    engine.network.load_state_dict(at.model)
    try:
        engine.restore_optimizer(at.optimizer)
    except ValueError as problem:
        raise state.CheckpointError(f"the checkpoint does not fit this network: {problem}") from None
    return at


def _next_state(at: state.State, spec: StrategySpec, engine: Engine, metrics: EpochMetrics) -> state.State:
    """The run after one more epoch, cloned whole: later epochs change nothing in it."""
    training, done = spec.training, at.epochs_completed + 1
    schedule, monitor = replace(at.schedule), replace(at.monitor)
    model = state.clone(engine.network.state_dict())
    improved = monitor.see(training.early_stopping, metrics["epoch"], metrics[training.early_stopping.monitor])
    schedule.advance(training.lr_scheduler, training.learning_rate, done, training.epochs, metrics["val_loss"])
    best = model if improved else at.best_model
    return state.State(done, model, state.clone(engine.optimizer_tensors()), best, schedule, monitor, (*at.history, metrics))


def _refuse_divergence(epoch: int, sums: EpochSums, network: nn.Module) -> None:
    """Before anything is offered for saving, so that every saved state is finite."""
    what = None
    if not np.isfinite(sums.loss):
        what = f"the training loss is {sums.loss}"
    elif not np.isfinite(sums.gradient_norm):
        what = f"the gradient norm is {sums.gradient_norm}"
    elif any(not bool(torch.isfinite(parameter).all()) for parameter in network.parameters()):
        what = "a weight is not a finite number"
    if what:
        raise Diverged(f"epoch {epoch + 1}: {what}; try a lower learning_rate or a gradient_clip of 1")


def _named(warning: str, feature_names: tuple[str, ...]) -> str:
    """'feature 3 is …' → 'feature 1h_macd_raw is …'."""
    noun, number, rest = warning.split(" ", 2)
    return f"{noun} {feature_names[int(number)]} {rest}"
