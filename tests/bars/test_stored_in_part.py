"""A store that does not hold everything: what a run takes, what it notes, and that a resumed run takes what the first one took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from django.conf import settings as django_settings

from strategies_app.models import Strategy
from tests.examples.api import TEXT, start
from tests.examples.pipeline import DAY, MONDAY, plain_market, strategy
from tests.pipeline.test_loading import RSI, day, spec_of
from training.bars.series import SAMPLE_BARS, store_frame
from training.jobs import lifecycle
from training.jobs.progress import Progress
from training.models import Operation
from training.pipeline.bars import read_bars, write_bars
from training.pipeline.features import resample
from training.pipeline.frames import bar_frame, bar_times, bar_values
from training.pipeline.loading import load_bars
from training.pipeline.prepare import prepare
from training.store.coverage import DataError, day_start, source_of
from training.workers.attempt import run_operation
from training.workers.plan import plan

HOUR = 3_600_000_000
WEEK = 7 * DAY


# --- a weekly base -----------------------------------------------------------------------------


@pytest.mark.parametrize(("beyond", "noted"), [(6, False), (13, False), (14, True), (70, True)])
def test_a_weekly_base_that_ends_inside_the_dates_is_used_to_its_end(tmp_path: Path, beyond: int, noted: bool) -> None:
    """`beyond`: days from the Monday of the last stored week to the last day asked for."""
    write_bars(tmp_path, "AAA", "1w", plain_market(150, "1w", 1))
    spec = spec_of(("1w",), start=70, end=149 * 7 + beyond, indicators={"mean": {"type": "sma", "period": 3}})
    bars = load_bars(spec, tmp_path)
    assert bars.clock["AAA"][-1] == MONDAY + 149 * WEEK
    sentence = f"AAA 1w is stored from {day(0)} to {day(149 * 7)}, not the whole range"
    assert (sentence in bars.notes) is noted


def test_a_week_that_goes_on_after_the_last_day_is_left_out_of_a_weekly_base(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAA", "1w", plain_market(150, "1w", 1))
    spec = spec_of(("1w",), start=70, end=149 * 7 + 5, indicators={"mean": {"type": "sma", "period": 3}})
    assert load_bars(spec, tmp_path).clock["AAA"][-1] == MONDAY + 148 * WEEK


# --- volume ------------------------------------------------------------------------------------


def without_volume(frame: pd.DataFrame) -> pd.DataFrame:
    values = bar_values(frame).copy()
    values[4] = np.nan
    return bar_frame(bar_times(frame), values)


def test_volume_is_demanded_of_those_timeframes_only_on_which_it_is_used(tmp_path: Path) -> None:
    hours = plain_market(7200, "1h", 1)
    write_bars(tmp_path, "AAA", "1h", hours)
    write_bars(tmp_path, "AAA", "1d", without_volume(resample(hours, "1d")))
    flow: dict[str, Any] = {"indicators": {"flow": {"type": "obv"}, **RSI}, "timeframes": ("1h", "1d"), "end": 250}
    rest = {"raw_indicator": "strength", "timeframes": ["1d"]}
    on_hours = spec_of(**flow, inputs=[{"raw_indicator": "flow", "timeframes": ["1h"]}, rest])
    assert load_bars(on_hours, tmp_path).missing == {}
    on_days = spec_of(**flow, inputs=[{"raw_indicator": "flow", "timeframes": ["1d"]}, rest])
    with pytest.raises(DataError, match="AAA 1d: no bar has a volume, which flow needs"):
        load_bars(on_days, tmp_path)


# --- a symbol without rows ---------------------------------------------------------------------


def test_a_symbol_that_gives_no_row_is_noted(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAA", "1h", plain_market(2400, "1h", 1))
    write_bars(
        tmp_path, "BBB", "1h", plain_market(102, "1h", 2, MONDAY + 90 * DAY)
    )  # its look-ahead ends before its warm-up does
    slow = {"strength": {"type": "rsi", "period": 100}}
    labels = {"source": "zigzag", "zigzag_threshold": 0.004, "label_lookahead": 7}
    spec = strategy(slow, ("1h",), symbols=("AAA", "BBB"), labels=labels, start_date=day(40), end_date=day(99))
    notes = prepare(spec, load_bars(spec, tmp_path)).notes
    assert "BBB has no row in the train or the validation or the test split" in notes
    assert not [note for note in notes if note.startswith("AAA has no row")]


# --- where a series is taken from --------------------------------------------------------------

HOURS = (0, 999 * HOUR)


@pytest.mark.parametrize(
    ("stored", "start", "end", "source"),
    [
        ({"1h": HOURS}, 0, 1000 * HOUR, "1h"),
        ({"1h": HOURS, "1d": (0, 41 * DAY)}, 0, 1000 * HOUR, "1d"),  # all of it
        ({"1h": HOURS, "1d": (0, 10 * DAY)}, 0, 1000 * HOUR, "1h"),  # a part only
        ({"1h": HOURS, "1d": (0, 10 * DAY)}, 0, 11 * DAY, "1d"),  # a part, and the run is inside it
        ({"1h": HOURS, "1d": (30 * DAY, 40 * DAY)}, 0, 1000 * HOUR, "1h"),  # the other end
        (
            {"30m": (0, 999 * HOUR), "1h": (0, 500 * HOUR), "1d": (0, 10 * DAY)},
            0,
            1000 * HOUR,
            "30m",
        ),  # the finest that covers it
        ({"30m": (0, 100 * HOUR), "1h": HOURS}, 0, 1000 * HOUR, "1h"),
        ({"1h": HOURS, "1w": (0, 5 * WEEK)}, 0, 1000 * HOUR, "1h"),  # coarser ones are no help
        ({"1h": HOURS, "1d": (0, 10 * DAY)}, None, None, "1h"),
        ({"1h": (0, 100 * DAY), "1d": (9 * DAY, 99 * DAY)}, 0, 100 * DAY, "1d"),  # nine tenths and more are its own
        ({"1h": (0, 100 * DAY), "1d": (11 * DAY, 99 * DAY)}, 0, 100 * DAY, "1h"),
        ({"1m": (0, 100 * DAY), "1h": (5 * DAY, 100 * DAY)}, 0, 100 * DAY, "1m"),  # of finer ones the one that covers most
    ],
)
def test_a_higher_timeframe_stored_in_part_gives_way_to_a_finer_one_that_covers_more(
    stored: dict[str, tuple[int, int]], start: int | None, end: int | None, source: str
) -> None:
    assert source_of({"AAA": stored}, "AAA", "1d", start, end) == source


def test_a_five_minute_series_is_not_passed_over_for_minutes_that_reach_a_little_further(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAA", "1m", plain_market(20 * 1440, "1m", 1))
    write_bars(tmp_path, "AAA", "5m", plain_market(19 * 288, "5m", 2, MONDAY + DAY))
    bars = load_bars(spec_of(("5m", "15m"), start=0, end=19), tmp_path)
    assert bars.sources["AAA"] == {"5m": "5m", "15m": "1m"}
    assert "AAA 5m bars are the stored ones: they cover 95.0% of the dates, 1m bars 100.0% of the dates" in bars.notes
    assert "AAA 15m resampled from 1m" in bars.notes


def test_why_a_stored_series_is_passed_over_is_said(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAA", "1h", plain_market(2400, "1h", 1))
    write_bars(tmp_path, "AAA", "4h", plain_market(300, "4h", 2))
    bars = load_bars(spec_of(("1h", "4h"), start=0, end=99), tmp_path)
    assert bars.sources["AAA"] == {"1h": "1h", "4h": "1h"}
    sentence = "AAA 4h resampled from 1h: stored 4h bars cover 50.0% of the dates, 1h bars 100.0% of the dates"
    assert sentence in bars.notes


# --- a resumed run -----------------------------------------------------------------------------


class StopAfter:
    """A watcher that stops the run after its first epoch."""

    progress: Progress

    def hand(self, progress: Progress) -> None:
        self.progress = progress

    def epoch(self, metrics: Any, percent: float) -> None:
        self.progress.request_stop("cancellation")

    def stage(self, name: str, fraction: float, percent: float) -> None: ...

    def batch(self, metrics: Any, percent: float) -> None: ...

    def note(self, text: str) -> None: ...


@pytest.mark.django_db(transaction=True)
def test_a_resumed_run_reads_what_the_first_attempt_read_whatever_was_loaded_meanwhile(settings: Any, tmp_path: Path) -> None:
    settings.STORE_DIR = tmp_path / "bars"
    whole = read_bars(SAMPLE_BARS, "AAPL", "1d")
    # The warm-up before the strategy's first day is cut off by what is stored.
    store_frame("AAPL", "1d", whole[bar_times(whole) >= day_start(pd.Timestamp("2002-12-16").date())], source="some")
    undisturbed, disturbed = (start(Strategy.objects.import_text(TEXT)) for _ in range(2))
    assert run_operation(undisturbed.pk, 1, device="cpu") == "completed"

    stop = StopAfter()
    assert run_operation(disturbed.pk, 1, [stop], device="cpu", on_start=stop.hand) == "cancelled"
    store_frame("AAPL", "1d", whole, source="earlier bars")
    store_frame("AAPL", "1w", resample(whole, "1w"), source="weeks of their own")
    lifecycle.resume(disturbed.pk, "cpu")
    assert run_operation(disturbed.pk, 2, device="cpu") == "completed"

    rows = [Operation.objects.get(pk=row.pk) for row in (undisturbed, disturbed)]
    assert [row.sources for row in rows] == [{"AAPL": {"1d": "1d", "1w": "1d"}}] * 2
    assert rows[0].first_bars == rows[1].first_bars and rows[0].fingerprints == rows[1].fingerprints
    weights = [(Path(django_settings.BUNDLE_DIR) / row.trained_model.folder / "weights.safetensors").read_bytes() for row in rows]
    assert weights[0] == weights[1]

    fresh = start(Strategy.objects.import_text(TEXT))
    assert run_operation(fresh.pk, 1, device="cpu") == "completed"
    fresh.refresh_from_db()
    assert fresh.sources == {"AAPL": {"1d": "1d", "1w": "1w"}}, "a new training reads what is stored now"
    assert fresh.first_bars != rows[0].first_bars


# --- the plan ----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_plan_names_the_stored_series_of_each_timeframe(settings: Any, tmp_path: Path) -> None:
    settings.STORE_DIR, settings.CACHE_DIR = tmp_path / "bars", tmp_path / "cache"
    for number, symbol in enumerate(("AAPL", "IBM")):
        store = read_bars(SAMPLE_BARS, symbol, "1d")
        store_frame(symbol, "1d", store, source="sample")
        if number:
            store_frame(symbol, "1w", resample(store, "1w"), source="weeks of their own")
    told = plan(TEXT, "made up", {"symbols": ["AAPL", "IBM"]})
    assert told["bars"] == "1d as stored, 1w resampled from 1d (1 symbol) or as stored (1 symbol)"
    assert plan(TEXT, "made up", {"symbols": ["IBM"]})["bars"] == "1d as stored, 1w as stored"
