"""What the campaigns of tests/access/test_attacks.py send: addresses of everything, odd bodies and mutated strategies, from a printed seed."""

from __future__ import annotations

import copy
import json
import logging
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from django.apps import apps
from django.db.models import Model
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from strategies_app.starters import ideas, samples
from tests.examples.api import TEXT, Examples

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
#: An answer of the server's that is none of its faults: nobody is there to work.
HONEST = ("no_worker", "took_too_long")


@dataclass(eq=False)
class Tally(logging.Handler):
    """What was sent and what came of it. As a handler of logs it takes every traceback that anybody writes."""

    seed: int
    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)
    doing: str = ""

    def __post_init__(self) -> None:
        super().__init__(logging.WARNING)

    def __enter__(self) -> Tally:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger().removeHandler(self)
        print(
            f"\nseed {self.seed}: {self.requests:,} requests, {dict(sorted(self.statuses.items()))}, "
            f"{len(self.faults)} faults, {len(self.allowed)} allowed too much, {dict(self.kinds.most_common())}"
        )

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0] is not None and record.levelno >= logging.ERROR:
            self.faults.append(f"{self.doing}: a traceback of {record.exc_info[0].__name__} in the log")

    def note(self, answer: Any, doing: str) -> None:
        self.requests += 1
        self.statuses[answer.status_code] += 1
        said = b"" if answer.streaming else answer.content
        if b"Traceback (most recent call last)" in said:
            self.faults.append(f"{doing}: a traceback in the answer")
        if answer.status_code >= 500 and not any(f'"code": "{code}"'.encode() in said for code in HONEST):
            self.faults.append(f"{doing}: {answer.status_code} {said[:200]!r}")


# --- addresses -----------------------------------------------------------------------------------


