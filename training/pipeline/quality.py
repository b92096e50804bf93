"""What is wrong, or odd, about a frame of bars: frame → Quality, and frame → findings or DataError before a training.

Everything is one vectorised pass or two: linear in bars, about 40 ns per bar.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.vocabulary import BAR_COLUMNS, PRICE_COLUMNS
from training.pipeline.calendars import expected_bars
from training.pipeline.coverage import DataError
from training.pipeline.finding import ERROR, Finding, counted, iso, refused
from training.pipeline.frames import bar_times, bar_values, time_text
from training.pipeline.gaps import Expected, Stretches, gaps_of, outside, slots_of, summary
from training.pipeline.habits import Habit
from training.pipeline.oddities import spikes, split_jumps
from training.pipeline.series_quality import Quality, off_grid

#: Shortest run of bars without volume, or with one and the same close, that is worth a word.
STRETCH = 20
LARGEST_MISSING_SHARE = 0.05
#: Fewer bars of a timeframe are not worth a training.
MINIMUM_ROWS = 100


def quality(
    frame: pd.DataFrame, timeframe: str, calendar: str = "", expected: Expected = None, habit: Habit | None = None
) -> Quality:
    """The quality of a series; nothing here is an error. expected: the slots in which the calendar has a bar; habit: of the
    whole series, if the frame is a part of it."""
    times, values = bar_times(frame), bar_values(frame)
    missing = np.count_nonzero(np.isnan(values), axis=1)
    volume, close = values[4], values[3]
    constant = np.empty(len(times), bool)
    constant[:1], constant[1:] = False, close[1:] == close[:-1]
    slots, off = slots_of(times, timeframe)
    closed = outside(slots, expected) if expected is not None else off[:0]
    return Quality(
        timeframe,
        len(times),
        int(times[0]) if len(times) else None,
        int(times[-1]) if len(times) else None,
        {column: int(count) for column, count in zip(BAR_COLUMNS, missing, strict=True)},
        gaps_of(times, slots, timeframe, expected, habit),
        _stretches(times, volume == 0),
        _stretches(times, constant, lead=1),
        tuple(split_jumps(times, values)),
        len(off),
        int(times[off[0]]) if len(off) else None,
        tuple(spikes(times, values)),
        calendar,
        len(closed),
        int(times[closed[0]]) if len(closed) else None,
    )


def _stretches(times: NDArray[np.int64], mask: NDArray[np.bool_], lead: int = 0) -> Stretches:
    """Runs of at least STRETCH bars in which the mask holds; `lead` bars before the mask belong to a run too."""
    edges = np.flatnonzero(mask[1:] != mask[:-1]) + 1
    edges = np.concatenate([[0] if mask[:1].any() else [], edges, [len(mask)] if mask[-1:].any() else []]).astype(np.int64)
    starts, lengths = edges[::2] - lead, edges[1::2] - edges[::2] + lead
    long = lengths >= STRETCH
    return summary(times[starts[long]], lengths[long])


def off_grid_warning(times: NDArray[np.int64], timeframe: str) -> str | None:
    """A sentence if some of the times (µs) are no opens of the timeframe."""
    where = slots_of(times, timeframe)[1]
    return off_grid(len(where), timeframe, int(times[where[0]])).sentence if len(where) else None


# --- errors ------------------------------------------------------------------------------------


#: What no bar can be → its word for machines.
FAULTS = {
    "a price that is not positive": "price_not_positive",
    "a high below open, close or low": "high_too_low",
    "a low above open or close": "low_too_high",
    "a negative volume": "negative_volume",
    "an infinite value": "infinite_value",
}


def bar_faults(values: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """What no bar can be, in words, with the positions of the bars that are. values float64 (5, n); NaN is no fault."""
    opens, highs, lows, closes, volumes = values
    masks = {
        "a price that is not positive": (opens <= 0) | (highs <= 0) | (lows <= 0) | (closes <= 0),
        "a high below open, close or low": (highs < opens) | (highs < closes) | (highs < lows),
        "a low above open or close": (lows > opens) | (lows > closes),
        "a negative volume": volumes < 0,
        "an infinite value": (values == np.inf).any(axis=0),
    }
    for fault, mask in masks.items():
        if mask.any():
            yield fault, np.flatnonzero(mask)


def _sound(values: NDArray[np.float64]) -> bool:
    """Whether every value is there and possible; blocks stay in the processor's cache, three times as fast as whole columns."""
    for start in range(0, values.shape[1], 32_768):
        opens, highs, lows, closes, volumes = values[:, start : start + 32_768]
        ordered = (highs >= opens) & (highs >= closes) & (lows <= opens) & (lows <= closes)
        if not (ordered & (lows > 0) & (highs < np.inf) & (volumes >= 0) & (volumes < np.inf)).all():
            return False
    return True


