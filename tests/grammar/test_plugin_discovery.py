"""Kinds of installed packages: found in order, and each that cannot be used named in one sentence while all others work."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import pytest

from strategies_app.grammar import plugins, schema
from strategies_app.grammar.plugins import Found
from strategies_app.kinds import IndicatorKind, LabelKind, NetworkKind, Parameter
from tests.examples.outsiders import write_package

KINDS = """
from strategies_app.kinds import IndicatorKind, LabelKind, NetworkKind, Parameter

def kind(name, **fields):
    plain = dict(outputs=("value",), warm_up=lambda p: (0,), constant="the price", formula="the close", compute="mine:compute")
    return IndicatorKind(name, **plain | fields)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def look() -> Found:
    """What is installed now: the process's own look at it was taken when it began."""
    return plugins.found.__wrapped__()


def test_without_entry_points_nothing_is_found_or_added() -> None:
    assert plugins.found() == Found((), ())
    assert list(plugins.indicators()) == list(plugins.vocabulary.INDICATORS)


def test_the_built_in_networks_are_those_of_the_schema() -> None:
    models = (schema.Mlp, schema.Recurrent)
    assert tuple(n for m in models for n in get_args(m.model_fields["type"].annotation)) == plugins.BUILT_IN_NETWORKS


def test_kinds_are_found_in_the_order_of_their_names(site: Path) -> None:
    names = ["zeta", "alpha", "mid"]
    lines = "".join(f"{name} = orderly:{name.upper()}\n" for name in names)
    text = KINDS + "".join(f"{name.upper()} = kind('{name}', aliases=('{name}2',))\n" for name in names)
    write_package(site, "orderly", f"[ktrdr.indicators]\n{lines}", {"orderly": text})
    found = look()
    assert [p.kind.name for p in found.plugins] == sorted(names) and found.faults == ()
    assert str(found.plugins[0].source) == "indicator 'alpha' of the package orderly 0.3 (entry point ktrdr.indicators: alpha)"
    assert found == look()


def test_a_change_of_its_code_is_another_identity(site: Path) -> None:
    text = KINDS + "MINE = kind('mine', compute='changing:compute')\n"
    write_package(site, "changing", "[ktrdr.indicators]\nmine = changing:MINE\n", {"changing": text})
    (plugin,) = look().plugins
    first = plugins.identity(plugin)
    assert {k: first[k] for k in ("package", "version")} == {"package": "changing", "version": "0.3"}
    (site / "changing.py").write_text(text + "# another line\n")
    plugins._code.cache_clear()
    assert plugins.identity(plugin) == first | {"code": plugins._code("changing")}
    assert plugins.identity(plugin)["code"] != first["code"]


FAULTS = {
    "missing": ("ktrdr.indicators", "nowhere_at_all:X", "cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'"),
    "raising": ("ktrdr.indicators", "raising:X", "cannot be imported: ZeroDivisionError: division by zero"),
    "leaving": ("ktrdr.labels", "leaving:X", "cannot be imported: SystemExit: 3"),
    "absent": ("ktrdr.indicators", "faulty:ABSENT", "cannot be imported: AttributeError: module 'faulty' has no attribute 'ABSENT'"),
    "text": ("ktrdr.networks", "faulty:TEXT", "is a str, wanted strategies_app.kinds.NetworkKind"),
    "rsi": ("ktrdr.indicators", "faulty:RSI", "takes the word 'rsi', which is built in; the built-in one stays, rename yours"),
    "alias": ("ktrdr.indicators", "faulty:ALIAS", "takes the word 'Stoch', which is built in; the built-in one stays, rename yours"),
    "zigzag": ("ktrdr.labels", "faulty:ZIGZAG", "takes the word 'zigzag', which is built in; the built-in one stays, rename yours"),
    "lstm": ("ktrdr.networks", "faulty:LSTM", "takes the word 'lstm', which is built in; the built-in one stays, rename yours"),
    "other": ("ktrdr.indicators", "faulty:RSI", "describes an indicator of another name, 'rsi', wanted the entry point's own"),
    "warmless": ("ktrdr.indicators", "faulty:WARMLESS", "fails with its own defaults: KeyError: 'no_such_key'"),
    "picky": ("ktrdr.indicators", "faulty:PICKY", "refuses its own defaults: a is too large"),
}  # fmt: skip
FAULTY = (
    KINDS
    + """
TEXT = "a network"
RSI = kind("rsi")
ALIAS = kind("alias", aliases=("Stoch",))
ZIGZAG = LabelKind("zigzag", lambda p: 1, "mine:label", ("A", "B"))
LSTM = NetworkKind("lstm", "mine:network")
WARMLESS = kind("warmless", warm_up=lambda p: (p["no_such_key"],))
PICKY = kind("picky", check=lambda p: "a is too large")
"""
)


