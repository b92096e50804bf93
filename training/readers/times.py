"""The time column of a foreign file → the opens of its bars in µs UTC. Nothing is assumed about a zone or a day's order."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import nearest
from training.pipeline.frames import Rows, time_text
from training.pipeline.spacing import wrong_timeframe
from training.readers.clocks import Stamps, Times, formatted, iso_wall, microseconds, stamps_of
from training.store.coverage import DAY, DataError, day_start
from training.store.reading import Asked

#: Bars of these are stamped with their date, whatever zone the file speaks of.
DATED = ("1d", "1w")
_NUMBER = r"-?\d+(?:\.\d*)?"
_FIRST_YEAR = 1900
#: µs per unit of numbers since 1970, nanoseconds aside.
_UNITS = (1_000_000, 1000, 1)
#: Smaller numbers are no seconds since 1970 that a bar would have: what counts days, or rows, is below.
_FEW = 10_000_000
#: 1973 in each unit.
_LATER = (1e8, 1e11, 1e14, 1e17)
#: Excel's day 0, and the first of its days that is taken for one: before, it may as well be a day since 1970.
_EXCEL = -25_569 * DAY
_EXCEL_FIRST = 25_569
#: How many digits dates without marks have, to how they are read.
_BY_DIGITS = {8: "YYYYMMDD", 10: "YYYYMMDDHH", 12: "YYYYMMDDHHMM", 14: "YYYYMMDDHHMMSS"}


@dataclass(frozen=True)
class Known:
    """What is known of a file's times beside the times. zone: of times that name none, if `tz` does not say it, and zone_words:
    how that is said; named: whether the file itself names it; month_first: of 07/30/2019; date_format: as it was given."""

    zone: str = ""
    zone_words: str = ""
    named: bool = False
    month_first: bool = False
    date_format: str = ""


def opens_of(
    column: pd.Series,
    timeframe: str,
    tz: str | None,
    rows: Rows,
    known: Known = Known(),
) -> tuple[Times, list[str]]:
    """The opens of the bars, int64 (n,) µs in file order, and notes; `tz` is the zone of stamps that name none."""
    zone = _zone(tz)
    empty = np.flatnonzero(column.isna())
    if len(empty):
        raise DataError(f"{rows.named(empty)}: no time")
    stamps = _stamps(column, rows, known)
    _refuse_far(stamps.wall, rows)
    notes = list(stamps.notes)
    if timeframe in DATED:
        if stamps.instants is not None and zone is not None:
            local = _index(stamps.instants).tz_localize("UTC").tz_convert(zone).tz_localize(None)
            stamps = Stamps(microseconds(local), stamps.instants)
        opens, more = _dates(stamps.wall, timeframe, rows)
        return opens, notes + more
    if stamps.instants is not None:
        return stamps.instants, notes + (["the times carry their own zone; --tz was not used"] if zone else [])
    if stamps.zone:
        told = f"times are those of {stamps.zone}, which they name" + ("; --tz was not used" if zone else "")
        return _localized(stamps.wall, _required(stamps.zone), rows), [*notes, told]
    if known.zone and (zone is None or known.named):
        told = known.zone_words + ("; --tz was not used" if zone else "")
        return _localized(stamps.wall, _required(known.zone), rows), [*notes, told]
    if zone is None:
        first = time_text(stamps.wall[0])
        raise Asked(
            f"the times, such as {first}, name no time zone; give it with --tz, such as --tz UTC or --tz Europe/Berlin", "tz"
        )
    return _localized(stamps.wall, zone, rows), notes


def _zone(tz: str | None) -> zoneinfo.ZoneInfo | None:
    return None if tz is None else _required(tz)


def _required(tz: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(tz)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = nearest(tz, zoneinfo.available_timezones())
        raise DataError(
            f"unknown time zone '{tz}', wanted a name such as Europe/Berlin" + (f"; did you mean {near}?" if near else "")
        ) from error


def _index(times: Times) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times.view("M8[us]"))


def _refuse_far(wall: Times, rows: Rows) -> None:
    """DataError for a year in which no bar can be: a wrong unit, a wrong column, a cipher too many."""
    far = np.flatnonzero((wall < day_start(dt.date(_FIRST_YEAR, 1, 1))) | (wall >= day_start(dt.date(_last_year() + 1, 1, 1))))
    if len(far):
        raise _cannot_be(time_text(wall[far[0]]), far, rows)


def _last_year() -> int:
    return dt.datetime.now(dt.UTC).year + 1


def _cannot_be(shown: str, where: NDArray[np.int64], rows: Rows) -> DataError:
    return DataError(
        f"{rows.named(where)}: {shown} cannot be the time of a bar, wanted years from {_FIRST_YEAR} to {_last_year()}"
    )


# --- from cells to clocks ----------------------------------------------------------------------


def _stamps(column: pd.Series, rows: Rows, known: Known) -> Stamps:
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        far = np.flatnonzero((column.dt.year < _FIRST_YEAR) | (column.dt.year > _last_year()))
        if len(far):  # before the unit of it is made ours, which not every year bears
            index = pd.DatetimeIndex(column)
            raise _cannot_be(str(np.datetime64(int(index.asi8[far[0]]), index.unit)), far, rows)
        zoned = isinstance(column.dtype, pd.DatetimeTZDtype)
        return _zoned(column) if zoned else Stamps(microseconds(column), None)
    if pd.api.types.is_bool_dtype(column.dtype):
        raise DataError(f"{rows.named(np.array([0]))}: '{column.iloc[0]}' is not a time")
    if pd.api.types.is_numeric_dtype(column.dtype):
        return _numbered(column.to_numpy(), column, rows)
    text = column.astype(str).str.strip()
    if known.date_format:
        return formatted(text, known.date_format, rows)
    if re.fullmatch(_NUMBER, text.iloc[0]) and _all_numbers(text, rows):
        whole = text.str.fullmatch(r"-?\d{1,18}").all()
        return _numbered(text.astype(np.int64 if whole else np.float64).to_numpy(), text, rows)
    return _iso_stamps(text) or stamps_of(text, rows, month_first=known.month_first)


def _zoned(column: pd.Series) -> Stamps:
    return Stamps(microseconds(column.dt.tz_localize(None)), microseconds(column.dt.tz_convert("UTC")))


def _all_numbers(text: pd.Series, rows: Rows) -> bool:
    """Whether every text is a number; DataError where most are, and one is not."""
    numbers = text.str.fullmatch(_NUMBER).to_numpy(bool)
    if not numbers.all() and numbers.mean() > 0.5:
        other = np.flatnonzero(~numbers)
        raise DataError(f"{rows.named(other)}: '{text.iloc[int(other[0])]}' is not a time as the other rows have it, a number")
    return bool(numbers.all())


def _iso_stamps(text: pd.Series) -> Stamps | None:
    """ISO 8601 throughout, forty times as fast as looking at each text; None for anything else."""
    try:
        if _ends_in_offset(text):
            instants = pd.to_datetime(text, format="ISO8601", utc=True)
            return Stamps(microseconds(pd.to_datetime(text.str.slice(0, -6), format="ISO8601")), microseconds(instants))
        stamps = pd.to_datetime(text, format="ISO8601")
    except (ValueError, OverflowError):
        return None
    if isinstance(stamps.dtype, pd.DatetimeTZDtype):
        return _zoned(stamps)
    return Stamps(microseconds(stamps), None) if pd.api.types.is_datetime64_dtype(stamps.dtype) else None


def _ends_in_offset(text: pd.Series) -> bool:
    """Whether every text ends like +05:30; offsets that change with daylight saving pandas reads only when told so."""
    signs = text.str.slice(-6, -5)
    return bool((((signs == "+") | (signs == "-")) & (text.str.slice(-3, -2) == ":")).all())


# --- numbers -----------------------------------------------------------------------------------


def _numbered(numbers: NDArray[np.int64] | NDArray[np.float64], cells: pd.Series, rows: Rows) -> Stamps:
    """Dates without marks, Excel's days, or seconds, milli-, micro- or nanoseconds since 1970 (always UTC)."""
    wild = np.flatnonzero(~np.isfinite(numbers) | (np.abs(numbers) >= 1e20))
    if len(wild):
        raise DataError(f"{rows.named(wild)}: '{cells.iloc[int(wild[0])]}' is no time since 1970")
    dates = _unmarked_dates(numbers, cells, rows)
    if dates is not None:
        return dates
    if (np.abs(numbers) < _FEW).all():
        return _excel(numbers, cells, rows)
    return _since_1970(numbers, cells, rows)


