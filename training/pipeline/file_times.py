"""The time column of a foreign file → the opens of its bars in µs UTC. Nothing is assumed about a zone or a day's order."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.vocabulary import nearest
from training.pipeline.coverage import DataError
from training.pipeline.frames import Rows, time_text
from training.pipeline.spacing import wrong_timeframe

Times = NDArray[np.int64]
#: Bars of these are stamped with their date, whatever zone the file speaks of.
DATED = ("1d", "1w")
_DAY = 86_400_000_000
_ZONE = r"\s*(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)$"
#: A zone can only follow a clock; `2020-01-02` does not end in one.
_CLOCK_AND_ZONE = r"[T ]\d{1,2}:?\d{2}.*?" + _ZONE
_NUMBER = r"\d+(?:\.\d*)?"
_DAY_AND_MONTH = r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})"


@dataclass(frozen=True)
class _Stamps:
    """wall: what the file's clock shows, in µs as if it were UTC; instants: the same in µs UTC, where the file says so."""

    wall: Times
    instants: Times | None


def opens_of(column: pd.Series, timeframe: str, tz: str | None, rows: Rows) -> tuple[Times, list[str]]:
    """The opens of the bars, int64 (n,) µs in file order, and notes; `tz` is the zone of stamps that name none."""
    zone = _zone(tz)
    empty = np.flatnonzero(column.isna())
    if len(empty):
        raise DataError(f"{rows.named(empty)}: no time")
    stamps = _stamps(column, rows)
    if timeframe in DATED:
        if stamps.instants is not None and zone is not None:
            local = _index(stamps.instants).tz_localize("UTC").tz_convert(zone).tz_localize(None)
            stamps = _Stamps(_microseconds(local), stamps.instants)
        return _dates(stamps.wall, timeframe, rows)
    if stamps.instants is not None:
        return stamps.instants, ["the times carry their own zone; --tz was not used"] if zone else []
    if zone is None:
        first = time_text(stamps.wall[0])
        raise DataError(
            f"the times, such as {first}, name no time zone; give it with --tz, such as --tz UTC or --tz Europe/Berlin"
        )
    return _localized(stamps.wall, zone, rows), []


def _zone(tz: str | None) -> zoneinfo.ZoneInfo | None:
    if tz is None:
        return None
    try:
        return zoneinfo.ZoneInfo(tz)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = nearest(tz, zoneinfo.available_timezones())
        raise DataError(
            f"unknown time zone '{tz}', wanted a name such as Europe/Berlin" + (f"; did you mean {near}?" if near else "")
        ) from error


def _index(times: Times) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times.view("M8[us]"))


def _microseconds(stamps: pd.DatetimeIndex | pd.Series) -> Times:
    times: Times = pd.DatetimeIndex(stamps).as_unit("us").asi8
    return times


# --- from cells to clocks ----------------------------------------------------------------------


def _stamps(column: pd.Series, rows: Rows) -> _Stamps:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return _Stamps(_microseconds(column.dt.tz_localize(None)), _microseconds(column.dt.tz_convert("UTC")))
    if pd.api.types.is_datetime64_dtype(column.dtype):
        return _Stamps(_microseconds(column), None)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return _numeric_stamps(column.to_numpy(), column, rows)
    text = column.astype(str).str.strip()
    if re.fullmatch(_NUMBER, text.iloc[0]) and text.str.fullmatch(_NUMBER).all():
        whole = text.str.fullmatch(r"\d+").all() and text.astype(np.float64).max() < 2**63
        return _numeric_stamps(text.astype(np.int64 if whole else np.float64).to_numpy(), text, rows)
    return _iso_stamps(text, rows) or _text_stamps(text, rows)


def _iso_stamps(text: pd.Series, rows: Rows) -> _Stamps | None:
    """ISO 8601 throughout, forty times as fast as looking at each text; None for anything else."""
    try:
        if _ends_in_offset(text):
            instants = pd.to_datetime(text, format="ISO8601", utc=True)
            return _Stamps(_microseconds(pd.to_datetime(text.str.slice(0, -6), format="ISO8601")), _microseconds(instants))
        return _stamps(pd.to_datetime(text, format="ISO8601"), rows)
    except (ValueError, OverflowError):
        return None


def _ends_in_offset(text: pd.Series) -> bool:
    """Whether every text ends like +05:30; offsets that change with daylight saving pandas reads only when told so."""
    signs = text.str.slice(-6, -5)
    return bool((((signs == "+") | (signs == "-")) & (text.str.slice(-3, -2) == ":")).all())


