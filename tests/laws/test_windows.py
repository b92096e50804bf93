"""A window is consecutive bars of one symbol with all their features, known at its last bar, seen by one split."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies_app.grammar.schema import DataSplit, StrategySpec
from tests.examples.pipeline import Frames, market_with_holes, modest, plain_market, run_bars, same_bits, strategy, with_higher
from training.core.values import Dataset, Splits
from training.pipeline import cache
from training.pipeline.dataset import NO_EVENT, NO_WINDOW, build_dataset, build_features
from training.pipeline.frames import bar_times
from training.pipeline.loading import warm_up_bars
from training.pipeline.splits import check_splits, cut_rows
from training.store.coverage import DataError

SYMBOLS = ("AAA", "BBB")
EVENTS = {"source": "triple_barrier", "max_holding_period": 9, "vol_span": 6, "cusum_threshold": 1e-4, "compute_weights": True}
INDICATORS = {"fast": {"type": "rsi", "period": 5}, "slow": {"type": "sma", "period": 9}}


def spec_of(window: int, lags: int = 0, symbols: tuple[str, ...] = SYMBOLS, labels: dict[str, Any] | None = None) -> StrategySpec:
    return strategy(INDICATORS, ("1h", "4h"), symbols, labels=labels, lags=lags, window=window)


def markets(seed: int) -> dict[str, Frames]:
    """Buckets of the higher timeframe are missing where base bars are there, so features are missing in the middle."""
    return {
        symbol: with_higher(market_with_holes("1h", "4h", seed + number, bars=400, buckets=30), ("1h", "4h"), True, seed)
        for number, symbol in enumerate(SYMBOLS)
    }


def windows_of(dataset: Dataset) -> np.ndarray:
    """float32 (n, window, f), row by row."""
    assert dataset.rows.ends is not None
    return np.stack([dataset.rows.features[end - dataset.window + 1 : end + 1] for end in dataset.rows.ends])


@pytest.mark.parametrize("labels", [{"source": "context", "horizon": 4}, EVENTS], ids=["every bar", "events"])
@modest
@given(seed=st.integers(0, 999), window=st.integers(2, 9), lags=st.integers(0, 3), late=st.integers(0, 60))
def test_every_window_is_the_bars_before_its_row_and_every_other_bar_has_a_reason(
    labels: dict[str, Any], seed: int, window: int, lags: int, late: int
) -> None:
    frames = markets(seed)
    start = int(bar_times(frames["BBB"]["1h"])[late]) if late else None
    spec, plain = spec_of(window, lags, labels=labels), spec_of(1, lags, labels=labels)
    bars = run_bars(spec, frames, start)
    dataset, single = build_dataset(spec, bars), build_dataset(plain, bars)
    seen, place = windows_of(dataset), 0
    for number, symbol in enumerate(SYMBOLS):
        features, times, _ = build_features(plain, frames[symbol], 0)  # every bar that has all its features
        of_time = {int(time): features[i] for i, time in enumerate(times)}
        stored = bar_times(frames[symbol]["1h"])
        for row in np.flatnonzero(single.rows.symbols == number):
            last = int(np.searchsorted(stored, single.rows.times[row]))
            wanted = [of_time.get(int(time)) for time in stored[max(last - window + 1, 0) : last + 1]]
            if len(wanted) < window or any(bar is None for bar in wanted):
                continue
            assert (dataset.rows.symbols[place], dataset.rows.times[place]) == (number, single.rows.times[row])
            assert same_bits(seen[place], np.stack(wanted)), f"window at {times[row % len(times)]}"
            assert dataset.rows.labels[place] == single.rows.labels[row]
            assert dataset.begins[place] == stored[last - window + 1]
            place += 1
        reasons = dataset.dropped_by_symbol[symbol]
        assert sum(reasons.values()) + np.sum(dataset.rows.symbols == number) == len(bars.clock[symbol])
    assert place == len(dataset.rows) > 20 and NO_WINDOW not in single.dropped
    assert dataset.dropped["missing feature"] > 0
    assert dataset.dropped[NO_WINDOW] + dataset.dropped.get(NO_EVENT, 0) == (
        len(single.rows) - len(dataset.rows) + single.dropped.get(NO_EVENT, 0)
    )


@modest
@given(seed=st.integers(0, 999), window=st.integers(2, 9), lags=st.integers(0, 2))
def test_a_symbols_windows_are_the_same_with_and_without_the_others(seed: int, window: int, lags: int) -> None:
    frames = markets(seed)
    together = build_dataset(spec_of(window, lags), run_bars(spec_of(window, lags), frames))
    for number, symbol in enumerate(SYMBOLS):
        alone_spec = spec_of(window, lags, (symbol,))
        alone = build_dataset(alone_spec, run_bars(alone_spec, frames))
        mine = together.rows.symbols == number
        assert same_bits(windows_of(together)[mine], windows_of(alone))
        assert same_bits(together.begins[mine], alone.begins) and same_bits(together.rows.times[mine], alone.rows.times)


@modest
@given(seed=st.integers(0, 999), window=st.integers(2, 9), cut=st.integers(60, 300))
def test_bars_to_come_change_no_window_and_serving_gives_those_of_training(seed: int, window: int, cut: int) -> None:
    spec, frames = spec_of(window, symbols=("AAA",)), markets(seed)["AAA"]
    now = int(bar_times(frames["1h"])[cut])
    known = {
        timeframe: frame[bar_times(frame) + d <= now]
        for (timeframe, frame), d in zip(frames.items(), (3_600_000_000, 14_400_000_000), strict=True)
    }
    trained = build_dataset(spec, run_bars(spec, {"AAA": frames}))
    features, times, ends = build_features(spec, known, 0)
    assert ends is not None
    served = {int(time): features[end - window + 1 : end + 1] for time, end in zip(times, ends, strict=True)}
    seen = [row for row in range(len(trained.rows)) if trained.rows.times[row] + 3_600_000_000 <= now]
    assert seen or not len(times)
    for row in seen:
        assert same_bits(windows_of(trained)[row], served[int(trained.rows.times[row])])


def test_windows_reach_back_into_the_bars_before_the_start_as_lags_do() -> None:
    frames = {"AAA": {"1h": plain_market(200, "1h")}}
    spec = strategy(INDICATORS, lags=2, window=10)
    start = int(bar_times(frames["AAA"]["1h"])[100])
    dataset = build_dataset(spec, run_bars(spec, frames, start))
    assert dataset.rows.times[0] == start and dataset.dropped[NO_WINDOW] == 0
    assert warm_up_bars(spec, "1h") == warm_up_bars(strategy(INDICATORS), "1h") + 2 + 9


def test_a_sequence_longer_than_any_stretch_of_bars_is_refused_in_one_sentence() -> None:
    frames = {"AAA": {"1h": plain_market(200, "1h")}}
    spec = strategy(INDICATORS, window=400)
    with pytest.raises(DataError, match="sequence_length is 400, at most 192 bars in a row have all their features"):
        build_dataset(spec, run_bars(spec, frames))


def test_kept_rows_come_back_with_their_windows_and_only_for_their_length(tmp_path: Path) -> None:
    frames, spec = markets(3), spec_of(5)
    bars = run_bars(spec, frames)
    keys = {cache.cache_key(spec_of(window), bars) for window in (1, 5, 6)}
    dataset = build_dataset(spec, bars)
    key = cache.cache_key(spec, bars)
    assert len(keys) == 3 and cache.keep(tmp_path, key, dataset, 10**9)
    found = cache.find(tmp_path, key, spec)
    assert found is not None and found.window == 5 and same_bits(windows_of(found), windows_of(dataset))
    assert same_bits(found.begins, dataset.begins) and isinstance(found.rows.ends, np.memmap)


# --- splits ------------------------------------------------------------------------------------


def small(window: int = 5, embargo: float = 0.02) -> tuple[Dataset, Splits]:
    spec = strategy(INDICATORS, ("1h",), SYMBOLS, window=window)
    frames = {symbol: {"1h": market_with_holes("1h", "4h", number, bars=400)} for number, symbol in enumerate(SYMBOLS)}
    dataset = build_dataset(spec, run_bars(spec, frames))
    return dataset, cut_rows(dataset, DataSplit(embargo=embargo))


@pytest.mark.parametrize("embargo", [0.0, 0.02, 0.08])
@pytest.mark.parametrize("window", [2, 5, 20])
def test_no_bar_is_seen_by_two_splits_and_rows_left_out_for_it_are_counted(window: int, embargo: float) -> None:
    dataset, splits = small(window, embargo)
    check_splits(dataset, splits)
    rows, ends = dataset.rows, dataset.rows.ends
    assert ends is not None and rows.bar_times is not None
    begins = {"validation": splits.embargo_ends[0], "test": splits.embargo_ends[1]}
    bars = {name: {int(end) - k for end in ends[getattr(splits, name)] for k in range(window)} for name in ("train", *begins)}
    assert not bars["train"] & bars["validation"] and not (bars["train"] | bars["validation"]) & bars["test"]
    for name, begin in begins.items():
        assert min(rows.bar_times[list(bars[name])]) >= begin
    assert len(splits.crossing) > 0
    for row in splits.crossing:
        end = begins["test" if rows.times[row] >= splits.cuts[1] else "validation"]
        assert rows.times[row] >= end > rows.bar_times[ends[row] - window + 1]


def test_a_sequence_longer_than_a_split_is_refused_in_one_sentence() -> None:
    frames = {"AAA": {"1h": plain_market(300, "1h")}}
    spec = strategy(INDICATORS, window=60)  # a split has 45 bars
    dataset = build_dataset(spec, run_bars(spec, frames))
    with pytest.raises(DataError, match=r"the validation split has no rows: .* a window of 60 bars that reaches back over a cut"):
        cut_rows(dataset, DataSplit())


def replaced(dataset: Dataset, **columns: Any) -> Dataset:
    return dataclasses.replace(dataset, rows=dataclasses.replace(dataset.rows, **columns))


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_one_window_that_begins_in_another_symbol_is_found(name: str) -> None:
    """A row whose window is told to be longer than the symbol's bars before it."""
    dataset, splits = small()
    symbols, bars = dataset.rows.bar_symbols, dataset.rows.ends
    assert symbols is not None and bars is not None
    changed = symbols.copy()
    changed[bars[getattr(splits, name)[0]] - 3] += 1
    with pytest.raises(AssertionError):
        check_splits(replaced(dataset, bar_symbols=changed), splits)


