"""Train, validation and test on one clock, purged and embargoed, and a second, independent look at the result.

López de Prado, Advances in Financial Machine Learning (2018), chapter 7: a row of the earlier side
must be known before the cut (purge), and the first rows after it are left out (embargo).
"""

from __future__ import annotations

import numpy as np

from strategies_app.schema import DataSplit
from training.pipeline.frames import DataError
from training.values import Dataset, Rows, Splits


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
    train = before & (rows.label_ends <= cuts[0])
    # Where no later side begins, no label can reach into one.
    validation = between & (rows.times >= ends[0]) & ((rows.label_ends <= cuts[1]) | (second == count))
    test = after & (rows.times >= ends[1])
    embargoed = (between & (rows.times < ends[0])) | (after & (rows.times < ends[1]))
    purged = ~(train | validation | test | embargoed)
    sides = np.flatnonzero(train), np.flatnonzero(validation), np.flatnonzero(test)
    splits = Splits(*sides, cuts, ends, np.flatnonzero(purged), np.flatnonzero(embargoed))
    _refuse_empty(splits, split, len(rows))
    return splits


def _position(fraction: float, count: int) -> int:
    # Rounded first, so that 0.7 + 0.15 cuts where 0.85 does.
    return int(np.floor(round(fraction * count, 6)))


def _time_at(dataset: Dataset, position: int) -> int:
    """The clock's time at a position; past its end, a moment after its last."""
    clock = dataset.clock
    return int(clock[position]) if position < len(clock) else int(clock[-1]) + 1


def _refuse_empty(splits: Splits, split: DataSplit, rows: int) -> None:
    wanted = {"train": splits.train, "validation": splits.validation}
    if split.test > 0:
        wanted["test"] = splits.test
    for name, positions in wanted.items():
        if len(positions) == 0:
            raise DataError(
                f"the {name} split has no rows: of {rows} rows with features and labels, {len(splits.purged)} were purged "
                f"(their label ends after the cut) and {len(splits.embargoed)} embargoed; "
                "wanted a longer date range, a shorter label look-ahead or a smaller embargo"
            )


def check_splits(dataset: Dataset, splits: Splits) -> None:
    """Look again, by other means than `cut_rows`: no overlap of rows, times or label lives. Raises AssertionError."""
    rows = dataset.rows
    parts = [splits.train, splits.validation, splits.test]
    everything = np.concatenate([*parts, splits.purged, splits.embargoed])
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


def _check_order(rows: Rows, part: np.ndarray) -> None:
    symbols, times = rows.symbols[part], rows.times[part]
    same = np.diff(symbols) == 0
    if np.any(np.diff(symbols) < 0) or np.any(np.diff(times)[same] <= 0):
        raise AssertionError("rows of a split are not symbol after symbol in time order")
