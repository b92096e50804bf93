"""Loop: dataset, splits and strategy → a run that is ready, then a fitted network with its best weights and its history."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from strategies_app.grammar.schema import StrategySpec
from training.core.values import BatchMetrics, Callback, Dataset, EpochMetrics, Parts, Splits, collapse_notes
from training.trainer import batches, rollback, stability, state
from training.trainer.analytics import Analyst, Sink
from training.trainer.batches import place
from training.trainer.device import precision_remark, repeatable, used_precision
from training.trainer.engine import Engine, EpochSums, Reference
from training.trainer.evaluation import Validation
from training.trainer.networks import build_network, fit_normalization
from training.trainer.optimizers import Monitor, Schedule
from training.trainer.rollback import Diverged
from training.trainer.targets import Target, learn_row_weights, learn_target, weights_digest


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
    training, learned = spec.training, learn(dataset, splits, spec)
    with repeatable(device):
        run = set_up(
            dataset, splits, spec, learned, device=device, fused=fused, threads=threads, resident_limit=resident_limit,
            analysed=on_analytics is not None,
        )  # fmt: skip
        at = _begin(run, resume)
        batch = BatchMetrics(training.epochs, batches.batch_count(len(splits.train), training.batch_size))
        callback.on_stage("train", at.epochs_completed / max(training.epochs, at.epochs_completed))

        while at.epochs_completed < training.epochs and not at.monitor.exhausted(training.early_stopping):
            trained = _train_epoch(run, at, batch, callback)
            try:
                at, metrics, logits = _judge_epoch(run, at, trained)
            except Diverged as problem:
                at = rollback.go_back(at, problem, training, run.engine)
                continue
            if run.analyst is not None and on_analytics is not None:
                on_analytics(run.analyst.record(metrics, logits, at.monitor.best_epoch))
            callback.on_epoch_end(dict(metrics), functools.partial(state.to_parts, at, run.facts))
            callback.on_stage("train", at.epochs_completed / training.epochs)
    return _fitted(run, at)


def _begin(run: Run, resume: Parts | None) -> state.State:
    """The state before the first epoch to come: a checkpoint's, or a fresh one."""
    if resume is None:
        return _first_state(run.engine, run.spec.training.learning_rate)
    return rollback.put(state.from_parts(resume, run.facts, run.network.state_dict()), run.engine)


class _Trained(NamedTuple):
    """What an epoch's steps left, over how many rows and in how long."""

    sums: EpochSums
    rows: int
    seconds: float


def _train_epoch(run: Run, at: state.State, batch: BatchMetrics, callback: Callback) -> _Trained:
    """All steps of the next epoch, in the order that its number and the seed decide."""
    training, epoch = run.spec.training, at.epochs_completed
    batch.epoch = epoch
    run.engine.set_rate(at.schedule.rate)
    train = run.splits.train
    order = train[batches.epoch_order(training.seed, epoch, len(train), run.train_symbols, training.sampling)]
    started = time.perf_counter()
    sums = run.engine.train_epoch(order, batches.torch_seed(training.seed, epoch), batch, callback.on_batch_end)
    return _Trained(sums, len(order), time.perf_counter() - started)


def _judge_epoch(run: Run, at: state.State, trained: _Trained) -> tuple[state.State, EpochMetrics, torch.Tensor]:
    """The state after the epoch, its metrics, and the logits of validation; Diverged if the run is to go back instead."""
    training, guessing, epoch = run.spec.training, run.learned.guessing, at.epochs_completed
    sums, engine = trained.sums, run.engine
    rollback.require_finite(epoch, sums, run.network)
    logits = run.validation.logits(run.network)
    metrics: EpochMetrics = {
        "epoch": epoch,
        "train_loss": sums.loss,
        **run.validation.measure(logits, training),
        "learning_rate": at.schedule.rate,
        "gradient_norm": sums.gradient_norm,
        "seconds": trained.seconds,
        "samples_per_second": trained.rows / trained.seconds,
        **({"micro_batch": engine.micro_batch} if engine.micro_batch < training.batch_size else {}),
    }
    rollback.require_finite_validation(metrics)
    metrics.update(rollback.told(at, metrics, guessing))
    following = rollback.with_good(_next_state(at, run.spec, engine, metrics), at, training, guessing)
    rollback.require_way_back(following, training, guessing)
    return following, metrics, logits


