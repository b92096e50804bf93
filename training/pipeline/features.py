"""Features: which columns a strategy asks for, memberships as numbers, the join of timeframes, and filling the matrix.

This is the only place that makes feature names and the only one that decides their order
(`schema.feature_names`); the matrix is written once, in its final layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.schema import Membership, RawInput, StrategySpec, feature_names, output_of
from strategies_app.grammar.vocabulary import BAR_COLUMNS
from training.pipeline import kernels
from training.pipeline.frames import bar_frame, bar_times, bar_values
from training.pipeline.indicators import Columns, compute
from training.store.coverage import DAY, SECOND, WEEK_ANCHOR, anchor, bucket_start, duration

TRANSFORMS = {"identity": kernels.IDENTITY, "price_ratio": kernels.PRICE_RATIO, "pct_of_price": kernels.PCT_OF_PRICE}


def kernel_points(membership: Membership) -> tuple[int, tuple[float, float, float, float]]:
    """Shape number and four points of a membership; unused points are 0."""
    points = [float(p) for p in membership.parameters]
    if membership.type == "triangular":
        a, b, c = points
        return kernels.TRAPEZOIDAL, (a, b, b, c)
    if membership.type == "trapezoidal":
        a, b, c, d = points
        return kernels.TRAPEZOIDAL, (a, b, c, d)
    shape = kernels.GAUSSIAN if membership.type == "gaussian" else kernels.SIGMOID
    return shape, (points[0], points[1], 0.0, 0.0)


def transform(values: NDArray[np.float64], close: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """An indicator's values (n,) as the fuzzy set sees them: identity, value / close, or 100·(value/close − 1)."""
    if name == "price_ratio":
        return values / close
    if name == "pct_of_price":
        return 100.0 * (values / close - 1.0)
    return values


