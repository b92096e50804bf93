"""What a bar source is: a symbol, a timeframe and a span go in, one page of bars after the other comes out. Never Django.

A source asks somebody else's server. Only `load_data` and the data page's fetch come here, never a training. Times are
µs since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from strategies_app.vocabulary import nearest
from training.values import Refusal

if TYPE_CHECKING:
    import pandas as pd

#: What can be asked, and the extra that brings its package.
SOURCES = {"yahoo": "yfinance", "ccxt": "ccxt"}


class SourceError(Refusal):
    """A source has no such bars, or will not give them: one sentence. Asking again would end the same."""


class WrongRequest(SourceError):
    """Asked for what there is not: a source, an exchange, a market, a timeframe."""

    exit_code = 2


class Unavailable(Exception):
    """The source did not answer this time, or asked to wait; later it may. `seconds`: the least that it asked to wait."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass(frozen=True)
class Page:
    """Bars in order of time (a pipeline frame), perhaps none, and up to where (exclusive) the source has now been asked."""

    frame: pd.DataFrame
    until: int


class Source(Protocol):
    """One server, with its limits. `name` is what a series remembers: `yahoo`, `ccxt:binance`."""

    name: str

    def check(self, market: str, timeframe: str) -> None:
        """WrongRequest, with the nearest valid name, if there are no such bars."""

    def market_of(self, symbol: str) -> str:
        """The source's own name of a symbol, unless told otherwise."""

    def earliest(self, timeframe: str, now: int) -> int:
        """Where to begin when nobody says."""

    def reach(self, timeframe: str, now: int) -> int:
        """Before this the source keeps no bars of this timeframe."""

    def page(self, market: str, timeframe: str, start: int, end: int) -> Page:
        """The first bars of start ≤ open < end. Unavailable if it should be asked again later."""


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
            from training.sources.yahoo import Yahoo

            return Yahoo(folder)
        from training.sources.exchange import Exchange

        return Exchange(exchange, (keys or {}).get(exchange))
    except ImportError as error:
        if (error.name or "").partition(".")[0] != SOURCES[kind]:
            raise
        raise WrongRequest(f"the package {SOURCES[kind]} is not installed: pip install ktrdr-train[{kind}]") from None


def unknown(what: str, word: str, known: list[str]) -> WrongRequest:
    """`what` is the sentence's begin; the nearest of `known` is offered."""
    near = nearest(word, known)
    hint = f"did you mean {near}?" if near else f"there are {', '.join(known[:8])}{' …' if len(known) > 8 else ''}"
    return WrongRequest(f"{what}; {hint}")
