"""Coverage: what is stored, as ranges → where a series is taken from, a run's dates, and what is missing for it.

Light on purpose (no pandas): the web process asks it with ranges from the database, a job with
ranges from file footers. All times are µs since 1970 UTC.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from strategies_app.grammar.schema import StrategySpec
from strategies_app.grammar.vocabulary import TIMEFRAMES, nearest
from training.core.findings import ERROR, Finding, counted, iso
from training.core.values import Refusal

SECOND = 1_000_000
DAY = 86_400 * SECOND
#: 1970-01-01 was a Thursday: weeks are anchored on the Monday before.
WEEK_ANCHOR = -3 * DAY
EPOCH = dt.date(1970, 1, 1)

#: Fewer bars than these inside the dates train nothing.
MINIMUM_ROWS = 100
#: A stored series is used for its own timeframe if it covers at least this share of what a finer one covers of the dates.
OWN_SHARE = 0.9
#: Of finer series those that cover this share of the best cover as much as it.
SAME_SHARE = 0.99

#: More names than these are read by nobody.
MOST_NAMES = 10
#: Symbol → stored timeframe → open of the first and the last bar.
Ranges = Mapping[str, Mapping[str, tuple[int, int]]]


class DataError(Refusal):
    """Bars that cannot be used, in one sentence: what was seen, what was wanted, what helps.

    findings: what led to it, as values, where a check of bars has refused.
    """

    category = "data"

    def __init__(self, message: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


def duration(timeframe: str) -> int:
    """Length of one bar in µs."""
    return TIMEFRAMES[timeframe] * SECOND


def anchor(timeframe: str) -> int:
    """A moment (µs) at which a bucket of this timeframe begins."""
    return WEEK_ANCHOR if timeframe == "1w" else 0


def bucket_start(time: int, timeframe: str) -> int:
    """Start (µs) of the bucket that holds `time`."""
    return (time - anchor(timeframe)) // duration(timeframe) * duration(timeframe) + anchor(timeframe)


def useful_since(start: int, source: str, timeframe: str) -> int:
    """The earliest open (µs) in `source` of a bar that may be the latest known bar of `timeframe` at the start of a run."""
    return start - 2 * duration(timeframe) + 1 if source == timeframe else bucket_start(start, timeframe) - duration(timeframe)


def day_start(day: dt.date) -> int:
    """00:00 UTC of a day in µs."""
    return (day - EPOCH).days * DAY


def day_of(time: int) -> dt.date:
    """The UTC day of a time in µs."""
    return EPOCH + dt.timedelta(days=time // DAY)


def load_command(symbol: str, timeframe: str) -> str:
    """The command that puts a series into the store."""
    return f"manage.py load_data {symbol} {timeframe} --from FILE"


def source_of(ranges: Ranges, symbol: str, timeframe: str, start: int | None = None, end: int | None = None) -> str:
    """The stored timeframe that a series is taken from: its own where that covers at least OWN_SHARE of what any of those
    that could give it covers of the dates, else the finest of those that cover most."""
    covered = _covered(ranges, symbol, timeframe, start, end)
    if not covered:
        raise DataError(_nothing_stored(ranges, symbol, timeframe))
    best = max(covered.values())
    if covered.get(timeframe, -1) >= OWN_SHARE * best:
        return timeframe
    return min((t for t, overlap in covered.items() if overlap >= SAME_SHARE * best), key=TIMEFRAMES.__getitem__)


def source_note(ranges: Ranges, symbol: str, timeframe: str, source: str, start: int, end: int) -> str | None:
    """Where a series comes from and why, if that is not plain: it is resampled, or a finer one would cover more."""
    covered = _covered(ranges, symbol, timeframe, start, end)
    share = {t: f"{overlap / (end - start):.1%} of the dates" for t, overlap in covered.items()}
    if source != timeframe:
        said = f"{symbol} {timeframe} resampled from {source}"
        own = timeframe in covered and covered[timeframe] < covered[source]
        return f"{said}: stored {timeframe} bars cover {share[timeframe]}, {source} bars {share[source]}" if own else said
    best = max(covered, key=lambda t: (covered[t], TIMEFRAMES[t]))
    if covered[source] >= SAME_SHARE * covered[best]:
        return None
    return f"{symbol} {timeframe} bars are the stored ones: they cover {share[timeframe]}, {best} bars {share[best]}"


def _covered(ranges: Ranges, symbol: str, timeframe: str, start: int | None, end: int | None) -> dict[str, int]:
    """Stored timeframe that could give this one → how much of the dates it covers, µs; None: no bound."""
    covered = {}
    for candidate, (first, last) in ranges.get(symbol, {}).items():
        if TIMEFRAMES[candidate] <= TIMEFRAMES[timeframe]:
            over = last + duration(candidate)
            until = over if end is None else min(over, end)
            covered[candidate] = max(0, until - (first if start is None else max(first, start)))
    return covered


def refuse_missing(spec: StrategySpec, ranges: Ranges) -> None:
    """DataError that names all symbols of the run of which no series can be made of what is stored."""
    finest = {symbol: min((TIMEFRAMES[t] for t in stored), default=None) for symbol, stored in ranges.items()}
    lacking: dict[str, str] = {}
    for timeframe in sorted(spec.timeframes, key=TIMEFRAMES.__getitem__):
        for symbol in spec.symbols:
            seconds = finest.get(symbol)
            if seconds is None or seconds > TIMEFRAMES[timeframe]:
                lacking.setdefault(symbol, timeframe)
    if not lacking:
        return
    symbol, timeframe = next(iter(lacking.items()))
    absent = [
        Finding("not_stored", f"no bars of {one} at {at} or finer are stored", severity=ERROR, symbol=one, timeframe=at)
        for one, at in lacking.items()
    ]
    if len(lacking) == 1 or not ranges:
        raise DataError(_nothing_stored(ranges, symbol, timeframe), absent)
    finer = f" at {timeframe} or finer" if any(ranges.get(name) for name in lacking) else ""
    raise DataError(
        f"no bars of {named(list(lacking))}{finer} are stored ({len(lacking):,} of {len(spec.symbols):,} symbols); "
        f"load them with: {load_command(symbol, timeframe)}, and so for each, or leave them out",
        absent,
    )


def named(symbols: Sequence[str]) -> str:
    """`AAA, BBB and CCC`; of many the first ten and how many more."""
    if len(symbols) > MOST_NAMES + 1:
        return f"{', '.join(symbols[:MOST_NAMES])} and {len(symbols) - MOST_NAMES:,} more"
    return f"{', '.join(symbols[:-1])} and {symbols[-1]}" if len(symbols) > 1 else symbols[0]


def resolve_dates(spec: StrategySpec, ranges: Ranges) -> tuple[dt.date, dt.date]:
    """The run's first and last day; where the strategy names none, the first and last day stored for its symbols."""
    refuse_missing(spec, ranges)
    start, end = spec.training_data.start, spec.training_data.end
    if start is None or end is None:
        base = spec.base_timeframe
        sources = [(symbol, source_of(ranges, symbol, base)) for symbol in spec.symbols]
        spans = [ranges[symbol][source] for symbol, source in sources]
        start = start or day_of(min(first for first, _ in spans))
        end = end or day_of(max(last for _, last in spans))
    if start > end:
        raise DataError(f"the start {start} is after the end {end}")
    return start, end


