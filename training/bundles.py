"""A trained model's files as they are handed out: checked byte by byte, then packed; no torch is needed."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any

from django.conf import settings

from training.files import MANIFEST, FolderError, manifest_sha256, read_folder
from training.models import TrainedModel

#: Larger zip files wait on disk, not in memory.
IN_MEMORY_BYTES = 16 * 1024 * 1024


def bundle_folder(model: TrainedModel) -> Path:
    return Path(settings.BUNDLE_DIR) / model.folder


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
    contents = read_folder(folder)
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
        raise FolderError(f"{path} cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
    names = ("seed", "engine", "device", "threads", "versions", "plugins", "split", "feature_names", "fingerprints", "notes")
    return {name: document[name] for name in names if name in document}