def degrees(membership: Membership, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Membership degrees (n,) in [0, 1] of values (n,); NaN for NaN. The same kernel that fills the features."""
    shape, points = kernel_points(membership)
    matrix = np.empty((len(values), 1), dtype=np.float32)
    kernels.fill_features(
        np.ascontiguousarray(values, dtype=np.float64)[None, :],
        np.empty(len(values)),
        np.arange(len(values), dtype=np.int64),
        np.zeros(1, dtype=np.int64),
        np.zeros(1, dtype=np.int64),
        np.array([shape], dtype=np.int64),
        np.array([points]),
        np.zeros(1, dtype=np.int64),
        matrix,
    )
    return matrix[:, 0].astype(np.float64)


Output = tuple[str, str]
#: So many rows are worth a thread of their own.
MANY_ROWS = 50_000


@dataclass(frozen=True)
class TimeframeColumns:
    """The matrix columns that one timeframe fills. Arrays (c,), points (c, 4); `source` counts in `outputs`."""

    timeframe: str
    outputs: tuple[Output, ...]
    source: NDArray[np.int64]
    transform: NDArray[np.int64]
    shape: NDArray[np.int64]
    points: NDArray[np.float64]
    target: NDArray[np.int64]


@dataclass(frozen=True)
class FeaturePlan:
    """All columns of a strategy: names in order, normalization per feature, and what fills them.

    window: bars that an example consists of; lead: bars before the first row that lags and its window reach back to.
    """

    names: tuple[str, ...]
    normalization: tuple[str, ...]
    timeframes: tuple[TimeframeColumns, ...]
    width: int
    lags: int
    window: int

    @property
    def lead(self) -> int:
        return self.lags + self.window - 1


@dataclass
class _Column:
    timeframe: str
    output: Output
    transform: int
    shape: int
    points: tuple[float, float, float, float]


def _columns(spec: StrategySpec) -> list[_Column]:
    columns = []
    for entry in spec.nn_inputs:
        for timeframe in spec.input_timeframes(entry):
            if isinstance(entry, RawInput):
                output = output_of(entry.raw_indicator, spec.indicators)
                columns.append(_Column(timeframe, output, kernels.IDENTITY, kernels.RAW, (0.0, 0.0, 0.0, 0.0)))
                continue
            fuzzy_set = spec.fuzzy_sets[entry.fuzzy_set]
            output = output_of(fuzzy_set.indicator, spec.indicators)
            for membership in fuzzy_set.memberships.values():
                shape, points = kernel_points(membership)
                columns.append(_Column(timeframe, output, TRANSFORMS[fuzzy_set.input_transform.type], shape, points))
    return columns


def plan_features(spec: StrategySpec) -> FeaturePlan:
    """The columns of a strategy, before any bar is read."""
    columns = _columns(spec)
    per_entry = [
        entry.normalization if isinstance(entry, RawInput) else "none"
        for entry in spec.nn_inputs
        for _ in spec.input_timeframes(entry)
        for _ in ([0] if isinstance(entry, RawInput) else spec.fuzzy_sets[entry.fuzzy_set].memberships)
    ]
    lags = spec.model.features.lookback_periods
    tables = tuple(_table(t, columns) for t in spec.timeframes if any(c.timeframe == t for c in columns))
    return FeaturePlan(tuple(feature_names(spec)), tuple(per_entry * (lags + 1)), tables, len(columns), lags, spec.window)


def _table(timeframe: str, columns: list[_Column]) -> TimeframeColumns:
    mine = [(i, c) for i, c in enumerate(columns) if c.timeframe == timeframe]
    outputs = tuple(dict.fromkeys(c.output for _, c in mine))

    def integers(values: list[int]) -> NDArray[np.int64]:
        return np.array(values, dtype=np.int64)

    return TimeframeColumns(
        timeframe,
        outputs,
        integers([outputs.index(c.output) for _, c in mine]),
        integers([c.transform for _, c in mine]),
        integers([c.shape for _, c in mine]),
        np.array([c.points for _, c in mine], dtype=np.float64),
        integers([i for i, _ in mine]),
    )


def bar_columns(frame: pd.DataFrame) -> Columns:
    """Bar columns by name, float64 (n,), contiguous; of all at once, since pandas takes its time for each."""
    return dict(zip(BAR_COLUMNS, bar_values(frame), strict=True))


def indicator_outputs(spec: StrategySpec, table: TimeframeColumns, columns: Columns) -> NDArray[np.float64]:
    """The outputs that a timeframe's columns need, float64 (o, m) over its m bars; each indicator is computed once."""
    outputs = np.empty((len(table.outputs), len(columns["close"])), dtype=np.float64)
    for identifier in dict.fromkeys(identifier for identifier, _ in table.outputs):
        indicator = spec.indicators[identifier]
        values = compute(indicator.kind.name, indicator.parameters, columns)
        for i, (owner, output) in enumerate(table.outputs):
            if owner == identifier:
                outputs[i] = values[output]
    return outputs


def fill_matrix(
    spec: StrategySpec,
    plan: FeaturePlan,
    outputs: Mapping[str, NDArray[np.float64]],
    frames: Mapping[str, pd.DataFrame],
    first: int,
    matrix: NDArray[np.float32],
    threads: int = 1,
) -> dict[str, NDArray[np.int64]]:
    """Write the features of one symbol's base rows from position `first` on into matrix float32 (rows, f).

    outputs: per timeframe as `indicator_outputs` gave them over frames[timeframe]; the rows before
    the run's start that lags need are part of the matrix and dropped by the caller. Gives the positions (rows,) of the
    bars that each timeframe's values are of, −1 where none is known.
    """
    base_times, joined = bar_times(frames[spec.base_timeframe]), {}
    for table in plan.timeframes:
        frame = frames[table.timeframe]
        positions = known_positions(base_times, spec.base_timeframe, bar_times(frame), table.timeframe)[first:]
        closes = bar_columns(frame)["close"]
        _fill_rows(table, outputs[table.timeframe], closes, positions, matrix, threads)
        joined[table.timeframe] = positions
    if plan.lags:
        kernels.fill_lags(matrix, plan.width, plan.lags)
    return joined


def _fill_rows(
    table: TimeframeColumns,
    outputs: NDArray[np.float64],
    closes: NDArray[np.float64],
    positions: NDArray[np.int64],
    matrix: NDArray[np.float32],
    threads: int,
) -> None:
    """Fill the columns of one timeframe; many rows are shared between threads, since each row stands for itself."""

    def fill(begin: int, end: int) -> None:
        kernels.fill_features(
            outputs, closes, positions[begin:end],
            table.source, table.transform, table.shape, table.points, table.target, matrix[begin:end],
        )  # fmt: skip

    rows = len(positions)
    pieces = min(threads, max(1, rows // MANY_ROWS))
    borders = [rows * piece // pieces for piece in range(pieces + 1)]
    with ThreadPoolExecutor(max(1, pieces - 1)) as others:  # which starts no thread before it gets work
        pending = [others.submit(fill, *borders[piece : piece + 2]) for piece in range(1, pieces)]
        fill(*borders[:2])
        for other in pending:
            other.result()


__all__ = ["DAY", "SECOND", "WEEK_ANCHOR", "anchor", "bucket_start", "duration", "known_positions", "resample"]


def resample(frame: pd.DataFrame, timeframe: str, source: str | None = None) -> pd.DataFrame:
    """Bars of a lower timeframe gathered into buckets of `timeframe`: left-closed, left-labelled, weeks from Monday.

    source: the timeframe of the bars, if they may stand off its grid. One that reaches over a bucket's end belongs to
    the bucket in which it ends: else the bucket would be known before its last bar is.
    """
    times, bars = bar_times(frame), bar_values(frame)
    bucket_times = np.empty(len(times), dtype=np.int64)
    buckets = np.empty((5, len(times)), dtype=np.float64)
    lasting = duration(source) - 1 if source else 0
    count = kernels.resample(times, bars, duration(timeframe), anchor(timeframe) - lasting, bucket_times, buckets)
    bucket_times += lasting
    return bar_frame(bucket_times[:count].copy(), np.ascontiguousarray(buckets[:, :count]))


def known_positions(
    base_times: NDArray[np.int64], base_timeframe: str, times: NDArray[np.int64], timeframe: str
) -> NDArray[np.int64]:
    """For each base bar the position of the bar of `timeframe` whose value may be used, or −1 (see kernels.known_at)."""
    if timeframe == base_timeframe:
        if len(times) != len(base_times) or not np.array_equal(times, base_times):
            raise ValueError("the base timeframe joins only itself")
        return np.arange(len(base_times), dtype=np.int64)
    positions = np.empty(len(base_times), dtype=np.int64)
    kernels.known_at(base_times, duration(base_timeframe), times, duration(timeframe), anchor(timeframe), positions)
    return positions
