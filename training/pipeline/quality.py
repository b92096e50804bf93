"""What is wrong, or odd, about a frame of bars: frame → Quality, and frame → warnings or DataError before a training.

Everything is one vectorised pass or two: linear in bars, about 25 ns per bar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.vocabulary import BAR_COLUMNS, PRICE_COLUMNS, TIMEFRAMES
from training.pipeline.coverage import DataError
from training.pipeline.frames import bar_times, bar_values, time_text

#: Shortest run of bars without volume, or with one and the same close, that is worth a word.
STRETCH = 20
#: A single missing weekday of daily bars is a holiday; the store has no exchange calendar to say so.
SHORTEST_GAP = {"1d": 2}
#: A time of the week belongs to the trading session if it has a bar in this share of the weeks. Opening hours that
#: move with daylight saving are there in at most two weeks of three, ordinary ones in nearly all.
USUAL = 0.8
LARGEST_MISSING_SHARE = 0.05
#: Fewer bars of a timeframe are not worth a training.
MINIMUM_ROWS = 100
#: Old price over new price at a split, and how near (as a share) the overnight jump must come to it.
SPLITS = {"3:2": 1.5, **{f"{n}:1": float(n) for n in (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50)}}
SPLITS |= {f"1:{n}": 1.0 / n for n in (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50)}
SPLIT_TOLERANCE = 0.03

_DAY = 86_400_000_000
#: 1970-01-01 was a Thursday: adding three days makes weeks begin on Monday.
_TO_MONDAY = 3 * _DAY
_EXAMPLES = 5


@dataclass(frozen=True)
class Stretches:
    """Runs of bars: how many runs, bars in them, the longest (in bars), and where the longest and the first few begin (µs)."""

    count: int = 0
    bars: int = 0
    longest: int = 0
    longest_at: int | None = None
    first: tuple[int, ...] = ()


@dataclass(frozen=True)
class Jump:
    """A bar whose open stands to the close before it as after a split: its time (µs) and the split, such as 2:1."""

    time: int
    split: str


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

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON, times as ISO text."""
        out: dict[str, Any] = _with_text_times(asdict(self))
        return out

    def warnings(self) -> list[str]:
        """One sentence for each thing that is odd."""
        return list(_warnings(self))


def _with_text_times(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _with_text_times(v, "" if key == "missing" else k) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_text_times(item, key) for item in value]
    if key in ("first", "last", "longest_at", "time", "off_grid_first") and value is not None:
        return f"{np.datetime64(value, 'us').astype('M8[s]')}Z"
    return value


def quality(frame: pd.DataFrame, timeframe: str) -> Quality:
    """The quality of a series; nothing here is an error."""
    times, values = bar_times(frame), bar_values(frame)
    missing = np.count_nonzero(np.isnan(values), axis=1)
    volume, close = values[4], values[3]
    constant = np.empty(len(times), bool)
    constant[:1], constant[1:] = False, close[1:] == close[:-1]
    slots, off_grid = _slots(times, timeframe)
    return Quality(
        timeframe,
        len(times),
        int(times[0]) if len(times) else None,
        int(times[-1]) if len(times) else None,
        {column: int(count) for column, count in zip(BAR_COLUMNS, missing, strict=True)},
        _gaps(times, slots, timeframe),
        _stretches(times, volume == 0),
        _stretches(times, constant, lead=1),
        tuple(_split_jumps(times, values)),
        len(off_grid),
        int(times[off_grid[0]]) if len(off_grid) else None,
    )


