"""Two texts → the lines in which they differ, with what stands around them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

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
