"""Modes of what a home holds: for its owner alone, or for a group too where KTRDR_HOME_MODE says so. Needs no settings.

Every process takes its umask from here when it reads the settings, so whatever it writes is closed from the
beginning. What an older version or a copy left open is closed at start, or the start is refused.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

#: The file of an id by which the database knows a folder.
MARK = ".ktrdr-id"
#: What a home holds by name; other names in it are the owner's own affair, behind the folder's own mode.
KNOWN = frozenset({
    MARK, ".uploads.lock",
    "analytics", "bars", "bundles", "cache", "checkpoints", "ktrdr.sqlite3", "ktrdr.sqlite3-journal", "ktrdr.sqlite3-shm",
    "ktrdr.sqlite3-wal", "logs", "numba", "redis", "secret_key", "sources", "static", "up.lock", "uploads",
})  # fmt: skip
#: What a file system puts into a folder by itself.
FOREIGN = re.compile(r"\.|lost\+found$")


class TooOpen(Exception):
    """Others of the machine may look into a home, and that cannot be changed here: one sentence."""


def may_write(home: Path, database: str) -> bool:
    """Whether a file may be put into a home before its database was asked: it holds the database itself, a file of this name,
    or has the mark of a home.

    Where the database lies elsewhere, a folder without a mark may be the empty place of a disk that is not mounted.
    """
    if home in Path(database).parents:
        return True
    try:
        return (home / MARK).is_file()
    except OSError:
        return False


def umask_of(mode: str) -> int:
    """The umask for a home of this mode: "700" → 0o077. ValueError for what is no mode that leaves the owner everything."""
    if not re.fullmatch("7[0-7][0-7]", mode):
        raise ValueError(mode)
    return 0o777 & ~int(mode, 8)


def close_home(home: Path, others: Iterable[Path], umask: int, *, whole: bool = False) -> int:
    """Take from group and others what `umask` does not leave them, in the home and in `others`, folders and files that lie
    elsewhere; how many files and folders that were. TooOpen if one cannot be changed.

    A folder that is closed already is believed to be closed inside too, as nobody gets past it, unless `whole`.
    """
    changed = 0
    if _is_open(home, umask):
        _refuse_shared(home, umask)
        whole = True
    for place in [*others, *((home / name for name in sorted(KNOWN)) if whole else [])]:
        if whole or _is_open(place, umask):
            changed += sum(_close(path, umask) for path in _below(place.resolve()))
    return changed + _close(home.resolve(), umask)  # last: it says that the rest is done


def closed_sentence(home: Path, changed: int) -> str:
    what = "1 file or folder" if changed == 1 else f"{changed:,} files and folders"
    return f"{what} of {home} could be opened by other users of this machine; only its owner can now"


def _is_open(path: Path, umask: int) -> bool:
    try:
        return bool(path.stat().st_mode & umask)
    except OSError:
        return False  # not there, or nothing that can be looked at


def _refuse_shared(home: Path, umask: int) -> None:
    """A folder in which others have things, such as /tmp, is not ours to close."""
    names = {path.name for path in home.iterdir()}
    is_shared = home.stat().st_mode & stat.S_ISVTX
    strange = sorted(name for name in names - KNOWN if not FOREIGN.match(name))
    if is_shared or (strange and not names & {"secret_key", "ktrdr.sqlite3"}):
        held = "is a folder that all users share" if is_shared else f"is open to others and holds {strange[0]}"
        raise TooOpen(
            f"{home} {held}: set KTRDR_HOME to a folder that holds nothing else, "
            f"or close this one with: chmod {0o777 & ~umask:o} {home}"
        )


def _below(place: Path) -> Iterator[Path]:
    """Everything in a place, deepest first, and the place itself; no link is followed."""
    for folder, names, files in os.walk(place, topdown=False):
        yield from (Path(folder, name) for name in [*files, *names])
    yield place


def _close(path: Path, umask: int) -> bool:
    """Whether the path was open and is closed now."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) or not status.st_mode & umask:
            return False
        path.chmod(stat.S_IMODE(status.st_mode) & ~umask)
        now = path.stat().st_mode
    except FileNotFoundError:
        return False  # gone meanwhile, or never there
    except OSError as error:
        raise TooOpen(_refusal(path, status.st_mode, umask, error.strerror or str(error))) from None
    if now & umask:
        raise TooOpen(_refusal(path, now, umask, "the file system keeps no modes"))
    return True


def _refusal(path: Path, mode: int, umask: int, why: str) -> str:
    meant = 0o700 | (mode & 0o77) | (0o777 & ~umask)
    return (
        f"other users of this machine can open {path} (mode {stat.S_IMODE(mode):o}) and this cannot be changed here ({why}): "
        f"have its owner run `chmod -R go-rwx {path}`, or, if they may look into it, set KTRDR_HOME_MODE to {meant:o}"
    )
