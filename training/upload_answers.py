"""What a quick worker says of an uploaded file, and how it loads one; and the sample bars. Never in the web process: pandas."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.uploads import Upload, UploadError, drop, read

if TYPE_CHECKING:
    import pandas as pd

    from training.pipeline.file_reading import Reading

#: More rows than these, or more bytes when unpacked, are the command line's work.
MOST_ROWS = 5_000_000
MOST_UNPACKED = 1024**3
#: What reading a file may take beside what the process has: a file of a few bytes can claim to be anything.
MOST_MEMORY = 4 * 1024**3
SHOWN = 5


def inspect_upload(key: str) -> dict[str, Any]:
    """What is in the file: columns as they were understood, range, first and last bars, notes, problem, conflict."""
    from training.pipeline.bar_files import bars_of, read_cells
    from training.pipeline.calendars import known_calendars
    from training.pipeline.coverage import DataError

    upload = _upload(key)
    told: dict[str, Any] = {"problem": "", "columns": [], "notes": [], "warnings": [], "bars": 0, "calendars": known_calendars()}
    with _bounded(upload):
        try:
            table = read_cells(upload.path)
            told["columns"] = [{"role": role, "name": str(column.name)} for role, column in table.columns.items()]
            told["cells"] = _cells(table)
            if not upload.options["timeframe"]:
                raise DataError("what timeframe these bars have is not known, choose it")
            frame, notes = bars_of(
                upload.name, table, upload.options["timeframe"], _reading(upload), symbol=upload.options["symbol"]
            )
            return told | {"notes": notes} | _preview(frame, upload)
        except DataError as problem:
            return told | {"problem": str(problem)}


def load_upload(key: str, user: int) -> dict[str, Any]:
    """Merge the file's bars into the store; the file goes when that is done."""
    from django.contrib.auth import get_user_model

    from training.bar_series import load_file
    from training.requests import Actor, audit

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

    from training.bar_series import load_samples
    from training.requests import Actor, audit

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
    from training.pipeline.file_reading import Reading

    options = upload.options
    return Reading(tz=options["tz"] or None, price_scale=float(options["price_scale"]), adjust=bool(options["adjust"]))


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


def _cells(table: Any) -> list[list[str]]:
    """The first rows as they stand in the file, cut to what a page can show."""
    rows = zip(*(column.head(SHOWN).astype(str).tolist() for column in table.columns.values()), strict=True)
    return [[cell[:40] for cell in row] for row in rows]


def _preview(frame: pd.DataFrame, upload: Upload) -> dict[str, Any]:
    from training.pipeline.calendars import expected_bars
    from training.pipeline.frames import bar_times, time_text
    from training.pipeline.quality import quality

    times, timeframe, calendar = bar_times(frame), upload.options["timeframe"], _calendar_after(upload)
    expected, silent = expected_bars(calendar, timeframe, times)
    odd = [*silent, *quality(frame, timeframe, calendar, expected).findings()]
    ends = frame if len(frame) <= 2 * SHOWN else frame.iloc[[*range(SHOWN), *range(-SHOWN, 0)]]
    values = [[None if value != value else value for value in row] for row in ends.to_numpy().tolist()]
    return {
        "bars": len(times), "first": time_text(times[0]), "last": time_text(times[-1]),
        "ends": [{"time": time_text(time), "values": row} for time, row in zip(bar_times(ends), values, strict=True)],
        "left_out": len(frame) - len(ends), "half": SHOWN,
        "warnings": [finding.sentence for finding in odd], "calendar": calendar, **_beside_stored(frame, upload),
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


def _beside_stored(frame: pd.DataFrame, upload: Upload) -> dict[str, Any]:
    """How the file's bars stand to those of the store: new, the same, or other values at the same time."""
    from django.conf import settings

    from training.pipeline.bars import merge_bars, read_bars, series_path
    from training.pipeline.coverage import DataError

    symbol, timeframe = upload.options["symbol"], upload.options["timeframe"]
    root = Path(settings.STORE_DIR)
    if not symbol or not series_path(root, symbol, timeframe).exists():
        return {"added": len(frame), "same": 0, "differ": 0, "conflict": "", "stored": False}
    stored = read_bars(root, symbol, timeframe)
    merge = merge_bars(stored, frame, replace=True)
    conflict = ""
    if merge.replaced:
        try:
            merge_bars(stored, frame)
        except DataError as error:
            conflict = str(error)
    return {"added": merge.added, "same": merge.same, "differ": merge.replaced, "conflict": conflict, "stored": True}
