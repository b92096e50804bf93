"""What is handed out: a model's files, checked byte by byte and packed, its results, and a stored series; no torch is needed."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import secrets
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import reverse

from training.core.files import MANIFEST, FolderError, Missing, Unreachable, manifest_sha256, read_folder
from training.jobs import homes
from training.models import BarSeries, Operation, TrainedModel
from training.results.metric_table import MEASURED_OF_CLASSES, MEASURED_OF_RETURNS
from training.results.verdict import baselines_of
from training.store.candles import csv_parts, series_path
from training.store.coverage import DataError

#: Larger zip files wait on disk, not in memory.
IN_MEMORY_BYTES = 16 * 1024 * 1024


def bundle_folder(model: TrainedModel) -> Path:
    return Path(settings.BUNDLE_DIR) / model.folder


def unread(path: Path, problem: Exception) -> FolderError:
    """What to say of a file of a bundle that was not read: gone, not to be reached, or changed. Away if all bundles are."""
    if isinstance(problem, FileNotFoundError):
        homes.require("bundles")
        return Missing(f"{path} cannot be read: it is not there")
    kind = Unreachable if isinstance(problem, OSError) and problem.errno else FolderError
    return kind(f"{path} cannot be read: {getattr(problem, 'strerror', None) or problem}")


def read_back(folder: Path, digest: str) -> None:
    """A bundle that was just written, read from the disk: what was trained is kept nowhere else from now on.

    FolderError if it is not what was written.
    """
    read_folder(folder, from_disk=True)
    if manifest_sha256(folder) != digest:
        raise FolderError(f"{folder} is not what was written there")


def bundle_zip(model: TrainedModel) -> IO[bytes]:
    """The whole bundle as a zip file with one folder, ready to read. FolderError if any byte of it was changed."""
    folder = bundle_folder(model)
    try:
        contents = read_folder(folder)
    except Missing:
        homes.require("bundles")  # with all of them away, this one is not gone
        raise
    if manifest_sha256(folder) != model.sha256:
        raise FolderError(f"{folder} is not the one that was recorded for {model.name}")
    file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - whoever sends it closes it
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # weights do not compress
        for name, content in {**contents, MANIFEST: (folder / MANIFEST).read_bytes()}.items():
            archive.writestr(f"{model.name}/{name}", content)
    file.seek(0)
    return file


def provenance(model: TrainedModel) -> dict[str, Any]:
    """What the bundle says of where it comes from. FolderError if it cannot be read."""
    path = bundle_folder(model) / "bundle.json"
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as problem:
        raise unread(path, problem) from None
    names = ("seed", "engine", "device", "threads", "versions", "plugins", "split", "feature_names", "fingerprints", "notes")
    return {name: document[name] for name in names if name in document}


def _whole(side: Mapping[str, Any]) -> dict[str, Any]:
    """With null for what is not measured of this kind of label."""
    return dict.fromkeys(("loss", *MEASURED_OF_CLASSES, *MEASURED_OF_RETURNS)) | side


def results_of(operation: Operation, model: TrainedModel) -> dict[str, Any]:
    """A completed training's results, from what was kept with its model."""
    metrics = model.metrics
    sides = {name: metrics[name] for name in ("validation", "test") if metrics.get(name)}
    return {
        "operation_id": operation.pk,
        "output_format": metrics.get("output_format", "classification"),
        "training_metrics": dict.fromkeys(("accuracy", *MEASURED_OF_RETURNS)) | metrics["training"],
        "validation": _whole(metrics["validation"]),
        "test": _whole(metrics["test"]) if metrics["test"] else None,
        "test_state": "open",
        "class_names": metrics["class_names"],
        "history": metrics["history"],
        "baselines": {name: baselines_of(side) for name, side in sides.items()},
        "bundle": {"model": model.name, "sha256": model.sha256, "download": reverse("api:download_model", args=[model.name])},
    }


TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
#: Endings by which `write_series` knows what is wanted.
ENDINGS = (".csv", ".csv.gz", ".parquet")
BLOCK = 1 << 18


class NoExport(DataError):
    """A file that cannot be written as it was asked for: one sentence."""

    exit_code = 2


def series_response(request: HttpRequest, series: BarSeries, kind: str) -> StreamingHttpResponse:
    """The answer that sends a series, made part by part: what a slow client has not taken yet is the server's to hold.

    DataError if the series cannot be read.
    """
    path = series_path(Path(settings.STORE_DIR), series.symbol, series.timeframe)
    parts = _parts(series, kind)
    parts = itertools.chain([next(parts)], parts)  # what cannot be read is said before anything is sent
    # Django would collect a plain iterator as a whole before it sends the first byte to an asynchronous server.
    answer = StreamingHttpResponse(_apart(parts) if isinstance(request, ASGIRequest) else parts, content_type=TYPES[kind])
    answer["Content-Disposition"] = f'attachment; filename="{path.stem}.{kind}"'
    return answer


def write_series(symbol: str, timeframe: str, target: Path) -> int:
    """Write a series as `target`, whose ending says how; gives its size in bytes. A file that is there already stays."""
    ending = next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if target.name.lower().endswith(ending)), None)
    if ending is None:
        raise NoExport(f"{target.name} does not say how to write the bars, wanted a name that ends in {', '.join(ENDINGS)}")
    if target.exists():
        raise NoExport(f"{target} is there already and stays as it is; give another name, or remove it first")
    parts = _parts(BarSeries(symbol=symbol, timeframe=timeframe), "parquet" if ending == ".parquet" else "csv")
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with gzip.open(beside, "wb") if ending == ".csv.gz" else beside.open("xb") as file:
            for part in parts:
                file.write(part)
        beside.rename(target)
        return target.stat().st_size
    except OSError as error:
        raise DataError(f"{target} could not be written: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)


def _parts(series: BarSeries, kind: str) -> Iterator[bytes]:
    root = Path(settings.STORE_DIR)
    if kind == "csv":
        return csv_parts(root, series.symbol, series.timeframe)
    return _blocks(series_path(root, series.symbol, series.timeframe), str(series))


def _blocks(path: Path, name: str) -> Iterator[bytes]:
    """The stored file as it is; one that takes its place meanwhile changes nothing here."""
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise DataError(f"the bars of {name} cannot be read: {error.strerror or error}") from error


async def _apart(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each part is made beside the event loop."""
    while (part := await asyncio.to_thread(next, parts, None)) is not None:
        yield part
