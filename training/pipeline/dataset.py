"""The whole data way: bars of a run → features and labels of every symbol, joined row by row, as arrays.

Frames end here. A row exists only where one base bar of one symbol has every feature, a whole window
and a label; all others are dropped and counted. Each symbol is worked out by itself: with or without the others
it gives the same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.schema import RegimeLabels, StrategySpec, TripleBarrierLabels
from training.core.values import Dataset, Rows
from training.pipeline import kernels
from training.pipeline.features import FeaturePlan, bar_columns, duration, fill_matrix, indicator_outputs, plan_features
from training.pipeline.frames import bar_times
from training.pipeline.labels import LabelColumn, compute_labels, label_warm_up, look_ahead, uniqueness, weighs_rows
from training.pipeline.loading import RunBars, Step, in_order
from training.store.coverage import DataError

OnStage = Callable[[str, float], None]
MatrixOf = Callable[[int, int], NDArray[np.float32]]
#: Why a base bar inside the dates gives no row.
WARM_UP, MISSING, NO_LABEL, NO_VALUE = "warm-up", "missing feature", "without a whole look-ahead", "missing value"
NO_EVENT, NO_WINDOW = "no event of the CUSUM filter", "without a whole window"
STAGES = ("indicators", "memberships", "features", "labels")
#: So much of the matrix is moved at a time.
MOVE_BYTES = 1 << 20


def in_memory(rows: int, columns: int) -> NDArray[np.float32]:
    """Room for features in this process's own memory."""
    return np.empty((rows, columns), dtype=np.float32)


@dataclass(frozen=True)
class SymbolRows:
    """One symbol's base bars from `lead` bars before the start on, as far as stored: times int64 (b,), complete bool (b,):
    every feature is there, whole bool (b,): so it is for all bars of the window that ends there. first: position of the
    bar at the start among all bars loaded. without_bar: timeframe → bars from the start on that have no known bar of it."""

    times: NDArray[np.int64]
    complete: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    lead: int
    first: int
    without_bar: Mapping[str, int] = field(default_factory=dict)


class Inputs(NamedTuple):
    """What a network reads of one symbol: features and ends as in `Rows`, and the times (n,) of the bars it can speak on."""

    features: NDArray[np.float32]
    times: NDArray[np.int64]
    ends: NDArray[np.int64] | None


@dataclass(frozen=True)
class _SymbolPart:
    """One symbol's share: bars kept in the matrix, the columns of `Rows` beside the features, what was dropped, by reason,
    the bars without a known bar, by timeframe, and the most bars in a row with all features (0 where no window needs them)."""

    kept: int
    columns: dict[str, NDArray[Any]]
    dropped: Counter[str]
    without_bar: Mapping[str, int]
    stretch: int


def build_dataset(
    spec: StrategySpec,
    bars: RunBars,
    on_stage: OnStage = lambda name, fraction: None,
    threads: int = 1,
    matrix_of: MatrixOf = in_memory,
) -> Dataset:
    """Rows of all symbols, stacked in the strategy's order of symbols, without any that lacks a feature or a label.

    matrix_of: gives the matrix float32 (rows, features) that they are written into, in memory or in a file.
    So many symbols are worked out at a time as there are threads; the rows are the same, bit for bit, for any number.
    """
    plan, symbols = plan_features(spec), spec.symbols
    places = _places(spec, plan, bars)
    matrix = matrix_of(places[-1], len(plan.names))

    def one(number: int, stage: Step) -> _SymbolPart:
        place = matrix[places[number] : places[number + 1]]
        return _symbol_part(spec, plan, bars, number, place, stage, threads if len(symbols) == 1 else 1)

    def told(number: int, stage: str | None) -> None:
        on_stage(stage or STAGES[0], number / len(symbols))

    written, stretch, dropped, without_bar, columns = 0, 0, {}, {}, _Columns(places[-1])
    for number, found in enumerate(in_order(one, len(symbols), threads, told)):
        _move(matrix, places[number], written, found.kept)
        if "ends" in found.columns:
            found.columns["ends"][:] += written
        columns.add(found.columns)
        written, stretch = written + found.kept, max(stretch, found.stretch)
        dropped[symbols[number]], without_bar[symbols[number]] = found.dropped, found.without_bar
        for name in STAGES:
            on_stage(name, (number + 1) / len(symbols))
    dataset = Dataset(
        Rows(features=matrix[:written], **columns.whole()),
        sorted_union([bars.clock[s] for s in symbols]),
        symbols, plan.names, plan.normalization, spec.class_names, _total(dropped.values()),
        {symbol: dict(reasons) for symbol, reasons in dropped.items()}, plan.window, without_bar,
    )  # fmt: skip
    _refuse_nothing(spec, dataset, max(len(bars.frames[s][spec.base_timeframe]) for s in symbols), stretch)
    return dataset


