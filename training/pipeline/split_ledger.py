"""The ledger of the splits: rows and cuts → where each side begins and ends, and what became of every base bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.core.values import Dataset, Splits, rows_by_symbol
from training.pipeline.loading import RunBars

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
