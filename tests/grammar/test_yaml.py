"""YAML as strategies may use it: the scalars of YAML 1.2, and nothing that grows, runs or says two things at once."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from strategies_app.grammar.yaml_text import MAX_SIZE, Place, UnreadableText, read_document


def data(text: str | bytes) -> Any:
    document = read_document(text)
    assert not document.problems
    return document.data


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ON", "ON"), ("NO", "NO"), ("yes", "yes"), ("off", "off"), ("y", "y"),
        ("1:30", "1:30"), ("2020-01-01", "2020-01-01"), ("1_000", "1_000"), ("=", "="), ("0b1", "0b1"),
        ("1e-4", 1e-4), ("1.", 1.0), (".5", 0.5), ("-1.5E+3", -1500.0), ("3.0", 3.0), ("+1", 1), ("-7", -7),
        ("007", 7), ("0o17", 15), ("0x1f", 31), ("1000000000000000000", 10**18),
        (".inf", math.inf), ("-.INF", -math.inf), ("+.Inf", math.inf),
        ("", None), ("~", None), ("null", None), ("NULL", None),
        ("true", True), ("True", True), ("TRUE", True), ("false", False), ("FALSE", False), ("tRUE", "tRUE"),
        ("'1'", "1"), ('"true"', "true"), ("''", ""),
    ],
)  # fmt: skip
def test_a_scalar_means_what_yaml_1_2_says(written: str, meant: object) -> None:
    value = data(f"key: {written}\n")["key"]
    assert value == meant
    assert type(value) is type(meant)


def test_nan_is_a_number() -> None:
    assert math.isnan(data("key: .nan")["key"])


def test_block_text_keeps_its_lines() -> None:
    assert data("key: |\n  one\n  two\n")["key"] == "one\ntwo\n"
    assert data("key: >\n  one\n  two\n")["key"] == "one two\n"


def test_a_byte_order_mark_and_windows_lines_are_read() -> None:
    assert data("\ufeffa: 1\r\nb: 2\r\n".encode()) == {"a": 1, "b": 2}


def test_words_that_yaml_1_1_takes_for_booleans_may_be_keys() -> None:
    assert data("on: 1\nno: 2\n") == {"on": 1, "no": 2}


def test_every_value_and_key_has_a_place() -> None:
    document = read_document("a:\n  b: [1, {c: 2}]\n")
    assert document.values["a", "b", 1, "c"] == Place(2, 14)
    assert document.keys["a", "b", 1, "c"] == Place(2, 11)
    assert document.values["a",] == Place(2, 3)


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a: 1\nb: &x 2\n", 2, 4, "anchor &x, wanted every value written where it is used"),
        ("a: *x\n", 1, 4, "alias *x, wanted the value written out"),
        ("a:\n  <<: {b: 1}\n", 2, 3, "a merge key '<<', wanted every key written out"),
        ("a: !!python/object:os.system ls\n", 1, 4, "tag tag:yaml.org,2002:python/object:os.system, wanted plain values without tags"),
        ("a: !x {b: 1}\n", 1, 4, "tag !x, wanted plain values without tags"),
        ("&a b: 1\n", 1, 1, "an anchor or a tag at a key, wanted a name alone"),
        ("a: 1\nb: 2\na: 3\n", 3, 1, "key 'a' is here a second time, first in line 1"),
        ("a: {b: 1, b: 2}\n", 1, 11, "key 'b' is here a second time, first in line 1"),
        ("1: a\n", 1, 1, "'1' as a key, wanted text; put it in quotes if it is a name"),
        ("true: a\n", 1, 1, "'true' as a key, wanted text; put it in quotes if it is a name"),
        ("? \n: a\n", 1, 2, "nothing as a key, wanted text; put it in quotes if it is a name"),
        ("? [a, b]\n: 1\n", 1, 3, "a key that is not plain text, wanted a name"),
        ("*x : 1\n", 1, 1, "a key that is not plain text, wanted a name"),
        ("a: 1000000000000000001\n", 1, 4, "the number 1000000000000000001 is out of bounds, wanted at most 1e18"),
        (f"a: {'9' * 5000}\n", 1, 4, "the number 99999999999999999999… (5000 characters) is out of bounds, wanted at most 1e18"),
        ("a: 0x" + "f" * 100 + "\n", 1, 4, "the number 0xffffffffffffffffff… (102 characters) is out of bounds, wanted at most 1e18"),
        ("a: 1e999\n", 1, 4, "the number 1e999 is out of bounds"),
        ('a: "\\0"\n', 1, 4, "an escape gives the character U+0000, which is not text"),
        ('a: "\\ud800"\n', 1, 4, "an escape gives the character U+D800, which is not text"),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_named_with_its_place(text: str, line: int, column: int, message: str) -> None:
    problem = read_document(text).problems[0]
    assert (problem.place, problem.message) == (Place(line, column), message)


def test_all_that_is_not_allowed_is_named_at_once() -> None:
    problems = read_document("a: &x 1\nb: *x\na: 2\n3: 4\n").problems
    assert [p.place.line for p in problems if p.place] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", Place(1, 1), "the text is empty, wanted a strategy"),
        ("# only a comment\n", Place(1, 1), "the text is empty, wanted a strategy"),
        ("a: 1\n---\nb: 2\n", Place(2, 1), "a second document starts here, wanted one strategy in one text"),
        ("a:\n  b: [" + "[" * 40 + "\n", Place(2, 37), "maps and lists are nested deeper than 32"),
        ("[" * 5000, Place(1, 34), "maps and lists are nested deeper than 32"),
        ("- " * 5000, Place(1, 67), "maps and lists are nested deeper than 32"),
        ("{a: " * 5000, Place(1, 133), "maps and lists are nested deeper than 32"),
        (b"a: 1\nb: \xff\xfe", Place(2, 4), "the text is not UTF-8; is this a binary file?"),
        ("a: 1\nb\0: 2", Place(2, 2), "the text holds the character U+0000, which is not text; is this a binary file?"),
        ("a: \x1b[31m", Place(1, 4), "the text holds the character U+001B, which is not text; is this a binary file?"),
        ("a: \ud800", Place(1, 4), "the text holds the character U+D800, which is not text; is this a binary file?"),
        (b"x" * (MAX_SIZE + 1), None, "the text has 65537 bytes, wanted at most 65536"),
        ("€" * 30_000, None, "the text has 90000 bytes, wanted at most 65536"),
        ("a: [1, 2\n", Place(2, 1), "not valid YAML: expected ',' or ']', but got 'the end of the text'"),
        ("a: b: c\n", Place(1, 5), "not valid YAML: a second ':' in one line; put text that holds ': ' in quotes"),
        ("a:\n\tb: 1\n", Place(2, 1), "not valid YAML: a tab where spaces are wanted"),
    ],
)  # fmt: skip
def test_a_text_that_cannot_be_read_is_refused_in_one_sentence(text: str | bytes, place: Place | None, message: str) -> None:
    with pytest.raises(UnreadableText) as caught:
        read_document(text)
    assert (caught.value.problem.place, caught.value.problem.message) == (place, message)


def test_an_escape_beyond_unicode_is_refused() -> None:
    with pytest.raises(UnreadableText, match="not valid YAML"):
        read_document('a: "\\UFFFFFFFF"')


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    started = time.monotonic()
    assert read_document("\n".join(lines)).problems
    assert time.monotonic() - started < 2
