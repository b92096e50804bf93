"""Every planted hole is told as a gap, and no night, weekend, lunch or hour of another season; the habit stays with the series."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.examples.pipeline import MONDAY, plain_market, prices, strategy
from training.bars.series import check_store, store_frame
from training.laws.markets import CLOCKS, opens
from training.models import BarSeries
from training.pipeline.bars import SCHEMA, read_bars, series_habit, write_bars
from training.pipeline.calendars import gaps_of, habit_of, slots_of, unpacked
from training.pipeline.features import resample
from training.pipeline.frames import bar_frame, bar_times
from training.pipeline.loading import load_bars
from training.pipeline.quality import quality, validate_bars

HOUR = 3_600_000_000
WEEK = 7 * 24 * HOUR
RSI = {"strength": {"type": "rsi", "period": 5}}


def holed(times: np.ndarray, share: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The times that are left, and those that were taken out; the first and the last stay."""
    keep = np.random.default_rng(seed).random(len(times)) >= share
    keep[[0, -1]] = True
    return times[keep], times[~keep]


def told(times: np.ndarray, timeframe: str) -> tuple[int, int]:
    found = gaps_of(times, slots_of(times, timeframe)[0], timeframe)
    return found.count, found.bars


def planted(times: np.ndarray, left: np.ndarray) -> tuple[int, int]:
    """Holes and bars in them, of a series whose bars were at `times`."""
    steps = np.diff(np.searchsorted(times, left)) - 1
    return int((steps > 0).sum()), int(steps.sum())


# --- round the clock ---------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.002, 0.03, 0.1, 0.25, 0.45])
@pytest.mark.parametrize(("timeframe", "count"), [("1h", 52 * 168), ("4h", 100 * 42), ("5m", 40 * 2016)])
def test_all_holes_of_a_series_that_trades_round_the_clock_are_told_however_many_they_are(
    timeframe: str, count: int, share: float
) -> None:
    times = bar_times(plain_market(count, timeframe))
    left, _ = holed(times, share)
    count_told, bars_told = told(left, timeframe)
    count_planted, bars_planted = planted(times, left)
    # Chance may make a season of what is missing at one time of the week for many weeks.
    least = 1.0 if share < 0.4 else 0.98
    assert least * count_planted <= count_told <= count_planted and least * bars_planted <= bars_told <= bars_planted


@pytest.mark.parametrize("weeks", [3, 5, 9, 15])
def test_a_few_weeks_are_enough_for_nearly_all_of_them(weeks: int) -> None:
    times = bar_times(plain_market(weeks * 168, "1h"))
    for share in (0.01, 0.1, 0.3):
        left, gone = holed(times, share)
        assert 0.9 * len(gone) <= told(left, "1h")[1] <= len(gone)


def test_a_lost_month_counts_with_all_its_bars() -> None:
    times = bar_times(plain_market(60 * 168, "1h"))
    left = np.delete(times, slice(20 * 168 + 5, 24 * 168 + 9))
    assert told(left, "1h") == (1, 4 * 168 + 4)


# --- sessions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("timeframe", ["30m", "1h", "4h"])
@pytest.mark.parametrize("days", [20, 120, 900])
def test_nights_weekends_lunches_and_other_seasons_are_no_gaps(clock: str, timeframe: str, days: int) -> None:
    assert told(opens(CLOCKS[clock], timeframe, dt.date(2021, 1, 4), days), timeframe) == (0, 0)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.25])
def test_all_holes_of_sessions_are_told_those_at_their_moving_ends_too(clock: str, share: float) -> None:
    times = opens(CLOCKS[clock], "30m", dt.date(2021, 1, 4), 900)
    left, _ = holed(times, share)
    bars_told, bars_planted = told(left, "30m")[1], planted(times, left)[1]
    assert (1.0 if share < 0.05 else 0.995) * bars_planted <= bars_told <= bars_planted


