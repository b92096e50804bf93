"""The recipe: a strategy and bars → a bundle, and a bundle and bars → predictions. Django plays no part.

from training.recipe import load_bars, train_strategy
bars = load_bars(spec, store)
bundle = train_strategy(spec, bars, strategy_text=text)
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.reader import warnings_of
from strategies_app.schema import StrategySpec, feature_names
from training.footprint import PER_BAR, Footprint, exceeds, footprint, must_fit, program_now
from training.memory import free_room, size_text
from training.pipeline import cache as feature_cache
from training.pipeline.checks import check_rows, set_columns
from training.pipeline.coverage import DataError, duration
from training.pipeline.dataset import MatrixOf, build_dataset, build_features, matrix_rows
from training.pipeline.finding import kept, refused
from training.pipeline.loading import RunBars, few_bars, load_bars
from training.pipeline.quality import MINIMUM_ROWS
from training.pipeline.remarks import gathered
from training.pipeline.splits import check_splits, cut_rows
from training.signals import SIGNALS, signals_of, signals_of_returns
from training.trainer.analytics import Sink
from training.trainer.bundle import Bundle
from training.trainer.device import choose_device, environment
from training.trainer.evaluation import evaluate, predicted_returns, probabilities
from training.trainer.loop import Fitted, fit
from training.trainer.returns import MEASURES as RETURN_MEASURES
from training.values import Callback, Dataset, Parts, Silent, Splits, rows_by_symbol

__all__ = ["FeatureCache", "Predictions", "Prepared", "RunBars", "load_bars", "predict_bars", "prepare", "train_strategy"]

#: One class above this share of the training rows is worth a warning: "accuracy" is then easy and empty.
ONE_SIDED = 0.95
OnStage = Callable[[str, float], None]


@dataclass(frozen=True)
class FeatureCache:
    """Where rows are kept between runs, and how many bytes all of them may take."""

    folder: Path
    limit: int


@dataclass(frozen=True)
class Prepared:
    """Everything that training needs, and what the trader should know of it first: notes in words, and `checks` as JSON:
    data (findings of the data gate) and inputs (figures and findings of features and labels, see `check_rows`)."""

    dataset: Dataset
    splits: Splits
    notes: tuple[str, ...]
    checks: Mapping[str, Any]


@dataclass(frozen=True)
class Predictions:
    """One symbol's base bars with every feature and a whole window: times (n,) µs UTC, and what is said of each (see `signals`).

    probabilities float32 (n, k); returns float64 (n,): the predicted returns, with which k is 0, None for classes.
    """

    symbol: str
    times: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]
    signals: list[str]
    returns: NDArray[np.float64] | None = None

    @property
    def said(self) -> NDArray[Any]:
        """What the network says of each row: its probabilities (n, k), or its predicted return (n,)."""
        if self.returns is not None:
            return self.returns
        return self.probabilities


def prepare(
    spec: StrategySpec,
    bars: RunBars,
    on_stage: OnStage = lambda name, fraction: None,
    cache: FeatureCache | None = None,
    data_threads: int = 1,
    memory_limit: int | None = None,
) -> Prepared:
    """Rows of features and labels, from the cache if they are there, cut into splits that were checked twice.

    data_threads: symbols that are worked out at a time; it changes no row. memory_limit: bytes that the run may take
    beside the program, None: as many as are free. Features that do not fit go straight into the cache's file; TooLarge
    if the rest does not fit either.
    """
    _refuse_few(spec, bars)
    notes = [*bars.notes, *warnings_of(spec)]
    dataset = _rows(spec, bars, on_stage, cache, notes, data_threads, memory_limit)
    on_stage("split", 0.0)
    splits = cut_rows(dataset, spec.training.data_split)
    check_splits(dataset, splits)
    checked = check_rows(dataset, splits, set_columns(spec))
    notes += [finding.sentence for finding in checked.findings]
    on_stage("split", 1.0)
    return Prepared(
        dataset,
        splits,
        tuple(
            gathered(
                (*notes, *_absent_symbols(dataset, splits), *_class_notes(dataset, splits), *_weight_notes(dataset, splits)),
                spec.symbols,
            )
        ),
        {"data": kept(bars.findings), "inputs": checked.plain()},
    )


def _refuse_few(spec: StrategySpec, bars: RunBars) -> None:
    """Bars of the warm-up give no rows: those inside the dates are counted."""
    few = [
        few_bars(symbol, spec.base_timeframe, clock, bars) for symbol, clock in bars.clock.items() if len(clock) < MINIMUM_ROWS
    ]
    if few:
        raise DataError(refused(few), [*few, *bars.findings])


def _absent_symbols(dataset: Dataset, splits: Splits) -> list[str]:
    """A symbol may begin late or end early; where it has no row at all, that is said."""
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    found = {name: set(dataset.rows.symbols[positions].tolist()) for name, positions in parts.items() if len(positions)}
    return [
        f"{symbol} has no row in the {' or the '.join(missing)} split"
        for number, symbol in enumerate(dataset.symbols)
        if (missing := [name for name, numbers in found.items() if number not in numbers])
    ]


def footprint_of(spec: StrategySpec, bars: RunBars, threads: int = 1, *, in_file: bool = False) -> Footprint:
    """What a run on these bars takes."""
    series = {symbol: [len(frame) for frame in frames.values()] for symbol, frames in bars.frames.items()}
    held = PER_BAR * sum(map(sum, series.values()))
    program = max(0, program_now() - held)
    return footprint(spec, series, matrix_rows(spec, bars), program=program, threads=threads, in_file=in_file)


def is_in_file(prepared: Prepared) -> bool:
    """Whether the features lie in a file, and so take no memory of the process's own."""
    return isinstance(prepared.dataset.rows.features.base, np.memmap | mmap.mmap)


