"""Made-up markets for the laws: bar columns of a lively price, the same on every run; and what may happen to them later."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies_app.vocabulary import BAR_COLUMNS
from training.pipeline.features import bar_columns
from training.pipeline.synthetic import make_bars

Columns = dict[str, NDArray[np.float64]]


def market(count: int, seed: int) -> Columns:
    """Bars of a symbol of its own."""
    if count == 0:
        return {name: np.empty(0) for name in BAR_COLUMNS}
    return dict(bar_columns(make_bars(count, "1d", seed)))


def constant_market(count: int, price: float, volume: float) -> Columns:
    """A price that never moves."""
    return {name: np.full(count, volume if name == "volume" else price) for name in BAR_COLUMNS}


def first_bars(columns: Columns, count: int) -> Columns:
    """The market as it was when only its first bars were there."""
    return {name: column[:count].copy() for name, column in columns.items()}


def other_future(columns: Columns, after: int, factor: float, seed: int) -> Columns:
    """The market with other bars behind position `after`: those of another symbol, at prices `factor` times as high."""
    count = len(columns["close"])
    another = market(count, seed)
    changed = {}
    for name, column in columns.items():
        scale = 1.0 if name == "volume" else factor
        changed[name] = np.concatenate([column[: after + 1], scale * another[name][after + 1 :]])
    return changed


def scaled(columns: Columns, factor: float) -> Columns:
    """The market in another unit of price."""
    return {name: column if name == "volume" else column * factor for name, column in columns.items()}


def definition(name: str, key: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {key: name, **parameters}
