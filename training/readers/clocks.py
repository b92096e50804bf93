"""Times as people write them → what the file's clock shows, in µs as if it were UTC, and the zone that the texts name.

One form for the whole file: which of two numbers is the month must follow from all of its rows, or is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.pipeline.frames import Rows
from training.store.coverage import DAY, DataError
from training.store.reading import Asked

Times = NDArray[np.int64]
_OFFSET = r"\s*(?:Z|UTC|(?:GMT|UTC)?[+-]\d{1,2}(?::?\d{2})?|GMT)$"
#: A zone can only follow a clock; `2020-01-02` does not end in one.
_CLOCK_AND_OFFSET = r"[T ]\d{1,2}:?\d{2}.*?" + _OFFSET
_NAMED_ZONE = r"\s+([A-Z][A-Za-z]+(?:/[A-Z][A-Za-z_]+)+)$"
_LETTERS = r"\d\s*([A-Z]{2,5})$"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?P<name>[A-Za-z]{3,9})\.?"
_Y, _M, _D = r"(?P<year>\d{4})", r"(?P<month>\d{1,2})", r"(?P<day>\d{1,2})"
_TWO = r"(?P<first>\d{1,2})(?P<mark>[./-])(?P<second>\d{1,2})[./-]" + _Y
#: A weekday may stand before a date.
_DATES = (
    rf"{_Y}[-./]{_M}[-./]{_D}",
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})",
    _TWO,
    rf"(?:[A-Za-z]{{3,9}},? )?{_D}(?:st|nd|rd|th)?[-/. ]\s?{_MONTH}[-/., ]\s?{_Y}",
    rf"(?:[A-Za-z]{{3,9}},? )?{_MONTH}[-/. ]\s?{_D}(?:st|nd|rd|th)?(?:, ?|[-/ ]){_Y}",
    rf"{_Y}[-/ ]{_MONTH}[-/ ]{_D}",
)
_CLOCKS = (
    r"(?P<h>\d{1,2}):(?P<m>\d{2})(?::(?P<s>\d{2})(?:[.,](?P<f>\d{1,9}))?)?:?\s*(?P<half>[AaPp]\.?[Mm]\.?)?",
    r"(?P<h>\d{2})(?P<m>\d{2})(?P<s>\d{2})?",
    r"(?P<h>\d{1,2})[- ]?(?P<half>[AaPp]\.?[Mm]\.?)",
)
WANTED = "wanted such as 2020-01-31 09:30; another form is told by --date-format, such as %d/%m/%Y"


@dataclass(frozen=True)
class Stamps:
    """wall: what the file's clock shows, in µs as if it were UTC; instants: the same in µs UTC, where the file says so.

    zone: the name of a zone that stands behind every time. notes: how the times were read.
    """

    wall: Times
    instants: Times | None
    zone: str = ""
    notes: tuple[str, ...] = ()


def stamps_of(text: pd.Series, rows: Rows, *, month_first: bool = False) -> Stamps:
    """Times as texts, each with a date and perhaps a clock and a zone; DataError for what is none."""
    if text.str.contains(r"\s\s|[^\S ]").any():
        text = text.str.replace(r"\s+", " ", regex=True)
    lettered = text.str.contains(r"[A-Za-z]$").any()
    text, zone = _without_named_zone(text, rows) if lettered else (text, "")
    signed = text.str.slice(10).str.contains(r"[+-]").any()
    zoned = text.str.contains(_CLOCK_AND_OFFSET).to_numpy(bool) if lettered or signed else np.zeros(len(text), bool)
    if zoned.any() and not zoned.all():
        few = np.flatnonzero(zoned if zoned.sum() * 2 < len(zoned) else ~zoned)
        raise DataError(f"{rows.named(few)}: some times name a time zone and some, such as '{text[~zoned].iloc[0]}', do not")
    wall, notes = _wall(text.str.replace(_OFFSET, "", regex=True) if zoned.all() else text, rows, month_first)
    if not zoned.all():
        return Stamps(wall, None, zone, notes)
    offset = text.str.extract(r"([+-])(\d{1,2}):?(\d{2})?$").fillna({0: "+", 1: "0", 2: "0"})
    minutes = (offset[1].astype(np.int64) * 60 + offset[2].astype(np.int64)).to_numpy()
    return Stamps(wall, wall - np.where(offset[0] == "-", -minutes, minutes) * 60_000_000, "", notes)


def _without_named_zone(text: pd.Series, rows: Rows) -> tuple[pd.Series, str]:
    """Texts without `America/New_York` behind them, and that zone; one for all, or it is an error."""
    named = text.str.extract(_NAMED_ZONE)[0]
    if named.isna().all():
        lettered = text.str.extract(_LETTERS)[0]
        unknown = np.flatnonzero((lettered.notna() & ~lettered.isin(["UTC", "GMT", "AM", "PM"])).to_numpy(bool))
        if len(unknown):
            name = lettered.iloc[int(unknown[0])]
            raise DataError(
                f"{rows.named(unknown)}: '{text.iloc[int(unknown[0])]}' ends in {name}, letters that several time zones share;"
                " wanted an offset such as -05:00, or --date-format with the letters in it and --tz of the zone"
            )
        return text, ""
    other = np.flatnonzero((named != named.mode().iloc[0]).to_numpy(bool))
    if len(other):
        raise DataError(
            f"{rows.named(other)}: times of several zones, '{text.iloc[int(other[0])]}' beside {named.mode().iloc[0]},"
            " wanted one zone or offsets from UTC"
        )
    return text.str.replace(_NAMED_ZONE, "", regex=True), str(named.iloc[0])


def _wall(text: pd.Series, rows: Rows, month_first: bool) -> tuple[Times, tuple[str, ...]]:
    """µs of texts in one form."""
    if re.match(r"\d{4}\.\d{2}\.\d{2}(?: |$)", str(text.iloc[0])):  # as MetaTrader: most of the way to ISO
        text = text.str.slice(0, 10).str.replace(".", "-", regex=False) + text.str.slice(10)
    quick = iso_wall(text)
    if quick is not None:
        return quick, ()
    quick, notes = _quick_days(text, rows, month_first)
    if quick is not None:
        return quick, notes
    date, clock = _split(text, rows)
    days, notes = _days(date, text, rows, month_first)
    return days + _of_day(clock, text, rows), notes


def _quick_days(text: pd.Series, rows: Rows, month_first: bool) -> tuple[Times | None, tuple[str, ...]]:
    """As `_days` and `_of_day`, for dates of two, two and four digits throughout: ten times as fast; None for anything else."""
    if not re.match(r"\d\d[./-]\d\d[./-]\d{4}", str(text.iloc[0])):
        return None, ()
    marks = set(text.str.slice(2, 3)) | set(text.str.slice(5, 6))
    first, second = text.str.slice(0, 2), text.str.slice(3, 5)
    if not (marks <= {".", "/", "-"} and (first.str.isdigit() & second.str.isdigit()).all()):
        return None, ()
    numbers = first.astype(np.int64).to_numpy(), second.astype(np.int64).to_numpy()
    month_is_first, notes = _order(*numbers, marks, text, rows, month_first)
    month, day = (first, second) if month_is_first else (second, first)
    return iso_wall(text.str.slice(6, 10) + "-" + month + "-" + day + text.str.slice(10)), notes


def iso_wall(text: pd.Series) -> Times | None:
    """µs of naive texts that are ISO 8601 throughout, forty times as fast as looking at each; None for anything else."""
    try:
        stamps = pd.to_datetime(text, format="ISO8601")
    except (ValueError, OverflowError):
        return None
    return microseconds(stamps) if pd.api.types.is_datetime64_dtype(stamps.dtype) else None


def microseconds(stamps: pd.DatetimeIndex | pd.Series) -> Times:
    times: Times = pd.DatetimeIndex(stamps).as_unit("us").asi8
    return times


def _parts(text: pd.Series, forms: Iterable[str], present: str) -> pd.DataFrame:
    """What the groups of a form match in each text, for the form that most texts have: those in which group `present` matched."""
    best, most = pd.DataFrame(), -1
    for form in forms:
        parts = text.str.extract(form)
        fitting = int(parts[present].notna().sum())
        if fitting > most:
            best, most = parts, fitting
        if fitting == len(text):
            break
    return best


def _split(text: pd.Series, rows: Rows) -> tuple[pd.DataFrame, pd.Series]:
    """The parts of each date, and the clock behind it."""
    best = _parts(text, (rf"^{date}(?:(?:[T ,;]+)(?P<clock>\S.*))?$" for date in _DATES), "year")
    wrong = np.flatnonzero(best["year"].isna().to_numpy(bool))
    if len(wrong):
        raise _no_time(text, rows, int(wrong[0]))
    return best, best["clock"].fillna("00:00")


def _no_time(text: pd.Series, rows: Rows, position: int) -> DataError:
    seen = str(text.iloc[position])
    rounded = " (a spreadsheet has rounded it)" if re.fullmatch(r"\d[.,]\d+[eE]\+?\d+", seen) else ""
    return Asked(f"{rows.named(np.array([position]))}: '{seen}' is not a time{rounded}, {WANTED}", "date_format")


def _days(parts: pd.DataFrame, text: pd.Series, rows: Rows, month_first: bool) -> tuple[Times, tuple[str, ...]]:
    """µs of the dates at midnight, and how the file was understood."""
    notes: tuple[str, ...] = ()
    year = parts["year"].astype(np.int64).to_numpy()
    if "first" in parts:
        first, second = parts["first"].astype(np.int64).to_numpy(), parts["second"].astype(np.int64).to_numpy()
        month_is_first, notes = _order(first, second, set(parts["mark"]), text, rows, month_first)
        month, day = (first, second) if month_is_first else (second, first)
    else:
        day = parts["day"].astype(np.int64).to_numpy()
        if "name" in parts:
            names = parts["name"].str.slice(0, 3).str.lower()
            unknown = np.flatnonzero(~names.isin(_MONTHS).to_numpy(bool))
            if len(unknown):
                raise _no_time(text, rows, int(unknown[0]))
            month = names.map({name: number for number, name in enumerate(_MONTHS, 1)}).to_numpy(np.int64)
        else:
            month = parts["month"].astype(np.int64).to_numpy()
    months = (year - 1970) * 12 + np.clip(month, 1, 12) - 1
    dates = months.astype("M8[M]").astype("M8[D]") + (day - 1)
    wrong = np.flatnonzero((month < 1) | (month > 12) | (day < 1) | (dates.astype("M8[M]").astype(np.int64) != months))
    if len(wrong):
        raise _no_time(text, rows, int(wrong[0]))
    return dates.astype(np.int64) * DAY, notes


def _order(
    first: Times, second: Times, marks: set[str], text: pd.Series, rows: Rows, month_first: bool
) -> tuple[bool, tuple[str, ...]]:
    """Whether the month stands first: by a number above twelve anywhere, by the layout, or by dots, which no one writes
    between month and day."""
    late, early = np.flatnonzero(first > 12), np.flatnonzero(second > 12)
    if len(late) and len(early):
        raise Asked(
            f"{rows.named(late[:1])}: '{text.iloc[int(late[0])]}' begins with a day and {rows.named(early[:1])}:"
            f" '{text.iloc[int(early[0])]}' with a month, wanted one order",
            "date_format",
        )
    if len(late):
        return False, ()
    if len(early):
        return True, ()
    if month_first:
        return True, ()
    if marks == {"."}:
        return False, ("dates are read day first, as their dots say",)
    mark = sorted(marks)[0]
    raise Asked(
        f"'{text.iloc[0]}' may begin with a day or with a month, wanted dates as YYYY-MM-DD,"
        f" or --date-format %d{mark}%m{mark}%Y or %m{mark}%d{mark}%Y",
        "date_format",
    )


def _of_day(clock: pd.Series, text: pd.Series, rows: Rows) -> Times:
    """µs since midnight; 24:00 is the end of the day."""
    best = _parts(clock.str.strip(), (rf"^{form}$" for form in _CLOCKS), "h")
    wrong = best["h"].isna().to_numpy(bool, copy=True)
    parts = {name: best[name].fillna("0").astype(np.int64).to_numpy() for name in ("h", "m", "s") if name in best}
    hour, zero = parts["h"], np.zeros(len(clock), np.int64)
    minute, second = parts.get("m", zero), parts.get("s", zero)
    fraction = best["f"].fillna("0").str.slice(0, 6).str.ljust(6, "0").astype(np.int64).to_numpy() if "f" in best else zero
    if "half" in best:
        half = best["half"].fillna("").str.lower().str.slice(0, 1)
        told = (half != "").to_numpy(bool)
        wrong |= told & ((hour < 1) | (hour > 12))
        hour = np.where(told, hour % 12 + 12 * (half == "p").to_numpy(), hour)
    wrong |= (hour > 24) | (minute > 59) | (second > 59) | ((hour == 24) & ((minute > 0) | (second > 0) | (fraction > 0)))
    if wrong.any():
        raise _no_time(text, rows, int(np.flatnonzero(wrong)[0]))
    of_day: Times = ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction
    return of_day


def formatted(text: pd.Series, form: str, rows: Rows) -> Stamps:
    """Times in a form that was given, as strptime has it."""
    try:
        zoned = "%z" in form
        stamps = pd.to_datetime(text, format=form, errors="coerce", utc=zoned or None)
    except (ValueError, OverflowError, re.error) as error:
        raise DataError(f"'{form}' is no form of dates, wanted such as %d/%m/%Y %H:%M ({error})") from error
    wrong = np.flatnonzero(stamps.isna())
    if len(wrong):
        raise DataError(f"{rows.named(wrong[:1])}: '{text.iloc[int(wrong[0])]}' is not a time of the form {form}")
    if not zoned:
        return Stamps(microseconds(stamps), None)
    instants = microseconds(stamps)
    offsets = text.str.extract(r"([+-])(\d{2}):?(\d{2})\D*$").fillna({0: "+", 1: "0", 2: "0"})
    minutes = (offsets[1].astype(np.int64) * 60 + offsets[2].astype(np.int64)).to_numpy()
    return Stamps(instants + np.where(offsets[0] == "-", -minutes, minutes) * 60_000_000, instants)