class _Columns:
    """Columns that grow by one symbol's part after another, in room for `most` rows: nothing is held twice."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.room: dict[str, NDArray[Any]] = {}
        self.filled: Counter[str] = Counter()

    def add(self, parts: Mapping[str, NDArray[Any]]) -> None:
        for name, part in parts.items():
            if name not in self.room:
                self.room[name] = np.empty(self.most, dtype=part.dtype)
            self.room[name][self.filled[name] : self.filled[name] + len(part)] = part
            self.filled[name] += len(part)

    def whole(self) -> dict[str, NDArray[Any]]:
        return {name: room[: self.filled[name]] for name, room in self.room.items()}


def _symbol_part(
    spec: StrategySpec,
    plan: FeaturePlan,
    bars: RunBars,
    number: int,
    place: NDArray[np.float32],
    stage: Step,
    threads: int,
) -> _SymbolPart:
    """One symbol's rows at the front of its place in the matrix, and what goes with them; `ends` count from that front."""
    symbol = spec.symbols[number]
    frames, dropped = bars.frames[symbol], Counter[str]()
    block, rows = fill_symbol(spec, plan, frames, bars.start, place, stage, threads)
    stage("labels")
    labels = compute_labels(spec, bar_columns(frames[spec.base_timeframe]))
    keep, columns = _label_rows(spec, rows, labels, number, dropped)
    dropped[NO_VALUE] += len(bars.clock[symbol]) - (len(rows.times) - rows.lead)
    stretch = 0
    if plan.window > 1:
        columns |= _windows(rows, keep, number)
        keep, stretch = rows.complete, int(_run_lengths(rows.complete).max(initial=0))
    return _SymbolPart(kernels.compact_rows(block, keep), columns, dropped, rows.without_bar, stretch)


def matrix_rows(spec: StrategySpec, bars: RunBars) -> int:
    """How many rows `build_dataset` asks room for."""
    return _places(spec, plan_features(spec), bars)[-1]


def _places(spec: StrategySpec, plan: FeaturePlan, bars: RunBars) -> list[int]:
    """Where each symbol's place in the matrix begins, and where the last one ends: its base bars in range, and before them
    those that lags and windows reach back to."""
    places = [0]
    for symbol in spec.symbols:
        times = bar_times(bars.frames[symbol][spec.base_timeframe])
        first = int(np.searchsorted(times, bars.start))
        places.append(places[-1] + len(times) - first + min(plan.lead, first))
    return places


