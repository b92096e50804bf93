"""Comments of a strategy text → the place that each belongs to, so that a text that is written anew keeps them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import yaml

from strategies_app.grammar.yaml_text import Document, Path

_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#[^\n]*", re.MULTILINE)


@dataclass
class Comments:
    """`before`: lines of their own above a path; `beside`: at the end of its line; `after`: below everything."""

    before: dict[Path, list[str]] = field(default_factory=lambda: defaultdict(list))
    beside: dict[Path, str] = field(default_factory=dict)
    after: list[str] = field(default_factory=list)

    def settle(self, places: Collection[Path]) -> None:
        """Those whose path is none of `places` move above the nearest of them that holds it, or below everything."""
        for path in [p for p in self.before if p not in places]:
            self._move(path, self.before.pop(path), places)
        for path in [p for p in self.beside if p not in places]:
            self._move(path, [self.beside.pop(path)], places)

    def _move(self, path: Path, lines: list[str], places: Collection[Path]) -> None:
        holder = next((path[:n] for n in range(len(path) - 1, 0, -1) if path[:n] in places), None)
        if holder is None:
            self.after += lines
        else:
            self.before[holder] += lines


def comments_of(text: str, document: Document) -> Comments:
    """The comments of the text that `document` was read from: one at the end of a line belongs to what begins in the line."""
    text = text.removeprefix("\ufeff")
    by_line: dict[int, Path] = {}
    for path, place in {**document.values, **document.keys}.items():
        if path and (place.line not in by_line or len(path) < len(by_line[place.line])):
            by_line[place.line] = path
    lines = sorted(by_line)
    comments = Comments()
    for line, comment, alone in _found(text):
        if not alone:
            last = max((n for n in lines if n <= line), default=None)
            if last is not None and by_line[last] not in comments.beside:
                comments.beside[by_line[last]] = comment
                continue
        following = next((n for n in lines if n > line), None)
        (comments.after if following is None else comments.before[by_line[following]]).append(comment)
    return comments


def _found(text: str) -> Iterator[tuple[int, str, bool]]:
    """Line from 1, text, and whether it has the line for itself. A # inside a value is none."""
    tokens = yaml.scan(text, Loader=yaml.SafeLoader)
    spans = [(t.start_mark.index, t.end_mark.index) for t in tokens if isinstance(t, yaml.ScalarToken)]
    for match in _COMMENT.finditer(text):
        if not any(start <= match.start() < end for start, end in spans):
            begin = text.rfind("\n", 0, match.start()) + 1
            yield text.count("\n", 0, begin) + 1, match[0].rstrip(), not text[begin : match.start()].strip()
