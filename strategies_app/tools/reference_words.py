"""Types, bounds and values of the grammar in words, and tables in Markdown: the pieces that the reference is made of."""

from __future__ import annotations

import datetime as dt
import math
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from strategies_app.grammar import schema

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
