"""Run: dataset, splits and strategy → what stays the same from the first epoch to the last, ready to train on a device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from strategies_app.grammar.schema import StrategySpec
from training.core.values import Dataset, Splits
from training.trainer import device as precision
from training.trainer import stability, state
from training.trainer.analytics import Analyst
from training.trainer.batches import place
from training.trainer.engine import Engine, Reference
from training.trainer.networks import build_network, fit_normalization
from training.trainer.targets import Target, learn_row_weights, learn_target, weights_digest
from training.trainer.validation import Validation


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
    computed = precision.used(training.precision, device, network)
    remark = precision.remark(training.precision, device, network)
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
