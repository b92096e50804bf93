"""Checks of features and labels before a network sees them: figures per feature, drift, what labels are worth by themselves.

Extremes and silence are those of all training rows, in one pass; likeness and drift are those of at most SAMPLE
rows at equal distances: together about 0.1 s for 100,000 rows of 40 features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies_app.grammar.schema import RawInput, StrategySpec
from training.core.findings import ERROR, INFO, WARNING, Finding, counted
from training.core.values import Dataset, Splits, independent_rows, rows_by_symbol
from training.pipeline import kernels
from training.pipeline.dataset import MISSING, NO_WINDOW
from training.pipeline.features import bar_columns, duration
from training.pipeline.frames import bar_times
from training.pipeline.loading import RunBars
from training.store.coverage import DataError, named

#: Rows that likeness and drift are taken from, fewer of very many features (SAMPLE_VALUES numbers at most).
SAMPLE, SAMPLE_VALUES = 10_000, 1 << 20
#: A membership says nothing below this degree, and says the same all the time above its complement.
FIRES = 0.01
#: A correlation beyond this makes two features one.
ALIKE = 0.9999
#: A warning if more than this share of the base bars has no known bar of a timeframe.
MANY_LOST = 0.10
#: A fuzzy set that is silent on more than this share of the rows is worth a word.
MANY_SILENT = 0.10
_BLOCK = 8_192


@dataclass(frozen=True)
class SetColumns:
    """The columns of one fuzzy set on one timeframe, without lags."""

    name: str
    timeframe: str
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Checked:
    """figures: JSON-ready, see `check_rows`; findings: what is odd, worst first."""

    figures: dict[str, Any]
    findings: tuple[Finding, ...]

    def plain(self) -> dict[str, Any]:
        return {**self.figures, "findings": [finding.plain() for finding in self.findings]}


@dataclass(frozen=True)
class _Extremes:
    """Of the training rows: lowest and highest per column (f,), and the share of rows on which each set is silent (s,)."""

    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    silent: list[float]


def set_columns(spec: StrategySpec) -> list[SetColumns]:
    """The fuzzy sets among the features, in the features' order."""
    found, place = [], 0
    for entry in spec.nn_inputs:
        for timeframe in spec.input_timeframes(entry):
            if isinstance(entry, RawInput):
                place += 1
                continue
            width = len(spec.fuzzy_sets[entry.fuzzy_set].memberships)
            found.append(SetColumns(entry.fuzzy_set, timeframe, tuple(range(place, place + width))))
            place += width
    return found


def check_rows(dataset: Dataset, splits: Splits, sets: Sequence[SetColumns]) -> Checked:
    """Look through features and labels; DataError if one of them is not a finite number.

    figures: rows looked at; against: the split that drift is measured to; features: per feature its name, lowest, highest,
    like (the first feature that says the same, or None), drift and drift_word (None without such a split); sets: per set
    name, timeframe and silent, the share of rows on which no membership reaches FIRES; label_drift.
    """
    rows, names = dataset.rows, dataset.feature_names
    seen = _extremes(rows.features, rows.last_bars(splits.train), sets)
    _refuse_not_finite(dataset, splits, seen)
    against = "test" if len(splits.test) else "validation"
    train, other = (_sample(rows.features, rows.last_bars(part), len(names)) for part in (splits.train, getattr(splits, against)))
    like = _alike(train)
    drift = stability_index(train, other) if len(other) and len(train) else np.full(len(names), np.nan)
    words = [drift_word(index, len(train), len(other)) if np.isfinite(index) else None for index in drift]
    label_drift = _label_drift(dataset, splits.train, getattr(splits, against))
    figures = {
        "rows": len(splits.train), "against": against, "label_drift": label_drift,
        "features": [
            {"name": name, "lowest": float(low), "highest": float(high), "like": None if same is None else names[same],
             "drift": float(index) if word else None, "drift_word": word}
            for name, low, high, same, index, word in zip(names, seen.lowest, seen.highest, like, drift, words, strict=True)
        ],
        "sets": [{"name": s.name, "timeframe": s.timeframe, "silent": share} for s, share in zip(sets, seen.silent, strict=True)],
    }  # fmt: skip
    members = [column for one in sets for column in one.columns]
    findings = [
        *_of_degrees(names, seen, members), *_of_constants(names, seen, set(members)),
        *_of_sets(sets, seen.silent, len(splits.train)),
        *_of_likeness(names, seen, like, train), *_of_drift(names, drift, words, label_drift, against),
    ]  # fmt: skip
    return Checked(figures, tuple(findings))


