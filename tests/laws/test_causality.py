"""What comes after a bar changes no feature at or before it, and no label that was already known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies_app.grammar.schema import StrategySpec
from strategies_app.grammar.vocabulary import INDICATORS
from tests.examples.pipeline import (
    AVAILABLE,
    LABEL_SECTIONS,
    PAIRS,
    Frames,
    definitions,
    label_id,
    market_on_clock,
    market_with_holes,
    modest,
    prices,
    same_bits,
    strategy,
    until,
    whole_vocabulary,
    with_higher,
)
from training.laws.markets import CLOCKS
from training.pipeline.dataset import build_features, fill_symbol
from training.pipeline.features import bar_columns, duration, plan_features, resample
from training.pipeline.frames import bar_frame, bar_times, bar_values
from training.pipeline.labels import compute_labels


def changed_after(frame: pd.DataFrame, known: np.ndarray, seed: int) -> pd.DataFrame:
    """The frame with other prices and volumes in the bars that are not known yet."""
    values = bar_values(frame).copy()
    values[:, ~known] = 3.0 * prices(len(frame), seed + 77)[:, ~known]
    return bar_frame(bar_times(frame), values)


def future_altered(frames: Frames, base: str, now: int, stored: bool, cut: bool, seed: int) -> Frames:
    """The frames as they would be had the world after `now` gone another way, or not at all."""

    def altered(timeframe: str) -> pd.DataFrame:
        frame = frames[timeframe]
        known = until(frame, timeframe, now)
        return frame[known] if cut else changed_after(frame, known, seed)

    first = altered(base)
    return {t: first if t == base else (altered(t) if stored else resample(first, t)) for t in frames}


def assert_past_is_unchanged(
    spec: StrategySpec, timeframes: tuple[str, ...], stored: bool, cut: bool, seed: int, share: float
) -> None:
    base = timeframes[0]
    frame = market_with_holes(base, timeframes[-1], seed, weekends=bool(seed % 2))
    assert_past_of_frames(spec, base, with_higher(frame, timeframes, stored, seed), stored, cut, seed, share)


def assert_past_of_frames(
    spec: StrategySpec, base: str, frames: Frames, stored: bool, cut: bool, seed: int, share: float
) -> None:
    times = bar_times(frames[base])
    at = int(times[int(share * (len(times) - 1))])
    before, times_before, _ = build_features(spec, frames, 0)
    after, times_after, _ = build_features(spec, future_altered(frames, base, at + duration(base), stored, cut, seed), 0)
    past, past_again = times_before <= at, times_after <= at
    assert same_bits(times_before[past], times_after[past_again])
    assert same_bits(before[past], after[past_again])


futures = {
    "stored": st.booleans(),
    "cut": st.booleans(),
    "seed": st.integers(0, 1000),
    "share": st.floats(0.3, 1),
}


@pytest.mark.parametrize("name", AVAILABLE)
@modest
@given(data=st.data(), pair=st.sampled_from(PAIRS), lags=st.integers(0, 3), **futures)
def test_no_indicator_sees_the_future(name: str, data: st.DataObject, pair: tuple[str, str], lags: int, **future: Any) -> None:
    spec = strategy({"it": data.draw(definitions(INDICATORS[name], 6))}, pair, lags=lags)
    assert_past_is_unchanged(spec, pair, **future)


@pytest.mark.parametrize("pair", PAIRS, ids="→".join)
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "resampled"])
def test_no_timeframe_sees_the_future_inside_its_bucket(pair: tuple[str, str], stored: bool) -> None:
    spec = whole_vocabulary(pair, lags=2)
    for seed in range(4):
        assert_past_is_unchanged(spec, pair, stored, cut=bool(seed % 2), seed=seed, share=0.5 + 0.12 * seed)


@pytest.mark.parametrize("clock", CLOCKS)
@modest
@given(
    pair=st.sampled_from([("30m", "1h"), ("1h", "4h"), ("1h", "1d"), ("1d", "1w")]),
    **{k: v for k, v in futures.items() if k != "stored"},
)
def test_no_clock_lets_a_feature_see_the_future(clock: str, pair: tuple[str, str], cut: bool, seed: int, share: float) -> None:
    spec = strategy({"strength": {"type": "rsi", "period": 2}}, pair, lags=1)
    frames = market_on_clock(clock, pair, seed, days=90 if pair[1] == "1w" else 14, holes=0.05)
    assert_past_of_frames(spec, pair[0], frames, True, cut, seed, share)


def test_a_timeframe_of_which_no_bar_is_known_yet_gives_no_row() -> None:
    spec = strategy({"strength": {"type": "rsi", "period": 2}}, ("1h", "4h"))
    frame = market_with_holes("1h", "4h", 1)[:50]
    frames = {"1h": frame, "4h": with_higher(frame, ("1h", "4h"), False, 1)["4h"][:0]}
    plan = plan_features(spec)
    matrix = np.empty((len(frame), len(plan.names)), dtype=np.float32)
    _, rows = fill_symbol(spec, plan, frames, 0, matrix, lambda stage: None)
    assert not rows.complete.any() and rows.without_bar["4h"] == len(frame)
    assert len(build_features(spec, frames, 0)[0]) == 0


def test_a_future_bar_does_change_later_features() -> None:
    spec = whole_vocabulary(("1h", "4h"))
    frame = market_with_holes("1h", "4h", 1)
    frames = with_higher(frame, ("1h", "4h"), False, 1)
    altered = future_altered(frames, "1h", int(bar_times(frame)[150]), False, False, 1)
    assert not same_bits(build_features(spec, frames, 0)[0], build_features(spec, altered, 0)[0])


@pytest.mark.parametrize("section", LABEL_SECTIONS, ids=label_id)
@modest
@given(seed=st.integers(0, 1000), at=st.integers(0, 219), cut=st.booleans())
def test_a_label_that_is_known_stays(section: dict[str, Any], seed: int, at: int, cut: bool) -> None:
    spec = strategy({"it": {"type": "rsi"}}, labels=section)
    frame = market_with_holes("1h", "4h", seed)[:220]
    known = np.arange(len(frame)) <= at
    altered = frame[known] if cut else changed_after(frame, known, seed)
    labels, again = compute_labels(spec, bar_columns(frame)), compute_labels(spec, bar_columns(altered))
    settled = np.flatnonzero((labels.ends >= 0) & (labels.ends <= at))
    same = settled[settled < len(altered)]
    if section["source"] == "triple_barrier" and cut:
        # A barrier touched early is known early, but the row is only used when its whole holding period is there.
        same = same[same + section["max_holding_period"] < len(altered)]
        settled = same
    assert len(same) == len(settled)
    assert same_bits(labels.values[same], again.values[same])
    assert same_bits(labels.ends[same], again.ends[same])


@pytest.mark.parametrize("section", LABEL_SECTIONS, ids=label_id)
def test_no_label_is_known_before_its_own_bar_has_passed(section: dict[str, Any]) -> None:
    frame = market_with_holes("1h", "4h", 5)
    labels = compute_labels(strategy({"it": {"type": "rsi"}}, labels=section), bar_columns(frame))
    rows = np.flatnonzero(labels.ends >= 0)
    assert len(rows) > 50
    assert (labels.ends[rows] > rows).all()
