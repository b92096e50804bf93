"""Whether a description of another package can be used: a kind and what is built in → what is wrong with it, in a few words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import BaseModel

from strategies_app.grammar import vocabulary
from strategies_app.kinds import IndicatorKind, Kind, LabelKind, Memory, NetworkKind, Parameter, Parameters

#: As an id of a strategy; it stands in file names and on pages.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
#: Keys of the maps in which parameters stand.
_TAKEN = frozenset({"type", "source", "kind", "parameters"})
_WORDS: dict[type, str] = {IndicatorKind: "an indicator", LabelKind: "a label", NetworkKind: "a network"}
#: The networks of the schema.
NETWORKS = ("mlp", "lstm", "gru")


def faults(kind: Any, wanted: type[Kind], entry: str) -> Iterator[str]:
    """All that is wrong with a description found under the entry point's name, apart from what calling its functions tells."""
    if not isinstance(kind, wanted):
        yield f"is a {type(kind).__name__}, wanted strategies_app.kinds.{wanted.__name__}"
        return
    if wrong := list(_of_other_types(kind)):
        yield from wrong
        return  # what the values mean can be asked only of values of the right type
    if kind.name != entry:
        yield f"describes {_WORDS[wanted]} of another name, '{kind.name}', wanted the entry point's own"
    yield from _names(kind)
    yield from _parameters(kind.parameters)
    if not isinstance(kind.function, str) or not _FUNCTION.fullmatch(kind.function):
        field = "build" if isinstance(kind, NetworkKind) else "compute"
        yield f"has {field} {kind.function!r}, wanted text such as 'package.module:function'"
    if isinstance(kind, IndicatorKind):
        yield from _indicator(kind)
    if isinstance(kind, LabelKind):
        yield from _label(kind)


def _is_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, str) for one in value)


def _is_function(value: Any) -> bool:
    return value is None or callable(value)


def _is_memories(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, tuple) and len(one) == 3 and isinstance(one[0], str) for one in value)


#: Field → what it must be and the words for that, where no check below tells it in better words.
_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("name", "constant", "formula"), (lambda value: isinstance(value, str), "a text")),
    **dict.fromkeys(("aliases", "columns", "scale_free_outputs"), (_is_names, "a tuple of texts")),
    **dict.fromkeys(("check", "warm_up"), (_is_function, "a function, or None")),
    "scale_free": (lambda value: isinstance(value, bool), "True or False"),
    "memory_if": (_is_memories, "a tuple of (parameter, value, memory)"),
}
_PARAMETER_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": _TYPES["name"],
    **dict.fromkeys(("aliases", "choices"), _TYPES["aliases"]),
    **dict.fromkeys(
        ("low", "high"),
        (lambda value: value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)), "a number, or None"),
    ),
}


def _of_other_types(kind: Kind) -> Iterator[str]:
    """Every field of a description, and of its parameters, that holds what it cannot."""
    for field, (fits, words) in _TYPES.items():
        if hasattr(kind, field) and not fits(getattr(kind, field)):
            yield f"has {field} {getattr(kind, field)!r}, wanted {words}"
    if isinstance(kind.parameters, tuple):
        for parameter in kind.parameters:
            for field, (fits, words) in _PARAMETER_TYPES.items():
                if isinstance(parameter, Parameter) and not fits(getattr(parameter, field)):
                    yield f"has a parameter {parameter.name!r} with {field} {getattr(parameter, field)!r}, wanted {words}"


def _names(kind: Kind) -> Iterator[str]:
    for word in (kind.name, *_aliases(kind)):
        if not isinstance(word, str) or not NAME.fullmatch(word):
            yield f"has the name {word!r}, wanted a letter, then letters, digits, '_' and '-'"


def _aliases(kind: Kind) -> tuple[str, ...]:
    return kind.aliases if isinstance(kind, IndicatorKind) else ()


def spellings(kind: Kind) -> tuple[str, ...]:
    """Every word by which a strategy may call the kind."""
    return (kind.name, *_aliases(kind))


def built_in(kind: Kind) -> frozenset[str]:
    """Every word by which a strategy calls a built-in kind of the same sort, in small letters."""
    if isinstance(kind, IndicatorKind):
        words: Any = vocabulary.BY_SPELLING
    else:
        words = vocabulary.LABEL_CLASSES if isinstance(kind, LabelKind) else NETWORKS
    return frozenset(word.lower() for word in words)


