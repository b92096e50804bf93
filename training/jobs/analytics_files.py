"""Detailed analytics on disk: a journal beside each run, and what it is handed out as — JSON, CSV, Parquet.

ANALYTICS_DIR/<operation>/journal.jsonl has one line per epoch of every attempt, appended as it happens, so that a
process that is killed loses at most the line that it was writing. `read_journal` keeps of each epoch what was measured
last. At the end of an attempt analytics.json, layers.parquet and epochs.parquet are written beside it, each whole or not.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.core.files import naming
from training.jobs.analytics import Record, judged

JOURNAL = "journal.jsonl"
#: What a person may take along: name → what it is.
FILES = {
    "analytics.json": "everything, with the alerts",
    "layers.csv": "one line per epoch and layer",
    "epochs.csv": "one line per epoch",
    "layers.parquet": "the same for programs",
    "epochs.parquet": "the same for programs",
}
TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
#: What an epoch has besides figures and words; it stands in the JSON.
_NESTED = ("layers", "calibration", "confidence", "entropy", "residuals", "residual_edges")

Table = list[dict[str, Any]]


class Journal:
    """The lines of one attempt. Raises OSError where they cannot be written."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self.folder, self.attempt = folder, attempt

    def add(self, record: Record) -> None:
        self.folder.mkdir(exist_ok=True)
        line = json.dumps({**record, "attempt": self.attempt}, allow_nan=False, separators=(",", ":")) + "\n"
        with naming(self.folder / JOURNAL), (self.folder / JOURNAL).open("a+b") as file:
            if file.tell() and not _ends_whole(file):
                file.write(b"\n")  # after a line that a killed attempt began
            file.write(line.encode())

    def finish(self) -> None:
        """Write what people and programs read; nothing if no epoch was completed."""
        records = read_journal(self.folder)
        for name in ("analytics.json", "layers.parquet", "epochs.parquet") if records else ():
            _replace(self.folder / name, as_file(name, records))


def _ends_whole(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _replace(path: Path, content: bytes) -> None:
    """The whole file or the one before it."""
    temporary = path.with_name(f".new-{path.name}-{os.getpid()}")
    try:
        with naming(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_journal(folder: Path) -> list[Record]:
    """The records by epoch, of each epoch the latest attempt's; none where there is no journal yet.

    An epoch that is trained again takes the place of itself and of all that followed it then. What an earlier attempt
    writes after a later one began is not the run's any more, and a half-written line is none.
    """
    try:
        lines = (folder / JOURNAL).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    records: dict[int, Record] = {}
    newest = 0
    for line in lines:
        try:
            record = json.loads(line) if line else None
        except ValueError:
            continue
        if record is None or record["attempt"] < newest:
            continue
        newest = record["attempt"]
        records = {epoch: kept for epoch, kept in records.items() if epoch < record["epoch"]} | {record["epoch"]: record}
    return list(records.values())


def as_file(name: str, records: Sequence[Record]) -> bytes:
    """The content of one of FILES."""
    if name == "analytics.json":
        return json.dumps(judged(records), ensure_ascii=False, indent=1, allow_nan=False).encode()
    stem, _, kind = name.partition(".")
    rows = layer_rows(records) if stem == "layers" else epoch_rows(records)
    return _csv(rows) if kind == "csv" else _parquet(rows)


def layer_rows(records: Sequence[Record]) -> Table:
    """One row per epoch, counted from 0, and layer."""
    return [
        {"attempt": record["attempt"], "epoch": record["epoch"], "layer": name, **figures}
        for record in records for name, figures in record["layers"].items()
    ]  # fmt: skip


def epoch_rows(records: Sequence[Record]) -> Table:
    """One row per epoch, counted from 0, with what was judged of it; a class's figures are columns of their own."""
    rows: Table = []
    for record in judged(records)["epochs"]:
        flat = {key: value for key, value in record.items() if key not in (*_NESTED, "per_class")}
        for label, figures in (record.get("per_class") or {}).items():
            flat |= {f"{label}.{key}": value for key, value in figures.items()}
        rows.append(flat)
    return rows


def _columns(rows: Table) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _csv(rows: Table) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, _columns(rows), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def _parquet(rows: Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: Mapping[str, list[Any]] = {name: [row.get(name) for row in rows] for name in _columns(rows)}
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: _typed(values, pa) for name, values in columns.items()}), buffer)
    return buffer.getvalue()


def _typed(values: list[Any], pa: Any) -> Any:
    """A column that has no figure at all is one of figures that are missing."""
    return pa.array(values, pa.float64()) if all(value is None for value in values) else pa.array(values)
