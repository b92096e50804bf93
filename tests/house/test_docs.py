"""What the code offers is in the documentation: settings, commands, options; and every link leads somewhere."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand

from tests.examples.homes import ROOT

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: How settings.py reads an environment variable, by the name of the function.
READERS = {
    *("_number", "_flag", "_names", "_keys", "_folder"),
    *("os.environ.get", "os.environ.setdefault", "os.getenv"),
}


def settings_read() -> set[str]:
    """Names of the environment variables that settings.py reads."""
    tree = ast.parse((ROOT / "ktrdr_site" / "settings.py").read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in READERS:
            found |= {str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)}
    return {name for name in found if re.fullmatch("[A-Z][A-Z_]+", name)}


def commands() -> list[tuple[str, str]]:
    folders = {app: ROOT / app / "management" / "commands" for app in ("strategies_app", "training")}
    return [(app, p.stem) for app, folder in folders.items() for p in sorted(folder.glob("*.py")) if p.stem != "__init__"]


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Long options of a command and of its actions."""
    for action in parser._actions:
        yield from (o for o in action.option_strings if o.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from options(inner)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_settings_are_found() -> None:
    assert {"KTRDR_HOME", "DATABASE_URL", "KTRDR_DEBUG", "CHECKPOINT_DIR", "NUMBA_CACHE_DIR"} <= settings_read()


@pytest.mark.parametrize("name", sorted(settings_read()))
def test_every_setting_is_documented(name: str) -> None:
    assert f"\n| `{name}` |" in OPERATIONS, f"{name} is not in the table of settings of docs/operations.md"


@pytest.mark.parametrize(("app", "name"), commands())
def test_every_command_and_option_is_documented(app: str, name: str) -> None:
    assert f"\n| `{name}` |" in OPERATIONS, f"{name} is not in the table of commands of docs/operations.md"
    own = set(options(load_command_class(app, name).create_parser("ktrdr", name)))
    own -= set(options(BaseCommand().create_parser("ktrdr", "any"))) - {"--version"}
    if name != "strategies":  # the only one with a --version of its own
        own.discard("--version")
    tables = "\n".join(line for line in OPERATIONS.splitlines() if line.startswith("|"))
    assert {option for option in own - {"--help"} if f"`{option}`" not in tables} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match("[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_nothing_says_to_install_a_name_that_the_public_index_does_not_have_as_ours() -> None:
    """`pip install ktrdr…` or the name of somebody's private package: a stranger can register it."""
    suffixes = {".md", ".py", ".html", ".js", ".yaml", ".toml", ".txt", ".cfg"}
    places = [ROOT / name for name in ("docs", "templates", "training", "strategies_app", "ktrdr_site", "tests/outsider")]
    files = (
        [path for place in places for path in place.rglob("*") if path.suffix in suffixes]
        + list(ROOT.glob("*.*"))
        + [ROOT / "Makefile"]
    )
    advice = [
        (path.name, line.strip())
        for path in files
        if path.is_file()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        for rest in re.findall(r"\bpip3? install (.*)", line)
        if not re.match(r"(-c constraints\.txt )?-e (\.|'\.\[|\./|\{)", rest)
    ]
    assert advice == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_table_of_two_columns_explains_a_word_twice(page: Path) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE):
        lines = [line.strip().strip("|").split("|") for line in table.splitlines()[2:]]
        words = [line[0].strip() for line in lines if len(line) == 2 and line[0].strip().startswith("`")]
        assert sorted(words) == sorted(set(words))


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda p: p.stem)
def test_a_decision_is_short_and_says_why(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(r"\d{4}-[a-z-]+$", path.stem) and len(text.splitlines()) <= 25
    assert [word for word in ("**Context.**", "**Decision.**", "**Consequence.**") if word not in text] == []


@pytest.mark.parametrize(("page", "heading", "least"), [
    ("safeguards.md", "## What fails without them", 50), ("security.md", "## Promises", 40),
])  # fmt: skip
def test_the_test_of_every_safeguard_and_promise_is_there(page: str, heading: str, least: int) -> None:
    tour = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = [
        test for test in re.findall(r"`(tests/[^`]+)`", tour.partition(heading)[2]) if "::" in test or page == "safeguards.md"
    ]
    assert len(named) > least
    gone = []
    for test in named:
        path, _, name = test.partition("::")
        file = ROOT / path
        if not file.is_file() or f"\ndef {name}(" not in file.read_text(encoding="utf-8"):
            gone.append(test)
    assert gone == []
