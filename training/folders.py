"""Whether the folders of the home are there, for pages and `/healthz`: looked at beside the requests.

A disk that is away may answer nothing at all. So no request waits for it: a thread looks, and pages tell what it saw last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from django.db import DatabaseError

from training import homes
from training.homes import FOLDERS, Look

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

    def __init__(self, look: Callable[[str], Look] = homes.look, clock: Callable[[], float] = time.monotonic) -> None:
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
            found = words_of(homes.not_right(seen))
        except DatabaseError:
            return before  # who asks learns of the database's trouble by what the page itself reads
        with self._lock:
            self._judged = (seen, found)
        return found

    def states(self) -> dict[str, str]:
        """Folder → `ok` or what is wrong with it now; if they do not answer in time, that."""
        seen = self.looks(0.0, LATE_SECONDS)
        return homes.states(seen) if seen else dict.fromkeys(FOLDERS, SILENT)

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
