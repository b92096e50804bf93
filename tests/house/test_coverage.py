"""The page of proofs names everything that the code offers, and every test that it names is there and speaks of it."""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import load_command_class

from strategies_app.grammar import vocabulary
from strategies_app.tools.meanings import SECTIONS

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs" / "coverage.md").read_text(encoding="utf-8")
#: Of every command of Django.
EVERYWHERE = {"--help", "--version", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color", "--skip-checks",
              "--verbosity"}  # fmt: skip
NETWORKS = ("mlp", "lstm", "gru")


def rows(heading: str) -> dict[tuple[str, ...], list[str]]:
    """What a table of the page speaks of → the tests that it names; none for what cannot be trained yet."""
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ")] for line in part.splitlines() if line[:1] == "|"]
    found: dict[tuple[str, ...], list[str]] = {}
    for *subject, tests in [[c.strip() for c in line] for line in lines[2:]]:
        assert tuple(subject) not in found, f"{subject} has two rows"
        found[tuple(subject)] = [] if tests == "–" else [t.strip("` ") for t in tests.split(",")]
    return found


def commands() -> Iterator[tuple[str, str]]:
    """`train`, `operations list`, … with "" and each of their options."""
    for app in ("strategies_app", "training"):
        for path in sorted((TESTS.parent / app / "management" / "commands").glob("[a-z]*.py")):
            parser = load_command_class(app, path.stem).create_parser("ktrdr", path.stem)
            actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
            whole = {path.stem: parser} if not actions else {f"{path.stem} {n}": p for n, p in actions[0].choices.items()}
            for name, one in whole.items():
                options = {o for a in one._actions for o in a.option_strings if o.startswith("--")}
                own = options - (EVERYWHERE - ({"--version"} if actions else set()))
                yield from ((name, option) for option in ("", *sorted(own)))


def expected(heading: str) -> set[tuple[str, ...]]:
    match heading:
        case "Keys":
            return {(s.title, i.alias or name) for s in SECTIONS for name, i in s.model.model_fields.items()}
        case "Indicators":
            return {(name,) for name in vocabulary.INDICATORS}
        case "Memberships":
            return {(name,) for name in vocabulary.MEMBERSHIPS}
        case "Timeframes":
            return {(name,) for name in vocabulary.TIMEFRAMES}
        case "Labels":
            return {(source,) for source in vocabulary.LABEL_CLASSES}
        case "Networks":
            return {(name,) for name in NETWORKS}
        case "Outputs":
            return {("classification",), ("regression",)}
        case _:
            return set(commands())


HEADINGS = ("Keys", "Indicators", "Memberships", "Timeframes", "Labels", "Networks", "Outputs", "Commands")


@pytest.mark.parametrize("heading", HEADINGS)
def test_everything_has_a_row_and_every_row_is_of_something(heading: str) -> None:
    there = set(rows(heading))
    assert {"missing": expected(heading) - there, "unknown": there - expected(heading)} == {"missing": set(), "unknown": set()}


@pytest.mark.parametrize("heading", HEADINGS)
def test_everything_has_a_test(heading: str) -> None:
    assert [subject for subject, tests in rows(heading).items() if not tests] == []


@functools.cache
def source(file: str) -> tuple[str, frozenset[str]]:
    """The text of a test file, with that of the files of examples that it imports, and the names of its tests."""
    path = TESTS / file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    names = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    helpers = re.findall(r"^from tests\.examples\.(\w+) import", text, re.MULTILINE)
    return text + "".join((TESTS / "examples" / f"{name}.py").read_text(encoding="utf-8") for name in helpers), frozenset(names)


def parameters(test: str) -> set[str]:
    """What a test is run over, as text: names of kinds, sources, keys."""
    file, _, name = test.partition("::")
    marks = getattr(
        getattr(importlib.import_module(f"tests.{file.removesuffix('.py').replace('/', '.')}"), name), "pytestmark", []
    )
    values = [value for mark in marks if mark.name == "parametrize" for value in mark.args[1]]
    return {word for value in values for word in re.findall(r"[\w.]+", str(getattr(value, "id", None) or value))}


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_test_is_there(heading: str) -> None:
    named = {test for tests in rows(heading).values() for test in tests}
    assert {test for test in named if test.partition("::")[2] not in source(test.partition("::")[0])[1]} == set()


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_test_speaks_of_what_it_is_to_show(heading: str) -> None:
    silent = []
    for subject, tests in rows(heading).items():
        words = subject[-1].split() or subject[0].split()[-1:]
        spellings = {words[-1], words[-1].strip("-").replace("-", "_")}
        pattern = "|".join(rf"(?<![\w-]){re.escape(one)}(?![\w-])" for one in spellings)
        if tests and not any(re.search(pattern, source(t.partition("::")[0])[0]) or spellings & parameters(t) for t in tests):
            silent.append((subject, tests))
    assert not silent, "\n".join(map(str, silent))
