"""The bars that come with the project are sound, adjusted, and what the raw files give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.examples.homes import ROOT
from training.pipeline.bars import bar_values, read_bars, series_range, stored_series, time_text
from training.pipeline.quality import quality, validate_bars
from training.readers.bar_files import read_bar_file
from training.sample_bars.build import HERE, SYMBOLS, build

RAW = ROOT.parent / "shared" / "data"
needs_raw = pytest.mark.skipif(not RAW.is_dir(), reason="the raw bars are not here")
SERIES = [(symbol, "1d") for symbol in SYMBOLS]


def test_the_sample_bars_are_a_store_of_four_daily_series() -> None:
    assert stored_series(HERE) == SERIES
    first, last, rows = series_range(HERE, "GOOG", "1d")
    assert (time_text(first), time_text(last), rows) == ("2004-08-19", "2013-03-01", 2148)
    assert sum(path.stat().st_size for path in HERE.glob("*.parquet")) < 500_000


@pytest.mark.parametrize(("symbol", "timeframe"), SERIES)
def test_sample_bars_are_sound_and_show_no_split(symbol: str, timeframe: str) -> None:
    frame = read_bars(HERE, symbol, timeframe, verify=True)
    warnings = validate_bars(frame, symbol, timeframe)
    assert {finding.kind for finding in warnings} <= {"gaps"}
    assert quality(frame, timeframe).splits == ()
    opens, highs, lows, closes, volumes = bar_values(frame)
    assert (highs >= np.maximum(opens, closes)).all()
    assert (lows <= np.minimum(opens, closes)).all()
    assert (volumes > 0).all()


def test_the_real_crash_of_apple_stays_and_its_split_is_gone() -> None:
    close = read_bars(HERE, "AAPL", "1d")["close"]
    change = close / close.shift(1) - 1
    assert change["2000-09-29"] == pytest.approx(-0.519, abs=1e-3)
    assert abs(change["2000-06-21"]) < 0.12
    assert abs(change["2005-02-28"]) < 0.02


@needs_raw
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_sample_bars_are_the_raw_bars_times_the_factor(symbol: str) -> None:
    raw = pd.read_csv(RAW / f"{symbol}_unadj_1d.csv")
    opens, _, _, closes, volumes = bar_values(read_bars(HERE, symbol, "1d"))
    np.testing.assert_allclose(closes, raw["adj_close"], rtol=1e-14)
    np.testing.assert_allclose(opens / closes, raw["open"] / raw["close"], rtol=1e-14)
    days = pd.to_datetime(raw["timestamp"]).dt.strftime("%Y-%m-%d")
    splits = {"AAPL": ["2000-06-21", "2005-02-28"], "MSFT": ["2003-02-18"]}.get(symbol, [])
    np.testing.assert_array_equal(volumes, raw["volume"] * 2.0 ** sum((days < day).astype(int) for day in splits))


@needs_raw
def test_building_again_gives_the_same_bars(tmp_path: Path) -> None:
    build(RAW, tmp_path)
    for symbol in SYMBOLS:
        pd.testing.assert_frame_equal(read_bars(tmp_path, symbol, "1d"), read_bars(HERE, symbol, "1d"), check_exact=True)


def test_sample_files_are_files_that_load_data_reads(tmp_path: Path) -> None:
    frame, notes = read_bar_file(HERE / "IBM_1d.parquet", "1d")
    pd.testing.assert_frame_equal(frame, read_bars(HERE, "IBM", "1d"))
    assert notes == []
