"""The reference of the strategy grammar: schema, vocabulary and meanings → Markdown.

python -m strategies_app.tools.reference > docs/strategy-reference.md
"""

from __future__ import annotations

import datetime as dt
import math
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from strategies_app.grammar import plugins, schema, vocabulary
from strategies_app.grammar.schema import StrategySpec, feature_names
from strategies_app.grammar.yaml_text import MAX_SIZE
from strategies_app.kinds import IndicatorKind, Kind, LabelKind, Parameter
from strategies_app.tools.meanings import (
    DECISIONS,
    EXAMPLE,
    FUZZY_SETS,
    LABELS,
    MODEL,
    NN_INPUTS,
    TOP,
    TRAINING,
    TRAINING_DATA,
    Section,
)

__all__ = ["COMMAND", "reference_markdown"]

COMMAND = "python -m strategies_app.tools.reference > docs/strategy-reference.md"


def reference_markdown() -> str:
    """The whole document."""
    blocks = [_HEAD, *section_blocks(TOP), *_grammar_parts(), *timeframe_blocks()]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


_HEAD = f"""\
# Strategy reference

A strategy is one YAML file. This page lists every key, indicator, membership and label of grammar version 3. It is made from
the tables that the reader itself checks with; do not edit it, run `{COMMAND}`.

New here? The [tutorial](tutorial.md) builds a strategy step by step, and the [samples](../strategies_app/samples) are commented.

- The file is UTF-8, at most {MAX_SIZE // 1024} KiB. Scalars are those of YAML 1.2: `ON` and `NO` are text, `1e-4` is a number.
- Anchors, aliases, merge keys, tags and duplicate keys are refused. So is every key that this page does not name.
- All problems are reported at once, with line, column, path and the nearest valid name: `ktrdr strategies validate FILE`.
- An **id** is of your choice: a letter, then letters, digits, `_` and `-`, at most 100. These are reserved:
  {", ".join(f"`{word}`" for word in sorted(vocabulary.RESERVED_IDS))}.
- A default of – means that the key may be left out; the last column says what happens then, if anything does."""


def _grammar_parts() -> Iterator[str]:
    yield "## training_data"
    for section in TRAINING_DATA:
        yield from section_blocks(section, level="" if section.title == "training_data" else "###")
    yield from indicator_blocks()
    yield "## fuzzy_sets"
    yield "A map from ids to fuzzy sets. Two sets may use one indicator."
    for section in FUZZY_SETS:
        yield from section_blocks(section)
    yield from membership_blocks()
    yield "## nn_inputs"
    yield "A list. It alone decides which features there are, and their order."
    for section in NN_INPUTS:
        yield from section_blocks(section)
    yield from feature_blocks()
    for heading, sections in (("model", MODEL), ("decisions", DECISIONS), ("training", TRAINING), ("labels", LABELS)):
        yield f"## {heading}"
        if heading == "labels":
            yield _LABELS_HEAD
        for section in sections:
            yield from section_blocks(section, level="" if section.title == heading else "###")


_LABELS_HEAD = """\
`training.labels` says what the network learns to say about a row. Labels are made on the base timeframe, per symbol, from bars
after the row's own, and from close prices unless said otherwise. A row whose look-ahead does not lie wholly inside the dates
has no label: it is dropped and counted, never called HOLD. When one class has more than 95 % of the training rows, the run
says so."""


def section_blocks(section: Section, level: str = "###") -> Iterator[str]:
    if level:
        yield f"{'##' if section is TOP else level} {section.title}"
    if section.before:
        yield section.before
    rows = []
    for name, information in section.model.model_fields.items():
        key = information.alias or name
        rows.append((f"`{key}`", *_field_cells(information), section.meanings[key]))
    if section.model is schema.FuzzySet:
        of = "map with `type` and `parameters`, or list of 3 or 4 points"
        rows.append(("*any other name*", of, "at least one; a letter, then letters, digits, `_`, `-`", "", "a membership"))
    yield markdown_table(("key", "type", "values", "default", "meaning"), rows)
    if section.after:
        yield section.after


