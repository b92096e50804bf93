"""Lists of symbols as people keep them: a text or a file, one a line or with commas, # before a comment → names in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from strategies_app.grammar.schema import SYMBOL_WORDS, is_symbol

#: A longer text is no list of symbols.
MAX_SIZE = 1_000_000
_SHOWN = 5


class BadList(Exception):
    """A text is no list of symbols: what was seen, where, and what was wanted, in one sentence."""


def read_symbols(path: str | Path) -> list[str]:
    """The symbols in a file; BadList if it cannot be read or is no list."""
    path = Path(path)
    try:
        if not path.is_file():  # a pipe or a device might never end
            raise BadList(f"{path} {'is not a file' if path.exists() else 'does not exist'}, wanted a list of symbols")
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except (OSError, ValueError) as error:
        raise BadList(f"{path} cannot be read: {error.strerror if isinstance(error, OSError) else error}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadList(f"{path} is not a text in UTF-8, wanted a list of symbols") from None
    return symbols_in(text, str(path))


def symbols_in(text: str, label: str) -> list[str]:
    """The symbols in a text, which the sentences of a BadList call `label`."""
    if len(text) > MAX_SIZE:
        raise BadList(f"{label} has more than {MAX_SIZE:,} characters, wanted a list of symbols")
    found: dict[str, list[int]] = {}
    for line, name in _names(text):
        if not is_symbol(name):
            wanted = f"{SYMBOL_WORDS}; one a line or with commas, # before a comment"
            raise BadList(f"{label}, line {line}: '{name[:40]}' is no symbol, wanted {wanted}")
        found.setdefault(name, []).append(line)
    if not found:
        raise BadList(f"{label} holds no symbol, wanted one a line or with commas, # before a comment")
    again = [f"{name} (lines {' and '.join(map(str, lines[:2]))})" for name, lines in found.items() if len(lines) > 1]
    if again:
        more = f" and {len(again) - _SHOWN} more" if len(again) > _SHOWN else ""
        raise BadList(f"{label} holds {', '.join(again[:_SHOWN])}{more} more than once, wanted each symbol once")
    return list(found)


def _names(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        for part in line.partition("#")[0].split(","):
            if part.strip():
                yield number, part.strip()
