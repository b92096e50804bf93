"""The recipe: a strategy and bars → a bundle, and a bundle and bars → predictions with their signals. Django plays no part.

from training.recipe import load_bars, train_strategy
bars = load_bars(spec, store)
bundle = train_strategy(spec, bars, strategy_text=text)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.schema import StrategySpec, feature_names
from training.core.values import SIGNALS, Callback, Parts, Silent, signals_of, signals_of_returns
from training.pipeline.arguments import require, require_call, require_one_of, require_threads
from training.pipeline.dataset import build_features
from training.pipeline.gate import admit_frames, admitted
from training.pipeline.loading import RunBars, load_bars
from training.pipeline.prepare import FeatureCache, OnStage, Prepared, prepare, prepare_admitted
from training.pipeline.splits import side_names, split_ledger
from training.store.coverage import DataError, duration
from training.trainer.analytics import Sink
from training.trainer.bundle import Bundle
from training.trainer.device import choose_device, devices, environment
from training.trainer.evaluation import evaluate, predicted_returns, probabilities
from training.trainer.loop import Fitted, fit
from training.trainer.metrics import MEASURES as RETURN_MEASURES

__all__ = ["FeatureCache", "Predictions", "Prepared", "RunBars", "load_bars", "predict_bars", "prepare", "train_strategy"]


def train_strategy(
    spec: StrategySpec,
    bars: RunBars,
    *,
    strategy_text: str = "",
    callback: Callback | None = None,
    note: Callable[[str], None] = lambda text: None,
    on_checks: Callable[[Mapping[str, Any]], None] = lambda checks: None,
    device: str | None = None,
    threads: int = 1,
    data_threads: int = 1,
    resume: Parts | None = None,
    cache: FeatureCache | None = None,
    resident_limit: int | None = None,
    memory_limit: int | None = None,
    on_analytics: Sink | None = None,
) -> Bundle:
    """Train on the bars from the first epoch, or from a checkpoint's parts, and evaluate on validation, then on test.

    threads: of the network, which may change its last bits; data_threads: symbols that are worked out at a time, which
    changes nothing. Rows of more bytes than `resident_limit` are moved to the device batch by batch, with the same result.
    memory_limit: see `prepare`.
    `on_analytics` gets a record of the inside of every epoch; it changes nothing.
    on_checks gets what `prepare` found of bars, features and labels, before the first epoch.
    Raises DataError, TrainingError, Diverged and CheckpointError in one sentence each, and whatever
    the callback raises.
    """
    _check_arguments(
        callback=callback, note=note, on_checks=on_checks, strategy_text=strategy_text, device=device, threads=threads,
        data_threads=data_threads, resume=resume, cache=cache, on_analytics=on_analytics, resident_limit=resident_limit,
        memory_limit=memory_limit,
    )  # fmt: skip
    callback, bars = callback or Silent(), admitted(spec, bars)
    prepared = prepare_admitted(spec, bars, callback.on_stage, cache, data_threads, memory_limit)
    for text in prepared.notes:
        note(text)
    on_checks(prepared.checks)
    fitted = fit(
        prepared.dataset, prepared.splits, spec, callback, device=device or choose_device(), threads=threads, resume=resume,
        resident_limit=resident_limit, on_analytics=on_analytics,
    )  # fmt: skip
    for text in fitted.warnings:
        note(text)
    return _bundle(spec, bars, prepared, fitted, strategy_text, callback.on_stage)


def _check_arguments(**given: Any) -> None:
    """WrongArgument where a notebook gives something else than is wanted."""
    if given["callback"] is not None:
        require_call("callback", given["callback"], "on_stage", "on_batch_end", "on_epoch_end")
    for name in ("note", "on_checks", *(["on_analytics"] if given["on_analytics"] is not None else [])):
        require_call(name, given[name])
    require("strategy_text", given["strategy_text"], str, "the text that the strategy was read from")
    require_one_of("device", given["device"], (None, *devices()))
    for name in ("resident_limit", "memory_limit"):
        require(name, given[name], (int, type(None)), "a number of bytes or None")
    require_threads("threads", given["threads"])
    require_threads("data_threads", given["data_threads"])
    require("resume", given["resume"], (dict, type(None)), "a checkpoint's parts or None")
    require("cache", given["cache"], (FeatureCache, type(None)), "a FeatureCache or None")


def _bundle(
    spec: StrategySpec, bars: RunBars, prepared: Prepared, fitted: Fitted, strategy_text: str, on_stage: OnStage
) -> Bundle:
    dataset, splits = prepared.dataset, prepared.splits

    def measured(positions: NDArray[np.int64]) -> Any:
        bar = duration(spec.base_timeframe)
        return evaluate(
            fitted.network, dataset, positions, splits.train, spec.training, fitted.class_weights, bar=bar,
            target_scale=fitted.target_scale, edge=edge_of(spec),
        )  # fmt: skip

    on_stage("evaluate", 0.0)
    validation = measured(splits.validation)
    on_stage("evaluate", 0.5)
    test = measured(splits.test)
    on_stage("evaluate", 1.0)
    evaluations = {name: e for name, e in (("validation", validation), ("test", test)) if e is not None}
    return Bundle(
        network=fitted.network,
        strategy_text=strategy_text,
        spec=spec.plain(),
        feature_names=dataset.feature_names,
        class_names=dataset.class_names,
        normalization=dataset.normalization,
        offset=fitted.offset,
        scale=fitted.scale,
        class_weights=fitted.class_weights,
        target_scale=fitted.target_scale,
        symbols=dataset.symbols,
        timeframes=spec.timeframes,
        first_bars={s: dict(t) for s, t in bars.first_bars.items()},
        sources={s: dict(t) for s, t in bars.sources.items()},
        fingerprints={s: dict(t) for s, t in bars.fingerprints.items()},
        split=split_ledger(dataset, splits, bars),
        versions=environment(),
        threads=fitted.threads,
        engine=fitted.engine,
        device=fitted.device,
        seed=fitted.seed,
        metrics={
            "output_format": "classification" if dataset.class_names else "regression",
            "class_names": list(dataset.class_names),
            "test": None,
            **{name: e.metrics for name, e in evaluations.items()},
            **_training(fitted),
        },
        predictions={name: e.predictions for name, e in evaluations.items()},
        notes=[*prepared.notes, *fitted.warnings],
        plugins=spec.plugins,
        precision=fitted.precision,
    )


def _training(fitted: Fitted) -> dict[str, Any]:
    best = fitted.history[fitted.best_epoch]
    return {
        "history": fitted.history,
        "training": {
            "best_epoch": fitted.best_epoch,
            "epochs_completed": fitted.epochs_completed,
            "early_stopped": fitted.early_stopped,
            **({"rollbacks": list(fitted.rollbacks)} if fitted.rollbacks else {}),
            "train_loss": best["train_loss"],
            "val_loss": best["val_loss"],
            **{name: best.get(f"val_{name}") for name in ("accuracy", *RETURN_MEASURES) if f"val_{name}" in best},
        },
    }


@dataclass(frozen=True)
class Predictions:
    """One symbol's base bars with every feature and a whole window: times (n,) µs UTC, and what is said of each (see `signals`).

    probabilities float32 (n, k); returns float64 (n,): the predicted returns, with which k is 0, None for classes.
    splits: for each bar what the training had to do with its day, one of `pipeline.splits.SIDES`.
    """

    symbol: str
    times: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]
    signals: list[str]
    splits: list[str]
    returns: NDArray[np.float64] | None = None

    @property
    def said(self) -> NDArray[Any]:
        """What the network says of each row: its probabilities (n, k), or its predicted return (n,)."""
        if self.returns is not None:
            return self.returns
        return self.probabilities


def predict_bars(bundle: Bundle, symbol: str, frames: Mapping[str, pd.DataFrame], start: int) -> Predictions:
    """Probabilities or returns, and signals, of one symbol's base bars from `start` (µs) on; frames as `load_bars` gives them.

    They come through the gate: DataError for bars of which nothing can be said. For bars that begin where the training's
    began, features and probabilities are those of training, bit for bit.
    """
    require("bundle", bundle, Bundle, "what train_strategy or load_bundle gives")
    spec = StrategySpec.model_validate(bundle.spec)
    bundle.require_features(feature_names(spec))
    admit_frames(spec, symbol, frames, start)
    features, times, ends = build_features(spec, frames, start)
    if len(times) == 0:
        needed = "all its features" if spec.window == 1 else f"all features in the {spec.window} bars up to it"
        raise DataError(f"no {spec.base_timeframe} bar of {symbol} has {needed}; wanted more bars before the dates asked for")
    sides = side_names(bundle.split, times)
    if bundle.target_scale is not None:
        returns = predicted_returns(bundle.network, features, bundle.target_scale, ends)
        told = [SIGNALS[place] for place in signals_of_returns(returns, edge_of(spec))]
        return Predictions(symbol, times, np.zeros((len(times), 0), np.float32), (), told, sides, returns)
    chances = probabilities(bundle.network, features, ends)
    signals = signals_of(chances, bundle.class_names, spec.decisions.confidence_threshold)
    return Predictions(symbol, times, chances, bundle.class_names, signals, sides)


def edge_of(spec: StrategySpec) -> float:
    """The predicted return that makes a signal. The reader wants costs with every regression."""
    return 0.0 if spec.decisions.cost_model is None else spec.decisions.cost_model.edge
