"""The order of an epoch's rows is a pure function of (seed, epoch)."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.trainer.batches import epoch_order, torch_seed

seeds = st.integers(0, 2**63 - 1)


@given(seeds, st.integers(0, 10**6), st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_proportional_order_is_a_permutation_and_repeats(seed: int, epoch: int, count: int) -> None:
    order = epoch_order(seed, epoch, count)
    np.random.default_rng(5).random(3)
    np.testing.assert_array_equal(order, epoch_order(seed, epoch, count))
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    assert order.dtype == np.int64


@given(seeds, st.integers(0, 1000), st.lists(st.integers(0, 4), min_size=1, max_size=200))
@settings(max_examples=50, deadline=None)
def test_balanced_order_draws_every_symbol_equally_often(seed: int, epoch: int, symbols: list[int]) -> None:
    owners = np.array(symbols, np.int32)
    order = epoch_order(seed, epoch, len(owners), owners, "balanced")
    np.testing.assert_array_equal(order, epoch_order(seed, epoch, len(owners), owners, "balanced"))
    assert len(order) == len(owners)
    draws = np.bincount(owners[order])[np.unique(owners)]
    assert draws.max() - draws.min() <= 1
    for symbol in np.unique(owners):
        rows = np.flatnonzero(owners == symbol)
        times = np.array([(order == row).sum() for row in rows])
        assert times.max() - times.min() <= 1, "a row is drawn again only after all others of its symbol were"


def test_other_epochs_and_seeds_give_other_orders() -> None:
    orders = {epoch_order(seed, epoch, 50).tobytes() for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert len({torch_seed(seed, epoch) for seed in range(5) for epoch in range(5)}) == 25
