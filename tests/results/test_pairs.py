"""Two models on the same rows: equal ones have no leader, unequal ones do, and overlap and symbols that move together count."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.comparing import named
from training.results.pairs import Losses, autocovariances, block_length, bootstrap_variance, difference, student


def of(values: list[float] | np.ndarray, symbols: int = 1, life: float = 1.0) -> Losses:
    values = np.asarray(values, np.float64)
    rows = len(values) // symbols
    return Losses(np.tile(np.arange(rows), symbols), np.repeat(np.arange(symbols, dtype=np.int32), rows), values, life)


def test_of_equal_models_a_leader_is_named_in_one_pair_of_twenty_at_most() -> None:
    assert named(200) <= 10 + 6, "200 pairs of 5 %: two standard errors more"


def test_a_model_that_sees_more_is_found() -> None:
    assert named(40, more=0.8) >= 25


def test_the_variance_is_what_drawing_blocks_gives() -> None:
    """20,000 stationary bootstraps of a short series, drawn as Politis and Romano say."""
    draw = np.random.default_rng(3)
    values = np.convolve(draw.standard_normal(79), np.ones(20), "valid")
    centred, block = values - values.mean(), 6.0
    count, times = len(centred), 20_000
    place = draw.integers(count, size=times)
    sums = np.zeros(times)
    for _ in range(count):
        sums += centred[place]
        begins = draw.random(times) < 1 / block
        place = np.where(begins, draw.integers(count, size=times), (place + 1) % count)
    assert bootstrap_variance(centred, block) == pytest.approx((sums / count).var(), rel=0.05)


def test_the_autocovariances_go_around() -> None:
    values = np.array([1.0, -2.0, 3.0, -2.0])
    expected = [float(np.mean(values * np.roll(values, -lag))) for lag in range(4)]
    assert autocovariances(values) == pytest.approx(expected)


def test_labels_that_overlap_widen_the_margin() -> None:
    draw = np.random.default_rng(1)
    noise = np.convolve(draw.standard_normal(4_019), np.ones(20) / math.sqrt(20), "valid")
    alone = difference(of(np.zeros(4_000)), of(draw.standard_normal(4_000)))
    told = difference(of(np.zeros(4_000), life=20.0), of(noise, life=20.0))
    assert alone.margin is not None and told.margin is not None
    assert told.margin / alone.margin == pytest.approx(math.sqrt(20), rel=0.35)


def test_symbols_that_move_together_are_one_observation() -> None:
    draw = np.random.default_rng(2)
    same = draw.standard_normal(2_000)
    one = difference(of(np.zeros(2_000)), of(same))
    four = difference(of(np.zeros(8_000), symbols=4), of(np.tile(same, 4), symbols=4))
    assert one.margin == pytest.approx(four.margin) and one.mean == pytest.approx(four.mean)


def test_the_same_answers_are_no_lead_and_too_few_rows_say_nothing() -> None:
    values = np.random.default_rng(4).random(500)
    equal = difference(of(values), of(values))
    assert (equal.mean, equal.is_real) == (0.0, False)
    assert difference(of(values[:20], life=5.0), of(values[20:40], life=5.0)).margin is None
    assert difference(of([]), of([])).margin is None


@pytest.mark.parametrize(("freedom", "value"), [(7, 2.3646), (15, 2.1314), (60, 2.0003)])
def test_the_quantile_of_students_t(freedom: int, value: float) -> None:
    assert student(0.975, freedom) == pytest.approx(value, rel=1e-3)


def test_the_automatic_block_is_short_for_noise_and_long_for_what_lasts() -> None:
    noise = np.random.default_rng(5).standard_normal(4_000)
    lasting = np.convolve(noise, np.ones(50) / 50, "same")
    assert block_length(noise - noise.mean()) < 10 < 40 < block_length(lasting - lasting.mean())
