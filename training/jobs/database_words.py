"""What is true of a database that could not be used: its error → a kind, and a sentence with what helps."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings
from django.db import connection

#: Kinds of trouble. A busy database passes by itself; the others need a hand.
BUSY, UNSET, FULL, GONE, READ_ONLY, JUNK, AWAY = "busy", "unset", "full", "gone", "read_only", "junk", "away"
#: Kind → (heading, sentence) for whoever looks at a page or an API: without a path and without the database's own words.
PUBLIC = {
    BUSY: ("The database is busy", "Something else has been writing for too long. Trainings go on."),
    AWAY: ("The database does not answer", "Trainings go on and keep what they have to write until it does."),
    UNSET: ("The database is not set up", "It lacks tables: its folder is a new one, or `manage.py migrate` was not run."),
    FULL: ("The disk is full or failing", "Nothing can be written until whoever runs this server makes room."),
    GONE: ("The database is not there", "Its folder was moved or removed: whoever runs this server brings it back."),
    READ_ONLY: ("The database is read-only", "Its folder cannot be written: whoever runs this server restores that right."),
    JUNK: ("The database cannot be read", "Its file is damaged or is no database: whoever runs this server brings back a copy."),
}  # fmt: skip


def kind_of(error: BaseException) -> str:
    """One of the kinds above, from what the database says and what lies on the disk."""
    text = str(error).lower()
    if "not a database" in text or "malformed" in text:
        return JUNK
    if "readonly" in text or "read-only" in text:
        return READ_ONLY if connection.vendor != "sqlite" or _path().exists() else GONE
    if "unable to open" in text:
        path = _path()
        # A folder in which nothing may be made: SQLite needs to write beside the database.
        is_locked_up = path.is_file() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
        return READ_ONLY if is_locked_up else GONE
    if "is full" in text or "no space" in text or "i/o error" in text:
        return FULL if connection.vendor != "sqlite" or _path().exists() else GONE
    if "no such table" in text or "does not exist" in text or "no such column" in text:
        return UNSET
    return BUSY if "locked" in text or connection.vendor == "sqlite" else AWAY


def sentence_of(error: BaseException) -> str:
    """For a command line: what was seen, where, and what helps."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    kind = kind_of(error)
    if kind == UNSET:
        return "the database is not set up yet, run: python manage.py migrate"
    if kind == FULL:
        return (
            f"the disk below {settings.HOME_DIR} is full or failing ({text}); free space, "
            "then `operations list` shows what can be continued with `train --resume`"
        )
    if connection.vendor == "sqlite" and kind in (GONE, READ_ONLY, JUNK):
        return f"{_path()} {_what(kind, _path())} ({text}); {_WANTED[kind]}"
    return f"the database could not be used: {text}"


_WANTED = {
    GONE: "set KTRDR_HOME or DATABASE_URL to where the database is, or may be made",
    READ_ONLY: "give the user that runs this the right to write it and its folder",
    JUNK: "move it away, or bring back a good copy; KTRDR_HOME and DATABASE_URL say where the database is",
}


def _what(kind: str, path: Path) -> str:
    if kind == READ_ONLY:
        return "cannot be written"
    if kind == JUNK:
        return "is damaged or is no SQLite database"
    if path.is_dir():
        return "is a folder, wanted a database file"
    return "is not there, nor is its folder" if not path.parent.is_dir() else "cannot be opened"


def _path() -> Path:
    return Path(str(connection.settings_dict["NAME"]))
