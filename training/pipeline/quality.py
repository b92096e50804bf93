"""What is wrong, or odd, about a frame of bars: frame → Quality, outliers, and findings or DataError before a training.

Everything is one vectorised pass or two: linear in bars, about 40 ns per bar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import BAR_COLUMNS, PRICE_COLUMNS
from training.core.findings import ERROR, INFO, Finding, counted, iso, refused
from training.pipeline.calendars import Expected, Habit, Stretches, expected_bars, gaps_of, outside, slots_of, summary
from training.pipeline.frames import bar_times, bar_values, time_text
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


#: Old price over new price at a split, and how near (as a share) the overnight jump must come to it.
SPLITS = {"3:2": 1.5, **{f"{n}:1": float(n) for n in (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50)}}
SPLITS |= {f"1:{n}": 1.0 / n for n in (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50)}
SPLIT_TOLERANCE = 0.03
#: A price is suspected from so many times the usual move of the close on, if the bars on both sides never went there and
#: stand nearer to each other than this share of the way. On real bars: a holiday's bad tick of 2.5 % in hourly currencies.
SPIKE_MOVES, SPIKE_APART = 25.0, 0.25
MANY_BARS = 50_000


@dataclass(frozen=True)
class Jump:
    """A bar whose open stands to the close before it as after a split: its time (µs) and the split, such as 2:1."""

    time: int
    split: str


@dataclass(frozen=True)
class Spike:
    """A bar with a price that the bars beside it never saw: its time (µs), which price (high or low), and how far (a share)."""

    time: int
    price: str
    far: float


def split_jumps(times: NDArray[np.int64], values: NDArray[np.float64]) -> Iterator[Jump]:
    """Bars that open at a split's ratio to the close before, and close on the same level (a crash or a bad tick does not)."""
    before, opens, closes = values[3, :-1], values[0, 1:], values[3, 1:]
    jumps = np.flatnonzero((opens * 1.4 < before) | (opens > before * 1.4))
    ratios = before[jumps] / opens[jumps]
    stays = np.abs(closes[jumps] / opens[jumps] - 1) < 0.2
    for jump, ratio in zip(jumps[stays], ratios[stays], strict=True):
        name = split_name(float(ratio))
        if name:
            yield Jump(int(times[jump + 1]), name)


def split_name(ratio: float, tolerance: float = SPLIT_TOLERANCE) -> str | None:
    """The split whose ratio of old to new price is nearest, if it is near."""
    name = min(SPLITS, key=lambda split: abs(SPLITS[split] / ratio - 1))
    return name if abs(SPLITS[name] / ratio - 1) <= tolerance else None


def spikes(times: NDArray[np.int64], values: NDArray[np.float64]) -> list[Spike]:
    """Highs and lows that stand alone, in order of time. values float64 (5, n), prices above 0 or NaN.

    The measure is the median move from close to close, so that a currency's 1 % counts like a share's 20 %.
    A real crash stays down; a flash crash comes back within its bar and is suspected too: a suspicion, no error.
    """
    opens, highs, lows, closes = values[:4]
    with np.errstate(divide="ignore", invalid="ignore"):  # prices that are not there, or not above 0, are other findings
        # Of many bars every seventh move tells as much, and falls on every hour of the day in turn.
        step = 1 if len(closes) < MANY_BARS else 7
        moves = np.abs(closes[1::step] / closes[:-1:step] - 1)
        moves = moves[moves > 0]
        if len(moves) < 2:
            return []
        least = SPIKE_MOVES * float(np.median(moves))
        above, below = np.maximum(closes[:-2], opens[2:]), np.minimum(closes[:-2], opens[2:])
        apart = above / below - 1
        sides = {"high": highs[1:-1] / above - 1, "low": below / lows[1:-1] - 1}
        found = [
            Spike(int(times[place + 1]), name, float(away[place] if name == "high" else 1 / (1 + away[place]) - 1))
            for name, away in sides.items()
            for place in np.flatnonzero((away > least) & (apart < SPIKE_APART * away))
        ]
    return sorted(found, key=lambda spike: spike.time)


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
        yield Finding("spikes", f"{counted(number, 'isolated spike')}: {shown}{more}; a bad tick or a flash move",
                      number, iso(found.spikes[0].time))  # fmt: skip


def off_grid(number: int, timeframe: str, first: int) -> Finding:
    """Stamps that are no opens of the timeframe."""
    sentence = f"{counted(number, 'stamp')} off the {timeframe} grid, the first at {time_text(first)}"
    return Finding("off_grid", sentence, number, iso(first))
