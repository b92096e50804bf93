"""A symbol's features and labels are the same with or without the other symbols."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples.pipeline import (
    LABEL_SECTIONS,
    PAIRS,
    Frames,
    label_id,
    market_with_holes,
    modest,
    run_bars,
    same_bits,
    whole_vocabulary,
    with_higher,
)
from training.core.values import Rows
from training.pipeline.dataset import build_dataset
from training.pipeline.frames import bar_times

SYMBOLS = ("AAA", "BBB", "CCC")
COLUMNS = ("features", "labels", "times", "label_ends")


def three_markets(pair: tuple[str, str], seed: int, stored: bool) -> dict[str, Frames]:
    """Symbols of different spans: the second begins later, the third ends earlier."""
    markets = {}
    for number, symbol in enumerate(SYMBOLS):
        frame = market_with_holes(pair[0], pair[1], seed + number, bars=500, buckets=26)
        frame = [frame, frame[40:], frame[:-60]][number]
        markets[symbol] = with_higher(frame, pair, stored, seed + number)
    return markets


def rows_of(rows: Rows, symbol: int) -> dict[str, np.ndarray]:
    mine = rows.symbols == symbol
    return {name: getattr(rows, name)[mine] for name in COLUMNS}


def assert_alone_as_among_others(pair: tuple[str, str], seed: int, stored: bool, order: list[str], **options: Any) -> None:
    markets = three_markets(pair, seed, stored)
    start = int(bar_times(markets["BBB"][pair[0]])[30]) if seed % 2 else 0
    together = build_dataset(spec := whole_vocabulary(pair, symbols=order, **options), run_bars(spec, markets, start))
    assert len(together.rows) > 100
    for number, symbol in enumerate(order):
        alone_spec = whole_vocabulary(pair, symbols=[symbol], **options)
        alone = build_dataset(alone_spec, run_bars(alone_spec, markets, start))
        for name, column in rows_of(together.rows, number).items():
            assert same_bits(column, getattr(alone.rows, name)), f"{name} of {symbol}"


@pytest.mark.parametrize("section", LABEL_SECTIONS, ids=label_id)
@modest
@given(
    pair=st.sampled_from(PAIRS),
    seed=st.integers(0, 1000),
    stored=st.booleans(),
    order=st.permutations(SYMBOLS),
    lags=st.integers(0, 3),
)
def test_a_symbol_alone_gives_the_rows_it_gives_among_others(section: dict[str, Any], order: list[str], **market: Any) -> None:
    lags = market.pop("lags")
    assert_alone_as_among_others(order=order, labels=section, lags=lags, **market)


def test_rows_are_stacked_symbol_after_symbol_in_time_order() -> None:
    markets = three_markets(("1h", "1d"), 3, False)
    spec = whole_vocabulary(("1h", "1d"), symbols=SYMBOLS)
    rows = build_dataset(spec, run_bars(spec, markets)).rows
    assert (np.diff(rows.symbols) >= 0).all()
    assert (np.diff(rows.times)[np.diff(rows.symbols) == 0] > 0).all()
    assert rows.features.flags.c_contiguous
    assert set(rows.symbols) == {0, 1, 2}
