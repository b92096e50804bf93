"""Strategy text becomes a strategy, or every problem in it with line, column, path and the nearest valid thing."""

from __future__ import annotations

import datetime as dt
import json
import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies_app.grammar.reader import Problem, StrategyError, read_strategy, read_strategy_file, warnings_of
from strategies_app.grammar.schema import StrategySpec, feature_names
from tests.examples.strategy_texts import RIGHT, SAMPLES, changed, problems_of

# --- right strategies ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_sample_is_right_and_warns_of_nothing(path: Path) -> None:
    text, spec = read_strategy_file(path)
    assert text == path.read_text(encoding="utf-8")
    assert spec.name == path.stem
    assert spec.description
    assert spec.hypothesis
    assert spec.training_data.start
    assert spec.training_data.end
    assert warnings_of(spec) == []


def test_these_are_the_samples() -> None:
    assert {path.stem for path in SAMPLES} == {
        "minimal", "multi_output", "multi_timeframe", "multi_symbol", "triple_barrier", "raw_inputs",
        "regime", "events", "regression", "lstm", "gru",
    }  # fmt: skip


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_stored_effective_strategy_is_the_same_again(path: Path) -> None:
    _, spec = read_strategy_file(path)
    again = StrategySpec.model_validate(json.loads(json.dumps(spec.plain(), allow_nan=False)))
    assert again == spec
    assert feature_names(again) == feature_names(spec)


def test_features_stand_in_the_order_of_the_file() -> None:
    text = changed("  type: mlp\n", "  type: mlp\n  features: {lookback_periods: 1}\n")
    names = ["1d_rsi_zone_low", "1d_rsi_zone_high", "1w_rsi_zone_low", "1w_rsi_zone_high", "1d_macd_1.signal_raw"]
    assert feature_names(read_strategy(text)) == [*names, *(f"{name}_lag1" for name in names)]


def test_an_unquoted_version_is_accepted() -> None:
    assert read_strategy("version: 3.0\n" + RIGHT).version == "3.0"


def test_training_may_stand_under_model_as_it_did_once() -> None:
    older = changed("training:\n  labels: {source: zigzag}\n  epochs: 3\n", "").replace(
        "  type: mlp\n", "  type: mlp\n  training:\n    labels: {source: zigzag}\n    epochs: 3\n"
    )
    assert read_strategy(older) == read_strategy(RIGHT)


def test_training_under_model_is_checked_where_it_is_written() -> None:
    older = changed("training:\n  labels: {source: zigzag}\n  epochs: 3\n", "").replace(
        "  type: mlp\n", "  type: mlp\n  training:\n    labels: {source: zigzag}\n    epochs: 0\n"
    )
    assert problems_of(older) == [Problem("model.training.epochs", 20, 13, "seen 0, wanted at least 1")]


def test_symbols_that_look_like_booleans_are_text() -> None:
    assert read_strategy(changed("symbol: AAPL", "symbol: ON")).symbols == ("ON",)


def test_aliases_of_kinds_and_parameters_mean_the_same() -> None:
    spec = read_strategy(changed("{type: macd}", "{type: macd, fast: 5, slow: 10, signal: 3}"))
    assert spec.indicators["macd_1"].parameters == {"fast_period": 5, "slow_period": 10, "signal_period": 3, "source": "close"}


# --- every error, with its place -----------------------------------------------------------------

