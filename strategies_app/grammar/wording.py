"""What the schema refuses, in our own words: errors of pydantic → findings with a path into the strategy."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel, Tag, ValidationError

from strategies_app.grammar import plugins, vocabulary
from strategies_app.grammar.schema import SYMBOL_WORDS, FuzzySet, Membership, Path, StrategySpec

#: Where the place of an error is followed by the name of a variant (`macd`, `single`, …) that the text does not hold.
_VARIANTS = {
    ("training_data", "symbols"),
    ("training_data", "timeframes"),
    ("indicators", "*"),
    ("nn_inputs", "*"),
    ("model",),
    ("training", "labels"),
}

#: A text can hold thousands of errors; no more of them than this are put into words.
MAX_FINDINGS = 500
#: Among more names than this, none is looked for that is like another: each comparison takes microseconds.
MAX_COMPARED = 200


@dataclass(frozen=True)
class Finding:
    """Something wrong at a path of the strategy; `at_key` means the key itself rather than its value."""

    path: Path
    message: str
    at_key: bool = False


def schema_findings(error: ValidationError, data: Any) -> list[Finding]:
    """All that pydantic found wrong with `data`; several wishes for one value become one sentence."""
    findings: list[Finding] = []
    wishes: dict[Path, list[str]] = {}
    for detail in error.errors(include_url=False)[:MAX_FINDINGS]:
        path, kind = _path(detail["loc"], data), detail["type"]
        if kind in _WISHES:
            if not _is_other_variant(detail, value_at(data, path)):
                wishes.setdefault(path, []).append(_WISHES[kind](detail.get("ctx") or {}))
        elif kind != "indicator_type":  # `references` says what is wrong with it
            findings.append(_finding(kind, path, detail, data))
    findings += [_unfit(path, value_at(data, path), wanted) for path, wanted in wishes.items()]
    return list(dict.fromkeys(_misspelt_transform(finding, data) or finding for finding in findings))


def _misspelt_transform(finding: Finding, data: Any) -> Finding | None:
    """Any other key of a fuzzy set is a membership; one that is like `input_transform` and holds no points is that, misspelt."""
    path = finding.path[:3]
    if len(path) < 3 or path[0] != "fuzzy_sets" or path[2] == "input_transform":
        return None
    content = value_at(data, path)
    if not isinstance(content, dict) or "parameters" in content or not vocabulary.nearest(path[2], ["input_transform"]):
        return None
    return Finding(path, f"unknown key '{path[2]}', did you mean 'input_transform'?", at_key=True)


def dotted(path: Path) -> str:
    """("nn_inputs", 0, "fuzzy_set") → `nn_inputs[0].fuzzy_set`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


def seen(value: object) -> str:
    """A value as an author wrote it, short enough for a sentence."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    if isinstance(value, dict):
        return "a map" if value else "an empty map"
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 60 else f"'{value[:57]}…'"
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": ".inf", "-inf": "-.inf"}.get(str(value), ".nan")
    return str(value)


def one_of(word: object, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or all of them if they are few."""
    known = list(known)
    if len(known) > MAX_COMPARED:
        return ""
    near = vocabulary.nearest(word, known)
    if near is not None:
        return f", did you mean '{near}'?"
    if not known:
        return ""
    return f", wanted {'one of ' if len(known) > 1 else ''}{', '.join(known)}" if len(known) <= 40 else ""


def value_at(data: Any, path: Path) -> Any:
    """The value at `path`; None where there is none."""
    for part in path:
        if not _holds(data, part):
            return None
        data = data[part]
    return data


def _holds(data: Any, part: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(part, int) and 0 <= part < len(data)
    return isinstance(data, dict) and part in data


def _path(location: tuple[str | int, ...], data: Any) -> Path:
    """pydantic's place of an error as far as the text has it: names of variants and missing keys left out."""
    path: Path = ()
    skip = False
    for part in location:
        if skip:
            skip = False
            continue
        if _holds(data, part):
            path, data = (*path, part), data[part]
            general = tuple("*" if i == 1 and path[0] in ("indicators", "nn_inputs") else p for i, p in enumerate(path))
            skip = general in _VARIANTS
    return path


_TYPE_WISHES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing_size": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "date_type": "a day YYYY-MM-DD",
}
_WISHES = {kind: (lambda context, wish=wish: wish) for kind, wish in _TYPE_WISHES.items()} | {
    "literal_error": lambda context: str(context["expected"]),
    "greater_than": lambda context: f"above {_bound(context['gt'])}",
    "greater_than_equal": lambda context: f"at least {_bound(context['ge'])}",
    "less_than": lambda context: f"below {_bound(context['lt'])}",
    "less_than_equal": lambda context: "a number" if context["le"] == math.inf else f"at most {_bound(context['le'])}",
}


def _bound(value: Any) -> str:
    return f"{value:,}".replace(",", "_") if isinstance(value, int) and value >= 10_000 else f"{value:g}"


def _is_other_variant(detail: Any, value: Any) -> bool:
    """Whether the error speaks of a word where the author wrote a list or a map, which was tried as well."""
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    return last.startswith("literal[") and isinstance(value, (list, dict))


