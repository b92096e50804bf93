"""Strategy text, with what a command or request asks for in its place → `StrategySpec`, the only way in; and lists of symbols.

Either the whole strategy is right, or a `StrategyError` tells everything that is wrong with it.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from strategies_app.grammar.references import reference_findings, warnings_of
from strategies_app.grammar.schema import SYMBOL_WORDS, Path, StrategySpec, highest_frequency, is_symbol
from strategies_app.grammar.wording import MAX_FINDINGS, Finding, dotted, schema_findings, seen, value_at
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


#: Where a problem stands and which option may have brought it in.
_OPTION_OF = {
    ("training_data", "symbols"): "--symbols",
    ("training_data", "timeframes"): "--timeframes",
    ("training_data", "start_date"): "--start",
    ("training_data", "end_date"): "--end",
    ("training", "data_split"): "--validation-split",
    ("nn_inputs",): "--timeframes",
}


def overridden(spec: StrategySpec, data: dict[str, Any], given: dict[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """A copy of `data` (which made `spec`) with the values of the `given` options, and what cannot be done."""
    data, findings = copy.deepcopy(data), []
    section = data["training_data"]
    if (symbols := given.get("--symbols")) is not None:
        section["symbols"] = (
            {"mode": "single", "symbol": symbols[0]} if len(symbols) == 1 else {"mode": "multi_symbol", "list": symbols}
        )
    if (timeframes := given.get("--timeframes")) is not None:
        section["timeframes"] = _timeframes(timeframes, value_at(section, ("timeframes", "base_timeframe")))
    if "--start" in given or "--end" in given:
        section.pop("date_range", None)
        dates = {
            "start_date": given.get("--start", spec.training_data.start),
            "end_date": given.get("--end", spec.training_data.end),
        }
        section.update({key: day for key, day in dates.items() if day is not None})
    if (share := given.get("--validation-split")) is not None:
        split = spec.training.data_split
        rest = round(1 - share - split.test, 12)  # 1 − 0.2 − 0.15 is 0.6500000000000001
        if not share > 0 or not rest > 0:
            wanted = f"above 0 and, with the test split's {split.test:g}, below 1"
            findings.append(Finding(("training", "data_split"), f"seen {share:g}, wanted {wanted}"))
        data["training"]["data_split"] = {"train": rest, "validation": share, "test": split.test, "embargo": split.embargo}
    return data, findings


def _timeframes(timeframes: list[str], base: str | None) -> dict[str, Any]:
    if len(timeframes) == 1:
        return {"mode": "single", "timeframe": timeframes[0]}
    section: dict[str, Any] = {"mode": "multi_timeframe", "list": timeframes}
    try:
        still_right = base == highest_frequency(timeframes)
    except (KeyError, ValueError):  # an unknown timeframe, or none: the schema says so
        still_right = False
    return section | {"base_timeframe": base} if still_right else section


def option_of(finding: Finding, given: dict[str, Any]) -> tuple[str, None, None, str]:
    """Path, line, column and message of a problem that an option brought in: the option is its path."""
    option = next((o for path, o in _OPTION_OF.items() if finding.path[: len(path)] == path and o in given), None)
    if option is None and finding.path == ("training_data",):
        option = next((o for o in ("--start", "--end") if o in given), None)
    says_it_all = option is not None and finding.path[:1] != ("nn_inputs",)
    message = finding.message if says_it_all else f"{dotted(finding.path)}: {finding.message}"
    return option or ", ".join(given), None, None, message


#: A longer text is no list of symbols.
MAX_LIST_SIZE = 1_000_000
_SHOWN = 5


class BadList(Exception):
    """A text is no list of symbols: what was seen, where, and what was wanted, in one sentence."""


def read_symbols(path: str | FilePath) -> list[str]:
    """The symbols in a file; BadList if it cannot be read or is no list."""
    path = FilePath(path)
    try:
        if not path.is_file():  # a pipe or a device might never end
            raise BadList(f"{path} {'is not a file' if path.exists() else 'does not exist'}, wanted a list of symbols")
        with path.open("rb") as file:
            content = file.read(MAX_LIST_SIZE + 1)
    except (OSError, ValueError) as error:
        raise BadList(f"{path} cannot be read: {error.strerror if isinstance(error, OSError) else error}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadList(f"{path} is not a text in UTF-8, wanted a list of symbols") from None
    return symbols_in(text, str(path))


def symbols_in(text: str, label: str) -> list[str]:
    """The symbols in a text, which the sentences of a BadList call `label`."""
    if len(text) > MAX_LIST_SIZE:
        raise BadList(f"{label} has more than {MAX_LIST_SIZE:,} characters, wanted a list of symbols")
    found: dict[str, list[int]] = {}
    for line, name in _names(text):
        if not is_symbol(name):
            wanted = f"{SYMBOL_WORDS}; one a line or with commas, # before a comment"
            raise BadList(f"{label}, line {line}: '{name[:40]}' is no symbol, wanted {wanted}")
        found.setdefault(name, []).append(line)
    if not found:
        raise BadList(f"{label} holds no symbol, wanted one a line or with commas, # before a comment")
    again = [f"{name} (lines {' and '.join(map(str, lines[:2]))})" for name, lines in found.items() if len(lines) > 1]
    if again:
        more = f" and {len(again) - _SHOWN} more" if len(again) > _SHOWN else ""
        raise BadList(f"{label} holds {', '.join(again[:_SHOWN])}{more} more than once, wanted each symbol once")
    return list(found)


def _names(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        for part in line.partition("#")[0].split(","):
            if part.strip():
                yield number, part.strip()
