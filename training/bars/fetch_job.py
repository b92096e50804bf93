"""One turn of a fetch of bars, in the quick worker: some pages, then the next turn is queued behind the questions that wait.

Each page is in the store and its count in the row before the next one is asked for, so a turn that is lost costs nothing.
"""

from __future__ import annotations

import time
from datetime import timedelta

from django.db import connections
from django.utils import timezone

from training.access.audit import Actor, audit
from training.core.values import Refusal
from training.jobs.fetches import OPEN, hand_over
from training.models import BarFetch, Status

#: A turn asks for pages so long. While a source wants a pause, a turn waits so long at most.
TURN_SECONDS, WAIT_SECONDS = 8.0, 0.5
BROKEN = "it met something unexpected; the quick worker's log has what happened"


def work(key: str, turn: int) -> str:
    """The job; gives the fetch's status. A turn that was overtaken by a later one does nothing."""
    connections.close_all()  # what the fork inherited belongs to the worker
    mine = BarFetch.objects.filter(pk=key, status__in=OPEN)
    if not mine.filter(turn=turn).update(turn=turn + 1, updated=timezone.now()):
        return "overtaken"
    mine = mine.filter(turn=turn + 1)
    mine.filter(status=Status.PENDING).update(status=Status.RUNNING)
    row = BarFetch.objects.get(pk=key)
    status, error = str(Status.FAILED), BROKEN
    try:
        status, error = _turn(row), ""
    except Refusal as refusal:
        error = str(refusal)
    finally:
        if status != Status.RUNNING and mine.update(status=status, error=error, updated=timezone.now()):
            audit(Actor(row.user, "web"), "load bars", f"{row.symbol} {row.timeframe}", source=row.source, status=status,
                  added=row.state.get("added", 0))  # fmt: skip
    if status == Status.RUNNING and not hand_over(key, turn + 1):
        return str(Status.FAILED)
    return status


def _turn(row: BarFetch) -> str:
    from training.bars import fetching

    fetch = fetching.Fetch(**row.state)
    end = time.monotonic() + TURN_SECONDS
    if (left := (row.due - timezone.now()).total_seconds()) > 0:
        time.sleep(min(left, WAIT_SECONDS))
        if left > WAIT_SECONDS:
            return _asked(row)
    source = fetching.opened(fetch.source)
    while not fetch.is_done:
        if (status := _asked(row)) != Status.RUNNING:
            return status
        try:
            fetching.step(fetch, source)
        finally:
            row.state = fetch.as_dict()
        now = timezone.now()
        row.due = now + timedelta(seconds=fetch.pause)
        if not BarFetch.objects.filter(pk=row.pk, turn=row.turn).update(state=row.state, due=row.due, updated=now):
            return "overtaken"
        if not fetch.is_done and (fetch.pause or time.monotonic() > end):
            return _asked(row)
    return str(Status.COMPLETED)


def _asked(row: BarFetch) -> str:
    """RUNNING, unless somebody asked it to stop or to begin again."""
    status = BarFetch.objects.filter(pk=row.pk, turn=row.turn).values_list("status", flat=True).first()
    return {None: "overtaken", Status.CANCELLING: str(Status.CANCELLED)}.get(status, str(Status.RUNNING))