def test_windows_over_the_border_of_two_symbols_are_found() -> None:
    dataset, splits = small()
    rows, ends = dataset.rows, dataset.rows.ends
    assert ends is not None and rows.bar_symbols is not None
    border = int(np.flatnonzero(np.diff(rows.bar_symbols))[0]) + 1
    row = int(np.flatnonzero(rows.symbols == 1)[0])
    wrong, times = ends.copy(), rows.times.copy()
    wrong[row], times[row] = border + 1, rows.bar_times[border + 1]  # type: ignore[index]
    with pytest.raises(AssertionError, match="two symbols"):
        check_splits(replaced(dataset, ends=wrong, times=times), splits)


def test_a_window_shifted_by_one_bar_is_found() -> None:
    dataset, splits = small()
    assert dataset.rows.ends is not None
    with pytest.raises(AssertionError, match="not the bar of its row"):
        check_splits(replaced(dataset, ends=dataset.rows.ends + 1), splits)


@pytest.mark.parametrize("target", ["train", "validation", "test"])
def test_a_row_that_reaches_over_a_cut_is_found_in_every_split(target: str) -> None:
    dataset, splits = small()
    for row in splits.crossing:
        moved = {
            target: np.sort(np.append(getattr(splits, target), row)), "crossing": splits.crossing[splits.crossing != row]
        }  # fmt: skip
        with pytest.raises(AssertionError):
            check_splits(dataset, dataclasses.replace(splits, **moved))


@pytest.mark.parametrize("name", ["train", "validation", "test", "purged"])
def test_a_row_left_out_for_no_reason_is_found(name: str) -> None:
    dataset, splits = small()
    row = getattr(splits, name)[-1]
    moved = {name: getattr(splits, name)[:-1], "crossing": np.append(splits.crossing, row)}
    with pytest.raises(AssertionError):
        check_splits(dataset, dataclasses.replace(splits, **moved))
