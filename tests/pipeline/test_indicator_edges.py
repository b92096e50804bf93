"""What indicators give where markets stand still or nothing is traded, over long series, and what is said about their memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import talib

from strategies_app.grammar.references import warnings_of
from strategies_app.grammar.vocabulary import INDICATORS
from tests.examples.pipeline import AVAILABLE, prices, same_bits, strategy
from training.pipeline.indicators import compute, running_sums, window_sums

COLUMNS = ("open", "high", "low", "close", "volume")
LIVELY = 300


def columns(bars: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(values) for name, values in zip(COLUMNS, bars, strict=True)}


def outputs(kind: str, bars: np.ndarray, **parameters: Any) -> dict[str, np.ndarray]:
    return compute(kind, {p.name: p.default for p in INDICATORS[kind].parameters} | parameters, columns(bars))


@pytest.fixture
def standing_still() -> np.ndarray:
    """A lively market whose price then stands still for as long, and is traded all the time."""
    bars = prices(2 * LIVELY, 5).copy()
    bars[:4, LIVELY:] = bars[3, LIVELY - 1]
    return bars


@pytest.fixture
def not_traded() -> np.ndarray:
    """A lively market in which large volumes are followed by none at all."""
    bars = prices(2 * LIVELY, 6).copy()
    bars[4, :LIVELY] *= 1e9 + 1 / 3
    bars[4, LIVELY:] = 0.0
    return bars


@pytest.mark.parametrize("name", AVAILABLE)
def test_no_value_is_missing_where_the_price_stands_still(name: str, standing_still: np.ndarray) -> None:
    warm_up = INDICATORS[name].warm_up
    assert warm_up is not None
    ahead = warm_up({p.name: p.default for p in INDICATORS[name].parameters})
    for output, first in zip(outputs(name, standing_still).values(), ahead, strict=True):
        assert np.isfinite(output[first:]).all()


@pytest.mark.parametrize("name", ["vwap", "cmf", "adline", "volumeratio", "obv", "mfi"])
def test_no_value_is_missing_where_nothing_is_traded(name: str, not_traded: np.ndarray) -> None:
    value = outputs(name, not_traded)["value"]
    assert np.isfinite(value[30:]).all()


def test_bars_without_range_have_no_vigor_and_no_squeeze(standing_still: np.ndarray) -> None:
    vigor = outputs("rvi", standing_still)
    assert (vigor["rvi"][LIVELY + 12 :] == 0).all()
    assert np.abs(vigor["rvi"][20:LIVELY]).max() > 0.05
    flat = standing_still[:, LIVELY:]
    assert (outputs("squeezeintensity", flat)["value"][20:] == 0).all()
    assert (outputs("cmf", standing_still)["value"][LIVELY + 21 :] == 0).all()
    line = outputs("adline", standing_still)["value"]
    assert (line[LIVELY:] == line[LIVELY - 1]).all()


def test_a_fisher_transform_comes_to_rest_in_the_middle(standing_still: np.ndarray) -> None:
    fisher = outputs("fishertransform", standing_still)["fisher"]
    assert np.abs(fisher[20:LIVELY]).max() > 1
    assert abs(fisher[-1]) < 1e-6


def test_a_window_without_volume_says_what_the_reference_says(not_traded: np.ndarray) -> None:
    quiet = slice(LIVELY + 30, None)
    assert (outputs("volumeratio", not_traded)["value"][quiet] == 1).all()
    assert (outputs("cmf", not_traded)["value"][quiet] == 0).all()
    np.testing.assert_allclose(outputs("vwap", not_traded)["value"][quiet], talib.SMA(not_traded[3], 20)[quiet], rtol=1e-12)
    late = not_traded[:, ::-1].copy()
    so_far = outputs("vwap", late, period=0)["value"]
    np.testing.assert_allclose(so_far[:LIVELY], np.cumsum(late[3])[:LIVELY] / np.arange(1, LIVELY + 1), rtol=1e-12)
    assert so_far[LIVELY] == pytest.approx(late[3, LIVELY])


def test_a_squeeze_lies_between_0_and_1_and_is_above_0_only_inside_the_channel() -> None:
    bars = prices(3000, 8)
    value = outputs("squeezeintensity", bars)["value"]
    bands, channel = outputs("bbands", bars), outputs("keltnerchannels", bars, atr_period=20)
    inside = (bands["upper"] < channel["upper"]) & (bands["lower"] > channel["lower"])
    assert ((value[20:] >= 0) & (value[20:] <= 1)).all()
    assert np.array_equal(value[20:] > 0, inside[20:])
    assert 0.05 < inside.mean() < 0.95


def test_a_parabolic_stop_with_equal_factors_is_the_common_one() -> None:
    bars = prices(2000, 9)
    assert same_bits(outputs("parabolicsar", bars)["value"], talib.SAR(*map(np.ascontiguousarray, bars[1:3]), 0.02, 0.2))
    assert not same_bits(outputs("parabolicsar", bars, initial_af=0.1)["value"], outputs("parabolicsar", bars)["value"])


def test_a_supertrend_lies_below_a_rising_price_and_above_a_falling_one() -> None:
    bars = prices(3000, 10)
    trend, direction = outputs("supertrend", bars).values()
    rising, falling = direction[10:] == 1, direction[10:] == -1
    assert (rising | falling).all() and rising.any() and falling.any()
    close = bars[3, 10:]
    assert (close[rising] >= trend[10:][rising]).all() and (close[falling] <= trend[10:][falling]).all()
    steps, same = np.diff(trend[10:]), np.diff(direction[10:]) == 0
    assert (steps[same & rising[1:]] >= 0).all() and (steps[same & falling[1:]] <= 0).all()


@pytest.mark.parametrize("name", AVAILABLE)
def test_a_long_series_begins_as_its_own_beginning(name: str) -> None:
    bars = prices(10_000, 11)
    extra = [{"period": 0}] if name == "vwap" else [{"smoothing": "sma"}] if name == "atr" else []
    for parameters in ({}, *extra):
        whole = outputs(name, bars, **parameters)
        for cut in (4095, 4097, 8999):
            for output, part in outputs(name, bars[:, :cut], **parameters).items():
                assert same_bits(whole[output][:cut], part)


def test_sums_do_not_drift_and_zeros_sum_to_zero() -> None:
    values = np.random.default_rng(1).lognormal(0, 6, 300_000)
    values[100_000:100_050] = 0.0
    sums = window_sums(values, 37)
    assert np.isnan(sums[:36]).all()
    assert (sums[100_036:100_050] == 0).all()
    for t in (36, 73, 74, 99_999, 100_049, 100_060, 299_999):
        assert sums[t] == pytest.approx(math.fsum(values[t - 36 : t + 1]), rel=1e-14)
    assert running_sums(values)[-1] == pytest.approx(math.fsum(values), rel=1e-13)


def test_a_hole_leaves_a_sum_with_its_window() -> None:
    values = np.ones(50)
    values[20] = np.nan
    assert np.flatnonzero(np.isnan(window_sums(values, 7))).tolist() == [*range(6), *range(20, 27)]


@pytest.mark.parametrize(("period", "warned"), [(0, True), (20, False)])
def test_only_a_vwap_of_all_bars_is_said_to_depend_on_the_first(period: int, warned: bool) -> None:
    said = warnings_of(strategy({"it": {"type": "vwap", "period": period}}))
    assert any("depends on the first bar for ever" in text for text in said) is warned


@pytest.mark.parametrize(("output", "warned"), [("trend", True), ("direction", False)])
def test_only_outputs_in_units_of_the_price_are_warned_of_among_symbols(output: str, warned: bool) -> None:
    inputs = [{"raw_indicator": f"it.{output}", "normalization": "zscore"}]
    said = warnings_of(strategy({"it": {"type": "supertrend"}}, symbols=("AAA", "BBB"), inputs=inputs))
    assert any("in units of price or volume" in text for text in said) is warned