def _parameters(parameters: Any) -> Iterator[str]:
    if not isinstance(parameters, tuple) or not all(isinstance(p, Parameter) for p in parameters):
        yield "has parameters that are no tuple of strategies_app.kinds.Parameter"
        return
    words = [word for p in parameters for word in (p.name, *p.aliases)]
    for word in dict.fromkeys(words):
        if not isinstance(word, str) or not re.fullmatch("[a-z][a-z0-9_]*", word):
            yield f"has a parameter {word!r}, wanted small letters, digits and '_'"
        elif (word in _TAKEN and not _is_source(word, parameters)) or hasattr(BaseModel, word):
            yield f"has a parameter '{word}', a word that is taken"
        elif words.count(word) > 1:
            yield f"has the parameter '{word}' twice"
    for parameter in parameters:
        yield from _parameter(parameter)


def _is_source(word: str, parameters: tuple[Parameter, ...]) -> bool:
    """The price that an indicator works on may be called so, with the choices that all indicators have."""
    return any(p.name == word == "source" and set(p.choices) <= set(vocabulary.SOURCES) and p.choices for p in parameters)


def _parameter(parameter: Parameter) -> Iterator[str]:
    name, default = parameter.name, parameter.default
    if isinstance(default, bool) or not isinstance(default, (int, float, str)):
        yield f"has a parameter '{name}' whose default is {default!r}, wanted a whole number, a number or a text"
    elif isinstance(default, str):
        if default not in parameter.choices:
            yield f"has a parameter '{name}' whose default '{default}' is none of its choices"
    elif parameter.choices:
        yield f"has a parameter '{name}' with choices and a number as its default, wanted one of the choices"
    else:
        low, high = parameter.low, parameter.high
        bounds = [b for b in (low, high) if b is not None]
        if len(bounds) < 2 or not all(isinstance(b, (int, float)) and math.isfinite(b) for b in bounds):
            yield f"has a parameter '{name}' without finite low and high bounds"
        elif not (math.isfinite(default) and low is not None and high is not None and low <= default <= high):
            yield f"has a parameter '{name}' whose default {default:g} is not within {low:g} to {high:g}"


def _indicator(kind: IndicatorKind) -> Iterator[str]:
    outputs = kind.outputs
    if not isinstance(outputs, tuple) or not outputs or not all(isinstance(o, str) and NAME.fullmatch(o) for o in outputs):
        yield f"has outputs {outputs!r}, wanted a tuple of names"
    elif len(set(outputs)) < len(outputs):
        yield "has two outputs of one name"
    if unknown := [c for c in kind.columns if c not in vocabulary.BAR_COLUMNS]:
        yield f"needs the column '{unknown[0]}', bars have {', '.join(vocabulary.BAR_COLUMNS)}"
    if not callable(kind.warm_up):
        yield "has no warm_up, wanted a function from parameters to bars per output"
    memories = get_args(Memory)
    if kind.memory not in memories or any(memory not in memories for *_, memory in kind.memory_if):
        yield f"has a memory other than {', '.join(memories)}"
    if unknown := [name for name, *_ in kind.memory_if if name not in [p.name for p in kind.parameters]]:
        yield f"has memory_if for '{unknown[0]}', which is no parameter"
    if unknown := [output for output in kind.scale_free_outputs if output not in outputs]:
        yield f"has scale_free_outputs '{unknown[0]}', which is no output"
    if not kind.formula or not kind.constant:
        yield f"has no {'formula' if not kind.formula else 'constant: what it gives on a constant price'}"


def _label(kind: LabelKind) -> Iterator[str]:
    if not callable(kind.look_ahead):
        yield "has no look_ahead, wanted a function from parameters to bars"
    classes = kind.classes
    if not isinstance(classes, tuple) or not all(isinstance(c, str) and NAME.fullmatch(c) for c in classes):
        yield f"has classes {classes!r}, wanted a tuple of names, or none for a number"
    elif len(classes) == 1 or len(set(classes)) < len(classes):
        yield f"has the classes {', '.join(classes)}, wanted at least two that differ"


def told(kind: Kind, parameters: Parameters) -> str | None:
    """What the kind's own functions say against the parameters; None if they agree. Raises whatever they raise."""
    said = kind.check(parameters) if kind.check is not None else None
    if said:
        return str(said)
    if isinstance(kind, IndicatorKind) and kind.warm_up is not None:
        bars = kind.warm_up(parameters)
        if not isinstance(bars, tuple) or len(bars) != len(kind.outputs) or not all(_is_count(b) for b in bars):
            return f"its warm_up gives {bars!r}, wanted a tuple of {len(kind.outputs)} whole numbers, one per output"
    if isinstance(kind, LabelKind):
        ahead, behind = kind.look_ahead(parameters), kind.warm_up(parameters) if kind.warm_up else 0
        if not _is_count(ahead) or ahead < 1:
            return f"its look_ahead gives {ahead!r}, wanted a whole number of at least 1"
        if not _is_count(behind):
            return f"its warm_up gives {behind!r}, wanted a whole number of at least 0"
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10_000_000
