"""Buckets of a lower timeframe's bars are those of pandas, weeks from Monday; real hours give the real four-hour bars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies_app.grammar.vocabulary import BAR_COLUMNS
from tests.examples.homes import ROOT
from tests.examples.pipeline import DAY, MONDAY, PAIRS, market_with_holes, modest, plain_market, same_bits
from training.pipeline.features import resample
from training.pipeline.frames import bar_frame, bar_times, bar_values, empty_frame

REAL_BARS = ROOT.parent / "shared" / "data"
RULES = {"5m": "5min", "15m": "15min", "30m": "30min", "1h": "1h", "2h": "2h", "4h": "4h", "1d": "1D", "1w": "W-MON"}
HOW = {"open": "first", "high": "max", "low": "min", "close": "last"}


def by_pandas(frame: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    """pandas' buckets; a bar with a missing price is passed over, a missing volume makes its bucket's missing."""
    whole = frame.dropna(subset=["open", "high", "low", "close"])
    origin = {} if timeframe in ("1d", "1w") else {"origin": "epoch"}
    buckets = whole.resample(RULES[timeframe], closed="left", label="left", **origin)
    result = buckets.agg(HOW)
    result["volume"] = buckets["volume"].apply(lambda v: v.sum(skipna=False))
    return result.dropna(subset=["open"])[list(BAR_COLUMNS)]


def assert_same(frame: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    found, expected = resample(frame, timeframe), by_pandas(frame, timeframe)
    assert bar_times(found).tolist() == expected.index.as_unit("us").asi8.tolist()
    for column in BAR_COLUMNS:
        np.testing.assert_allclose(found[column], expected[column].to_numpy(float), rtol=1e-14 if column == "volume" else 0)
    return found


@pytest.mark.parametrize("pair", PAIRS, ids="→".join)
def test_buckets_are_those_of_pandas(pair: tuple[str, str]) -> None:
    for seed in range(2):
        assert_same(market_with_holes(*pair, seed, weekends=bool(seed)), pair[1])


@modest
@given(seed=st.integers(0, 999), pair=st.sampled_from(PAIRS), share=st.floats(0, 0.5))
def test_missing_values_are_passed_over_in_prices_and_kept_in_volume(seed: int, pair: tuple[str, str], share: float) -> None:
    frame = market_with_holes(*pair, seed, bars=120, buckets=20)
    random = np.random.default_rng(seed)
    values = bar_values(frame).copy()
    values[3, random.random(len(frame)) < share] = np.nan
    values[4, random.random(len(frame)) < share / 4] = np.nan
    assert_same(bar_frame(bar_times(frame), values), pair[1])


def test_a_week_begins_on_monday_and_is_stamped_with_it() -> None:
    weeks = assert_same(plain_market(15, "1d", start=MONDAY - DAY), "1w")
    assert bar_times(weeks).tolist() == [MONDAY - 7 * DAY, MONDAY, MONDAY + 7 * DAY]


@pytest.mark.parametrize("timeframe", ["4h", "1w"])
def test_times_before_1970_fall_into_buckets_too(timeframe: str) -> None:
    assert_same(plain_market(80, "1h", start=-40 * 3_600_000_000), timeframe)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_bars(count: int) -> None:
    frame = plain_market(count, "1h") if count else empty_frame()
    assert len(resample(frame, "4h")) == min(count, 1)


def test_resampling_by_way_of_another_timeframe_changes_no_bar() -> None:
    frame = market_with_holes("1h", "1w", 4, bars=900)
    direct, by_days = resample(frame, "1w"), resample(resample(frame, "1d"), "1w")
    assert same_bits(bar_times(direct), bar_times(by_days))
    np.testing.assert_allclose(bar_values(direct), bar_values(by_days), rtol=1e-13)


def read_points(path: Path) -> pd.DataFrame:
    """A file of prices in points, as a frame."""
    table = pd.read_csv(path)
    times = pd.to_datetime(table["timestamp"], utc=True).dt.as_unit("us").astype("int64").to_numpy()
    return bar_frame(times, np.ascontiguousarray(table[list(BAR_COLUMNS)].to_numpy(np.float64).T))


@pytest.mark.skipif(not (REAL_BARS / "GBPUSD_4h.csv").exists(), reason="the real bars are not here")
def test_hours_of_a_real_market_give_its_four_hour_bars() -> None:
    hours, four_hours = read_points(REAL_BARS / "GBPUSD_1h.csv"), read_points(REAL_BARS / "GBPUSD_4h.csv")
    found = resample(hours, "4h")
    common = np.isin(bar_times(found), bar_times(four_hours))
    assert bar_times(found)[common].tolist() == bar_times(four_hours).tolist()
    np.testing.assert_allclose(bar_values(found)[:, common], bar_values(four_hours), rtol=1e-12)
