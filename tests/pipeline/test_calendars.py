"""An exchange's calendar decides which bars are missing: holidays are no gaps, and a lost trading day is one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.bars.series import SAMPLE_BARS, check_store, load_file, load_samples
from training.models import BarSeries
from training.pipeline import calendars
from training.pipeline.bars import bar_frame, bar_times, bar_values, fingerprint, read_bars, series_calendar, write_bars
from training.pipeline.quality import validate_bars
from training.pipeline.synthetic import make_bars
from training.store.coverage import DataError
from training.store.origins import Origin

pytest.importorskip("exchange_calendars")


def found(frame: pd.DataFrame, timeframe: str, calendar: str = "XNYS") -> dict[str, Any]:
    return {finding.kind: finding for finding in validate_bars(frame, "S", timeframe, calendar=calendar)}


def new_york_hours() -> pd.DataFrame:
    """1h bars of 2012 at the exchange's own hours, every session of it."""
    slots = calendars.session_slots(calendars.sessions("XNYS", 15340, 15705), "1h")
    times = slots * 3_600_000_000 - 3 * 86_400_000_000
    times = times[(times >= 15340 * 86_400_000_000) & (times < 15706 * 86_400_000_000)]
    return bar_frame(times, bar_values(make_bars(len(times))))


def test_real_daily_bars_have_every_session_and_no_other_day() -> None:
    frame = read_bars(SAMPLE_BARS, "IBM", "1d")
    gaps = found(frame, "1d", "")["gaps"]
    assert gaps.first == "2001-09-10T00:00:00Z"  # by habit the closed week of 2001 is a gap
    assert found(frame, "1d") == {}


def test_one_lost_session_is_a_gap_by_the_calendar_alone() -> None:
    frame = read_bars(SAMPLE_BARS, "IBM", "1d").drop(pd.Timestamp("2006-05-03", tz="UTC"))
    gaps = found(frame, "1d")["gaps"]
    assert (gaps.count, gaps.first) == (1, "2006-05-02T00:00:00Z")
    assert gaps.sentence == "S 1d: 1 gap (1 bar missing by the calendar XNYS), the longest of 1 after 2006-05-02"
    assert found(frame, "1d", "")["gaps"].first == "2001-09-10T00:00:00Z"


def test_hours_before_a_holiday_close_early_and_hours_move_with_daylight_saving() -> None:
    frame = new_york_hours()
    assert len(frame) > 1500 and found(frame, "1h") == {}
    gaps = found(frame.drop(frame.index[[500, 501]]), "1h")["gaps"]
    assert gaps.count == 2


def test_weeks_and_five_minutes_are_known_too() -> None:
    week = found(make_bars(200, "1w").drop(make_bars(200, "1w").index[[50]]), "1w")["gaps"]
    assert week.count == 1
    slots = calendars.session_slots(calendars.sessions("XHKG", 19000, 19010), "5m")  # Hong Kong breaks for lunch
    minutes = (slots * 300 - 3 * 86_400) % 86_400 // 60
    assert len(np.unique(minutes)) == (150 + 180) // 5 and not ((minutes >= 240) & (minutes < 300)).any()


def test_bars_on_days_without_a_session_are_told() -> None:
    frame = make_bars(300, "1d")
    closed = found(frame, "1d")["closed"]
    assert closed.sentence.startswith(f"S 1d: {closed.count:,} bars when XNYS is closed, the first at 2015-01-01")
    assert closed.count > 80
    assert found(frame, "1d", "24/7") == {}


def test_an_unknown_calendar_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"^unknown calendar 'XNSY'; did you mean XNYS\?$"):
        calendars.require_calendar("XNSY")


def test_without_the_package_loading_refuses_and_training_goes_on_by_habit(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == calendars.PACKAGE else find(name, *rest))
    with pytest.raises(
        DataError,
        match=r"exchange_calendars is not installed: in the folder of KTRDR Train run: pip install -c constraints.txt -e '\.\[calendars\]'$",
    ):
        calendars.require_calendar("XNYS")
    seen = found(read_bars(SAMPLE_BARS, "IBM", "1d"), "1d")
    assert seen["gaps"].first == "2001-09-10T00:00:00Z"
    assert (
        seen["no_calendar"].severity == "info"
        and "pip install -c constraints.txt -e '.[calendars]'" in seen["no_calendar"].sentence
    )


def test_bars_older_than_the_calendar_are_counted_by_habit() -> None:
    seen = found(make_bars(300, "1d", start="1940-01-01"), "1d", "XKRX")
    assert "1956" in seen["no_calendar"].sentence


@pytest.mark.django_db
def test_the_calendar_stays_with_the_series(settings: Any, tmp_path: Path) -> None:
    settings.STORE_DIR = tmp_path / "store"
    file = tmp_path / "ibm.csv"
    read_bars(SAMPLE_BARS, "IBM", "1d").to_csv(file)
    load_file("IBM", "1d", file)
    before = fingerprint(read_bars(settings.STORE_DIR, "IBM", "1d"))
    loaded = load_file("IBM", "1d", file, calendar="XNYS")
    assert (loaded.merge.added, loaded.warnings) == (0, [])
    assert series_calendar(settings.STORE_DIR, "IBM", "1d") == "XNYS"
    assert fingerprint(read_bars(settings.STORE_DIR, "IBM", "1d")) == before  # runs and caches stay valid
    assert BarSeries.objects.get().quality["calendar"] == "XNYS"
    assert [checked.sound for checked in check_store()] == [True]
    load_samples("IBM")  # a load that names none keeps it
    assert series_calendar(settings.STORE_DIR, "IBM", "1d") == "XNYS"
    load_file("IBM", "1d", file, calendar="")
    assert series_calendar(settings.STORE_DIR, "IBM", "1d") == ""
    assert BarSeries.objects.get().quality["findings"][0]["kind"] == "gaps"


def test_the_gate_asks_the_file_for_its_calendar(tmp_path: Path) -> None:
    from strategies_app.grammar.reader import read_strategy
    from tests.examples.results import text_of
    from training.pipeline.loading import load_bars

    text = text_of(training_data__symbols={"mode": "multi_symbol", "list": ["IBM"]}, training_data__start_date="2001-01-02")
    for calendar, kinds in (("", {"gaps"}), ("XNYS", set[str]())):
        write_bars(tmp_path, "IBM", "1d", read_bars(SAMPLE_BARS, "IBM", "1d"), Origin(calendar))
        bars = load_bars(read_strategy(text), tmp_path)
        assert {finding.kind for finding in bars.findings if finding.timeframe == "1d"} == kinds
    assert bar_times(bars.frames["IBM"]["1d"])[0] > 0
