"""One map of the grammar as a table of its keys: type, allowed values, default, meaning, and whether it can be trained."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from strategies_app import schema
from strategies_app.meanings import DECISIONS, EXAMPLE, LABELS, TOP, Section
from strategies_app.reference_words import as_code, literals, markdown_table, type_of
from strategies_app.schema import StrategySpec, not_available

NOT_YET = "*not available yet*"
#: Values that only go with regression.
_FOR_NUMBERS = {("loss", "huber"), ("loss", "mse"), ("source", "forward_return")}


def section_blocks(section: Section, level: str = "###") -> Iterator[str]:
    mark = f" ({NOT_YET})" if is_not_yet(section) else ""
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
    yield markdown_table(("key", "type", "values", "default", "meaning"), rows)
    if section.after:
        yield section.after


def is_not_yet(section: Section) -> bool:
    """Whether a map of this kind cannot be trained at all, whatever its keys."""
    kind = {"Recurrent": "type"}.get(section.model.__name__, "source" if section in LABELS else None)
    return kind is not None and _refused(section, kind, section.rest[kind])


def _field_cells(section: Section, key: str, information: FieldInfo) -> tuple[str, str, str]:
    """Type, allowed values and default of a key."""
    annotation = information.annotation
    words, values = type_of(annotation, information.metadata)
    choices = list(literals(annotation))
    if choices:
        listed = " · ".join(as_code(c) + (f" ({NOT_YET})" if _refused(section, key, c) else "") for c in choices)
        values = ", ".join(part for part in (listed, values) if part)
    elif any(_refused(section, key, probe) for probe in (True, 1, 0.01)):
        values = f"{values} ({NOT_YET})".strip()
    if information.is_required():
        return words, values, "required"
    default = information.default
    return words, values, "keys below" if isinstance(default, BaseModel) else "–" if default in (None, "") else as_code(default)


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
