"""From the store to the bars of one run: warm-up, source, missing values, notes, and what serving needs to repeat training."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from strategies_app.grammar.schema import StrategySpec
from tests.examples.pipeline import DAY, MONDAY, market_with_holes, plain_market, prices, same_bits, strategy, whole_vocabulary
from training.pipeline.bars import write_bars
from training.pipeline.dataset import build_dataset, build_features
from training.pipeline.features import duration, resample
from training.pipeline.frames import bar_frame, bar_times, bar_values
from training.pipeline.loading import RunBars, load_bars, stored_ranges, warm_up_bars
from training.pipeline.synthetic import with_holes
from training.store.coverage import resolve_dates

HOUR = 3_600_000_000
RSI = {"strength": {"type": "rsi", "period": 14}}


def day(offset: int) -> str:
    """The day so many days after Monday, 2015-01-05."""
    return str(dt.date(2015, 1, 5) + dt.timedelta(days=offset))


def open_on_weekdays(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(bar_times(frame) - MONDAY) // DAY % 7 < 5]


def spec_of(
    timeframes: tuple[str, ...] = ("1h",), start: int = 40, end: int = 60, indicators: Any = None, **options: Any
) -> StrategySpec:
    return strategy(indicators or RSI, timeframes, start_date=day(start), end_date=day(end), **options)


@pytest.fixture
def hours(tmp_path: Path) -> pd.DataFrame:
    """Three hundred days of hourly bars, closed on weekends, stored for AAA."""
    frame = open_on_weekdays(plain_market(7200, "1h", 1))
    write_bars(tmp_path, "AAA", "1h", frame)
    return frame


def before_start(bars: RunBars, timeframe: str) -> int:
    return int((bar_times(bars.frames["AAA"][timeframe]) < bars.start).sum())


# --- dates and warm-up -------------------------------------------------------------------------


@pytest.mark.usefixtures("hours")
def test_both_days_are_inclusive(tmp_path: Path) -> None:
    bars = load_bars(spec_of(start=42, end=44), tmp_path)
    assert bars.clock["AAA"][[0, -1]].tolist() == [MONDAY + 42 * DAY, MONDAY + 44 * DAY + 23 * HOUR]
    assert (bars.start, bars.end) == (MONDAY + 42 * DAY, MONDAY + 45 * DAY)


def test_without_dates_the_run_spans_what_is_stored(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAA", "1h", plain_market(500, "1h", 1))
    write_bars(tmp_path, "BBB", "1h", plain_market(500, "1h", 2, MONDAY + 9 * DAY))
    spec = strategy(RSI, symbols=("AAA", "BBB"))
    assert resolve_dates(spec, stored_ranges(tmp_path, spec.symbols)) == (dt.date(2015, 1, 5), dt.date(2015, 2, 3))
    assert len(load_bars(spec, tmp_path).clock["BBB"]) == 500


@pytest.mark.usefixtures("hours")
@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, 200),
        ({"history_required": 77}, 140),
        ({"history_required": 300}, 300),
        ({"lags": 5}, 205),
        ({"indicators": {"mean": {"type": "sma", "period": 41}}}, 400),
        ({"labels": {"source": "triple_barrier", "vol_span": 33}}, 330),
    ],
)
def test_the_warm_up_is_the_history_or_ten_times_the_longest(tmp_path: Path, options: dict[str, Any], wanted: int) -> None:
    spec = spec_of(**options)
    assert warm_up_bars(spec, "1h") == wanted
    assert before_start(load_bars(spec, tmp_path), "1h") == wanted


@pytest.mark.usefixtures("hours")
def test_the_warm_up_reaches_back_over_weekends(tmp_path: Path) -> None:
    bars = load_bars(spec_of(start=42), tmp_path)
    assert before_start(bars, "1h") == 200
    assert bars.first_bars["AAA"]["1h"] == MONDAY + 29 * DAY + 16 * HOUR  # eight weekdays, two weekends and eight hours earlier


@pytest.mark.usefixtures("hours")
def test_the_warm_up_counts_bars_of_each_timeframe(tmp_path: Path) -> None:
    bars = load_bars(spec_of(("1h", "4h"), start=60, end=70, history_required=50), tmp_path)
    assert {t: before_start(bars, t) for t in ("1h", "4h")} == {"1h": 140, "4h": 140}


def test_the_warm_up_goes_no_further_back_than_what_is_stored(tmp_path: Path, hours: pd.DataFrame) -> None:
    bars = load_bars(spec_of(start=2), tmp_path)
    assert before_start(bars, "1h") == 48
    assert bars.first_bars["AAA"]["1h"] == bar_times(hours)[0]


@pytest.mark.usefixtures("hours")
def test_no_row_before_the_start_and_no_bar_after_the_end(tmp_path: Path) -> None:
    bars = load_bars(spec := spec_of(("1h", "4h", "1d"), start=200, end=230, lags=3, history_required=100), tmp_path)
    rows = build_dataset(spec, bars).rows
    assert bars.start <= rows.times.min()
    assert rows.label_ends.max() == bar_times(bars.frames["AAA"]["1h"])[-1] + HOUR <= bars.end
    assert all(bar_times(f)[-1] + duration(t) <= bars.end for t, f in bars.frames["AAA"].items())


# --- sources -----------------------------------------------------------------------------------


def test_a_timeframe_that_is_not_stored_is_resampled_and_the_run_says_so(tmp_path: Path, hours: pd.DataFrame) -> None:
    bars = load_bars(spec_of(("1h", "4h"), start=0, end=299), tmp_path)
    assert bars.sources["AAA"] == {"1h": "1h", "4h": "1h"}
    assert "AAA 4h resampled from 1h" in bars.notes
    assert same_bits(bar_values(bars.frames["AAA"]["4h"]), bar_values(resample(hours, "4h")))


def test_a_stored_timeframe_is_taken_as_it_is(tmp_path: Path, hours: pd.DataFrame) -> None:
    own = plain_market(600, "4h", 5)
    write_bars(tmp_path, "AAA", "4h", own)
    bars = load_bars(spec_of(("1h", "4h"), start=0, end=99), tmp_path)
    assert bars.sources["AAA"]["4h"] == "4h"
    assert same_bits(bar_values(bars.frames["AAA"]["4h"]), bar_values(own))
    assert not [note for note in bars.notes if "resampled" in note]


def test_the_finest_series_that_covers_the_range_is_resampled(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAA", "1h", plain_market(2400, "1h", 1))
    write_bars(tmp_path, "AAA", "30m", plain_market(4800, "30m", 2))
    write_bars(tmp_path, "AAA", "1m", plain_market(600, "1m", 3, MONDAY + 50 * DAY))
    assert load_bars(spec_of(("4h",)), tmp_path).sources["AAA"] == {"4h": "30m"}


def test_a_week_that_is_not_over_at_the_end_is_no_bar(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAA", "1d", plain_market(1000, "1d", 1))
    bars = load_bars(spec_of(("1w",), start=7, end=703, indicators={"mean": {"type": "sma", "period": 3}}), tmp_path)
    assert bar_times(bars.frames["AAA"]["1w"])[-1] == MONDAY + 693 * DAY
    whole = load_bars(spec_of(("1w",), start=7, end=706, indicators={"mean": {"type": "sma", "period": 3}}), tmp_path)
    assert bar_times(whole.frames["AAA"]["1w"])[-1] == MONDAY + 700 * DAY


def test_a_source_with_impossible_bars_is_refused_although_its_buckets_look_sound(tmp_path: Path) -> None:
    values = prices(2400, 1).copy()
    values[3, 7] = values[1, 7] * 1.001
    values[1, 6] = values[3, 7] * 1.01
    write_bars(tmp_path, "AAA", "1h", bar_frame(bar_times(plain_market(2400, "1h")), values))
    with pytest.raises(Exception, match="high below"):
        load_bars(spec_of(("4h",), start=0, end=99), tmp_path)


# --- missing values ----------------------------------------------------------------------------


def test_a_bar_with_a_missing_value_is_taken_out_counted_and_harms_no_later_value(tmp_path: Path, hours: pd.DataFrame) -> None:
    values = bar_values(hours).copy()
    values[3, 900] = np.nan
    write_bars(tmp_path, "AAA", "1h", bar_frame(bar_times(hours), values))
    write_bars(tmp_path, "BBB", "1h", hours.drop(hours.index[900]))
    spec = whole_vocabulary(symbols=("AAA", "BBB"), start_date=day(30), end_date=day(90))
    bars = load_bars(spec, tmp_path)
    assert bars.missing == {"AAA 1h": 1}
    assert "AAA 1h: 1 bars with missing values taken out" in bars.notes
    rows = build_dataset(spec, bars).rows
    own, other = rows.symbols == 0, rows.symbols == 1
    assert same_bits(rows.features[own], rows.features[other])
    assert same_bits(rows.times[own], rows.times[other])
    assert np.isfinite(rows.features).all()


def test_every_base_bar_in_the_dates_is_a_row_or_counted(tmp_path: Path, hours: pd.DataFrame) -> None:
    values = bar_values(hours).copy()
    values[:, 1000:1009] = np.nan
    write_bars(tmp_path, "AAA", "1h", bar_frame(bar_times(hours), values))
    write_bars(tmp_path, "BBB", "1h", market_with_holes("1h", "1d", 3, bars=1500, buckets=90))
    write_bars(tmp_path, "BBB", "4h", with_holes(plain_market(540, "4h", 4), 0.1))
    spec = whole_vocabulary(("1h", "4h"), symbols=("AAA", "BBB"), start_date=day(0), end_date=day(80), lags=2)
    bars = load_bars(spec, tmp_path)
    dataset = build_dataset(spec, bars)
    assert dataset.dropped["missing value"] == 9
    assert min(dataset.dropped.values()) > 0
    assert len(dataset.rows) + sum(dataset.dropped.values()) == sum(len(bars.clock[s]) for s in spec.symbols)
    for number, symbol in enumerate(spec.symbols):
        left_out = sum(dataset.dropped_by_symbol[symbol].values())
        assert int((dataset.rows.symbols == number).sum()) + left_out == len(bars.clock[symbol])


def test_a_missing_volume_matters_only_to_a_run_that_uses_volume(tmp_path: Path, hours: pd.DataFrame) -> None:
    values = bar_values(hours).copy()
    values[4, 800] = np.nan
    write_bars(tmp_path, "AAA", "1h", bar_frame(bar_times(hours), values))
    both = {"flow": {"type": "obv"}, **RSI}
    assert load_bars(spec_of(), tmp_path).missing == {}
    assert load_bars(spec_of(indicators=both), tmp_path).missing == {"AAA 1h": 1}
    unused = spec_of(indicators=both, inputs=[{"raw_indicator": "strength"}])
    assert load_bars(unused, tmp_path).missing == {}


# --- notes, fingerprints, serving --------------------------------------------------------------


@pytest.mark.usefixtures("hours")
def test_a_range_that_is_stored_only_in_part_is_noted(tmp_path: Path) -> None:
    notes = load_bars(spec_of(end=400), tmp_path).notes
    assert "AAA 1h is stored from 2015-01-05 to 2015-10-30, not the whole range" in notes
    assert not load_bars(spec_of(), tmp_path).notes


def test_bars_after_the_end_change_no_fingerprint(tmp_path: Path, hours: pd.DataFrame) -> None:
    spec = spec_of(("1h", "1d"), start=200, end=230, history_required=150)
    until_end = bar_times(hours) < MONDAY + 231 * DAY
    write_bars(tmp_path, "AAA", "1h", hours[until_end])
    before = load_bars(spec, tmp_path)
    write_bars(tmp_path, "AAA", "1h", bar_frame(bar_times(hours), np.where(until_end, bar_values(hours), prices(len(hours), 9))))
    after = load_bars(spec, tmp_path)
    assert before.fingerprints == after.fingerprints
    assert same_bits(build_dataset(spec, before).rows.features, build_dataset(spec, after).rows.features)


def test_a_week_that_goes_on_after_the_end_changes_no_fingerprint(tmp_path: Path) -> None:
    days, mean = plain_market(1400, "1d", 1), {"mean": {"type": "sma", "period": 3}}
    write_bars(tmp_path, "AAA", "1d", days[:1000])
    write_bars(tmp_path, "AAA", "1w", resample(days[:1000], "1w"))
    spec = spec_of(("1d", "1w"), start=900, end=999, indicators=mean)
    before = load_bars(spec, tmp_path)
    write_bars(tmp_path, "AAA", "1d", days)
    write_bars(tmp_path, "AAA", "1w", resample(days, "1w"))
    assert load_bars(spec, tmp_path).fingerprints == before.fingerprints


def test_a_bar_that_was_used_changes_the_fingerprint(tmp_path: Path, hours: pd.DataFrame) -> None:
    before = load_bars(spec_of(), tmp_path).fingerprints
    values = bar_values(hours).copy()
    values[4, 800] += 1
    write_bars(tmp_path, "AAA", "1h", bar_frame(bar_times(hours), values))
    assert load_bars(spec_of(), tmp_path).fingerprints != before


@pytest.mark.parametrize("timeframes", [("1h",), ("1h", "4h", "1d"), ("4h", "1d")], ids="+".join)
@pytest.mark.parametrize("stored_higher", [True, False], ids=["stored", "resampled"])
def test_serving_from_the_first_bars_gives_the_features_of_training(
    tmp_path: Path, hours: pd.DataFrame, timeframes: tuple[str, ...], stored_higher: bool
) -> None:
    values = bar_values(hours).copy()
    values[3, [11, 2500, 3003]] = np.nan
    write_bars(tmp_path, "AAA", "1h", bar_frame(bar_times(hours), values))
    if stored_higher:
        write_bars(tmp_path, "AAA", "1d", open_on_weekdays(plain_market(300, "1d", 7)))
    options: dict[str, Any] = {"lags": 2, "history_required": 100}
    training = whole_vocabulary(timeframes, start_date=day(200), end_date=day(240), **options)
    bars = load_bars(training, tmp_path)
    rows = build_dataset(training, bars).rows
    if not stored_higher:
        # A series that would resample to other first bars must not take the place of the one that was used.
        write_bars(tmp_path, "AAA", "30m", plain_market(14400, "30m", 8))
    serving = whole_vocabulary(timeframes, start_date=day(220), end_date=day(260), **options)
    served = load_bars(serving, tmp_path, first_bars=bars.first_bars, sources=bars.sources)
    assert served.first_bars == bars.first_bars
    features, times, _ = build_features(serving, served.frames["AAA"], served.start)
    common = np.flatnonzero(rows.times >= served.start)
    at = np.searchsorted(times, rows.times[common])
    assert len(common) > 30
    assert same_bits(times[at], rows.times[common])
    assert same_bits(features[at], rows.features[common])


@pytest.mark.usefixtures("hours")
def test_every_step_is_reported_from_its_first_moment(tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    spec = spec_of()
    build_dataset(spec, load_bars(spec, tmp_path, lambda *s: seen.append(s)), lambda *s: seen.append(s))
    stages = ["load", "validate", "indicators", "memberships", "features", "labels"]
    assert list(dict.fromkeys(name for name, _ in seen)) == stages
    assert all((name, 0.0) in seen and (name, 1.0) in seen for name in stages)
