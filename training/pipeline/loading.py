"""From the bar store to the bars of one run: source, warm-up, validation, missing values; nothing is ever downloaded.

A run's bars begin before its start, so that indicators have settled, and end before its end: what
is not read cannot leak.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.schema import RawInput, StrategySpec, output_of
from strategies_app.grammar.vocabulary import PRICE_COLUMNS
from training.core.findings import ERROR, Finding, iso, refused
from training.pipeline.arguments import require, require_call, require_spec, require_threads
from training.pipeline.bars import read_bars, series_habit, series_origin, series_range, stored_series
from training.pipeline.features import resample
from training.pipeline.frames import bar_times, bar_values, fingerprint, time_text
from training.pipeline.labels import label_warm_up
from training.pipeline.quality import validate_bars
from training.pipeline.spacing import TOLD
from training.store.coverage import (
    DAY,
    DataError,
    Ranges,
    anchor,
    bucket_start,
    day_of,
    day_start,
    duration,
    nothing_inside,
    resolve_dates,
    source_note,
    source_of,
    useful_since,
)

BySeries = Mapping[str, Mapping[str, int]]
#: Warm-up is this many times the longest warm-up, so that a decaying recursion has forgotten its start.
SETTLING = 10


@dataclass(frozen=True)
class RunBars:
    """The bars of one run. start (inclusive) and end (exclusive) in µs; every map is symbol → timeframe → value.

    frames: bars without missing values, warm-up included; clock: base-bar times in [start, end] before
    any bar was taken out; first_bars: open of the first bar used (µs); sources: the stored timeframe that
    a series was read or resampled from; fingerprints: of exactly the stored rows used; findings: what the data gate
    saw in the bars, whose sentences are among the notes; loaded: shallow copies of the frames, by which it is seen
    whether they were changed since.
    """

    frames: Mapping[str, Mapping[str, pd.DataFrame]]
    start: int
    end: int
    clock: Mapping[str, NDArray[np.int64]]
    first_bars: BySeries
    sources: Mapping[str, Mapping[str, str]]
    fingerprints: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...] = ()
    missing: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    loaded: Mapping[str, Mapping[str, pd.DataFrame]] = field(default_factory=dict)


def stored_ranges(root: Path, symbols: Iterable[str], on_file: Callable[[], None] = lambda: None) -> Ranges:
    """What is stored of these symbols, from the files' footers; of the others their names alone. on_file may raise."""
    wanted = set(symbols)
    ranges: dict[str, dict[str, tuple[int, int]]] = {}
    for symbol, timeframe in stored_series(root):
        of_symbol = ranges.setdefault(symbol, {})
        if symbol in wanted:
            on_file()
            of_symbol[timeframe] = series_range(root, symbol, timeframe)[:2]
    return ranges


def used_indicators(spec: StrategySpec, timeframe: str) -> list[str]:
    """Ids of the indicators whose values on `timeframe` are inputs of the network."""
    references = (
        entry.raw_indicator if isinstance(entry, RawInput) else spec.fuzzy_sets[entry.fuzzy_set].indicator
        for entry in spec.nn_inputs
        if timeframe in spec.input_timeframes(entry)
    )
    return list(dict.fromkeys(output_of(reference, spec.indicators)[0] for reference in references))


def warm_up_bars(spec: StrategySpec, timeframe: str) -> int:
    """Bars of `timeframe` to load before the start."""
    warm_ups = [0]
    for identifier in used_indicators(spec, timeframe):
        indicator = spec.indicators[identifier]
        if indicator.kind.warm_up is not None:
            warm_ups += indicator.kind.warm_up(indicator.parameters)
    reach = 0
    if timeframe == spec.base_timeframe:
        warm_ups.append(label_warm_up(spec))
        reach = spec.model.features.lookback_periods + spec.window - 1
    return max(spec.training_data.history_required, SETTLING * max(warm_ups)) + reach


def volume_indicators(spec: StrategySpec, timeframe: str) -> list[str]:
    """Ids of the indicators that need the volume of `timeframe`."""
    return [i for i in used_indicators(spec, timeframe) if "volume" in spec.indicators[i].kind.columns]


