"""Stored series of bars and their rows: load into the store, record, check. The file comes first, then its row in one go.

Imports pandas: only commands, jobs and the demo come here, never the web process.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from dataclasses import replace as replaced
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from django.conf import settings
from django.utils import timezone
from numpy.typing import NDArray

from training.core.files import uninterrupted
from training.core.findings import Finding, counted, iso
from training.jobs import homes
from training.models import BarSeries
from training.pipeline.bars import (
    DataError,
    Merge,
    bar_times,
    bar_values,
    empty_frame,
    file_sha256,
    load_command,
    locked,
    merge_bars,
    read_bars,
    series_origin,
    series_path,
    stored_series,
    write_bars,
)
from training.pipeline.calendars import expected_bars, habit_of, holes, require_calendar
from training.pipeline.misreading import refuse_misread
from training.pipeline.quality import bar_faults, quality
from training.pipeline.spacing import refuse_wrong_timeframe, wrong_timeframe
from training.readers.bar_files import read_bar_file
from training.store.coverage import DAY, day_start
from training.store.origins import UNKNOWN, Origin, origin_after
from training.store.reading import AS_FOUND, Asked, Reading

SAMPLE_BARS = Path(__file__).resolve().parent.parent / "sample_bars"


@dataclass(frozen=True)
class Loaded:
    """What loading did: bars added, the same and replaced, notes on the file, warnings about the series as it is now."""

    series: BarSeries
    merge: Merge
    notes: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class Checked:
    """One series of the store: `sound` if its file can be used; `finding` says what was seen and done."""

    symbol: str
    timeframe: str
    sound: bool
    finding: str


def load_file(
    symbol: str,
    timeframe: str,
    path: Path,
    reading: Reading = AS_FOUND,
    *,
    replace: bool = False,
    calendar: str | None = None,
) -> Loaded:
    """Merge the bars of a file into the store and record the series. calendar: of the exchange; None keeps what is there."""
    series_path(settings.STORE_DIR, symbol, timeframe)  # refuses a bad symbol before the file is read
    if calendar:
        require_calendar(calendar)
    try:
        frame, notes = read_bar_file(path, timeframe, reading, symbol=symbol)
    except Asked as asked:
        before = origin_of(symbol, timeframe)
        if asked.option != "tz" or not before.tz:
            raise
        raise Asked(f"{asked}; last time it was --tz {before.tz}", asked.option) from asked
    return store_frame(
        symbol, timeframe, frame, source=path.name, notes=notes, replace=replace, calendar=calendar, reading=reading
    )


def origin_of(symbol: str, timeframe: str) -> Origin:
    """How a series was read when it was loaded, as far as it is stored."""
    root = Path(settings.STORE_DIR)
    return series_origin(root, symbol, timeframe) if series_path(root, symbol, timeframe).exists() else UNKNOWN


def store_frame(
    symbol: str,
    timeframe: str,
    frame: pd.DataFrame,
    *,
    source: str,
    notes: list[str] | None = None,
    replace: bool = False,
    calendar: str | None = None,
    whole: bool = False,
    reading: Reading | None = None,
) -> Loaded:
    """Merge bars into the store and record the series. Bars that are there already change nothing.

    With `whole` the frame takes the place of all that is stored. reading: how the file was read that they come from; it is
    kept with the series. Refused are bars that are not as far apart as their timeframe says, and the stored ones on another
    price scale or clock (see `refuse_wrong_timeframe` and `refuse_misread`).
    """
    root = homes.require("bars")
    row = BarSeries.objects.filter(symbol=symbol, timeframe=timeframe).first()  # fails here, not after writing, without tables
    with locked(root, symbol, timeframe):
        path = series_path(root, symbol, timeframe)
        stored = read_bars(root, symbol, timeframe) if path.exists() and not whole else empty_frame()
        before = origin_of(symbol, timeframe)
        if whole:  # nothing that is stored was read otherwise
            before = Origin(before.calendar, timeframe_is_right=before.timeframe_is_right)
        calendar = before.calendar if calendar is None else calendar
        origin = replaced(before if reading is None else origin_after(before, reading), calendar=calendar)
        notes = [*(notes or []), *(before.against(origin) if len(stored) else ())]
        told = origin.timeframe_is_right
        try:
            refuse_wrong_timeframe(bar_times(frame), timeframe, told=told)
            refuse_misread(stored, frame, timeframe, before, origin, replace)
            merge = merge_bars(stored, frame, replace)
            refuse_wrong_timeframe(bar_times(frame), timeframe, bar_times(merge.frame), told=told, asks=reading is not None)
        except DataError as error:
            otherwise = "".join(f"; {note}" for note in before.against(origin)) if len(stored) else ""
            raise DataError(f"{symbol} {timeframe}: {error}{otherwise}") from error
        new = merge.added or merge.replaced
        source = source if new or row is None else row.source
        told = told and wrong_timeframe(bar_times(merge.frame), timeframe) is not None  # kept where it is needed
        with uninterrupted():  # the file and its row belong together
            origin = replaced(origin if new else before, calendar=calendar, timeframe_is_right=told)
            changed = new or origin != before
            digest = write_bars(root, symbol, timeframe, merge.frame, origin) if changed else file_sha256(path)
            series, warnings = _record(symbol, timeframe, merge.frame, digest, source, origin)
    return Loaded(series, merge, notes, warnings)


def load_samples(*symbols: str) -> list[Loaded]:
    """Put the bars that come with the project into the store, all of them or those of the symbols."""
    return [
        store_frame(symbol, timeframe, read_bars(SAMPLE_BARS, symbol, timeframe), source="sample bars")
        for symbol, timeframe in stored_series(SAMPLE_BARS)
        if not symbols or symbol in symbols
    ]


def loaded_line(loaded: Loaded) -> str:
    """What loading did, as commands print it."""
    series, merge = loaded.series, loaded.merge
    return (
        f"{series}: {series.rows:,} bars from {series.first:%Y-%m-%d %H:%M} to {series.last:%Y-%m-%d %H:%M} UTC"
        f" ({merge.added:,} added, {merge.same:,} the same, {merge.replaced:,} replaced)"
    )


def _far_away(times: NDArray[np.int64]) -> list[Finding]:
    """A warning about bars of times to come: a wrong column, unit or century."""
    now = day_start(timezone.now().date()) + 2 * DAY
    late = times[times >= now]
    if not len(late):
        return []
    sentence = f"{counted(len(late), 'bar')} after today, the last at {_moment(int(late[-1])):%Y-%m-%d %H:%M}"
    return [Finding("after_today", sentence, len(late), iso(int(late[0])))]


def _record(
    symbol: str, timeframe: str, frame: pd.DataFrame, digest: str, source: str, origin: Origin
) -> tuple[BarSeries, list[str]]:
    times, calendar = bar_times(frame), origin.calendar
    expected, unknown = expected_bars(calendar, timeframe, times)
    habit = habit_of(times, timeframe)
    found = quality(frame, timeframe, calendar, expected, habit)
    findings = [*unknown, *found.findings(), *_far_away(times)]
    warnings = [finding.sentence for finding in findings]
    series, _ = BarSeries.objects.update_or_create(
        symbol=symbol,
        timeframe=timeframe,
        defaults={
            "first": _moment(int(times[0])),
            "last": _moment(int(times[-1])),
            "rows": len(times),
            "sha256": digest,
            "quality": {
                **found.as_dict(),
                "warnings": warnings,
                "origin": {**asdict(origin), "words": origin.words()},
                "holes": holes(frame, timeframe, expected=expected, habit=habit),
                "findings": [finding.plain() for finding in findings],
            },
            "source": source[:255],
        },
    )
    return series, warnings


def _moment(microseconds: int) -> datetime:
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def check_store() -> list[Checked]:
    """Compare every file with its row. A sound file with another row, or none, is recorded anew; the rest is reported.

    Away while the store is not there: no row goes because of that.
    """
    homes.require("bars")
    rows = {(row.symbol, row.timeframe): row for row in BarSeries.objects.all()}
    files = stored_series(Path(settings.STORE_DIR))
    return [_check(symbol, timeframe, rows.get((symbol, timeframe))) for symbol, timeframe in sorted({*rows, *files})]


def _check(symbol: str, timeframe: str, row: BarSeries | None) -> Checked:
    root = Path(settings.STORE_DIR)
    path = series_path(root, symbol, timeframe)
    with locked(root, symbol, timeframe):
        if row is not None and _is_gone(path):
            row.delete()
            finding = f"the file is gone and its row was removed; load it again: {load_command(symbol, timeframe)}"
            return Checked(symbol, timeframe, False, finding)
        try:
            frame = read_bars(root, symbol, timeframe, verify=True)
            _refuse_impossible(frame, path, timeframe, series_origin(root, symbol, timeframe))
        except DataError as error:
            return Checked(symbol, timeframe, False, str(error))
        digest = file_sha256(path)
        if row is not None and row.sha256 == digest:
            return Checked(symbol, timeframe, True, f"{row.rows:,} bars, as recorded")
        _record(symbol, timeframe, frame, digest, row.source if row else "", series_origin(root, symbol, timeframe))
        seen = "was not recorded" if row is None else "was newer than its row"
        return Checked(symbol, timeframe, True, f"{len(frame):,} bars; the file {seen}, which is repaired")


def _is_gone(path: Path) -> bool:
    """Whether a file is not there, in a store that is. One that cannot be reached is not gone."""
    try:
        path.stat()
    except FileNotFoundError:
        homes.require("bars")  # it may have gone as a whole meanwhile
        return True
    except OSError:
        return False  # reading says what is wrong
    return False


def _refuse_impossible(frame: pd.DataFrame, path: Path, timeframe: str, origin: Origin) -> None:
    """A file that was exchanged by hand has sound checksums and may still hold anything."""
    if not frame.index.is_monotonic_increasing or not frame.index.is_unique:
        raise DataError(f"{path} is not in order of time")
    for fault, where in bar_faults(bar_values(frame)):
        raise DataError(f"{path} has {len(where):,} bars with {fault}")
    wrong = wrong_timeframe(bar_times(frame), timeframe)
    if wrong is not None and not (origin.timeframe_is_right and wrong.is_longer):
        raise DataError(f"{path}: {wrong.sentence}")