def _field_cells(information: FieldInfo) -> tuple[str, str, str]:
    """Type, allowed values and default of a key."""
    annotation = information.annotation
    words, values = type_of(annotation, information.metadata)
    choices = list(literals(annotation))
    if choices:
        listed = " · ".join(map(as_code, choices))
        values = ", ".join(part for part in (listed, values) if part)
    if information.is_required():
        return words, values, "required"
    default = information.default
    return words, values, "keys below" if isinstance(default, BaseModel) else "–" if default in (None, "") else as_code(default)


_SHAPES = {
    "triangular": ("a ≤ b ≤ c, a < c", "[a, b, c]"),
    "trapezoidal": ("a ≤ b ≤ c ≤ d, a < d; a may be `-.inf`, d `.inf`", "[a, b, c, d]"),
    "gaussian": ("deviation > 0", "–"),
    "sigmoid": ("width ≠ 0; negative: falling", "–"),
}
_MEMORIES = {
    "finite": "a window of bars",
    "decaying": "a recursion that forgets its start",
    "origin": "the first bar, for ever: warned about",
}


def indicator_blocks() -> Iterator[str]:
    yield "## indicators"
    yield (
        "A map from ids to definitions: `rsi_14: {type: rsi, period: 14}`. The first output of a kind is its primary one; name "
        "another as `id.output`. Where TA-Lib has an indicator, the value is TA-Lib's own, unchanged. There is no value in the "
        "warm-up. A bar with a missing value is taken out before indicators are computed, and counted."
    )
    kinds = [kind for kind in vocabulary.INDICATORS.values() if kind.name not in vocabulary.REPAINTING]
    columns = ("kind", "also spelled", "outputs", "memory", "scale-free")
    yield markdown_table(columns, [_overview(kind) for kind in kinds])
    yield (
        "**Memory** is what a value depends on: "
        + "; ".join(f"*{name}*, {text}" for name, text in _MEMORIES.items())
        + ". **Scale-free** means that the unit of price and volume does not matter, so symbols can be compared. "
        + f"{' and '.join(f'`{name}`' for name in sorted(vocabulary.REPAINTING))} is refused as an input, because it repaints: "
        "its past values use later bars. It exists as a label."
    )
    yield (
        "`source` is the price that an indicator works on: `hl2` is (high + low) / 2, `hlc3` is (high + low + close) / 3, "
        "`ohlc4` is (open + high + low + close) / 4."
    )
    for kind in kinds:
        yield from _indicator(kind)


def _overview(kind: IndicatorKind) -> tuple[str, ...]:
    aliases = ", ".join(f"`{a}`" for a in kind.aliases) or "–"
    return f"[{kind.name}](#{kind.name})", aliases, ", ".join(kind.outputs), _memory(kind), _scale_free(kind)


def _memory(kind: IndicatorKind) -> str:
    return "; ".join([kind.memory, *(f"{memory} with {name} {value}" for name, value, memory in kind.memory_if)])


def _scale_free(kind: IndicatorKind) -> str:
    if kind.scale_free_outputs:
        return f"only {', '.join(kind.scale_free_outputs)}"
    return "yes" if kind.scale_free else "no"


def _indicator(kind: IndicatorKind) -> Iterator[str]:
    assert kind.warm_up is not None
    yield f"### {kind.name}"
    yield f"{kind.formula[0].upper()}{kind.formula[1:]}."
    if kind.parameters:
        yield markdown_table(("parameter", "type", "values", "default", "also spelled"), [_parameter(p) for p in kind.parameters])
    else:
        yield "No parameters."
    warm_up = kind.warm_up({p.name: p.default for p in kind.parameters})
    columns = ["source" if kind.takes_source and c == "close" else c for c in kind.columns]
    yield markdown_table(
        ("outputs", "bars before the first value, with the defaults", "needs", "memory", "scale-free", "on a constant price"),
        [
            (
                ", ".join(f"`{o}`" for o in kind.outputs), ", ".join(map(str, warm_up)), ", ".join(columns), _memory(kind),
                _scale_free(kind), kind.constant,
            )
        ],
    )  # fmt: skip