def load_bars(
    spec: StrategySpec,
    root: Path,
    on_stage: Callable[[str, float], None] = lambda name, fraction: None,
    *,
    first_bars: BySeries | None = None,
    sources: Mapping[str, Mapping[str, str]] | None = None,
    threads: int = 1,
) -> RunBars:
    """Read and check what a run needs. With first_bars and sources (of a bundle) the bars begin where its training's began.

    So many symbols are read at a time as there are threads; what is read does not depend on it.
    Raises DataError for bars that are not stored, too few, or not plausible.
    """
    require_spec(spec)
    require("the folder of stored bars", root, (str, Path), "a path")
    require_call("on_stage", on_stage)
    require_threads("threads", threads)
    require("first_bars", first_bars, (Mapping, type(None)), "those of a bundle or None")
    require("sources", sources, (Mapping, type(None)), "those of a bundle or None")
    root = Path(root)
    ranges = stored_ranges(root, spec.symbols, lambda: on_stage("load", 0.0))
    first_day, last_day = resolve_dates(spec, ranges)
    start, end = day_start(first_day), day_start(last_day) + DAY
    known = (first_bars or {}, sources or {})
    readers = [_Reader(spec, root, ranges, symbol, start, end, *known) for symbol in spec.symbols]
    _each(readers, "load", _Reader.read_all, on_stage, threads)
    _each(readers, "validate", _Reader.check_all, on_stage, threads)
    _refuse_unfit(readers)
    return _gathered(readers, start, end)


def _each(
    readers: list[_Reader], stage: str, act: Callable[[_Reader], None], on_stage: Callable[[str, float], None], threads: int
) -> None:
    def one(number: int, step: Step) -> None:
        step(stage)
        act(readers[number])

    def told(number: int, step: str | None) -> None:
        on_stage(stage, number / len(readers))

    for _ in in_order(one, len(readers), threads, told):
        pass
    on_stage(stage, 1.0)


def _refuse_unfit(readers: list[_Reader]) -> None:
    """DataError if the gate stopped a series, with what stops it first, and then with what else was seen in the bars."""
    against = [finding for reader in readers for finding in reader.against]
    if against:
        raise DataError(refused(against), [*against, *dict.fromkeys(f for reader in readers for f in reader.findings)])


def _gathered(readers: list[_Reader], start: int, end: int) -> RunBars:
    notes = [note for reader in readers for note in reader.notes] + [note for reader in readers for note in reader.odd]
    return RunBars(
        {reader.symbol: reader.frames for reader in readers},
        start,
        end,
        {reader.symbol: reader.clock for reader in readers},
        {reader.symbol: reader.first_bars for reader in readers},
        {reader.symbol: reader.sources for reader in readers},
        {reader.symbol: reader.fingerprints for reader in readers},
        tuple(dict.fromkeys(notes)),
        {name: count for reader in readers for name, count in reader.missing.items()},
        tuple(dict.fromkeys(finding for reader in readers for finding in reader.findings)),
        {reader.symbol: reader.loaded for reader in readers},
    )


