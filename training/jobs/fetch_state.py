"""A fetch of bars as plain data: what is wanted of a source, and how far it came. Light: pages show it, jobs go on with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Fetch:
    """What is wanted, and how far it came; plain data, so that another process can go on. Times are µs, None: as far as possible.

    spans: what is left to ask for; `pause`: seconds to wait before the next step, because of `problem`.
    """

    symbol: str
    timeframe: str
    source: str
    market: str = ""
    since: int | None = None
    until: int | None = None
    replace: bool = False
    key: str = "own"
    spans: list[list[int]] | None = None
    anew: bool = False
    total: int = 0
    pages: int = 0
    added: int = 0
    in_span: int = 0
    tries: int = 0
    pause: float = 0.0
    problem: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return self.spans == []

    @property
    def percent(self) -> float:
        left = sum(end - start for start, end, *_ in self.spans or ())
        return 100.0 if self.is_done else 100.0 * (1 - left / self.total) if self.total else 0.0

    @property
    def label(self) -> str:
        return f"{self.source} {self.market}"

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def begun_again(self) -> Fetch:
        """The same wish, as if nothing had been asked for yet."""
        return Fetch(self.symbol, self.timeframe, self.source, self.market, self.since, self.until, self.replace, self.key)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