def _fitted(run: Run, at: state.State) -> Fitted:
    """The best weights in a network of their own, and how the run went."""
    training, learned, facts = run.spec.training, run.learned, run.facts
    best = fresh_network(run.dataset, run.spec, learned)
    best.load_state_dict(at.best_model)
    return Fitted(
        network=best.eval(),
        history=[dict(metrics) for metrics in at.history],
        best_epoch=at.monitor.best_epoch,
        epochs_completed=at.epochs_completed,
        early_stopped=at.epochs_completed < training.epochs,
        class_weights=learned.target.class_weights,
        offset=learned.offset,
        scale=learned.scale,
        warnings=[
            *run.warnings,
            *_memory_warnings(at.history, training.batch_size),
            *collapse_notes(at.history),
            *rollback.told_in_all(at),
        ],
        seed=training.seed,
        threads=facts.threads,
        engine=facts.engine,
        fused=facts.fused,
        device=facts.device,
        micro_batch=at.micro_batch,
        target_scale=learned.target.scale,
        rollbacks=at.rollbacks,
        precision=facts.precision,
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


@dataclass(frozen=True)
class Learned:
    """What the training rows say before the first step: row_weights (n,), None if all rows count alike, offset and scale
    float32 (f,). guessing is the loss of knowing nothing (see `stability.guessing_loss`)."""

    target: Target
    row_weights: NDArray[np.float32] | None
    offset: NDArray[np.float32]
    scale: NDArray[np.float32]
    guessing: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One network on its device with the rows it learns from; only the engine changes while it runs."""

    dataset: Dataset
    splits: Splits
    spec: StrategySpec
    learned: Learned
    network: nn.Module
    engine: Engine
    validation: Validation
    analyst: Analyst | None
    facts: state.Facts
    train_symbols: NDArray[np.int32]
    warnings: tuple[str, ...]


def learn(dataset: Dataset, splits: Splits, spec: StrategySpec) -> Learned:
    """From the training rows only. Raises TrainingError if nothing can be learned from them."""
    target, warnings = learn_target(dataset, splits, spec.training)
    row_weights = learn_row_weights(dataset, splits)
    guessing = stability.guessing_loss(spec.training, len(dataset.class_names))
    last_bars = dataset.rows.last_bars(splits.train)
    offset, scale, constant = fit_normalization(dataset.rows.features, dataset.normalization, last_bars)
    named = [_named(text, dataset.feature_names) for text in constant]
    return Learned(target, row_weights, offset, scale, guessing, (*warnings, *named))


def set_up(
    dataset: Dataset,
    splits: Splits,
    spec: StrategySpec,
    learned: Learned,
    *,
    device: str,
    fused: bool,
    threads: int,
    resident_limit: int | None,
    analysed: bool,
) -> Run:
    """Network, rows and engine on the device; with `analysed`, an analyst watches the engine's steps."""
    training, target = spec.training, learned.target
    network = fresh_network(dataset, spec, learned).to(device)
    computed = used_precision(training.precision, device, network)
    remark = precision_remark(training.precision, device, network)
    rows = place(
        dataset.rows.features, target.labels, device, resident_limit, learned.row_weights, dataset.rows.ends, dataset.window
    )  # fmt: skip
    validation = Validation(dataset, splits, rows, target)
    engine: Engine = Reference(network, training, rows, target.step_weights(training, device), fused)
    analyst = Analyst(network, validation) if analysed else None
    engine.watch = analyst.steps if analyst is not None else None
    plain = spec.plain()
    facts = state.Facts(
        strategy={name: plain[name] for name in ("model", "training")},
        feature_names=dataset.feature_names,
        class_names=dataset.class_names,
        class_weights=tuple(target.class_weights),
        target_scale=target.scale,
        train_rows=len(splits.train),
        row_weights=weights_digest(learned.row_weights),
        device=device,
        threads=threads,
        engine=engine.name,
        fused=fused,
        precision=computed,
        plugins=spec.plugins,
    )
    warnings = (*learned.warnings, remark) if remark else learned.warnings
    symbols = dataset.rows.symbols[splits.train]
    return Run(dataset, splits, spec, learned, network, engine, validation, analyst, facts, symbols, warnings)


def fresh_network(dataset: Dataset, spec: StrategySpec, learned: Learned) -> nn.Module:
    """With its first weights, which the strategy's seed decides, on the CPU."""
    return build_network(spec, len(dataset.feature_names), spec.output_count, learned.offset, learned.scale)


def _named(warning: str, feature_names: tuple[str, ...]) -> str:
    """'feature 3 is …' → 'feature 1h_macd_raw is …'."""
    noun, number, rest = warning.split(" ", 2)
    return f"{noun} {feature_names[int(number)]} {rest}"