def _unmarked_dates(numbers: NDArray[np.int64] | NDArray[np.float64], cells: pd.Series, rows: Rows) -> Stamps | None:
    """Numbers that are dates when they are read as digits: 20210301, 2021030109, 202103010930, 20210301093000."""
    if (numbers <= 0).any() or (numbers != np.floor(numbers)).any():
        return None
    digits = len(str(int(numbers[0])))
    form = _BY_DIGITS.get(digits)
    if form is None:
        return None
    text = pd.Series(numbers.astype(np.int64)).astype(str)
    clock = {8: "", 10: r"\4:00", 12: r"\4:\5", 14: r"\4:\5:\6"}[digits]
    parts = "".join([r"^(\d{4})", r"(\d\d)" * ((digits - 4) // 2), "$"])
    iso = text.str.replace(parts, rf"\1-\2-\3 {clock}".strip(), regex=True).where(text.str.len() == digits, "")
    wall = iso_wall(iso) if (iso != "").all() else None
    if wall is not None:
        plausible = (wall >= day_start(dt.date(_FIRST_YEAR, 1, 1))) & (wall < day_start(dt.date(_last_year() + 1, 1, 1)))
        return Stamps(wall, None) if plausible.all() or digits == 8 else None
    read = pd.to_datetime(iso, format="ISO8601", errors="coerce")
    years = read.dt.year
    dated = (read.notna() & (years >= _FIRST_YEAR) & (years <= _last_year())).to_numpy(bool)
    if dated.mean() <= 0.5:
        return None
    wrong = np.flatnonzero(~dated)
    raise DataError(
        f"{rows.named(wrong)}: '{cells.iloc[int(wrong[0])]}' is no time of the form {form}, which the other rows have"
    )


def _excel(numbers: NDArray[np.int64] | NDArray[np.float64], cells: pd.Series, rows: Rows) -> Stamps:
    """Days since 1899-12-30, with the time of day as their fraction: to the second, since exports cut the fraction off."""
    beyond = (_last_year() + 1 - 1970) * 366 + _EXCEL_FIRST
    other = np.flatnonzero((numbers < _EXCEL_FIRST) | (numbers > beyond))
    if len(other):
        raise DataError(
            f"{rows.named(other)}: '{cells.iloc[int(other[0])]}' cannot be read as a time:"
            " it is no date, no seconds since 1970 and no Excel day number from 1970 on; wanted such as 2020-01-31 09:30"
        )
    seconds = np.round(numbers.astype(np.float64) * 86_400).astype(np.int64)
    return Stamps(seconds * 1_000_000 + _EXCEL, None, "", ("times are Excel day numbers",))


def _since_1970(numbers: NDArray[np.int64] | NDArray[np.float64], cells: pd.Series, rows: Rows) -> Stamps:
    """Each row in the unit that gives it a year of bars, one for the file or, in a file that changed it, one per row."""
    first, last = (day_start(dt.date(year, 1, 1)) for year in (_FIRST_YEAR, _last_year() + 1))
    bounds = [(first / factor, last / factor) for factor in (*_UNITS, 0.001)]
    unit = np.full(len(numbers), len(bounds))
    for position, (low, high) in reversed(list(enumerate(bounds))):
        unit[(numbers >= low) & (numbers < high)] = position
    none = np.flatnonzero(unit == len(bounds))
    if len(none):
        raise DataError(
            f"{rows.named(none)}: '{cells.iloc[int(none[0])]}' is no time since 1970 in seconds, milli-, micro- or nanoseconds"
        )
    modern = np.abs(numbers) >= np.array([1e9, 1e12, 1e15, 1e18])[unit]
    notes: tuple[str, ...] = ()
    if (unit != unit[0]).any():
        if modern.all():
            changed = int(np.flatnonzero(unit != unit[0])[0])
            names = ("seconds", "milliseconds", "microseconds", "nanoseconds")
            line = rows.named(np.array([changed]))
            notes = (
                f"times are in {names[unit[0]]} and from {line} on in {names[unit[changed]]}: each row is read in its own unit",
            )
        else:
            _refuse_two_units(np.abs(numbers.astype(np.float64)), unit, cells, rows)
            unit[:] = unit.max()
    times = np.empty(len(numbers), np.int64)
    for position, factor in enumerate(_UNITS):
        times[unit == position] = np.round(numbers[unit == position] * factor).astype(np.int64)
    nano = unit == len(_UNITS)
    times[nano] = (numbers[nano] // 1000).astype(np.int64)
    return Stamps(times, times, "", notes)


def _refuse_two_units(sizes: NDArray[np.float64], unit: NDArray[np.int64], cells: pd.Series, rows: Rows) -> None:
    """DataError unless numbers that fit several units are one series in the coarsest of them: it begins in the first days of
    1970, goes on without a leap, and reaches years that no other unit would give."""
    one, other = np.minimum(sizes[1:], sizes[:-1]), np.maximum(sizes[1:], sizes[:-1])
    leaps = np.flatnonzero((one * 10 < other) & (one >= 1e8)) + 1
    if len(leaps) or sizes.max() < _LATER[unit.max()]:
        where = int(leaps[0]) if len(leaps) else int(np.flatnonzero(unit != unit[0])[0])
        raise DataError(
            f"{rows.named(np.array([where]))}: '{cells.iloc[where]}' is in another unit than '{cells.iloc[where - 1]}' before it,"
            " or no time at all; wanted times since 1970 in one unit"
        )


# --- from clocks to opens ----------------------------------------------------------------------


def _dates(wall: Times, timeframe: str, rows: Rows) -> tuple[Times, list[str]]:
    """Days at 00:00 UTC. A stamp in the second half of a day may mean the next one (22:00 UTC is midnight in Berlin)."""
    wrong = wrong_timeframe(np.unique(wall), timeframe)
    if wrong is not None and not wrong.is_longer:  # hours within a day, which would all become that day
        raise DataError(wrong.sentence)
    days = wall // DAY * DAY
    late = np.flatnonzero(wall - days >= DAY // 2)
    if len(late):
        raise DataError(
            f"{rows.named(late)}: a {timeframe} bar stamped {time_text(wall[late[0]])} does not say to which day it belongs;"
            " wanted plain dates, or times with --tz of the zone in which they are midnight"
        )
    return days, [f"{timeframe} bars are stamped with their date: times of day left out"] if (wall != days).any() else []


def _localized(wall: Times, zone: zoneinfo.ZoneInfo, rows: Rows) -> Times:
    """Wall-clock times of a zone as µs UTC. Hours that the clocks repeat are told apart by order, never by guess."""
    index = _index(wall)
    skipped = np.flatnonzero(index.tz_localize(zone, nonexistent="NaT", ambiguous=np.ones(len(wall), bool)).isna())
    if len(skipped):
        first = time_text(wall[skipped[0]])
        raise DataError(f"{rows.named(skipped)}: {first} does not exist in {zone.key}, where the clocks are put forward then")
    twice = np.flatnonzero(index.tz_localize(zone, ambiguous="NaT").isna())
    summer = np.zeros(len(wall), bool)
    if wall[0] > wall[-1]:  # newest first: the order of two passes is the other way round
        twice = twice[::-1]
    for day in np.unique(wall[twice] // DAY):
        passes = twice[wall[twice] // DAY == day]
        back = np.flatnonzero(np.diff(wall[passes]) <= 0)
        if len(back) != 1:
            first = time_text(wall[passes[0]])
            raise DataError(
                f"{rows.named(np.sort(passes))}: {first} comes twice in {zone.key}, when the clocks are put back, and the rows"
                " do not show both passes in order; wanted both, or times with their offset from UTC"
            )
        summer[passes[: back[0] + 1]] = True
    return microseconds(index.tz_localize(zone, ambiguous=summer).tz_convert("UTC"))
