"""What labels are made from owes nothing to later bars, to other symbols or to rows that judge; planted faults are found."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies_app.grammar.schema import DataSplit, TripleBarrierLabels
from tests.examples.label_references import cusum_events as expected_events
from tests.examples.label_references import uniqueness as expected_uniqueness
from tests.examples.pipeline import market_with_holes, modest, plain_market, run_bars, same_bits, strategy
from tests.laws.test_causality import changed_after
from training.core.values import Dataset
from training.pipeline import labels as labels_module
from training.pipeline.dataset import NO_EVENT, build_dataset, build_features
from training.pipeline.features import bar_columns, duration
from training.pipeline.frames import bar_times
from training.pipeline.labels import barrier_volatility, cusum_events, typical_range
from training.pipeline.splits import check_splits, cut_rows
from training.store.coverage import DataError
from training.trainer.targets import learn_row_weights

EVENTS = TripleBarrierLabels(
    source="triple_barrier", max_holding_period=9, vol_span=6, cusum_threshold=1e-4, cusum_multiplier=0.6, compute_weights=True
)
SYMBOLS = ("AAA", "BBB")
REGIME = {"source": "regime", "macro_atr_mult": 1.5, "micro_atr_mult": 0.4, "atr_period": 4, "vol_lookback": 12}


def events_of(columns: Any) -> np.ndarray:
    found = cusum_events(columns, EVENTS, labels_module.barrier_volatility(columns, 6, "atr"))
    assert found is not None
    return found


#: Numbers known at a bar: each must be the same whatever comes after it.
KNOWN_AT_THE_BAR: dict[str, Callable[[Any], np.ndarray]] = {
    "volatility by range": lambda columns: labels_module.barrier_volatility(columns, 6, "atr"),
    "volatility by close": lambda columns: labels_module.barrier_volatility(columns, 6, "close"),
    "reversal of a zigzag": lambda columns: labels_module.typical_range(columns, 4),
    "events": events_of,
}


def assert_owes_nothing_to_later_bars(known: Callable[[Any], np.ndarray], seed: int, at: int, cut: bool) -> None:
    frame = market_with_holes("1h", "4h", seed)[:220]
    past = np.arange(len(frame)) <= at
    altered = frame[past] if cut else changed_after(frame, past, seed)
    assert same_bits(known(bar_columns(frame))[: at + 1], known(bar_columns(altered))[: at + 1])


@pytest.mark.parametrize("name", KNOWN_AT_THE_BAR)
@modest
@given(seed=st.integers(0, 1000), at=st.integers(0, 219), cut=st.booleans())
def test_what_a_label_is_measured_by_owes_nothing_to_later_bars(name: str, seed: int, at: int, cut: bool) -> None:
    assert_owes_nothing_to_later_bars(KNOWN_AT_THE_BAR[name], seed, at, cut)


def of_the_next_bar(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """A fault: at every bar what is known at the next one."""
    return lambda *arguments: np.append(function(*arguments)[1:], np.nan)


def over_all_bars(columns: Any, period: int) -> np.ndarray:
    """A fault: the median of all bars instead of that of the bars so far."""
    known = typical_range(columns, period)
    return np.where(np.isnan(known), np.nan, np.nanmedian((columns["high"] - columns["low"]) / columns["close"]))


@pytest.mark.parametrize(
    ("name", "part", "fault"),
    [
        ("volatility by range", "barrier_volatility", of_the_next_bar(barrier_volatility)),
        ("volatility by close", "barrier_volatility", of_the_next_bar(barrier_volatility)),
        ("events", "barrier_volatility", of_the_next_bar(of_the_next_bar(barrier_volatility))),
        ("reversal of a zigzag", "typical_range", over_all_bars),
    ],
)
def test_a_planted_look_ahead_is_found(name: str, part: str, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_module, part, fault)

    def law() -> None:
        for at in range(100, 200, 5):
            assert_owes_nothing_to_later_bars(KNOWN_AT_THE_BAR[name], 3, at, cut=False)

    with pytest.raises(AssertionError):
        law()


def test_the_threshold_of_an_event_owes_nothing_to_its_own_bar() -> None:
    columns = bar_columns(plain_market(60, "1h", 1))
    wider = dict(columns) | {"high": columns["high"].copy()}
    wider["high"][40] *= 3.0
    assert np.array_equal(events_of(columns)[:41], events_of(wider)[:41])
    assert not np.array_equal(events_of(columns)[41:], events_of(wider)[41:])


# --- rows --------------------------------------------------------------------------------------


def rows_of(
    markets: dict[str, pd.DataFrame], labels: dict[str, Any], symbols: tuple[str, ...] = SYMBOLS, lags: int = 0
) -> Dataset:
    spec = strategy({"it": {"type": "rsi", "period": 3}}, symbols=symbols, labels=labels, lags=lags)
    return build_dataset(spec, run_bars(spec, {s: {"1h": markets[s]} for s in symbols}))


def markets(seed: int = 0, bars: int = 400) -> dict[str, pd.DataFrame]:
    return {s: market_with_holes("1h", "4h", seed + n, bars=bars, buckets=110)[n * 20 :] for n, s in enumerate(SYMBOLS)}


def test_the_filter_drops_the_same_rows_from_features_and_labels_and_counts_them() -> None:
    frames, plain = markets(), EVENTS.model_dump(exclude_none=True)
    all_rows = rows_of(frames, plain | {"cusum_threshold": 1e-9, "cusum_multiplier": 1e-6}, lags=2)
    found = rows_of(frames, plain, lags=2)
    events = {
        (number, time)
        for number, symbol in enumerate(SYMBOLS)
        for time, event in zip(bar_times(frames[symbol]).tolist(), expected_events(frames[symbol], EVENTS), strict=True)
        if event
    }
    pairs = list(zip(all_rows.rows.symbols.tolist(), all_rows.rows.times.tolist(), strict=True))
    keep = np.array([pair in events for pair in pairs])
    assert 50 < keep.sum() < len(keep) - 50
    for name in ("features", "labels", "times", "label_ends", "symbols"):
        assert same_bits(getattr(found.rows, name), np.ascontiguousarray(getattr(all_rows.rows, name)[keep])), name
    before = all_rows.dropped[NO_EVENT]
    assert found.dropped[NO_EVENT] == before + int((~keep).sum())
    for symbol in SYMBOLS:
        number = SYMBOLS.index(symbol)
        kept = int((found.rows.symbols == number).sum())
        assert kept + sum(found.dropped_by_symbol[symbol].values()) == len(frames[symbol])


def test_predictions_are_made_for_every_bar_whatever_the_filter() -> None:
    frames = {"1h": plain_market(200, "1h", 3)}
    without, filtered = (
        build_features(strategy({"it": {"type": "rsi"}}, labels=labels), frames, 0)
        for labels in ({"source": "triple_barrier"}, EVENTS.model_dump())
    )
    assert same_bits(without[0], filtered[0]) and same_bits(without[1], filtered[1])


@modest
@given(seed=st.integers(0, 999))
def test_weights_are_the_uniqueness_of_each_symbols_rows(seed: int) -> None:
    frames = markets(seed)
    rows = rows_of(frames, EVENTS.model_dump()).rows
    assert rows.weights is not None and rows.weights.dtype == np.float32
    for number, symbol in enumerate(SYMBOLS):
        mine, times = rows.symbols == number, bar_times(frames[symbol])
        begin = np.searchsorted(times, rows.times[mine]).tolist()
        end = np.searchsorted(times, rows.label_ends[mine] - duration("1h")).tolist()
        np.testing.assert_allclose(rows.weights[mine], expected_uniqueness(begin, end), rtol=1e-6)
        alone = rows_of(frames, EVENTS.model_dump(), (symbol,)).rows
        assert alone.weights is not None and same_bits(alone.weights, rows.weights[mine])


@modest
@given(seed=st.integers(0, 999), at=st.integers(150, 330))
def test_the_weight_of_a_label_that_is_known_stays(seed: int, at: int) -> None:
    frame = plain_market(400, "1h", seed)
    before = rows_of({"AAA": frame}, EVENTS.model_dump(), ("AAA",)).rows
    after = rows_of({"AAA": changed_after(frame, np.arange(400) <= at, seed)}, EVENTS.model_dump(), ("AAA",)).rows
    now = int(bar_times(frame)[at]) + duration("1h")
    assert before.weights is not None and after.weights is not None
    known, again = before.label_ends <= now, after.label_ends <= now
    assert known.sum() > 10 and same_bits(before.times[known], after.times[again])
    assert same_bits(before.weights[known], after.weights[again])


def test_rows_that_judge_change_no_weight_of_training() -> None:
    dataset = rows_of(markets(), EVENTS.model_dump())
    splits = cut_rows(dataset, DataSplit())
    learned = learn_row_weights(dataset, splits)
    assert learned is not None and dataset.rows.weights is not None
    for number in range(2):
        mine = splits.train[dataset.rows.symbols[splits.train] == number]
        assert learned[mine].mean(dtype=np.float64) == pytest.approx(1.0, abs=1e-6)
    outside = np.setdiff1d(np.arange(len(dataset.rows)), splits.train)
    dataset.rows.weights[outside] = 0.77
    again = learn_row_weights(dataset, splits)
    assert again is not None and same_bits(learned, again) and (learned[outside] == 0).all()


@pytest.mark.parametrize("labels", [REGIME, EVENTS.model_dump()], ids=["regime", "events"])
def test_splits_pass_the_second_look_and_purge_by_each_labels_own_end(labels: dict[str, Any]) -> None:
    frames = markets(5, bars=900)
    dataset = rows_of(frames, labels)
    splits = cut_rows(dataset, DataSplit())
    check_splits(dataset, splits)
    assert len(splits.purged) > 3
    rows = dataset.rows
    assert (rows.label_ends[splits.train] <= splits.cuts[0]).all()
    last = max(int(bar_times(frame)[-1]) for frame in frames.values()) + duration("1h")
    assert rows.label_ends.max() <= last


@pytest.mark.parametrize("labels", [REGIME, EVENTS.model_dump()], ids=["regime", "events"])
def test_a_label_end_that_is_a_bar_too_early_is_found(labels: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The law that a known label stays finds ends that come too soon."""
    from tests.laws.test_causality import test_a_label_that_is_known_stays as law

    honest = labels_module.LABELS[labels["source"]]

    def early(columns: Any, section: Any) -> Any:
        found = honest(columns, section)
        ends = np.where(found.ends > np.arange(len(found.ends)) + 1, found.ends - 1, found.ends)
        return labels_module.LabelColumn(found.values, ends, found.events)

    monkeypatch.setitem(labels_module.LABELS, labels["source"], early)

    def everywhere() -> None:
        for seed, at, cut in itertools.product(range(40), range(20, 220, 20), (True, False)):
            law.hypothesis.inner_test(section=labels, seed=seed, at=at, cut=cut)

    with pytest.raises(AssertionError):
        everywhere()


# --- one clear sentence ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (REGIME | {"macro_atr_mult": 100.0}, "no leg of the regime's macro zigzag is confirmed in 400 1h bars"),
        (REGIME | {"vol_lookback": 900}, "looks at least 4 bars ahead and 900 back"),
        (EVENTS.model_dump() | {"cusum_threshold": 0.9}, "the CUSUM filter drops every row"),
    ],
)
def test_labels_that_leave_no_row_are_refused_in_one_sentence(labels: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as refused:
        rows_of({"AAA": plain_market(400, "1h", 3)}, labels, ("AAA",))
    assert words in str(refused.value) and str(refused.value).count(". ") == 0


def test_rows_without_weights_carry_none() -> None:
    assert rows_of(markets(), REGIME).rows.weights is None
