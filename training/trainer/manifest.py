"""Manifest: files as bytes ↔ a folder that is written whole or not at all, and read only if no byte was changed."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

FORMAT = 1
MANIFEST = "manifest.json"


class BundleError(ValueError):
    """A bundle that cannot be written, or must not be trusted; the message is one sentence."""


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> str:
    """Write the files and their manifest as `folder`, which must not exist yet; gives `manifest_sha256`.

    Written beside it under another name, synced, renamed: after a failure or a power loss there is
    the whole folder or none. BundleError if it exists or cannot be written.
    """
    manifest = _manifest(contents)
    if folder.exists():
        raise BundleError(f"{folder} exists already")
    unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.unfinished")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
        for name, content in {**contents, MANIFEST: manifest}.items():
            _write(unfinished / name, content)
        _sync_folder(unfinished)
        os.rename(unfinished, folder)
        _sync_folder(folder.parent)
    except OSError as problem:
        raise BundleError(f"{folder} cannot be written: {problem.strerror or problem}") from problem
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return hashlib.sha256(manifest).hexdigest()


def read_folder(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The bytes of exactly these files. BundleError if one was changed, added or taken away, the manifest included."""
    try:
        present = {path.name for path in folder.iterdir()}
        for name in sorted(present ^ {*names, MANIFEST}):
            raise BundleError(f"{folder} has {'an unknown file' if name in present else 'no'} {name}")
        contents = {name: (folder / name).read_bytes() for name in names}
        saved = (folder / MANIFEST).read_bytes()
    except OSError as problem:
        raise BundleError(f"{folder} cannot be read: {problem.strerror or problem}") from problem
    if saved != _manifest(contents):
        raise BundleError(f"{folder} was changed after it was saved: {_suspects(saved, contents)} does not fit")
    return contents


def manifest_sha256(folder: Path) -> str:
    """One number for the whole folder: it changes with any byte of any file."""
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError as problem:
        raise BundleError(f"{folder} has no readable {MANIFEST}") from problem


def _manifest(contents: Mapping[str, bytes]) -> bytes:
    """The one way of writing the hashes: reading compares bytes, so no byte of a manifest is free."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return json.dumps({"format": FORMAT, "sha256": hashes}, indent=1, sort_keys=True).encode()


def _suspects(saved: bytes, contents: Mapping[str, bytes]) -> str:
    """Which files do not fit the saved manifest; the manifest itself if all of them do."""
    text = saved.decode(errors="replace")
    changed = [name for name, content in contents.items() if hashlib.sha256(content).hexdigest() not in text]
    return " and ".join(changed) or MANIFEST


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """So that the names in it survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