@pytest.mark.parametrize("name", FAULTS)
def test_a_kind_that_cannot_be_used_is_named_in_one_sentence_and_spares_the_others(name: str, site: Path) -> None:
    group, value, words = FAULTS[name]
    modules = {"faulty": FAULTY, "raising": "1 / 0", "leaving": "import sys; sys.exit(3)", "fine": KINDS + "FINE = kind('fine')"}
    write_package(site, "fine", "[ktrdr.indicators]\nfine = fine:FINE\n", modules)
    write_package(site, "faulty", f"[{group}]\n{name} = {value}\n")
    found = look()
    assert [p.kind.name for p in found.plugins] == ["fine"]
    (fault,) = found.faults
    noun = group.removeprefix("ktrdr.").removesuffix("s")
    assert fault.message == f"{noun} '{name}' of the package faulty 0.3 (entry point {group}: {name}) {words}"


def test_two_packages_never_share_a_word(site: Path) -> None:
    """Not even in other letters or as an alias: which of them is meant would depend on what else is installed."""
    write_package(site, "one", "[ktrdr.indicators]\nkama = one:KAMA\n", {"one": KINDS + "KAMA = kind('kama')"})
    two = KINDS + "OTHER = kind('other', aliases=('Kama',))\nOWN = kind('own')"
    write_package(site, "two", "[ktrdr.indicators]\nother = two:OTHER\nown = two:OWN\n", {"two": two})
    found = look()
    assert [p.kind.name for p in found.plugins] == ["own"]
    assert [f.source.package for f in found.faults] == ["one", "two"]
    assert all("neither is used, uninstall one of the packages" in f.message for f in found.faults)
    assert "indicator 'other' of the package two 0.3" in found.faults[0].message


