"""A trained model's files as they are handed out: checked byte by byte, then packed; no torch is needed."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.urls import reverse

from training.core.files import MANIFEST, FolderError, Missing, Unreachable, manifest_sha256, read_folder
from training.jobs import homes
from training.models import Operation, TrainedModel
from training.results.metric_table import MEASURED_OF_CLASSES, MEASURED_OF_RETURNS
from training.results.verdict import baselines_of

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
