"""A finding: what a check has seen, as a value for the database, the API and a page, with the sentence that people read.

Light on purpose: who asks for a training is refused with findings too, by a process without pandas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

#: An error stops the training, a warning may spoil it, an info is worth knowing.
ERROR, WARNING, INFO = "error", "warning", "info"
#: A thousand symbols may have more to say than anybody reads.
MOST_KEPT = 300


@dataclass(frozen=True)
class Finding:
    """kind: one word for machines; severity: error, warning or info; count: bars, rows or columns; first: ISO time of the
    first bar; columns: the features that it is about."""

    kind: str
    sentence: str
    count: int = 0
    first: str | None = None
    severity: str = WARNING
    symbol: str = ""
    timeframe: str = ""
    columns: tuple[str, ...] = ()

    def of(self, symbol: str, timeframe: str) -> Finding:
        """The same, said of a series."""
        return replace(self, symbol=symbol, timeframe=timeframe, sentence=f"{symbol} {timeframe}: {self.sentence}")

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "columns": list(self.columns)}


def kept(findings: Sequence[Finding]) -> dict[str, Any]:
    """As an operation keeps them: their number, and so many of them as a page can show, as JSON."""
    return {"count": len(findings), "findings": [finding.plain() for finding in findings[:MOST_KEPT]]}


def findings_in(error: BaseException) -> list[dict[str, Any]]:
    """What led to a refusal, as JSON; of very many the first ones. The quick worker's are JSON already."""
    found: Sequence[Any] = getattr(error, "findings", ())
    return [finding.plain() if isinstance(finding, Finding) else finding for finding in found[:MOST_KEPT]]


def findings_of(checks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All that an operation keeps in its `checks`: of the bars, then of features and labels."""
    return [finding for part in ("data", "inputs") for finding in (checks.get(part) or {}).get("findings", [])]


def refused(findings: Iterable[Finding]) -> str:
    """Those that stop a training, in one sentence: the first of them, and how many more there are."""
    sentences = [finding.sentence for finding in findings if finding.severity == ERROR]
    more = len(sentences) - 1
    return sentences[0] + (f"; and {counted(more, 'more finding')} that stop{'s' if more == 1 else ''} it" if more else "")


def lines_of(found: Iterable[Mapping[str, Any]], said: str) -> list[str]:
    """Findings (as JSON) for a terminal, one a line; of one whose sentence was `said` already only its figures.

    None where there is only one: what was said says it.
    """
    found = list(found)
    if len(found) < 2:
        return []
    return [f"  {of['severity']} {of['kind']}: {_figures(of) if of['sentence'] in said else of['sentence']}" for of in found]


def _figures(of: Mapping[str, Any]) -> str:
    parts = [f"{of['symbol']} {of['timeframe']}".strip(), f"{of['count']:,}" if of["count"] else ""]
    parts += [f"first {of['first']}" if of["first"] else "", ", ".join(of["columns"])]
    return ", ".join(part for part in parts if part)


def iso(microseconds: int) -> str:
    """µs UTC → ISO text in whole seconds."""
    return f"{np.datetime64(microseconds, 'us').astype('M8[s]')}Z"


def counted(number: int, noun: str) -> str:
    """`1 bar`, `1,234 bars`, `2 stretches`, `3 epochs`."""
    plural = noun if number == 1 else f"{noun}es" if noun.endswith(("tch", "s")) else f"{noun}s"
    return f"{number:,} {plural}"
