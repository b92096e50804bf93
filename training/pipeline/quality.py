"""What is wrong, or odd, about a frame of bars: frame → Quality, and frame → findings or DataError before a training.

Everything is one vectorised pass or two: linear in bars, about 40 ns per bar.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import BAR_COLUMNS, PRICE_COLUMNS
from training.core.findings import ERROR, Finding, counted, iso, refused
from training.pipeline.calendars import expected_bars
from training.pipeline.frames import bar_times, bar_values, time_text
from training.pipeline.gaps import Expected, Stretches, gaps_of, outside, slots_of, summary
from training.pipeline.habits import Habit
from training.pipeline.outliers import spikes, split_jumps
from training.pipeline.series_quality import Quality, off_grid
from training.pipeline.spacing import timeframe_of as timeframe_of
from training.pipeline.spacing import wrong_timeframe
from training.store.coverage import MINIMUM_ROWS, DataError

#: Shortest run of bars without volume, or with one and the same close, that is worth a word.
STRETCH = 20
LARGEST_MISSING_SHARE = 0.05


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


def is_sound(values: NDArray[np.float64]) -> bool:
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
    timeframe_is_right: bool = False,
    is_resampled: bool = False,
) -> list[Finding]:
    """The findings about bars that may be trained on; DataError about others, with all that speaks against them as findings.

    A missing volume counts only where something needs it. habit: of the whole series that these bars are a part of.
    timeframe_is_right: as a person said when the bars were loaded. Resampled bars last as long as they say, however far
    they are apart.
    """
    against = [finding.of(symbol, timeframe) for finding in _stopping(frame, minimum_rows, needs_volume)]
    times = bar_times(frame) if not against else np.empty(0, np.int64)
    wrong = None if is_resampled else wrong_timeframe(times, timeframe)
    if wrong is not None and not (timeframe_is_right and wrong.is_longer):
        against.append(wrong.finding().of(symbol, timeframe))
    if against:
        raise DataError(refused(against), against)
    expected, silent = expected_bars(calendar, timeframe, times)
    found = [*silent, *quality(frame, timeframe, calendar, expected, habit).findings()]
    if wrong is not None:
        found.append(wrong.as_told())
    return [finding.of(symbol, timeframe) for finding in found]


def _stopping(frame: pd.DataFrame, minimum_rows: int, needs_volume: bool) -> Iterator[Finding]:
    """Why nothing may be trained on these bars; what is wrong with the table itself hides what is wrong with its values."""
    shape = wrong_shape(frame, minimum_rows)
    if shape is not None:
        yield shape
        return
    times, values = bar_times(frame), bar_values(frame)
    yield from order_faults(times)
    if not is_sound(values):
        yield from _missing(times, values, needs_volume)
        for fault, where in bar_faults(values):
            yield stop(FAULTS[fault], f"{counted(len(where), 'bar')} with {fault}, first at", times, where)


def order_faults(times: NDArray[np.int64]) -> Iterator[Finding]:
    """Bars that are not later than the one before them, if there are any."""
    backward = np.flatnonzero(times[1:] <= times[:-1]) + 1
    if len(backward):
        words = f"the times do not strictly increase at {counted(len(backward), 'bar')}, first at"
        yield stop("times_out_of_order", words, times, backward)


def stop(kind: str, words: str, times: NDArray[np.int64], where: NDArray[np.int64]) -> Finding:
    """A finding that stops a training; words: the sentence up to the time of the first of these bars."""
    first = times[where[0]]
    return Finding(kind, f"{words} {time_text(first)}", len(where), iso(int(first)), ERROR)


def wrong_shape(frame: pd.DataFrame, minimum_rows: int) -> Finding | None:
    """What is wrong with the table itself: its columns, its index, the number of its rows."""
    lacking = [column for column in BAR_COLUMNS if column not in frame.columns or frame.columns.nlevels > 1]
    if lacking:
        return Finding("missing_columns", f"no column {', '.join(lacking)}; wanted {', '.join(BAR_COLUMNS)}", severity=ERROR)
    columns = frame if tuple(frame.columns) == BAR_COLUMNS else frame[list(BAR_COLUMNS)]
    if len(columns.columns) > len(BAR_COLUMNS):
        twice = columns.columns[columns.columns.duplicated()][0]
        return Finding("missing_columns", f"more than one column {twice}; wanted one of each", severity=ERROR)
    for column, kind in columns.dtypes.items():
        if kind.kind not in "fiu" or (not isinstance(kind, np.dtype) and columns[column].isna().any()):
            words = f"the column {column} holds {kind} and not plain numbers; wanted float64"
            return Finding("not_numbers", words, len(frame), severity=ERROR)
    if not isinstance(frame.index, pd.DatetimeIndex) or str(frame.index.tz) != "UTC" or frame.index.hasnans:
        words = "the bars are not stamped in UTC, wanted a DatetimeIndex with the time zone UTC"
        return Finding("not_in_utc", f"{words}{_index_text(frame.index)}", len(frame), severity=ERROR)
    if len(frame) < minimum_rows:
        words = f"{counted(len(frame), 'bar')} in the range, wanted at least {minimum_rows}"
        first = iso(int(bar_times(frame)[0])) if len(frame) else None
        return Finding("too_few_bars", words, len(frame), first, ERROR)
    return None


def _index_text(index: pd.Index) -> str:
    if not isinstance(index, pd.DatetimeIndex):
        return f", and the index is a {type(index).__name__}"
    if index.hasnans:
        return ", and a bar has no time"
    return f", and the times are in {index.tz}: tz_convert('UTC')" if index.tz else ", and the times name no zone: tz_localize"


def _missing(times: NDArray[np.int64], values: NDArray[np.float64], needs_volume: bool) -> Iterator[Finding]:
    """A series wholly without volume may pass: prices alone train most strategies."""
    missing = np.isnan(values[: len(PRICE_COLUMNS)]).any(axis=0)
    no_volume = np.isnan(values[4])
    if needs_volume and not no_volume.all():
        missing |= no_volume
    where = np.flatnonzero(missing)
    share = len(where) / max(len(times), 1)
    if share > LARGEST_MISSING_SHARE:
        yield stop(
            "too_many_missing",
            f"{counted(len(where), 'bar')} of {len(times):,} ({share:.1%}) have a missing value,"
            f" wanted at most {LARGEST_MISSING_SHARE:.0%}; first at",
            times, where,
        )  # fmt: skip
