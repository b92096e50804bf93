"""What a quick worker says of an uploaded file, and how it loads one; and the sample bars. Never in the web process: pandas."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.jobs.uploads import Upload, UploadError, drop, guess, read

if TYPE_CHECKING:
    import pandas as pd

    from training.readers.bar_files import Table
    from training.store.reading import FirstRows, Reading

#: More rows than these, or more bytes when unpacked, are the command line's work.
MOST_ROWS = 5_000_000
MOST_UNPACKED = 1024**3
#: What reading a file may take beside what the process has: a file of a few bytes can claim to be anything.
MOST_MEMORY = 4 * 1024**3
SHOWN = 5


def inspect_upload(key: str) -> dict[str, Any]:
    """What is in the file: its first rows with the meaning of each column, the timeframe that its times show, range, first
    and last bars, notes, problem and which option would settle it, conflict with what is stored."""
    from training.pipeline.calendars import known_calendars
    from training.readers.bar_files import bars_of, first_rows, read_cells
    from training.store.coverage import DataError

    upload = _upload(key)
    told: dict[str, Any] = {"problem": "", "asked": "", "head": {}, "notes": [], "warnings": [], "bars": 0}
    told |= {"calendars": known_calendars(), "proposed": "", "shown": "", "spacing": ""}
    with _bounded(upload):
        reading = _reading(upload)
        try:
            told["head"] = _head(first_rows(upload.path, reading, SHOWN))
            table = read_cells(upload.path, reading)
            timeframe = upload.options["timeframe"]
            try:
                told["shown"] = shown = _shown_timeframe(table)
            except DataError:  # said when the bars are read as it was chosen, below
                if not timeframe:
                    raise
                shown = ""
            told |= {"spacing": _spacing(shown, timeframe, guess(upload.name)[1]), "proposed": "" if timeframe else shown}
            timeframe = timeframe or shown
            if not timeframe:
                raise DataError("the times do not show what timeframe these bars have, choose it")
            frame, notes = bars_of(upload.name, table, timeframe, reading, symbol=upload.options["symbol"])
            told["notes"] = notes
            return told | _preview(frame, replace(upload, options={**upload.options, "timeframe": timeframe}))
        except DataError as problem:
            return told | {"problem": str(problem), "asked": getattr(problem, "option", "")}


def load_upload(key: str, user: int) -> dict[str, Any]:
    """Merge the file's bars into the store; the file goes when that is done."""
    from django.contrib.auth import get_user_model

    from training.access.audit import Actor, audit
    from training.bars.series import load_file

    upload = _upload(key)
    options = upload.options
    with _bounded(upload):
        loaded = load_file(
            options["symbol"], options["timeframe"], upload.path, _reading(upload), replace=bool(options["replace"]),
            calendar=_calendar(upload),
        )  # fmt: skip
    merge = loaded.merge
    counts = {"added": merge.added, "same": merge.same, "replaced": merge.replaced}
    audit(Actor(get_user_model().objects.get(pk=user), "web"), "load bars", str(loaded.series), file=upload.name, **counts)
    drop(upload)
    return {"symbol": options["symbol"], "timeframe": options["timeframe"], "rows": loaded.series.rows, **counts}


def load_sample(user: int) -> dict[str, Any]:
    """The bars that come with the program, and its strategies unless some are stored under their names."""
    from django.contrib.auth import get_user_model

    from training.access.audit import Actor, audit
    from training.bars.series import load_samples

    loaded = load_samples()
    strategies = _import_missing()
    audit(
        Actor(get_user_model().objects.get(pk=user), "web"), "load bars", "sample bars",
        added=sum(one.merge.added for one in loaded), strategies=strategies,
    )  # fmt: skip
    return {"series": len(loaded), "bars": sum(one.series.rows for one in loaded), "strategies": strategies}


def _import_missing() -> list[str]:
    import strategies_app
    from strategies_app.models import Strategy

    added = []
    for path in sorted((Path(strategies_app.__file__).parent / "samples").glob("*.yaml")):
        if not Strategy.objects.filter(name=path.stem).exists():
            Strategy.objects.import_text(path.read_text(encoding="utf-8"), path.name)
            added.append(path.stem)
    return added


