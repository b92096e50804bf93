"""A higher timeframe's value enters a base row only once it is known, and is missing, not stale, where its bar is missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipeline_examples import DAY, MONDAY, PAIRS, market_with_holes, modest, plain_market, stored_higher, thorough
from training.pipeline.frames import bar_times
from training.pipeline.timeframes import bucket_start, duration, known_positions, resample


def reference_positions(base_times: np.ndarray, base: str, times: np.ndarray, timeframe: str) -> np.ndarray:
    """The law's own words, bar by bar: slow, and sharing nothing with the kernel."""
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
        assert np.array_equal(positions, reference_positions(bar_times(frame), base, times, timeframe))
        assert (positions >= 0).any()


steps = st.sets(st.integers(0, 60), min_size=1, max_size=40).map(sorted)


@thorough
@given(base_steps=steps, higher_steps=st.sets(st.integers(0, 15), max_size=12).map(sorted))
def test_the_join_does_what_the_law_says_whatever_is_missing(base_steps: list[int], higher_steps: list[int]) -> None:
    base_times = MONDAY + np.array(base_steps, dtype=np.int64) * duration("1h")
    times = MONDAY + np.array(higher_steps, dtype=np.int64) * duration("4h")
    positions = known_positions(base_times, "1h", times, "4h")
    assert np.array_equal(positions, reference_positions(base_times, "1h", times, "4h"))


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