def _rows(
    spec: StrategySpec,
    bars: RunBars,
    on_stage: OnStage,
    cache: FeatureCache | None,
    notes: list[str],
    threads: int,
    memory_limit: int | None,
) -> Dataset:
    room = free_room(memory_limit)
    resident, in_file = footprint_of(spec, bars, threads), footprint_of(spec, bars, threads, in_file=True)
    if cache is None:
        must_fit(resident, room, loaded=True)
        return build_dataset(spec, bars, on_stage, threads)
    must_fit(in_file, room, loaded=True)
    key = feature_cache.cache_key(spec, bars)
    found = feature_cache.find(cache.folder, key, spec)
    if found is not None:
        for stage in ("indicators", "memberships", "features", "labels"):
            on_stage(stage, 1.0)
        notes.append(f"features and labels of {len(found.rows):,} rows taken from the cache")
        return found
    if room is not None and exceeds(resident, room, loaded=True):
        notes.append(
            f"the features take {size_text(resident.features)}, and with the rest that is more than the {size_text(room.size)} "
            f"{room.whose}: they lie in the cache's file and are read from there, with the same result"
        )

        def build(matrix_of: MatrixOf) -> Dataset:
            return build_dataset(spec, bars, on_stage, threads, matrix_of)

        return feature_cache.build_in_file(cache.folder, key, spec, build, cache.limit)
    dataset = build_dataset(spec, bars, on_stage, threads)
    if not feature_cache.keep(cache.folder, key, dataset, cache.limit):
        notes.append(f"features could not be kept in {cache.folder}: the next run computes them again")
    return dataset


def class_shares(dataset: Dataset, positions: NDArray[np.int64]) -> dict[str, float]:
    """Share of each class among the rows at `positions`; none for returns."""
    if not dataset.class_names:
        return {}
    counts = np.bincount(dataset.rows.labels[positions], minlength=len(dataset.class_names))
    return {name: float(count / max(counts.sum(), 1)) for name, count in zip(dataset.class_names, counts, strict=True)}


def return_figures(dataset: Dataset, positions: NDArray[np.int64]) -> dict[str, float]:
    """Of the labels at `positions`, if they are returns: their mean, their deviation and the share that rises."""
    if dataset.class_names or not len(positions):
        return {}
    labels = dataset.rows.labels[positions]
    return {"mean": float(labels.mean()), "deviation": float(labels.std()), "rising": float((labels > 0).mean())}


def _class_notes(dataset: Dataset, splits: Splits) -> list[str]:
    if not dataset.class_names:
        return []
    shares = class_shares(dataset, splits.train)
    name, share = max(shares.items(), key=lambda item: item[1])
    if share <= ONE_SIDED:
        return []
    return [f"{share:.1%} of the training rows are {name}: a model that always says {name} is right that often; change the label"]


