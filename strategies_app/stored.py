"""What a user names, a stored strategy or a file → its text, and where it came from; the lines in which two texts differ."""

from __future__ import annotations

import difflib
import functools
import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from strategies_app.grammar.vocabulary import nearest
from strategies_app.models import Strategy, StrategyVersion


class UnknownStrategy(LookupError):
    """No strategy is stored under this name, and no such file exists."""


@dataclass(frozen=True)
class FoundStrategy:
    """The exact text, the file it stands in or came from ("" if none), and its stored version if it has one."""

    text: str
    path: str
    version: StrategyVersion | None

    @property
    def label(self) -> str:
        """What a problem's line and column refer to."""
        return self.path if self.version is None else f"{self.version.strategy.name}@{self.version.number}"


def find_strategy(name_or_path: str, number: int | None = None) -> FoundStrategy:
    """The strategy meant by a stored name (its newest version, or version `number`, or NAME@NUMBER) or by the path of a file.

    A file need not be valid, and is read without a database. StrategyError if it cannot be read at all,
    UnknownStrategy if there is nothing of that name.
    """
    if looks_like_path(name_or_path):
        return _from_file(name_or_path)
    name, at, version = name_or_path.rpartition("@")
    versioned = bool(at) and version.isdecimal() and number is None
    try:
        return stored_strategy(name, int(version)) if versioned else stored_strategy(name_or_path, number)
    except UnknownStrategy:
        if number is None and Path(name_or_path).is_file():
            return _from_file(name_or_path)
        raise


def looks_like_path(name_or_path: str) -> bool:
    return name_or_path.endswith((".yaml", ".yml")) or os.sep in name_or_path or "/" in name_or_path


def _from_file(path: str) -> FoundStrategy:
    from strategies_app.grammar.reader import read_text

    return FoundStrategy(read_text(path), path, None)


def stored_strategy(name: str, number: int | None = None) -> FoundStrategy:
    """The stored strategy of this name, never a file: what a request names must not reach the disk."""
    strategy = Strategy.objects.filter(name=name).first()
    names = [] if strategy else list(Strategy.objects.values_list("name", flat=True))
    if strategy is None:
        near = nearest(name, names)
        hint = (
            f"did you mean '{near}'?"
            if near
            else "`strategies list` shows what is stored, `strategies import PATH` stores a file"
        )
        raise UnknownStrategy(f"no strategy '{name}' is stored, {hint}")
    versions = strategy.versions.select_related("strategy").order_by("-number")
    version = versions.first() if number is None else versions.filter(number=number).first()
    if version is None:
        known = ", ".join(str(n) for n in versions.values_list("number", flat=True)) or "none"
        raise UnknownStrategy(f"strategy '{name}' has no version {number}, stored: {known}")
    return FoundStrategy(version.text, version.source_path, version)


#: Scalars stay text: a symbol named ON is no truth.
_LOADER: type = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(frozen=True)
class Glance:
    """What a list tells of a strategy."""

    name: str
    description: str
    symbols: tuple[str, ...]
    timeframes: tuple[str, ...]


@functools.lru_cache(maxsize=4096)
def glance(text: str) -> Glance:
    """A look at a text that is known to be a strategy; without the checks, which a list of strategies has no time for."""
    data = yaml.load(text, Loader=_LOADER)  # noqa: S506 - gives nothing but text, lists and maps
    section = data["training_data"]
    symbols, timeframes = section["symbols"], section["timeframes"]
    return Glance(
        data["name"],
        data.get("description", ""),
        tuple(symbols["list"]) if "list" in symbols else (symbols["symbol"],),
        tuple(timeframes["list"]) if "list" in timeframes else (timeframes["timeframe"],),
    )


#: A longer difference is read in an editor.
MOST_LINES = 2000


@dataclass(frozen=True)
class DifferenceLine:
    """`kind`: place, added, removed or same. The text keeps its sign, so that colour is not all that tells them apart."""

    kind: str
    text: str


def difference_lines(before: str, after: str, names: tuple[str, str]) -> list[DifferenceLine]:
    """As `diff -u` shows it, three lines around each change; [] if the texts differ in line ends at most."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm=""))
    if len(lines) > MOST_LINES:
        return [DifferenceLine(_kind(n, line), line) for n, line in enumerate(lines[:MOST_LINES])] + [
            DifferenceLine("place", "… and more lines than these")
        ]
    return [DifferenceLine(_kind(number, line), line) for number, line in enumerate(lines)]


def _kind(number: int, line: str) -> str:
    if number < 2 or line.startswith("@@"):
        return "place"
    return {"+": "added", "-": "removed"}.get(line[:1], "same")