def validate_bars(
    frame: pd.DataFrame,
    symbol: str,
    timeframe: str,
    minimum_rows: int = MINIMUM_ROWS,
    *,
    needs_volume: bool = True,
    calendar: str = "",
    habit: Habit | None = None,
) -> list[Finding]:
    """The findings about bars that may be trained on; DataError about others, with all that speaks against them as findings.

    A missing volume counts only where something needs it. habit: of the whole series that these bars are a part of.
    """
    against = [finding.of(symbol, timeframe) for finding in _stopping(frame, minimum_rows, needs_volume)]
    if against:
        raise DataError(refused(against), against)
    times = bar_times(frame)
    expected, silent = expected_bars(calendar, timeframe, times)
    found = [*silent, *quality(frame, timeframe, calendar, expected, habit).findings()]
    return [finding.of(symbol, timeframe) for finding in found]


def _stopping(frame: pd.DataFrame, minimum_rows: int, needs_volume: bool) -> Iterator[Finding]:
    """Why nothing may be trained on these bars; what is wrong with the table itself hides what is wrong with its values."""
    shape = _wrong_shape(frame, minimum_rows)
    if shape is not None:
        yield shape
        return
    times, values = bar_times(frame), bar_values(frame)
    backward = np.flatnonzero(times[1:] <= times[:-1]) + 1
    if len(backward):
        yield _stop(
            "times_out_of_order",
            f"the times do not strictly increase at {counted(len(backward), 'bar')}, first at",
            times,
            backward,
        )
    if not _sound(values):
        yield from _missing(times, values, needs_volume)
        for fault, where in bar_faults(values):
            yield _stop(FAULTS[fault], f"{counted(len(where), 'bar')} with {fault}, first at", times, where)


def _stop(kind: str, words: str, times: NDArray[np.int64], where: NDArray[np.int64]) -> Finding:
    """words: the sentence up to the time of the first of these bars."""
    first = times[where[0]]
    return Finding(kind, f"{words} {time_text(first)}", len(where), iso(int(first)), ERROR)


def _wrong_shape(frame: pd.DataFrame, minimum_rows: int) -> Finding | None:
    lacking = [column for column in BAR_COLUMNS if column not in frame.columns]
    if lacking:
        return Finding("missing_columns", f"no column {', '.join(lacking)}; wanted {', '.join(BAR_COLUMNS)}", severity=ERROR)
    if not isinstance(frame.index, pd.DatetimeIndex) or str(frame.index.tz) != "UTC":
        words = "the bars are not stamped in UTC, wanted a DatetimeIndex with the time zone UTC"
        return Finding("not_in_utc", words, len(frame), severity=ERROR)
    if len(frame) < minimum_rows:
        words = f"{counted(len(frame), 'bar')} in the range, wanted at least {minimum_rows}"
        first = iso(int(bar_times(frame)[0])) if len(frame) else None
        return Finding("too_few_bars", words, len(frame), first, ERROR)
    return None


def _missing(times: NDArray[np.int64], values: NDArray[np.float64], needs_volume: bool) -> Iterator[Finding]:
    """A series wholly without volume may pass: prices alone train most strategies."""
    missing = np.isnan(values[: len(PRICE_COLUMNS)]).any(axis=0)
    no_volume = np.isnan(values[4])
    if needs_volume and not no_volume.all():
        missing |= no_volume
    where = np.flatnonzero(missing)
    share = len(where) / max(len(times), 1)
    if share > LARGEST_MISSING_SHARE:
        yield _stop(
            "too_many_missing",
            f"{counted(len(where), 'bar')} of {len(times):,} ({share:.1%}) have a missing value,"
            f" wanted at most {LARGEST_MISSING_SHARE:.0%}; first at",
            times, where,
        )  # fmt: skip