def _parameter(parameter: Parameter) -> tuple[str, ...]:
    if parameter.choices:
        words, values = "text", " · ".join(f"`{c}`" for c in parameter.choices)
    else:
        words, values = TYPE_WORDS[parameter.kind], _bounds(parameter)
    aliases = ", ".join(f"`{a}`" for a in parameter.aliases) or "–"
    return f"`{parameter.name}`", words, values, as_code(parameter.default), aliases


def _bounds(parameter: Parameter) -> str:
    low, high = parameter.low, parameter.high
    return bounds_between(None if low is None else (low, True), None if high is None else (high, True))


def membership_blocks() -> Iterator[str]:
    yield "### Shapes of memberships"
    rows = []
    for kind in vocabulary.MEMBERSHIPS.values():
        rule, short = _SHAPES[kind.name]
        rows.append((f"`{kind.name}`", ", ".join(kind.points), rule, short, kind.formula))
    yield markdown_table(("type", "parameters", "rule", "as a bare list", "degree of x"), rows)
    yield (
        "Degrees lie between 0 and 1. Shoulders are closed: where a = b, the degree at a is 1. A missing value has a missing "
        "degree. Points lie within ±1e15."
    )


def feature_blocks() -> Iterator[str]:
    yield "### Names and order of features"
    yield markdown_table(
        ("feature", "name"),
        [
            ("membership of a fuzzy set", "`{timeframe}_{fuzzy set}_{membership}`"),
            ("raw input", "`{timeframe}_{reference as written}_raw`"),
            ("either, k base bars back", "the name and `_lag{k}`"),
        ],
    )
    yield (
        "Order: entry of `nn_inputs`, then timeframe, then membership as in the file; then all of them again per lag. Every name "
        "occurs once. Training, checkpoints, bundles and prediction use this order by name, and refuse another one. With"
    )
    yield (
        "```yaml\n"
        "timeframes: {mode: multi_timeframe, list: [1d, 1w]}\n"
        "rsi_zone: {indicator: rsi_14, low: [0, 25, 45], high: [55, 75, 100]}\n"
        "nn_inputs:\n"
        "  - {fuzzy_set: rsi_zone, timeframes: all}\n"
        "  - {raw_indicator: macd_1.signal, timeframes: [1d], normalization: zscore}\n"
        "model: {type: mlp, features: {lookback_periods: 1}}\n"
        "```"
    )
    names = feature_names(StrategySpec.model_validate(EXAMPLE))
    yield "the network sees"
    yield "```\n" + "\n".join(f"{number}  {name}" for number, name in enumerate(names)) + "\n```"


def timeframe_blocks() -> Iterator[str]:
    yield "## timeframes"
    yield (
        "A bar is stamped at its open, in UTC, and known at open + duration. Buckets begin at whole multiples of the duration "
        "since 1970-01-01 00:00 UTC; weeks begin on Monday. A timeframe that is not stored, or in part only, is "
        "resampled from the finest stored one that covers the dates."
    )
    yield markdown_table(
        ("timeframe", "duration in seconds"), [(f"`{name}`", f"{s:,}") for name, s in vocabulary.TIMEFRAMES.items()]
    )


_TIMEFRAME = get_args(schema.Timeframe)[1]


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _members(annotation: Any) -> list[Any]:
    """The kinds of value that an annotation allows, None aside; one with notes stays Annotated."""
    if get_origin(annotation) is Annotated and get_origin(get_args(annotation)[0]) in (Union, types.UnionType):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return [m for m in get_args(annotation) if m is not type(None)]
    return [annotation]


def literals(annotation: Any) -> Iterator[Any]:
    for member in _members(annotation):
        if get_origin(member) is Literal:
            yield from get_args(member)


