"""A source by its name: `yahoo`, or `ccxt:EXCHANGE`. Its package is imported only then. Never Django."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from strategies_app.grammar.vocabulary import nearest
from training.sources.source import Source, WrongRequest

#: What can be asked, and the extra that brings its package.
SOURCES = {"yahoo": "yfinance", "ccxt": "ccxt"}


def open_source(name: str, folder: Path, keys: Mapping[str, tuple[str, str]] | None = None) -> Source:
    """`yahoo`, or `ccxt:EXCHANGE`; WrongRequest for any other, and where its package is not installed.

    folder: where a package may keep what it looks up. keys: exchange → key and secret, for exchanges that give bars
    only to who is known.
    """
    kind, _, exchange = name.partition(":")
    if kind not in SOURCES or (kind == "yahoo" and exchange):
        near = nearest(kind, SOURCES)
        hint = f"; did you mean {near}?" if near and near != kind else ""
        raise WrongRequest(f"there is no source '{name}', wanted yahoo or ccxt with an exchange{hint}")
    try:
        if kind == "yahoo":
            from training.sources.yahoo import Yahoo  # the package may be missing, and is slow to import

            return Yahoo(folder)
        from training.sources.exchange import Exchange

        return Exchange(exchange, (keys or {}).get(exchange))
    except ImportError as error:
        if (error.name or "").partition(".")[0] != SOURCES[kind]:
            raise
        raise WrongRequest(
            f"the package {SOURCES[kind]} is not installed: in the folder of KTRDR Train run: "
            f"pip install -c constraints.txt -e '.[{kind}]'"
        ) from None
