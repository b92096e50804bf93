"""Strategy texts for tests: a right one, and ways to make it wrong."""

from __future__ import annotations

import pytest

from strategies_app.grammar.reader import Problem, StrategyError, read_strategy
from tests.examples.homes import ROOT

SAMPLES = sorted((ROOT / "strategies_app" / "samples").glob("*.yaml"))

RIGHT = """\
name: right
training_data:
  symbols: {mode: single, symbol: AAPL}
  timeframes: {mode: multi_timeframe, list: [1d, 1w]}
indicators:
  rsi_14: {type: rsi, period: 14}
  macd_1: {type: macd}
fuzzy_sets:
  rsi_zone:
    indicator: rsi_14
    low: [0, 25, 45]
    high: {type: sigmoid, parameters: [65, 5]}
nn_inputs:
  - {fuzzy_set: rsi_zone, timeframes: all}
  - {raw_indicator: macd_1.signal, timeframes: [1d]}
model:
  type: mlp
decisions:
  confidence_threshold: 0.5
training:
  labels: {source: zigzag}
  epochs: 3
"""


def changed(old: str, new: str, text: str = RIGHT) -> str:
    """`text` with `old`, which stands in it once, replaced by `new`."""
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    return text.replace(old, new)


def problems_of(text: str | bytes, **overrides: object) -> list[Problem]:
    with pytest.raises(StrategyError) as caught:
        read_strategy(text, **overrides)  # type: ignore[arg-type]
    return list(caught.value.problems)
