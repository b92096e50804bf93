"""The quality of one series of bars as a value, and its findings: Quality → JSON, Quality → findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from training.core.findings import INFO, Finding, counted, iso
from training.pipeline.frames import time_text
from training.pipeline.gaps import Stretches
from training.pipeline.outliers import Jump, Spike

#: So many are kept with a series; the finding has their number.
MOST_SPIKES = 100
_EXAMPLES = 5


@dataclass(frozen=True)
class Quality:
    """What a reader should know of a series. Times in µs; a gap begins at the last bar before it."""

    timeframe: str
    rows: int
    first: int | None
    last: int | None
    missing: dict[str, int]
    gaps: Stretches
    zero_volume: Stretches
    constant: Stretches
    splits: tuple[Jump, ...]
    off_grid: int
    off_grid_first: int | None
    spikes: tuple[Spike, ...] = ()
    calendar: str = ""
    closed: int = 0
    closed_first: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON, times as ISO text; of very many spikes the first ones."""
        out: dict[str, Any] = _with_text_times(asdict(replace(self, spikes=self.spikes[:MOST_SPIKES])))
        return out

    def warnings(self) -> list[str]:
        """One sentence for each thing that is odd."""
        return [finding.sentence for finding in self.findings()]

    def findings(self) -> list[Finding]:
        """The same as values."""
        return list(findings_of(self))


def _with_text_times(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _with_text_times(v, "" if key == "missing" else k) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_text_times(item, key) for item in value]
    if key in ("first", "last", "longest_at", "time", "off_grid_first", "closed_first") and value is not None:
        return iso(value)
    return value


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
