"""Many symbols: threads change no bit and leave nothing behind, spans may differ, and lists of them come from files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strategies_app.grammar.schema import StrategySpec
from tests.examples.pipeline import MONDAY, plain_market, run_bars, same_bits, strategy
from training.core.values import Cancelled, Dataset
from training.pipeline.bars import write_bars
from training.pipeline.dataset import build_dataset
from training.pipeline.features import duration, resample
from training.pipeline.loading import Step, in_order, load_bars, stored_ranges
from training.pipeline.prepare import prepare
from training.pipeline.splits import split_ledger
from training.trainer.batches import epoch_order
from training.trainer.targets import learn_row_weights

SYMBOLS = tuple(f"S{number:02}" for number in range(7))
HOUR = duration("1h")
INDICATORS = {"strength": {"type": "rsi", "period": 5}, "spread": {"type": "atr", "period": 5}}
BARRIERS = {"source": "triple_barrier", "max_holding_period": 6, "vol_span": 8, "cusum_threshold": 1e-4, "compute_weights": True}


def several(labels: dict[str, Any] | None = None, **options: Any) -> StrategySpec:
    return strategy(INDICATORS, ("1h", "4h"), SYMBOLS, labels or BARRIERS, **options)


def markets() -> dict[str, Any]:
    """One symbol begins late, one ends early, one is short."""
    whole = {symbol: plain_market(400, "1h", number) for number, symbol in enumerate(SYMBOLS)}
    whole |= {"S01": whole["S01"].iloc[250:], "S03": whole["S03"].iloc[:150], "S05": whole["S05"].iloc[100:240]}
    return {symbol: {"1h": frame, "4h": resample(frame, "4h")} for symbol, frame in whole.items()}


def arrays(dataset: Dataset) -> dict[str, np.ndarray]:
    columns = {field.name: getattr(dataset.rows, field.name) for field in fields(dataset.rows)}
    return {name: array for name, array in columns.items() if array is not None} | {"clock": dataset.clock}


# --- threads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lags", [0, 3])
def test_rows_are_the_same_bits_for_any_number_of_threads(lags: int) -> None:
    spec, frames = several(lags=lags), markets()
    bars = run_bars(spec, frames, start=MONDAY + 50 * HOUR)
    alone = build_dataset(spec, bars)
    assert "weights" in arrays(alone) and len(alone.rows) > 500
    for threads in (2, 3, 20):
        found = build_dataset(spec, bars, threads=threads)
        assert (found.dropped, found.dropped_by_symbol) == (alone.dropped, alone.dropped_by_symbol)
        for name, array in arrays(found).items():
            assert same_bits(array, arrays(alone)[name]), name


@pytest.mark.parametrize("window", [1, 5])
def test_each_symbol_has_the_rows_that_it_has_alone(window: int) -> None:
    def example(symbols: tuple[str, ...]) -> Dataset:
        spec = strategy(INDICATORS, ("1h", "4h"), symbols, BARRIERS)
        if window > 1:
            plain = spec.plain() | {"model": {"type": "gru", "architecture": {"sequence_length": window}}}
            spec = StrategySpec.model_validate(plain)
        return build_dataset(spec, run_bars(spec, markets(), start=MONDAY + 50 * HOUR), threads=2)

    together = example(SYMBOLS).rows
    for number, symbol in enumerate(SYMBOLS):
        alone, of = example((symbol,)).rows, together.symbols == number
        ends = np.flatnonzero(of) if together.ends is None else together.ends[of]
        own = np.arange(len(alone)) if alone.ends is None else alone.ends
        assert len(own) == len(ends) and same_bits(together.times[of], alone.times)
        for back in range(window):
            assert same_bits(together.features[ends - back], alone.features[own - back]), (symbol, back)


def test_many_rows_of_one_symbol_are_shared_between_threads_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.pipeline.features.MANY_ROWS", 40)
    spec = strategy(INDICATORS, ("1h", "4h"), ("S00",), lags=2)
    bars = run_bars(spec, markets(), start=MONDAY + 50 * HOUR)
    alone = build_dataset(spec, bars).rows
    for threads in (2, 5):
        assert same_bits(build_dataset(spec, bars, threads=threads).rows.features, alone.features)


def test_what_is_read_does_not_depend_on_the_threads(tmp_path: Path) -> None:
    for symbol, frames in markets().items():
        write_bars(tmp_path, symbol, "1h", frames["1h"])
    spec = strategy(INDICATORS, ("1h",), SYMBOLS, BARRIERS, history_required=50)
    alone, shared = load_bars(spec, tmp_path), load_bars(spec, tmp_path, threads=3)
    assert list(shared.frames) == list(SYMBOLS)
    for name in ("first_bars", "sources", "fingerprints", "notes", "missing", "start", "end"):
        assert getattr(shared, name) == getattr(alone, name)
    assert all(same_bits(shared.clock[symbol], alone.clock[symbol]) for symbol in SYMBOLS)


@pytest.mark.parametrize("threads", [1, 3])
def test_stages_never_go_back_and_end_whole(threads: int) -> None:
    spec = several()
    told: list[tuple[str, float, str]] = []
    bars = run_bars(spec, markets())
    build_dataset(spec, bars, lambda name, fraction: told.append((name, fraction, threading.current_thread().name)), threads)
    for stage in ("indicators", "memberships", "features", "labels"):
        fractions = [fraction for name, fraction, _ in told if name == stage]
        assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert {thread for *_, thread in told} == {threading.current_thread().name}, "a callback may hold what belongs to its thread"


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("threads", [1, 3])
def test_a_callback_that_cancels_ends_all_of_it(threads: int, no_thread_left: None) -> None:
    begun: list[int] = []

    def work(number: int, step: Step) -> int:
        begun.append(number)
        step("first")
        return number

    def told(number: int, step: str | None) -> None:
        if number == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        [told(number, None) for number in in_order(work, 1000, threads, told)]
    assert len(begun) < 20


@pytest.mark.parametrize("threads", [1, 3])
def test_many_short_pieces_are_heard_of_one_by_one(threads: int) -> None:
    def work(number: int, step: Step) -> int:
        step("quick")
        return number

    heard: list[int] = []
    assert list(in_order(work, 50, threads, lambda number, name: heard.append(number))) == list(range(50))
    assert set(heard) == set(range(50))


def test_what_is_stored_is_looked_up_file_by_file(tmp_path: Path) -> None:
    for symbol in SYMBOLS:
        write_bars(tmp_path, symbol, "1h", plain_market(20, "1h"))
    looks: list[int] = []

    def stop() -> None:
        looks.append(1)
        if len(looks) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        stored_ranges(tmp_path, SYMBOLS, stop)
    assert len(looks) == 3


def test_who_waits_for_a_slow_piece_is_heard_of_and_can_cancel_it(no_thread_left: None) -> None:
    cancelled_at: list[float] = []
    steps = threading.Semaphore(0)

    def work(number: int, step: Step) -> None:
        while True:  # ends by its step alone
            steps.acquire(timeout=0.01)
            step("turning")

    def told(number: int, step: str | None) -> None:
        cancelled_at.append(time.monotonic())
        raise Cancelled

    with pytest.raises(Cancelled):
        list(in_order(work, 5, 2, told))
    assert time.monotonic() - cancelled_at[0] < 1


def test_of_two_pieces_that_fail_the_first_in_order_is_told(no_thread_left: None) -> None:
    second_failed = threading.Event()

    def work(number: int, step: Step) -> int:
        if number == 1:
            second_failed.set()
        elif number == 0:
            assert second_failed.wait(10)
        raise ValueError(f"piece {number}")

    with pytest.raises(ValueError, match="piece 0"):
        list(in_order(work, 5, 3, lambda number, step: None))


def test_only_a_few_results_wait_to_be_taken() -> None:
    finished: list[int] = []
    taken = in_order(lambda number, step: finished.append(number), 100, 2, lambda number, step: None)
    next(taken)
    deadline = time.monotonic() + 5
    while len(finished) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(finished) == 4
    taken.close()


# --- spans and weights -------------------------------------------------------------------------


def test_symbols_of_different_spans_keep_their_place_in_the_ledger() -> None:
    spec = several({"source": "context", "horizon": 3})
    bars = run_bars(spec, markets(), start=MONDAY + 50 * HOUR)
    prepared = prepare(spec, bars, data_threads=2)
    ledger = split_ledger(prepared.dataset, prepared.splits, bars)
    late, early = ledger["per_symbol"]["S01"], ledger["per_symbol"]["S03"]
    assert (late["train"] > 0, early["validation"], early["test"]) == (True, 0, 0)
    assert [span["part"] for span in ledger["spans"]["S03"]] == ["train"]
    assert ledger["spans"]["S01"][0]["first"] >= MONDAY + 250 * HOUR
    assert "S03 has no row in the validation or the test split" in prepared.notes
    for name, count in ledger["rows"].items():
        assert sum(of[name] for of in ledger["per_symbol"].values()) == count
        assert sum(span["rows"] for spans in ledger["spans"].values() for span in spans if span["part"] == name) == count


def test_balanced_symbols_weigh_the_same_also_where_rows_weigh_differently() -> None:
    spec = several()
    bars = run_bars(spec, markets(), start=MONDAY + 50 * HOUR)
    prepared = prepare(spec, bars)
    dataset, train = prepared.dataset, prepared.splits.train
    weights, symbols = learn_row_weights(dataset, prepared.splits), dataset.rows.symbols[train]
    assert weights is not None and weights[train].std() > 0.05
    total, epochs = np.zeros(len(SYMBOLS)), 400
    for epoch in range(epochs):
        order = epoch_order(3, epoch, len(train), symbols, "balanced")
        total += np.bincount(symbols[order], weights[train][order], minlength=len(SYMBOLS))
    present = np.unique(symbols)
    assert np.ptp(np.bincount(symbols)[present]) > 30, "the symbols have different numbers of rows"
    np.testing.assert_allclose(total[present] / epochs, len(train) / len(present), rtol=0.01)
