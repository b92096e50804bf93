"""The strategy grammar as a JSON Schema (draft 2020-12), for editors: the schema's own models, said as the reader reads them.

What needs two places at once (a fuzzy set's indicator must exist, points in order, shares that sum to 1) only the reader checks.
"""

from __future__ import annotations

import re
from typing import Any

from strategies_app.grammar import plugins, schema, vocabulary
from strategies_app.grammar.schema import StrategySpec
from strategies_app.tools.meanings import LABELS, SECTIONS

Schema = dict[str, Any]
_DAY = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "format": "date"}
_POINT = {"anyOf": [{"type": "number"}, {"enum": ["inf", "-inf"]}]}


def strategy_schema() -> Schema:
    """The whole schema, JSON-ready."""
    made = StrategySpec.model_json_schema(by_alias=True, mode="validation")
    parts: dict[str, Schema] = made.pop("$defs")
    _describe(made, parts)
    _maps_by_id(made, parts)
    _short_forms(made, parts)
    _older_spellings(made, parts)
    _outputs_fit(made, parts)
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "KTRDR strategy, grammar version 3", **made}
    result: Schema = _plain({**whole, "$defs": parts}, parts)
    return result


def _describe(made: Schema, parts: dict[str, Schema]) -> None:
    """The meanings of the reference, at every key."""
    for section in SECTIONS:
        part = made if section.model is StrategySpec else parts.get(section.model.__name__, {})
        for key, words in section.meanings.items():
            text = "" if words == "keys below" else _without_marks(words)
            if text and key in part.get("properties", {}):
                part["properties"][key]["description"] = text
        if section in LABELS and "properties" in part:
            part["description"] = _without_marks(section.before).partition("\n")[0]
    for name, kind in plugins.indicators().items():
        if name in parts:
            outputs = f" Outputs: {', '.join(kind.outputs)}." if len(kind.outputs) > 1 else ""
            parts[name]["description"] = f"{kind.formula}.{outputs}"


