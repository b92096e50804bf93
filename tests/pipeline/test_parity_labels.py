"""Every label is what its sentence says, bar by bar: values, label ends, ties, tails and short series."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from strategies_app.grammar import schema
from strategies_app.grammar.vocabulary import LABEL_CLASSES
from tests.examples.label_references import cusum_events, reference_labels
from tests.examples.label_references import uniqueness as expected_uniqueness
from tests.examples.pipeline import LABEL_SECTIONS, MONDAY, label_id, modest, plain_market, strategy, thorough
from training.pipeline.features import bar_columns
from training.pipeline.frames import bar_frame
from training.pipeline.kernels import extremes_ahead, window_deviations
from training.pipeline.labels import LABELS, LabelColumn, compute_labels, look_ahead, typical_range, uniqueness, zigzag_pivots

HOUR = 3_600_000_000


def labels_of(frame: Any, section: dict[str, Any]) -> LabelColumn:
    return compute_labels(strategy({"it": {"type": "rsi"}}, labels=section), bar_columns(frame))


def assert_parity(frame: Any, section: dict[str, Any]) -> LabelColumn:
    found = labels_of(frame, section)
    expected = reference_labels(frame, TypeAdapter(schema.Labels).validate_python(section))
    assert len(found.values) == len(found.ends) == len(expected) == len(frame)
    assert [int(e) for e in found.ends] == [-1 if e is None else e[1] for e in expected]
    there = [i for i, e in enumerate(expected) if e is not None]
    np.testing.assert_allclose(found.values[there], [e[0] for e in expected if e is not None], rtol=0, atol=1e-15)
    return found


def ticks(steps: list[int], seed: int = 0) -> Any:
    """Bars whose closes are whole ticks, so that ties abound; high and low enclose the close by whole ticks."""
    close = 100.0 + np.cumsum(steps)
    random = np.random.default_rng(seed)
    high, low = close + random.integers(0, 3, len(close)), close - random.integers(0, 3, len(close))
    times = MONDAY + np.arange(len(close), dtype=np.int64) * HOUR
    return bar_frame(times, np.stack([close, high, low, close, np.ones(len(close))]))


sections = {
    "zigzag": st.fixed_dictionaries(
        {
            "zigzag_threshold": st.sampled_from([0.005, 0.01, 0.02, 0.05]),
            "label_lookahead": st.integers(1, 12),
            "min_swing_length": st.integers(1, 6),
            "mode": st.sampled_from(["window", "segments"]),
        }
    ),
    "forward_return": st.fixed_dictionaries({"horizon": st.integers(1, 12)}),
    "context": st.fixed_dictionaries(
        {
            "horizon": st.integers(1, 12),
            "bullish_threshold": st.sampled_from([0.0, 0.01, 0.02]),
            "bearish_threshold": st.sampled_from([-0.02, -0.01]),
        }
    ),
    "triple_barrier": st.fixed_dictionaries(
        {
            "pt_multiplier": st.sampled_from([0.5, 1.0, 2.0, 3.0]),
            "sl_multiplier": st.sampled_from([0.5, 1.0, 1.5]),
            "max_holding_period": st.integers(1, 12),
            "vol_span": st.integers(2, 10),
            "vol_method": st.sampled_from(["atr", "close"]),
        }
    ),
    "regime": st.fixed_dictionaries(
        {
            "macro_atr_mult": st.sampled_from([0.5, 1.31, 2.0]),
            "micro_atr_mult": st.sampled_from([0.1, 0.5, 1.0]),
            "atr_period": st.integers(1, 6),
            "vol_lookback": st.integers(2, 12),
            # No ratio of two deviations of whole ticks, so that rounding cannot decide.
            "vol_crisis_threshold": st.sampled_from([0.7071, 1.3719, 2.2913]),
            "progression_tolerance": st.sampled_from([0.0, 0.5, 0.8, 1.0]),
        }
    ),
}


def test_every_label_has_a_reference() -> None:
    assert set(LABELS) == set(sections) == set(LABEL_CLASSES)


@pytest.mark.parametrize("source", sorted(LABELS))
@thorough
@given(data=st.data(), steps=st.lists(st.integers(-2, 2), max_size=60), seed=st.integers(0, 99))
def test_labels_of_ticking_prices_with_ties(source: str, data: st.DataObject, steps: list[int], seed: int) -> None:
    assert_parity(ticks(steps, seed), {"source": source, **data.draw(sections[source])})


@pytest.mark.parametrize("source", sorted(LABELS))
@modest
@given(data=st.data(), count=st.integers(0, 150), seed=st.integers(0, 999))
def test_labels_of_a_lively_market(source: str, data: st.DataObject, count: int, seed: int) -> None:
    assert_parity(plain_market(count, "1h", seed), {"source": source, **data.draw(sections[source])})


@pytest.mark.parametrize("section", LABEL_SECTIONS, ids=label_id)
@pytest.mark.parametrize("count", [0, 1, 2, 5, 9, 10])
def test_short_series(section: dict[str, Any], count: int) -> None:
    assert_parity(plain_market(count, "1h", 3), section)


@pytest.mark.parametrize("section", LABEL_SECTIONS, ids=label_id)
def test_a_constant_price_never_buys_or_sells(section: dict[str, Any]) -> None:
    values = np.full((5, 40), 1.3579)
    found = assert_parity(bar_frame(MONDAY + np.arange(40, dtype=np.int64) * HOUR, values), section)
    neutral = {"forward_return": 0.0, "context": 2}.get(section["source"], 1)
    assert set(found.values[found.ends >= 0]) <= {neutral}


@pytest.mark.parametrize("section", LABEL_SECTIONS, ids=label_id)
def test_a_row_without_its_whole_look_ahead_has_no_label(section: dict[str, Any]) -> None:
    frame = plain_market(120, "1h", 8)
    spec = strategy({"it": {"type": "rsi"}}, labels=section)
    ends = compute_labels(spec, bar_columns(frame)).ends
    assert (ends[-look_ahead(spec) :] == -1).all()
    assert (ends >= 0).sum() > 50
    assert (ends < len(frame)).all()


def test_a_gain_as_large_as_the_loss_is_no_signal() -> None:
    section = {"source": "zigzag", "zigzag_threshold": 0.01, "label_lookahead": 2, "min_swing_length": 1}
    found = assert_parity(ticks([0, 2, -4, 2, -2, 4, -2]), section)
    assert found.values[[0, 3]].tolist() == [1, 1]


def test_an_early_touch_in_the_tail_is_no_label() -> None:
    frame = ticks([0, 1, -1, 1, -1, 1, -1, 1, 20, 0, 0])
    section = {"source": "triple_barrier", "max_holding_period": 5, "vol_span": 3, "pt_multiplier": 1.0}
    found = assert_parity(frame, section)
    assert found.ends[7] == -1
    assert found.ends[5] >= 0


@pytest.mark.parametrize("section", LABEL_SECTIONS, ids=label_id)
def test_labels_are_whole_class_numbers_or_real_returns(section: dict[str, Any]) -> None:
    found = labels_of(plain_market(120, "1h", 8), section)
    classes = LABEL_CLASSES[section["source"]]
    assert found.values.dtype == (np.int64 if classes else np.float64)
    assert found.ends.dtype == np.int64
    if classes:
        assert set(found.values[found.ends >= 0]) <= set(range(len(classes)))


# --- regimes -----------------------------------------------------------------------------------

REGIME = {"source": "regime", "macro_atr_mult": 1.5, "micro_atr_mult": 0.4, "atr_period": 4, "vol_lookback": 12}


def test_a_lively_market_has_all_four_regimes() -> None:
    found = assert_parity(plain_market(1500, "1h", 4), {**REGIME, "vol_crisis_threshold": 1.5})
    assert set(found.values[found.ends >= 0]) == {0, 1, 2, 3}


def test_a_leg_with_fewer_than_four_fine_pivots_is_ranging() -> None:
    frame = ticks([1, -1] * 10 + [2] * 15 + [-2] * 15 + [2] * 15 + [-2] * 15)
    section = {**REGIME, "macro_atr_mult": 3.0, "micro_atr_mult": 2.5, "vol_crisis_threshold": 50.0, "progression_tolerance": 0.0}
    found = assert_parity(frame, section)
    assert set(found.values[found.ends >= 0]) == {2}


def test_the_end_of_a_regime_is_its_confirmation_or_the_volatility_ahead_whichever_is_later() -> None:
    frame = plain_market(600, "1h", 4)
    section = {**REGIME, "atr_period": 9}
    labels = assert_parity(frame, section)
    close = frame["close"].to_numpy()
    macro, known = zigzag_pivots(close, 1.5 * typical_range(bar_columns(frame), 9))
    rows = np.flatnonzero(labels.ends >= 0)
    confirmed = known[np.searchsorted(macro, rows, side="right")]
    assert np.array_equal(labels.ends[rows], np.maximum(confirmed, rows + 9))
    assert (confirmed > rows + 9).any() and (confirmed < rows + 9).any()


def test_a_price_that_never_turns_has_no_regime() -> None:
    assert (labels_of(ticks([1] * 200), REGIME).ends == -1).all()
    assert (labels_of(ticks([0] * 200), REGIME).ends == -1).all()


@modest
@given(count=st.integers(0, 80), length=st.integers(1, 12), seed=st.integers(0, 999))
def test_moving_deviations_are_those_of_each_window(count: int, length: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(max(count, length)).round(2)
    found = np.empty(len(values) - length + 1)
    window_deviations(values, length, found)
    np.testing.assert_allclose(found, [values[k : k + length].std() for k in range(len(found))], rtol=1e-9, atol=1e-12)


def test_a_calm_after_a_storm_has_no_deviation_left() -> None:
    values = np.concatenate([np.random.default_rng(0).standard_normal(50), np.zeros(50)])
    found = np.empty(91)
    window_deviations(values, 10, found)
    assert (found[50:] == 0.0).all() and (found[:41] > 0.1).all()


# --- events, uniqueness, extremes --------------------------------------------------------------

BARRIERS = {"source": "triple_barrier", "max_holding_period": 5, "vol_span": 4}


@pytest.mark.parametrize("source", ["steps", "market"])
@modest
@given(
    seed=st.integers(0, 999),
    threshold=st.sampled_from([1e-4, 0.003, 0.013, 0.5]),
    multiplier=st.sampled_from([0.01, 0.49, 1.7]),
    method=st.sampled_from(["atr", "close"]),
)
def test_events_are_those_of_the_sums_of_moves(source: str, seed: int, threshold: float, multiplier: float, method: str) -> None:
    steps = np.random.default_rng(seed).integers(-2, 3, 80).tolist()
    frame = ticks(steps, seed) if source == "steps" else plain_market(80, "1h", seed)
    section = {**BARRIERS, "cusum_threshold": threshold, "cusum_multiplier": multiplier, "vol_method": method}
    found = labels_of(frame, section)
    assert found.events is not None
    assert found.events.tolist() == cusum_events(frame, schema.TripleBarrierLabels.model_validate(section))


def test_without_a_threshold_there_is_no_filter_and_it_moves_no_label() -> None:
    frame = plain_market(200, "1h", 2)
    plain, filtered = labels_of(frame, BARRIERS), labels_of(frame, {**BARRIERS, "cusum_threshold": 0.002})
    assert plain.events is None and filtered.events is not None and 0 < filtered.events.sum() < 150
    assert np.array_equal(plain.values, filtered.values) and np.array_equal(plain.ends, filtered.ends)


@thorough
@given(data=st.data(), count=st.integers(2, 40))
def test_uniqueness_is_the_mean_of_one_over_concurrency(data: st.DataObject, count: int) -> None:
    rows = data.draw(st.sets(st.integers(0, count - 2), min_size=1).map(sorted))
    ends = [data.draw(st.integers(row + 1, count - 1)) for row in rows]
    found = uniqueness(np.array(rows), np.array(ends), count)
    np.testing.assert_allclose(found, expected_uniqueness(rows, ends), rtol=1e-6)
    assert (found > 0).all() and (found <= 1 + 1e-6).all()


def test_labels_that_do_not_overlap_are_wholly_unique_and_copies_share() -> None:
    assert uniqueness(np.array([0, 3, 6]), np.array([3, 6, 9]), 10).tolist() == [1.0, 1.0, 1.0]
    assert uniqueness(np.array([2, 2, 2, 2]), np.array([9, 9, 9, 9]), 10).tolist() == [0.25] * 4


@thorough
@given(closes=st.lists(st.integers(1, 9), min_size=1, max_size=40), data=st.data())
def test_extremes_are_the_first_highest_and_lowest_close_in_reach(closes: list[int], data: st.DataObject) -> None:
    count = len(closes)
    ends = np.array([data.draw(st.integers(-1, count - 1)) for _ in closes])
    tops, bottoms = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    extremes_ahead(np.array(closes, dtype=float), ends, tops, bottoms)
    for t, end in enumerate(ends):
        reach = closes[t + 1 : end + 1]
        assert tops[t] == (t + 1 + reach.index(max(reach)) if reach else -1)
        assert bottoms[t] == (t + 1 + reach.index(min(reach)) if reach else -1)
