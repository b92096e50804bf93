"""`strategies schema`: editors take what the reader takes, and refuse what is wrong by itself."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from django.core.management import call_command
from pydantic import ValidationError

from strategies_app.grammar.reader import read_strategy
from strategies_app.grammar.schema import StrategySpec
from strategies_app.grammar.yaml_text import read_document
from strategies_app.starters import ideas
from strategies_app.tools.json_schema import strategy_schema
from strategies_app.tools.meanings import SECTIONS
from tests.examples.strategy_texts import RIGHT, SAMPLES, changed

TEXTS = [path.read_text(encoding="utf-8") for path in SAMPLES] + [idea.text for idea in ideas().values()] + [RIGHT]


def as_json(value: Any) -> Any:
    """What JSON has no number for is written as in the schema."""
    if isinstance(value, dict):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_json(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def data_of(text: str) -> Any:
    return as_json(read_document(text).data)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """As an editor gets it."""
    return json.loads(json.dumps(strategy_schema()))


@pytest.fixture(scope="module")
def editor(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema)


def test_it_is_a_schema_of_its_draft(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema_rs.meta.validate(schema)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(read_document(text).data["name"]))
def test_every_sample_and_idea_is_right(text: str, editor: jsonschema_rs.Draft202012Validator) -> None:
    assert [(e.instance_path, e.message) for e in editor.iter_errors(data_of(text))] == []


ALSO_RIGHT = [
    ("macd_1: {type: macd}", "macd_1: {type: macd, fast: 5, slow: 9}"), ("type: rsi, period: 14", "type: simplemovingaverage"),
    ("low: [0, 25, 45]", "low: [-.inf, 0, 25, .inf]"), ("epochs: 3", "lr_scheduler: cosine"), ("epochs: 3", "stability: off"),
    ("epochs: 3", "lr_scheduler: {type: step, gamma: 0.5}"), ("name: right", "name: right\nversion: 3.0"),
    ("symbol: AAPL}", "symbol: AAPL}\n  date_range: {start: 2020-01-01, end: 2021-01-01}"),
    ("model:\n  type: mlp\ndecisions:\n  confidence_threshold: 0.5\ntraining:\n  labels: {source: zigzag}\n  epochs: 3\n",
     "model:\n  type: mlp\n  training:\n    labels: {source: zigzag}\n"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), ALSO_RIGHT)
def test_short_forms_and_older_spellings_are_right(old: str, new: str, editor: jsonschema_rs.Draft202012Validator) -> None:
    text = changed(old, new)
    read_strategy(text)
    assert [(e.instance_path, e.message) for e in editor.iter_errors(data_of(text))] == []


BROKEN = [
    ("name: right", "name: not right"), ("name: right", "name: right\ntitle: x"), ("name: right", "name: right\nversion: 2.0"),
    ("period: 14", "period: 1"), ("period: 14", "period: 14.5"), ("period: 14", "perod: 14"), ("type: rsi", "type: rsx"),
    ("type: rsi", "type: zigzag"), ("{type: macd}", "{type: macd, source: vwap}"), ("{type: macd}", "{fast_period: 3}"),
    ("{type: macd}", "{type: macd, fast: 3, fast_period: 3}"), ("macd_1: {type: macd}", "close: {type: macd}"),
    ("macd_1: {type: macd}", "1st: {type: macd}"), ("low: [0, 25, 45]", "low: [0, 25]"), ("low: [0, 25, 45]", "low: {type: gaussian}"),
    ("low: [0, 25, 45]", "low: {type: gaussian, parameters: [1, 2, 3]}"), ("low: [0, 25, 45]", "low: 3"),
    ("    low: [0, 25, 45]\n    high: {type: sigmoid, parameters: [65, 5]}\n", ""), ("indicator: rsi_14", "indicater: rsi_14"),
    ("indicator: rsi_14", "indicator: rsi_14\n    input_transform: {type: ratio}"), ("fuzzy_set: rsi_zone", "fuzzy: rsi_zone"),
    ("timeframes: [1d]}", "timeframes: [3d]}"), ("timeframes: [1d]}", "normalization: zscor}"), ("list: [1d, 1w]", "list: [1d, 1d]"),
    ("mode: single, symbol: AAPL", "mode: single, list: [AAPL]"), ("mode: single", "mode: one"), ("type: mlp", "type: cnn"),
    ("type: mlp", "type: lstm"), ("type: mlp", "type: mlp\n  architecture: {dropout: 1}"), ("epochs: 3", "epochs: 0"),
    ("epochs: 3", "optimizer: adm"), ("epochs: 3", "lr_scheduler: cosin"), ("epochs: 3", "data_split: {train: 1}"),
    ("{source: zigzag}", "{source: zigzag, horizon: 3}"), ("{source: zigzag}", "{source: forward_return}"),
    ("epochs: 3", "loss: huber"), ("confidence_threshold: 0.5", "confidence_threshold: 2"),
    ("confidence_threshold: 0.5", "output_format: regression\n  cost_model: {round_trip_cost: 0, min_edge_multiplier: 1}"),
    ("training:\n  labels: {source: zigzag}\n  epochs: 3\n", ""), ("symbol: AAPL}", "symbol: AAPL}\n  start_date: 1.1.2020"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), BROKEN)
def test_what_is_wrong_by_itself_is_refused(old: str, new: str, editor: jsonschema_rs.Draft202012Validator) -> None:
    assert not editor.is_valid(data_of(changed(old, new)))


def mutations(data: Any) -> Iterator[Any]:
    """The data, each time with another value replaced or left out."""

    def places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        yield path
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            yield from places(inner, (*path, key))

    for path in list(places(data, ()))[1:]:
        for other in (None, True, 0, 1, 3, 0.5, -1, 60, "x", "1d", "none", [], [1, 2, 3], {}, {"type": "sma"}, ...):
            whole = copy.deepcopy(data)
            holder = whole
            for part in path[:-1]:
                holder = holder[part]
            if other is ...:
                del holder[path[-1]]
            else:
                holder[path[-1]] = other
            yield whole


@pytest.mark.parametrize("text", [RIGHT, ideas()["breakout"].text], ids=["right", "breakout"])
def test_what_the_reader_takes_is_never_marked_as_wrong(text: str, editor: jsonschema_rs.Draft202012Validator) -> None:
    taken = 0
    for data in mutations(data_of(text)):
        try:
            StrategySpec.model_validate(data)
        except ValidationError:
            continue
        taken += 1
        assert editor.is_valid(data), data
    assert taken > 50, "the law has something to say"


def test_every_key_has_its_meaning_default_and_bounds(schema: dict[str, Any]) -> None:
    parts = schema["$defs"] | {"StrategySpec": schema}
    parts["Membership"] = parts["Membership"]["then"]
    silent = [
        f"{section.title}.{key}"
        for section in SECTIONS
        for key, words in section.meanings.items()
        if words not in ("", "keys below") and not parts[section.model.__name__]["properties"][key].get("description")
    ]
    assert silent == []
    assert parts["rsi"]["properties"]["period"] == {"default": 14, "minimum": 2, "maximum": 100, "type": "integer"}


def test_the_command_prints_or_writes_it(tmp_path: Path) -> None:
    output, file = StringIO(), tmp_path / "strategy.schema.json"
    call_command("strategies", "schema", stdout=output)
    call_command("strategies", "schema", "--to", str(file), stdout=StringIO(), stderr=StringIO())
    file.write_text("older")
    call_command("strategies", "schema", "--to", str(file), "--force", stdout=StringIO(), stderr=StringIO())
    assert json.loads(output.getvalue()) == json.loads(file.read_text()) == json.loads(json.dumps(strategy_schema()))
