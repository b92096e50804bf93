"""One map of the grammar as a table of its keys: type, allowed values, default, meaning."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from strategies_app.grammar import schema
from strategies_app.tools.meanings import TOP, Section
from strategies_app.tools.reference_words import as_code, literals, markdown_table, type_of


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