def type_of(annotation: Any, notes: Sequence[Any]) -> tuple[str, str]:
    """Words for the type, and for its bounds."""
    words: list[str] = []
    bounds: list[str] = []
    for member in _members(annotation):
        own = list(notes)
        if get_origin(member) is Annotated:
            own += get_args(member)[1:]
            member = get_args(member)[0]
        word, bound = _one_type(member, _flat(own))
        words += [word] if word not in words else []
        bounds += [bound] if bound and bound not in bounds else []
    return " or ".join(words), ", ".join(bounds)


def _flat(notes: Iterable[Any]) -> list[Any]:
    return [inner for note in notes for inner in (note.metadata if isinstance(note, FieldInfo) else [note])]


TYPE_WORDS: dict[Any, str] = {bool: "true or false", int: "whole number", float: "number", str: "text", dt.date: "day"}


def _one_type(member: Any, notes: list[Any]) -> tuple[str, str]:
    origin = get_origin(member)
    if origin is Literal:
        return "text", ""
    if origin is list:
        word, inner = type_of(get_args(member)[0], [])
        return f"list of {word}s" if word != "map" else "list of maps", ", ".join(
            b for b in (_length(notes, "entries"), inner) if b
        )
    if origin is dict:
        return "map", _length(notes, "entries")
    if isinstance(member, type) and issubclass(member, BaseModel):
        return "map", ""
    if _TIMEFRAME in notes:
        return "text", "[a timeframe](#timeframes)"
    if member is dt.date:
        return "day", "YYYY-MM-DD"
    return TYPE_WORDS[member], ", ".join(b for b in (_range(notes), _length(notes, "characters"), *_patterns(notes)) if b)


def _range(notes: list[Any]) -> str:
    low = next(
        ((n.ge, True) for n in notes if isinstance(n, Ge)), next(((n.gt, False) for n in notes if isinstance(n, Gt)), None)
    )
    high = next(
        ((n.le, True) for n in notes if isinstance(n, Le)), next(((n.lt, False) for n in notes if isinstance(n, Lt)), None)
    )
    return bounds_between(low, high)  # type: ignore[arg-type]


def bounds_between(low: tuple[float, bool] | None, high: tuple[float, bool] | None) -> str:
    low, high = ((b if b is not None and math.isfinite(b[0]) else None) for b in (low, high))
    if low and high and low[1] and high[1]:
        return f"{_number(low[0])} to {_number(high[0])}"
    parts = [f"{'at least' if low[1] else 'above'} {_number(low[0])}"] if low else []
    return ", ".join(parts + ([f"{'at most' if high[1] else 'below'} {_number(high[0])}"] if high else []))


def _length(notes: list[Any], noun: str) -> str:
    low = next((n.min_length for n in notes if isinstance(n, MinLen)), None)
    high = next((n.max_length for n in notes if isinstance(n, MaxLen)), None)
    if low is None and high is None:
        return ""
    return f"{low or 0:,} to {high:,} {noun}" if high is not None else f"at least {low:,} {noun.replace('ies', 'y')}"


def _patterns(notes: list[Any]) -> Iterator[str]:
    for note in notes:
        if getattr(note, "pattern", None):
            yield f"`{note.pattern}`"


def _number(value: float) -> str:
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}" if abs(value) < 1e15 else f"{value:.1e}"
    return f"{value:g}"


