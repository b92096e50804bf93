"""Quality says what is odd about bars; validation refuses what no bar can be and names the first one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from strategies_app.grammar.vocabulary import BAR_COLUMNS, TIMEFRAMES
from tests.examples.homes import ROOT
from training.pipeline.bars import DataError, bar_frame, bar_times, bar_values, time_text
from training.pipeline.quality import quality
from training.pipeline.quality import validate_bars as inspect_bars
from training.pipeline.synthetic import make_bars, with_holes
from training.readers.bar_files import read_bar_file

RAW = ROOT.parent / "shared" / "data"
needs_raw = pytest.mark.skipif(not RAW.is_dir(), reason="the raw bars are not here")


def validate_bars(*args: Any, **options: Any) -> list[str]:
    """What the data gate says, in words."""
    return [finding.sentence for finding in inspect_bars(*args, **options)]


def edited(frame: pd.DataFrame, edit: Callable[[np.ndarray], None]) -> pd.DataFrame:
    """The frame after `edit` changed its values, float64 (5, n)."""
    values = bar_values(frame).copy()
    edit(values)
    return bar_frame(bar_times(frame), values)


def weekdays(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame.index.day_of_week < 5]


def without(frame: pd.DataFrame, first: int, count: int) -> pd.DataFrame:
    return frame.drop(frame.index[first : first + count])


# --- gaps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
@pytest.mark.parametrize("count", [100, 3000])
def test_unbroken_bars_have_no_gaps(timeframe: str, count: int) -> None:
    frame = make_bars(count, timeframe)
    assert quality(frame, timeframe).gaps.count == 0
    assert validate_bars(frame, "A", timeframe) == []


@pytest.mark.parametrize(
    ("timeframe", "count"), [("5m", 3000), ("1h", 400), ("1h", 5000), ("4h", 3000), ("1d", 120), ("1d", 2000)]
)
def test_weekends_are_no_gaps_and_holes_are(timeframe: str, count: int) -> None:
    frame = weekdays(make_bars(count, timeframe))
    assert quality(frame, timeframe).gaps.count == 0
    hole = int(np.flatnonzero(frame.index.day_of_week == 1)[1])
    gaps = quality(without(frame, hole, 2), timeframe).gaps
    assert (gaps.count, gaps.bars, gaps.longest, gaps.longest_at) == (1, 2, 2, bar_times(frame)[hole - 1])


def test_a_market_that_never_closes_has_gaps_at_weekends_too() -> None:
    frame = make_bars(5000, "1h")
    saturday = int(np.flatnonzero(frame.index.day_of_week == 5)[30])
    assert quality(without(frame, saturday, 5), "1h").gaps.bars == 5


@pytest.mark.parametrize("days", [15, 200])
def test_nights_are_no_gaps(days: int) -> None:
    frame = weekdays(make_bars(days * 24, "1h"))
    frame = frame[(frame.index.hour >= 14) & (frame.index.hour < 21)]
    assert quality(frame, "1h").gaps.count == 0
    noon = int(np.flatnonzero(frame.index.hour == 17)[3])
    assert quality(without(frame, noon, 1), "1h").gaps.bars == 1


def test_opening_hours_that_move_with_daylight_saving_are_no_gaps() -> None:
    local = pd.date_range("2015-01-05", "2017-12-29", freq="1h", tz="America/New_York")
    local = local[(local.day_of_week < 5) & (local.hour >= 10) & (local.hour < 16)]
    times = local.tz_convert("UTC").as_unit("us").asi8
    frame = bar_frame(times, bar_values(make_bars(len(times))))
    assert quality(frame, "1h").gaps.count == 0


def test_a_holiday_is_no_gap_in_daily_bars_and_a_lost_year_is_one() -> None:
    frame = weekdays(make_bars(2000, "1d"))
    assert quality(without(frame, 300, 1), "1d").gaps.count == 0
    assert quality(without(frame, 300, 250), "1d").gaps.longest == 250
    assert quality(without(make_bars(300, "1w"), 100, 1), "1w").gaps.bars == 1


# --- stretches, jumps, stamps ------------------------------------------------------------------


def test_a_constant_close_and_a_stretch_without_volume_are_warned_about() -> None:
    def flat(values: np.ndarray) -> None:
        values[:4] = 5.0

    def still(values: np.ndarray) -> None:
        values[4, 100:130] = 0
        values[4, 200:219] = 0  # too short for a word

    warnings = validate_bars(edited(make_bars(300), flat), "A", "1h")
    assert warnings == ["A 1h: 1 stretch with one and the same close, the longest of 300 bars from 2015-01-01"]
    found = quality(edited(make_bars(300), still), "1h").zero_volume
    assert (found.count, found.bars, found.longest, found.longest_at) == (1, 30, 30, bar_times(make_bars(300))[100])


@pytest.mark.parametrize(("ratio", "name"), [(2.0, "2:1"), (3.0, "3:1"), (1.5, "3:2"), (0.1, "1:10"), (20.0, "20:1")])
def test_a_jump_by_a_splits_ratio_is_suspected(ratio: float, name: str) -> None:
    def split(values: np.ndarray) -> None:
        values[:4, 150:] = values[:4, 150:] * 1.01 / ratio

    (jump,) = quality(edited(make_bars(300, "1d", regimes=False), split), "1d").splits
    assert (jump.split, jump.time) == (name, bar_times(make_bars(300, "1d"))[150])


def test_a_crash_and_a_bad_tick_are_no_splits() -> None:
    def crash(values: np.ndarray) -> None:
        values[:4, 150:] *= 0.55

    def tick(values: np.ndarray) -> None:
        values[[0, 2], 150] *= 0.5

    for edit in (crash, tick):
        assert quality(edited(make_bars(300, "1d", regimes=False), edit), "1d").splits == ()


@needs_raw
def test_raw_apple_bars_look_split_and_its_real_crash_does_not() -> None:
    frame, _ = read_bar_file(RAW / "AAPL_unadj_1d.csv", "1d")
    assert [(time_text(jump.time), jump.split) for jump in quality(frame, "1d").splits] == [
        ("2000-06-21", "2:1"),
        ("2005-02-28", "2:1"),
    ]
    assert any("unadjusted split: 2000-06-21 (2:1), 2005-02-28 (2:1)" in w for w in validate_bars(frame, "AAPL", "1d"))


def test_stamps_off_the_grid_are_counted() -> None:
    late = make_bars(300, "1h").shift(freq="30min")
    assert validate_bars(late, "A", "1h") == ["A 1h: 300 stamps off the 1h grid, the first at 2015-01-01 00:30"]
    assert make_bars(1, "1w", start="2015-01-01").index[0] == pd.Timestamp("2015-01-05", tz="UTC")  # a Monday
    assert quality(make_bars(300, "1w").shift(freq="1D"), "1w").off_grid == 300


def test_quality_is_ready_for_json() -> None:
    found = json.loads(json.dumps(quality(with_holes(make_bars(300), 0.1), "1h").as_dict()))
    assert found["first"] == "2015-01-01T00:00:00Z"
    assert found["missing"] == dict.fromkeys(BAR_COLUMNS, 0)
    assert found["gaps"]["count"] == len(quality(with_holes(make_bars(300), 0.1), "1h").gaps.first) or found["gaps"]["count"] > 5
    assert found["gaps"]["longest_at"].endswith("Z")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_bars_have_a_quality_too(count: int) -> None:
    assert quality(make_bars(count), "1h").rows == count


# --- errors ------------------------------------------------------------------------------------


def put(column: str, value: float, *positions: int) -> Callable[[np.ndarray], None]:
    def edit(values: np.ndarray) -> None:
        values[BAR_COLUMNS.index(column), list(positions)] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("low", -1.0, 5, 9), "2 bars with a price that is not positive, first at 2015-01-01 05:00"),
        (put("open", 0.0, 7), "1 bar with a price that is not positive"),
        (put("high", 1.0, 24), "1 bar with a high below open, close or low, first at 2015-01-02"),
        (put("low", 1e6, 3), "with a high below open, close or low"),
        (put("volume", -1.0, 3), "1 bar with a negative volume"),
        (put("high", np.inf, 3), "1 bar with an infinite value"),
        (put("volume", np.inf, 3), "1 bar with an infinite value"),
        (
            put("close", np.nan, *range(0, 200, 10)),
            r"20 bars of 300 \(6.7%\) have a missing value, wanted at most 5%; first at 2015",
        ),
        (put("volume", np.nan, *range(0, 200, 10)), r"20 bars of 300 \(6.7%\) have a missing value"),
    ],
)
def test_what_no_bar_can_be_is_refused(edit: Callable[[np.ndarray], None], message: str) -> None:
    with pytest.raises(DataError, match=f"^A 1h: .*{message}"):
        validate_bars(edited(make_bars(300), edit), "A", "1h")


def test_a_low_above_the_close_is_refused() -> None:
    def edit(values: np.ndarray) -> None:
        values[2, 3] = values[1, 3]

    with pytest.raises(DataError, match="1 bar with a low above open or close, first at 2015-01-01 03:00"):
        validate_bars(edited(make_bars(300), edit), "A", "1h")


def test_a_fault_beside_a_missing_value_is_still_seen() -> None:
    def edit(values: np.ndarray) -> None:
        values[0, 3] = np.nan
        values[2, 3] = -1.0

    with pytest.raises(DataError, match="not positive"):
        validate_bars(edited(make_bars(300), edit), "A", "1h")


def test_few_missing_values_and_no_volume_at_all_are_warnings() -> None:
    assert validate_bars(edited(make_bars(300), put("close", np.nan, 4)), "A", "1h") == [
        "A 1h: missing values: 1 bar without close"
    ]
    nothing = edited(make_bars(300), put("volume", np.nan, *range(300)))
    assert validate_bars(nothing, "A", "1h") == ["A 1h: there is no volume: indicators that need it have no value"]


def test_the_shape_of_a_frame_is_checked() -> None:
    frame = make_bars(300)
    wrong = {
        "99 bars in the range, wanted at least 100": frame.iloc[:99],
        "0 bars in the range": frame.iloc[:0],
        "no column high, volume": frame[["open", "low", "close"]],
        "not stamped in UTC": frame.tz_localize(None),
        "do not strictly increase at 1 bar, first at 2015-01-13 11:00": pd.concat([frame, frame.iloc[-1:]]),
        "do not strictly increase": frame.iloc[::-1],
    }
    for message, bad in wrong.items():
        with pytest.raises(DataError, match=f"^A 1h: .*{message}"):
            validate_bars(bad, "A", "1h")
    assert validate_bars(frame.iloc[:99], "A", "1h", minimum_rows=50) == []


# --- made-up bars ------------------------------------------------------------------------------


@pytest.mark.parametrize("regimes", [True, False])
def test_made_up_bars_are_bars_and_come_from_their_seed(regimes: bool) -> None:
    frame = make_bars(20_000, "1m", seed=3, regimes=regimes)
    assert validate_bars(frame, "A", "1m") == []
    pd.testing.assert_frame_equal(frame, make_bars(20_000, "1m", seed=3, regimes=regimes))
    assert not frame.equals(make_bars(20_000, "1m", seed=4, regimes=regimes))


def test_holes_take_about_their_share_and_spare_the_ends() -> None:
    frame = make_bars(5000)
    holed = with_holes(frame, 0.2, seed=5)
    assert 0.15 < 1 - len(holed) / len(frame) < 0.25
    assert {frame.index[0], frame.index[-1]} <= set(holed.index) <= set(frame.index)
