"""Each key of the grammar by itself: what is given is what the strategy holds, and what does not fit is refused at its place."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from strategies_app.grammar import schema, vocabulary
from strategies_app.grammar.reader import StrategyError, read_strategy
from strategies_app.grammar.schema import StrategySpec
from strategies_app.tools.meanings import EXAMPLE, SECTIONS, Section

#: Where the maps stand that the meanings name no place for, and what they hold besides the key in question.
PLACES: dict[type[BaseModel], tuple[tuple[str | int, ...], dict[str, Any]]] = {
    schema.SingleSymbol: (("training_data", "symbols"), {"mode": "single", "symbol": "AAPL"}),
    schema.SeveralSymbols: (("training_data", "symbols"), {"mode": "multi_symbol", "list": ["AAPL", "MSFT"]}),
    schema.SingleTimeframe: (("training_data", "timeframes"), {"mode": "single", "timeframe": "1d"}),
    schema.SeveralTimeframes: (("training_data", "timeframes"), {"mode": "multi_timeframe", "list": ["1d", "1w"]}),
    schema.DateRange: (("training_data", "date_range"), {"start": "2010-01-01", "end": "2011-12-31"}),
    schema.FuzzySet: (("fuzzy_sets", "rsi_zone"), {"indicator": "rsi_14", "low": [0, 25, 45]}),
    schema.InputTransform: (("fuzzy_sets", "rsi_zone", "input_transform"), {}),
    schema.Membership: (("fuzzy_sets", "rsi_zone", "low"), {"type": "gaussian", "parameters": [30, 5]}),
    schema.FuzzyInput: (("nn_inputs", 0), {"fuzzy_set": "rsi_zone"}),
    schema.RawInput: (("nn_inputs", 0), {"raw_indicator": "rsi_14"}),
    schema.RecurrentArchitecture: (("model", "architecture"), {"sequence_length": 2}),
    schema.Filters: (("decisions", "filters"), {}),
    schema.CostModel: (("decisions", "cost_model"), {"round_trip_cost": 0.001, "min_edge_multiplier": 1.0}),
}  # fmt: skip
#: Values other than the default for keys whose bounds and choices do not tell one.
OTHER: dict[str, Any] = {
    "name": "mine", "version": "3.0", "description": "of mine", "hypothesis": "it rises", "scope": "shares", "symbol": "MSFT",
    "symbols": {"mode": "single", "symbol": "IBM"}, "timeframe": "4h", "timeframes": ["1d"], "base_timeframe": "1d",
    "start_date": "2001-02-03", "end_date": "2012-02-03", "start": "2001-02-03", "end": "2012-02-03",
    "date_range": {"start": "2001-02-03", "end": "2002-02-03"}, "indicator": "macd_1.histogram", "parameters": [50.0, 9.0],
    "fuzzy_set": "rsi_zone", "raw_indicator": "macd_1.signal", "hidden_layers": [7], "train": 0.7, "validation": 0.15,
    "test": 0.15, "cusum_threshold": 0.01, "gamma": 0.25, "stability": "off", "round_trip_cost": 0.25, "loss": "focal",
    "bullish_threshold": 0.5, "bearish_threshold": -0.5, "epochs": 7, "sequence_length": 9, "min_edge_multiplier": 2.5, "output_format": "classification",
    "rollback": 5, "precision": "bfloat16",
}  # fmt: skip
#: Maps, told by the rows of what they hold.
MAPS = {
    "training_data", "indicators", "fuzzy_sets", "nn_inputs", "model", "decisions", "training", "architecture", "features", "filters", "cost_model", "labels", "data_split",
    "lr_scheduler", "early_stopping", "input_transform", "list",
}  # fmt: skip


def place(section: Section) -> tuple[tuple[str | int, ...], dict[str, Any]]:
    if section.model in PLACES:
        return PLACES[section.model]
    assert section.where is not None, f"{section.title} has no place"
    return section.where, section.rest


def keys() -> Iterator[Any]:
    for section in SECTIONS:
        where, rest = place(section)
        for name, information in section.model.model_fields.items():
            key = information.alias or name
            if key not in MAPS:
                yield pytest.param(where, rest, key, information, id=f"{section.title}: {key}")


def with_value(where: tuple[str | int, ...], rest: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(EXAMPLE)
    if where == ("model", "architecture") and "sequence_length" in rest:
        data["model"]["type"] = "lstm"
    if where == ("training_data", "timeframes") or (where == ("training_data",) and key == "timeframes"):
        data["nn_inputs"] = [{"fuzzy_set": "rsi_zone", "timeframes": "all"}]
    holder: Any = data
    for part in where[:-1]:
        holder = holder.setdefault(part, {}) if isinstance(holder, dict) else holder[part]
    own = {**copy.deepcopy(rest), key: value}
    if where == ("training", "labels") and not vocabulary.LABEL_CLASSES[rest["source"]]:
        data["decisions"] = {"output_format": "regression", "cost_model": {"round_trip_cost": 0.001, "min_edge_multiplier": 1.0}}
    if where == ():
        return data | own
    if isinstance(holder, list):
        holder[int(where[-1])] = own
        del holder[1:]
    else:
        holder[where[-1]] = own
    return data


def value_of(spec: StrategySpec, where: tuple[str | int, ...], key: str) -> Any:
    value: Any = spec.plain()
    for part in (*where, key):
        value = value[part]
    return value


def another(key: str, information: FieldInfo) -> Any:
    """A value that fits and, where there is one, is not the default."""
    if key in OTHER and not (key == "timeframes" and information.is_required()) and key != "patience":
        return OTHER[key]
    if key == "timeframes":
        return {"mode": "single", "timeframe": "1d"}
    choices = [c for c in getattr(information.annotation, "__args__", ()) if isinstance(c, str)]
    if choices:
        return next((c for c in choices if c != information.default), choices[0])
    if isinstance(information.default, bool):
        return not information.default
    if isinstance(information.default, int):
        return information.default + 1
    return information.default / 2 if information.default else 0.125


@pytest.mark.parametrize(("where", "rest", "key", "information"), list(keys()))
def test_what_is_given_is_what_the_strategy_holds(where: Any, rest: Any, key: str, information: FieldInfo) -> None:
    value = rest.get(key) if key in ("mode", "source", "type") and key in rest else another(key, information)
    spec = read_strategy(json.dumps(with_value(where, rest, key, value)))
    assert value_of(spec, where, key) == value


@pytest.mark.parametrize(("where", "rest", "key", "information"), list(keys()))
def test_what_does_not_fit_is_refused_at_its_key(where: Any, rest: Any, key: str, information: FieldInfo) -> None:
    wrong: list[Any] = [{"no": {"such": "map"}}]
    for note in information.metadata:
        wrong += [note.ge - 1] if isinstance(note, Ge) else [note.gt] if isinstance(note, Gt) else []
        wrong += [note.le + 1] if isinstance(note, Le) else [note.lt] if isinstance(note, Lt) else []
    for value in wrong:
        with pytest.raises(StrategyError) as caught:
            read_strategy(json.dumps(with_value(where, rest, key, value)))
        written = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in (*where, key)).removeprefix(".")
        assert any(written in p.path or p.path in written for p in caught.value.problems), (value, caught.value.problems)


def test_every_key_is_tried() -> None:
    tried = {parameter.id for parameter in keys()}
    assert len(tried) > 80
    assert {"filters: volume_filter", "decisions: position_awareness", "labels: context: bullish_threshold"} <= tried
