"""Train, validation and test on one clock, purged and embargoed, a second look at the result, and the ledger of every bar.

López de Prado, Advances in Financial Machine Learning (2018), chapter 7: a row of the earlier side
must be known before the cut (purge), and the first rows after it are left out (embargo). A row whose window
reaches back to before its side begins is left out as well: no bar is seen by two sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies_app.grammar.schema import DataSplit
from training.core.values import Dataset, Rows, Splits, rows_by_symbol
from training.pipeline.dataset import NO_EVENT
from training.pipeline.loading import RunBars
from training.store.coverage import DataError


def cut_rows(dataset: Dataset, split: DataSplit) -> Splits:
    """Assign every row to train, validation, test or to none of them.

    Cuts are quantiles of `dataset.clock`, the base-bar times of all symbols before any row was
    dropped; the embargo is a share of their number, counted in times.
    """
    clock, rows = dataset.clock, dataset.rows
    count = len(clock)
    first = min(_position(split.train, count), count - 1)
    second = min(_position(split.train + split.validation, count), count)
    embargo = round(split.embargo * count)
    cuts = (_time_at(dataset, first), _time_at(dataset, second))
    ends = (_time_at(dataset, first + embargo), _time_at(dataset, second + embargo))
    before, between, after = rows.times < cuts[0], (rows.times >= cuts[0]) & (rows.times < cuts[1]), rows.times >= cuts[1]
    embargoed = (between & (rows.times < ends[0])) | (after & (rows.times < ends[1]))
    # Where no later side begins, no label can reach into one.
    reaches_over = (before & (rows.label_ends > cuts[0])) | (between & (rows.label_ends > cuts[1]) & (second < count))
    purged = reaches_over & ~embargoed
    reaches_back = (between & (dataset.begins < ends[0])) | (after & (dataset.begins < ends[1]))
    crossing = reaches_back & ~(embargoed | purged)
    left = ~(embargoed | purged | crossing)
    splits = Splits(
        train=np.flatnonzero(before & left),
        validation=np.flatnonzero(between & left),
        test=np.flatnonzero(after & left),
        cuts=cuts,
        embargo_ends=ends,
        purged=np.flatnonzero(purged),
        embargoed=np.flatnonzero(embargoed),
        crossing=np.flatnonzero(crossing),
    )
    _refuse_empty(dataset, splits, split)
    return splits


def _position(fraction: float, count: int) -> int:
    # Rounded first, so that 0.7 + 0.15 cuts where 0.85 does.
    return int(np.floor(round(fraction * count, 6)))


def _time_at(dataset: Dataset, position: int) -> int:
    """The clock's time at a position; past its end, a moment after its last."""
    clock = dataset.clock
    return int(clock[position]) if position < len(clock) else int(clock[-1]) + 1


def _refuse_empty(dataset: Dataset, splits: Splits, split: DataSplit) -> None:
    wanted = {"train": splits.train, "validation": splits.validation}
    if split.test > 0:
        wanted["test"] = splits.test
    for name, positions in wanted.items():
        if len(positions) == 0:
            rows, filtered, lower, crossing, shorter = len(dataset.rows), "", "", "", ""
            if dropped := dataset.dropped.get(NO_EVENT):
                filtered = f" (the CUSUM filter dropped {dropped} others)"
                lower = "a lower cusum_threshold and cusum_multiplier, "
            if dataset.window > 1:
                crossing = f", {len(splits.crossing)} have a window of {dataset.window} bars that reaches back over a cut"
                shorter = ", a shorter sequence_length"
            raise DataError(
                f"the {name} split has no rows: of {rows} rows with features and labels{filtered}, "
                f"{len(splits.purged)} were purged (their label ends after the cut){crossing} and "
                f"{len(splits.embargoed)} embargoed; wanted {lower}a longer date range{shorter}, "
                "a shorter label look-ahead or a smaller embargo"
            )


def check_splits(dataset: Dataset, splits: Splits) -> None:
    """Look again, by other means than `cut_rows`: no overlap of rows, times or label lives. Raises AssertionError."""
    rows = dataset.rows
    parts = [splits.train, splits.validation, splits.test]
    everything = np.concatenate([*parts, splits.purged, splits.embargoed, splits.crossing])
    # Sorted, the positions must be 0, 1, 2, …
    if not np.array_equal(np.sort(everything), np.arange(len(rows))):
        raise AssertionError("a row belongs to two splits, or to none without a reason")
    for part in parts:
        _check_order(rows, part)
    for i, earlier in enumerate(parts):
        for later in parts[i + 1 :]:
            if len(earlier) and len(later):
                known, begins = int(rows.label_ends[earlier].max()), int(rows.times[later].min())
                if known > begins or int(rows.times[earlier].max()) >= begins:
                    raise AssertionError(
                        f"a label of an earlier split is known at {known}, after a later split begins at {begins}"
                    )
    _check_cuts(dataset, splits)
    _check_windows(dataset, splits)