def lost_rows(dataset: Dataset, base: str, seen: Mapping[str, int]) -> list[Finding]:
    """What the joins took of the rows, per symbol and timeframe; seen: base bars of each symbol in the dates."""
    found = []
    for symbol, by_timeframe in dataset.without_bar.items():
        dropped, bars, joins = dataset.dropped_by_symbol[symbol], max(seen[symbol], 1), 0
        for timeframe, count in by_timeframe.items():
            joins = max(joins, count)
            words = f"no {timeframe} bar is known at {_of(count, bars, base)}, since one that should be over is missing"
            found += _lost(words, count, bars, symbol, timeframe)
        reached = dropped.get(MISSING, 0) + dropped.get(NO_WINDOW, 0) - joins
        if joins and reached > 0:
            found += _lost(
                f"the lags or the window of {_of(reached, bars, base)} reach back to one of those", reached, bars, symbol, base
            )
    return found


def _of(count: int, bars: int, base: str) -> str:
    return f"{count:,} of {bars:,} {base} bars ({count / bars:.1%})"


def _lost(words: str, count: int, bars: int, symbol: str, timeframe: str) -> list[Finding]:
    severity = WARNING if count > MANY_LOST * bars else INFO
    return (
        [Finding("lost_rows", f"{words}: these rows are dropped", count, None, severity).of(symbol, timeframe)] if count else []
    )


# --- passes over the rows ----------------------------------------------------------------------


def _extremes(features: NDArray[np.float32], places: NDArray[np.int64], sets: Sequence[SetColumns]) -> _Extremes:
    """Blocks stay in the processor's cache; the matrix may lie in a file, and is read once."""
    lowest, highest = (np.full(features.shape[1], sign * np.inf, dtype=np.float32) for sign in (1, -1))
    silent = np.zeros(len(sets), dtype=np.int64)
    for start in range(0, len(places), _BLOCK):
        block = features[places[start : start + _BLOCK]]
        np.minimum(lowest, block.min(axis=0), out=lowest)
        np.maximum(highest, block.max(axis=0), out=highest)
        for number, one in enumerate(sets):
            fires = block[:, one.columns[0]] >= FIRES
            for column in one.columns[1:]:
                fires |= block[:, column] >= FIRES
            silent[number] += len(block) - np.count_nonzero(fires)
    return _Extremes(lowest, highest, (silent / max(len(places), 1)).tolist())


def _refuse_not_finite(dataset: Dataset, splits: Splits, seen: _Extremes) -> None:
    bad = np.flatnonzero(~(np.isfinite(seen.lowest) & np.isfinite(seen.highest)))
    if len(bad) and len(splits.train):
        names = named([dataset.feature_names[column] for column in bad])
        words = f"not a finite number in the training rows of {counted(len(bad), 'feature')}: {names}; look at its indicator"
        columns = tuple(dataset.feature_names[column] for column in bad)
        raise DataError(words, [Finding("not_finite", words, len(bad), severity=ERROR, columns=columns)])
    if not dataset.class_names:
        labels = dataset.rows.labels[splits.train]
        wrong = np.flatnonzero(~np.isfinite(labels))
        if len(wrong):
            words = f"a label that is not a finite number in {counted(len(wrong), 'training row')} of {len(labels):,}"
            raise DataError(words, [Finding("label_not_finite", words, len(wrong), severity=ERROR)])


