"""Splits and dividends: raw bars and an adjusted close → adjusted bars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.pipeline.frames import Rows, time_text
from training.pipeline.quality import SPLITS, split_name
from training.store.coverage import DataError

Values = NDArray[np.float64]
#: A step of the adjustment beyond this is a split or a very large dividend.
_STEP = 1.25


def adjusted(
    times: NDArray[np.int64], values: Values, adj_close: Values, split: Values | None, rows: Rows
) -> tuple[Values, list[str]]:
    """Bars float64 (5, n) with every price times adj_close / close, and notes.

    All four prices are multiplied by the same number, so high and low still enclose them to the last bit.
    Volume is divided by the price factor of the splits alone: before a 2:1 split prices are halved (factor 0.5)
    and volume doubles, so that it counts today's shares; dividends do not change it. Splits come from the `split`
    column (2.0 on the day of a 2:1 split) or, without one, from steps of the factor which the raw price confirms.
    """
    wrong = np.flatnonzero((adj_close <= 0) | np.isinf(adj_close))
    if len(wrong):
        raise DataError(f"{rows.named(wrong)}: an adjusted close that is not a positive number")
    factor = adj_close / values[3]
    at, ratios, notes = _column_splits(split) if split is not None else _stepped_splits(times, values, factor)
    steps = np.ones(len(times))
    steps[at] = ratios
    # A bar carries the splits after it, not its own day's.
    later = np.append(np.cumprod(steps[::-1])[::-1][1:], 1.0)
    shown = ", ".join(
        f"{split_name(ratio) or f'{ratio:g}:1'} at {time_text(times[i])}" for i, ratio in zip(at, ratios, strict=True)
    )
    notes.append(
        f"prices adjusted by adjusted close / close; volume divided by the factor of the splits: {shown}"
        if shown
        else "prices adjusted by adjusted close / close; no split is in these bars, volume is as in the file"
    )
    return np.concatenate([values[:4] * factor, values[4:] * later]), notes


def _column_splits(split: Values) -> tuple[NDArray[np.int64], Values, list[str]]:
    """0, 1 and empty cells mean no split."""
    at = np.flatnonzero((split > 0) & (split != 1) & np.isfinite(split))
    return at, split[at], []


def _stepped_splits(times: NDArray[np.int64], values: Values, factor: Values) -> tuple[NDArray[np.int64], Values, list[str]]:
    """Days on which the factor steps by a split's ratio and the raw price falls (or rises) with it."""
    steps = factor[1:] / factor[:-1]
    moves = values[3, :-1] / values[0, 1:]
    candidates = np.flatnonzero((steps > _STEP) | (steps < 1 / _STEP))
    at, ratios, notes = [], [], []
    for i in candidates:
        name = split_name(float(steps[i]), tolerance=0.05)
        if name and abs(moves[i] / SPLITS[name] - 1) < 0.25:
            at.append(i + 1)
            ratios.append(SPLITS[name])
        else:
            day = time_text(times[i + 1])
            notes.append(f"the adjustment steps by {steps[i]:.3f} at {day}, not like a split: volume is left as it is there")
    return np.array(at, np.int64), np.array(ratios), notes
