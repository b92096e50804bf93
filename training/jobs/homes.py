"""Homes: the folders that the database's records speak of. Each has a file with an id that the database knows.

A disk that is not mounted leaves an empty folder in its place. Who would write there looks for the id first, and again
afterwards; nothing but this module makes such a folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection

from training.core.files import FolderError, sync_folder
from training.core.modes import MARK, may_write
from training.core.values import Refusal
from training.models import BarSeries, Checkpoint, Identity, TrainedModel

#: Folder → the setting that says where it lies. Each may be a disk of its own.
FOLDERS: Final = {
    "home": "HOME_DIR", "bars": "STORE_DIR", "checkpoints": "CHECKPOINT_DIR", "bundles": "BUNDLE_DIR",
    "logs": "LOG_DIR", "analytics": "ANALYTICS_DIR", "uploads": "UPLOAD_DIR",
}  # fmt: skip
#: Between two looks for a folder that is away.
PAUSE_SECONDS = 0.5
Result = TypeVar("Result")
#: Ids that this process has read from the database; one that does not fit is read again.
_known: dict[str, str] = {}


@dataclass(frozen=True)
class Look:
    """What was seen of a folder: the id in it, None if there is none, and why it could not be read."""

    path: Path
    mark: str | None
    is_folder: bool = True
    why: str = ""


class Away(FolderError):
    """A folder is not there, or another one is in its place: nothing is written to it, and nothing that is in it is judged."""

    category = "transient"


def path_of(name: str) -> Path:
    return Path(getattr(settings, FOLDERS[name]))


def require(name: str) -> Path:
    """The folder, proven to be the one that the database knows; one that it does not know yet is made, and known from then on.

    Away if it is not there.
    """
    path = path_of(name)
    if trouble := _trouble(name, look(name)):
        raise Away(trouble)
    if _known.get(name) is None:
        _begin(name, path)
    return path


def is_there(name: str) -> bool:
    """Whether what is missing in the folder can be told: it is the one that the database knows, or none is known yet."""
    return _trouble(name, look(name)) is None


def states(looks: Mapping[str, Look] | None = None) -> dict[str, str]:
    """Folder → `ok`, or the sentence that says what is wrong with it; looked at now, or as they were seen."""
    return {name: _trouble(name, looks[name] if looks else look(name)) or "ok" for name in FOLDERS}


def require_all() -> None:
    """Before anything is started. Away names all that are not there."""
    sentences = [said for said in states().values() if said != "ok"]
    if sentences:
        raise Away("; ".join(sentences))
    for name in FOLDERS:
        require(name)


def while_there(name: str, work: Callable[[Path], Result], note: Callable[[str], None], rest: Callable[[float], None]) -> Result:
    """What `work` gives on the folder, begun anew as often as the folder is away, or was before it had ended.

    What is waited for is told by `note`; `rest` sleeps between two looks, and may raise to end the waiting.
    """
    waited = False
    while True:
        try:
            path = require(name)
            if waited:
                note(f"the folder of {name} is back")
                waited = False
            result = work(path)
            require(name)
        except (Refusal, OSError) as error:
            if not isinstance(error, Away) and is_there(name):
                raise
            note(f"waits: {_trouble(name, look(name)) or error}")
            waited = True
            rest(PAUSE_SECONDS)
        else:
            return result


def require_before_all() -> None:
    """Before a lock is taken or a table made: Away if the database knows a home and it is not there; a new one knows none.

    DatabaseError if it cannot be asked and the folder could be the empty place of a home.
    """
    try:
        said = _trouble("home", look("home")) if is_set_up() else None
    except DatabaseError:
        if not may_write(path_of("home"), str(connection.settings_dict["NAME"])):
            raise
        said = None  # whoever sets it up says what is wrong with it
    if said:
        raise Away(said)


def adopt(name: str) -> str:
    """The folder as it is now is the one from now on, with the id that it has or a new one; in words what was done."""
    path = path_of(name)
    before = Identity.objects.filter(name=name).values_list("key", flat=True).first()
    with _sentences(name, path):
        found = _mark_in(path)
        key = found or _marked(path)
    Identity.objects.update_or_create(name=name, defaults={"key": key})
    _known[name] = key
    if found and found == before:
        return f"{path} is the folder of {name}, as before"
    return f"{path} is the folder of {name} from now on{'' if found else ', with a new id'}"


def cache_folder() -> Path | None:
    """The folder of copies that only this machine needs, made if need be; None while it would lie in a home that is away."""
    path = Path(settings.CACHE_DIR)
    if path.is_relative_to(path_of("home")) and not is_there("home"):
        return None
    with contextlib.suppress(OSError):  # whoever keeps something there says so
        path.mkdir(parents=True, exist_ok=True)
    return path


def look(name: str) -> Look:
    """A look at a folder, without a question to the database. It takes as long as the folder takes to answer."""
    path = path_of(name)
    try:
        mark = _mark_in(path)
        return Look(path, mark, mark is not None or path.is_dir())
    except OSError as error:
        return Look(path, None, why=f"cannot be read: {error.strerror or error}")


def not_right(looks: Mapping[str, Look]) -> list[str]:
    """Names of the folders that are not those that the database knows. It is asked once, and not at all if it named these before.

    Raises DatabaseError.
    """
    if all(seen.mark is not None and seen.mark == _known.get(name) for name, seen in looks.items()):
        return []
    known = dict(Identity.objects.filter(name__in=FOLDERS).values_list("name", "key"))
    _known.update(known)
    for name in FOLDERS.keys() - known.keys():
        _known.pop(name, None)
    return [name for name, seen in looks.items() if seen.why or seen.mark != known.get(name, seen.mark)]


def _trouble(name: str, seen: Look) -> str | None:
    """Why the folder is not the one that the database knows; None if it is, or if none is known yet."""
    if seen.mark is not None and seen.mark == _known.get(name):
        return None
    wanted = _wanted(name)
    why = seen.why
    if wanted is None:
        return _sentence(name, seen.path, why) if why else None
    if seen.mark == wanted:
        return None
    if not why and seen.mark:
        why = f"is another one: its {MARK} differs from what the database knows"
    elif not why:
        why = f"is not there: it has no {MARK}, by which the database knows it" if seen.is_folder else "is not there"
    return _sentence(name, seen.path, why)


def _wanted(name: str) -> str | None:
    """The id that the database knows, None if it knows none; while it is away, what it said last."""
    try:
        key = Identity.objects.filter(name=name).values_list("key", flat=True).first()
    except DatabaseError:
        close_old_connections()  # one that the database has ended would never work again
        if name not in _known:
            raise
        return _known[name]
    if key is None:
        _known.pop(name, None)
    else:
        _known[name] = key
    return key


def _sentence(name: str, path: Path, why: str) -> str:
    return (
        f"the folder of {name}, {path}, {why}; mount it or move it back. If it was given up, "
        f"`manage.py home --adopt {name}` begins with what is there now"
    )


def _begin(name: str, path: Path) -> None:
    """The database does not know this folder yet: it is new, or from before folders had ids."""
    if name != "home" and path.is_relative_to(path_of("home")):
        require("home")
    with _sentences(name, path):
        key = _mark_in(path)
        if key is None:
            _refuse_strange(name, path)
            key = _marked(path)
    known, _ = Identity.objects.get_or_create(name=name, defaults={"key": key})
    _known[name] = known.key
    if known.key != key:  # another machine was faster, with another folder
        raise Away(_sentence(name, path, f"is another one: its {MARK} differs"))


def _refuse_strange(name: str, path: Path) -> None:
    """A folder that has nothing of what the database knows of is none to begin with."""
    recorded: dict[str, Callable[[], list[str]]] = {
        "home": lambda: [*recorded["bars"](), *recorded["bundles"]()],
        "bars": lambda: [f"{s}_{t}.parquet" for s, t in BarSeries.objects.values_list("symbol", "timeframe")[:100]],
        "bundles": lambda: list(TrainedModel.objects.order_by("-pk").values_list("folder", flat=True)[:100]),
        "checkpoints": lambda: list(Checkpoint.objects.order_by("-pk").values_list("folder", flat=True)[:100]),
    }
    wanted = recorded[name]() if name in recorded else []
    if wanted and not (path.is_dir() and any(path.iterdir())):
        seen = "empty" if path.is_dir() else "not there"
        raise Away(_sentence(name, path, f"is {seen}, and the database knows of things in it"))


def _mark_in(path: Path) -> str | None:
    """The id that is in a folder, None if there is none."""
    try:
        return (path / MARK).read_text(encoding="ascii", errors="replace").strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _marked(path: Path) -> str:
    """Make the folder, if need be, and put an id into it; of two that do so at once both get the same."""
    path.mkdir(parents=True, exist_ok=True)
    temporary = path / f"{MARK}-{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("x", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(16)}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path / MARK)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path)
    key = _mark_in(path)
    assert key is not None, "it was written just now"
    return key


@contextlib.contextmanager
def _sentences(name: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Away(f"the folder of {name}, {path}, cannot be used: {error.strerror or error}") from error


def is_set_up() -> bool:
    """Whether the database can know folders at all: it may be new, or from before they had ids."""
    return Identity._meta.db_table in connection.introspection.table_names()


#: A look counts for so long; the first page after that begins another one, and waits for it no longer than that.
FRESH_SECONDS, PATIENCE_SECONDS = 5.0, 0.1
#: Folders that have not answered after so long are told of.
LATE_SECONDS = 5.0
SILENT = (
    "The folders of this server do not answer, as when their disk is away: what needs them waits until whoever runs the server "
    "brings it back."
)


class FolderWatch:
    """What one process knows of its folders, asked by any number of requests at once."""

    def __init__(self, look: Callable[[str], Look] = look, clock: Callable[[], float] = time.monotonic) -> None:
        self._look, self._clock = look, clock
        self._lock = threading.Lock()
        self._seen: Mapping[str, Look] = {}
        self._seen_at = self._began = float("-inf")
        self._under_way: threading.Event | None = None
        #: What was seen when the database was asked last, and what came of it.
        self._judged: tuple[Mapping[str, Look], str] = ({}, "")

    def sentence(self) -> str:
        """What is wrong with the folders, for a page; empty while nothing is, or nothing is known yet."""
        seen = self.looks(FRESH_SECONDS, PATIENCE_SECONDS)
        if seen is None:
            return SILENT
        with self._lock:
            judged, before = self._judged
        # The same folders as before, and nothing was wrong: as on nearly every page, nobody is asked.
        if not seen or seen is judged or (seen == judged and not before):
            return before
        try:
            found = words_of(not_right(seen))
        except DatabaseError:
            return before  # who asks learns of the database's trouble by what the page itself reads
        with self._lock:
            self._judged = (seen, found)
        return found

    def states(self) -> dict[str, str]:
        """Folder → `ok` or what is wrong with it now; if they do not answer in time, that."""
        seen = self.looks(0.0, LATE_SECONDS)
        return states(seen) if seen else dict.fromkeys(FOLDERS, SILENT)

    def looks(self, fresh: float, patience: float) -> Mapping[str, Look] | None:
        """What was seen at most `fresh` seconds ago, or last if that takes longer than `patience`; None if they do not answer."""
        with self._lock:
            if self._under_way is None and self._clock() - self._seen_at >= fresh:
                self._begin()
            elif fresh or self._is_late():
                patience = 0.0
            under_way = self._under_way
        if under_way is not None and patience:
            under_way.wait(patience)
        with self._lock:
            return None if self._is_late() else self._seen

    def _is_late(self) -> bool:
        return self._under_way is not None and self._clock() - self._began >= LATE_SECONDS

    def _begin(self) -> None:
        self._under_way, self._began = threading.Event(), self._clock()
        threading.Thread(target=self._see, args=[self._under_way], name="folders", daemon=True).start()

    def _see(self, done: threading.Event) -> None:
        seen = {name: self._look(name) for name in FOLDERS}
        with self._lock:
            self._seen, self._seen_at, self._under_way = seen, self._clock(), None
        done.set()


def words_of(names: list[str]) -> str:
    """One sentence for whoever looks at a page; whoever runs the server gets places and remedies from `ktrdr home`."""
    if not names:
        return ""
    if "home" in names:
        what, verb, them = "The home folder of this server", "is", "it"
    elif len(names) == 1:
        what, verb, them = f"The folder of {names[0]}", "is", "it"
    else:
        what, verb, them = f"The folders of {', '.join(names[:-1])} and {names[-1]}", "are", "them"
    return f"{what} {verb} not there: what needs {them} waits or is refused until whoever runs the server brings {them} back."


watch = FolderWatch()
