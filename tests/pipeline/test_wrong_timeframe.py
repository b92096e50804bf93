"""Bars that last longer or shorter than their name says are refused wherever they come in; honest series with holes are not."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from strategies_app.grammar.reader import read_strategy
from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.bars.series import check_store, store_frame
from training.models import BarSeries
from training.pipeline.bars import read_bars, series_origin, write_bars
from training.pipeline.frames import bar_frame, bar_times
from training.pipeline.loading import load_bars
from training.pipeline.quality import timeframe_of, validate_bars
from training.pipeline.spacing import wrong_timeframe
from training.pipeline.synthetic import make_bars
from training.store.coverage import DataError
from training.store.origins import Origin

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
MONDAY = 1_420_416_000_000_000  # 2015-01-05 00:00 UTC
Times = Any


def session(opens: list[float], days: int = 120, weekdays: int = 5) -> Times:
    """Opens at these hours of each working day."""
    return np.array([MONDAY + d * DAY + int(o * HOUR) for d in range(days) if d % 7 < weekdays for o in opens], np.int64)


def thin(share: float, step: int, slots: int = 60_000) -> Times:
    """Bars at random: so large a share of the slots has one."""
    return MONDAY + np.flatnonzero(np.random.default_rng(4).random(slots) < share).astype(np.int64) * step


def dates(start: str, end: str, freq: str, tz: str | None = None) -> Times:
    return pd.date_range(start, end, freq=freq, tz=tz).as_unit("us").asi8


#: What honest series look like → the timeframe that they have.
HONEST = {
    "days from Monday to Friday": (session([0]), "1d"),
    "days without a weekend": (session([0], weekdays=7), "1d"),
    "days at midnight in Berlin": (dates("2010-01-01", "2014-01-01", "D", "Europe/Berlin"), "1d"),
    "weeks": (MONDAY + np.arange(60, dtype=np.int64) * 7 * DAY, "1w"),
    "hours of New York": (session([14.5 + k for k in range(7)]), "1h"),
    "hours of Shanghai with a lunch break": (session([1.5, 2.5, 5, 6]), "1h"),
    "two 4h bars a day": (session([8, 12]), "4h"),
    "4h bars of a broker": (session([22, 2, 6, 10, 14, 18]), "4h"),
    "minutes stamped a little late": (MONDAY + np.arange(500) * MINUTE + np.random.default_rng(1).integers(0, 5_000_000, 500), "1m"),
    "half of the minutes": (thin(0.5, MINUTE), "1m"),
    "one minute in six": (thin(0.16, MINUTE), "1m"),
    "one 5m bar in six": (thin(0.16, 5 * MINUTE), "5m"),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_the_times_tell_the_timeframe_and_contradict_every_other(name: str) -> None:
    times, timeframe = HONEST[name]
    assert timeframe_of(times) == timeframe
    assert [other for other in TIMEFRAMES if wrong_timeframe(times, other) is None] == [timeframe]


@pytest.mark.parametrize("share", [0.1, 0.05, 0.02, 0.005])
def test_rare_minutes_at_random_are_not_taken_for_anything_else(share: float) -> None:
    times = thin(share, MINUTE, 400_000)
    assert wrong_timeframe(times, "1m") is None
    assert timeframe_of(times) in ("1m", None)


@pytest.mark.parametrize(
    ("times", "timeframe", "words"),
    [
        (session([0]), "4h", "the bars are 1 d apart, not 4 h; load them as 1d"),
        (MONDAY + np.arange(150) * 7 * DAY, "1d", "the bars are 7 d apart, not 1 d; load them as 1w"),
        (MONDAY + np.arange(150) * HOUR, "1d", "the bars are 1 h apart, not 1 d; load them as 1h"),
        (MONDAY + np.arange(900) * MINUTE, "1h", "the bars are 1 min apart, not 1 h; load them as 1m"),
        (MONDAY + np.arange(900) * 5 * MINUTE, "1m", "the bars are 5 min apart, not 1 min; load them as 5m"),
        (thin(0.2, 5 * MINUTE), "1m", "the bars are 5 min apart, not 1 min; load them as 5m"),
        (dates("2000-01-01", "2012-01-01", "MS"), "1w", "the bars are 31 d apart, not 7 d, and no timeframe is that long"),
        (dates("2000-01-01", "2012-01-01", "BME"), "1d", "the bars are 31 d apart, not 1 d, and no timeframe is that long"),
        (MONDAY + np.arange(200) * 8 * HOUR, "4h", "the bars are 8 h apart, not 4 h, and no timeframe is that long"),
        (session([3.75 + 1.25 * k for k in range(5)]), "1h", "the bars are 75 min apart, not 1 h, and no timeframe is that long"),
    ],
)
def test_the_sentence_names_both_and_what_fits(times: Times, timeframe: str, words: str) -> None:
    wrong = wrong_timeframe(times, timeframe)
    assert wrong is not None and wrong.sentence.startswith(words)


def test_a_part_of_a_series_that_is_coarser_is_found_with_its_dates() -> None:
    years = dates("2000-01-01", "2001-12-31", "B")
    wrong = wrong_timeframe(np.concatenate([years, dates("2002-01-01", "2002-06-01", "h")]), "1h")
    assert wrong is not None and wrong.right == "1d"
    assert wrong.sentence == (
        "the bars from 2000-01-03 to 2002-01-01 are 1 d apart, not 1 h; leave them out, or load them alone as 1d"
    )


@pytest.fixture(autouse=True)
def store(tmp_path: Path, settings: Any) -> Path:
    settings.STORE_DIR = tmp_path / "store"
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


# --- at load -----------------------------------------------------------------------------------


def csv(folder: Path, times: Times, name: str = "bars.csv") -> Path:
    values = make_bars(1000, "1d").to_numpy().T[:, : len(times)]
    frame = bar_frame(np.ascontiguousarray(times), np.ascontiguousarray(values))
    path = folder / name
    frame.to_csv(path, date_format="%Y-%m-%dT%H:%M:%S.%fZ")
    return path


def load(symbol: str, timeframe: str, path: Path, **options: Any) -> None:
    call_command("load_data", symbol, timeframe, files=[path], **options)


@pytest.mark.django_db
def test_loading_refuses_both_ways_and_stores_nothing(tmp_path: Path) -> None:
    for times, timeframe, words in (
        (session([0]), "4h", "RW 4h: the bars are 1 d apart, not 4 h; load them as 1d"),
        (MONDAY + np.arange(150) * 7 * DAY, "1d", "RW 1d: the bars are 7 d apart, not 1 d; load them as 1w"),
        (MONDAY + np.arange(150) * HOUR, "1d", "bars.csv: the bars are 1 h apart, not 1 d; load them as 1h"),
    ):
        with pytest.raises(CommandError, match=words):
            load("RW", timeframe, csv(tmp_path, times))
    assert not BarSeries.objects.exists() and not list(Path(settings.STORE_DIR).glob("*.parquet"))


@pytest.mark.django_db
def test_bars_of_one_short_session_a_day_are_a_persons_to_tell_and_it_is_remembered(tmp_path: Path) -> None:
    path = csv(tmp_path, session([8], days=300))
    with pytest.raises(CommandError, match="if each of them covers no more than 4 h, say so with --timeframe-is-right"):
        load("RW", "4h", path)
    load("RW", "4h", path, timeframe_is_right=True)
    assert series_origin(settings.STORE_DIR, "RW", "4h") == Origin(timeframe_is_right=True)
    load("RW", "4h", csv(tmp_path, session([8], days=400)))  # it need not be said again
    (finding,) = [f for f in load_bars(spec("RW", "4h"), settings.STORE_DIR).findings if f.kind == "timeframe_told"]
    assert (
        finding.sentence == "RW 4h: the bars are 1 d apart; it was said when they were loaded that each covers no more than 4 h"
    )
    with pytest.raises(
        CommandError, match="the bars are 1 h apart, not 1 d"
    ):  # what lasts a day cannot be followed after an hour
        load("RW", "1d", csv(tmp_path, MONDAY + np.arange(150) * HOUR), timeframe_is_right=True)


@pytest.mark.django_db
def test_a_few_bars_that_prove_nothing_are_asked_about(tmp_path: Path) -> None:
    few = csv(tmp_path, MONDAY + np.arange(3) * 7 * DAY)
    with pytest.raises(
        CommandError, match="3 bars, 7 d apart: too few to tell whether each lasts 1 d; say so with --timeframe-is-right"
    ):
        load("FEW", "1d", few)
    load("FEW", "1w", few)
    load("FEW", "1d", few, timeframe_is_right=True)
    assert series_origin(settings.STORE_DIR, "FEW", "1d") == Origin()  # three bars do not bind what comes after them
    load("ONE", "1d", csv(tmp_path, np.array([MONDAY])))
    load("PAIR", "1d", csv(tmp_path, MONDAY + np.arange(2) * DAY))


@pytest.mark.django_db
def test_bars_added_to_a_series_are_held_against_it_too(tmp_path: Path) -> None:
    load("RW", "1d", csv(tmp_path, session([0], days=120)))
    last = int(bar_times(read_bars(settings.STORE_DIR, "RW", "1d"))[-1])
    load("RW", "1d", csv(tmp_path, np.array([last + 3 * DAY])))  # over a weekend
    with pytest.raises(CommandError, match="5 bars, 7 d apart: too few to tell"):
        load("RW", "1d", csv(tmp_path, last + (1 + np.arange(5)) * 7 * DAY))
    with pytest.raises(CommandError, match="the bars are 7 d apart, not 1 d"):
        load("RW", "1d", csv(tmp_path, last + (1 + np.arange(40)) * 7 * DAY))


# --- what is stored already --------------------------------------------------------------------


def spec(symbol: str, *timeframes: str, **dates: Any) -> Any:
    listed = ", ".join(timeframes)
    how = (
        f"{{mode: single, timeframe: {listed}}}"
        if len(timeframes) == 1
        else f"{{mode: multi_timeframe, list: [{listed}], base_timeframe: {timeframes[0]}}}"
    )
    return read_strategy(
        f"""
