"""A preview shows the pipeline's own values: outputs, degrees, labels and features of a symbol's last bars; what is left out is said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings

from strategies_app.grammar.reader import StrategyError, read_strategy
from strategies_app.grammar.schema import TripleBarrierLabels, feature_names, output_of
from tests.examples.api import store_bars
from tests.examples.homes import STRATEGY
from tests.examples.pipeline import plain_market
from tests.examples.strategy_texts import SAMPLES, changed
from training.bars.series import load_samples, store_frame
from training.pipeline.dataset import fill_symbol
from training.pipeline.features import bar_columns, degrees, plan_features, transform
from training.pipeline.frames import bar_times
from training.pipeline.indicators import compute
from training.pipeline.labels import compute_labels
from training.pipeline.loading import RunBars, load_bars
from training.store.coverage import DataError
from training.workers import preview as preview_module
from training.workers.preview import PreviewError, preview

TEXT = STRATEGY.format(name="seen", epochs=2, batch_size=128)


@pytest.fixture
def bars(db: None) -> Iterator[None]:
    store_bars()
    yield
    for path in Path(settings.STORE_DIR).glob("*.parquet"):
        path.unlink()


def whole_run(text: str, symbol: str = "AAPL") -> tuple[Any, RunBars]:
    spec = read_strategy(text, symbols=[symbol])
    return spec, load_bars(spec, Path(settings.STORE_DIR))


def plain(values: Any) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def test_outputs_are_those_of_the_pipeline_on_every_timeframe(bars: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_module, "MOST_CANDLES", 10_000)
    seen = preview(TEXT, "AAPL", bars=preview_module.MOST_BARS)
    spec, run = whole_run(TEXT)
    assert list(seen["series"]) == ["1d", "1w"]
    for timeframe, series in seen["series"].items():
        frame = run.frames["AAPL"][timeframe]
        first = len(frame) - series["bars"]
        assert series["close"] == plain(frame["close"].to_numpy()[first:])
        assert series["outputs"], timeframe
        for output in series["outputs"]:
            identifier, _, name = output["name"].partition(".")
            indicator = spec.indicators[identifier]
            wanted = compute(indicator.kind.name, indicator.parameters, bar_columns(frame))[name]
            assert output["values"] == plain(wanted[first:]), output["name"]


def test_degrees_are_the_columns_of_the_network(bars: None) -> None:
    """The share of silent bars, worked out again from the feature matrix that training would see."""
    text = changed("low: [0, 30, 50], middle: [30, 50, 70]", "low: [0, 30, 45], middle: [48, 50, 70]", TEXT)
    seen = preview(text, "AAPL", bars=preview_module.MOST_BARS)
    spec, run = whole_run(text)
    plan, frames = plan_features(spec), run.frames["AAPL"]
    matrix = np.empty((len(frames["1d"]), len(plan.names)), dtype=np.float32)
    block, rows = fill_symbol(spec, plan, frames, run.start, matrix, lambda name: None)
    zone = next(s for s in seen["fuzzy_sets"] if (s["name"], s["timeframe"]) == ("zone", "1d"))
    columns = [plan.names.index(f"1d_zone_{m['name']}") for m in zone["memberships"]]
    strongest = block[:, columns].max(axis=1)
    assert len(strongest) == zone["values"] == seen["bars"] == len(rows.times)
    assert zone["silent_share"] == float(np.mean(strongest == 0))
    assert zone["faint_share"] == float(np.mean(strongest < preview_module.FAINT))
    assert zone["faint_share"] > zone["silent_share"] > 0


def test_curves_are_degrees_over_a_histogram_of_the_real_values(bars: None) -> None:
    text = changed("zone: {indicator: rsi_14,", "zone: {indicator: rsi_14, input_transform: {type: price_ratio},", TEXT)
    text = changed("[50, 70, 100]", "{type: sigmoid, parameters: [0.9, 0.1]}", text)
    seen = preview(text, "AAPL", bars=400)
    spec, run = whole_run(text)
    for shown in seen["fuzzy_sets"]:
        fuzzy_set = spec.fuzzy_sets[shown["name"]]
        x = np.array(shown["x"])
        assert np.all(np.diff(x) > 0)
        for curve in shown["memberships"]:
            assert curve["degrees"] == plain(degrees(fuzzy_set.memberships[curve["name"]], x))
        identifier, output = output_of(fuzzy_set.indicator, spec.indicators)
        columns = bar_columns(run.frames["AAPL"][shown["timeframe"]])
        values = compute("rsi", spec.indicators[identifier].parameters, columns)[output]
        values = transform(values, columns["close"], "price_ratio")[-shown["values"] :]
        inside = values[(values >= shown["histogram"]["edges"][0]) & (values <= shown["histogram"]["edges"][-1])]
        assert sum(shown["histogram"]["counts"]) == len(inside) == shown["values"] - shown["outside"]


def test_labels_and_their_balance_are_those_of_the_pipeline(bars: None) -> None:
    seen = preview(TEXT, "AAPL", bars=preview_module.MOST_BARS)["labels"]
    spec, run = whole_run(TEXT)
    frame = run.frames["AAPL"]["1d"]
    first = int(np.searchsorted(bar_times(frame), run.start))
    column = compute_labels(spec, bar_columns(frame))
    values, ends = column.values[first:], column.ends[first:]
    counts = np.bincount(values[ends >= 0], minlength=3)
    assert [c["name"] for c in seen["classes"]] == ["BUY", "HOLD", "SELL"]
    assert [c["count"] for c in seen["classes"]] == counts.tolist()
    assert sum(c["share"] for c in seen["classes"]) == pytest.approx(1)
    assert (seen["labelled"], seen["unlabelled"], seen["longest_look_ahead"]) == (counts.sum(), 10, 10)
    buy = np.flatnonzero((values == 0) & (ends >= 0))
    times = [f"{np.datetime64(int(t), 'us').astype('M8[s]')}Z" for t in bar_times(frame)[first:][buy]]
    assert set(seen["classes"][0]["times"]) <= set(times)


def test_only_events_are_counted_where_only_events_are_kept(bars: None) -> None:
    text = re.sub(r"labels: {.*}", "labels: {source: triple_barrier, max_holding_period: 10, cusum_threshold: 0.03}", TEXT)
    assert text != TEXT
    seen = preview(text, "AAPL", bars=preview_module.MOST_BARS)["labels"]
    spec, run = whole_run(text)
    frame = run.frames["AAPL"]["1d"]
    first = int(np.searchsorted(bar_times(frame), run.start))
    column = compute_labels(spec, bar_columns(frame))
    assert column.events is not None
    kept = (column.ends >= 0)[first:] & column.events[first:]
    assert [c["count"] for c in seen["classes"]] == np.bincount(column.values[first:][kept], minlength=3).tolist()
    assert 0 < seen["labelled"] == kept.sum() < 0.8 * len(kept)


def test_features_are_in_their_order(bars: None) -> None:
    seen = preview(TEXT, "AAPL", bars=300)
    names = feature_names(read_strategy(TEXT))
    assert seen["features"] == names and seen["feature_count"] == len(names) == 7


def test_only_the_last_bars_are_looked_at_and_it_says_so(bars: None) -> None:
    seen = preview(TEXT, "AAPL", bars=250)
    assert seen["bars"] == seen["series"]["1d"]["bars"] == 250
    assert seen["to"] == "2010-12-31T00:00:00Z", "the strategy's own dates"
    assert 50 <= seen["series"]["1w"]["bars"] <= 53
    assert "these are the last 250 1d bars of 2003-01-01 to 2010-12-31; a training sees all of them" in seen["notes"]
    assert not [note for note in preview(TEXT, "AAPL", bars=preview_module.MOST_BARS)["notes"] if "the last" in note]


def test_the_last_candles_are_drawn_bar_by_bar(bars: None) -> None:
    seen = preview(TEXT, "AAPL")
    series = seen["series"]["1d"]
    _, run = whole_run(TEXT)
    frame = run.frames["AAPL"]["1d"].iloc[-preview_module.MOST_CANDLES :]
    assert series["bars"] == preview_module.BARS and len(series["times"]) == preview_module.MOST_CANDLES
    for name in ("open", "high", "low", "close"):
        assert series[name] == plain(frame[name].to_numpy())
    assert {len(output["values"]) for output in series["outputs"]} == {preview_module.MOST_CANDLES}
    marked = {time for one in seen["labels"]["classes"] for time in one["times"]}
    assert marked == set(series["times"][:-10]), "each candle has its label, but for the last ten"


def test_what_no_input_uses_yet_is_drawn_too(bars: None) -> None:
    text = changed("  macd_1: {type: macd}", "  macd_1: {type: macd}\n  cci_9: {type: cci, period: 9}", TEXT)
    text = changed("nn_inputs:", "  loose: {indicator: cci_9, up: [0, 50, 100]}\nnn_inputs:", text)
    seen = preview(text, "AAPL", bars=300)
    assert "cci_9.value" in [o["name"] for o in seen["series"]["1d"]["outputs"]]
    loose = [s for s in seen["fuzzy_sets"] if s["name"] == "loose"]
    assert [s["timeframe"] for s in loose] == ["1d"]
    assert loose[0]["silent_share"] > 0.3, "a CCI is below 0 half of the time"


def test_one_timeframe_may_be_asked_for(bars: None) -> None:
    text = changed(", timeframes: [1d]", "", TEXT)
    seen = preview(text, "AAPL", "1w", bars=100)
    assert list(seen["series"]) == ["1w"] and seen["base_timeframe"] == "1w"
    assert "AAPL 1w resampled from 1d" in seen["notes"]


def test_it_is_json_without_nan(bars: None) -> None:
    text = changed("  start_date: 2003-01-01\n  end_date: 2010-12-31\n", "  end_date: 2000-10-31\n", TEXT)
    seen = preview(text, "AAPL", "1d")
    assert json.loads(json.dumps(seen, allow_nan=False)) == seen
    assert None in seen["series"]["1d"]["outputs"][0]["values"], "the warm-up at the first stored bar has no value"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_sample_can_be_seen(db: None, path: Path) -> None:
    load_samples()
    text = path.read_text()
    seen = preview(text, read_strategy(text).symbols[0])
    spec = read_strategy(text)
    assert seen["bars"] == preview_module.BARS
    assert {s["name"] for s in seen["fuzzy_sets"]} == set(spec.fuzzy_sets)
    only_events = isinstance(labels := spec.training.labels, TripleBarrierLabels) and labels.cusum_threshold is not None
    assert seen["labels"]["labelled"] > (100 if only_events else 1_000)


def test_a_million_bars_are_no_longer_an_answer_than_a_few(db: None) -> None:
    text = changed("list: [1d, 1w]", "list: [1m, 1h]", TEXT)
    text = changed("timeframes: [1d]", "timeframes: [1m]", text)
    text = changed("  start_date: 2003-01-01\n  end_date: 2010-12-31\n", "", text)
    store_frame("MANY", "1m", plain_market(1_000_000, "1m"), source="made up")
    try:
        seen = preview(text, "MANY")
        assert seen["bars"] == preview_module.BARS
        assert len(json.dumps(seen)) < 500_000
    finally:
        for file in Path(settings.STORE_DIR).glob("MANY*"):
            file.unlink()


def test_what_cannot_be_shown_is_refused_in_a_sentence(bars: None) -> None:
    with pytest.raises(StrategyError, match="unknown key"):
        preview(changed("name: seen", "name: seen\nnam: x", TEXT), "AAPL")
    with pytest.raises(DataError, match="no bars of NONE are stored"):
        preview(TEXT, "NONE")
    with pytest.raises(PreviewError, match="1 to 20,000 bars, seen 20,001"):
        preview(TEXT, "AAPL", bars=20_001)
    with pytest.raises(StrategyError):
        preview(TEXT, "../../etc/passwd")