def _numeric_stamps(numbers: NDArray[np.int64] | NDArray[np.float64], cells: pd.Series, rows: Rows) -> _Stamps:
    """YYYYMMDD, or seconds, milli-, micro- or nanoseconds since 1970 (always UTC), told apart by their size."""
    if ((numbers >= 19_000_101) & (numbers <= 21_001_231)).all():
        return _text_stamps(pd.Series(numbers.astype(np.int64)).astype(str), rows)
    largest = np.abs(numbers).max()
    if not np.isfinite(largest) or largest >= 1e20:
        worst = np.array([int(np.argmax(np.abs(numbers)))])
        raise DataError(f"{rows.named(worst)}: '{cells.iloc[int(worst[0])]}' is no time since 1970")
    factor = 1_000_000 if largest < 1e11 else 1000 if largest < 1e14 else 1
    times = (numbers // 1000 if largest >= 1e17 else np.round(numbers * factor)).astype(np.int64)
    return _Stamps(times, times)


def _text_stamps(text: pd.Series, rows: Rows) -> _Stamps:
    zoned = text.str.contains(_CLOCK_AND_ZONE).to_numpy(bool)
    if zoned.any() and not zoned.all():
        few = np.flatnonzero(zoned if zoned.sum() * 2 < len(zoned) else ~zoned)
        raise DataError(f"{rows.named(few)}: some times name a time zone and some, such as '{text[~zoned].iloc[0]}', do not")
    wall = _parsed(_iso(text.str.replace(_ZONE, "", regex=True) if zoned.all() else text), rows)
    if not zoned.all():
        return _Stamps(wall, None)
    offset = text.str.extract(r"([+-])(\d{2}):?(\d{2})?$").fillna({0: "+", 1: "0", 2: "0"})
    minutes = (offset[1].astype(np.int64) * 60 + offset[2].astype(np.int64)).to_numpy()
    return _Stamps(wall, wall - np.where(offset[0] == "-", -minutes, minutes) * 60_000_000)


def _iso(text: pd.Series) -> pd.Series:
    """Dates as YYYY-MM-DD. Which of two numbers is the month must follow from the file as a whole."""
    text = text.str.replace(r"^(\d{4})[./](\d{1,2})[./](\d{1,2})", r"\1-\2-\3", regex=True)
    text = text.str.replace(r"^(\d{4})(\d{2})(\d{2})(?=$|[T ])", r"\1-\2-\3", regex=True)
    text = text.str.replace(r"^(\S+)[T ](\d{2})(\d{2})(\d{2})?$", r"\1 \2:\3:\4", regex=True).str.rstrip(":")
    parts = text.str.extract(_DAY_AND_MONTH)
    if parts.isna().to_numpy().any():
        return text
    first, second = parts[0].astype(int), parts[1].astype(int)
    if (first.max() > 12) == (second.max() > 12):
        raise DataError(f"'{text.iloc[0]}' may begin with a day or with a month, wanted dates as YYYY-MM-DD")
    day, month = (first, second) if first.max() > 12 else (second, first)
    date = parts[2] + "-" + month.astype(str).str.zfill(2) + "-" + day.astype(str).str.zfill(2)
    return date + text.str.replace(_DAY_AND_MONTH, "", regex=True)


def _parsed(text: pd.Series, rows: Rows) -> Times:
    """Clock texts in one format as µs; the format is ISO 8601, or else that of the first row."""
    try:
        return _microseconds(pd.to_datetime(text, format="ISO8601"))
    except (ValueError, OverflowError):
        parsed = _guessed(text)
    wrong = np.flatnonzero(parsed.isna())
    if len(wrong):
        raise DataError(f"{rows.named(wrong[:1])}: '{text.iloc[int(wrong[0])]}' is not a time, wanted such as 2020-01-31 09:30")
    return _microseconds(parsed)


def _guessed(text: pd.Series) -> pd.Series:
    """Times in ISO 8601 or in the first row's own format, whichever reads more rows; NaT for the rest."""
    attempts = [pd.to_datetime(text, format="ISO8601", errors="coerce")]
    guess = pd.tseries.api.guess_datetime_format(str(text.iloc[0]))
    if guess is not None and "%Y" in guess:
        attempts.append(pd.to_datetime(text, format=guess, errors="coerce"))
    return max(attempts, key=lambda parsed: int(parsed.notna().sum()))


# --- from clocks to opens ----------------------------------------------------------------------


def _dates(wall: Times, timeframe: str, rows: Rows) -> tuple[Times, list[str]]:
    """Days at 00:00 UTC. A stamp in the second half of a day may mean the next one (22:00 UTC is midnight in Berlin)."""
    wrong = wrong_timeframe(np.unique(wall), timeframe)
    if wrong is not None and not wrong.is_longer:  # hours within a day, which would all become that day
        raise DataError(wrong.sentence)
    days = wall // _DAY * _DAY
    late = np.flatnonzero(wall - days >= _DAY // 2)
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
    for day in np.unique(wall[twice] // _DAY):
        passes = twice[wall[twice] // _DAY == day]
        back = np.flatnonzero(np.diff(wall[passes]) <= 0)
        if len(back) != 1:
            first = time_text(wall[passes[0]])
            raise DataError(
                f"{rows.named(np.sort(passes))}: {first} comes twice in {zone.key}, when the clocks are put back, and the rows"
                " do not show both passes in order; wanted both, or times with their offset from UTC"
            )
        summer[passes[: back[0] + 1]] = True
    return _microseconds(index.tz_localize(zone, ambiguous=summer).tz_convert("UTC"))
