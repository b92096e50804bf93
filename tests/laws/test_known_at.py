"""A higher timeframe's value enters a base row only once it is known, and is missing, not stale, where its bar is missing."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples.pipeline import (
    DAY,
    MONDAY,
    PAIRS,
    market_on_clock,
    market_with_holes,
    modest,
    plain_market,
    reference_positions,
    stored_higher,
    thorough,
)
from training.laws.markets import CLOCKS, opens
from training.pipeline.features import bucket_start, duration, known_positions, resample
from training.pipeline.frames import bar_times


def grid_positions(base_times: np.ndarray, base: str, times: np.ndarray, timeframe: str) -> np.ndarray:
    """The law's words for bars that stand in the UTC grid's buckets, bar by bar: slow, and sharing nothing with the kernel."""
    own_bucket = {bucket_start(int(t), timeframe) for t in times}
    found = []
    for row, opened in enumerate(base_times):
        now = int(opened) + duration(base)
        known = [j for j, t in enumerate(times) if int(t) + duration(timeframe) <= now]
        buckets = {bucket_start(int(t), timeframe) for t in base_times[: row + 1]}
        closed_without_bar = {b for b in buckets if b + duration(timeframe) <= now and b not in own_bucket}
        stale = known and any(b > int(times[known[-1]]) for b in closed_without_bar)
        found.append(known[-1] if known and not stale else -1)
    return np.array(found, dtype=np.int64)


@pytest.mark.parametrize("pair", PAIRS, ids="→".join)
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "resampled"])
def test_the_join_does_what_the_law_says(pair: tuple[str, str], stored: bool) -> None:
    base, timeframe = pair
    for seed in range(3):
        frame = market_with_holes(base, timeframe, seed, bars=140, weekends=seed == 1)
        times = bar_times(stored_higher(frame, timeframe, seed) if stored else resample(frame, timeframe))
        positions = known_positions(bar_times(frame), base, times, timeframe)
        assert np.array_equal(positions, grid_positions(bar_times(frame), base, times, timeframe))
        assert (positions >= 0).any()


steps = st.sets(st.integers(0, 60), min_size=1, max_size=40).map(sorted)


@thorough
@given(base_steps=steps, higher_steps=st.sets(st.integers(0, 15), max_size=12).map(sorted))
def test_the_join_does_what_the_law_says_whatever_is_missing(base_steps: list[int], higher_steps: list[int]) -> None:
    base_times = MONDAY + np.array(base_steps, dtype=np.int64) * duration("1h")
    times = MONDAY + np.array(higher_steps, dtype=np.int64) * duration("4h")
    positions = known_positions(base_times, "1h", times, "4h")
    assert np.array_equal(positions, grid_positions(base_times, "1h", times, "4h"))


@pytest.mark.parametrize("pair", PAIRS, ids="→".join)
def test_no_value_is_used_before_its_bar_has_closed(pair: tuple[str, str]) -> None:
    base, timeframe = pair
    frame = market_with_holes(base, timeframe, 9)
    times = bar_times(stored_higher(frame, timeframe, 9))
    positions = known_positions(bar_times(frame), base, times, timeframe)
    used = positions >= 0
    assert (times[positions[used]] + duration(timeframe) <= bar_times(frame)[used] + duration(base)).all()


def test_the_row_that_completes_a_bucket_is_the_first_to_use_it() -> None:
    frame = plain_market(10, "1h")
    assert (
        known_positions(bar_times(frame), "1h", bar_times(resample(frame, "4h")), "4h").tolist() == [-1] * 3 + [0] * 4 + [1] * 3
    )


def test_a_closed_bucket_without_its_bar_gives_no_value_until_the_next_one_closes() -> None:
    frame = plain_market(16, "1h")
    times = bar_times(resample(frame, "4h"))[[0, 2, 3]]
    assert known_positions(bar_times(frame), "1h", times, "4h").tolist() == [-1] * 3 + [0] * 4 + [-1] * 4 + [1] * 4 + [2]


def test_a_weekend_without_bars_keeps_fridays_value() -> None:
    frame = plain_market(10 * 24, "1h")
    frame = frame[(bar_times(frame) - MONDAY) // DAY % 7 < 5]
    days = resample(frame, "1d")
    positions = known_positions(bar_times(frame), "1h", bar_times(days), "1d")
    monday = np.flatnonzero(bar_times(frame) == MONDAY + 7 * DAY)[0]
    assert len(days) == 8
    assert positions[monday : monday + 23].tolist() == [4] * 23
    assert positions[monday + 23] == 5


def test_weeks_begin_on_monday() -> None:
    frame = plain_market(21, "1d", start=MONDAY + 2 * DAY)
    weeks = resample(frame, "1w")
    assert bar_times(weeks).tolist() == [MONDAY + k * 7 * DAY for k in range(4)]
    positions = known_positions(bar_times(frame), "1d", bar_times(weeks), "1w")
    assert positions.tolist() == [-1] * 4 + [0] * 7 + [1] * 7 + [2] * 3


@modest
@given(seed=st.integers(0, 1000), at=st.integers(1, 200))
def test_the_join_of_the_first_bars_is_the_same_without_the_later_ones(seed: int, at: int) -> None:
    frame = market_with_holes("1h", "1d", seed)[:220]
    times = bar_times(stored_higher(frame, "1d", seed))
    whole = known_positions(bar_times(frame), "1h", times, "1d")
    now = int(bar_times(frame)[at]) + duration("1h")
    part = known_positions(bar_times(frame)[: at + 1], "1h", times[times + duration("1d") <= now], "1d")
    assert np.array_equal(whole[: at + 1], part)


def test_the_base_timeframe_joins_only_itself() -> None:
    times = bar_times(plain_market(5, "1h"))
    assert known_positions(times, "1h", times, "1h").tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="joins only itself"):
        known_positions(times, "1h", times[:4], "1h")


# --- clocks off the grid -----------------------------------------------------------------------

CLOCK_PAIRS = [("5m", "30m"), ("15m", "1h"), ("30m", "2h"), ("1h", "4h"), ("15m", "1d"), ("1h", "1w"), ("1d", "1w")]


def latest_known(base_times: np.ndarray, base: str, times: np.ndarray, timeframe: str) -> np.ndarray:
    return np.searchsorted(times + duration(timeframe), base_times + duration(base), side="right") - 1


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("pair", CLOCK_PAIRS, ids="→".join)
@pytest.mark.parametrize("first", [dt.date(2022, 2, 21), dt.date(2022, 10, 10)], ids=["into summer", "out of summer"])
def test_no_row_is_early_or_lost_on_any_clock(clock: str, pair: tuple[str, str], first: dt.date) -> None:
    days = 120 if pair[1] == "1w" else 50
    base, higher = (opens(CLOCKS[clock], timeframe, first, days) for timeframe in pair)
    positions, latest = known_positions(base, pair[0], higher, pair[1]), latest_known(base, pair[0], higher, pair[1])
    lost = positions != latest
    assert (positions[lost] == -1).all() and (positions > 3).any()
    # A clock that has stood on the grid until now is taken for the grid's: at its first change less than one bar may be lost.
    on_grid = higher == np.array([bucket_start(int(t), pair[1]) for t in higher])
    assert int(lost.sum()) * duration(pair[0]) < duration(pair[1])
    assert on_grid[: max(latest[lost], default=0)].all()
    if not on_grid[0]:
        assert not lost.any()


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("pair", CLOCK_PAIRS, ids="→".join)
def test_a_missing_bar_is_missing_on_any_clock_from_its_end_to_the_next_ones(clock: str, pair: tuple[str, str]) -> None:
    days = 120 if pair[1] == "1w" else 30
    base, higher = (opens(CLOCKS[clock], timeframe, dt.date(2022, 9, 5), days) for timeframe in pair)
    gone = len(higher) // 2
    left = np.delete(higher, gone)
    now, whole = base + duration(pair[0]), latest_known(base, pair[0], higher, pair[1])
    # Where the next session begins before the missing bar's duration is over, the one before it is still the latest.
    positions = known_positions(base, pair[0], left, pair[1])
    expected = np.where(whole == gone, -1, np.where(whole > gone, whole - 1, whole))
    assert positions.tolist() == expected.tolist()
    assert (positions[now >= left[gone - 1] + duration(pair[1])] == -1).any()


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("pair", CLOCK_PAIRS, ids="→".join)
def test_the_join_does_what_its_words_say_on_any_clock_with_holes(clock: str, pair: tuple[str, str]) -> None:
    for seed in range(2):
        frames = market_on_clock(clock, pair, seed, days=100 if pair[1] == "1w" else 12, holes=0.1 * (seed + 1))
        base, higher = bar_times(frames[pair[0]])[:400], bar_times(frames[pair[1]])
        positions = known_positions(base, pair[0], higher, pair[1])
        assert positions.tolist() == reference_positions(base, pair[0], higher, pair[1]).tolist()


@thorough
@given(
    base_steps=steps,
    higher_steps=st.sets(st.integers(0, 60), max_size=20).map(sorted),
    shift=st.sampled_from([0, 15, 30, 45, 60, 90, 150]),
)
def test_the_join_does_what_its_words_say_whatever_the_clock_does(
    base_steps: list[int], higher_steps: list[int], shift: int
) -> None:
    base_times = MONDAY + np.array(base_steps, dtype=np.int64) * duration("1h")
    times = MONDAY + np.array(higher_steps, dtype=np.int64) * duration("1h") + shift * 60_000_000
    positions = known_positions(base_times, "1h", times, "4h")
    assert np.array_equal(positions, reference_positions(base_times, "1h", times, "4h"))


def test_the_last_bar_of_a_session_is_known_at_its_open_plus_its_duration_even_where_the_session_ends_sooner() -> None:
    base, higher = (opens(CLOCKS["New York from 09:30"], timeframe, dt.date(2022, 7, 4), 3) for timeframe in ("30m", "4h"))
    positions = known_positions(base, "30m", higher, "4h")
    # 09:30 to 16:00: thirteen bars of 30m a day; the 4h bar of 13:30 is over at 17:30, which the next morning knows.
    assert positions.tolist() == [-1] * 7 + [0] * 6 + [1] * 7 + [2] * 6 + [3] * 7 + [4] * 6