def _check_cuts(dataset: Dataset, splits: Splits) -> None:
    """Each side keeps to its own stretch of time, labels included, and leaves the embargo behind a cut empty."""
    rows = dataset.rows
    never = np.iinfo(np.int64).max
    cuts = [cut if cut <= dataset.clock[-1] else never for cut in splits.cuts]
    begins = [np.iinfo(np.int64).min, *splits.embargo_ends]
    for part, begin, cut in zip((splits.train, splits.validation, splits.test), begins, [*cuts, never], strict=True):
        if np.any(rows.times[part] < begin) or np.any(rows.times[part] >= cut) or np.any(rows.label_ends[part] > cut):
            raise AssertionError(f"a row of a split begins before {begin}, or it or its label ends after the cut at {cut}")
    reaches_over = [(rows.times[splits.purged] < cut) & (rows.label_ends[splits.purged] > cut) for cut in cuts]
    in_embargo = [(rows.times >= cut) & (rows.times < end) for cut, end in zip(splits.cuts, splits.embargo_ends, strict=True)]
    if not np.any(reaches_over, axis=0).all() or not np.any(in_embargo, axis=0)[splits.embargoed].all():
        raise AssertionError("a row is called purged or embargoed without a reason")


def _check_windows(dataset: Dataset, splits: Splits) -> None:
    """Marks the bars that each side sees: they are its own, of one symbol per window, and none is seen by two sides."""
    rows, window = dataset.rows, dataset.window
    if rows.ends is None or rows.bar_times is None or rows.bar_symbols is None:
        if window > 1 or len(splits.crossing):
            raise AssertionError(f"examples of {window} bars without a record of their bars")
        return
    if np.any(rows.ends < window - 1) or np.any(rows.ends >= len(rows.features)):
        raise AssertionError("a window reaches over the ends of the bars")
    if np.any(rows.bar_times[rows.ends] != rows.times) or np.any(rows.bar_symbols[rows.ends] != rows.symbols):
        raise AssertionError("the last bar of a window is not the bar of its row")
    changes = np.concatenate([[0], np.cumsum((np.diff(rows.bar_symbols) != 0) | (np.diff(rows.bar_times) <= 0))])
    if np.any(changes[rows.ends] != changes[rows.ends - (window - 1)]):
        raise AssertionError("a window holds bars of two symbols, or bars that are not in order of time")
    begins = [np.iinfo(np.int64).min, *splits.embargo_ends]
    seen = [_bars_seen(rows.ends[part], window, len(rows.features)) for part in (splits.train, splits.validation, splits.test)]
    if np.any(np.sum(seen, axis=0) > 1):
        raise AssertionError("a bar is seen by two splits")
    for bars, begin in zip(seen, begins, strict=True):
        if np.any(rows.bar_times[bars] < begin):
            raise AssertionError(f"a window of a split begins before {begin}")
    back = rows.bar_times[rows.ends - (window - 1)][splits.crossing]
    times = rows.times[splits.crossing]
    if not np.any([(times >= end) & (back < end) for end in splits.embargo_ends], axis=0).all():
        raise AssertionError("a row is called crossing without a reason")


def _bars_seen(ends: np.ndarray, window: int, count: int) -> np.ndarray:
    """Which of `count` bars lie in a window that ends at one of `ends`: bool (count,)."""
    steps = np.zeros(count + 1, dtype=np.int64)
    np.add.at(steps, ends - (window - 1), 1)
    np.add.at(steps, ends + 1, -1)
    return np.cumsum(steps)[:count] > 0


def _check_order(rows: Rows, part: np.ndarray) -> None:
    symbols, times = rows.symbols[part], rows.times[part]
    same = np.diff(symbols) == 0
    if np.any(np.diff(symbols) < 0) or np.any(np.diff(times)[same] <= 0):
        raise AssertionError("rows of a split are not symbol after symbol in time order")


#: What a model has to do with a day, in order of time.
SIDES = ("before", "train", "validation", "test", "new")


def side_names(ledger: Mapping[str, Any], times: NDArray[np.int64]) -> list[str]:
    """For each open (µs) the one of SIDES that its day belongs to in the training of this ledger.

    A purged or embargoed bar counts as of the split before it: what was learned there reaches into it.
    """
    borders = [ledger["start"], ledger["embargo_ends"][0], ledger["embargo_ends"][1], ledger["end"]]
    if not ledger["rows"]["test"]:
        borders[2] = ledger["end"]
    return [SIDES[place] for place in np.searchsorted(borders, times, side="right").tolist()]


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
