"""The reference of the strategy grammar: schema, vocabulary and meanings → Markdown.

python -m strategies_app.reference > docs/strategy-reference.md
"""

from __future__ import annotations

import copy
import datetime as dt
import math
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from strategies_app import schema, vocabulary
from strategies_app.meanings import (
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
from strategies_app.schema import StrategySpec, feature_names, not_available
from strategies_app.vocabulary import IndicatorKind, Parameter
from strategies_app.yaml_text import MAX_SIZE

COMMAND = "python -m strategies_app.reference > docs/strategy-reference.md"
NOT_YET = "*not available yet*"
_TIMEFRAME = get_args(schema.Timeframe)[1]

_SHAPES = {
    "triangular": ("a ≤ b ≤ c, a < c", "[a, b, c]"),
    "trapezoidal": ("a ≤ b ≤ c ≤ d, a < d; a may be `-.inf`, d `.inf`", "[a, b, c, d]"),
    "gaussian": ("deviation > 0", "–"),
    "sigmoid": ("width ≠ 0; negative: falling", "–"),
}
#: Values that only go with regression.
_FOR_NUMBERS = {("loss", "huber"), ("loss", "mse"), ("source", "forward_return")}
_MEMORIES = {
    "finite": "a window of bars",
    "decaying": "a recursion that forgets its start",
    "origin": "the first bar, for ever: warned about",
}


def reference_markdown() -> str:
    """The whole document."""
    blocks = [_HEAD, *_section(TOP), *_grammar_parts(), *_timeframes()]
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
- {NOT_YET} marks what has its place in the grammar but cannot be trained by this version. It is read and
  checked, then refused in one sentence.
- A default of – means that the key may be left out; the last column says what happens then, if anything does."""


def _grammar_parts() -> Iterator[str]:
    yield "## training_data"
    for section in TRAINING_DATA:
        yield from _section(section, level="" if section.title == "training_data" else "###")
    yield from _indicators()
    yield "## fuzzy_sets"
    yield "A map from ids to fuzzy sets. Two sets may use one indicator."
    for section in FUZZY_SETS:
        yield from _section(section)
    yield from _memberships()
    yield "## nn_inputs"
    yield "A list. It alone decides which features there are, and their order."
    for section in NN_INPUTS:
        yield from _section(section)
    yield from _features()
    for heading, sections in (("model", MODEL), ("decisions", DECISIONS), ("training", TRAINING), ("labels", LABELS)):
        yield f"## {heading}"
        if heading == "labels":
            yield _LABELS_HEAD
        for section in sections:
            yield from _section(section, level="" if section.title == heading else "###")


_LABELS_HEAD = """\
`training.labels` says what the network learns to say about a row. Labels are made on the base timeframe, per symbol, from bars
after the row's own, and from close prices unless said otherwise. A row whose look-ahead does not lie wholly inside the dates
has no label: it is dropped and counted, never called HOLD. When one class has more than 95 % of the training rows, the run
says so."""


# --- one map of the grammar --------------------------------------------------------------------


def _section(section: Section, level: str = "###") -> Iterator[str]:
    mark = f" ({NOT_YET})" if _is_not_yet(section) else ""
    if level:
        yield f"{'##' if section is TOP else level} {section.title}{mark}"
    if section.before:
        yield section.before
    rows = []
    for name, information in section.model.model_fields.items():
        key = information.alias or name
        rows.append((f"`{key}`", *_field_cells(section, key, information), section.meanings[key]))
    if section.model is schema.FuzzySet:
        of = "map with `type` and `parameters`, or list of 3 or 4 points"
        rows.append(("*any other name*", of, "at least one; a letter, then letters, digits, `_`, `-`", "", "a membership"))
    yield _table(("key", "type", "values", "default", "meaning"), rows)
    if section.after:
        yield section.after


def _is_not_yet(section: Section) -> bool:
    """Whether a map of this kind cannot be trained at all, whatever its keys."""
    kind = {"Recurrent": "type"}.get(section.model.__name__, "source" if section in LABELS else None)
    return kind is not None and _refused(section, kind, section.rest[kind])


def _field_cells(section: Section, key: str, information: FieldInfo) -> tuple[str, str, str]:
    """Type, allowed values and default of a key."""
    annotation = information.annotation
    words, values = _type_of(annotation, information.metadata)
    choices = list(_literals(annotation))
    if choices:
        listed = " · ".join(_value(c) + (f" ({NOT_YET})" if _refused(section, key, c) else "") for c in choices)
        values = ", ".join(part for part in (listed, values) if part)
    elif any(_refused(section, key, probe) for probe in (True, 1, 0.01)):
        values = f"{values} ({NOT_YET})".strip()
    if information.is_required():
        return words, values, "required"
    default = information.default
    return words, values, "keys below" if isinstance(default, BaseModel) else "–" if default in (None, "") else _value(default)


def _refused(section: Section, key: str, value: Any) -> bool:
    """Whether this version cannot train a strategy in which `key` has `value`."""
    if section.where is None:
        return False
    if (key, value) in _FOR_NUMBERS:
        return _refused(DECISIONS[0], "output_format", "regression")
    data = copy.deepcopy(EXAMPLE)
    place = data
    for part in section.where:
        place = place.setdefault(part, {})
    place.clear()
    place.update({**copy.deepcopy(section.rest), key: value})
    try:
        spec = StrategySpec.model_validate(data)
    except ValidationError:
        return False
    return any(path in ((*section.where, key), section.where) for path, _ in not_available(spec))


def _members(annotation: Any) -> list[Any]:
    """The kinds of value that an annotation allows, None aside; one with notes stays Annotated."""
    if get_origin(annotation) is Annotated and get_origin(get_args(annotation)[0]) in (Union, types.UnionType):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return [m for m in get_args(annotation) if m is not type(None)]
    return [annotation]


def _literals(annotation: Any) -> Iterator[Any]:
    for member in _members(annotation):
        if get_origin(member) is Literal:
            yield from get_args(member)


def _type_of(annotation: Any, notes: Sequence[Any]) -> tuple[str, str]:
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


_WORDS: dict[Any, str] = {bool: "true or false", int: "whole number", float: "number", str: "text", dt.date: "day"}


def _one_type(member: Any, notes: list[Any]) -> tuple[str, str]:
    origin = get_origin(member)
    if origin is Literal:
        return "text", ""
    if origin is list:
        word, inner = _type_of(get_args(member)[0], [])
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
    return _WORDS[member], ", ".join(b for b in (_range(notes), _length(notes, "characters"), *_patterns(notes)) if b)


def _range(notes: list[Any]) -> str:
    low = next(
        ((n.ge, True) for n in notes if isinstance(n, Ge)), next(((n.gt, False) for n in notes if isinstance(n, Gt)), None)
    )
    high = next(
        ((n.le, True) for n in notes if isinstance(n, Le)), next(((n.lt, False) for n in notes if isinstance(n, Lt)), None)
    )
    return _between(low, high)  # type: ignore[arg-type]


def _between(low: tuple[float, bool] | None, high: tuple[float, bool] | None) -> str:
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


def _value(value: Any) -> str:
    """A value as it is written in YAML, as code."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


# --- tables from the vocabulary ----------------------------------------------------------------


def _indicators() -> Iterator[str]:
    yield "## indicators"
    yield (
        "A map from ids to definitions: `rsi_14: {type: rsi, period: 14}`. The first output of a kind is its primary one; name "
        "another as `id.output`. Where TA-Lib has an indicator, the value is TA-Lib's own, unchanged. There is no value in the "
        "warm-up. A bar with a missing value is taken out before indicators are computed, and counted."
    )
    kinds = [kind for kind in vocabulary.INDICATORS.values() if kind.name not in vocabulary.REPAINTING]
    columns = ("kind", "also spelled", "outputs", "memory", "scale-free")
    yield _table(columns, [_overview(kind) for kind in kinds])
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
        yield _table(("parameter", "type", "values", "default", "also spelled"), [_parameter(p) for p in kind.parameters])
    else:
        yield "No parameters."
    warm_up = kind.warm_up({p.name: p.default for p in kind.parameters})
    columns = ["source" if kind.takes_source and c == "close" else c for c in kind.columns]
    yield _table(
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
        words, values = _WORDS[parameter.kind], _bounds(parameter)
    aliases = ", ".join(f"`{a}`" for a in parameter.aliases) or "–"
    return f"`{parameter.name}`", words, values, _value(parameter.default), aliases


def _bounds(parameter: Parameter) -> str:
    low, high = parameter.low, parameter.high
    return _between(None if low is None else (low, True), None if high is None else (high, True))


def _memberships() -> Iterator[str]:
    yield "### Shapes of memberships"
    rows = []
    for kind in vocabulary.MEMBERSHIPS.values():
        rule, short = _SHAPES[kind.name]
        rows.append((f"`{kind.name}`", ", ".join(kind.points), rule, short, kind.formula))
    yield _table(("type", "parameters", "rule", "as a bare list", "degree of x"), rows)
    yield (
        "Degrees lie between 0 and 1. Shoulders are closed: where a = b, the degree at a is 1. A missing value has a missing "
        "degree. Points lie within ±1e15."
    )


def _features() -> Iterator[str]:
    yield "### Names and order of features"
    yield _table(
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


def _timeframes() -> Iterator[str]:
    yield "## timeframes"
    yield (
        "A bar is stamped at its open, in UTC, and known at open + duration. Buckets begin at whole multiples of the duration "
        "since 1970-01-01 00:00 UTC; weeks begin on Monday. A timeframe that is not stored is made from the finest stored one."
    )
    yield _table(("timeframe", "duration in seconds"), [(f"`{name}`", f"{s:,}") for name, s in vocabulary.TIMEFRAMES.items()])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(reference_markdown())
