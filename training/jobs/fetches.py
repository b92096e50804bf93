"""Fetches of bars that were asked for in the browser: begin, stop, go on. The work is the quick worker's (`fetch_job`)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from training.access.audit import Actor, audit
from training.core.values import Refusal
from training.jobs import queues
from training.jobs.fetch_state import Fetch
from training.models import LIVE, BarFetch, Status

OPEN = (Status.PENDING, *LIVE)
#: A fetch that nobody has worked on for so long has lost its worker.
LOST = timedelta(seconds=60)
#: What is over is listed so long; the audit trail keeps it.
KEPT = timedelta(days=30)


class FetchError(Refusal):
    """A fetch that cannot begin or go on: one sentence."""


def begin(actor: Actor, symbol: str, timeframe: str, source: str, **wanted: Any) -> BarFetch:
    """A new fetch in the quick queue. wanted: market, since and until (µs), replace; as `fetching.Fetch` takes them."""
    queues.ping()
    queues.must_answer_quickly()
    with transaction.atomic():
        BarFetch.objects.filter(created__lt=timezone.now() - KEPT).exclude(status__in=OPEN).delete()
        for other in BarFetch.objects.filter(symbol=symbol, timeframe=timeframe, status__in=OPEN):
            if not is_lost(other):
                raise FetchError(f"{symbol} {timeframe} is being fetched already")
            _stop(other, Status.CANCELLED)
        row = BarFetch(symbol=symbol, timeframe=timeframe, source=source, user=actor.user)
        row.state = Fetch(symbol, timeframe, source, key=row.key, **wanted).as_dict()
        row.save(force_insert=True)
        audit(actor, "fetch bars", f"{symbol} {timeframe}", source=source, market=wanted.get("market", ""))
        transaction.on_commit(lambda: hand_over(row.key, 0))
    row.refresh_from_db()
    return row


def hand_over(key: str, turn: int) -> bool:
    """Put the next turn of a stored fetch into the quick queue; one that Redis cannot take has failed, and can go on."""
    try:
        queues.enqueue_fetch(key, turn)
    except queues.NoWorker as refusal:
        waiting = BarFetch.objects.filter(pk=key, turn=turn, status__in=OPEN)
        waiting.update(status=Status.FAILED, error=str(refusal), updated=timezone.now())
        return False
    return True


def cancel(row: BarFetch) -> None:
    """It stops after the page under way; at once where nobody works on it."""
    if is_lost(row) or not BarFetch.objects.filter(pk=row.pk, status=Status.RUNNING).update(status=Status.CANCELLING):
        _stop(row, Status.CANCELLED)


def go_on(row: BarFetch) -> None:
    """From where the store ends. FetchError while it is worked on, or done."""
    queues.ping()
    queues.must_answer_quickly()
    if not (is_lost(row) or row.status in (Status.FAILED, Status.CANCELLED)):
        raise FetchError(f"{row.symbol} {row.timeframe} is {row.status}")
    wanted = Fetch(**row.state).begun_again().as_dict()
    now = timezone.now()
    fresh = {"status": Status.PENDING, "state": wanted, "turn": F("turn") + 1, "due": now, "updated": now, "error": ""}
    with transaction.atomic():
        if BarFetch.objects.filter(pk=row.pk, turn=row.turn, status=row.status).update(**fresh):
            transaction.on_commit(lambda: hand_over(row.key, row.turn + 1))


def is_lost(row: BarFetch) -> bool:
    """Whether it should be at work, and is not."""
    return row.status in OPEN and timezone.now() - max(row.updated, row.due) > LOST


def _stop(row: BarFetch, status: Status) -> None:
    BarFetch.objects.filter(pk=row.pk, status__in=OPEN).update(status=status, turn=F("turn") + 1, updated=timezone.now())