def _move(matrix: NDArray[np.float32], source: int, target: int, count: int) -> None:
    """Move rows towards the front, a few at a time: what overlaps is copied twice."""
    if source == target:
        return
    step = max(1, MOVE_BYTES // max(1, matrix[:1].nbytes))
    for k in range(0, count, step):
        n = min(step, count - k)
        matrix[target + k : target + k + n] = matrix[source + k : source + k + n]


def _total(counters: Iterable[Counter[str]]) -> dict[str, int]:
    """Their sum; a reason stays when its count is 0."""
    total = Counter[str]()
    for counter in counters:
        total.update(counter)
    return dict(total)


def build_features(spec: StrategySpec, frames: Mapping[str, pd.DataFrame], start: int) -> Inputs:
    """What the network reads of one symbol's base bars from `start` (µs) on; labels play no part."""
    plan = plan_features(spec)
    matrix = np.empty((len(frames[spec.base_timeframe]), len(plan.names)), dtype=np.float32)
    block, rows = fill_symbol(spec, plan, frames, start, matrix, lambda name: None)
    keep = _with_lead(rows, rows.whole[rows.lead :])
    ends = _windows(rows, keep, 0)["ends"] if plan.window > 1 else None
    kept = kernels.compact_rows(block, keep if ends is None else rows.complete)
    return Inputs(block[:kept], rows.times[keep], ends)


def fill_symbol(
    spec: StrategySpec,
    plan: FeaturePlan,
    frames: Mapping[str, pd.DataFrame],
    start: int,
    matrix: NDArray[np.float32],
    stage: Step,
    threads: int = 1,
) -> tuple[NDArray[np.float32], SymbolRows]:
    """Write one symbol's features to the front of `matrix`; gives the block written and its rows.

    The block begins with the bars before `start` that lags and windows reach back to; they are no rows.
    """
    stage("indicators")
    outputs = {t.timeframe: indicator_outputs(spec, t, bar_columns(frames[t.timeframe])) for t in plan.timeframes}
    stage("memberships")
    times = bar_times(frames[spec.base_timeframe])
    first = int(np.searchsorted(times, start))
    lead = min(plan.lead, first)
    block = matrix[: len(times) - first + lead]
    joined = fill_matrix(spec, plan, outputs, frames, first - lead, block, threads)
    without_bar = {t: _without_bar(spec, frames, t, positions[lead:]) for t, positions in joined.items()}
    stage("features")
    complete = np.empty(len(block), dtype=np.bool_)
    kernels.complete_rows(block, complete)
    whole = complete if plan.window == 1 else _run_lengths(complete) >= plan.window
    return block, SymbolRows(times[first - lead :], complete, whole, lead, first, without_bar)


def _without_bar(spec: StrategySpec, frames: Mapping[str, pd.DataFrame], timeframe: str, positions: NDArray[np.int64]) -> int:
    """How many of these base bars have no known bar of the timeframe; those before the first one only if it begins late."""
    known = positions >= 0
    opens = bar_times(frames[timeframe])
    if not len(opens):
        return len(known)
    late = opens[0] > bar_times(frames[spec.base_timeframe])[0] + duration(timeframe)
    return int((~known[0 if late else _first(known) :]).sum())


def _run_lengths(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many in a row are true up to each place: int64 (n,)."""
    places = np.arange(len(flags))
    return places - np.maximum.accumulate(np.where(flags, -1, places))


def _windows(rows: SymbolRows, keep: NDArray[np.bool_], number: int) -> dict[str, NDArray[Any]]:
    """Which bars of the symbol stay in the matrix, and where among them the windows of the rows kept end."""
    places = np.cumsum(rows.complete) - 1
    times = rows.times[rows.complete]
    return {"ends": places[keep], "bar_times": times, "bar_symbols": np.full(len(times), number, dtype=np.int32)}


def _with_lead(rows: SymbolRows, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Flags of the bars from the start on as flags (b,) of the block."""
    return np.concatenate([np.zeros(rows.lead, dtype=np.bool_), flags])


def _label_rows(
    spec: StrategySpec, rows: SymbolRows, labels: LabelColumn, number: int, dropped: Counter[str]
) -> tuple[NDArray[np.bool_], dict[str, NDArray[Any]]]:
    """Which bars of the block are rows (b,), and their times, label ends, labels, symbol numbers, and weights if they differ."""
    ends, values, times = labels.ends[rows.first :], labels.values[rows.first :], rows.times[rows.lead :]
    complete, labelled = rows.complete[rows.lead :], ends >= 0
    keep = complete & labelled
    if spec.window > 1:
        whole = rows.whole[rows.lead :]
        dropped[NO_WINDOW] += int((keep & ~whole).sum())
        keep &= whole
    if labels.events is not None:
        events = labels.events[rows.first :]
        dropped[NO_EVENT] += int((keep & ~events).sum())
        keep &= events
    # Before the first row of each kind, features or labels are warming up; later gaps have another reason.
    begin = max(_first(complete), _first(labelled) if labelled.any() else 0)
    dropped[WARM_UP] += begin
    dropped[MISSING] += int((~complete[begin:]).sum())
    dropped[NO_LABEL] += int((complete & ~labelled)[begin:].sum())
    # A bar is known at open + duration, and so is a label whose last bar it is. `ends` counts from the first loaded bar.
    known = times[ends[keep] - rows.first] + duration(spec.base_timeframe)
    part: dict[str, NDArray[Any]] = {
        "times": times[keep], "label_ends": known, "labels": values[keep],
        "symbols": np.full(len(known), number, dtype=np.int32),
    }  # fmt: skip
    if weighs_rows(spec):
        part["weights"] = uniqueness(np.flatnonzero(keep), ends[keep] - rows.first, len(keep))
    return _with_lead(rows, keep), part


def sorted_union(columns: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """All times that occur, in order; each column is sorted, and sorting runs that are sorted is nearly free."""
    times = np.sort(np.concatenate(columns), kind="stable")
    new = np.ones(len(times), dtype=np.bool_)
    np.not_equal(times[1:], times[:-1], out=new[1:])
    return times if new.all() else times[new]


def _first(flags: NDArray[np.bool_]) -> int:
    """Position of the first that is true, their number if none is."""
    return int(np.argmax(flags)) if flags.any() else len(flags)


def _refuse_nothing(spec: StrategySpec, dataset: Dataset, longest: int, stretch: int) -> None:
    """longest: bars of the symbol that has most, warm-up included; stretch: most bars in a row with all features."""
    if len(dataset.rows):
        return
    dropped, seen, base, labels = dataset.dropped, len(dataset.clock), spec.base_timeframe, spec.training.labels
    if dropped.get(NO_WINDOW) and not dropped.get(NO_EVENT):
        raise DataError(
            f"no {base} bar has both a label and a whole window: sequence_length is {spec.window}, at most {stretch} bars in a "
            f"row have all their features, and the label {labels.source} looks at least {look_ahead(spec)} bars ahead; "
            "wanted a shorter sequence_length or more bars"
        )
    if dropped.get(NO_EVENT) and isinstance(labels, TripleBarrierLabels):
        raise DataError(
            f"the CUSUM filter drops every row: the moves of {dropped[NO_EVENT]} labelled {base} bars never add up to "
            f"cusum_threshold {labels.cusum_threshold:g} and cusum_multiplier {labels.cusum_multiplier:g} times the volatility; "
            "wanted lower ones"
        )
    if dropped[NO_LABEL] and isinstance(labels, RegimeLabels) and longest > labels.vol_lookback + labels.atr_period:
        raise DataError(
            f"no row has a label: no leg of the regime's macro zigzag is confirmed in {longest} {base} bars; "
            f"wanted a macro_atr_mult below {labels.macro_atr_mult:g}, or more bars"
        )
    if dropped[NO_LABEL]:
        behind = f" and {label_warm_up(spec)} back" if isinstance(labels, RegimeLabels) else ""
        raise DataError(
            f"no row has a label: the label {labels.source} looks at least {look_ahead(spec)} bars ahead{behind} "
            f"and {seen} {base} bars lie in the dates; wanted a shorter look-ahead or more bars"
        )
    raise DataError(
        f"no row has all its features: {dropped[WARM_UP]} of {seen} {base} bars lie in the warm-up and "
        f"{dropped[MISSING]} lack a value; wanted shorter periods, fewer timeframes or more bars before the start"
    )
