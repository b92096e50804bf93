"""Bars that a run cannot use are refused in one sentence that says what is stored and what helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.examples.pipeline import DAY, MONDAY, plain_market, strategy
from tests.pipeline.test_loading import day, spec_of
from training.pipeline.bars import write_bars
from training.pipeline.dataset import build_dataset
from training.pipeline.frames import bar_frame, bar_times, bar_values
from training.pipeline.loading import load_bars
from training.store.coverage import DataError


def refusal(root: Path, **options: Any) -> str:
    """The sentence with which a run is refused."""
    spec = spec_of(**options)
    with pytest.raises(DataError) as error:
        build_dataset(spec, load_bars(spec, root))
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_bars(tmp_path, "AAPL", "1h", plain_market(2400, "1h", 1))
    return tmp_path


def test_an_empty_store(tmp_path: Path) -> None:
    said = refusal(tmp_path, symbols=("AAPL",))
    assert said == "no bars are stored, wanted AAPL 1h; load them with: manage.py load_data AAPL 1h --from FILE"


def test_an_empty_store_without_dates(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no bars are stored, wanted AAPL 1h"):
        load_bars(strategy({"strength": {"type": "rsi"}}, symbols=("AAPL",)), tmp_path)


def test_an_unknown_symbol_names_the_nearest(store: Path) -> None:
    said = refusal(store, symbols=("APPL",))
    assert "no bars of APPL are stored, did you mean AAPL?" in said
    assert "load_data APPL 1h" in said


def test_an_unknown_symbol_unlike_any_names_what_is_stored(store: Path) -> None:
    assert "stored are AAPL" in refusal(store, symbols=("EURUSD",))


def test_only_lower_frequencies_are_stored(store: Path) -> None:
    said = refusal(store, symbols=("AAPL",), timeframes=("5m", "1h"))
    assert "no bars of AAPL at 5m or finer are stored, only 1h" in said
    assert "load_data AAPL 5m" in said


def test_a_range_without_bars(store: Path) -> None:
    said = refusal(store, symbols=("AAPL",), start=300, end=320)
    assert f"no 1h bars of AAPL between {day(300)} and {day(320)}" in said
    assert "stored are 2015-01-05 to 2015-04-14" in said


def test_a_range_before_the_first_bar(store: Path) -> None:
    assert "no 1h bars of AAPL between" in refusal(store, symbols=("AAPL",), start=-40, end=-20)


def test_a_range_inside_a_hole(tmp_path: Path) -> None:
    frame = plain_market(2400, "1h", 1)
    hole = (bar_times(frame) >= MONDAY + 50 * DAY) & (bar_times(frame) < MONDAY + 60 * DAY)
    write_bars(tmp_path, "AAPL", "1h", frame[~hole])
    assert "no 1h bars of AAPL between" in refusal(tmp_path, symbols=("AAPL",), start=51, end=55)


def test_a_range_inside_one_bar_of_the_base_timeframe(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAPL", "1w", plain_market(300, "1w", 1))
    assert "no 1w bars of AAPL between" in refusal(tmp_path, symbols=("AAPL",), timeframes=("1w",), start=1401, end=1404)


def test_the_second_symbol_without_bars_in_the_range(store: Path) -> None:
    write_bars(store, "MSFT", "1h", plain_market(200, "1h", 2))
    assert "no 1h bars of MSFT between" in refusal(store, symbols=("AAPL", "MSFT"))


def test_too_few_bars(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAPL", "1h", plain_market(99, "1h", 1))
    assert "99 bars in the range, wanted at least 100" in refusal(tmp_path, symbols=("AAPL",), start=0)


def test_a_label_horizon_longer_than_the_data(store: Path) -> None:
    said = refusal(store, symbols=("AAPL",), start=40, end=42, labels={"source": "forward_return", "horizon": 500})
    assert "looks at least 500 bars ahead and 72 1h bars lie in the dates" in said


def test_features_that_all_vanish_in_the_warm_up(store: Path) -> None:
    indicators = {"slow": {"type": "macd", "fast_period": 400, "slow_period": 500, "signal_period": 400}}
    said = refusal(store, symbols=("AAPL",), indicators=indicators, start=0, end=20)
    assert "no row has all its features: 504 of 504 1h bars lie in the warm-up" in said


def test_volume_that_is_needed_and_not_there(tmp_path: Path) -> None:
    values = bar_values(plain_market(2400, "1h", 1)).copy()
    values[4] = np.nan
    write_bars(tmp_path, "AAPL", "1h", bar_frame(bar_times(plain_market(2400, "1h")), values))
    said = refusal(tmp_path, symbols=("AAPL",), indicators={"flow": {"type": "obv"}})
    assert "AAPL 1h: no bar has a volume, which flow needs" in said
    spec = spec_of(symbols=("AAPL",))
    assert len(build_dataset(spec, load_bars(spec, tmp_path)).rows) > 0


def test_the_start_after_the_end_of_what_is_stored(store: Path) -> None:
    with pytest.raises(DataError, match=r"the start 2016-01-01 is after the end 2015-04-14"):
        load_bars(strategy({"strength": {"type": "rsi"}}, symbols=("AAPL",), start_date="2016-01-01"), store)
