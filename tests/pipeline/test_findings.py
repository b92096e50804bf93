"""What the data gate finds is a value: kind, severity, series, count, first time and the sentence that people read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from strategies_app.grammar.reader import read_strategy
from tests.examples.homes import ROOT
from tests.examples.results import text_of
from training.bars.series import SAMPLE_BARS
from training.pipeline.bars import bar_frame, bar_times, bar_values, read_bars, write_bars
from training.pipeline.frames import time_text
from training.pipeline.loading import load_bars
from training.pipeline.quality import quality, validate_bars
from training.pipeline.synthetic import make_bars
from training.readers.bar_files import read_bar_file
from training.store.reading import Reading

RAW = ROOT.parent / "shared" / "data"
needs_raw = pytest.mark.skipif(not RAW.is_dir(), reason="the raw bars are not here")
SPLIT_OF_APPLE, CRASH_OF_APPLE = "2005-02-28", "2000-09-29"


def apple_as_it_was_traded() -> tuple[np.ndarray, np.ndarray]:
    """The sample's bars with the split of 2005 put back: twice the price before it."""
    frame = read_bars(SAMPLE_BARS, "AAPL", "1d")
    times, values = bar_times(frame), bar_values(frame).copy()
    before = times < np.datetime64(SPLIT_OF_APPLE, "us").astype(np.int64)
    values[:4, before] *= 2
    return times, values


def test_a_split_is_told_from_a_crash_that_is_as_large() -> None:
    times, values = apple_as_it_was_traded()
    found = quality(bar_frame(times, values), "1d")
    assert [(time_text(jump.time), jump.split) for jump in found.splits] == [(SPLIT_OF_APPLE, "2:1")]
    crash = int(np.searchsorted(times, np.datetime64(CRASH_OF_APPLE, "us").astype(np.int64)))
    assert values[3, crash] / values[3, crash - 1] < 0.5  # it is there, and larger than the split


def test_the_finding_of_a_split_has_every_part() -> None:
    (finding,) = [f for f in validate_bars(bar_frame(*apple_as_it_was_traded()), "AAPL", "1d") if f.kind == "splits"]
    assert finding.plain() == {
        "kind": "splits", "severity": "warning", "symbol": "AAPL", "timeframe": "1d", "count": 1, "first": "2005-02-28T00:00:00Z",
        "sentence": "AAPL 1d: 1 jump like an unadjusted split: 2005-02-28 (2:1); load adjusted prices (--adjust)", "columns": [],
    }  # fmt: skip


@pytest.mark.parametrize(("price", "row", "factor", "far"), [("high", 1, 1.6, "+"), ("low", 2, 0.6, "-")])
def test_a_price_that_stands_alone_is_suspected(price: str, row: int, factor: float, far: str) -> None:
    frame = read_bars(SAMPLE_BARS, "IBM", "1d")
    values = bar_values(frame).copy()
    assert quality(frame, "1d").spikes == ()
    values[row, 1000] *= factor
    (spike,) = quality(bar_frame(bar_times(frame), values), "1d").spikes
    assert (spike.time, spike.price) == (bar_times(frame)[1000], price)
    (finding,) = [f for f in validate_bars(bar_frame(bar_times(frame), values), "IBM", "1d") if f.kind == "spikes"]
    assert finding.sentence.startswith(f"IBM 1d: 1 isolated spike: {price} of {time_text(spike.time)} ({far}")


def test_a_crash_and_a_rise_that_stay_are_no_spikes() -> None:
    values = bar_values(make_bars(300, "1d", regimes=False)).copy()
    values[:4, 100:] *= 0.48
    values[:4, 200:] *= 3
    times = bar_times(make_bars(300, "1d"))
    assert quality(bar_frame(times, values), "1d").spikes == ()
    values[2, 100] *= 0.55  # the day of the crash went further down than it closed
    assert quality(bar_frame(times, values), "1d").spikes == ()


@needs_raw
def test_a_bad_tick_on_a_holiday_is_found_in_real_bars_and_no_share_has_any() -> None:
    frame, _ = read_bar_file(RAW / "GBPUSD_1h.csv", "1h", Reading(tz="UTC", price_scale=100_000))
    spikes = {time_text(spike.time): spike for spike in quality(frame, "1h").spikes}
    assert spikes["2016-12-26 11:00"].far == pytest.approx(-0.025, abs=0.001)  # both currencies of the store, markets closed
    assert "2016-10-07 02:00" in spikes  # the flash crash: true, and over within the hour
    assert len(spikes) < 5
    assert quality(read_bar_file(RAW / "AAPL_unadj_1d.csv", "1d")[0], "1d").spikes == ()


def test_a_run_keeps_the_findings_and_says_them(tmp_path: Path) -> None:
    times, values = apple_as_it_was_traded()
    values[4, 1500:1530] = 0
    write_bars(tmp_path, "AAPL", "1d", bar_frame(times, values))
    write_bars(tmp_path, "MSFT", "1d", read_bars(SAMPLE_BARS, "MSFT", "1d"))
    bars = load_bars(read_strategy(text_of()), tmp_path)
    found = {(finding.kind, finding.symbol, finding.timeframe): finding for finding in bars.findings}
    assert found["splits", "AAPL", "1d"].first == "2005-02-28T00:00:00Z"
    assert found["zero_volume", "AAPL", "1d"].count == 30
    assert not any(finding.symbol == "MSFT" and finding.kind == "splits" for finding in bars.findings)
    assert {finding.sentence for finding in bars.findings} <= set(bars.notes)
    json.dumps([finding.plain() for finding in bars.findings])