name: trial
version: "3.0"
training_data:
  symbols: {{mode: single, symbol: {symbol}}}
  timeframes: {how}
indicators:
  roc_1: {{type: roc, period: 1}}
fuzzy_sets:
  speed:
    indicator: roc_1
    falling: {{type: sigmoid, parameters: [0.0, -1.0]}}
    rising: {{type: sigmoid, parameters: [0.0, 1.0]}}
nn_inputs: [{{fuzzy_set: speed, timeframes: all}}]
model: {{type: mlp, architecture: {{hidden_layers: [4]}}}}
training:
  labels: {{source: zigzag, zigzag_threshold: 0.01}}
  epochs: 1
""",
        **dates,
    )


def test_day_bars_that_were_stored_as_4h_stop_every_run(tmp_path: Path) -> None:
    write_bars(tmp_path, "RW", "1h", make_bars(24 * 300, "1h", 1))
    days = make_bars(300, "1d", 1)
    write_bars(tmp_path, "RW", "4h", days)
    with pytest.raises(DataError, match="RW 4h: the bars are 1 d apart, not 4 h; load them as 1d") as refused:
        load_bars(spec("RW", "1h", "4h", start=dt.date(2015, 3, 1), end=dt.date(2015, 9, 1)), tmp_path)
    assert [(f.kind, f.severity, f.count) for f in refused.value.findings if f.severity == "error"] == [
        ("wrong_timeframe", "error", refused.value.findings[0].count)
    ]


def test_what_a_higher_timeframe_is_made_of_is_held_against_its_name(tmp_path: Path) -> None:
    write_bars(tmp_path, "RW", "1h", make_bars(600, "1d", 1))
    with pytest.raises(DataError, match="RW 1h: the bars are 1 d apart, not 1 h; load them as 1d"):
        load_bars(spec("RW", "4h"), tmp_path)


def test_bars_made_of_lower_ones_last_as_long_as_they_say(tmp_path: Path) -> None:
    times = session([8, 9, 10], days=400)
    write_bars(tmp_path, "RW", "1h", bar_frame(times, np.ascontiguousarray(make_bars(len(times), "1d").to_numpy().T)))
    assert len(load_bars(spec("RW", "4h"), tmp_path).clock["RW"]) == len(times) // 3


def test_a_stretch_of_bars_of_another_timeframe_stops_a_training() -> None:
    frame = pd.concat([make_bars(300, "1d", start="2010-01-04"), make_bars(300, "1h", start="2015-01-05")])
    with pytest.raises(DataError, match=r"A 1h: the bars from 2010-01-04 to .* are 1 d apart, not 1 h"):
        validate_bars(frame, "A", "1h")


@pytest.mark.django_db
def test_the_check_of_the_store_tells_them(tmp_path: Path) -> None:
    write_bars(Path(settings.STORE_DIR), "RW", "4h", make_bars(300, "1d"))
    (checked,) = check_store()
    assert not checked.sound and "the bars are 1 d apart, not 4 h; load them as 1d" in checked.finding
    with pytest.raises(
        DataError, match=r"with what is stored, the bars from .* are 1 d apart, not 4 h; load the series anew as 1d"
    ):
        store_frame("RW", "4h", make_bars(20, "4h", start="2030-01-07"), source="x")
