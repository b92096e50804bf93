"""Strategy text → `StrategySpec`: the only way in, for files, stored versions, forms and requests.

Either the whole strategy is right, or a `StrategyError` tells everything that is wrong with it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from strategies_app.grammar.overrides import option_of, overridden
from strategies_app.grammar.references import reference_findings, warnings_of
from strategies_app.grammar.schema import Path, StrategySpec
from strategies_app.grammar.wording import MAX_FINDINGS, Finding, dotted, schema_findings, seen
from strategies_app.grammar.yaml_text import MAX_SIZE, Document, Place, UnreadableText, read_document, text_of, too_large

__all__ = ["Problem", "StrategyError", "read_strategy", "read_strategy_file", "read_text", "warnings_of"]

#: More than this is not read by anyone.
MAX_PROBLEMS = 200
_OLD: Path = ("model", "training")


@dataclass(frozen=True)
class Problem:
    """One thing wrong: `path` as `nn_inputs[0].fuzzy_set`, or the option it came from; line and column from 1 where known."""

    path: str
    line: int | None
    column: int | None
    message: str

    def __str__(self) -> str:
        where = [f"line {self.line}, column {self.column}"] if self.line is not None else []
        where += [self.path] if self.path else []
        return f"{', '.join(where)}: {self.message}" if where else self.message


class StrategyError(Exception):
    """A text is no valid strategy; `problems` holds all that is wrong, in the order of the text."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def read_strategy(
    text: str | bytes,
    *,
    symbols: list[str] | None = None,
    timeframes: list[str] | None = None,
    start: dt.date | str | None = None,
    end: dt.date | str | None = None,
    validation_split: float | None = None,
) -> StrategySpec:
    """The strategy in `text`, with what was asked for on the command line or in a request in place of its own values.

    start and end are UTC days, both inclusive; validation_split is the share of the validation split,
    the test split keeps its own and training gets the rest.
    """
    try:
        document = read_document(text)
    except UnreadableText as error:
        raise _unreadable(error) from None
    spec = _checked(document)
    options = {
        "--symbols": symbols,
        "--timeframes": timeframes,
        "--start": start,
        "--end": end,
        "--validation-split": validation_split,
    }
    given = {option: value for option, value in options.items() if value is not None}
    return _overridden(spec, document.data, given) if given else spec


def read_strategy_file(path: str | FilePath) -> tuple[str, StrategySpec]:
    """The exact text of a file and the strategy in it."""
    text = read_text(path)
    return text, read_strategy(text)


def read_text(path: str | FilePath) -> str:
    """The exact text of a strategy file, line endings included; StrategyError if it is no text of a strategy's size."""
    path = FilePath(path)
    try:
        if not path.is_file():  # a pipe or a device might never end
            missing = "is not a file" if path.exists() else "does not exist"
            raise StrategyError([Problem("", None, None, f"{path} {missing}")])
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
            size = str(path.stat().st_size)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StrategyError([Problem("", None, None, f"{path} cannot be read: {reason}")]) from None
    try:
        if len(content) > MAX_SIZE:
            raise too_large(size)
        return text_of(content)
    except UnreadableText as error:
        raise _unreadable(error) from None


def _checked(document: Document) -> StrategySpec:
    """The strategy in the document, or all problems of text, schema and references in one error."""
    problems = [_located(dotted(p.path), p.place, p.message) for p in document.problems]
    findings: list[Finding] = []
    spec: StrategySpec | None = None
    if isinstance(document.data, dict):
        findings += _older_spelling(document)
        spec, found = _validated(document.data)
        findings += found
    elif not document.unknown:
        findings.append(Finding((), f"seen {seen(document.data)}, wanted a strategy: a map that starts with name:"))
    problems += filter(None, (_placed(document, finding) for finding in findings))
    if problems or spec is None:
        raise StrategyError(_in_order(problems))
    return spec


def _validated(data: dict[str, Any]) -> tuple[StrategySpec | None, list[Finding]]:
    references = list(islice(reference_findings(data), MAX_FINDINGS))
    try:
        spec = StrategySpec.model_validate(data)
    except ValidationError as error:
        findings = schema_findings(error, data)
        taken = {f.path for f in findings}
        return None, [*findings, *(f for f in references if f.path not in taken)]
    return spec, references


def _overridden(spec: StrategySpec, data: dict[str, Any], given: dict[str, Any]) -> StrategySpec:
    """The strategy with options in place of its own values; what is wrong then names the option in place of a line."""
    changed, findings = overridden(spec, data, given)
    if not findings:
        result, findings = _validated(changed)
        if result is not None and not findings:
            return result
    raise StrategyError(Problem(*option_of(finding, given)) for finding in findings)


def _older_spelling(document: Document) -> list[Finding]:
    """Moves `model.training`, from before `training` had a section of its own, to where it belongs."""
    data = document.data
    if not isinstance(data.get("model"), dict) or "training" not in data["model"]:
        return []
    document.data = {**data, "model": {key: value for key, value in data["model"].items() if key != "training"}}
    if "training" in data:
        return [Finding(_OLD, "training is given twice, here and as a section of its own, wanted the section alone", at_key=True)]
    document.data["training"] = data["model"]["training"]
    return []


def _is_unknown(document: Document, path: Path) -> bool:
    """Whether the value, or one that holds it, could not be read and has its own problem already."""
    return any(path[:length] in document.unknown for length in range(len(path) + 1))


def _as_written(document: Document, path: Path) -> Path:
    older = path[:1] == ("training",) and ("training",) not in document.values and _OLD in document.values
    return ("model", *path) if older else path


def _placed(document: Document, finding: Finding) -> Problem | None:
    path = written = _as_written(document, finding.path)
    if _is_unknown(document, written):
        return None
    while path and path not in document.values:
        path = path[:-1]
    place = document.keys.get(path) if finding.at_key else None
    return _located(dotted(written), place or document.values.get(path), finding.message)


def _unreadable(error: UnreadableText) -> StrategyError:
    return StrategyError([_located("", error.problem.place, error.problem.message)])


def _located(path: str, place: Place | None, message: str) -> Problem:
    return Problem(path, place.line if place else None, place.column if place else None, message)


def _in_order(problems: list[Problem]) -> list[Problem]:
    """By place, each once, and not more of them than anyone reads."""
    ordered = sorted(dict.fromkeys(problems), key=lambda p: (p.line or 0, p.column or 0))
    if len(ordered) <= MAX_PROBLEMS:
        return ordered
    return [*ordered[:MAX_PROBLEMS], Problem("", None, None, "and more problems than these")]