ERRORS = [
    # what is changed, into what, then path, line, column and message of the one problem
    ("name: right", "nam: right", [("", 1, 1, "missing key 'name'; is 'nam' meant as it?"),
                                   ("nam", 1, 1, "unknown key 'nam', did you mean 'name'?")]),
    ("name: right", "name: 5", [("name", 1, 7, "seen 5, wanted text in quotes")]),
    ("name: right", "name: a b", [
        ("name", 1, 7, "seen 'a b', wanted letters, digits, '_' and '-', at most 100, a letter or digit first")]),
    ("name: right", "name:", [("name", 1, 6, "seen nothing, wanted text")]),
    ("name: right", 'name: right\nversion: "2.0"', [("version", 2, 10, "unknown value '2.0', did you mean '3.0'?")]),
    # training_data
    ("mode: single", "mode: singel", [("training_data.symbols.mode", 3, 19, "unknown mode 'singel', did you mean 'single'?")]),
    ("mode: single, ", "", [("training_data.symbols", 3, 12, "missing key 'mode'")]),
    ("{mode: single, symbol: AAPL}", "AAPL", [("training_data.symbols", 3, 12, "seen 'AAPL', wanted a map")]),
    ("symbol: AAPL", "symbol: 7203", [("training_data.symbols.symbol", 3, 35, "seen 7203, wanted text in quotes")]),
    ("symbol: AAPL", "symbol: ../x", [("training_data.symbols.symbol", 3, 35,
        "seen '../x', wanted a symbol: at most 32 letters, digits and . _ ^ = - / : such as EURUSD, BRK.B, ^GSPC or BTC/USDT")]),
    ("symbol: AAPL", "symbl: AAPL", [
        ("training_data.symbols", 3, 12, "missing key 'symbol'; is 'symbl' meant as it?"),
        ("training_data.symbols.symbl", 3, 27, "unknown key 'symbl', did you mean 'symbol'?")]),
    ("{mode: single, symbol: AAPL}", "{mode: multi_symbol, list: [A, A]}", [
        ("training_data.symbols.list", 3, 39, "symbol 'A' is listed twice")]),
    ("{mode: single, symbol: AAPL}", "{mode: multi_symbol, list: []}", [
        ("training_data.symbols.list", 3, 39, "has 0 entries, wanted at least 1")]),
    ("[1d, 1w]", "[1d, 1w, 3h]", [("training_data.timeframes.list[2]", 4, 54,
        "unknown timeframe '3h', wanted one of 1m, 5m, 15m, 30m, 1h, 2h, 4h, 1d, 1w")]),
    ("[1d, 1w]", "[1d, 1w], base_timeframe: 1w", [("training_data.timeframes", 4, 15,
        "base_timeframe is '1w', wanted the highest frequency of the list, '1d'")]),
    ("indicators:", "  start_date: 2020-02-30\nindicators:", [
        ("training_data.start_date", 5, 15, "'2020-02-30' is not a day, wanted YYYY-MM-DD")]),
    ("indicators:", "  end_date: 2020\nindicators:", [("training_data.end_date", 5, 13, "seen 2020, wanted a day YYYY-MM-DD")]),
    ("indicators:", "  start_date: 2020-02-02\n  end_date: 2020-02-01\nindicators:", [
        ("training_data", 3, 3, "the start 2020-02-02 is after the end 2020-02-01")]),
    ("indicators:", "  start_date: 2020-02-02\n  date_range: {start: 2020-01-01, end: 2020-02-01}\nindicators:", [
        ("training_data", 3, 3, "dates are given twice, by date_range and by start_date or end_date")]),
    ("indicators:", "  history_required: 10\nindicators:", [
        ("training_data.history_required", 5, 21, "seen 10, wanted at least 50")]),
    # indicators
    ("period: 14", "perod: 14", [("indicators.rsi_14.perod", 6, 23, "unknown key 'perod', did you mean 'period'?")]),
    ("period: 14", "bogus: 14", [("indicators.rsi_14.bogus", 6, 23, "unknown key 'bogus', wanted one of type, period, source")]),
    ("period: 14", "rsi: 14", [("indicators.rsi_14.rsi", 6, 23, "unknown key 'rsi', wanted one of type, period, source")]),
    ("period: 14", "period: 101", [("indicators.rsi_14.period", 6, 31, "seen 101, wanted at most 100")]),
    ("period: 14", "period: 14.5", [("indicators.rsi_14.period", 6, 31, "seen 14.5, wanted a whole number")]),
    ("period: 14", "period: '14'", [("indicators.rsi_14.period", 6, 31, "seen '14', wanted a whole number without quotes")]),
    ("period: 14", "period: true", [("indicators.rsi_14.period", 6, 31, "seen true, wanted a whole number")]),
    ("period: 14", "source: clse", [("indicators.rsi_14.source", 6, 31, "unknown value 'clse', did you mean 'close'?")]),
    ("period: 14", "source: volume", [("indicators.rsi_14.source", 6, 31,
        "seen 'volume', wanted 'close', 'open', 'high', 'low', 'hl2', 'hlc3' or 'ohlc4'")]),
    ("type: rsi", "type: rsl", [("indicators.rsi_14.type", 6, 18, "unknown indicator 'rsl', did you mean 'rsi'?")]),
    ("type: rsi", "type: zigzag", [("indicators.rsi_14.type", 6, 18,
        "zigzag repaints: its past values use later bars, so it can be a label but no input")]),
    ("type: rsi", "type: 5", [("indicators.rsi_14.type", 6, 18, "seen 5, wanted the name of an indicator")]),
    ("type: rsi", "kind: rsi", [("indicators.rsi_14", 6, 11, "missing key 'type'")]),
    ("type: rsi", "tpye: rsi", [("indicators.rsi_14", 6, 11, "missing key 'type'; is 'tpye' meant as it?")]),
    ("{type: rsi, period: 14}", "rsi", [("indicators.rsi_14", 6, 11, "seen 'rsi', wanted a map such as {type: rsi, period: 14}")]),
    ("{type: macd}", "{type: macd, fast: 30}", [("indicators.macd_1", 7, 11,
        "fast_period is 30 and slow_period 26, wanted fast_period < slow_period")]),
    ("macd_1: {type: macd}", "macd_1: {type: macd}\n  close: {type: rsi}", [
        ("indicators.close", 8, 3, "'close' is reserved and cannot be an id")]),
    ("macd_1: {type: macd}", "macd_1: {type: macd}\n  a b: {type: rsi}", [
        ("indicators.a b", 8, 3, "seen 'a b', wanted letters, digits, '_' and '-', at most 100, a letter first")]),
    ("macd_1: {type: macd}", "macd_1: {type: macd}\n  " + "a" * 101 + ": {type: rsi}", [
        ("indicators." + "a" * 101, 8, 3, "text of 101 characters, wanted at most 100")]),
    # fuzzy sets
    ("indicator: rsi_14", "indicator: rsi14", [("fuzzy_sets.rsi_zone.indicator", 10, 16,
        "unknown indicator 'rsi14', did you mean 'rsi_14'?")]),
    ("indicator: rsi_14", "indicator: macd_1.histo", [("fuzzy_sets.rsi_zone.indicator", 10, 16,
        "'macd_1' (macd) has no output 'histo', did you mean 'histogram'?")]),
    ("indicator: rsi_14", "indicatr: rsi_14", [
        ("fuzzy_sets.rsi_zone", 10, 5, "missing key 'indicator'; is 'indicatr' meant as it?"),
        ("fuzzy_sets.rsi_zone.indicatr", 10, 5, "unknown key 'indicatr', did you mean 'indicator'?")]),
    ("indicator: rsi_14", "indicator: rsi_14\n    input_transform: {type: price_ration}", [
        ("fuzzy_sets.rsi_zone.input_transform.type", 11, 29, "unknown value 'price_ration', did you mean 'price_ratio'?")]),
    ("indicator: rsi_14", "indicator: rsi_14\n    input_transfrom: {type: price_ratio}", [
        ("fuzzy_sets.rsi_zone.input_transfrom", 11, 5, "unknown key 'input_transfrom', did you mean 'input_transform'?")]),
    ("indicator: rsi_14", "indicator: rsi_14\n    input_transform: price_ratio", [
        ("fuzzy_sets.rsi_zone.input_transform", 11, 22, "seen 'price_ratio', wanted a map such as {type: identity}")]),
    ("low: [0, 25, 45]", "low: [0, 45, 25]", [("fuzzy_sets.rsi_zone.low", 11, 10,
        "triangular points are [0, 45, 25], wanted a ≤ b ≤ c and a < c")]),
    ("low: [0, 25, 45]", "low: [5, 5, 5]", [("fuzzy_sets.rsi_zone.low", 11, 10,
        "triangular points are [5, 5, 5], wanted a ≤ b ≤ c and a < c")]),
    ("low: [0, 25, 45]", "low: [0, 25]", [("fuzzy_sets.rsi_zone.low", 11, 10,
        "a list of 2 points, wanted 3 (triangular) or 4 (trapezoidal)")]),
    ("low: [0, 25, 45]", "low: [-.inf, 25, 45]", [("fuzzy_sets.rsi_zone.low", 11, 10,
        "triangular points must be finite (only a trapezoid's a may be -.inf and its d .inf), seen [-.inf, 25, 45]")]),
    ("low: [0, 25, 45]", "low: [0, .nan, 45]", [("fuzzy_sets.rsi_zone.low[1]", 11, 14, "seen .nan, wanted a number")]),
    ("low: [0, 25, 45]", "low: [0, x, 45]", [("fuzzy_sets.rsi_zone.low[1]", 11, 14, "seen 'x', wanted a number")]),
    ("low: [0, 25, 45]", "low: 5", [("fuzzy_sets.rsi_zone.low", 11, 10, "seen 5, wanted a membership such as [0, 25, 40]")]),
    ("type: sigmoid", "type: sigmod", [("fuzzy_sets.rsi_zone.high.type", 12, 18, "unknown value 'sigmod', did you mean 'sigmoid'?")]),
    ("[65, 5]", "[65, 0]", [("fuzzy_sets.rsi_zone.high", 12, 11, "sigmoid width is 0, wanted any other number")]),
    ("[65, 5]", "[65]", [("fuzzy_sets.rsi_zone.high", 12, 11, "sigmoid has 1 parameters, wanted 2: centre, width")]),
    ("type: sigmoid, parameters: [65, 5]", "type: gaussian, parameters: [65, 0]", [
        ("fuzzy_sets.rsi_zone.high", 12, 11, "gaussian deviation is 0, wanted above 0")]),
    # nn_inputs
    ("fuzzy_set: rsi_zone", "fuzzy_set: rsi_zon", [("nn_inputs[0].fuzzy_set", 14, 17,
        "unknown fuzzy set 'rsi_zon', did you mean 'rsi_zone'?")]),
    ("raw_indicator: macd_1.signal", "raw_indicator: macd.signal", [("nn_inputs[1].raw_indicator", 15, 21,
        "unknown indicator 'macd', did you mean 'macd_1'?")]),
    ("raw_indicator: macd_1.signal", "raw_indicator: macd_1.foo", [("nn_inputs[1].raw_indicator", 15, 21,
        "'macd_1' (macd) has no output 'foo', wanted one of line, signal, histogram")]),
    ("timeframes: [1d]", "timeframes: [1h]", [("nn_inputs[1].timeframes[0]", 15, 49,
        "timeframe '1h' is not in training_data.timeframes (1d, 1w)")]),
    ("timeframes: [1d]", "timeframes: []", [("nn_inputs[1].timeframes", 15, 48, "has 0 entries, wanted at least 1")]),
    ("timeframes: all", "timeframes: al", [("nn_inputs[0].timeframes", 14, 39, "unknown value 'al', did you mean 'all'?")]),
    ("timeframes: all", "timeframes: 3", [("nn_inputs[0].timeframes", 14, 39, "seen 3, wanted 'all' or a list")]),
    ("timeframes: [1d]", "normalization: zscor", [("nn_inputs[1].normalization", 15, 51,
        "unknown value 'zscor', did you mean 'zscore'?")]),
    ("timeframes: all", "normalization: zscore", [("nn_inputs[0].normalization", 14, 27,
        "unknown key 'normalization', wanted one of fuzzy_set, timeframes")]),
    ("{fuzzy_set: rsi_zone, timeframes: all}", "rsi_zone", [("nn_inputs[0]", 14, 5, "seen 'rsi_zone', wanted a map")]),
    ("  - {raw", "  - {fuzzy_set: rsi_zone, timeframes: [1w]}\n  - {raw", [("nn_inputs[1]", 15, 5,
        "feature '1w_rsi_zone_low' is made here and by nn_inputs[0], wanted every name once")]),
    ("timeframes: [1d]", "timeframes: [1d, 1d]", [("nn_inputs[1]", 15, 5,
        "feature '1d_macd_1.signal_raw' is made twice by this entry, wanted every name once")]),
    # model, decisions
    ("type: mlp", "type: mpl", [("model.type", 17, 9, "unknown type 'mpl', did you mean 'mlp'?")]),
    ("type: mlp", "type: lstm", [("model", 17, 3, "missing key 'architecture'")]),
    ("type: mlp", "type: mlp\n  architecture: {hidden_layers: [64, 0]}", [
        ("model.architecture.hidden_layers[1]", 18, 38, "seen 0, wanted at least 1")]),
    ("type: mlp", "type: mlp\n  architecture: {dropout: 1}", [("model.architecture.dropout", 18, 27, "seen 1, wanted below 1")]),
    ("type: mlp", "type: mlp\n  architecture: {activation: rleu}", [
        ("model.architecture.activation", 18, 30, "unknown value 'rleu', did you mean 'relu'?")]),
    ("type: mlp", "type: mlp\n  training: {}", [("model.training", 18, 3,
        "training is given twice, here and as a section of its own, wanted the section alone")]),
    ("type: mlp", "type: mlp\n  features: {lookback_periods: 501}", [
        ("model.features.lookback_periods", 18, 32, "seen 501, wanted at most 500")]),
    ("confidence_threshold: 0.5", "confidence_threshold: 50", [
        ("decisions.confidence_threshold", 19, 25, "seen 50, wanted at most 1")]),
    ("  confidence_threshold: 0.5\n", "", [("decisions", 18, 11, "seen nothing, wanted a map")]),
    # training
    ("source: zigzag", "source: zigag", [("training.labels.source", 21, 20, "unknown source 'zigag', did you mean 'zigzag'?")]),
    ("source: zigzag", "source: context, bullish_threshold: -0.1", [("training.labels", 21, 11,
        "bearish_threshold is -0.005 and bullish_threshold -0.1, wanted bearish < bullish")]),
    ("source: zigzag", "source: forward_return", [("training.labels.source", 21, 20,
        "labels forward_return are numbers, but decisions.output_format is classification, wanted regression")]),
    ("epochs: 3", "epochs: 0", [("training.epochs", 22, 11, "seen 0, wanted at least 1")]),
    ("epochs: 3", "epochs: 3\n  loss: mse", [("training.loss", 23, 9,
        "loss 'mse' does not fit labels zigzag, which are classes, wanted cross_entropy or focal")]),
    ("epochs: 3", "epochs: 3\n  loss: focl", [("training.loss", 23, 9, "unknown value 'focl', did you mean 'focal'?")]),
    ("epochs: 3", "epochs: 3\n  lr_scheduler: cosin", [("training.lr_scheduler", 23, 17,
        "unknown value 'cosin', did you mean 'cosine'?")]),
    ("epochs: 3", "epochs: 3\n  learning_rate: .nan", [("training.learning_rate", 23, 18, "seen .nan, wanted a finite number")]),
    ("epochs: 3", "epochs: 3\n  early_stopping: {enabled: no}", [("training.early_stopping.enabled", 23, 29,
        "seen 'no', wanted true or false")]),
    ("epochs: 3", "epochs: 3\n  data_split: {train: 0.9}", [("training.data_split", 23, 15,
        "train + validation + test is 1.2, wanted 1")]),
    ("epochs: 3", "epochs: 3\n  stability: yes", [("training.stability", 23, 14, "seen 'yes', wanted 'off' or a map")]),
    ("epochs: 3", "epochs: 3\n  stability: {rolback: 1}", [
        ("training.stability.rolback", 23, 15, "unknown key 'rolback', did you mean 'rollback'?")]),
    ("epochs: 3", "epochs: 3\n  epochs: 4", [("training.epochs", 23, 3, "key 'epochs' is here a second time, first in line 22")]),
    ("type: macd", "type: ichimoku", [
        ("nn_inputs[1].raw_indicator", 15, 21,
         "'macd_1' (ichimoku) has no output 'signal', wanted one of tenkan, kijun, senkou_a, senkou_b")]),
    ("source: zigzag", "source: regime, vol_lookbak: 9", [("training.labels.vol_lookbak", 21, 28,
        "unknown key 'vol_lookbak', did you mean 'vol_lookback'?")]),
    ("source: zigzag", "source: triple_barrier, cusum_threshold: 2", [
        ("training.labels.cusum_threshold", 21, 53, "seen 2, wanted at most 1")]),
    ("type: mlp", "type: gru\n  architecture: {sequence_length: 1}", [
        ("model.architecture.sequence_length", 18, 35, "seen 1, wanted at least 2")]),
    ("epochs: 3", "epochs: 3\n  stability: {rollback: -1}", [("training.stability.rollback", 23, 25, "seen -1, wanted at least 0")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "expected"), ERRORS, ids=[f"{old.strip()[:20]}→{new.strip()[-40:]}" for old, new, _ in ERRORS]
)
def test_an_error_names_line_column_path_and_what_was_meant(
    old: str, new: str, expected: list[tuple[str, int, int, str]]
) -> None:
    assert problems_of(changed(old, new)) == [Problem(*parts) for parts in expected]


def test_a_missing_section_is_named_at_the_start() -> None:
    for section in ("training_data", "indicators", "fuzzy_sets", "nn_inputs", "model", "training"):
        text = re.sub(rf"(?m)^{section}:\n(  .*\n)+", "", RIGHT)
        assert Problem("", 1, 1, f"missing key '{section}'") in problems_of(text)


def test_a_fuzzy_set_without_membership_is_refused() -> None:
    text = changed("    low: [0, 25, 45]\n    high: {type: sigmoid, parameters: [65, 5]}\n", "")
    assert problems_of(text) == [Problem("fuzzy_sets.rsi_zone", 10, 5, "no membership, wanted at least one")]


COSTS = "output_format: regression\n  cost_model: {round_trip_cost: 0.001, min_edge_multiplier: 2}"


def regression(training: str = "") -> str:
    """RIGHT as a regression, with more lines in its training section."""
    text = changed("confidence_threshold: 0.5", COSTS).replace("source: zigzag", "source: forward_return")
    return text.replace("  epochs: 3\n", f"  epochs: 3\n{training}")


def test_regression_without_costs_and_with_classes_is_refused() -> None:
    text = changed("confidence_threshold: 0.5", "output_format: regression")
    assert Problem("decisions", 19, 3, "regression needs cost_model: {round_trip_cost, min_edge_multiplier}") in problems_of(text)
    assert problems_of(changed("confidence_threshold: 0.5", COSTS)) == [
        Problem("decisions.output_format", 19, 18, "labels zigzag are classes, but decisions.output_format is regression, wanted classification")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("loss: cross_entropy", ("training.loss", 24, 9, "loss 'cross_entropy' does not fit labels forward_return, which are numbers, wanted huber or mse")),
        ("early_stopping: {monitor: val_mcc}", ("training.early_stopping.monitor", 24, 29,
         "monitor 'val_mcc' is a measure of classes, but labels forward_return are numbers, wanted val_loss")),
        ("early_stopping: {monitor: val_accuracy}", ("training.early_stopping.monitor", 24, 29,
         "monitor 'val_accuracy' is a measure of classes, but labels forward_return are numbers, wanted val_loss")),
        ("huber_delta: 0", ("training.huber_delta", 24, 16, "seen 0, wanted above 0")),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_regression_is_refused_with_its_line(line: str, problem: tuple[str, int, int, str]) -> None:
    assert problems_of(regression(f"  {line}\n")) == [Problem(*problem)]


@pytest.mark.parametrize("loss", ["huber", "mse"])
def test_a_regression_is_read(loss: str) -> None:
    spec = read_strategy(regression(f"  loss: {loss}\n"))
    assert spec.class_names == () and spec.output_count == 1 and spec.training.loss_name == loss
    assert spec.decisions.cost_model is not None and spec.decisions.cost_model.edge == 0.002
    assert read_strategy(regression()).training.loss_name == "huber"


def test_class_weights_have_no_effect_on_a_regression_which_is_said_only_where_they_are_written() -> None:
    said = "training.class_weights: labels forward_return have no classes, so it has no effect"
    written = read_strategy(regression("  class_weights: none\n"))
    for spec in (written, StrategySpec.model_validate(written.plain())):
        assert said in warnings_of(spec)
    left_out = read_strategy(regression())
    for spec in (left_out, StrategySpec.model_validate(left_out.plain())):
        assert spec == left_out and said not in warnings_of(spec)


def test_a_name_that_a_lag_would_take_is_refused() -> None:
    text = changed("low: [0, 25, 45]", "low: [0, 25, 45]\n    low_lag2: [0, 25, 45]")
    assert read_strategy(text)
    lagged = changed("  type: mlp\n", "  type: mlp\n  features: {lookback_periods: 2}\n", text)
    message = "feature '1d_rsi_zone_low_lag2' is also lag 2 of '1d_rsi_zone_low', wanted every name once"
    assert Problem("nn_inputs[0]", 15, 5, message) in problems_of(lagged)


def test_two_entries_whose_names_collide_are_refused() -> None:
    text = changed("nn_inputs:\n", "  rsi:\n    indicator: rsi_14\n    zone_low: [0, 25, 45]\nnn_inputs:\n  - {fuzzy_set: rsi}\n")
    assert [p.path for p in problems_of(text)] == ["nn_inputs[1]"]


def test_more_features_than_a_machine_holds_are_refused() -> None:
    sets = "".join(f"  s{i}: {{indicator: rsi_14, a: [0, 1, 2], b: [0, 1, 2]}}\n" for i in range(30))
    inputs = "".join(f"  - {{fuzzy_set: s{i}}}\n" for i in range(30))
    text = changed("nn_inputs:\n", f"{sets}nn_inputs:\n{inputs}")
    text = changed("  type: mlp\n", "  type: mlp\n  features: {lookback_periods: 500}\n", text)
    assert [p.message for p in problems_of(text)] == ["62625 features, wanted at most 20000"]


def test_all_errors_of_all_sections_are_told_at_once_in_the_order_of_the_text() -> None:
    text = changed("name: right", "nme: right")
    text = changed("period: 14", "perod: 14", text)
    text = changed("indicator: rsi_14", "indicator: rsi14", text)
    text = changed("fuzzy_set: rsi_zone", "fuzzy_set: zone", text)
    text = changed("type: mlp", "type: mlp\n  layers: &x 3", text)
    text = changed("source: zigzag", "source: regim", text)
    problems = problems_of(text)
    assert [p.path for p in problems] == [
        "", "nme", "indicators.rsi_14.perod", "fuzzy_sets.rsi_zone.indicator", "nn_inputs[0].fuzzy_set",
        "model.layers", "training.labels.source",
    ]  # fmt: skip
    assert [p.line for p in problems] == sorted(p.line or 0 for p in problems)


def test_a_problem_reads_as_a_sentence() -> None:
    problem = problems_of(changed("period: 14", "perod: 14"))[0]
    assert str(problem) == "line 6, column 23, indicators.rsi_14.perod: unknown key 'perod', did you mean 'period'?"


@pytest.mark.parametrize(("text", "seen"), [("5", "5"), ("[a]", "a list"), ("just words", "'just words'")])
def test_a_text_that_is_no_map_is_refused(text: str, seen: str) -> None:
    assert problems_of(text) == [Problem("", 1, 1, f"seen {seen}, wanted a strategy: a map that starts with name:")]


def test_an_alias_is_told_once_and_not_again_as_a_missing_value() -> None:
    assert [str(p) for p in problems_of(changed("type: rsi", "type: *x"))] == [
        "line 6, column 18, indicators.rsi_14.type: alias *x, wanted the value written out"
    ]


def test_hundreds_of_errors_are_cut_off() -> None:
    problems = problems_of(RIGHT + "".join(f"bogus{i}: 1\n" for i in range(1000)))
    assert len(problems) == 201
    assert problems[-1].message == "and more problems than these"


# --- files ---------------------------------------------------------------------------------------


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"# " + b"x" * 10_000_000)
    with pytest.raises(StrategyError, match="the text has 10000002 bytes, wanted at most 65536"):
        read_strategy_file(path)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(StrategyError, match="line 2, column 118: the text is not UTF-8; is this a binary file"):
        read_strategy_file(path)


@pytest.mark.parametrize(
    ("name", "reason"), [("nothing.yaml", "does not exist"), (".", "is not a file"), ("a\0b", "does not exist")]
)
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(StrategyError, match=reason):
        read_strategy_file(tmp_path / name)


def test_line_endings_of_a_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(RIGHT.replace("\n", "\r\n").encode())
    text, spec = read_strategy_file(path)
    assert text == RIGHT.replace("\n", "\r\n")
    assert spec == read_strategy(RIGHT)


# --- options in place of a strategy's own values -------------------------------------------------


def test_symbols_and_timeframes_of_an_option_choose_the_mode() -> None:
    spec = read_strategy(RIGHT, symbols=["MSFT", "IBM"], timeframes=["1d"])
    assert spec.plain()["training_data"]["symbols"] == {"mode": "multi_symbol", "list": ["MSFT", "IBM"]}
    assert spec.plain()["training_data"]["timeframes"] == {"mode": "single", "timeframe": "1d"}
    assert read_strategy(RIGHT, symbols=["MSFT"]).plain()["training_data"]["symbols"] == {"mode": "single", "symbol": "MSFT"}


def test_a_base_timeframe_stays_only_while_it_is_right() -> None:
    text = changed("list: [1d, 1w]", "list: [1d, 1w], base_timeframe: 1d")
    assert read_strategy(text, timeframes=["1w", "1d"]).plain()["training_data"]["timeframes"]["base_timeframe"] == "1d"
    assert "base_timeframe" not in read_strategy(text, timeframes=["4h", "1d"]).plain()["training_data"]["timeframes"]


def test_one_date_of_an_option_keeps_the_other_of_a_date_range() -> None:
    text = changed("indicators:", "  date_range: {start: 2020-01-01, end: 2020-12-31}\nindicators:")
    data = read_strategy(text, start=dt.date(2020, 6, 1)).training_data
    assert (data.date_range, data.start, data.end) == (None, dt.date(2020, 6, 1), dt.date(2020, 12, 31))


def test_a_validation_split_keeps_test_and_embargo_and_gives_train_the_rest() -> None:
    text = changed("epochs: 3", "data_split: {train: 0.6, validation: 0.2, test: 0.2, embargo: 0.05}")
    split = read_strategy(text, validation_split=0.1).training.data_split
    assert (split.train, split.validation, split.test, split.embargo) == (0.7, 0.1, 0.2, 0.05)


def test_no_option_changes_nothing() -> None:
    assert read_strategy(RIGHT, symbols=None, validation_split=None) == read_strategy(RIGHT)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"symbols": ["A", "A"]}, "--symbols: symbol 'A' is listed twice"),
        ({"symbols": []}, "--symbols: has 0 entries, wanted at least 1"),
        ({"timeframes": ["1w"]}, "--timeframes: nn_inputs[1].timeframes[0]: timeframe '1d' is not in training_data.timeframes (1w)"),
        ({"start": "x"}, "--start: 'x' is not a day, wanted YYYY-MM-DD"),
        ({"start": "2021-01-01", "end": "2020-01-01"}, "--start: the start 2021-01-01 is after the end 2020-01-01"),
        ({"validation_split": 0.85}, "--validation-split: seen 0.85, wanted above 0 and, with the test split's 0.15, below 1"),
        ({"validation_split": 0.0}, "--validation-split: seen 0, wanted above 0 and, with the test split's 0.15, below 1"),
        ({"validation_split": float("nan")}, "--validation-split: seen nan, wanted above 0 and, with the test split's 0.15, below 1"),
    ],
)  # fmt: skip
def test_a_problem_that_an_option_brings_names_the_option(overrides: dict[str, object], message: str) -> None:
    assert [str(p) for p in problems_of(RIGHT, **overrides)] == [message]