GOOD = IndicatorKind(
    "good",
    ("value", "other"),
    (Parameter("period", 5, 1, 9),),
    warm_up=lambda p: (0, 0),
    constant="0, 0",
    formula="f",
    compute="a.b:c",
)
LABEL = LabelKind("good", lambda p: 1, "a:b", ("UP", "DOWN"))
BAD: list[tuple[Any, dict[str, Any], str]] = [
    (GOOD, {"compute": "a.b.c"}, "compute 'a.b.c', wanted text such as"),
    (GOOD, {"compute": len}, "wanted text such as"),
    (GOOD, {"outputs": ["value"]}, "wanted a tuple of names"),
    (GOOD, {"outputs": ("value", "value")}, "two outputs of one name"),
    (GOOD, {"columns": ("closing",)}, "needs the column 'closing', bars have open, high, low, close, volume"),
    (GOOD, {"memory": "eternal"}, "a memory other than finite, decaying, origin"),
    (GOOD, {"memory_if": (("length", 0, "origin"),)}, "memory_if for 'length', which is no parameter"),
    (GOOD, {"scale_free_outputs": ("third",)}, "scale_free_outputs 'third', which is no output"),
    (GOOD, {"constant": ""}, "no constant: what it gives on a constant price"),
    (GOOD, {"warm_up": 3}, "has warm_up 3, wanted a function, or None"),
    (GOOD, {"warm_up": None}, "no warm_up, wanted a function"),
    (GOOD, {"constant": 50.0}, "has constant 50.0, wanted a text"),
    (GOOD, {"formula": ("a", "b")}, "has formula ('a', 'b'), wanted a text"),
    (GOOD, {"aliases": "other"}, "has aliases 'other', wanted a tuple of texts"),
    (GOOD, {"aliases": None}, "has aliases None, wanted a tuple of texts"),
    (GOOD, {"columns": "close"}, "has columns 'close', wanted a tuple of texts"),
    (GOOD, {"scale_free": "yes"}, "has scale_free 'yes', wanted True or False"),
    (GOOD, {"scale_free_outputs": ["value"]}, "has scale_free_outputs ['value'], wanted a tuple of texts"),
    (GOOD, {"memory_if": (("period", 0),)}, "wanted a tuple of (parameter, value, memory)"),
    (GOOD, {"memory_if": 3}, "has memory_if 3, wanted a tuple of (parameter, value, memory)"),
    (GOOD, {"memory": ["finite"]}, "a memory other than finite, decaying, origin"),
    (GOOD, {"check": "period > 3"}, "has check 'period > 3', wanted a function, or None"),
    (GOOD, {"parameters": (Parameter(["n"], 5, 1, 9),)}, "a parameter ['n'] with name ['n'], wanted a text"),  # type: ignore[arg-type]
    (GOOD, {"parameters": (Parameter("n", 5, "1", 9),)}, "a parameter 'n' with low '1', wanted a number, or None"),  # type: ignore[arg-type]
    (GOOD, {"parameters": (Parameter("n", 5, 1, 9, aliases="m"),)}, "with aliases 'm', wanted a tuple of texts"),  # type: ignore[arg-type]
    (GOOD, {"parameters": (Parameter("n", "a", choices="ab"),)}, "with choices 'ab', wanted a tuple of texts"),  # type: ignore[arg-type]
    (LABEL, {"formula": 3}, "has formula 3, wanted a text"),
    (LABEL, {"warm_up": 3}, "has warm_up 3, wanted a function, or None"),
    (NetworkKind("good", "a:b"), {"check": 3}, "has check 3, wanted a function, or None"),
    (NetworkKind("good", "a:b"), {"parameters": None}, "no tuple of strategies_app.kinds.Parameter"),
    (GOOD, {"parameters": [Parameter("period", 5, 1, 9)]}, "no tuple of strategies_app.kinds.Parameter"),
    (GOOD, {"parameters": (Parameter("Period", 5, 1, 9),)}, "a parameter 'Period', wanted small letters"),
    (GOOD, {"parameters": (Parameter("type", 5, 1, 9),)}, "a parameter 'type', a word that is taken"),
    (GOOD, {"parameters": (Parameter("copy", 5, 1, 9),)}, "a parameter 'copy', a word that is taken"),
    (GOOD, {"parameters": (Parameter("n", 5, 1, 9), Parameter("m", 5, 1, 9, aliases=("n",)))}, "the parameter 'n' twice"),
    (GOOD, {"parameters": (Parameter("n", True, 0, 1),)}, "whose default is True"),
    (GOOD, {"parameters": (Parameter("n", 5),)}, "'n' without finite low and high bounds"),
    (GOOD, {"parameters": (Parameter("n", 5, 1, float("inf")),)}, "'n' without finite low and high bounds"),
    (GOOD, {"parameters": (Parameter("n", 5, 6, 9),)}, "default 5 is not within 6 to 9"),
    (GOOD, {"parameters": (Parameter("n", "a", choices=("b", "c")),)}, "default 'a' is none of its choices"),
    (GOOD, {"parameters": (Parameter("n", 5, choices=("b", "c")),)}, "choices and a number as its default"),
    (LABEL, {"classes": ("UP",)}, "wanted at least two that differ"),
    (LABEL, {"classes": ["UP", "DOWN"]}, "wanted a tuple of names, or none for a number"),
    (LABEL, {"look_ahead": 5}, "no look_ahead, wanted a function"),
    (NetworkKind("good", "a:b"), {"build": "a b"}, "has build 'a b'"),
]


@pytest.mark.parametrize(("kind", "change", "words"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_a_bad_description_says_what_is_wrong(kind: Any, change: dict[str, Any], words: str) -> None:
    assert list(plugins.faults(kind, type(kind), "good")) == []
    wrong = list(plugins.faults(dataclasses.replace(kind, **change), type(kind), "good"))
    assert any(words in text for text in wrong), wrong


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        (GOOD, {"warm_up": lambda p: (1,)}, "wanted a tuple of 2 whole numbers, one per output"),
        (GOOD, {"warm_up": lambda p: (1, -1)}, "wanted a tuple of 2 whole numbers, one per output"),
        (LABEL, {"look_ahead": lambda p: 0}, "its look_ahead gives 0, wanted a whole number of at least 1"),
        (LABEL, {"warm_up": lambda p: 0.5}, "its warm_up gives 0.5"),
    ],
)
def test_what_its_functions_tell_is_looked_at_as_well(kind: Any, change: dict[str, Any], words: str) -> None:
    assert plugins.told(kind, {"period": 5}) is None
    assert words in str(plugins.told(dataclasses.replace(kind, **change), {"period": 5}))