class _Reader:
    """Collects the series of one symbol. notes: on what was read; odd: on what it holds; against: why nothing may be trained
    on it."""

    def __init__(
        self,
        spec: StrategySpec,
        root: Path,
        ranges: Ranges,
        symbol: str,
        start: int,
        end: int,
        first_bars: BySeries,
        sources: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.spec, self.root, self.ranges, self.symbol, self.start, self.end = spec, root, ranges, symbol, start, end
        self.known_first, self.known_sources = first_bars.get(symbol, {}), sources.get(symbol, {})
        self.frames: dict[str, pd.DataFrame] = {}
        self.clock: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.first_bars: dict[str, int] = {}
        self.sources: dict[str, str] = {}
        self.fingerprints: dict[str, str] = {}
        self.loaded: dict[str, pd.DataFrame] = {}
        self.notes: list[str] = []
        self.odd: list[str] = []
        self.findings: list[Finding] = []
        self.against: list[Finding] = []
        self.missing: dict[str, int] = {}
        self.last: tuple[tuple[str, int, int], pd.DataFrame, str] | None = None

    def read_all(self) -> None:
        for timeframe in self.spec.timeframes:
            self.read(timeframe)
        self.last = None  # or what a higher timeframe was made from would stay in memory

    def check_all(self) -> None:
        for timeframe in self.spec.timeframes:
            try:
                self.check(timeframe)
            except DataError as refusal:  # the other series are looked at too: all that is wrong is said at once
                if not refusal.findings:
                    raise
                self.against += refusal.findings

    def read(self, timeframe: str) -> None:
        symbol, known = self.symbol, self.known_sources.get(timeframe)
        stored_as = self.ranges.get(symbol, {})
        if known is not None and known in stored_as:
            source = known
        else:
            source = source_of(self.ranges, symbol, timeframe, self.start, self.end)
        first = self.known_first.get(timeframe)
        if first is not None:
            since = first if source == timeframe else bucket_start(first, timeframe) - _lasting(source)
            stored = self._read(source, since, self._until(source, timeframe))
        else:
            stored = self._with_warm_up(source, timeframe)
        frame = stored if source == timeframe else resample(stored, timeframe, source)
        self._refuse_no_bars(source, timeframe, frame)
        taken = source_note(self.ranges, symbol, timeframe, source, self.start, self.end)
        self.notes += [taken] if taken else []
        if source != timeframe:
            self._resampled(source, timeframe, stored)
        elif timeframe != self.spec.base_timeframe:
            self._on_its_clock(timeframe, bar_times(frame))
        self.fingerprints[timeframe] = self._fingerprint(stored)
        self.first_bars[timeframe] = int(bar_times(frame)[0])
        self.sources[timeframe] = source
        self.frames[timeframe] = frame

    def _read(self, source: str, since: int, until: int) -> pd.DataFrame:
        """Stored bars; those that were read last are not read again."""
        asked = (source, since, until)
        if self.last is None or self.last[0] != asked:
            self.last = (asked, read_bars(self.root, self.symbol, source, since, until), "")
        return self.last[1]

    def _fingerprint(self, stored: pd.DataFrame) -> str:
        if self.last is None or self.last[1] is not stored:
            return fingerprint(stored)
        asked, frame, known = self.last
        self.last = (asked, frame, known or fingerprint(frame))
        return self.last[2]

    def _until(self, source: str, timeframe: str) -> int:
        """Where reading ends (µs, exclusive): a bar that is not whole at the end is not known inside the dates."""
        end = self.end if source == timeframe else bucket_start(self.end, timeframe)
        return end - _lasting(source)

    def _on_its_clock(self, timeframe: str, times: NDArray[np.int64]) -> None:
        off = np.flatnonzero((times - anchor(timeframe)) % duration(timeframe))
        if len(off):
            first = time_text(int(times[off[0]]))
            self.notes.append(
                f"{self.symbol} {timeframe} bars open on a clock of their own, such as {first}, not where resampled ones would: "
                f"each is known {timeframe} after its own open"
            )

    def _resampled(self, source: str, timeframe: str, stored: pd.DataFrame) -> None:
        symbol = self.symbol
        if self.sources.get(source) != source:
            self.notes += self._inspect(stored, source, source, needs_volume=True)
        gone = int(stored[list(PRICE_COLUMNS)].isna().any(axis=1).sum())
        if gone:
            self.notes.append(f"{symbol} {timeframe}: {gone:,} {source} bars with missing prices passed over")

    def _with_warm_up(self, source: str, timeframe: str) -> pd.DataFrame:
        """Stored bars up to the end, from as many bars of `timeframe` before the start as the warm-up asks, as far as stored."""
        wanted = warm_up_bars(self.spec, timeframe)
        oldest = self.ranges[self.symbol][source][0]
        reach = wanted * duration(timeframe)
        while True:
            # Nights, weekends and holidays have no bars: reach further back until there are enough.
            since = bucket_start(max(self.start - reach, oldest), timeframe)
            stored = self._read(source, since - (_lasting(source) if source != timeframe else 0), self._until(source, timeframe))
            last_moments = bar_times(stored) + _lasting(source)
            if source == timeframe:  # whose bars need not stand on the grid
                begins = last_moments[: np.searchsorted(last_moments, self.start)]
            else:
                begins = _bucket_starts(
                    last_moments[: np.searchsorted(last_moments, bucket_start(self.start, timeframe))], timeframe
                )
            if len(begins) >= wanted or since <= oldest:
                break
            reach *= 2
        if len(begins) <= wanted:
            return stored
        return stored.iloc[int(np.searchsorted(last_moments, begins[-wanted])) :]

    def _refuse_no_bars(self, source: str, timeframe: str, frame: pd.DataFrame) -> None:
        symbol = self.symbol
        first, last = self.ranges[symbol][source]
        # On the first days of a higher timeframe's bucket its bar of before is the one that is known.
        base = timeframe == self.spec.base_timeframe
        since = self.start if base else useful_since(self.start, timeframe, timeframe)
        if not (bar_times(frame) >= since).any():
            absent = nothing_inside(symbol, source, first, last, self.start, self.end)
            raise DataError(absent.sentence, [absent])
        slack = 7 * DAY
        if first > self.start + slack or last < self.end - slack - duration(source):
            self.notes.append(f"{symbol} {source} is stored from {day_of(first)} to {day_of(last)}, not the whole range")

    def _inspect(self, frame: pd.DataFrame, timeframe: str, source: str, *, needs_volume: bool) -> list[str]:
        """The data gate: what it finds is kept, and given in words; DataError for bars that nothing can be trained on."""
        origin, habit = series_origin(self.root, self.symbol, source), series_habit(self.root, self.symbol, source)
        if source != timeframe:
            habit = habit.coarser(timeframe)
        found = validate_bars(
            frame, self.symbol, timeframe, needs_volume=needs_volume, calendar=origin.calendar, habit=habit,
            timeframe_is_right=origin.timeframe_is_right, is_resampled=source != timeframe,
        )  # fmt: skip
        self.findings += found
        return [finding.sentence for finding in found]

    def check(self, timeframe: str) -> None:
        symbol, frame = self.symbol, self.frames[timeframe]
        needs_volume = volume_indicators(self.spec, timeframe)
        self.odd += self._inspect(frame, timeframe, self.sources[timeframe], needs_volume=bool(needs_volume))
        if timeframe == self.spec.base_timeframe:
            times = bar_times(frame)
            self.clock = times[np.searchsorted(times, self.start) :]
        needed = len(PRICE_COLUMNS) + bool(needs_volume)  # volume is the last column
        whole = ~np.isnan(bar_values(frame)[:needed]).any(axis=0)
        if not whole.any():
            names = ", ".join(needs_volume)
            words = f"no bar has a volume, which {names} needs; load bars with volume or leave the indicator out"
            none = Finding("volume_needed", words, len(frame), iso(int(bar_times(frame)[0])), ERROR).of(symbol, timeframe)
            raise DataError(none.sentence, [none])
        if not whole.all():
            gone = int((~whole).sum())
            self.missing[f"{symbol} {timeframe}"] = gone
            first = iso(int(bar_times(frame)[np.argmin(whole)]))
            taken = Finding("taken_out", f"{gone:,} bars with missing values taken out", gone, first).of(symbol, timeframe)
            self.findings.append(taken)
            self.odd.append(taken.sentence)
            frame = frame[whole]
        told = any(f.kind == "timeframe_told" and f.timeframe == timeframe for f in self.findings)
        frame.attrs[TOLD] = told or self.sources[timeframe] != timeframe
        self.frames[timeframe] = frame
        self.loaded[timeframe] = frame.copy(deep=False)


def _lasting(timeframe: str) -> int:
    """From a bar's open to its last moment, in µs."""
    return duration(timeframe) - 1


def _bucket_starts(times: NDArray[np.int64], timeframe: str) -> NDArray[np.int64]:
    step, origin = duration(timeframe), bucket_start(0, timeframe)
    starts: NDArray[np.int64] = (times - origin) // step * step + origin
    distinct: NDArray[np.int64] = starts[np.diff(starts, prepend=-1) != 0]
    return distinct


Result = TypeVar("Result")
#: A piece of work calls this between its steps; it may raise, and then the piece ends there.
Step = Callable[[str], None]
#: While a result is waited for, the one who waits is heard of so often.
LOOK_SECONDS = 0.2


class _Dropped(Exception):
    """Nobody wants the result any more."""


def in_order(
    work: Callable[[int, Step], Result], count: int, threads: int, told: Callable[[int, str | None], None]
) -> Iterator[Result]:
    """work(0, step), …, work(count − 1, step), at most `threads` at a time and as many again finished before they are taken.

    told(number, name): piece `number` is at the step of this name, or is still waited for (None). It is called in the
    caller's thread alone and may raise, which ends everything: no piece is begun any more, those that run end at their
    next step, and no thread is left behind. With one thread or one piece there is no other thread at all.
    """
    if threads <= 1 or count <= 1:
        for number in range(count):
            yield work(number, lambda name, number=number: told(number, name))  # type: ignore[misc]
        return
    stop = threading.Event()

    def step(name: str) -> None:
        if stop.is_set():
            raise _Dropped

    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(min(threads, count), thread_name_prefix="symbols") as pool:
        try:
            begun = 0
            for number in range(count):
                while begun < min(number + 2 * threads, count):
                    under_way.append(pool.submit(work, begun, step))
                    begun += 1
                first = under_way.popleft()
                told(number, None)  # also where no piece takes long: a thousand short ones do
                while not wait([first], LOOK_SECONDS).done:
                    told(number, None)
                yield first.result()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)  # leaving the pool waits for what still runs
