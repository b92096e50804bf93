"""Each indicator is TA-Lib's own result, bit for bit, in values and in warm-up; what TA-Lib lacks is what its author wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from strategies_app.grammar.vocabulary import INDICATORS, SOURCES
from tests.examples.indicator_references import SLOW, plain_atr
from tests.examples.pipeline import AVAILABLE, definitions, prices, same_bits, thorough
from training.pipeline.indicators import COMPUTATIONS, compute

Columns = dict[str, np.ndarray]
Direct = Callable[[Columns, dict[str, Any]], tuple[np.ndarray, ...]]


def bars(count: int, seed: int) -> Columns:
    return dict(zip(("open", "high", "low", "close", "volume"), prices(count, seed), strict=True))


def price(c: Columns, p: dict[str, Any]) -> np.ndarray:
    """The source by its formula, from the columns."""
    o, h, l, k = c["open"], c["high"], c["low"], c["close"]  # noqa: E741
    return {
        "open": o,
        "high": h,
        "low": l,
        "close": k,
        "hl2": (h + l) / 2,
        "hlc3": (h + l + k) / 3,
        "ohlc4": (o + h + l + k) / 4,
    }[p["source"]]


def average(function: Callable[..., np.ndarray]) -> Direct:
    """TA-Lib refuses an average over one bar, which is the bar."""
    return lambda c, p: (price(c, p) if p["period"] == 1 else function(price(c, p), timeperiod=p["period"]),)


def on_source(function: Callable[..., np.ndarray]) -> Direct:
    return lambda c, p: (function(price(c, p), timeperiod=p["period"]),)


def on_bars(*functions: Callable[..., np.ndarray]) -> Direct:
    return lambda c, p: tuple(f(c["high"], c["low"], c["close"], timeperiod=p["period"]) for f in functions)


def bands(c: Columns, p: dict[str, Any]) -> tuple[np.ndarray, ...]:
    return talib.BBANDS(price(c, p), timeperiod=p["period"], nbdevup=p["multiplier"], nbdevdn=p["multiplier"], matype=0)


def bandwidth(c: Columns, p: dict[str, Any]) -> tuple[np.ndarray, ...]:
    upper, middle, lower = bands(c, p)
    return ((upper - lower) / middle,)


def atr(c: Columns, p: dict[str, Any]) -> tuple[np.ndarray, ...]:
    return (plain_atr(c, p["period"]),) if p["smoothing"] == "sma" else on_bars(talib.ATR)(c, p)


def stochastic(c: Columns, p: dict[str, Any]) -> tuple[np.ndarray, ...]:
    periods = {"fastk_period": p["k_period"], "slowk_period": p["smooth_k"], "slowd_period": p["d_period"]}
    return talib.STOCH(c["high"], c["low"], c["close"], slowk_matype=0, slowd_matype=0, **periods)


def aroon(c: Columns, p: dict[str, Any]) -> tuple[np.ndarray, ...]:
    down, up = talib.AROON(c["high"], c["low"], timeperiod=p["period"])
    return up, down, talib.AROONOSC(c["high"], c["low"], timeperiod=p["period"])


DIRECT: dict[str, Direct] = {
    "rsi": on_source(talib.RSI),
    "sma": average(talib.SMA),
    "ema": average(talib.EMA),
    "wma": average(talib.WMA),
    "macd": lambda c, p: talib.MACD(price(c, p), p["fast_period"], p["slow_period"], p["signal_period"]),
    "bbands": bands,
    "bollingerbandwidth": bandwidth,
    "atr": atr,
    "adx": on_bars(talib.ADX, talib.PLUS_DI, talib.MINUS_DI),
    "cci": on_bars(talib.CCI),
    "stochastic": stochastic,
    "williamsr": on_bars(talib.WILLR),
    "momentum": on_source(talib.MOM),
    "roc": on_source(talib.ROC),
    "aroon": aroon,
    "obv": lambda c, p: (talib.OBV(c["close"], c["volume"]),),
    "mfi": lambda c, p: (talib.MFI(c["high"], c["low"], c["close"], c["volume"], timeperiod=p["period"]),),
}


def test_every_available_indicator_has_a_computation_and_a_parity_case() -> None:
    assert set(AVAILABLE) == set(COMPUTATIONS) == set(DIRECT) | set(SLOW)
    assert not set(DIRECT) & set(SLOW)


def expected_of(name: str, columns: Columns, parameters: dict[str, Any]) -> list[np.ndarray]:
    return [np.asarray(a, dtype=np.float64) for a in (DIRECT | SLOW)[name](columns, parameters)]


@pytest.mark.parametrize("name", AVAILABLE)
@thorough
@given(data=st.data(), count=st.integers(0, 400), seed=st.integers(0, 1000))
def test_values_and_warm_up_are_those_of_talib_or_of_the_author(name: str, data: st.DataObject, count: int, seed: int) -> None:
    kind = INDICATORS[name]
    parameters = data.draw(definitions(kind, 60))
    del parameters["type"]
    columns = bars(count, seed)
    outputs = compute(name, parameters, columns)
    assert tuple(outputs) == kind.outputs
    for output, expected in zip(outputs.values(), expected_of(name, columns, parameters), strict=True):
        if name in SLOW or parameters.get("smoothing") == "sma":
            np.testing.assert_allclose(output, expected, rtol=1e-9, atol=1e-9)
        else:
            assert same_bits(output, expected)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", [n for n in AVAILABLE if INDICATORS[n].takes_source])
def test_every_source_is_the_price_it_names(name: str, source: str) -> None:
    defaults = {p.name: p.default for p in INDICATORS[name].parameters} | {"source": source}
    columns = bars(200, 4)
    for output, expected in zip(compute(name, defaults, columns).values(), expected_of(name, columns, defaults), strict=True):
        assert same_bits(output, expected) or (name in SLOW and np.allclose(output, expected, rtol=1e-9, equal_nan=True))


@pytest.mark.parametrize("name", AVAILABLE)
def test_an_indicator_changes_no_bar(name: str) -> None:
    columns = bars(100, 1)
    before = {k: v.copy() for k, v in columns.items()}
    for column in columns.values():
        column.flags.writeable = False
    compute(name, {p.name: p.default for p in INDICATORS[name].parameters}, columns)
    assert all(same_bits(columns[k], before[k]) for k in columns)