# --- warnings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        ("{mode: single, symbol: AAPL}", "{mode: multi_symbol, list: [A, B]}",
         "nn_inputs[1]: raw input 'macd_1.signal' is in units of price or volume, which differ between the 2 symbols"),
        ("timeframes: [1d]}", "timeframes: [1d], normalization: none}",
         "nn_inputs[1]: raw input 'macd_1.signal' reaches the network without normalization"),
        ("type: rsi, period: 14", "type: obv",
         "indicators.rsi_14: obv depends on the first bar for ever: other bars before the start change it"),
        ("macd_1: {type: macd}", "macd_1: {type: macd}\n  spare: {type: rsi}", "indicators.spare: no nn_input uses it"),
        ("nn_inputs:", "  spare: {indicator: rsi_14, low: [0, 1, 2]}\nnn_inputs:", "fuzzy_sets.spare: no nn_input uses it"),
    ],
)  # fmt: skip
def test_what_is_probably_not_meant_is_a_warning(old: str, new: str, warning: str) -> None:
    assert warnings_of(read_strategy(RIGHT)) == []
    assert warnings_of(read_strategy(changed(old, new))) == [warning]


def test_a_price_in_a_fuzzy_set_of_several_symbols_is_a_warning_without_a_transform() -> None:
    text = changed("type: rsi, period: 14", "type: sma").replace(
        "{mode: single, symbol: AAPL}", "{mode: multi_symbol, list: [A, B]}"
    )
    assert [w for w in warnings_of(read_strategy(text)) if w.startswith("fuzzy_sets.rsi_zone: 'rsi_14' is in units of price")]
    text = changed("indicator: rsi_14", "indicator: rsi_14\n    input_transform: {type: price_ratio}", text)
    assert not [w for w in warnings_of(read_strategy(text)) if w.startswith("fuzzy_sets")]


