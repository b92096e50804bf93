"""Folders that are written whole or not at all, and read only if no byte of them was changed.

Checkpoints and bundles are such folders: their files, and a manifest with the sha256 of each.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from training.values import Refusal

FORMAT = 1
MANIFEST = "manifest.json"


class FolderError(Refusal):
    """A folder whose content cannot be trusted; the message is one sentence."""

    category = "resources"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError from inside names the file: of a write to a full disk the system itself tells no name."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


def sync_folder(path: Path) -> None:
    """Make renames inside a folder last; a file's own fsync does not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> str:
    """Write the files and their manifest as `folder`, which must not exist yet; gives `manifest_sha256`.

    Written beside it under another name, synced, renamed: after a failure (OSError) or a power loss
    there is the whole folder or none.
    """
    manifest = _manifest(contents)
    if folder.exists():
        raise FileExistsError(f"{folder} exists already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".new-{folder.name}-", dir=folder.parent))
    try:
        for name, content in {**contents, MANIFEST: manifest}.items():
            with naming(folder / name), (unfinished / name).open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(unfinished)
        unfinished.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return hashlib.sha256(manifest).hexdigest()


def read_folder(folder: Path, names: tuple[str, ...] | None = None) -> dict[str, bytes]:
    """The bytes of exactly these files (None: of all that are there).

    FolderError if one was changed, added or taken away, the manifest included.
    """
    try:
        present = {path.name for path in folder.iterdir()}
        wanted = present - {MANIFEST} if names is None else set(names)
        for name in sorted(present ^ {*wanted, MANIFEST}):
            raise FolderError(f"{folder} has {'an unknown file' if name in present else 'no'} {name}")
        contents = {name: (folder / name).read_bytes() for name in sorted(wanted)}
        saved = (folder / MANIFEST).read_bytes()
    except OSError as problem:
        raise FolderError(f"{folder} cannot be read: {problem.strerror or problem}") from problem
    if saved != _manifest(contents):
        raise FolderError(f"{folder} was changed after it was saved: {_suspects(saved, contents)} does not fit")
    return contents


def manifest_sha256(folder: Path) -> str:
    """One number for the whole folder: it changes with any byte of any file."""
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError as problem:
        raise FolderError(f"{folder} has no readable {MANIFEST}") from problem


def _manifest(contents: Mapping[str, bytes]) -> bytes:
    """The one way of writing the hashes: reading compares bytes, so no byte of a manifest is free."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return json.dumps({"format": FORMAT, "sha256": hashes}, indent=1, sort_keys=True).encode()


def _suspects(saved: bytes, contents: Mapping[str, bytes]) -> str:
    """Which files do not fit the saved manifest; the manifest itself if all of them do."""
    text = saved.decode(errors="replace")
    changed = [name for name, content in contents.items() if hashlib.sha256(content).hexdigest() not in text]
    return " and ".join(changed) or MANIFEST