def patterns(resolver: URLResolver | None = None, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Every named page outside of the API, by its whole name."""
    for pattern in (resolver or get_resolver("ktrdr_site.urls")).url_patterns:
        if isinstance(pattern, URLResolver):
            if not str(pattern.pattern).startswith("api/"):
                yield from patterns(pattern, before + (f"{pattern.namespace}:" if pattern.namespace else ""))
        elif pattern.name:
            yield f"{before}{pattern.name}", pattern


def address(name: str, pattern: URLPattern, examples: Examples, *, there: bool = True, mine: bool = True) -> str | None:
    """Where a page is for something that is there, of the trainer or of somebody else, or for what is not there."""
    wanted = {key: argument(key, name, examples, there=there, mine=mine) for key in pattern.pattern.converters}
    for given in ({"kwargs": wanted}, {"args": list(wanted.values())}, {"kwargs": {"key": "0" * 32}},
                  {"kwargs": {"job": "quick-" + "0" * 32}}, {"kwargs": {"key": "0" * 32, "job": "quick-" + "0" * 32}},
                  {"args": ["training" if there else "nothing"]}):  # fmt: skip
        try:
            return reverse(name, **given)
        except NoReverseMatch:
            continue
    return None


def argument(key: str, name: str, examples: Examples, *, there: bool, mine: bool) -> Any:
    if not there:
        return {"token": 10**9, "number": 10**9}.get(key, 99 if "index" in key else "no-such")
    if key == "operation_id":
        return (examples.own if mine else examples.others).pk
    if key in ("object_id", "id"):
        return first_row(name, examples, mine=mine)
    if key == "name":
        return "stored" if name.startswith("strategies") else "analytics.json" if "analytics" in name else "stored-1"
    found = {"symbol": "AAPL", "timeframe": "1d", "token": 1, "number": 1, "version": 1, "job": "quick-" + "0" * 32}
    return found.get(key, 0 if "index" in key else "x")


def first_row(name: str, examples: Examples, *, mine: bool) -> Any:
    """The key of a row that an admin's page is about."""
    found = re.match(r"admin:(training|strategies_app|auth)_([a-z]+)_", name)
    if found is None:
        return 1
    if found[2] == "operation":
        return (examples.own if mine else examples.others).pk
    model: type[Model] = apps.get_model(found[1], found[2])
    row = model._default_manager.order_by("pk").last()
    return row.pk if row is not None else 1


def everything(examples: Examples) -> dict[str, Any]:
    """A form with a field for whatever any page might take."""
    return {
        "post": "yes", "confirmed": "yes", "do": "load", "force": "1", "reason": "x", "allow_inexact": "1", "text": TEXT, "name": "minimal",
        "base": "1", "strategy": "stored", "symbols": ["AAPL"], "timeframes": ["1d"], "symbol": "AAPL", "timeframe": "1d", "source": "yahoo",
        "action": "cancel_selected", "_selected_action": [examples.own.pk, examples.others.pk], "username": "intruder", "role": "admin",
        "password1": "corr3ct-horse", "password2": "corr3ct-horse", "is_active": "on", "scope": "admin", "tags": "mine", "note": "mine",
        "job_ids": ["x"], "next": "//elsewhere.example", "next_url": "//elsewhere.example", "once": "0" * 32, "task_id": "0" * 32,
    }  # fmt: skip


# --- odd bodies ----------------------------------------------------------------------------------

ODD: dict[str, list[Any]] = {
    "half a character": ["\ud800", "a\udfffb", "\udc00\ud800", "\ud83d"],
    "zero byte": ["\0", "AAPL\0", "\0" * 300],
    "direction": ["\u202eLPAA", "\u2066x\u2069", "\u200f", "\u200b\u200d"],
    "control": ["\x07", "\x1b[31m", "\x7f", "\r\nX-Injected: 1", "\u2028", "\ufeff", "\uffff", "\x85"],
    "long": ["x" * 70_000, "é" * 40_000, "🙂" * 20_000, "a: " * 20_000, "[" * 60_000],
    "type": [None, True, [], {}, [None], {"a": {"b": []}}, "", " ", ["AAPL", 1, None], [["AAPL"]], {"": ""}],
    "number": [10**400, -(10**400), 1e308, 5e-324, -0.0, 2**63, -(2**63) - 1, 0, -1, float("nan"), float("inf"), "9" * 5000, "1e999"],
    "date": ["0000-00-00", "9999-12-31", "0001-01-01", "10000-01-01", "2005-02-30", "٢٠٠٥-٠١-٠١", 1e18, "now", "2005-01-01T25:00"],
    "code": ["' OR 1=1 --", "${7*7}", "{{7*7}}", "{% x %}", "<script>", "../../etc/passwd", "%s%n", "C:\\x", "file:///etc/passwd", "@/etc/passwd"],
    "unicode": ["ß" * 300, "e\u0301" * 200, "ﬁ", "İ", "ＡＡＰＬ", "АAPL", "\U0010ffff"],
}  # fmt: skip
RAW: dict[str, list[bytes]] = {
    "deep": [b"[" * 100_000, b'{"a":' * 50_000, b"[" * 900 + b"]" * 900, b'{"strategy_yaml":' + b"[" * 5000 + b"]" * 5000 + b"}"],
    "twice": [b'{"strategy_name": "stored", "strategy_name": "other"}', b'{"force": true, "force": false}', b'{"": 1, "": 2}'],
    "no JSON": [b"", b"{", b"nul", b"\xff\xfe", b"\x00", b"<x/>", b'{"a": 1} {"b": 2}', b"{'a': 1}", b"NaN", b"-", b"\x1f\x8b\x08", b'"\\u12"'],
    "encoding": ['{"strategy_name": "stored"}'.encode("utf-16"), '{"strategy_name": "é"}'.encode("latin-1"), b"\xef\xbb\xbf{}",
                 '{"strategy_yaml": "\ud800"}'.encode("utf-8", "surrogatepass"), '{"x": "y"}'.encode("utf-32")],
    "many": [b"{" + b",".join(b'"k%d":1' % n for n in range(40_000)) + b"}", b"[" + b"1," * 200_000 + b"1]", b" " * 500_000 + b"{}"],
    "too large": [b"x" * 530_000, b'{"strategy_yaml": "' + b"x" * 530_000 + b'"}'],
}  # fmt: skip


def bodies(rng: random.Random, count: int, examples: Examples) -> Iterator[tuple[str, str, bytes]]:
    """So many times a kind of oddness, the path of a route that takes a body, and the body."""
    right = {
        "trainings/start": {"strategy_name": "stored", "symbols": ["AAPL"], "timeframes": ["1d"], "start_date": "2005-01-01", "task_id": "t"},
        "trainings/plan": {"strategy_yaml": TEXT, "validation_split": 0.2, "end_date": "2009-12-31", "detailed_analytics": False},
        "strategies/validate": {"strategy_yaml": TEXT},
        f"operations/{examples.own.pk}/cancel": {"reason": "x", "force": False},
        f"operations/{examples.own.pk}/resume": {"allow_inexact": True},
        "models/stored-1/predict": {"symbol": "AAPL", "timeframe": "1d", "start": "2005-01-01", "end": "2005-02-01"},
    }  # fmt: skip
    for number in range(count):
        path = rng.choice(sorted(right))
        kinds = sorted([*ODD, *RAW])
        kind = kinds[number % len(kinds)]
        if kind in RAW:
            yield kind, path, rng.choice(RAW[kind])
            continue
        body = dict(right[path])
        for _ in range(rng.randint(1, 3)):
            odd = rng.choice(ODD[kind])
            key = rng.choice([*body, "strategy_path", "notify"])
            if kind not in ("type", "number") and rng.random() < 0.15:
                body[str(odd)] = 1
            else:
                body[key] = [odd] if isinstance(body.get(key), list) and rng.random() < 0.5 else odd
        as_it_is = rng.random() < 0.3
        yield kind, path, json.dumps(body, ensure_ascii=not as_it_is).encode("utf-8", "surrogatepass")


# --- mutated strategies --------------------------------------------------------------------------

VALUES = [
    "", "null", "~", "true", "NO", "0", "-1", "1e999", ".nan", ".inf", "-.inf", "1_000", "0x1F", "0o17", "1:30", "9" * 30, "1e-320", "[]", "{}",
    "[[]]", "[1, [2]]", "{a: {b: c}}", '"\\ud800"', '"\\0"', '"\\x07"', '"\\U0010FFFF"', "'", '"', "|", ">-", "&a x", "*a", "!!python/object:os.system x",
    "!!binary aGk=", "<<: {}", "? x", "- x", "2005-02-30", "0001-01-01", "9999-12-31", "@x", "`x`", "%x", "x: y: z", "# x", "\u202ex", "🙂", "x" * 3000,
    "[low, low]", "[3, 2, 1]", "[0, 0, 0]", "[.nan, 1, 2]", "[1, 1e308, 1e309]", "rsi", "zigzag", "triple_barrier", "lstm", "return", "AAPL", "1d", "all",
]  # fmt: skip


def strategies(rng: random.Random, count: int) -> Iterator[str]:
    """So many texts that were right strategies once."""
    texts = [found.text for group in (samples(), ideas()) for found in group.values()]
    for _ in range(count):
        text = rng.choice(texts)
        for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
            text = rng.choice(MUTATIONS)(text, rng)
        yield text


def _line(change: Any) -> Any:
    def mutate(text: str, rng: random.Random) -> str:
        lines = text.split("\n")
        lines = change(lines, rng.randrange(len(lines)), rng)
        return "\n".join(lines)

    return mutate


def _other_value(lines: list[str], at: int, rng: random.Random) -> list[str]:
    places = [n for n, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")] or [at]
    at = rng.choice(places)
    return [*lines[:at], f"{lines[at].partition(':')[0]}: {rng.choice(VALUES)}", *lines[at + 1 :]]


def _other_number(text: str, rng: random.Random) -> str:
    found = list(re.finditer(r"(?<![\w.])-?\d+(\.\d+)?", text))
    if not found:
        return text
    place = rng.choice(found)
    return (
        text[: place.start()] + rng.choice([*VALUES[:16], "1", "2", "3", "1000000", "0.5", "1.5", "-0.0"]) + text[place.end() :]
    )


def _near_number(text: str, rng: random.Random) -> str:
    """A number like the one that stood there: what comes of it may be right."""
    found = list(re.finditer(r"(?<=[ \[:{,])\d+(\.\d+)?(?=[ ,\]}\n])", text))
    if not found:
        return text
    place = rng.choice(found)
    value = float(place[0]) * rng.choice((0, 0.01, 0.5, 0.9, 1.1, 2, 10, 1000)) + rng.choice((0, 0, 1, -1))
    return text[: place.start()] + (f"{value:g}" if "." in place[0] else str(int(value))) + text[place.end() :]


def _other_word(text: str, rng: random.Random) -> str:
    """A word of the text in the place of another one."""
    found = list(re.finditer(r"(?<=: )[a-z_0-9]+(?=[\n ,}])", text))
    if len(found) < 2:
        return text
    place, other = rng.sample(found, 2)
    return text[: place.start()] + other[0] + text[place.end() :]


def _other_letter(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return (
        text[:at] + rng.choice([*"{}[]:,-#'\"\t\0\x85&*!|>%@`\n ", "\ud800", "\ufeff", "é", ""]) + text[at + rng.randint(0, 2) :]
    )


def _moved(text: str, rng: random.Random) -> str:
    """A part of the tree in another place, as data."""
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    places = list(_places(data))
    if len(places) < 2:
        return text
    (box, key), (other, where) = rng.sample(places, 2)
    box[key] = rng.choice([copy.deepcopy(other[where]), [other[where]], {"x": other[where]}, None, str(other[where])])
    try:
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, RecursionError, UnicodeError):
        return text


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    inside = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    for key, value in inside:
        yield data, key
        yield from _places(value)


MUTATIONS = (
    _line(lambda lines, at, rng: lines[:at] + lines[at + 1 :]),
    _line(lambda lines, at, rng: [*lines[: at + 1], lines[at], *lines[at + 1 :]]),
    _line(lambda lines, at, rng: [*lines[:at], rng.choice(["  ", " ", "\t", "- "]) + lines[at], *lines[at + 1 :]]),
    _line(lambda lines, at, rng: [*lines[:at], lines[at].strip(), *lines[at + 1 :]]),
    _line(lambda lines, at, rng: [*lines[:at], *rng.sample(lines[at : at + 6], len(lines[at : at + 6])), *lines[at + 6 :]]),
    _line(_other_value), _line(_other_value), _line(_other_value), _other_number, _other_letter, _moved, _moved, *[_near_number] * 8,
    _other_word, _other_word,
)  # fmt: skip
