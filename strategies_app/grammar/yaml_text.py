"""Strategy text → plain data with the place of every value; hardened YAML with the scalars of YAML 1.2.

Only maps with text keys, lists and plain values pass. What would let a small text grow (aliases), run
(tags) or say two things at once (duplicate keys) is a problem with a line and a column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from yaml import events

#: Bytes.
MAX_SIZE = 64 * 1024
#: Maps and lists inside one another.
MAX_DEPTH = 32
#: So many anchors and aliases are told one by one.
MOST_REFERENCES = 5
#: The largest number a strategy may name: exact as a float and as a 64-bit integer.
MAX_INTEGER = 10**18

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Where something stands, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class TextProblem:
    """What is wrong with the text, where, and at which path if there is one."""

    message: str
    place: Place | None = None
    path: Path = ()


class UnreadableText(Exception):
    """The text is no YAML that may be read; nothing in it can be checked further."""

    def __init__(self, message: str, place: Place | None = None) -> None:
        super().__init__(message)
        self.problem = TextProblem(message, place)


@dataclass
class Document:
    """Plain data and where each path of it stands. `problems` were met on the way; the data at `unknown` paths means nothing."""

    data: Any = None
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    problems: list[TextProblem] = field(default_factory=list)
    unknown: set[Path] = field(default_factory=set)


def read_document(text: str | bytes) -> Document:
    """The one document in `text`; UnreadableText if it cannot be read at all."""
    text = _checked_text(text)
    composer = _Composer(text)
    try:
        return composer.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableText(f"not valid YAML: {_in_plain_words(error)}", _place(mark)) from None
    except (yaml.YAMLError, ValueError, OverflowError, IndexError) as error:
        # PyYAML lets a few of Python's own errors through, such as chr() for an escape beyond Unicode.
        raise UnreadableText(f"not valid YAML: {error}", composer.last_place) from None


def too_large(size: str) -> UnreadableText:
    return UnreadableText(f"the text has {size} bytes, wanted at most {MAX_SIZE}")


# What YAML cannot hold: control characters, halves of surrogate pairs, non-characters.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text_of(content: bytes) -> str:
    """Bytes of a file as text, unchanged otherwise."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        place = _place_of(content[: error.start].decode("utf-8"))
        raise UnreadableText("the text is not UTF-8; is this a binary file?", place) from None


def _checked_text(text: str | bytes) -> str:
    size = len(text) if isinstance(text, bytes) or len(text) > MAX_SIZE else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_SIZE:
        raise too_large(str(size))
    text = text_of(text) if isinstance(text, bytes) else text
    text = text.removeprefix("\ufeff")
    if found := _UNPRINTABLE.search(text):
        raise UnreadableText(
            f"the text holds {_code(found[0])}, which is not text; is this a binary file?", _place_of(text[: found.start()])
        )
    return text


def _code(character: str) -> str:
    return f"the character U+{ord(character):04X}"


def _place_of(before: str) -> Place:
    return Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _place(mark: Any) -> Place | None:
    return Place(mark.line + 1, mark.column + 1) if mark else None


def _in_plain_words(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or error.context)
    if "'\\t'" in problem:
        return "a tab where spaces are wanted"
    if problem.startswith("mapping values are not allowed"):
        return "a second ':' in one line; put text that holds ': ' in quotes"
    return problem.replace("<block end>", "the end of this block").replace("<stream end>", "the end of the text")


