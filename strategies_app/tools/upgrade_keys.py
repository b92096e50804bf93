"""Maps of a version 2 text → the maps of the schema: keys by their present names, values by the words of today."""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from strategies_app.grammar import schema, vocabulary
from strategies_app.grammar.schema import Path
from strategies_app.grammar.wording import one_of
from strategies_app.tools.older_words import known_key, known_timeframe, known_word, squeezed
from strategies_app.tools.yaml_writer import Node


@dataclass
class Work:
    """What is found out on the way, each with its path in the version 2 text."""

    changes: list[tuple[Path, str]] = field(default_factory=list)
    left: list[tuple[Path, Node]] = field(default_factory=list)
    problems: list[tuple[Path, str]] = field(default_factory=list)

    def change(self, node: Node, message: str) -> None:
        self.changes.append((node.origin or (), message))

    def leave_out(self, path: Path, node: Node) -> None:
        self.left.append((path, node))


def fitted(node: Node, model: type[BaseModel], work: Work) -> Node:
    """The map with the keys that `model` knows; the others are left out. What is no map is left to the reader."""
    node = _short_forms(node, model, work)
    if not isinstance(node.value, dict):
        return node
    known = {info.alias or name: info.annotation for name, info in model.model_fields.items()}
    result: dict[str, Node] = {}
    for key, child in node.value.items():
        name = known_key(key, known)
        if name is None or (name != key and name in node.value) or name in result:
            work.leave_out(child.origin or (key,), child)
            continue
        if name != key:
            work.change(child, f"'{key}' is called '{name}'")
        result[name] = _value(child, known[name], work)
    return Node(result, node.origin)


def _value(node: Node, annotation: Any, work: Work) -> Node:
    if annotation is schema.Training.model_fields["labels"].annotation:
        return _labels(node, work)
    inner = _models(annotation)
    if isinstance(node.value, str):
        choices = [c for member in _members(annotation) if get_origin(member) is Literal for c in get_args(member)]
        if inner and not choices:
            return _short_forms(node, inner[0], work)
        word = known_word(node.value, choices) if choices else node.value
        if word is not None and word != node.value:
            work.change(node, f"'{node.value}' is called '{word}'")
            return Node(word, node.origin)
        return node
    return fitted(node, inner[0], work) if len(inner) == 1 and not isinstance(node.value, list) else node


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for member in get_args(annotation) for inner in _members(member)]
    return [annotation]


def _models(annotation: Any) -> list[type[BaseModel]]:
    return [m for m in _members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]


def _short_forms(node: Node, model: type[BaseModel], work: Work) -> Node:
    """`early_stopping: true`, `early_stopping: 15`, a split in percent, the name of a scheduler."""
    value = node.value
    if model is schema.EarlyStopping and isinstance(value, (bool, int)):
        key = "enabled" if isinstance(value, bool) else "patience"
        work.change(node, f"{value} is written as '{key}'")
        return Node({key: Node(value)}, node.origin)
    if model is schema.Scheduler and isinstance(value, str):
        word = known_word(value, get_args(schema.Scheduler.model_fields["type"].annotation))
        if word is not None and word != value:
            work.change(node, f"'{value}' is called '{word}'")
        return Node(word or value, node.origin)
    if model is schema.DataSplit and isinstance(value, dict):
        shares = [n for n in value.values() if isinstance(n.value, (int, float)) and not isinstance(n.value, bool)]
        if shares and abs(sum(n.value for n in shares) - 100) < 0.01:
            work.change(node, "percent are shares")
            for share in shares:
                share.value = round(share.value / 100, 6)
    return node


def _labels(node: Node, work: Work) -> Node:
    """The label's map by its source; a bare name is its source."""
    if isinstance(node.value, str):
        node = Node({"source": Node(node.value, node.origin)}, node.origin)
    if not isinstance(node.value, dict):
        return node
    key = next((k for k in node.value if known_key(k, ["source"]) == "source"), None)
    source = known_word(str(node.value[key].value), list(vocabulary.LABEL_CLASSES)) if key else None
    model = next((m for m in _models(schema.Labels) if source in get_args(m.model_fields["source"].annotation)), None)
    if model is None:
        said = f"unknown source '{node.value[key].value}'" if key else "no source"
        work.problems.append((node.origin or (), f"{said} of labels{one_of(source or '', vocabulary.LABEL_CLASSES)}"))
        return node
    return fitted(node, model, work)


def training_data(node: Node, top: dict[str, Node], work: Work) -> Node:
    """Symbols, timeframes and dates, also where they stand at the top of the file; `top` loses those."""
    if not isinstance(node.value, dict):
        return node
    for key in [k for k in top if known_key(k, ("symbols", "timeframes", "start_date", "end_date", "date_range"))]:
        work.change(top[key], f"'{key}' stands in 'training_data'")
        node.value.setdefault(key, top.pop(key))
    result: dict[str, Node] = {}
    known = [info.alias or name for name, info in schema.TrainingData.model_fields.items()]
    base: Node | None = None
    for key, child in node.value.items():
        name = known_key(key, known)
        if squeezed(key) in ("basetimeframe", "basetf"):
            base = child
        elif name is None or name in result:
            work.leave_out(child.origin or (key,), child)
        elif name in ("symbols", "timeframes"):
            result[name] = _choice(child, name.removesuffix("s"), work)
        else:
            result[name] = fitted(child, schema.DateRange, work) if name == "date_range" else child
    if base is not None:
        timeframes = result.get("timeframes", Node(None)).value
        if isinstance(timeframes, dict) and "list" in timeframes:
            timeframes["base_timeframe"] = _known(base, "timeframe")
        else:
            work.leave_out(base.origin or (), base)
    order = sorted(result, key=lambda name: known.index(name))
    return Node({name: result[name] for name in order}, node.origin)


def _choice(node: Node, noun: str, work: Work) -> Node:
    """One or several symbols or timeframes: a text, a list, or a map with a mode."""
    base = None
    entries: Any = node.value
    if isinstance(node.value, dict):
        base = node.value.pop("base_timeframe", None)
        key = next((k for k in ("list", noun, f"{noun}s", "symbols", "values", "supported") if k in node.value), None)
        entries = node.value.pop(key).value if key else None
        for name in [k for k in node.value if k != "mode"]:
            work.leave_out((*(node.origin or ()), name), node.value[name])
    if isinstance(entries, str):
        entries = [Node(part.strip()) for part in entries.split(",")]
    if not isinstance(entries, list) or not entries:
        work.problems.append((node.origin or (), f"no {noun}, wanted a {noun} or a list of them"))
        return node
    entries = [_known(entry, noun) for entry in entries]
    if len(entries) == 1 and base is None:
        result = {"mode": Node("single"), noun: entries[0]}
    else:
        result = {"mode": Node(f"multi_{noun}"), "list": Node(entries)}
    if base is not None:
        result["base_timeframe"] = _known(base, noun)
    mode = node.value.get("mode") if isinstance(node.value, dict) else None
    if mode is None or mode.value != result["mode"].value:
        work.change(node, f"{noun}s have the mode {result['mode'].value}")
    return Node(result, node.origin)


def _known(node: Node, noun: str) -> Node:
    if noun == "timeframe" and isinstance(node.value, str):
        return Node(known_timeframe(node.value) or node.value, node.origin)
    return node
