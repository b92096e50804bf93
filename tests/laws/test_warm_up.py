"""An indicator's first value comes when the vocabulary says, there is no hole after it, and a constant price gives what is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies_app.grammar.vocabulary import INDICATORS
from tests.examples.pipeline import AVAILABLE, definitions, modest, prices, thorough
from training.laws.indicators import constants
from training.pipeline.indicators import compute

COLUMNS = ("open", "high", "low", "close", "volume")
#: They do not grow with the price, and are not free of volume's unit either.
IN_UNITS_OF_VOLUME = {"obv", "adline"}


def outputs_of(name: str, parameters: dict[str, Any], bars: np.ndarray) -> list[np.ndarray]:
    named = {k: np.ascontiguousarray(v) for k, v in zip(COLUMNS, bars, strict=True)}
    return list(compute(name, {k: v for k, v in parameters.items() if k != "type"}, named).values())


def warm_ups(name: str, parameters: dict[str, Any]) -> tuple[int, ...]:
    warm_up = INDICATORS[name].warm_up
    assert warm_up is not None
    return warm_up(parameters)


@pytest.mark.parametrize("name", AVAILABLE)
@thorough
@given(data=st.data(), seed=st.integers(0, 1000), extra=st.integers(1, 40))
def test_the_first_value_comes_after_the_warm_up_and_none_is_missing_later(
    name: str, data: st.DataObject, seed: int, extra: int
) -> None:
    parameters = data.draw(definitions(INDICATORS[name], 500))
    expected = warm_ups(name, parameters)
    assert len(expected) == len(INDICATORS[name].outputs)
    for output, warm_up in zip(outputs_of(name, parameters, prices(max(expected) + extra, seed)), expected, strict=True):
        assert np.isnan(output[:warm_up]).all()
        assert np.isfinite(output[warm_up:]).all()


@pytest.mark.parametrize("name", AVAILABLE)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8, 13])
def test_a_series_shorter_than_the_warm_up_has_no_value_and_is_no_error(name: str, count: int) -> None:
    parameters = {p.name: p.default for p in INDICATORS[name].parameters}
    for output, warm_up in zip(outputs_of(name, parameters, prices(count, 1)), warm_ups(name, parameters), strict=True):
        assert output.shape == (count,)
        assert np.isnan(output[:warm_up]).all()


@pytest.mark.parametrize("name", AVAILABLE)
@thorough
@given(data=st.data(), price=st.sampled_from([100.0, 1.0, 0.5, 1.1, 0.1, 1.3579, 97.31, 1e5 / 3]))
def test_a_constant_price_gives_what_the_vocabulary_says(name: str, data: st.DataObject, price: float) -> None:
    parameters = data.draw(definitions(INDICATORS[name], 60))
    bars = np.full((5, max(warm_ups(name, parameters)) + 50), price)
    bars[4] = 7.0
    expected = constants(INDICATORS[name], price, 7.0)
    assert expected is not None, f"{name} does not say what it gives on a constant price"
    for output, warm_up, value in zip(outputs_of(name, parameters, bars), warm_ups(name, parameters), expected, strict=True):
        np.testing.assert_allclose(output[warm_up:], value, rtol=1e-6, atol=1e-6 * max(price, 1.0))


@pytest.mark.parametrize("name", AVAILABLE)
@modest
@given(data=st.data(), seed=st.integers(0, 1000), factor=st.sampled_from([0.001, 0.37, 8.0, 12345.0]))
def test_only_scale_free_indicators_forget_the_unit_of_the_price(
    name: str, data: st.DataObject, seed: int, factor: float
) -> None:
    parameters = data.draw(definitions(INDICATORS[name], 30))
    bars = prices(400, seed)
    scaled = bars * np.array([[factor]] * 4 + [[1.0]])
    once, again = outputs_of(name, parameters, bars), outputs_of(name, parameters, scaled)
    kind = INDICATORS[name]
    same = [np.allclose(a, b, rtol=1e-6, atol=1e-5, equal_nan=True) for a, b in zip(once, again, strict=True)]
    assert all(same[i] for i, output in enumerate(kind.outputs) if kind.forgets_the_unit(output))
    in_units = [i for i, output in enumerate(kind.outputs) if not kind.forgets_the_unit(output)]
    if in_units and name not in IN_UNITS_OF_VOLUME:
        assert not all(same[i] for i in in_units)
        for i in in_units:
            np.testing.assert_allclose(again[i], once[i] * factor, rtol=1e-6, atol=1e-7 * factor)


@pytest.mark.parametrize("name", AVAILABLE)
@modest
@given(data=st.data(), seed=st.integers(0, 1000), cut=st.integers(1, 100))
def test_a_finite_memory_forgets_where_the_bars_began(name: str, data: st.DataObject, seed: int, cut: int) -> None:
    if "finite" not in (INDICATORS[name].memory, *(memory for *_, memory in INDICATORS[name].memory_if)):
        return
    finite = definitions(INDICATORS[name], 30).filter(lambda p: INDICATORS[name].memory_with(p) == "finite")
    parameters = data.draw(finite)
    bars = prices(300, seed)
    warm_up = max(warm_ups(name, parameters))
    for whole, part in zip(outputs_of(name, parameters, bars), outputs_of(name, parameters, bars[:, cut:]), strict=True):
        np.testing.assert_allclose(part[warm_up:], whole[cut + warm_up :], rtol=1e-7, atol=1e-6)
