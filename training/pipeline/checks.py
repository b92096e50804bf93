"""Checks of features and labels before a network sees them: rows and splits → figures per feature, and what is odd about them.

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
from training.core.values import Dataset, Splits
from training.pipeline.dataset import MISSING, NO_WINDOW
from training.pipeline.drift import class_index, drift_word, stability_index
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
            "never_fires", names, never, "never fires on the training rows: {}; the network sees zeros there, move its points"
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
                f"{len(own):,} of {len(names):,} features {verb} distributed otherwise on the {against} rows than on the "
                f"training rows, {word} drift (PSI): {shown}"
            )
            found.append(Finding(f"{word}_drift", sentence, len(own), None, severity, columns=tuple(names[c] for c in own)))
    if label and label["drift_word"] == "large":
        sentence = f"labels are distributed otherwise on the {against} rows than on the training rows: PSI {label['drift']:.2f}"
        found.append(Finding("label_drift", sentence))
    return found