class _Composer:
    """One pass over the parser's events, so that nothing is built before it is allowed."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._document = Document()
        self.last_place: Place | None = None

    def document(self) -> Document:
        self._next()  # the stream starts
        event = self._next()
        if isinstance(event, events.StreamEndEvent):
            raise UnreadableText("the text is empty, wanted a strategy", Place(1, 1))
        self._document.data = self._value(self._next(), ())
        self._next()  # the document ends
        event = self._next()
        if not isinstance(event, events.StreamEndEvent):
            raise UnreadableText("a second document starts here, wanted one strategy in one text", _place(event.start_mark))
        self._document.problems = _references_in_one(self._document.problems)
        return self._document

    def _next(self) -> Any:
        event = next(self._events)
        self.last_place = _place(event.start_mark)
        return event

    def _value_problem(self, event: Any, path: Path, message: str) -> None:
        self._document.unknown.add(path)
        self._key_problem(event, path, message)

    def _key_problem(self, event: Any, path: Path, message: str) -> None:
        self._document.problems.append(TextProblem(message, _place(event.start_mark), path))

    def _value(self, event: Any, path: Path) -> Any:
        place = _place(event.start_mark)
        assert place is not None
        self._document.values[path] = place
        if len(path) > MAX_DEPTH:
            raise UnreadableText(f"maps and lists are nested deeper than {MAX_DEPTH}", place)
        if isinstance(event, events.AliasEvent):
            self._value_problem(event, path, f"alias *{event.anchor}, wanted the value written out")
            return None
        if event.anchor is not None:
            self._value_problem(event, path, f"anchor &{event.anchor}, wanted every value written where it is used")
        if event.tag is not None:
            self._value_problem(event, path, f"tag {event.tag}, wanted plain values without tags")
        if isinstance(event, events.MappingStartEvent):
            return self._map(path)
        if isinstance(event, events.SequenceStartEvent):
            return self._list(path)
        return self._scalar(event, path)

    def _list(self, path: Path) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := self._next(), events.SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return values

    def _map(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := self._next(), events.MappingEndEvent):
            key = self._key(event, path)
            if key is None:
                self._value(self._next(), (*path, "?"))  # read over it: what is inside may be wrong as well
                continue
            at = (*path, key)
            if key in values:
                first = self._document.keys[at]
                self._value_problem(event, at, f"key '{key}' is here a second time, first in line {first.line}")
                self._value(self._next(), at)
                continue
            self._document.keys[at] = Place(event.start_mark.line + 1, event.start_mark.column + 1)
            values[key] = self._value(self._next(), at)
        return values

    def _key(self, event: Any, path: Path) -> str | None:
        """The text of a key; None, and a problem, if it is anything else."""
        if not isinstance(event, events.ScalarEvent):
            self._key_problem(event, path, "a key that is not plain text, wanted a name")
            if not isinstance(event, events.AliasEvent):
                self._value(event, (*path, "?"))
            return None
        if event.anchor is not None or event.tag is not None:
            self._key_problem(event, path, "an anchor or a tag at a key, wanted a name alone")
            return None
        if event.value == "<<" and event.style is None:
            self._key_problem(event, path, "a merge key '<<', wanted every key written out")
            return None
        if not isinstance(self._scalar(event, path), str):
            seen = f"'{event.value}'" if event.value else "nothing"
            self._key_problem(event, path, f"{seen} as a key, wanted text; put it in quotes if it is a name")
            return None
        return str(event.value)

    def _scalar(self, event: Any, path: Path) -> Any:
        if found := _UNPRINTABLE.search(event.value):
            self._value_problem(event, path, f"an escape gives {_code(found[0])}, which is not text")
            return None
        if event.style is not None or event.tag is not None:
            return event.value
        value = plain_value(event.value)
        if isinstance(value, OverflowError):
            self._value_problem(event, path, str(value))
            return None
        return value


def _references_in_one(problems: list[TextProblem]) -> list[TextProblem]:
    """Many anchors and aliases as one problem, at the first of them: a text that is made of them has thousands."""
    references: list[TextProblem] = []
    others: list[TextProblem] = []
    for problem in problems:
        (references if problem.message.startswith(("anchor &", "alias *")) else others).append(problem)
    if len(references) <= MOST_REFERENCES:
        return problems
    first = replace(references[0], message=f"{references[0].message}; {len(references) - 1} more anchors or aliases follow")
    place = problems.index(references[0])
    return [*others[:place], first, *others[place:]]


_WORDS: dict[str, Any] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= {word: word[0] in "tT" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_WORDS |= {f".{word}": float("nan") for word in ("nan", "NaN", "NAN")}
_WORDS |= {f"{sign}.{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in ("inf", "Inf", "INF")}
_BASES = ((re.compile(r"[-+]?[0-9]+"), 10), (re.compile(r"0o[0-7]+"), 8), (re.compile(r"0x[0-9a-fA-F]+"), 16))
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def plain_value(text: str) -> Any:
    """What an unquoted scalar means by the core schema of YAML 1.2; an OverflowError (as a value) if it is out of bounds."""
    if text in _WORDS:
        return _WORDS[text]
    for pattern, base in _BASES:
        if pattern.fullmatch(text):
            # Digits are counted first: turning a very long number into an int is slow, and Python refuses it.
            value = int(text, base) if len(text) <= 80 else None
            if value is None or abs(value) > MAX_INTEGER:
                return OverflowError(f"the number {_shortened(text)} is out of bounds, wanted at most 1e18")
            return value
    if _FLOAT.fullmatch(text):
        number = float(text) if len(text) <= 400 else float("inf")
        if abs(number) == float("inf"):
            return OverflowError(f"the number {_shortened(text)} is out of bounds")
        return number
    return text


def _shortened(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:20]}… ({len(text)} characters)"
