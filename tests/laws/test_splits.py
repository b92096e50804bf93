"""Train, validation and test never touch: one clock, purge, embargo, and a second look that finds planted faults."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies_app.grammar.schema import DataSplit
from tests.examples.pipeline import (
    LABEL_SECTIONS,
    market_with_holes,
    modest,
    run_bars,
    strategy,
    thorough,
    whole_vocabulary,
    with_higher,
)
from training.core.values import Dataset, Rows, Splits
from training.pipeline.dataset import NO_EVENT, build_dataset
from training.pipeline.splits import check_splits, cut_rows
from training.store.coverage import DataError

HOUR = 3_600_000_000
SYMBOLS = ("AAA", "BBB")


def made_up(seed: int = 0, horizon: int = 6, count: int = 400) -> Dataset:
    """Rows of two symbols with holes; labels end within `horizon` bars."""
    random = np.random.default_rng(seed)
    times, symbols = [], []
    for number in range(2):
        steps = np.flatnonzero(random.random(count) < (0.9, 0.6)[number])
        times.append(steps.astype(np.int64) * HOUR)
        symbols.append(np.full(len(steps), number, dtype=np.int32))
    clock = np.unique(np.concatenate(times))
    kept = [t[random.random(len(t)) < 0.95] for t in times]
    symbols = [np.full(len(t), n, dtype=np.int32) for n, t in enumerate(kept)]
    rows_times = np.concatenate(kept)
    ends = rows_times + (1 + random.integers(1, horizon + 1, len(rows_times))) * HOUR
    features = random.random((len(rows_times), 2)).astype(np.float32)
    rows = Rows(features, np.ones(len(rows_times), dtype=np.int64), rows_times, ends, np.concatenate(symbols))
    return Dataset(rows, clock, SYMBOLS, ("a", "b"), ("none", "none"), ("BUY", "HOLD", "SELL"))


fractions = st.tuples(st.floats(0.3, 0.8), st.floats(0.1, 0.4), st.floats(0, 0.1)).map(
    lambda f: DataSplit(train=f[0], validation=min(f[1], 1 - f[0]), test=1 - f[0] - min(f[1], 1 - f[0]), embargo=f[2])
)


@thorough
@given(seed=st.integers(0, 999), horizon=st.integers(1, 20), split=fractions)
def test_every_row_has_one_place_and_no_label_reaches_over_a_cut(seed: int, horizon: int, split: DataSplit) -> None:
    dataset = made_up(seed, horizon)
    try:
        splits = cut_rows(dataset, split)
    except DataError:
        return
    check_splits(dataset, splits)
    rows, clock = dataset.rows, dataset.clock
    embargo = round(split.embargo * len(clock))
    for row in range(len(rows)):
        time, end = int(rows.times[row]), int(rows.label_ends[row])
        side = sum(time >= cut for cut in splits.cuts)
        since_cut = np.sum((clock >= splits.cuts[side - 1]) & (clock < time)) if side else embargo
        later = side < 2 and splits.cuts[side] <= clock[-1]
        place = (
            "embargoed"
            if since_cut < embargo
            else "purged"
            if later and end > splits.cuts[side]
            else ("train", "validation", "test")[side]
        )
        assert row in getattr(splits, place), f"row {row} should be {place}"
    parts = [splits.train, splits.validation, splits.test, splits.purged, splits.embargoed]
    assert sum(map(len, parts)) == len(rows)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(rows)))


@modest
@given(seed=st.integers(0, 999), split=fractions)
def test_cuts_are_quantiles_of_the_clock(seed: int, split: DataSplit) -> None:
    dataset = made_up(seed)
    try:
        splits = cut_rows(dataset, split)
    except DataError:
        return
    shares = [np.mean(dataset.clock < cut) for cut in splits.cuts]
    np.testing.assert_allclose(shares, [split.train, split.train + split.validation], atol=1.01 / len(dataset.clock))


def test_the_same_bars_and_fractions_give_the_same_dates_for_every_strategy() -> None:
    frames = {
        s: with_higher(market_with_holes("1h", "4h", n, bars=500, buckets=30), ("1h", "4h"), False, n)
        for n, s in enumerate(SYMBOLS)
    }
    seen = set()
    for section in LABEL_SECTIONS:
        for spec in (
            whole_vocabulary(("1h", "4h"), symbols=SYMBOLS, labels=section),
            strategy({"slow": {"type": "sma", "period": 60}}, ("1h",), SYMBOLS, labels=section, lags=3),
        ):
            splits = cut_rows(build_dataset(spec, run_bars(spec, frames)), DataSplit())
            seen.add((splits.cuts, splits.embargo_ends))
    assert len(seen) == 1


def test_without_a_test_side_nothing_is_purged_at_the_end() -> None:
    dataset = made_up()
    splits = cut_rows(dataset, DataSplit(train=0.8, validation=0.2, test=0.0, embargo=0.0))
    assert len(splits.test) == 0
    assert len(splits.validation) == np.sum(dataset.rows.times >= splits.cuts[0])


def test_seven_tenths_and_fifteen_hundredths_cut_where_eighty_five_do() -> None:
    for count in (100, 1000, 20_000):
        dataset = made_up(count=count)
        assert (
            cut_rows(dataset, DataSplit()).cuts[1] == cut_rows(dataset, DataSplit(train=0.5, validation=0.35, test=0.15)).cuts[1]
        )


@pytest.mark.parametrize(
    ("split", "horizon", "words"),
    [
        ({"train": 0.7, "validation": 0.001, "test": 0.299}, 50, "validation split has no rows"),
        ({"train": 0.7, "validation": 0.299, "test": 0.001}, 5, "test split has no rows"),
        ({"train": 0.001, "validation": 0.5, "test": 0.499}, 5, "train split has no rows"),
    ],
)
def test_a_split_without_rows_is_refused_with_the_reason(split: dict[str, float], horizon: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        cut_rows(made_up(horizon=horizon), DataSplit(**split))


def test_a_split_that_an_event_filter_left_without_rows_names_the_filter() -> None:
    filtered = dataclasses.replace(made_up(), dropped={NO_EVENT: 900})
    with pytest.raises(DataError) as refused:
        cut_rows(filtered, DataSplit(train=0.7, validation=0.001, test=0.299))
    assert "(the CUSUM filter dropped 900 others)" in str(refused.value)
    assert "wanted a lower cusum_threshold and cusum_multiplier, a longer date range" in str(refused.value)


# --- planted faults ----------------------------------------------------------------------------


def planted(splits: Splits, **changes: np.ndarray) -> Splits:
    return dataclasses.replace(splits, **changes)


def with_label_end(dataset: Dataset, row: int, end: int) -> Dataset:
    ends = dataset.rows.label_ends.copy()
    ends[row] = end
    return dataclasses.replace(dataset, rows=dataclasses.replace(dataset.rows, label_ends=ends))


@pytest.fixture
def sound() -> tuple[Dataset, Splits]:
    dataset = made_up(3)
    splits = cut_rows(dataset, DataSplit(embargo=0.03))
    assert min(len(splits.purged), len(splits.embargoed)) > 3
    check_splits(dataset, splits)
    return dataset, splits


@pytest.mark.parametrize("side", ["train", "validation"])
def test_one_label_that_ends_a_moment_after_the_cut_is_found(sound: tuple[Dataset, Splits], side: str) -> None:
    dataset, splits = sound
    cut = splits.cuts[side == "validation"]
    for row in getattr(splits, side)[[0, -1]]:
        with pytest.raises(AssertionError):
            check_splits(with_label_end(dataset, int(row), cut + 1), splits)


@pytest.mark.parametrize("source", ["purged", "embargoed", "validation", "test"])
@pytest.mark.parametrize("target", ["train", "validation", "test"])
def test_a_row_in_the_wrong_place_is_found(sound: tuple[Dataset, Splits], source: str, target: str) -> None:
    dataset, splits = sound
    if source == target:
        return
    for row in getattr(splits, source):
        moved = {
            target: np.sort(np.append(getattr(splits, target), row)),
            source: getattr(splits, source)[getattr(splits, source) != row],
        }
        with pytest.raises(AssertionError):
            check_splits(dataset, planted(splits, **moved))


@pytest.mark.parametrize("name", ["train", "validation", "test", "purged", "embargoed"])
def test_a_row_lost_or_used_twice_is_found(sound: tuple[Dataset, Splits], name: str) -> None:
    dataset, splits = sound
    part = getattr(splits, name)
    with pytest.raises(AssertionError):
        check_splits(dataset, planted(splits, **{name: part[1:]}))
    other = "test" if name == "train" else "train"
    with pytest.raises(AssertionError):
        check_splits(dataset, planted(splits, **{other: np.sort(np.append(getattr(splits, other), part[0]))}))


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_two_rows_in_swapped_order_are_found(sound: tuple[Dataset, Splits], name: str) -> None:
    dataset, splits = sound
    part = getattr(splits, name).copy()
    part[[0, 1]] = part[[1, 0]]
    with pytest.raises(AssertionError):
        check_splits(dataset, planted(splits, **{name: part}))


def test_swapped_sides_are_found(sound: tuple[Dataset, Splits]) -> None:
    dataset, splits = sound
    with pytest.raises(AssertionError):
        check_splits(dataset, planted(splits, train=splits.test, test=splits.train))


def test_every_run_takes_the_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.pipeline import prepare

    def leaking(dataset: Dataset, split: DataSplit) -> Splits:
        splits = cut_rows(dataset, split)
        assert len(splits.purged)
        together = np.sort(np.concatenate([splits.train, splits.purged]))
        return planted(splits, train=together, purged=splits.purged[:0])

    spec = strategy({"slow": {"type": "sma", "period": 20}}, ("1h",), SYMBOLS, labels=LABEL_SECTIONS[0])
    frames = {
        s: with_higher(market_with_holes("1h", "4h", n, bars=500, buckets=30), ("1h",), False, n) for n, s in enumerate(SYMBOLS)
    }
    prepare.prepare(spec, run_bars(spec, frames))
    monkeypatch.setattr(prepare, "cut_rows", leaking)
    with pytest.raises(AssertionError, match=r"known at|label ends after the cut"):
        prepare.prepare(spec, run_bars(spec, frames))