# --- reading within bounds ---------------------------------------------------------------------


def _upload(key: str) -> Upload:
    upload = read(key)
    if upload is None:
        raise UploadError("this file is no longer kept: upload it again")
    return upload


def _reading(upload: Upload) -> Reading:
    from training.store.reading import Reading

    given = {field.name: upload.options[field.name] for field in fields(Reading)}
    return Reading(**{**given, "tz": given["tz"] or None, "columns": tuple(given["columns"])})


def _calendar(upload: Upload) -> str | None:
    """As `load_file` takes it: a name, "" to take the series' calendar away, None to leave it as it is."""
    named = upload.options["calendar"]
    return {"": None, "none": ""}.get(named, named)


@contextmanager
def _bounded(upload: Upload) -> Iterator[None]:
    """Read no more than a short job may: neither rows nor bytes nor memory, whatever a file claims to be."""
    import resource

    import psutil

    _check_size(upload)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    except MemoryError:  # pyarrow's is one, too
        raise UploadError(f"{upload.name} needs more memory than a short job may take; {_by_command(upload)}") from None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _check_size(upload: Upload) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with upload.path.open("rb") as file:
        head = file.read(4)
    try:
        if head == b"PAR1":
            metadata = pq.read_metadata(upload.path)
            groups = (metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
            rows, unpacked = metadata.num_rows, sum(groups)
        else:
            rows, unpacked = _lines(upload.path, packed=head[:2] == b"\x1f\x8b")
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise UploadError(f"{upload.name} cannot be read: {str(error).splitlines()[0]}") from None
    if rows > MOST_ROWS:
        raise UploadError(f"{upload.name} has {rows:,} rows, at most {MOST_ROWS:,} are loaded here; {_by_command(upload)}")
    if unpacked > MOST_UNPACKED:
        raise UploadError(f"{upload.name} unpacks to more than {MOST_UNPACKED / 1e9:.1f} GB; {_by_command(upload)}")


def _lines(path: Path, *, packed: bool) -> tuple[int, int]:
    """Lines and bytes of a text, unpacked no further than to the bound."""
    lines = length = 0
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        while length <= MOST_UNPACKED and (block := file.read(1 << 20)):
            lines, length = lines + block.count(b"\n"), length + len(block)
    return lines, length


def _by_command(upload: Upload) -> str:
    return f"load it on the server with: {upload.command}"


# --- what is shown -----------------------------------------------------------------------------


def _head(first: FirstRows) -> dict[str, Any]:
    """The first rows as they stand in the file, cut to what a page can show."""
    columns = max([len(first.names), *map(len, first.cells)], default=0)
    names, roles = ((*given, *[""] * (columns - len(given))) for given in (first.names, first.roles))
    rows = [[cell[:40] for cell in (*row, *[""] * (columns - len(row)))] for row in first.cells]
    heads = [{"name": str(name)[:40], "role": role} for name, role in zip(names, roles, strict=True)]
    return {"columns": heads, "rows": rows, "layout": first.layout, "needed": list(first.options_needed)}


def _shown_timeframe(table: Table) -> str:
    """The timeframe that the distances between the times show, whatever their zone and whoever's bars they are; "" for none."""
    import numpy as np

    from training.pipeline.spacing import timeframe_of
    from training.readers.times import opens_of

    times, _ = opens_of(table.columns["timestamp"], "1m", "UTC", table.rows, table.known)
    return timeframe_of(np.unique(times)) or ""


def _spacing(shown: str, chosen: str, said: str) -> str:
    """How the distances between the bars stand to the timeframe that was chosen, and to the file's name."""
    from training.pipeline.spacing import length_text

    if not shown:
        return ""
    apart = f"The bars are {length_text(TIMEFRAMES[shown] * 1_000_000)} apart"
    if chosen and chosen != shown:
        return f"{apart}, and {chosen} is chosen."
    name = "as the file's name says" if said == shown else f"though the file's name says {said}" if said else ""
    return f"{apart}, {name}." if name else f"{apart}: {shown}." if chosen else f"{apart}: {shown} is proposed."


def _preview(frame: pd.DataFrame, upload: Upload) -> dict[str, Any]:
    import numpy as np

    from training.pipeline.calendars import expected_bars, habit_of
    from training.pipeline.frames import bar_times, time_text
    from training.pipeline.quality import quality

    times, timeframe, calendar, stored = bar_times(frame), upload.options["timeframe"], _calendar_after(upload), _stored(upload)
    beside = _beside_stored(frame, stored, upload)
    expected, silent = expected_bars(calendar, timeframe, times)
    after = times if stored is None else np.union1d(times, bar_times(stored))
    odd = [*silent, *quality(frame, timeframe, calendar, expected, habit_of(after, timeframe)).findings()]
    ends = frame if len(frame) <= 2 * SHOWN else frame.iloc[[*range(SHOWN), *range(-SHOWN, 0)]]
    values = [[None if value != value else value for value in row] for row in ends.to_numpy().tolist()]
    return {
        "bars": len(times), "first": time_text(times[0]), "last": time_text(times[-1]),
        "ends": [{"time": time_text(time), "values": row} for time, row in zip(bar_times(ends), values, strict=True)],
        "left_out": len(frame) - len(ends), "half": SHOWN,
        "warnings": [finding.sentence for finding in odd], "calendar": calendar, **beside,
    }  # fmt: skip


def _calendar_after(upload: Upload) -> str:
    """The calendar that the series will have: the one that was chosen, or, if none was, the one that it has; "" for none."""
    from django.conf import settings

    from training.pipeline.bars import series_calendar, series_path
    from training.pipeline.calendars import require_calendar

    chosen, symbol, timeframe = _calendar(upload), upload.options["symbol"], upload.options["timeframe"]
    if chosen is not None:
        if chosen:
            require_calendar(chosen)
        return chosen
    root = Path(settings.STORE_DIR)
    return series_calendar(root, symbol, timeframe) if symbol and series_path(root, symbol, timeframe).exists() else ""


def _stored(upload: Upload) -> pd.DataFrame | None:
    """The bars of the series that are stored already."""
    from django.conf import settings

    from training.pipeline.bars import read_bars, series_path

    symbol, timeframe = upload.options["symbol"], upload.options["timeframe"]
    root = Path(settings.STORE_DIR)
    if not symbol or not series_path(root, symbol, timeframe).exists():
        return None
    return read_bars(root, symbol, timeframe)


def _beside_stored(frame: pd.DataFrame, stored: pd.DataFrame | None, upload: Upload) -> dict[str, Any]:
    """How the file's bars stand to those of the store: new, the same, or other values at the same time."""
    from django.conf import settings

    from training.pipeline.bars import merge_bars, series_origin
    from training.pipeline.frames import bar_times
    from training.pipeline.misreading import refuse_misread
    from training.pipeline.spacing import refuse_wrong_timeframe
    from training.store.coverage import DataError
    from training.store.origins import origin_after

    symbol, timeframe = upload.options["symbol"], upload.options["timeframe"]
    root, reading = Path(settings.STORE_DIR), _reading(upload)
    if stored is None:
        refuse_wrong_timeframe(bar_times(frame), timeframe, told=reading.timeframe_is_right, asks=True)
        return {"added": len(frame), "same": 0, "differ": 0, "conflict": "", "stored": False}
    merge = merge_bars(stored, frame, replace=True)
    before = series_origin(root, symbol, timeframe)
    now = origin_after(before, reading)
    refuse_wrong_timeframe(bar_times(frame), timeframe, bar_times(merge.frame), told=now.timeframe_is_right, asks=True)
    refuse_misread(stored, frame, timeframe, before, now, replace=True)
    conflict = ""
    if merge.replaced:
        try:
            refuse_misread(stored, frame, timeframe, before, now, replace=False)
            merge_bars(stored, frame)
        except DataError as error:
            conflict = str(error)
    return {"added": merge.added, "same": merge.same, "differ": merge.replaced, "conflict": conflict, "stored": True}
