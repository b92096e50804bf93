"""Folders that are written whole or not at all, and read only if no byte of them was changed.

Checkpoints and bundles are such folders: their files, and a manifest with the sha256 of each.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import signal
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from training.core.values import Refusal

FORMAT = 1
MANIFEST = "manifest.json"


class FolderError(Refusal):
    """A folder that was read and is not as it was saved; the message is one sentence."""

    category = "resources"


class Missing(FolderError):
    """The folder itself is not there."""


class Unreachable(FolderError):
    """The system could not read the folder or a file of it just now: of its content nothing is known."""


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

    What it lies in must be there: one who makes it while writing hides that a disk is not mounted. Written beside it under
    another name, synced, renamed: after a failure (OSError) or a power loss there is the whole folder or none.
    """
    manifest = _manifest(contents)
    if folder.exists():
        raise FileExistsError(f"{folder} exists already")
    unfinished = folder.parent / f".new-{folder.name}-{secrets.token_hex(4)}"
    unfinished.mkdir()  # as open as its neighbours: mkdtemp's are closed to a group too
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


def read_folder(folder: Path, names: tuple[str, ...] | None = None, *, from_disk: bool = False) -> dict[str, bytes]:
    """The bytes of exactly these files (None: of all that are there); `from_disk`: not those that memory still holds.

    Missing if there is no such folder, Unreachable if the system cannot read it, FolderError if a file was changed, added
    or taken away, the manifest included.
    """
    try:
        present = {path.name for path in folder.iterdir()}
        wanted = present - {MANIFEST} if names is None else set(names)
        for name in sorted(present ^ {*wanted, MANIFEST}):
            raise FolderError(f"{folder} has {'an unknown file' if name in present else 'no'} {name}")
        contents = {name: _read(folder / name, from_disk) for name in sorted(wanted)}
        saved = _read(folder / MANIFEST, from_disk)
    except FileNotFoundError as problem:
        raise Missing(f"{folder} cannot be read: it is not there") from problem
    except OSError as problem:
        raise Unreachable(f"{folder} cannot be read: {problem.strerror or problem}") from problem
    if saved != _manifest(contents):
        raise FolderError(f"{folder} was changed after it was saved: {_suspects(saved, contents)} does not fit")
    return contents


def _read(path: Path, from_disk: bool = False) -> bytes:
    """The bytes of a regular file; of a pipe or a device in its place nobody would ever see the end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, f"{path.name} is no file", str(path))
        if from_disk and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()


def manifest_sha256(folder: Path) -> str:
    """One number for the whole folder: it changes with any byte of any file."""
    try:
        return hashlib.sha256(_read(folder / MANIFEST)).hexdigest()
    except FileNotFoundError as problem:
        raise Missing(f"{folder} has no {MANIFEST}") from problem
    except OSError as problem:
        raise Unreachable(f"{folder} has no readable {MANIFEST}: {problem.strerror or problem}") from problem


def _manifest(contents: Mapping[str, bytes]) -> bytes:
    """The one way of writing the hashes: reading compares bytes, so no byte of a manifest is free."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return json.dumps({"format": FORMAT, "sha256": hashes}, indent=1, sort_keys=True).encode()


def _suspects(saved: bytes, contents: Mapping[str, bytes]) -> str:
    """Which files do not fit the saved manifest; the manifest itself if all of them do."""
    text = saved.decode(errors="replace")
    changed = [name for name, content in contents.items() if hashlib.sha256(content).hexdigest() not in text]
    return " and ".join(changed) or MANIFEST


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the end, for what must be done as a whole; only the main thread is ever interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)