def _without_marks(words: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", words).replace("`", "").replace("**", "")


def _maps_by_id(made: Schema, parts: dict[str, Schema]) -> None:
    """Maps whose keys are ids, and unions whose kind is named by a key that tells which map is meant."""
    ids = {"pattern": schema.ID, "maxLength": 100, "not": {"enum": sorted(vocabulary.RESERVED_IDS)}}
    for key in ("indicators", "fuzzy_sets"):
        section = made["properties"][key]
        (value,) = section.pop("patternProperties").values()
        section |= {
            "propertyNames": ids,
            "additionalProperties": _by_kind(value, parts, "type") if key == "indicators" else value,
        }
    made["properties"]["nn_inputs"]["items"] = {
        "type": "object", "if": {"required": ["raw_indicator"]},
        "then": {"$ref": "#/$defs/RawInput"}, "else": {"$ref": "#/$defs/FuzzyInput"},
    }  # fmt: skip
    parts["FuzzySet"]["propertyNames"] = {"pattern": schema.ID, "maxLength": 100}
    parts["FuzzySet"] |= {
        "minProperties": 2, "if": {"required": ["input_transform"]}, "then": {"minProperties": 3},
    }  # fmt: skip


def _by_kind(union: Schema, parts: dict[str, Schema], key: str) -> Schema:
    """Which of the union's maps is meant is told by `key` alone, so an editor speaks of that one and no other."""
    spellings: list[str] = []
    cases = []
    for reference in union["oneOf"]:
        named = parts[reference["$ref"].rpartition("/")[2]]["properties"][key]
        own = named.get("enum", [named.get("const")])
        spellings += own
        cases.append({"if": {"properties": {key: {"enum": own}}, "required": [key]}, "then": reference})
    return {"type": "object", "required": [key], "properties": {key: {"enum": spellings}}, "allOf": cases}


def _short_forms(made: Schema, parts: dict[str, Schema]) -> None:
    """What may be written in fewer words than the models have."""
    version = made["properties"]["version"]
    made["properties"]["version"] = {"enum": ["3.0", 3.0], "default": "3.0", "description": version["description"]}
    shapes = {3: "triangular", 4: "trapezoidal"}
    lists = [{"type": "array", "items": _POINT, "minItems": n, "maxItems": n, "description": s} for n, s in shapes.items()]
    whole = parts["Membership"]
    whole["properties"]["parameters"]["items"] = _POINT
    whole["allOf"] = [
        {
            "if": {"properties": {"type": {"const": kind.name}}, "required": ["type"]},
            "then": {"properties": {"parameters": {
                "minItems": len(kind.points), "maxItems": len(kind.points), "description": ", ".join(kind.points),
            }}},
        }
        for kind in vocabulary.MEMBERSHIPS.values()
    ]  # fmt: skip
    parts["Membership"] = {
        "description": whole.pop("description"), "type": ["array", "object"], "if": {"type": "object"},
        "then": whole, "else": {"oneOf": lists},
    }  # fmt: skip
    names = parts["Scheduler"]["properties"]["type"]["enum"]
    schedule = parts["Training"]["properties"]["lr_scheduler"]
    schedule |= {"anyOf": [{"enum": names}, {"$ref": schedule.pop("$ref")}]}
    for part, key in (("SeveralTimeframes", "list"), ("SeveralSymbols", "list")):
        parts[part]["properties"][key]["uniqueItems"] = True
    timeframe = {"type": "string", "enum": list(vocabulary.TIMEFRAMES)}
    parts["SingleTimeframe"]["properties"]["timeframe"] |= timeframe
    parts["SeveralTimeframes"]["properties"]["list"]["items"] = timeframe
    parts["SeveralTimeframes"]["properties"]["base_timeframe"]["anyOf"][0] = timeframe
    for part in ("FuzzyInput", "RawInput"):
        parts[part]["properties"]["timeframes"]["anyOf"][1]["items"] = timeframe


def _older_spellings(made: Schema, parts: dict[str, Schema]) -> None:
    """Aliases of parameters, and `training` inside the model: taken, and marked as older."""
    for name, kind in plugins.indicators().items():
        for parameter in kind.parameters if name in parts else ():
            for alias in parameter.aliases:
                part = parts[name]
                part["properties"][alias] = part["properties"][parameter.name] | {"deprecated": True}
                part.setdefault("allOf", []).append({"not": {"required": [alias, parameter.name]}})
    made["required"].remove("training")
    inside = {"properties": {"model": {"type": "object", "required": ["training"]}}, "required": ["model"]}
    made |= {"if": inside, "then": {"properties": {"training": False}}, "else": {"required": ["training"]}}
    for reference in made["properties"]["model"]["oneOf"]:
        part = parts[reference["$ref"].rpartition("/")[2]]
        part["properties"]["training"] = {"$ref": "#/$defs/Training", "deprecated": True}


def _outputs_fit(made: Schema, parts: dict[str, Schema]) -> None:
    """Labels that are classes go with classification and its losses, labels that are numbers with regression."""
    decisions = parts["Decisions"]
    decisions["if"] = {"properties": {"output_format": {"const": "regression"}}, "required": ["output_format"]}
    decisions["then"] = {"required": ["cost_model"], "properties": {"cost_model": {"type": "object"}}}
    numbers = [source for source, classes in plugins.label_classes().items() if not classes]

    def labelled(sources: list[str]) -> Schema:
        source = {"type": "object", "properties": {"source": {"enum": sources}}, "required": ["source"]}
        return {"type": "object", "properties": {"labels": source}, "required": ["labels"]}

    parts["Training"]["allOf"] = [
        {"if": labelled(numbers), "then": {"properties": {"loss": {"enum": ["huber", "mse", None]}}}},
        {"if": labelled([s for s in plugins.label_classes() if s not in numbers]),
         "then": {"properties": {"loss": {"enum": ["cross_entropy", "focal", None]}}}},
    ]  # fmt: skip
    output = {"type": "object", "properties": {"output_format": {"const": "regression"}}, "required": ["output_format"]}
    given = {"properties": {"training": labelled(numbers)}, "required": ["training"]}
    classes = {"properties": {"training": labelled([s for s in plugins.label_classes() if s not in numbers])}}
    made["allOf"] = [
        {"if": given, "then": {"required": ["decisions"], "properties": {"decisions": output}}},
        {"if": {**classes, "required": ["training"]},
         "then": {"properties": {"decisions": {"properties": {"output_format": {"const": "classification"}}}}}},
    ]  # fmt: skip


def _plain(value: Any, parts: dict[str, Schema]) -> Any:
    """Without what is for Python: titles of fields, defaults of whole maps; days as they are written; unions by their kind."""
    if isinstance(value, list):
        return [_plain(one, parts) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("format") == "date":
        return {**value, **_DAY}
    if "discriminator" in value:
        key = value["discriminator"]["propertyName"]
        value = {k: v for k, v in value.items() if k not in ("discriminator", "oneOf")} | _by_kind(value, parts, key)
    return {
        key: _plain(inner, parts)
        for key, inner in value.items()
        if not (key == "title" and isinstance(inner, str) and "$schema" not in value)
        and not (key == "default" and (isinstance(inner, dict) or inner is None))
    }
