"""Every label is what its sentence says, bar by bar: values, label ends, ties, tails and short series."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from strategies_app import schema
from strategies_app.vocabulary import LABEL_CLASSES
from tests.label_references import reference_labels
from tests.pipeline_examples import LABEL_SECTIONS, MONDAY, label_id, modest, plain_market, strategy, thorough
from training.pipeline.features import bar_columns
from training.pipeline.frames import bar_frame
from training.pipeline.labels import LABELS, LabelColumn, compute_labels, look_ahead

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
}


def test_every_label_has_a_reference() -> None:
    assert set(LABELS) == set(sections) == set(LABEL_CLASSES) - {"regime"}


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
