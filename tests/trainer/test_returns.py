"""Returns are measured by their formulas, written out by hand; what is not defined is None, never NaN."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.core.values import SIGNALS, independent_rows, signals_of_returns
from training.trainer import metrics

PAIRS = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=40)


def slow_ranks(values: list[float]) -> list[float]:
    """1 + how many are smaller + half of the others that are equal."""
    return [1 + sum(b < a for b in values) + (sum(b == a for b in values) - 1) / 2 for a in values]


def slow_correlation(one: list[float], other: list[float]) -> float | None:
    n = len(one)
    x, y = sum(one) / n, sum(other) / n
    if len(set(one)) == 1 or len(set(other)) == 1:
        return None
    covariance = sum((a - x) * (b - y) for a, b in zip(one, other, strict=True))
    return covariance / math.sqrt(sum((a - x) ** 2 for a in one) * sum((b - y) ** 2 for b in other))


def near(wanted: float | None) -> object:
    return None if wanted is None else pytest.approx(wanted, abs=1e-9)


@given(PAIRS, st.sampled_from([0.0, 0.005, -0.02]))
@settings(max_examples=200, deadline=None)
def test_measures_equal_their_formulas(pairs: list[tuple[int, int]], centre: float) -> None:
    said, came = [a / 100 for a, _ in pairs], [b / 100 for _, b in pairs]
    seen = metrics.return_metrics(np.array(said), np.array(came), centre)
    n, squares = len(pairs), sum((a - b) ** 2 for a, b in zip(said, came, strict=True))
    reference = sum((b - centre) ** 2 for b in came)
    signs = [(a > 0) == (b > 0) for a, b in pairs if a and b]
    assert seen["rows"] == n
    assert seen["mae"] == near(sum(abs(a - b) for a, b in zip(said, came, strict=True)) / n)
    assert seen["rmse"] == near(math.sqrt(squares / n))
    assert seen["r2"] == (pytest.approx(1 - squares / reference, rel=1e-9, abs=1e-9) if reference > 0 else None)
    assert seen["sign_accuracy"] == near(sum(signs) / len(signs) if signs else None)
    assert seen["ic"] == near(slow_correlation(said, came))
    assert seen["rank_ic"] == near(slow_correlation(slow_ranks(said), slow_ranks(came)))
    json.dumps(seen, allow_nan=False)


def test_r2_is_against_the_mean_of_train_and_falls_below_zero_for_what_is_worse() -> None:
    came = np.array([0.03, 0.01, -0.02, 0.02])
    assert metrics.return_metrics(np.full(4, 0.005), came, 0.005)["r2"] == 0.0
    assert metrics.return_metrics(came, came, 0.005)["r2"] == 1.0
    own_mean = metrics.return_metrics(np.full(4, came.mean()), came, 0.005)["r2"]
    assert own_mean is not None and own_mean > 0, "the mean of the rows themselves was not known before"
    assert metrics.return_metrics(-came, came, 0.005)["r2"] < 0
    assert metrics.return_metrics(came * 0.5, came * 0.0 + 0.01, 0.01)["r2"] is None, "nothing varies"


def test_a_constant_prediction_has_no_correlation_and_zero_has_no_sign() -> None:
    came = np.array([0.1, -0.2, 0.3])
    always = metrics.return_metrics(np.full(3, 0.1), came, 0.0)
    assert (always["ic"], always["rank_ic"]) == (None, None) and always["sign_accuracy"] == pytest.approx(2 / 3)
    assert metrics.return_metrics(np.zeros(3), came, 0.0)["sign_accuracy"] is None


@pytest.mark.parametrize("edge", [0.002, 0.0007 * 3, 1e-9])
def test_a_signal_begins_exactly_at_the_edge(edge: float) -> None:
    below = math.nextafter(edge, 0)
    said = np.array([edge, below, 0.0, -below, -edge, edge * 2, -edge * 2])
    assert [SIGNALS[s] for s in signals_of_returns(said, edge)] == ["BUY", "HOLD", "HOLD", "HOLD", "SELL", "BUY", "SELL"]


def test_without_costs_every_sign_is_a_signal_but_zero_is_none() -> None:
    assert [SIGNALS[s] for s in signals_of_returns(np.array([1e-12, 0.0, -1e-12]), 0.0)] == ["BUY", "HOLD", "SELL"]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.integers(1, 6), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_independent_rows_are_those_whose_labels_share_no_bar(steps: list[int], horizon: int, other: int) -> None:
    times = np.cumsum(np.array(steps, dtype=np.int64))
    symbols = (np.arange(len(times)) >= len(times) - other).astype(np.int32)
    ends = times + 1 + horizon  # known when the bar `horizon` after its own closes
    wanted = 0
    for symbol in set(symbols.tolist()):
        free = -1
        for t, end in zip(times[symbols == symbol].tolist(), ends[symbols == symbol].tolist(), strict=True):
            if t + 1 >= free:
                wanted, free = wanted + 1, end
    assert independent_rows(times, ends, symbols, 1) == wanted


def test_the_gain_is_the_share_of_the_squared_error_saved_with_two_standard_errors() -> None:
    random = np.random.default_rng(3)
    came = random.normal(size=400)
    said, other = came + 0.5 * random.normal(size=400), came + random.normal(size=400)
    saved = (came - other) ** 2 - (came - said) ** 2
    told = metrics.gain(said, other, came, independent=100)
    assert told["gain"] == pytest.approx(1 - ((came - said) ** 2).sum() / ((came - other) ** 2).sum())
    assert told["gain_margin"] == pytest.approx(2 * saved.std() / math.sqrt(100) / ((came - other) ** 2).mean())
    assert metrics.gain(said, came, came, 100) == {"gain": None, "gain_margin": None}, "nothing to save"


@given(PAIRS)
@settings(max_examples=100, deadline=None)
def test_the_parts_for_the_pictures_hold_every_row_once(pairs: list[tuple[int, int]]) -> None:
    said, came = np.array([a / 100 for a, _ in pairs]), np.array([b / 100 for _, b in pairs])
    groups = metrics.reliability(said, came)
    assert sum(group["rows"] for group in groups) == len(pairs) and len(groups) <= metrics.RESIDUAL_SCATTER_BINS
    assert [group["predicted"] for group in groups] == sorted(group["predicted"] for group in groups)
    assert sum(g["rows"] * g["realised"] for g in groups) == pytest.approx(came.sum(), abs=1e-9)
    missed = metrics.misses(said, came)
    assert sum(missed["counts"]) == len(pairs) and missed["width"] > 0
    by_signal = metrics.by_signal(said, came, 0.03)
    assert sum(line["rows"] for line in by_signal.values()) == len(pairs)
    assert by_signal["BUY"]["rows"] == sum(a >= 3 for a, _ in pairs)
    json.dumps([groups, missed, by_signal], allow_nan=False)


def test_rows_that_are_predicted_the_same_stay_together() -> None:
    said = np.array([0.01] * 30 + [0.02] * 10)
    groups = metrics.reliability(said, np.arange(40.0))
    assert [(group["rows"], group["predicted"]) for group in groups] == [(30, pytest.approx(0.01)), (10, pytest.approx(0.02))]
