"""The gate: bars that come from anywhere (the store, a notebook) → bars that may be used, or one sentence that says why not.

Whatever trains or predicts comes through here. Bars as `load_bars` gave them are known and not looked through
again; others are, in one pass, and get the fingerprint of what they hold now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.schema import StrategySpec
from strategies_app.grammar.vocabulary import PRICE_COLUMNS, TIMEFRAMES
from training.core.findings import Finding, counted, refused
from training.pipeline.arguments import WrongArgument, kind_of, require, require_spec
from training.pipeline.frames import bar_times, bar_values, fingerprint, is_untouched, time_text
from training.pipeline.loading import RunBars, volume_indicators
from training.pipeline.quality import FAULTS, bar_faults, is_sound, order_faults, stop, wrong_shape
from training.pipeline.spacing import TOLD, wrong_timeframe
from training.store.coverage import DataError

#: µs; a start before it (1973) is seconds or milliseconds that were taken for µs.
NOT_MICROSECONDS = 10**14
FRAMES_WANTED = "the bars of one symbol by timeframe, such as bars.frames[symbol]"


def admitted(spec: StrategySpec, bars: RunBars) -> RunBars:
    """The bars of a run with fingerprints of what they hold; DataError if nothing may be trained on them."""
    require_spec(spec)
    require("bars", bars, RunBars, "what load_bars(spec, folder) gives")
    _require_moment("bars.start", bars.start)
    _require_moment("bars.end", bars.end)
    require("bars.frames", bars.frames, Mapping, "symbol → timeframe → bars")
    require("bars.clock", bars.clock, Mapping, "symbol → times of its base bars")
    changed: dict[str, dict[str, pd.DataFrame]] = {}
    against: list[Finding] = []
    for symbol in spec.symbols:
        if symbol not in bars.frames:
            raise DataError(f"bars.frames has no {symbol}, it has {', '.join(map(str, bars.frames)) or 'nothing'}")
        require(f"bars.frames['{symbol}']", bars.frames[symbol], Mapping, "its bars by timeframe")
        changed[symbol] = _unknown(spec, symbol, bars)
        against += _against(spec, symbol, changed[symbol])
    if against:
        raise DataError(refused(against), against)
    for symbol in spec.symbols:
        _check_dates(spec, symbol, bars)
    return _as_they_are(bars, changed)


def admit_frames(spec: StrategySpec, symbol: str, frames: Mapping[str, pd.DataFrame], start: int) -> None:
    """DataError if nothing may be predicted from these bars of one symbol."""
    require("symbol", symbol, str, "the name of a symbol")
    _require_moment("start", start)
    if isinstance(frames, RunBars | pd.DataFrame) or not isinstance(frames, Mapping):
        raise WrongArgument(f"frames is {kind_of(frames)}, wanted {FRAMES_WANTED}")
    if frames and not any(key in TIMEFRAMES for key in frames):
        raise DataError(f"frames has {', '.join(map(str, frames))}, wanted {FRAMES_WANTED}")
    against = list(_against(spec, symbol, {timeframe: _frame(frames, symbol, timeframe) for timeframe in spec.timeframes}))
    if against:
        raise DataError(refused(against), against)


# --- one series --------------------------------------------------------------------------------


def _frame(frames: Mapping[str, Any], symbol: str, timeframe: str) -> pd.DataFrame:
    if timeframe not in frames:
        has = ", ".join(map(str, frames)) or "none"
        raise DataError(f"{symbol}: the strategy needs {timeframe} bars, given are {has}")
    require(f"{symbol} {timeframe}", frames[timeframe], pd.DataFrame, "a pandas DataFrame of bars")
    frame: pd.DataFrame = frames[timeframe]
    return frame


def _unknown(spec: StrategySpec, symbol: str, bars: RunBars) -> dict[str, pd.DataFrame]:
    """The frames of a symbol that are not as `load_bars` gave them."""
    loaded, found = bars.loaded.get(symbol, {}), {}
    for timeframe in spec.timeframes:
        frame = _frame(bars.frames[symbol], symbol, timeframe)
        if timeframe not in loaded or not is_untouched(frame, loaded[timeframe]):
            found[timeframe] = frame
    return found


def _against(spec: StrategySpec, symbol: str, frames: Mapping[str, pd.DataFrame]) -> Iterator[Finding]:
    for timeframe, frame in frames.items():
        needs_volume = volume_indicators(spec, timeframe)
        for finding in _stopping(frame, timeframe, needs_volume):
            yield finding.of(symbol, timeframe)


def _stopping(frame: pd.DataFrame, timeframe: str, needs_volume: list[str]) -> Iterator[Finding]:
    """Why nothing can be made of these bars."""
    shape = wrong_shape(frame, 1)
    if shape is not None:
        yield shape
        return
    times, values = bar_times(frame), bar_values(frame)
    disorder = list(order_faults(times))
    yield from disorder
    if not is_sound(values):
        priceless = np.flatnonzero(np.isnan(values[: len(PRICE_COLUMNS)]).any(axis=0))
        without_volume = np.flatnonzero(np.isnan(values[4])) if needs_volume else priceless[:0]
        if len(priceless):
            yield _missing(times, priceless, "a missing price")
        if len(without_volume):
            yield _missing(times, without_volume, f"a missing volume, which {', '.join(needs_volume)} needs")
        for fault, where in bar_faults(values):
            yield stop(FAULTS[fault], f"{counted(len(where), 'bar')} with {fault}, first at", times, where)
    wrong = None if disorder else wrong_timeframe(times, timeframe)
    if wrong is not None and not (wrong.is_longer and frame.attrs.get(TOLD)):
        yield wrong.finding()


def _missing(times: NDArray[np.int64], where: NDArray[np.int64], words: str) -> Finding:
    found = stop("missing_values", f"{counted(len(where), 'bar')} with {words}, first at", times, where)
    return replace(found, sentence=f"{found.sentence}; leave such bars out")


# --- a whole run -------------------------------------------------------------------------------


def _require_moment(name: str, value: Any) -> None:
    require(name, value, (int, np.integer), "µs since 1970 UTC as a whole number, such as bars.start")
    if 0 < abs(value) < NOT_MICROSECONDS:
        raise DataError(f"{name} is {value}, which in µs is {time_text(int(value))}; wanted µs since 1970 UTC")


def _check_dates(spec: StrategySpec, symbol: str, bars: RunBars) -> None:
    """The clock holds the opens of the base bars inside the dates; bars at or after the end would be seen too early."""
    times = bar_times(bars.frames[symbol][spec.base_timeframe])
    late = np.flatnonzero(times >= bars.end)
    if len(late):
        raise DataError(
            f"{symbol} {spec.base_timeframe}: {counted(len(late), 'bar')} at or after the end {time_text(int(bars.end))}, "
            f"first at {time_text(int(times[late[0]]))}; leave them out"
        )
    clock = bars.clock.get(symbol)
    if not isinstance(clock, np.ndarray) or clock.dtype != np.int64 or clock.ndim != 1:
        raise WrongArgument(f"bars.clock['{symbol}'] is {kind_of(clock)}, wanted the opens of its base bars (µs) as int64")
    inside = times[np.searchsorted(times, bars.start) :]
    if not np.array_equal(inside, clock) and not _all_in(inside, clock):
        raise DataError(
            f"bars.clock['{symbol}'] does not hold the opens of all {spec.base_timeframe} bars inside the dates; "
            "it goes with the bars as they were loaded"
        )


def _all_in(times: NDArray[np.int64], clock: NDArray[np.int64]) -> bool:
    """Whether the clock runs forward and has each of these times."""
    place = np.searchsorted(clock, times)
    return bool((np.diff(clock) > 0).all() and (place < len(clock)).all() and (clock[place] == times).all())


def _as_they_are(bars: RunBars, changed: Mapping[str, Mapping[str, pd.DataFrame]]) -> RunBars:
    """With the fingerprints of the bars that were changed, or made by hand, which the loaded ones' are not."""
    fingerprints = {symbol: dict(of) for symbol, of in bars.fingerprints.items()}
    notes = list(bars.notes)
    for symbol, frames in changed.items():
        for timeframe, frame in frames.items():
            before, now = bars.loaded.get(symbol, {}).get(timeframe), fingerprint(frame)
            if before is not None and fingerprint(before) == now:
                continue
            if before is not None:
                notes.append(f"{symbol} {timeframe}: the bars were changed after they were loaded, and are used as they are now")
            fingerprints.setdefault(symbol, {})[timeframe] = now
    return replace(bars, fingerprints=fingerprints, notes=tuple(dict.fromkeys(notes))) if any(changed.values()) else bars
