"""Keeping the analytics of an attempt that asked for them: where records go, and what is written when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from training.jobs import homes
from training.jobs.analytics_files import Journal
from training.models import Operation

Sink = Callable[[dict[str, Any]], None]


def folder_of(operation_id: str) -> Path:
    return Path(settings.ANALYTICS_DIR) / operation_id


@contextmanager
def analytics_of(operation: Operation, note: Callable[[str], None]) -> Iterator[Sink | None]:
    """The sink of this attempt, None if the operation asked for none; files for reading are written however it ends.

    A disk that takes no more costs the analytics, not the run: it is noted.
    """
    if not operation.detailed_analytics:
        yield None
        return
    journal = Journal(folder_of(operation.pk), operation.attempt)

    def guarded(step: Callable[[], None]) -> None:
        try:
            homes.require("analytics")
            step()
        except homes.Away as away:
            note(f"the analytics could not be kept: {away}")
        except OSError as error:
            note(f"the analytics could not be kept in {journal.folder}: {error.strerror or error}")

    try:
        yield lambda record: guarded(lambda: journal.add(record))
    finally:
        guarded(journal.finish)