def _unfit(path: Path, value: Any, wanted: list[str]) -> Finding:
    words = re.findall("'([^']*)'", " ".join(wanted))
    if words and isinstance(value, str):
        near = vocabulary.nearest(value, words)
        if near is not None:
            return Finding(path, f"unknown value {seen(value)}, did you mean '{near}'?")
    if path[0:1] == ("fuzzy_sets",) and len(path) == 3 and wanted == ["a map"]:
        near = vocabulary.nearest(path[2], ("indicator", "input_transform"))
        if near is not None and near != path[2]:
            return Finding(path, f"unknown key '{path[2]}', did you mean '{near}'?", at_key=True)
        wanted = ["a map such as {type: identity}" if near else "a membership such as [0, 25, 40]"]
    hint = ""
    if wanted == ["text"] and value is not None and not isinstance(value, (list, dict)):
        hint = " in quotes"
    elif "number" in wanted[0] and isinstance(value, str) and re.fullmatch(r"[-+0-9.eE]+", value):
        hint = " without quotes"
    return Finding(path, f"seen {seen(value)}, wanted {' or '.join(wanted)}{hint}")


def _finding(kind: str, path: Path, detail: Any, data: Any) -> Finding:
    location, context = detail["loc"], detail.get("ctx") or {}
    last = location[-1] if location else ""
    match kind:
        case "missing":
            return Finding(path, f"missing key '{last}'{_misspelt(location, value_at(data, path))}")
        case "extra_forbidden":
            return Finding(path, f"unknown key '{last}'{one_of(last, _known_keys(location[:-1]))}", at_key=True)
        case "union_tag_not_found":
            return Finding(path, f"missing key {context['discriminator']}")
        case "union_tag_invalid":
            key, tags = context["discriminator"].strip("'"), re.findall("'([^']*)'", context["expected_tags"])
            group = plugins.NETWORKS if path == ("model",) else plugins.LABELS if path == ("training", "labels") else ""
            if (fault := plugins.fault_of(group, context["tag"])) is not None:
                return Finding((*path, key), fault)
            return Finding((*path, key), f"unknown {key} {seen(value_at(data, (*path, key)))}{one_of(context['tag'], tags)}")
        case "value_error":
            return Finding(path, str(context["error"]), at_key=last == "[key]")
        case "string_pattern_mismatch":
            text = path[-1] if last == "[key]" or _is_membership_name(path) else value_at(data, path)
            return Finding(
                path,
                f"seen {seen(text)}, wanted {_pattern(context['pattern'])}",
                at_key=last == "[key]" or _is_membership_name(path),
            )
        case "string_too_long":
            text = path[-1] if last == "[key]" else value_at(data, path)
            return Finding(
                path, f"text of {len(str(text))} characters, wanted at most {context['max_length']}", at_key=last == "[key]"
            )
        case "too_short":
            return Finding(path, f"has {context['actual_length']} entries, wanted at least {context['min_length']}")
        case "too_long":
            return Finding(path, f"has too many entries, wanted at most {context['max_length']}")
        case _:
            return Finding(path, f"seen {seen(value_at(data, path))}, which does not fit here")


def _is_membership_name(path: Path) -> bool:
    return len(path) == 3 and path[0] == "fuzzy_sets" and path[2] not in ("indicator", "input_transform")


def _pattern(pattern: str) -> str:
    if "^=" in pattern:
        return f"a symbol: {SYMBOL_WORDS}"
    first = "a letter or digit" if "A-Za-z0-9]" in pattern.partition("]")[0] + "]" else "a letter"
    return f"letters, digits, '_' and '-', at most 100, {first} first"


def _misspelt(location: tuple[str | int, ...], value: Any) -> str:
    """Which key beside a missing one was probably meant as it."""
    if not isinstance(value, dict):
        return ""
    near = vocabulary.nearest(location[-1], [k for k in value if k not in _known_keys(location[:-1])])
    return f"; is '{near}' meant as it?" if near else ""


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys that the map at pydantic's `location` may have."""
    annotation: Any = StrategySpec
    for part in location:
        annotation = _inside(annotation, part)
    return [spelling for model in _members(annotation) for spelling in _spellings(model)]


def _spellings(model: Any) -> Iterator[str]:
    if not isinstance(model, type) or not issubclass(model, BaseModel):
        return
    for name, information in model.model_fields.items():
        choices = information.validation_alias
        if isinstance(choices, AliasChoices):
            yield from (str(choice) for choice in choices.choices)
        else:
            yield information.alias or name


def _inside(annotation: Any, part: str | int) -> Any:
    """The type of the value at `part` of a value of type `annotation`, or its variant of that name."""
    if get_origin(annotation) is Annotated:
        return _inside(get_args(annotation)[0], part)
    if get_origin(annotation) in (Union, types.UnionType):
        members = _members(annotation)
        return _inside(members[0], part) if len(members) == 1 else next((m for m in members if _is_variant(m, part)), None)
    if get_origin(annotation) in (dict, list):
        return get_args(annotation)[-1]
    if not isinstance(annotation, type) or not issubclass(annotation, BaseModel):
        return None
    for name, information in annotation.model_fields.items():
        if part in (name, information.alias):
            return information.annotation
    return Membership if annotation is FuzzySet else None


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return [m for m in members if m is not type(None)]


def _is_variant(member: Any, name: str | int) -> bool:
    if get_origin(member) is Annotated:
        return any(isinstance(note, Tag) and note.tag == name for note in get_args(member)[1:])
    if not isinstance(member, type) or not issubclass(member, BaseModel):
        return False
    fields = (f.annotation for f in member.model_fields.values())
    return member.__name__ == name or any(get_origin(a) is Literal and name in get_args(a) for a in fields)