def test_a_last_hour_that_is_quiet_in_every_fourth_week_is_no_gap() -> None:
    times = bar_times(plain_market(200 * 168, "1h"))
    hour = (times - MONDAY) // HOUR
    weekday = hour % 168 < 119  # to Friday 22:00
    quiet = (hour % 168 == 119) & (hour // 168 % 4 > 0)
    assert told(times[weekday | quiet], "1h") == (0, 0)


# --- one habit for a series and its parts ------------------------------------------------------


def patchy() -> np.ndarray:
    """A year of hours, on working days alone in its first half, with many holes in its second."""
    times = bar_times(plain_market(52 * 168, "1h"))
    hour = (times - MONDAY) // HOUR
    late = hour >= 26 * 168
    gone = np.random.default_rng(3).random(len(times)) < np.where(late, 0.2, 0.01)
    return times[((hour % 168 < 120) | late) & ~gone]


def test_a_part_has_no_gap_that_the_whole_has_not(tmp_path: Path) -> None:
    times = patchy()
    write_bars(tmp_path, "AAA", "1h", bar_frame(times, prices(len(times))))
    whole, habit = read_bars(tmp_path, "AAA", "1h"), series_habit(tmp_path, "AAA", "1h")
    of_all = quality(whole, "1h").gaps
    assert quality(whole, "1h", habit=habit).gaps == of_all
    for begin in range(0, len(times) - 800, 700):
        part = whole.iloc[begin : begin + 800]
        found = quality(part, "1h", habit=habit).gaps
        inside = times[begin : begin + 800]
        slots = slots_of(times, "1h")[0][begin : begin + 800]
        expected = habit.until(slots[1:]) - habit.until(slots[:-1] + 1)
        assert (found.count, found.bars) == (int((expected > 0).sum()), int(expected.sum()))
        assert found.bars <= of_all.bars and inside[0] == bar_times(part)[0]
    halves = [quality(whole.iloc[cut], "1h", habit=habit).gaps.bars for cut in (slice(None, 3000), slice(2999, None))]
    assert sum(halves) == of_all.bars


@pytest.mark.django_db
def test_loading_the_page_and_a_run_tell_one_number(settings: Any, tmp_path: Path) -> None:
    settings.STORE_DIR = tmp_path
    times = patchy()
    loaded = store_frame("AAA", "1h", bar_frame(times, prices(len(times))), source="made up")
    row = BarSeries.objects.get()
    spec = strategy(RSI, ("1h", "4h"), start_date="2015-01-05", end_date="2016-01-03")
    bars = load_bars(spec, tmp_path)
    (gaps,) = [of for of in bars.findings if of.kind == "gaps" and of.timeframe == "1h"]
    assert gaps.count == row.quality["gaps"]["bars"] and gaps.sentence == f"AAA 1h: {loaded.warnings[0]}"
    part = load_bars(strategy(RSI, ("1h", "4h"), start_date="2015-09-01", end_date="2015-11-30"), tmp_path)
    (of_part,) = [of for of in part.findings if of.kind == "gaps" and of.timeframe == "1h"]
    assert of_part.count < gaps.count
    four = resample(read_bars(tmp_path, "AAA", "1h"), "4h")
    by_hours = [of.count for of in bars.findings if of.kind == "gaps" and of.timeframe == "4h"]
    habit = series_habit(tmp_path, "AAA", "1h").coarser("4h")
    assert by_hours == [of.count for of in validate_bars(four, "AAA", "4h", habit=habit) if of.kind == "gaps"]


def test_the_habit_is_kept_in_the_file_and_learned_where_an_older_file_has_none(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    frame = bar_frame(times := patchy(), prices(len(times)))
    write_bars(tmp_path, "AAA", "1h", frame)
    path = tmp_path / "AAA_1h.parquet"
    kept = pq.read_schema(path).metadata[b"habit"]
    habit, again = habit_of(times, "1h"), unpacked(kept, "1h")
    assert again is not None and len(kept) < 400
    assert np.array_equal(habit.weeks, again.weeks) and np.array_equal(habit.usual, again.usual)
    for metadata in ({}, {b"habit": b"something else"}):
        pq.write_table(pq.read_table(path).cast(SCHEMA).replace_schema_metadata(metadata), path)
        assert np.array_equal(series_habit(tmp_path, "AAA", "1h").usual, habit.usual)
    assert unpacked(kept, "4h") is None


@pytest.mark.django_db
def test_bars_that_are_added_bring_the_habit_up_to_date(settings: Any, tmp_path: Path) -> None:
    settings.STORE_DIR = tmp_path
    times = bar_times(plain_market(60 * 168, "1h"))
    working = times[(times - MONDAY) // HOUR % 168 < 120]
    for until in (10, 40):
        part = working[working < MONDAY + until * WEEK]
        store_frame("AAA", "1h", bar_frame(part, prices(len(part), 1)[:, : len(part)]), source="made up", replace=True)
        assert np.array_equal(series_habit(tmp_path, "AAA", "1h").usual, habit_of(part, "1h").usual)
    whole = bar_frame(times, prices(len(times), 1))
    store_frame("AAA", "1h", whole, source="made up", replace=True)
    assert series_habit(tmp_path, "AAA", "1h").usual.all()
    assert [checked.sound for checked in check_store()] == [True]
