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
from training.trainer import batches, precision, rollback, stability, state
from training.trainer.analytics import Analyst, Sink
from training.trainer.classes import learn_row_weights, weights_digest
from training.trainer.device import repeatable
from training.trainer.engine import Engine, Reference
from training.trainer.networks import build_network, fit_normalization
from training.trainer.placement import place
from training.trainer.rollback import Diverged
from training.trainer.schedule import Monitor, Schedule
from training.trainer.targets import Target, learn_target
from training.trainer.validation import Validation
from training.values import BatchMetrics, Callback, Dataset, EpochMetrics, Parts, Splits, collapse_notes


@dataclass(frozen=True)
class Fitted:
    """A trained network: best weights, evaluation mode, on the CPU.

    history: one dict per epoch (see `fit`). best_epoch counts from 0. class_weights (k,) (none for returns), offset
    and scale float32 (f,), and target_scale (the deviation of the returns, None for classes) were learned on the
    training rows. seed, threads, engine, fused, device and
    micro_batch (rows at once: the batch size, or less after memory ran out) say how it was computed.
    rollbacks: every return to a good epoch after the run diverged (see `rollback.go_back`).
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
    micro_batch: int
    target_scale: float | None = None
    rollbacks: tuple[EpochMetrics, ...] = ()
    precision: str = "float32"


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
    resident_limit: int | None = None,
    on_analytics: Sink | None = None,
) -> Fitted:
    """Train, from the first epoch or from a checkpoint; both ways end in the same bits.

    Each epoch gives a dict: epoch (from 0), train_loss, val_loss, val_accuracy, val_balanced_accuracy,
    val_mcc, predicted_shares (per class, on validation; for returns others, see `Validation.measure`),
    learning_rate, gradient_norm (largest before clipping), seconds, samples_per_second, micro_batch if it is
    smaller than the batch, rollbacks if there were any, and findings (see `stability`). Rows of more bytes than
    `resident_limit`, or than the device has room for, are streamed: the bits are the same. `on_analytics` gets a
    record of the inside of every epoch (see `analytics.Analyst`) before `on_epoch_end` hears of it; the bits are
    the same with it and without.
    Raises TrainingError, Diverged, CheckpointError, and whatever the callback raises.
    """
    callback.on_stage("train", 0.0)
    torch.set_num_threads(threads)
    training = spec.training
    target, warnings = learn_target(dataset, splits, training)
    row_weights = learn_row_weights(dataset, splits)
    guessing = stability.guessing_loss(training, len(dataset.class_names))
    last_bars = dataset.rows.last_bars(splits.train)
    offset, scale, constant = fit_normalization(dataset.rows.features, dataset.normalization, last_bars)
    warnings += [_named(text, dataset.feature_names) for text in constant]

    with repeatable(device):
        network = build_network(spec, len(dataset.feature_names), spec.output_count, offset, scale).to(device)
        computed = precision.used(training.precision, device, network)
        warnings += [text for text in [precision.remark(training.precision, device, network)] if text]
        rows = place(
            dataset.rows.features, target.labels, device, resident_limit, row_weights, dataset.rows.ends, dataset.window
        )  # fmt: skip
        validation = Validation(dataset, splits, rows, target)
        engine: Engine = Reference(network, training, rows, target.step_weights(training, device), fused)
        analyst = Analyst(network, validation) if on_analytics is not None else None
        engine.watch = analyst.steps if analyst is not None else None
        facts = _facts(dataset, splits, spec, target, weights_digest(row_weights), device, threads, engine.name, fused, computed)
        first = _first_state(engine, training.learning_rate)
        at = first if resume is None else rollback.put(state.from_parts(resume, facts, engine.network.state_dict()), engine)
        symbols = dataset.rows.symbols[splits.train]
        batch = BatchMetrics(training.epochs, batches.batch_count(len(splits.train), training.batch_size))
        callback.on_stage("train", at.epochs_completed / max(training.epochs, at.epochs_completed))

        while at.epochs_completed < training.epochs and not at.monitor.exhausted(training.early_stopping):
            epoch = batch.epoch = at.epochs_completed
            engine.set_rate(at.schedule.rate)
            order = splits.train[batches.epoch_order(training.seed, epoch, len(splits.train), symbols, training.sampling)]
            started = time.perf_counter()
            sums = engine.train_epoch(order, batches.torch_seed(training.seed, epoch), batch, callback.on_batch_end)
            seconds = time.perf_counter() - started
            try:
                rollback.require_finite(epoch, sums, network)
                logits = validation.logits(network)
                metrics: EpochMetrics = {
                    "epoch": epoch,
                    "train_loss": sums.loss,
                    **validation.measure(logits, training),
                    "learning_rate": at.schedule.rate,
                    "gradient_norm": sums.gradient_norm,
                    "seconds": seconds,
                    "samples_per_second": len(order) / seconds,
                    **({"micro_batch": engine.micro_batch} if engine.micro_batch < training.batch_size else {}),
                }
                rollback.require_finite_validation(metrics)
                metrics.update(rollback.told(at, metrics, guessing))
                following = rollback.with_good(_next_state(at, spec, engine, metrics), at, training, guessing)
                rollback.require_way_back(following, training, guessing)
            except Diverged as problem:
                at = rollback.go_back(at, problem, training, engine)
                continue
            at = following
            if analyst is not None and on_analytics is not None:
                on_analytics(analyst.record(metrics, logits, at.monitor.best_epoch))
            callback.on_epoch_end(dict(metrics), functools.partial(state.to_parts, at, facts))
            callback.on_stage("train", at.epochs_completed / training.epochs)

    best = build_network(spec, len(dataset.feature_names), spec.output_count, offset, scale)
    best.load_state_dict(at.best_model)
    return Fitted(
        network=best.eval(),
        history=[dict(metrics) for metrics in at.history],
        best_epoch=at.monitor.best_epoch,
        epochs_completed=at.epochs_completed,
        early_stopped=at.epochs_completed < training.epochs,
        class_weights=target.class_weights,
        offset=offset,
        scale=scale,
        warnings=[
            *warnings,
            *_memory_warnings(at.history, training.batch_size),
            *collapse_notes(at.history),
            *rollback.told_in_all(at),
        ],
        seed=training.seed,
        threads=threads,
        engine=engine.name,
        fused=fused,
        device=device,
        micro_batch=at.micro_batch,
        target_scale=target.scale,
        rollbacks=at.rollbacks,
        precision=computed,
    )


def _facts(
    dataset: Dataset,
    splits: Splits,
    spec: StrategySpec,
    target: Target,
    row_weights: str | None,
    device: str,
    threads: int,
    engine: str,
    fused: bool,
    computed: str,
) -> state.Facts:
    plain = spec.plain()
    sections = {name: plain[name] for name in ("model", "training")}
    names = (dataset.feature_names, dataset.class_names)
    learned = (tuple(target.class_weights), target.scale)
    rows = (len(splits.train), row_weights)
    return state.Facts(
        sections,
        *names,
        *learned,
        *rows,
        device,
        threads,
        engine,
        fused,
        computed,
        spec.plugins,
    )


def _first_state(engine: Engine, rate: float) -> state.State:
    model = state.clone(engine.network.state_dict())
    return state.State(0, model, {}, model, Schedule(rate), Monitor(), (), engine.micro_batch)


def _next_state(at: state.State, spec: StrategySpec, engine: Engine, metrics: EpochMetrics) -> state.State:
    """The run after one more epoch, cloned whole: later epochs change nothing in it."""
    training, done = spec.training, at.epochs_completed + 1
    schedule, monitor = replace(at.schedule), replace(at.monitor)
    model = state.clone(engine.network.state_dict())
    improved = monitor.see(training.early_stopping, metrics["epoch"], metrics[training.early_stopping.monitor])
    first_rate = rollback.first_rate(at, training)
    schedule.advance(training.lr_scheduler, first_rate, done, training.epochs, metrics["val_loss"])
    best = model if improved else at.best_model
    history, optimizer = (*at.history, metrics), state.clone(engine.optimizer_tensors())
    return state.State(done, model, optimizer, best, schedule, monitor, history, engine.micro_batch, at.rollbacks)


def _memory_warnings(history: tuple[EpochMetrics, ...], batch_size: int) -> list[str]:
    """The same for a run that was resumed: read from the history, not from what happened in this process."""
    smaller = [metrics for metrics in history if "micro_batch" in metrics]
    if not smaller:
        return []
    first, rows = smaller[0]["epoch"] + 1, smaller[-1]["micro_batch"]
    return [f"memory ran out in epoch {first}: batches of {batch_size} rows were computed in pieces of {rows}"]


def _named(warning: str, feature_names: tuple[str, ...]) -> str:
    """'feature 3 is …' → 'feature 1h_macd_raw is …'."""
    noun, number, rest = warning.split(" ", 2)
    return f"{noun} {feature_names[int(number)]} {rest}"
