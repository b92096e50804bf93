"""What a bar source is: a symbol, a timeframe and a span go in, one page of bars after the other comes out. Never Django.

A source asks somebody else's server. Only `load_data` and the data page's fetch come here, never a training. Times are
µs since 1970 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from strategies_app.grammar.vocabulary import nearest
from training.core.values import Refusal

if TYPE_CHECKING:
    import pandas as pd


class SourceError(Refusal):
    """A source has no such bars, or will not give them: one sentence. Asking again would end the same."""


class WrongRequest(SourceError):
    """Asked for what there is not: a source, an exchange, a market, a timeframe."""

    exit_code = 2


class Unavailable(Exception):
    """The source did not answer this time, or asked to wait; later it may. `seconds`: the least that it asked to wait.

    silent: nothing came back at all, as where there is no network.
    """

    def __init__(self, message: str, seconds: float = 0.0, *, silent: bool = False) -> None:
        super().__init__(message)
        self.seconds, self.silent = seconds, silent


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


def unknown(what: str, word: str, known: list[str]) -> WrongRequest:
    """`what` is the sentence's begin; the nearest of `known` is offered."""
    near = nearest(word, known)
    hint = f"did you mean {near}?" if near else f"there are {', '.join(known[:8])}{' …' if len(known) > 8 else ''}"
    return WrongRequest(f"{what}; {hint}")