def _slots(times: NDArray[np.int64], timeframe: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each bar's place on the timeframe's grid, int64 (n,) counted from a Monday; positions off the grid."""
    step = TIMEFRAMES[timeframe] * 1_000_000
    since_monday = times + _TO_MONDAY
    slots = since_monday // step
    return slots, np.flatnonzero(slots * step != since_monday)


def _gaps(times: NDArray[np.int64], slots: NDArray[np.int64], timeframe: str) -> Stretches:
    """Holes in which bars are missing at times of the week at which this series usually has one.

    So nights, weekends and lunch breaks are no gaps for a series that never trades then, and are for one that does.
    Length and sum are in missing bars. Holidays of sub-daily series count: only a calendar could tell.
    """
    positions, lengths = _holes(slots, timeframe)
    return _summary(times[positions], lengths)


def holes(frame: pd.DataFrame, timeframe: str, most: int = 60) -> list[dict[str, Any]]:
    """The longest gaps in order of time, as JSON: the last bar before, the first bar after, bars missing between."""
    times = bar_times(frame)
    positions, lengths = _holes(_slots(times, timeframe)[0], timeframe)
    longest = np.sort(np.argsort(-lengths, kind="stable")[:most])
    text = np.datetime_as_string(times.view("M8[us]").astype("M8[s]")[np.stack([positions, positions + 1])[:, longest]])
    return [
        {"after": f"{after}Z", "before": f"{before}Z", "bars": int(bars)}
        for after, before, bars in zip(*text, lengths[longest], strict=True)
    ]


def _holes(slots: NDArray[np.int64], timeframe: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Position of the bar before each gap, and the gap's length in missing bars."""
    holes = np.flatnonzero(np.diff(slots) > 1)
    if not len(holes):
        return holes, holes
    usual = _usual(slots, 7 * 86_400 // TIMEFRAMES[timeframe])
    before = np.concatenate([[0], np.cumsum(usual)])

    def usual_until(slot: NDArray[np.int64]) -> NDArray[np.int64]:
        week, rest = np.divmod(slot, len(usual))
        counts: NDArray[np.int64] = week * before[-1] + before[rest]
        return counts

    lengths = usual_until(slots[holes + 1]) - usual_until(slots[holes] + 1)
    real = lengths >= SHORTEST_GAP.get(timeframe, 1)
    return holes[real], lengths[real]


def _usual(slots: NDArray[np.int64], per_week: int) -> NDArray[np.bool_]:
    """Which times of the week have a bar as a rule: bool (per_week,).

    Weeks without any bar do not count. Below ten weeks the five working days are taken together.
    """
    weeks = slots // per_week
    counts = np.bincount(slots - weeks * per_week, minlength=per_week)
    number = 1 + np.count_nonzero(np.diff(weeks))
    if number >= 10 or per_week < 7:
        return counts >= USUAL * number
    counts = counts.reshape(7, -1)
    days = np.bincount(np.unique(slots // counts.shape[1]) % 7, minlength=7)
    working = np.tile(counts[:5].sum(axis=0) > USUAL * days[:5].sum(), 5)
    return np.concatenate([working, (counts[5:] > USUAL * days[5:, None]).ravel()])


def _stretches(times: NDArray[np.int64], mask: NDArray[np.bool_], lead: int = 0) -> Stretches:
    """Runs of at least STRETCH bars in which the mask holds; `lead` bars before the mask belong to a run too."""
    edges = np.flatnonzero(mask[1:] != mask[:-1]) + 1
    edges = np.concatenate([[0] if mask[:1].any() else [], edges, [len(mask)] if mask[-1:].any() else []]).astype(np.int64)
    starts, lengths = edges[::2] - lead, edges[1::2] - edges[::2] + lead
    long = lengths >= STRETCH
    return _summary(times[starts[long]], lengths[long])


def _summary(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Stretches:
    if not len(starts):
        return Stretches()
    longest = int(np.argmax(lengths))
    first = tuple(int(time) for time in starts[:_EXAMPLES])
    return Stretches(len(starts), int(lengths.sum()), int(lengths[longest]), int(starts[longest]), first)


def _split_jumps(times: NDArray[np.int64], values: NDArray[np.float64]) -> Iterator[Jump]:
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


# --- words -------------------------------------------------------------------------------------


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _warnings(found: Quality) -> Iterator[str]:
    missing = {column: count for column, count in found.missing.items() if count}
    if missing.get("volume") == found.rows and found.rows:
        yield "there is no volume: indicators that need it have no value"
        del missing["volume"]
    if missing:
        yield "missing values: " + ", ".join(f"{_count(count, 'bar')} without {column}" for column, count in missing.items())
    gaps = found.gaps
    if gaps.longest_at is not None:
        longest = f"the longest of {gaps.longest} after {time_text(gaps.longest_at)}"
        yield f"{_count(gaps.count, 'gap')} ({_count(gaps.bars, 'bar')} missing), {longest}"
    for stretches, what in ((found.zero_volume, "without volume"), (found.constant, "with one and the same close")):
        if stretches.longest_at is not None:
            longest = f"{_count(stretches.longest, 'bar')} from {time_text(stretches.longest_at)}"
            yield f"{_count(stretches.count, 'stretch' if stretches.count == 1 else 'stretche')} {what}, the longest of {longest}"
    if found.splits:
        shown = ", ".join(f"{time_text(jump.time)} ({jump.split})" for jump in found.splits[:_EXAMPLES])
        yield f"{_count(len(found.splits), 'jump')} like an unadjusted split: {shown}; load adjusted prices (--adjust)"
    if found.off_grid_first is not None:
        yield _off_grid(found.off_grid, found.timeframe, found.off_grid_first)


def _off_grid(number: int, timeframe: str, first: int) -> str:
    return f"{_count(number, 'stamp')} off the {timeframe} grid, the first at {time_text(first)}"


def off_grid_warning(times: NDArray[np.int64], timeframe: str) -> str | None:
    """A sentence if some of the times (µs) are no opens of the timeframe."""
    where = _slots(times, timeframe)[1]
    return _off_grid(len(where), timeframe, int(times[where[0]])) if len(where) else None


# --- errors ------------------------------------------------------------------------------------


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
    frame: pd.DataFrame, symbol: str, timeframe: str, minimum_rows: int = MINIMUM_ROWS, *, needs_volume: bool = True
) -> list[str]:
    """The warnings about bars that may be trained on; DataError, with a count and the first time, about others.

    A missing volume counts only where something needs it.
    """
    series = f"{symbol} {timeframe}"
    _check_shape(frame, series, minimum_rows)
    times, values = bar_times(frame), bar_values(frame)
    backward = np.flatnonzero(times[1:] <= times[:-1]) + 1
    if len(backward):
        first = time_text(times[backward[0]])
        raise DataError(f"{series}: the times do not strictly increase at {_count(len(backward), 'bar')}, first at {first}")
    if not _sound(values):
        _check_missing(times, values, series, needs_volume)
        for fault, where in bar_faults(values):
            raise DataError(f"{series}: {_count(len(where), 'bar')} with {fault}, first at {time_text(times[where[0]])}")
    return [f"{series}: {warning}" for warning in quality(frame, timeframe).warnings()]


def _check_shape(frame: pd.DataFrame, series: str, minimum_rows: int) -> None:
    lacking = [column for column in BAR_COLUMNS if column not in frame.columns]
    if lacking:
        raise DataError(f"{series}: no column {', '.join(lacking)}; wanted {', '.join(BAR_COLUMNS)}")
    if not isinstance(frame.index, pd.DatetimeIndex) or str(frame.index.tz) != "UTC":
        raise DataError(f"{series}: the bars are not stamped in UTC, wanted a DatetimeIndex with the time zone UTC")
    if len(frame) < minimum_rows:
        raise DataError(f"{series}: {_count(len(frame), 'bar')} in the range, wanted at least {minimum_rows}")


def _check_missing(times: NDArray[np.int64], values: NDArray[np.float64], series: str, needs_volume: bool) -> None:
    """A series wholly without volume may pass: prices alone train most strategies."""
    missing = np.isnan(values[: len(PRICE_COLUMNS)]).any(axis=0)
    no_volume = np.isnan(values[4])
    if needs_volume and not no_volume.all():
        missing |= no_volume
    number = int(np.count_nonzero(missing))
    share = number / max(len(times), 1)
    if share > LARGEST_MISSING_SHARE:
        raise DataError(
            f"{series}: {_count(number, 'bar')} of {len(times):,} ({share:.1%}) have a missing value,"
            f" wanted at most {LARGEST_MISSING_SHARE:.0%}; first at {time_text(times[np.argmax(missing)])}"
        )