def check_stored(spec: StrategySpec, ranges: Ranges) -> None:
    """DataError if a series of the run is not stored, or has no bars in its dates."""
    first_day, last_day = resolve_dates(spec, ranges)
    start, end = day_start(first_day), day_start(last_day) + DAY
    outside: dict[str, tuple[str, int, int]] = {}
    for symbol in spec.symbols:
        for timeframe in spec.timeframes:
            source = source_of(ranges, symbol, timeframe, start, end)
            first, last = ranges[symbol][source]
            if last < useful_since(start, source, timeframe) or first >= end:
                outside.setdefault(symbol, (source, first, last))
    absent = [nothing_inside(symbol, *stored, start, end) for symbol, stored in outside.items()]
    if len(absent) == 1:
        raise DataError(absent[0].sentence, absent)
    if outside:
        raise DataError(
            f"no bars of {named(list(outside))} lie between {day_of(start)} and {day_of(end - 1)} ({len(outside):,} of "
            f"{len(spec.symbols):,} symbols): choose other dates or leave them out",
            absent,
        )


def check_windows(spec: StrategySpec, ranges: Ranges, rows: Mapping[str, Mapping[str, int]]) -> None:
    """DataError if the network's window cannot fit into a side of the split, whatever lies in the stored bars.

    rows: symbol → timeframe → bars stored. Counts at most, so that nothing is refused that could be trained.
    """
    if spec.window == 1:
        return
    (first_day, last_day), base, split = resolve_dates(spec, ranges), spec.base_timeframe, spec.training.data_split
    start, end = day_start(first_day), day_start(last_day) + DAY
    most = 0
    for symbol in spec.symbols:
        source = source_of(ranges, symbol, base, start, end)
        first, last = ranges[symbol][source]
        span = min(last + duration(source), end) - max(first, start)
        most += max(0, min(rows[symbol][source], span // duration(base) + 1))
    most = min(most, (end - start) // duration(base) + 1)
    for name, share in (("validation", split.validation), ("test", split.test)):
        fitting = int(share * most) + 1 - round(split.embargo * most)
        if share and spec.window > fitting:
            raise DataError(
                f"sequence_length is {spec.window:,}, and the {name} split holds at most {max(fitting, 0):,} of at most {most:,} "
                f"{base} bars; wanted a shorter sequence_length, more days or a larger share for {name}"
            )


def nothing_inside(symbol: str, source: str, first: int, last: int, start: int, end: int) -> Finding:
    """That a stored series, from `first` to `last`, has no bars in [start, end)."""
    sentence = (
        f"no {source} bars of {symbol} between {day_of(start)} and {day_of(end - 1)}: "
        f"stored are {day_of(first)} to {day_of(last)}; "
        f"choose dates inside, or load more with: {load_command(symbol, source)}"
    )
    return Finding("outside_dates", sentence, severity=ERROR, symbol=symbol, timeframe=source)


def few_bars(symbol: str, timeframe: str, count: int, first: int | None, start: int, end: int) -> Finding:
    """That a symbol has too few bars in [start, end), the first of them at `first`."""
    sentence = (
        f"{symbol} {timeframe}: {counted(count, 'bar')} between {day_of(start)} and {day_of(end - 1)}, "
        f"wanted at least {MINIMUM_ROWS}; choose more days"
    )
    return Finding("too_few_bars", sentence, count, None if first is None else iso(first), ERROR, symbol, timeframe)


def _nothing_stored(ranges: Ranges, symbol: str, timeframe: str) -> str:
    command = f"load them with: {load_command(symbol, timeframe)}"
    if ranges.get(symbol):
        have = ", ".join(sorted(ranges[symbol], key=TIMEFRAMES.__getitem__))
        return f"no bars of {symbol} at {timeframe} or finer are stored, only {have}; {command}"
    symbols = sorted(ranges)
    if not symbols:
        return f"no bars are stored, wanted {symbol} {timeframe}; {command}"
    close = nearest(symbol, symbols)
    hint = f"did you mean {close}?" if close else f"stored are {', '.join(symbols[:10])}{' …' if len(symbols) > 10 else ''}"
    return f"no bars of {symbol} are stored, {hint}; {command}"