def _weight_notes(dataset: Dataset, splits: Splits) -> list[str]:
    weights = dataset.rows.weights
    if weights is None:
        return []
    mean = float(weights[splits.train].mean(dtype=np.float64))
    alone = f"{len(splits.train):,} rows tell about as much as {mean * len(splits.train):,.0f} whose labels do not overlap"
    return [f"training rows weigh by how unique their labels are, {mean:.1%} on average: {alone}"]


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
    callback = callback or Silent()
    prepared = prepare(spec, bars, callback.on_stage, cache, data_threads, memory_limit)
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


def split_ledger(dataset: Dataset, splits: Splits, bars: RunBars) -> dict[str, Any]:
    """Where the sides begin and end (µs UTC), and what became of every base bar; JSON-ready."""
    parts = {
        "train": splits.train, "validation": splits.validation, "test": splits.test,
        "purged": splits.purged, "embargoed": splits.embargoed,
        **({"crossing": splits.crossing} if dataset.window > 1 else {}),
    }  # fmt: skip
    of_symbol = {
        name: [positions[own] for own in rows_by_symbol(dataset.rows.symbols[positions], len(dataset.symbols))]
        for name, positions in parts.items()
    }
    return {
        "start": bars.start,
        "end": bars.end,
        "cuts": list(splits.cuts),
        "embargo_ends": list(splits.embargo_ends),
        "rows": {name: len(positions) for name, positions in parts.items()},
        "per_symbol": {
            symbol: {name: len(of_symbol[name][number]) for name in parts} for number, symbol in enumerate(dataset.symbols)
        },
        "spans": {
            symbol: _spans(dataset, {name: of_symbol[name][number] for name in parts}, splits)
            for number, symbol in enumerate(dataset.symbols)
        },
        "dropped": dict(dataset.dropped),
        "dropped_by_symbol": {symbol: dict(reasons) for symbol, reasons in dataset.dropped_by_symbol.items()},
        "missing_bars": dict(bars.missing),
    }


def _spans(dataset: Dataset, parts: Mapping[str, NDArray[np.int64]], splits: Splits) -> list[dict[str, Any]]:
    """From the first to the last row (µs) of each part of one symbol's rows, per side of the cuts, in order of time."""
    rows, found = dataset.rows, []
    for name, positions in parts.items():
        times = rows.times[positions]
        sides = np.searchsorted(splits.cuts, times, side="right")
        for side in np.unique(sides):
            inside = times[sides == side]
            found.append({"part": name, "first": int(inside.min()), "last": int(inside.max()), "rows": len(inside)})
    return sorted(found, key=lambda span: (span["first"], span["last"]))


def predict_bars(bundle: Bundle, symbol: str, frames: Mapping[str, pd.DataFrame], start: int) -> Predictions:
    """Probabilities or returns, and signals, of one symbol's base bars from `start` (µs) on; frames as `load_bars` gives them.

    For bars that begin where the training's began, features and probabilities are those of training, bit for bit.
    """
    spec = StrategySpec.model_validate(bundle.spec)
    bundle.require_features(feature_names(spec))
    features, times, ends = build_features(spec, frames, start)
    if len(times) == 0:
        needed = "all its features" if spec.window == 1 else f"all features in the {spec.window} bars up to it"
        raise DataError(f"no {spec.base_timeframe} bar of {symbol} has {needed}; wanted more bars before the dates asked for")
    if bundle.target_scale is not None:
        returns = predicted_returns(bundle.network, features, bundle.target_scale, ends)
        told = [SIGNALS[place] for place in signals_of_returns(returns, edge_of(spec))]
        return Predictions(symbol, times, np.zeros((len(times), 0), np.float32), (), told, returns)
    chances = probabilities(bundle.network, features, ends)
    signals = signals_of(chances, bundle.class_names, spec.decisions.confidence_threshold)
    return Predictions(symbol, times, chances, bundle.class_names, signals)


def edge_of(spec: StrategySpec) -> float:
    """The predicted return that makes a signal. The reader wants costs with every regression."""
    return 0.0 if spec.decisions.cost_model is None else spec.decisions.cost_model.edge
