"""Series whose bars stand on a clock of their own, from the store to the rows of a run, and what the join took of the rows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.examples.pipeline import DAY, MONDAY, PAIRS, market_with_holes, plain_market, prices, same_bits, strategy
from training.laws.markets import CLOCKS, opens
from training.pipeline.bars import write_bars
from training.pipeline.features import bucket_start, duration, resample
from training.pipeline.frames import bar_frame, bar_times, bar_values
from training.pipeline.loading import load_bars
from training.pipeline.prepare import FeatureCache, prepare
from training.store.origins import Origin
from training.workers.preview import _shown

HOUR = 3_600_000_000
SERVER = "a server on New York's close"
RSI = {"strength": {"type": "rsi", "period": 5}}


def day(offset: int) -> str:
    return str(dt.date(2015, 1, 5) + dt.timedelta(days=offset))


def on_clock(clock: str, timeframe: str, days: int = 200) -> pd.DataFrame:
    times = opens(CLOCKS[clock], timeframe, dt.date(2015, 1, 5), days)
    return bar_frame(times, prices(len(times), 1))


# --- loading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("clock", "timeframe"), [(SERVER, "4h"), (SERVER, "1d"), ("Kathmandu, five days from Sunday", "1h")])
def test_no_bar_of_a_run_is_over_after_its_last_day_whatever_the_clock(tmp_path: Path, clock: str, timeframe: str) -> None:
    frame = on_clock(clock, timeframe)
    write_bars(tmp_path, "AAA", timeframe, frame)
    bars = load_bars(strategy(RSI, (timeframe,), start_date=day(20), end_date=day(164), history_required=50), tmp_path)
    over = bar_times(frame) + duration(timeframe)
    assert bar_times(bars.frames["AAA"][timeframe])[-1] == bar_times(frame)[over <= bars.end][-1]


@pytest.mark.parametrize("clock", [SERVER, "Hong Kong with its lunch", "India from 09:15"])
def test_the_warm_up_of_a_series_counts_its_bars_not_the_grids(tmp_path: Path, clock: str) -> None:
    write_bars(tmp_path, "AAA", "15m", on_clock(clock, "15m"))
    write_bars(tmp_path, "AAA", "1h", on_clock(clock, "1h"))
    spec = strategy(RSI, ("15m", "1h"), start_date=day(100), end_date=day(150), history_required=60)
    bars = load_bars(spec, tmp_path)
    times = bar_times(bars.frames["AAA"]["1h"])
    assert int((times + HOUR <= bars.start).sum()) == 60


@pytest.mark.parametrize(("stored", "timeframe"), [("4h", "4h"), ("1h", "4h"), ("1d", "1w")])
def test_a_series_is_read_again_from_its_first_bar_as_it_was_read_first(tmp_path: Path, stored: str, timeframe: str) -> None:
    base = "1h" if timeframe == "4h" else "1d"
    for of in {base, stored}:
        # Its session has room for one bar of 4h: that these are no days is a person's to say.
        write_bars(
            tmp_path, "AAA", of, on_clock("Kathmandu, five days from Sunday", of, 1200), Origin(timeframe_is_right=of == "4h")
        )
    spec = strategy(RSI, (base, timeframe), start_date=day(500), end_date=day(900), history_required=50)
    first = load_bars(spec, tmp_path)
    again = load_bars(spec, tmp_path, first_bars=first.first_bars, sources=first.sources)
    assert first.sources["AAA"][timeframe] == stored
    assert first.fingerprints == again.fingerprints and first.first_bars == again.first_bars
    assert same_bits(bar_values(first.frames["AAA"][timeframe]), bar_values(again.frames["AAA"][timeframe]))


def test_a_higher_series_on_a_clock_of_its_own_is_noted(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAA", "1h", on_clock(SERVER, "1h"))
    spec = strategy(RSI, ("1h", "4h"), start_date=day(40), end_date=day(150), history_required=50)
    assert not [note for note in load_bars(spec, tmp_path).notes if "clock" in note]
    write_bars(tmp_path, "AAA", "4h", on_clock(SERVER, "4h"))
    (note,) = [note for note in load_bars(spec, tmp_path).notes if "clock" in note]
    assert note.startswith("AAA 4h bars open on a clock of their own, such as 2015-0")
    assert note.endswith("not where resampled ones would: each is known 4h after its own open")


def test_a_preview_begins_with_the_higher_bar_that_holds_its_first_base_bar(tmp_path: Path) -> None:
    for timeframe in ("1h", "1w"):
        write_bars(tmp_path, "AAA", timeframe, on_clock(SERVER, timeframe, 900))
    bars = load_bars(strategy(RSI, ("1h", "1w"), start_date=day(300), end_date=day(860), history_required=50), tmp_path)
    times = bar_times(bars.frames["AAA"]["1w"])
    for begin in (MONDAY + 602 * DAY, MONDAY + 602 * DAY - 3 * HOUR, int(times[-2]), int(times[-2]) - 1):
        first = times[_shown(bars, "AAA", "1w", begin).first]
        assert first <= begin < first + duration("1w")


# --- resampling --------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids="→".join)
def test_the_source_of_bars_on_the_grid_changes_no_bucket(pair: tuple[str, str]) -> None:
    frame = market_with_holes(*pair, 3)
    assert resample(frame, pair[1], pair[0]).equals(resample(frame, pair[1]))


@pytest.mark.parametrize(
    ("source", "timeframe", "shift"), [("1d", "1w", -2), ("1h", "4h", 0.5), ("30m", "1h", 0.25), ("4h", "1d", 2)]
)
def test_no_resampled_bar_is_known_before_the_last_bar_in_it(source: str, timeframe: str, shift: float) -> None:
    frame = plain_market(400, source, start=MONDAY + int(shift * HOUR))
    found, last_moments = resample(frame, timeframe, source), bar_times(frame) + duration(source) - 1
    for opened, close in zip(bar_times(found), found["close"], strict=True):
        inside = [int(t) for t in last_moments if bucket_start(int(t), timeframe) == opened]
        assert close == frame["close"].iloc[int(np.searchsorted(last_moments, inside[-1]))]
    assert len(found) == len({bucket_start(int(t), timeframe) for t in last_moments})


# --- rows that the join takes ------------------------------------------------------------------


def run_with_gone(tmp_path: Path, gone: int) -> tuple[object, object]:
    """A run on 1h and 4h bars of which some 4h bars, one a day, are missing."""
    write_bars(tmp_path, "AAA", "1h", plain_market(2400, "1h", 1))
    higher = plain_market(600, "4h", 2)
    take = 300 + 6 * np.arange(gone)
    write_bars(tmp_path, "AAA", "4h", higher.drop(higher.index[take]))
    spec = strategy(RSI, ("1h", "4h"), start_date=day(10), end_date=day(99))
    return spec, load_bars(spec, tmp_path)


@pytest.mark.parametrize(("gone", "severity"), [(0, None), (1, "info"), (40, "info"), (49, "info")])
def test_rows_without_a_known_bar_are_told_in_every_run(tmp_path: Path, gone: int, severity: str | None) -> None:
    spec, bars = run_with_gone(tmp_path, gone)
    cache = FeatureCache(tmp_path / "cache", 1 << 30)
    for _ in ("worked out", "from the cache"):
        prepared = prepare(spec, bars, cache=cache)
        told = [of for of in prepared.checks["data"]["findings"] if of["kind"] == "lost_rows"]
        notes = [note for note in prepared.notes if "is known at" in note]
        if severity is None:
            assert not told and not notes
            continue
        (finding,) = told
        assert (finding["count"], finding["severity"], finding["symbol"], finding["timeframe"]) == (
            4 * gone,
            severity,
            "AAA",
            "4h",
        )
        share = f"{4 * gone / 2160:.1%}"
        lost = f"no 4h bar is known at {4 * gone:,} of 2,160 1h bars ({share}), since one that should be over is missing"
        assert notes == [finding["sentence"]] == [f"AAA 4h: {lost}: these rows are dropped"]
        assert prepared.dataset.dropped["missing feature"] == 4 * gone


def test_more_than_a_tenth_of_the_rows_is_a_warning(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAA", "1h", plain_market(2400, "1h", 1))
    write_bars(tmp_path, "AAA", "4h", plain_market(600, "4h", 2).drop(plain_market(600, "4h", 2).index[300:360]))
    spec = strategy(RSI, ("1h", "4h"), start_date=day(10), end_date=day(99))
    prepared = prepare(spec, load_bars(spec, tmp_path))
    (finding,) = [of for of in prepared.checks["data"]["findings"] if of["kind"] == "lost_rows"]
    assert (finding["count"], finding["severity"]) == (240, "warning")


def test_lags_that_reach_back_to_a_missing_bar_are_told_too(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAA", "1h", plain_market(2400, "1h", 1))
    write_bars(tmp_path, "AAA", "4h", plain_market(600, "4h", 2).drop(plain_market(600, "4h", 2).index[[300]]))
    spec = strategy(RSI, ("1h", "4h"), start_date=day(10), end_date=day(99), lags=2)
    prepared = prepare(spec, load_bars(spec, tmp_path))
    told = [(of["timeframe"], of["count"]) for of in prepared.checks["data"]["findings"] if of["kind"] == "lost_rows"]
    assert told == [("4h", 4), ("1h", 2)]
    assert prepared.dataset.dropped["missing feature"] == 6


def test_a_higher_series_that_begins_late_takes_the_rows_before_it(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAA", "1h", plain_market(2400, "1h", 1))
    write_bars(tmp_path, "AAA", "4h", plain_market(560, "4h", 2, MONDAY + 6 * DAY))
    spec = strategy(RSI, ("1h", "4h"), start_date=day(0), end_date=day(98))
    prepared = prepare(spec, load_bars(spec, tmp_path))
    (finding,) = [of for of in prepared.checks["data"]["findings"] if of["kind"] == "lost_rows"]
    assert (finding["count"], finding["severity"]) == (6 * 24 + 3, "info")
