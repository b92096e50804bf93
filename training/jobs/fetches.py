"""Fetches of bars that were asked for in the browser, as plain data: begin, stop, go on. The work is that of `bars.fetching`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from training.access.audit import Actor, audit
from training.core.values import Refusal
from training.jobs import queues
from training.models import OPEN, BarFetch, Status

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


@dataclass
class Fetch:
    """What is wanted, and how far it came; plain data, so that another process can go on. Times are µs, None: as far as possible.

    spans: what is left to ask for; `pause`: seconds to wait before the next step, because of `problem`.
    """

    symbol: str
    timeframe: str
    source: str
    market: str = ""
    since: int | None = None
    until: int | None = None
    replace: bool = False
    key: str = "own"
    spans: list[list[int]] | None = None
    anew: bool = False
    total: int = 0
    pages: int = 0
    added: int = 0
    in_span: int = 0
    tries: int = 0
    pause: float = 0.0
    problem: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return self.spans == []

    @property
    def percent(self) -> float:
        left = sum(end - start for start, end, *_ in self.spans or ())
        return 100.0 if self.is_done else 100.0 * (1 - left / self.total) if self.total else 0.0

    @property
    def label(self) -> str:
        return f"{self.source} {self.market}"

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def begun_again(self) -> Fetch:
        """The same wish, as if nothing had been asked for yet."""
        return Fetch(self.symbol, self.timeframe, self.source, self.market, self.since, self.until, self.replace, self.key)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
