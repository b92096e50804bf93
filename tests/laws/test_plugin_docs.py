"""The page on own kinds can be followed to the letter: its pieces are those of the package that the tests install, and they run."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import Any

import pytest

from strategies_app.kinds import IndicatorKind, LabelKind, NetworkKind
from tests.examples.outsiders import OUTSIDER, ROOT
from training.laws.markets import market
from training.testing import indicator_laws, label_laws, network_laws

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


def pieces() -> dict[str, str]:
    """File → what the page writes into it."""
    found: dict[str, str] = {}
    for path, text in re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL):
        found[path] = found.get(path, "") + text + "\n"
    return found


def statements(text: str) -> list[str]:
    return [ast.dump(node) for node in ast.parse(text).body]


@pytest.mark.parametrize("path", [p for p in pieces() if p.endswith(".py") and p != "tests/test_laws.py"])
def test_each_piece_of_code_is_the_packages_own(path: str) -> None:
    own = statements((OUTSIDER / path).read_text())
    assert [node for node in statements(pieces()[path]) if node not in own] == []


def test_the_project_file_is_the_packages_own_without_its_faults() -> None:
    shown, own = tomllib.loads(pieces()["pyproject.toml"]), tomllib.loads((OUTSIDER / "pyproject.toml").read_text())
    assert shown["build-system"] == own["build-system"] and shown["tool"] == own["tool"]
    for group, entries in shown["project"]["entry-points"].items():
        assert entries.items() <= own["project"]["entry-points"][group].items()


def test_the_pieces_are_whole() -> None:
    """Nothing that they need is missing from the page."""
    made: dict[str, dict[str, Any]] = {}
    for path, text in pieces().items():
        if path.startswith("outsider/"):
            exec(compile(text, path, "exec"), made.setdefault(path, {}))
    kinds = made["outsider/kinds.py"]
    for name, kind in (("GLIDE", IndicatorKind), ("BREAKOUT", LabelKind), ("GATED", NetworkKind)):
        described = kinds[name]
        assert isinstance(described, kind)
        module, _, function = described.function.partition(":")
        compute = made[module.replace(".", "/") + ".py"][function]
        defaults = {p.name: p.default for p in described.parameters}
        if isinstance(described, NetworkKind):
            assert compute(defaults, 4, 3) is not None
        else:
            assert all(len(array) == 50 for array in compute(market(50, 1), defaults))


def test_every_law_of_the_kit_is_on_the_page() -> None:
    laws = {law.name for law in (*indicator_laws("rsi"), *label_laws("zigzag"), *network_laws("mlp"))} | {"light"}
    listed = set(re.findall(r"^\| ([\w= -]+?) \| (?:all|indicators|labels|networks)", PAGE, re.MULTILINE))
    assert listed == laws
