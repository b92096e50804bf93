"""Findings: what a check has seen, as a value for the database, the API and a page, with the sentence that people read.

Quality → findings of one series. Checks of features and labels make the same values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from training.pipeline.frames import time_text

if TYPE_CHECKING:
    from training.pipeline.quality import Quality

#: A warning may spoil the training; an info is worth knowing.
WARNING, INFO = "warning", "info"
#: A thousand symbols may have more to say than anybody reads.
MOST_KEPT = 300
_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """kind: one word for machines; severity: warning or info; count: bars, rows or columns; first: ISO time of the first bar;
    columns: the features that it is about."""

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


def iso(microseconds: int) -> str:
    """µs UTC → ISO text in whole seconds."""
    return f"{np.datetime64(microseconds, 'us').astype('M8[s]')}Z"


def counted(number: int, noun: str) -> str:
    """`1 bar`, `1,234 bars`, `2 stretches`."""
    plural = noun if number == 1 else f"{noun}es" if noun.endswith(("ch", "s")) else f"{noun}s"
    return f"{number:,} {plural}"


def findings_of(found: Quality) -> Iterator[Finding]:
    """One for each thing that is odd about a series."""
    yield from _of_missing(found)
    yield from _of_gaps(found)
    for kind, stretches, what in (
        ("zero_volume", found.zero_volume, "without volume"), ("constant", found.constant, "with one and the same close"),
    ):  # fmt: skip
        if stretches.longest_at is not None:
            longest = f"{counted(stretches.longest, 'bar')} from {time_text(stretches.longest_at)}"
            sentence = f"{counted(stretches.count, 'stretch')} {what}, the longest of {longest}"
            yield Finding(kind, sentence, stretches.bars, iso(stretches.first[0]))
    yield from _of_prices(found)
    if found.off_grid_first is not None:
        yield off_grid(found.off_grid, found.timeframe, found.off_grid_first)


def _of_missing(found: Quality) -> Iterator[Finding]:
    missing = {column: count for column, count in found.missing.items() if count}
    if missing.get("volume") == found.rows and found.rows:
        yield Finding("no_volume", "there is no volume: indicators that need it have no value", found.rows, severity=INFO)
        del missing["volume"]
    if missing:
        parts = ", ".join(f"{counted(count, 'bar')} without {column}" for column, count in missing.items())
        yield Finding("missing_values", f"missing values: {parts}", max(missing.values()))


def _of_gaps(found: Quality) -> Iterator[Finding]:
    gaps = found.gaps
    if gaps.longest_at is not None:
        longest = f"the longest of {gaps.longest} after {time_text(gaps.longest_at)}"
        by = f" by the calendar {found.calendar}" if found.calendar else ""
        sentence = f"{counted(gaps.count, 'gap')} ({counted(gaps.bars, 'bar')} missing{by}), {longest}"
        yield Finding("gaps", sentence, gaps.bars, iso(gaps.first[0]))
    if found.closed_first is not None:
        sentence = f"{counted(found.closed, 'bar')} when {found.calendar} is closed, the first at {time_text(found.closed_first)}"
        yield Finding("closed", sentence, found.closed, iso(found.closed_first))


def _of_prices(found: Quality) -> Iterator[Finding]:
    if found.splits:
        shown = ", ".join(f"{time_text(jump.time)} ({jump.split})" for jump in found.splits[:_EXAMPLES])
        number = len(found.splits)
        sentence = f"{counted(number, 'jump')} like an unadjusted split: {shown}; load adjusted prices (--adjust)"
        yield Finding("splits", sentence, number, iso(found.splits[0].time))
    if found.spikes:
        shown = ", ".join(f"{s.price} of {time_text(s.time)} ({s.far:+.1%})" for s in found.spikes[:_EXAMPLES])
        number = len(found.spikes)
        more = f" and {number - _EXAMPLES:,} more" if number > _EXAMPLES else ""
        noun = "price that no bar beside it" if number == 1 else "prices that no bars beside them"
        yield Finding("spikes", f"{number:,} {noun} came near: {shown}{more}; a bad tick, or a shock that was over at once",
                      number, iso(found.spikes[0].time))  # fmt: skip


def off_grid(number: int, timeframe: str, first: int) -> Finding:
    """Stamps that are no opens of the timeframe."""
    sentence = f"{counted(number, 'stamp')} off the {timeframe} grid, the first at {time_text(first)}"
    return Finding("off_grid", sentence, number, iso(first))
