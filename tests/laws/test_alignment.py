"""Every row traces to one symbol and one time: worked out again by itself, it gives the same features, label and label end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies_app.grammar.schema import RawInput, StrategySpec, output_of
from strategies_app.grammar.vocabulary import INDICATORS
from tests.examples.label_references import degree, reference_labels, transformed
from tests.examples.pipeline import (
    LABEL_SECTIONS,
    PAIRS,
    Frames,
    label_id,
    market_on_clock,
    market_with_holes,
    modest,
    reference_positions,
    run_bars,
    same_bits,
    some_memberships,
    strategy,
    with_higher,
)
from tests.pipeline.test_parity_indicators import DIRECT
from training.laws.markets import CLOCKS
from training.pipeline import features, kernels
from training.pipeline.dataset import build_dataset, build_features
from training.pipeline.features import duration
from training.pipeline.frames import bar_times

TRANSFORMS = ("identity", "price_ratio", "pct_of_price")


def talib_value(spec: StrategySpec, frame: pd.DataFrame, reference: str, bar: int) -> float:
    """One output of one indicator at one bar, straight from TA-Lib over the whole series."""
    identifier, output = output_of(reference, spec.indicators)
    kind = INDICATORS[spec.indicators[identifier].kind.name]
    columns = {str(c): np.ascontiguousarray(frame[c].to_numpy()) for c in frame}
    results = DIRECT[kind.name](columns, spec.indicators[identifier].parameters)
    return float(results[kind.outputs.index(output)][bar])


def features_by_hand(spec: StrategySpec, frames: Frames, row: int) -> list[float]:
    """The features of base bar `row`, one number after the other, in the order of nn_inputs."""
    base = spec.base_timeframe
    base_times = bar_times(frames[base])
    found: list[float] = []
    for entry in spec.nn_inputs:
        for timeframe in spec.input_timeframes(entry):
            frame = frames[timeframe]
            bar = row
            if timeframe != base:
                bar = int(reference_positions(base_times[: row + 1], base, bar_times(frame), timeframe)[-1])
            if isinstance(entry, RawInput):
                found.append(np.nan if bar < 0 else talib_value(spec, frame, entry.raw_indicator, bar))
                continue
            fuzzy_set = spec.fuzzy_sets[entry.fuzzy_set]
            for membership in fuzzy_set.memberships.values():
                x = np.nan if bar < 0 else talib_value(spec, frame, fuzzy_set.indicator, bar)
                x = x if bar < 0 else transformed(fuzzy_set.input_transform.type, x, float(frame["close"].iloc[bar]))
                found.append(degree(membership.type, membership.parameters, x))
    return found


def example(timeframes: tuple[str, ...], **options: Any) -> StrategySpec:
    """Three indicators of different shape, every transform, every kind of membership, raw inputs, restricted timeframes."""
    fuzzy_sets = {
        name: {"indicator": indicator, "input_transform": {"type": name}, **some_memberships()}
        for name, indicator in zip(TRANSFORMS, ("strength", "mean", "range.lower"), strict=True)
    }
    inputs: list[dict[str, Any]] = [{"raw_indicator": "range.upper"}, *({"fuzzy_set": name} for name in TRANSFORMS)]
    inputs.append({"raw_indicator": "strength", "timeframes": [timeframes[-1]], "normalization": "minmax"})
    indicators = {
        "strength": {"type": "rsi", "period": 3, "source": "hlc3"},
        "mean": {"type": "ema", "period": 3},
        "range": {"type": "bollingerbands", "period": 4},
    }
    return strategy(indicators, timeframes, fuzzy_sets=fuzzy_sets, inputs=inputs, **options)


@pytest.mark.parametrize("section", LABEL_SECTIONS, ids=label_id)
@modest
@given(
    pair=st.sampled_from(PAIRS),
    seed=st.integers(0, 999),
    stored=st.booleans(),
    lags=st.integers(0, 2),
    pick=st.integers(0, 10**6),
)
def test_a_row_worked_out_by_hand_is_the_row(
    section: dict[str, Any], pair: tuple[str, str], seed: int, stored: bool, lags: int, pick: int
) -> None:
    spec = example(pair, symbols=("AAA", "BBB"), labels=section, lags=lags)
    markets = {
        s: with_higher(market_with_holes(*pair, seed + n, bars=300, buckets=20), pair, stored, seed + n)
        for n, s in enumerate(spec.symbols)
    }
    rows = build_dataset(spec, run_bars(spec, markets)).rows
    at = pick % len(rows)
    frames = markets[spec.symbols[rows.symbols[at]]]
    times = bar_times(frames[pair[0]])
    bar = int(np.flatnonzero(times == rows.times[at])[0])
    by_hand = [x for k in range(lags + 1) for x in features_by_hand(spec, frames, bar - k)]
    np.testing.assert_allclose(rows.features[at], by_hand, rtol=1e-6, atol=1e-9)
    expected = reference_labels(frames[pair[0]], spec.training.labels)[bar]
    assert expected is not None
    assert abs(float(rows.labels[at]) - expected[0]) < 1e-12
    assert rows.label_ends[at] == times[expected[1]] + duration(pair[0])


@modest
@given(pair=st.sampled_from(PAIRS), seed=st.integers(0, 999), stored=st.booleans())
def test_a_bar_without_a_row_lacks_a_feature_or_a_label(pair: tuple[str, str], seed: int, stored: bool) -> None:
    spec = example(pair, labels={"source": "forward_return", "horizon": 3})
    frames = with_higher(market_with_holes(*pair, seed, bars=120, buckets=12), pair, stored, seed)
    times, kept = bar_times(frames[pair[0]]), build_features(spec, frames, 0)[1]
    for bar in range(0, len(times), 7):
        whole = bool(np.isfinite(features_by_hand(spec, frames, bar)).all())
        assert whole == (times[bar] in kept)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("pair", [("30m", "1h"), ("1h", "4h")], ids="→".join)
def test_on_any_clock_a_bar_has_a_row_if_its_features_are_there_and_the_row_is_theirs(clock: str, pair: tuple[str, str]) -> None:
    spec = example(pair, labels={"source": "forward_return", "horizon": 3})
    frames = market_on_clock(clock, pair, 4, days=4 if pair[0] == "30m" else 12, holes=0.04)
    times, inputs = bar_times(frames[pair[0]]), build_features(spec, frames, 0)
    for bar in range(len(times) // 2, len(times), len(times) // 15):
        by_hand = features_by_hand(spec, frames, bar)
        row = np.flatnonzero(inputs.times == times[bar])
        assert len(row) == bool(np.isfinite(by_hand).all())
        if len(row):
            np.testing.assert_allclose(inputs.features[row[0]], by_hand, rtol=1e-6, atol=1e-9)


@modest
@given(seed=st.integers(0, 999), lags=st.integers(1, 4), first=st.integers(0, 60))
def test_lags_are_the_rows_before_even_those_before_the_start(seed: int, lags: int, first: int) -> None:
    spec, plain = example(("1h", "4h"), lags=lags), example(("1h", "4h"))
    frames = with_higher(market_with_holes("1h", "4h", seed), ("1h", "4h"), False, seed)
    start = int(bar_times(frames["1h"])[first])
    lagged, times, _ = build_features(spec, frames, start)
    unlagged, all_times, _ = build_features(plain, frames, 0)
    width = unlagged.shape[1]
    assert lagged.shape[1] == width * (lags + 1)
    assert (times >= start).all()
    base = bar_times(frames["1h"])
    whole = np.isin(base, all_times)
    there = [all(bar >= k and whole[bar - k] for k in range(lags + 1)) and base[bar] >= start for bar in range(len(base))]
    assert times.tolist() == base[np.array(there)].tolist()
    position = np.searchsorted(base, times)
    for k in range(lags + 1):
        earlier = np.searchsorted(all_times, base[position - k])
        assert np.array_equal(lagged[:, k * width : (k + 1) * width], unlagged[earlier])


def test_a_lag_from_before_the_first_bar_is_missing_and_never_the_row_itself() -> None:
    matrix = np.zeros((4, 6), dtype=np.float32)
    matrix[:, :2] = [[1, 2], [3, 4], [5, 6], [7, 8]]
    kernels.fill_lags(matrix, 2, 2)
    nan = np.nan
    np.testing.assert_array_equal(
        matrix, [[1, 2, nan, nan, nan, nan], [3, 4, 1, 2, nan, nan], [5, 6, 3, 4, 1, 2], [7, 8, 5, 6, 3, 4]]
    )


def test_names_and_normalization_stand_in_the_order_of_the_columns() -> None:
    spec = example(("1h", "4h"), lags=1)
    frames = with_higher(market_with_holes("1h", "4h", 2), ("1h", "4h"), False, 2)
    dataset = build_dataset(spec, run_bars(spec, {"AAA": frames}))
    names = dataset.feature_names
    assert dataset.rows.features.shape[1] == len(names) == len(dataset.normalization) == len(set(names))
    assert names[:3] == ("1h_range.upper_raw", "4h_range.upper_raw", "1h_identity_triangular")
    assert names[len(names) // 2] == "1h_range.upper_raw_lag1"
    by_name = dict(zip(names, dataset.normalization, strict=True))
    assert {n for n in names if by_name[n] == "minmax"} == {"4h_strength_raw", "4h_strength_raw_lag1"}
    assert {n for n in names if by_name[n] == "zscore"} == {
        f"{t}_range.upper_raw{k}" for t in ("1h", "4h") for k in ("", "_lag1")
    }


def test_rows_shared_between_two_threads_are_the_rows_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = example(("1h", "4h"), lags=1)
    frames = with_higher(market_with_holes("1h", "4h", 6), ("1h", "4h"), False, 6)
    alone = build_features(spec, frames, 0)[0]
    monkeypatch.setattr(features, "MANY_ROWS", 10)
    assert same_bits(build_features(spec, frames, 0)[0], alone)
