"""Plain data with its comments → YAML as a person would write it; and a text → the place that each of its comments belongs to."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from strategies_app.grammar.yaml_text import Document, Path, plain_value

#: Letters in a line; a map or list that takes more is written over several.
WIDTH = 110
_PLAIN = re.compile(r"[A-Za-z0-9_./+-]([A-Za-z0-9 _./+%()°=–-]*[A-Za-z0-9_./+%)-])?")
_FLOW_PLAIN = re.compile(r"[A-Za-z0-9_./+^=-]+")


@dataclass
class Node:
    """A value of the text to be written: a dict or list of nodes, or a scalar; `origin` is its path in the text before."""

    value: Any
    origin: Path | None = None

    def places(self, path: Path = ()) -> Iterator[tuple[Path, Node]]:
        """This one and all within, each with its path."""
        yield path, self
        entries = self.value.items() if isinstance(self.value, dict) else enumerate(self.value) if self.is_list else ()
        for key, node in entries:
            yield from node.places((*path, key))

    def nodes(self) -> Iterator[Node]:
        return (node for _, node in self.places())

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, list)

    @property
    def plain(self) -> Any:
        if isinstance(self.value, dict):
            return {key: node.plain for key, node in self.value.items()}
        return [node.plain for node in self.value] if isinstance(self.value, list) else self.value


def node_of(data: Any, path: Path = ()) -> Node:
    """Data that was read, every value with its path."""
    if isinstance(data, dict):
        return Node({key: node_of(value, (*path, key)) for key, value in data.items()}, path)
    if isinstance(data, list):
        return Node([node_of(value, (*path, index)) for index, value in enumerate(data)], path)
    return Node(data, path)


def written(root: Node, comments: Comments) -> list[str]:
    """The lines of a map; a blank line before each of its maps and lists. Takes the comments that it writes."""
    lines: list[str] = []
    for key, node in root.value.items():
        if lines and isinstance(node.value, (dict, list)):
            lines.append("")
        lines += _entry(f"{key}:", node, 0, comments)
    return lines


def _entry(head: str, node: Node, indent: int, comments: Comments) -> list[str]:
    """`head` is what the line begins with: a key, or the dash of a list."""
    pad = " " * indent
    above = [f"{pad}{text}" for text in comments.before.pop(node.origin or (), [])]
    beside = f"  {comments.beside.pop(node.origin)}" if node.origin in comments.beside else ""
    if isinstance(node.value, str) and "\n" in node.value:
        return [*above, *_text(f"{pad}{head}", node, indent, beside)]
    if _fits(node, indent + len(head), comments, nested=indent > 0):
        return [*above, f"{pad}{head} {_flow(node.value)}{beside}"]
    inner: list[str] = []
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            inner += _entry(f"{_scalar(key, _PLAIN)}:", child, indent + 2, comments)
        if head == "-":
            return [*above, *_dashed(inner, indent, beside)]
    else:
        for child in node.value:
            inner += _entry("-", child, indent + 2, comments)
    return [*above, f"{pad}{head}{beside}", *inner]


def _dashed(inner: list[str], indent: int, beside: str) -> list[str]:
    """A map as an entry of a list: the dash stands before its first key."""
    first = next(number for number, line in enumerate(inner) if not line.lstrip().startswith("#"))
    inner[first] = f"{' ' * indent}- {inner[first].lstrip()}{beside}"
    return inner


def _text(head: str, node: Node, indent: int, beside: str) -> list[str]:
    """Text of several lines, as it is where YAML can hold it so."""
    lines = node.value.removesuffix("\n").split("\n")
    if lines[0][:1] in (" ", "", "\t") or node.value.endswith("\n\n") or any(line != line.rstrip() for line in lines):
        return [f"{head} {json.dumps(node.value, ensure_ascii=False)}{beside}"]
    sign = "|" if node.value.endswith("\n") else "|-"
    body = [f"{' ' * (indent + 2)}{line}" if line else "" for line in lines]
    return [f"{head} {sign}{beside}", *body]


def _fits(node: Node, used: int, comments: Comments, nested: bool) -> bool:
    if not isinstance(node.value, (dict, list)) or not node.value:
        return True
    inside = [one for one in node.nodes() if one is not node]
    if any(one.origin in comments.before or one.origin in comments.beside for one in inside):
        return False
    if isinstance(node.value, dict) and (not nested or not _is_small(node.value)):
        return False
    if isinstance(node.value, list) and any(isinstance(one.value, (dict, list)) for one in node.value):
        return False
    return used + len(_flow(node.value)) < WIDTH


def _is_small(value: dict[str, Node]) -> bool:
    """Scalars alone, or one list among at most two keys beside it: `{type: sigmoid, parameters: [65, 5]}`."""
    lists = [node for node in value.values() if isinstance(node.value, list)]
    if any(isinstance(node.value, dict) or "\n" in str(node.value) for node in value.values()):
        return False
    return not lists or (
        len(lists) == 1 and len(value) <= 3 and not any(isinstance(n.value, (dict, list)) for n in lists[0].value)
    )


def _flow(value: Any, inner: bool = False) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(k, _FLOW_PLAIN)}: {_flow(n.value, True)}" for k, n in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(_flow(node.value, True) for node in value)}]"
    return _scalar(value, _FLOW_PLAIN if inner else _PLAIN)


def _scalar(value: Any, plain: re.Pattern[str]) -> str:
    """A value as YAML 1.2 reads it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": ".inf", "-inf": "-.inf"}.get(str(value), ".nan")
    if isinstance(value, str):
        stays = plain.fullmatch(value) and plain_value(value) == value and not value.startswith(("- ", "--- ", "..."))
        return value if stays and value not in ("-", "---") else json.dumps(value, ensure_ascii=False)
    return repr(value)


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
