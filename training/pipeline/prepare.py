"""Prepared: a strategy and bars → rows cut into splits, with what the trader should know of them, each sentence once."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies_app.grammar.reader import warnings_of
from strategies_app.grammar.schema import StrategySpec
from training.core.findings import kept, refused
from training.core.memory import PER_BAR, Footprint, exceeds, footprint, free_room, must_fit, program_now, size_text
from training.core.values import Dataset, Splits
from training.pipeline import cache as feature_cache
from training.pipeline.arguments import require, require_call, require_threads
from training.pipeline.checks import check_rows, lost_rows, set_columns
from training.pipeline.dataset import MatrixOf, build_dataset, matrix_rows
from training.pipeline.gate import admitted
from training.pipeline.loading import RunBars
from training.pipeline.splits import check_splits, cut_rows
from training.store.coverage import MINIMUM_ROWS, DataError, few_bars, named

#: One class above this share of the training rows is worth a warning: "accuracy" is then easy and empty.
ONE_SIDED = 0.95
OnStage = Callable[[str, float], None]


@dataclass(frozen=True)
class FeatureCache:
    """Where rows are kept between runs, and how many bytes all of them may take."""

    folder: Path
    limit: int

    def __post_init__(self) -> None:
        require("the cache's folder", self.folder, Path, "a pathlib.Path")
        require("the cache's limit", self.limit, int, "a number of bytes")


@dataclass(frozen=True)
class Prepared:
    """Everything that training needs, and what the trader should know of it first: notes in words, and `checks` as JSON:
    data (findings of the data gate) and inputs (figures and findings of features and labels, see `check_rows`)."""

    dataset: Dataset
    splits: Splits
    notes: tuple[str, ...]
    checks: Mapping[str, Any]


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
    if the rest does not fit either. The bars come through the gate: DataError for bars that nothing may be trained on.
    """
    require_call("on_stage", on_stage)
    require_threads("data_threads", data_threads)
    require("cache", cache, (FeatureCache, type(None)), "a FeatureCache or None")
    require("memory_limit", memory_limit, (int, type(None)), "a number of bytes or None")
    return prepare_admitted(spec, admitted(spec, bars), on_stage, cache, data_threads, memory_limit)


def prepare_admitted(
    spec: StrategySpec, bars: RunBars, on_stage: OnStage, cache: FeatureCache | None, data_threads: int, memory_limit: int | None
) -> Prepared:
    """The same of bars that came through the gate."""
    _refuse_few(spec, bars)
    notes = [*bars.notes, *warnings_of(spec)]
    dataset = _rows(spec, bars, on_stage, cache, notes, data_threads, memory_limit)
    on_stage("split", 0.0)
    splits = cut_rows(dataset, spec.training.data_split)
    check_splits(dataset, splits)
    checked = check_rows(dataset, splits, set_columns(spec))
    lost = lost_rows(dataset, spec.base_timeframe, {symbol: len(clock) for symbol, clock in bars.clock.items()})
    notes += [finding.sentence for finding in (*lost, *checked.findings)]
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
        {"data": kept([*lost, *bars.findings]), "inputs": checked.plain()},
    )


def _refuse_few(spec: StrategySpec, bars: RunBars) -> None:
    """Bars of the warm-up give no rows: those inside the dates are counted."""
    short = {symbol: clock for symbol, clock in bars.clock.items() if len(clock) < MINIMUM_ROWS}
    few = [
        few_bars(symbol, spec.base_timeframe, len(clock), int(clock[0]) if len(clock) else None, bars.start, bars.end)
        for symbol, clock in short.items()
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


#: So many sentences that differ in symbol and figures alone are read one by one.
FEW = 3
_FIGURES = re.compile(r"\d[\d,.:%-]*")


def gathered(remarks: Iterable[str], symbols: Sequence[str]) -> list[str]:
    """The remarks in order, each once. More than FEW that begin with a symbol and differ in it and in their figures alone
    become the first of them, with the names of the others behind it."""
    known, alike = set(symbols), dict[str, dict[str, str]]()
    for remark in remarks:
        symbol, _, rest = remark.partition(" ")
        shape = f" {_FIGURES.sub('#', rest)}" if symbol in known else remark
        alike.setdefault(shape, {})[remark] = symbol
    told: list[str] = []
    for same in alike.values():
        first, *others = same
        if len(same) <= FEW:
            told += same
            continue
        names = list(dict.fromkeys(same[remark] for remark in others))
        told.append(f"{first}; likewise {len(names):,} more: {named(names)}")
    return told
