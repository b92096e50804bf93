"""Every membership is its formula: closed and open shoulders, NaN, extremes; a degree never leaves [0, 1]."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies_app.grammar.schema import Membership
from strategies_app.grammar.vocabulary import MEMBERSHIPS
from tests.examples.label_references import degree, transformed
from tests.examples.pipeline import membership_points, thorough
from training.pipeline.features import TRANSFORMS, degrees, transform

EXTREMES = [-math.inf, -sys.float_info.max, -1e300, -1e15, -5e-324, -0.0, 0.0, 5e-324, 1e15, 1e300, sys.float_info.max, math.inf]


def membership(kind: str, points: list[float]) -> Membership:
    return Membership.model_validate({"type": kind, "parameters": points})


def degree_at(kind: str, points: list[float], x: float) -> float:
    return float(degrees(membership(kind, points), np.array([x]))[0])


@pytest.mark.parametrize("kind", MEMBERSHIPS)
@thorough
@given(data=st.data(), values=st.lists(st.floats(-200, 200), min_size=1, max_size=30))
def test_degrees_follow_the_formula(kind: str, data: st.DataObject, values: list[float]) -> None:
    points = data.draw(membership_points(kind))
    found = degrees(membership(kind, points), np.array(values + points))
    expected = [degree(kind, points, x) for x in values + points]
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=1e-12 if kind != "gaussian" else 1e-38)


@pytest.mark.parametrize("kind", MEMBERSHIPS)
@thorough
@given(data=st.data(), values=st.lists(st.floats(allow_nan=False), max_size=30))
def test_a_degree_lies_between_0_and_1_and_only_nan_gives_nan(kind: str, data: st.DataObject, values: list[float]) -> None:
    points = data.draw(membership_points(kind))
    found = degrees(membership(kind, points), np.array([*values, *EXTREMES, math.nan]))
    assert ((found[:-1] >= 0) & (found[:-1] <= 1)).all()
    assert math.isnan(found[-1])


@pytest.mark.parametrize("width", [5.0, -5.0, 1e-300, -1e-300, 1e15])
def test_a_sigmoid_overflows_to_its_ends(width: float) -> None:
    found = degrees(membership("sigmoid", [50.0, width]), np.array([-1e300, 1e300, 50.0]))
    assert found.tolist() == ([0.0, 1.0, 0.5] if width > 0 else [1.0, 0.0, 0.5])


def test_a_falling_sigmoid_mirrors_the_rising_one() -> None:
    values = np.linspace(0, 100, 41)
    rising, falling = (degrees(membership("sigmoid", [50.0, w]), values) for w in (7.0, -7.0))
    np.testing.assert_allclose(rising + falling, 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("points", "inside", "outside"),
    [
        ([0.0, 0.0, 10.0], 0.0, math.nextafter(0.0, -1)),
        ([0.0, 10.0, 10.0], 10.0, math.nextafter(10.0, 11)),
        ([0.0, 0.0, 5.0, 10.0], 0.0, math.nextafter(0.0, -1)),
        ([0.0, 5.0, 10.0, 10.0], 10.0, math.nextafter(10.0, 11)),
    ],
)
def test_a_closed_shoulder_is_1_at_its_edge_and_0_beyond(points: list[float], inside: float, outside: float) -> None:
    kind = "triangular" if len(points) == 3 else "trapezoidal"
    assert degree_at(kind, points, inside) == 1.0
    assert degree_at(kind, points, outside) == 0.0


@pytest.mark.parametrize("x", [-1e300, -math.inf, 0.0, 30.0])
def test_an_open_left_shoulder_is_1_without_end(x: float) -> None:
    assert degree_at("trapezoidal", [-math.inf, 0.0, 30.0, 40.0], x) == 1.0


@pytest.mark.parametrize("x", [1e300, math.inf, 70.0, 80.0])
def test_an_open_right_shoulder_is_1_without_end(x: float) -> None:
    assert degree_at("trapezoidal", [60.0, 70.0, 80.0, math.inf], x) == 1.0


def test_feet_are_0_and_the_top_is_1() -> None:
    assert degrees(membership("triangular", [0, 25, 50]), np.array([0.0, 25.0, 50.0, 12.5])).tolist() == [0, 1, 0, 0.5]
    assert degrees(membership("trapezoidal", [0, 1, 2, 4]), np.array([0.0, 1.0, 2.0, 4.0, 3.0])).tolist() == [0, 1, 1, 0, 0.5]


def test_no_values_give_no_degrees() -> None:
    assert degrees(membership("triangular", [0, 25, 50]), np.empty(0)).shape == (0,)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_follow_their_formula(name: str) -> None:
    values, close = np.array([90.0, 100.0, 105.0, math.nan]), np.array([100.0, 100.0, 84.0, 3.0])
    expected = [transformed(name, v, c) for v, c in zip(values, close, strict=True)]
    np.testing.assert_array_equal(transform(values, close, name), expected)
