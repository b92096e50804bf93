"""Candles for the eye: bounded in number, true to the bars they stand for, quick over a million of them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from training.pipeline.bars import bar_frame, bar_times, bar_values, read_bars, write_bars
from training.pipeline.calendars import holes
from training.pipeline.quality import quality
from training.pipeline.synthetic import make_bars
from training.store.candles import MOST, read_stored_candles
from training.store.coverage import DataError

MINUTE = 60_000_000


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    write_bars(root, "EURUSD", "1m", make_bars(1_000_000, "1m"))
    return root


def test_few_bars_are_shown_as_they_are(tmp_path: Path) -> None:
    frame = make_bars(500, "1d")
    write_bars(tmp_path, "A", "1d", frame)
    seen = read_stored_candles(tmp_path, "A", "1d", None, None)
    assert (seen.length, seen.bars, seen.is_taken_together) == ("1d", 500, False)
    assert (seen.times == bar_times(frame)).all() and (seen.values == bar_values(frame)).all()


def test_many_bars_are_taken_together_as_pandas_resamples_them(million: Path) -> None:
    seen = read_stored_candles(million, "EURUSD", "1m", None, None)
    assert seen.bars == 1_000_000 and 100 < len(seen.times) <= MOST and seen.length == "1d"
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    wanted = read_bars(million, "EURUSD", "1m").resample("1D").agg(how)
    assert (seen.times == bar_times(wanted)).all()
    np.testing.assert_allclose(seen.values, bar_values(wanted), rtol=1e-12)


def test_a_nearer_look_shows_shorter_candles_and_only_the_range(million: Path) -> None:
    whole = bar_times(read_bars(million, "EURUSD", "1m"))
    start, end = int(whole[400_000]), int(whole[410_000])
    seen = read_stored_candles(million, "EURUSD", "1m", start, end)
    assert seen.bars == 10_000 and seen.length in ("15m", "30m") and len(seen.times) <= MOST
    assert seen.times[0] > start - 30 * MINUTE and seen.times[-1] < end
    near = read_stored_candles(million, "EURUSD", "1m", start, start + 1000 * MINUTE)
    assert (near.length, len(near.times), near.times[0]) == ("1m", 1000, start)
    assert len(read_stored_candles(million, "EURUSD", "1m", 0, MINUTE).times) == 0


def test_a_candle_over_two_row_groups_is_one(million: Path) -> None:
    seen = read_stored_candles(million, "EURUSD", "1m", None, None, most=20)
    assert len(seen.times) <= 20 and (np.diff(seen.times) > 0).all()


def test_a_bar_without_a_price_is_left_out_and_unknown_volume_stays_unknown(tmp_path: Path) -> None:
    frame = make_bars(4_000, "1h")
    values = bar_values(frame).copy()
    values[:4, 5] = np.nan
    values[4] = np.nan
    write_bars(tmp_path, "A", "1h", bar_frame(bar_times(frame), values))
    seen = read_stored_candles(tmp_path, "A", "1h", None, None)
    assert not np.isnan(seen.values[:4]).any() and np.isnan(seen.values[4]).all()


def test_a_million_bars_answer_within_the_blink_of_an_eye(million: Path) -> None:
    read_stored_candles(million, "EURUSD", "1m", None, None)
    took = []
    for _ in range(5):
        began = time.perf_counter()
        read_stored_candles(million, "EURUSD", "1m", None, None)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.3, took


def test_a_file_that_is_no_bar_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "A_1d.parquet").write_bytes(b"not at all")
    with pytest.raises(DataError, match="A 1d cannot be read"):
        read_stored_candles(tmp_path, "A", "1d", None, None)


def test_holes_are_the_longest_gaps_in_order_of_time() -> None:
    frame = make_bars(3000, "1h")
    frame = frame.drop(frame.index[[100, 101, 102, 500, 900, 901]])
    found = holes(frame, "1h")
    assert [hole["bars"] for hole in found] == [3, 1, 2] and quality(frame, "1h").gaps.count == 3
    assert (
        found[0]["after"] == f"{frame.index[99]:%Y-%m-%dT%H:%M:%S}Z"
        and found[0]["before"] == f"{frame.index[100]:%Y-%m-%dT%H:%M:%S}Z"
    )
    assert [hole["bars"] for hole in holes(frame, "1h", most=2)] == [3, 2]
    assert holes(make_bars(300, "1d"), "1d") == []