# --- anything at all -----------------------------------------------------------------------------


def strategy_or_problems(text: str | bytes) -> None:
    """Anything else than a strategy or its problems in our own words is a bug."""
    try:
        spec = read_strategy(text)
    except StrategyError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.message
            assert not re.search("Input should|validation|pydantic|does not fit here|function-after", problem.message)
    else:
        assert StrategySpec.model_validate(json.loads(json.dumps(spec.plain(), allow_nan=False))) == spec
        assert len(set(feature_names(spec))) == len(feature_names(spec))
        warnings_of(spec)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(content: bytes) -> None:
    strategy_or_problems(content)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab1.:-[]{},&*!|>'\"#%@`?\n \t", max_size=120))
def test_random_yaml_is_refused(text: str) -> None:
    strategy_or_problems(text)


ODD = [
    "",
    "~",
    "[]",
    "{}",
    "x",
    "0",
    "-1",
    "1e9",
    ".nan",
    ".inf",
    "true",
    "[1]",
    "{a: 1}",
    "'x'",
    "&a",
    "*a",
    "!x",
    "99999999999",
    "all",
    "-",
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.randoms(use_true_random=False), st.integers(1, 4))
def test_a_sample_with_words_changed_is_a_strategy_or_refused(path: Path, chance: random.Random, changes: int) -> None:
    parts = re.split(r"([\w.]+|\n|[\[\]{},:])", re.sub("#.*", "", path.read_text(encoding="utf-8")))
    for _ in range(changes):
        at = chance.randrange(len(parts))
        parts[at] = chance.choice([*ODD, chance.choice(parts)])
    strategy_or_problems("".join(parts))


@pytest.mark.parametrize(
    "text",
    [
        "{" + "a," * 32_000 + "}",
        "indicators: {" + "".join(f"a{i}: {{type: rs}}, " for i in range(3000)) + "}",
        "indicators: {" + "".join(f"a{i}: {{type: rsi}}, " for i in range(2900)) + "}",
        "indicators: {a: {type: rsi}}\nfuzzy_sets: {" + "".join(f"b{i}: {{indicator: a{i}}}, " for i in range(2400)) + "}",
        "fuzzy_sets: {a: {" + "".join(f"b{i}: x, " for i in range(6000)) + "}}",
        "nn_inputs: [" + "{fuzzy_set: a}, " * 4000 + "]",
        "nn_inputs: [" + "*a, " * 15_000 + "]",
    ],
    ids=lambda text: text[:40],
)
def test_no_text_within_the_size_limit_takes_long(text: str) -> None:
    assert len(text) <= 65_536
    started = time.monotonic()
    strategy_or_problems(text)
    assert time.monotonic() - started < 10