def as_code(value: Any) -> str:
    """A value as it is written in YAML, as code."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def plugin_markdown() -> str:
    """Every kind of another package, marked with its package, and what cannot be used; "" if there is nothing."""
    blocks = list(_blocks())
    return "\n\n".join(["## Kinds of installed packages", *blocks]) + "\n" if blocks else ""


def _blocks() -> Iterator[str]:
    for plugin in plugins.found().plugins:
        kind, source = plugin.kind, plugin.source
        yield f"### {kind.name} ({source.package} {source.version})"
        yield f"{source.label.partition(' ')[0].capitalize()}: {kind.formula or 'not described'}."
        yield _table([("said of it", ""), *_facts(kind)])
        if kind.parameters:
            yield _table([("parameter", "values", "default", "also spelled"), *map(_plugin_parameter, kind.parameters)])
    for fault in plugins.found().faults:
        yield f"- cannot be used: {fault.message}"


def _facts(kind: Kind) -> Iterator[tuple[str, str]]:
    if isinstance(kind, IndicatorKind):
        yield from _plugin_indicator(kind)
    if isinstance(kind, LabelKind):
        defaults = {p.name: p.default for p in kind.parameters}
        yield "classes", ", ".join(kind.classes) or "none: it is a number"
        yield "bars it looks ahead, with the defaults", str(kind.look_ahead(defaults))
    yield "computed by", f"`{kind.function}`"


def _plugin_indicator(kind: IndicatorKind) -> Iterator[tuple[str, str]]:
    assert kind.warm_up is not None
    yield "also spelled", ", ".join(kind.aliases) or "–"
    yield "outputs", ", ".join(kind.outputs)
    yield (
        "bars before the first value, with the defaults",
        ", ".join(map(str, kind.warm_up({p.name: p.default for p in kind.parameters}))),
    )
    yield "needs", ", ".join(kind.columns)
    yield "memory", kind.memory
    yield "scale-free", "yes" if kind.scale_free else ", ".join(kind.scale_free_outputs) or "no"
    yield "on a constant price", kind.constant


def _plugin_parameter(parameter: Parameter) -> tuple[str, ...]:
    values = " · ".join(f"`{c}`" for c in parameter.choices) or f"{parameter.low:g} to {parameter.high:g}"
    return f"`{parameter.name}`", values, f"`{parameter.default}`", ", ".join(parameter.aliases) or "–"


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    heads, *rest = rows
    lines = [heads, ("---",) * len(heads), *rest]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


HEADS = ("name", "also", "parameters", "gives", "from")
BUILT_IN = "built in"


def vocabulary_rows() -> dict[str, list[tuple[str, ...]]]:
    """Indicators, labels and networks: rows under `HEADS`, built-in ones first."""
    return {"Indicators": _indicators(), "Labels": _labels(), "Networks": _networks()}


def faults() -> list[str]:
    """One sentence per installed kind that cannot be used."""
    return [fault.message for fault in plugins.found().faults]


def _indicators() -> list[tuple[str, ...]]:
    return [
        (
            kind.name, ", ".join(kind.aliases), _parameters(kind.parameters), ", ".join(kind.outputs),
            _origin(plugins.INDICATORS, kind.name),
        )
        for kind in plugins.indicators().values()
        if kind.name not in vocabulary.REPAINTING
    ]  # fmt: skip


def _labels() -> list[tuple[str, ...]]:
    classes = plugins.label_classes()
    rows: list[tuple[str, ...]] = []
    for model in get_args(get_args(schema.Labels)[0]):
        (source,) = get_args(model.model_fields["source"].annotation)
        gives = ", ".join(classes[source]) or "a number"
        rows.append((source, "", _keys(model, "source"), gives, _origin(plugins.LABELS, source)))
    return rows


def _networks() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for model in get_args(schema.Model):
        keys = _keys(model.model_fields["architecture"].annotation)
        rows += [
            (name, "", keys, "", _origin(plugins.NETWORKS, name)) for name in get_args(model.model_fields["type"].annotation)
        ]
    return rows


def _keys(model: Any, *without: str) -> str:
    """Keys of a map with their defaults; one without a default by itself."""
    fields = ((name, f) for name, f in model.model_fields.items() if name not in without)
    return ", ".join(name if f.is_required() or f.default is None else f"{name} {_written(f.default)}" for name, f in fields)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parameters(parameters: Iterable[Parameter]) -> str:
    return ", ".join(f"{p.name} {p.default}" for p in parameters)


def _origin(group: str, name: str) -> str:
    return plugins.origin(group, name) or BUILT_IN


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(plugin_markdown() if sys.argv[1:] == ["plugins"] else reference_markdown())