def _sample(features: NDArray[np.float32], places: NDArray[np.int64], width: int) -> NDArray[np.float32]:
    """At most SAMPLE rows at equal distances: (n, f)."""
    most = max(min(SAMPLE, SAMPLE_VALUES // max(width, 1)), 500)
    step = -(-len(places) // most) or 1
    chosen: NDArray[np.float32] = features[places[::step]]
    return chosen


def _alike(sample: NDArray[np.float32]) -> list[int | None]:
    """For each column the first one before it whose correlation with it lies beyond ALIKE, either way; constants have none."""
    count, width = sample.shape
    centred = sample - sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    length = np.sqrt(np.einsum("ij,ij->j", centred, centred, dtype=np.float64))
    moves = length > 1e-6 * np.sqrt(max(count, 1)) * np.abs(sample).max(axis=0, initial=0)
    centred /= np.where(moves, length, np.inf).astype(np.float32)
    found: list[int | None] = []
    for start in range(0, width, 256):
        block = centred[:, start : start + 256]
        close = np.abs(centred[:, : start + block.shape[1]].T @ block) > ALIKE
        for column in range(block.shape[1]):
            before = np.flatnonzero(close[: start + column, column])
            found.append(int(before[0]) if len(before) else None)
    return found


def _label_drift(dataset: Dataset, train: NDArray[np.int64], other: NDArray[np.int64]) -> dict[str, Any] | None:
    if not len(train) or not len(other):
        return None
    first, second = dataset.rows.labels[train], dataset.rows.labels[other]
    if dataset.class_names:
        index = class_index(first, second, len(dataset.class_names))
    else:
        index = float(stability_index(first[:, None], second[:, None])[0])
    return {"drift": index, "drift_word": drift_word(index, len(first), len(second))}


# --- words -------------------------------------------------------------------------------------


def _about(kind: str, names: Sequence[str], columns: Iterable[int], words: str, severity: str = "warning") -> list[Finding]:
    """One finding about all of these columns; none if there are none. `words` holds {} where their number and names stand."""
    own = tuple(names[column] for column in columns)
    if not own:
        return []
    return [Finding(kind, words.format(named(own)), len(own), None, severity, columns=own)]


def _of_degrees(names: Sequence[str], seen: _Extremes, members: Sequence[int]) -> list[Finding]:
    outside = [c for c in members if seen.lowest[c] < 0 or seen.highest[c] > 1]
    never = [c for c in members if seen.highest[c] < FIRES and c not in outside]
    always = [c for c in members if seen.lowest[c] > 1 - FIRES and c not in outside]
    return [
        *_about("degree_range", names, outside, "a degree outside 0 to 1 in {}: look at the membership's code"),
        *_about(
            "never_fires", names, never, "is always 0 on the training rows: {}; the network sees zeros there, shift its points"
        ),
        *_about("always_fires", names, always, "always fires on the training rows: {}; it tells the network nothing"),
    ]


def _of_constants(names: Sequence[str], seen: _Extremes, members: set[int]) -> list[Finding]:
    told = {c for c in members if seen.highest[c] < FIRES or seen.lowest[c] > 1 - FIRES}
    still = np.flatnonzero(seen.lowest == seen.highest).tolist()
    return _about(
        "constant_feature", names, [c for c in still if c not in told], "one and the same value on all training rows: {}"
    )


def _of_sets(sets: Sequence[SetColumns], silent: Sequence[float], rows: int) -> list[Finding]:
    return [
        Finding("silent_set", f"no membership of {one.name} fires on {share:.1%} of the training rows on {one.timeframe}: "
                "the network sees zeros there", round(share * rows), None, timeframe=one.timeframe)
        for one, share in zip(sets, silent, strict=True) if share > MANY_SILENT
    ]  # fmt: skip


def _of_likeness(names: Sequence[str], seen: _Extremes, like: Sequence[int | None], sample: NDArray[np.float32]) -> list[Finding]:
    same: list[tuple[str, str]] = []
    nearly: list[tuple[str, str]] = []
    for column, other in enumerate(like):
        if other is not None:
            (same if np.array_equal(sample[:, column], sample[:, other]) else nearly).append((names[column], names[other]))
    found = []
    for kind, pairs, words in (
        ("duplicate_features", same, "the same feature twice"), ("alike_features", nearly, "features that say nearly the same"),
    ):  # fmt: skip
        if pairs:
            told = named([f"{name} like {other}" for name, other in pairs])
            found.append(Finding(kind, f"{words}: {told}", len(pairs), columns=tuple(name for name, _ in pairs)))
    return found


def _of_drift(
    names: Sequence[str], drift: NDArray[np.float64], words: Sequence[str | None], label: dict[str, Any] | None, against: str
) -> list[Finding]:
    order = np.argsort(-drift, kind="stable")
    found = []
    for word, severity in (("large", "warning"), ("moderate", INFO)):
        own = [int(c) for c in order if words[c] == word]
        if own:
            shown = named([f"{names[c]} ({drift[c]:.2f})" for c in own])
            verb = "is" if len(own) == 1 else "are"
            sentence = (
                f"{len(own):,} of {len(names):,} features {verb} differently distributed on the {against} rows than on the "
                f"training rows, {word} drift (PSI): {shown}"
            )
            found.append(Finding(f"{word}_drift", sentence, len(own), None, severity, columns=tuple(names[c] for c in own)))
    if label and label["drift_word"] == "large":
        sentence = f"labels are differently distributed on the {against} rows than on the training rows: PSI {label['drift']:.2f}"
        found.append(Finding("label_drift", sentence))
    return found


#: Groups of equal size, cut at the training rows' own quantiles.
GROUPS = 10
#: From where on a drift is moderate and large: the thresholds of Siddiqi, Credit Risk Scorecards (2006).
MODERATE, LARGE = 0.10, 0.25
#: The 95 % point of chi-squared with GROUPS − 1 degrees of freedom.
_CHI_SQUARED = 16.92


def stability_index(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Population stability index (f,) of the columns of first (n, f) and second (m, f): Σ (q − p)·ln(q / p) over groups.

    p and q are the shares of the first and the second rows in each of GROUPS groups cut at the quantiles of the first; the
    symmetric divergence of Jeffreys (1946) under the name that credit scoring gave it. Half a row is added to each group,
    so that an empty one is no infinity. Quantiles that are the same make one group: a degree that is often 0 keeps its own.
    """
    edges = np.quantile(first, np.arange(1, GROUPS) / GROUPS, axis=0, method="higher")
    found = np.empty(first.shape[1])
    for column in range(first.shape[1]):
        own = np.unique(edges[:, column])
        p, q = (_shares(own, rows[:, column]) for rows in (first, second))
        found[column] = np.sum((q - p) * np.log(q / p))
    return found


def _shares(edges: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float64]:
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1) + 0.5
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def class_index(first: NDArray[np.int64], second: NDArray[np.int64], classes: int) -> float:
    """The same of class numbers (n,) and (m,), with the classes as groups."""
    p, q = (np.bincount(labels, minlength=classes) + 0.5 for labels in (first, second))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def drift_word(index: float, first: int, second: int) -> str:
    """`steady`, `moderate` or `large`. Of few rows the index is large by chance: what 95 of 100 draws of so many rows from
    one and the same distribution stay below is steady (Yurdakul, Statistical Properties of PSI, 2018)."""
    chance = _CHI_SQUARED * (1 / first + 1 / second)
    if index <= max(MODERATE, chance):
        return "steady"
    return "large" if index > LARGE else "moderate"


#: What a trade costs there and back, as a share of the price, where the strategy does not say.
ASSUMED_COST = 0.001
#: Classes that say where the price goes; all others say nothing of it.
DIRECTIONS = {"BUY": 1, "SELL": -1, "BULLISH": 1, "BEARISH": -1, "UP": 1, "DOWN": -1}
#: Groups of a label that is a number, by its sign and the cost.
RISE, FALL, WITHIN = "above the cost", "below minus the cost", "within the cost"


class _Lives:
    """Lives of n rows: change, up, down float64 (n,) as shares of the row's close: at the end, at the highest and at
    the lowest close; length, to_top, to_bottom int64 (n,) in bars of the symbol."""

    def __init__(self, count: int) -> None:
        self.change, self.up, self.down = np.empty(count), np.empty(count), np.empty(count)
        self.length, self.to_top, self.to_bottom = (np.empty(count, dtype=np.int64) for _ in range(3))


def label_report(spec: StrategySpec, bars: RunBars, dataset: Dataset, splits: Splits) -> dict[str, Any]:
    """JSON-ready. Per class: direction (+1, −1 or 0), rows, share, median_run and longest_run (rows of one symbol in a row),
    expected_return (mean change over the life), best_return and bars_to_target.

    best_return: the mean of the best move at a close in the label's life, of a long position where the class
    says up, of a short one where it says down, else the larger of the two. bars_to_target: the median
    number of bars until that close. fitness: over the rows whose class has a direction, the mean of
    direction · change − cost: what one trade earns that follows a right label from its bar to its end.
    paying_share: how many of them earn more than the cost. None where there are no such rows. trades: those rows;
    independent_trades: how many of them can be taken so that no label looks at another's bars.
    """
    model = spec.decisions.cost_model
    cost = ASSUMED_COST if model is None else model.round_trip_cost
    lives = _lives(spec, bars, dataset, splits.train)
    names, directions, group = _groups(spec, dataset.rows.labels[splits.train], cost)
    runs = _runs(group, dataset.rows.symbols[splits.train], len(names))
    side = directions[group]
    rows, trades = dataset.rows, splits.train[side != 0]
    gained = (side * lives.change)[side != 0]
    return {
        "rows": len(splits.train),
        "longest_look_ahead": int(lives.length.max()),
        "cost": cost,
        "cost_assumed": model is None,
        "classes": [
            {"name": name, "direction": int(direction)} | _class(lives, group == number, int(direction), runs[number])
            for number, (name, direction) in enumerate(zip(names, directions, strict=True))
        ],
        "trades": len(trades),
        "independent_trades": independent_rows(
            rows.times[trades], rows.label_ends[trades], rows.symbols[trades], duration(spec.base_timeframe)
        ),
        "fitness": float(gained.mean() - cost) if len(gained) else None,
        "paying_share": float((gained > cost).mean()) if len(gained) else None,
    }  # fmt: skip


def _groups(
    spec: StrategySpec, labels: NDArray[Any], cost: float
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Names and directions of the classes, and the class of each row; returns are put in three groups by the cost."""
    if spec.class_names:
        return spec.class_names, np.array([DIRECTIONS.get(name, 0) for name in spec.class_names]), labels
    return (RISE, WITHIN, FALL), np.array([1, 0, -1]), np.where(labels > cost, 0, np.where(labels < -cost, 2, 1))


def _lives(spec: StrategySpec, bars: RunBars, dataset: Dataset, positions: NDArray[np.int64]) -> _Lives:
    rows, lives = dataset.rows, _Lives(len(positions))
    of_symbol = rows_by_symbol(rows.symbols[positions], len(dataset.symbols))
    for symbol, mine in zip(dataset.symbols, of_symbol, strict=True):
        frame = bars.frames[symbol][spec.base_timeframe]
        close, times = bar_columns(frame)["close"], bar_times(frame)
        at = np.searchsorted(times, rows.times[positions[mine]])
        end = np.searchsorted(times, rows.label_ends[positions[mine]] - duration(spec.base_timeframe))
        reach = np.full(len(close), -1, dtype=np.int64)
        reach[at] = end
        top, bottom = np.empty(len(close), dtype=np.int64), np.empty(len(close), dtype=np.int64)
        kernels.extremes_ahead(close, reach, top, bottom)
        lives.change[mine], lives.length[mine] = close[end] / close[at] - 1.0, end - at
        lives.up[mine], lives.to_top[mine] = close[top[at]] / close[at] - 1.0, top[at] - at
        lives.down[mine], lives.to_bottom[mine] = close[bottom[at]] / close[at] - 1.0, bottom[at] - at
    return lives


def _class(lives: _Lives, own: NDArray[np.bool_], direction: int, runs: NDArray[np.int64]) -> dict[str, Any]:
    """Figures of the rows of one class; None where it has none."""
    count = int(own.sum())
    told: dict[str, Any] = {"rows": count, "share": count / len(own)}
    if not count:
        nothing = ("median_run", "longest_run", "expected_return", "best_return", "bars_to_target")
        return told | dict.fromkeys(nothing)
    up, down = lives.up[own], -lives.down[own]
    long = up >= down if direction == 0 else np.full(count, direction > 0)
    return told | {
        "median_run": float(np.median(runs)),
        "longest_run": int(runs.max()),
        "expected_return": float(lives.change[own].mean()),
        "best_return": float(np.where(long, up, down).mean()),
        "bars_to_target": float(np.median(np.where(long, lives.to_top[own], lives.to_bottom[own]))),
    }


def _runs(group: NDArray[np.int64], symbols: NDArray[np.int32], classes: int) -> list[NDArray[np.int64]]:
    """Per class the lengths of its runs: rows of one symbol, one after the other, of one class."""
    new = np.ones(len(group), dtype=np.bool_)
    new[1:] = (np.diff(group) != 0) | (np.diff(symbols) != 0)
    begins = np.flatnonzero(new)
    lengths = np.diff(np.append(begins, len(group)))
    return [lengths[group[begins] == number] for number in range(classes)]
