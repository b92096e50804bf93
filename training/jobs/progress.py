"""The callback of a stored operation: it turns a run's reports into rows, checkpoints and pictures, and stops it when asked.

Reports come thousands of times a second; what they lead to goes by the clock: watchers five times a
second, the operation's row once a second, checkpoints by their schedule.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from django.db import DatabaseError, close_old_connections, transaction

from training.core.values import BatchMetrics, Cancelled, Collapse, EpochMetrics, Parts
from training.jobs import checkpoints, homes, lifecycle
from training.jobs.recording import PATIENCE_SECONDS, Recorder
from training.models import EpochMetric, Operation, Status

#: Stage → its usual share of a run, until an earlier run tells better; the percentage is their sum and never goes back.
STAGES = {
    "load": 3, "validate": 1, "indicators": 3, "memberships": 3, "features": 2,
    "labels": 2, "split": 1, "train": 80, "evaluate": 3, "save": 2,
}  # fmt: skip
WATCH_SECONDS = 0.1
ROW_SECONDS = 1.0
#: So long after it was found away the folder of checkpoints is looked for again, at an epoch's end.
AWAY_SECONDS = 1.0
#: So many epochs wait at most for a database that is away; the next one waits with them.
MOST_UNWRITTEN = 10_000
#: After a database that stayed busy, the run trains so many times as long as it has waited before it tries again.
WAITED = 3.0
SUPERSEDED = "another process took this operation over"
log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Somebody who looks on: a terminal, a log. Called from the training thread: answer at once."""

    def stage(self, name: str, fraction: float, percent: float) -> None: ...

    def batch(self, metrics: BatchMetrics, percent: float) -> None: ...

    def epoch(self, metrics: EpochMetrics, percent: float) -> None: ...

    def note(self, text: str) -> None: ...


class _Due(NamedTuple):
    """The epochs that no row tells of yet, from which on older rows are to go, and how often the run had gone back."""

    rows: list[EpochMetric]
    replaced: int | None
    times_back: int


class Progress:
    """The `Callback` of one attempt at an operation."""

    def __init__(
        self,
        operation_id: str,
        attempt: int,
        schedule: checkpoints.Schedule,
        watchers: Sequence[Watcher] = (),
        clock: Callable[[], float] = time.monotonic,
        weights: Mapping[str, float] = STAGES,
        recorder: Recorder | None = None,
    ) -> None:
        """recorder: writes to the database until `settle`; without one each report does so itself, and waits."""
        self.operation_id, self.attempt = operation_id, attempt
        self.weights = weights
        self.stage_seconds: dict[str, float] = {}
        self._stage_began = clock()
        self.schedule, self.watchers, self.clock = schedule, watchers, clock
        self.stage = ""
        self.epoch: int | None = None
        self.notes: list[str] = []
        self._checks: Mapping[str, Any] | None = None
        self._classes = Collapse()
        self._fractions = dict.fromkeys(STAGES, 0.0)
        #: Its end is written already, and its process is about to end.
        self.is_left = False
        self._stop: str | None = None
        self._next_watch = self._next_row = clock()
        self._unwritten: list[EpochMetric] = []
        self._batch: BatchMetrics | None = None
        self._state: Callable[[], Parts] | None = None
        self._saved_epoch: int | None = None
        self._is_unsaved = False  # the last checkpoint could not be written
        self._replaced: int | None = None
        self._times_back = 0
        self._owed: float | None = None  # a checkpoint that could not be saved, and when it is tried again
        self._ahead = False  # checkpoints of epochs that the run went back over may be there
        self._recorder, self._rows = recorder, threading.Lock()

    @property
    def epoch_under_way(self) -> tuple[int | None, int]:
        """The epoch that is trained now, counted from 1 (None before the first batch), and how many there are to be."""
        return (None, 0) if self._batch is None else (self._batch.epoch + 1, self._batch.epochs)

    @property
    def has_nothing_to_save(self) -> bool:
        """Whether no epoch is completed yet: what the attempt has done so far is done again by the next one."""
        return self.epoch is None and self.stage not in ("evaluate", "save")

    def request_stop(self, kind: str) -> None:
        """Ask the run to end at its next report: `cancellation`, `shutdown` or `superseded` (another attempt owns it).

        Safe in a signal handler and from another thread.
        """
        self._stop = kind if kind == "superseded" else self._stop or kind

    @property
    def percent(self) -> float:
        """Share of the whole run that is done, in [0, 100]."""
        return sum(self.weights[name] * fraction for name, fraction in self._fractions.items()) * 100 / sum(self.weights.values())

    # --- the Callback ---

    def on_stage(self, name: str, fraction: float) -> None:
        now = self.clock()
        if self.stage:
            self.stage_seconds[self.stage] = self.stage_seconds.get(self.stage, 0.0) + now - self._stage_began
        self.stage, self._stage_began = name, now
        self._fractions[name] = max(self._fractions[name], fraction)
        for watcher in self.watchers:
            watcher.stage(name, fraction, self.percent)
        self._look(now)

    def on_batch_end(self, metrics: BatchMetrics) -> None:
        now = self.clock()
        if now < self._next_watch and self._stop is None:
            return
        self._next_watch, self._batch = now + WATCH_SECONDS, metrics
        inside = (metrics.batch + 1) / metrics.batches
        self._fractions["train"] = max(self._fractions["train"], (metrics.epoch + inside) / metrics.epochs)
        for watcher in self.watchers:
            watcher.batch(metrics, self.percent)
        self._look(now)

    def on_epoch_end(self, metrics: EpochMetrics, state: Callable[[], Parts]) -> None:
        went_back = self.epoch is not None and metrics["epoch"] <= self.epoch
        if went_back:
            self._forget_from(metrics["epoch"])
        self.epoch, self._state = metrics["epoch"], state
        with self._rows:
            self._unwritten.append(row_of(self.operation_id, self.attempt, metrics))
        for watcher in self.watchers:
            watcher.epoch(metrics, self.percent)
        if news := self._classes.news(metrics):
            self.note(news)
        for finding in metrics.get("findings", ()):
            self.note(finding["text"])
        is_owed = self._owed is not None and self.clock() >= self._owed
        if went_back or is_owed or (self._owed is None and self.schedule.due(metrics["epoch"])):
            self.save("periodic")
        self._look(self.clock())

    def _forget_from(self, epoch: int) -> None:
        """The run went back to a good epoch: what was told of those from `epoch` on is not part of it any more.

        Their rows go when this epoch's row comes, so that nobody reads a history with a hole.
        """
        with self._rows:
            self._unwritten = [row for row in self._unwritten if row.epoch < epoch]
            self._replaced = epoch if self._replaced is None else min(epoch, self._replaced)
            self._times_back += 1
        self._saved_epoch, self._ahead = None, True

    # --- what it leads to ---

    def note(self, text: str) -> None:
        """Something that the trader should know; kept with the operation."""
        if text not in self.notes:
            self.notes.append(text)
            for watcher in self.watchers:
                watcher.note(text)

    def on_checks(self, checks: Mapping[str, Any]) -> None:
        """What was found of bars, features and labels; kept with the operation."""
        self._checks = checks

    def save(self, kind: str) -> bool:
        """Save the end of the last completed epoch, unless it is saved already; gives whether it is safe on disk.

        A checkpoint that cannot be written costs the way back to it, not the run: it is noted.
        """
        if self._state is None or self.epoch is None:
            return False
        if self._saved_epoch == self.epoch:
            return True
        if self._recorder is not None and self._recorder.is_full:
            self._owed = self.clock() + AWAY_SECONDS
            return False  # so many are on disk already that nobody knows of
        try:
            if self._stop == "superseded":
                return False
            written = checkpoints.write(self.operation_id, self.attempt, self.epoch, kind, self._state())
            if self._recorder is not None:
                self._recorder.put(functools.partial(self._record, written, ahead=self._ahead))
            elif not self._record(written, ahead=self._ahead):
                return False
        except homes.Away as away:
            ends = f"the end of epoch {self.epoch + 1} could not be saved"
            self.note(f"{'the training goes on and saves once it can' if kind == 'periodic' else ends}: {away}")
            self._owed = self.clock() + AWAY_SECONDS
            return False
        except DatabaseError as error:
            log.warning("the checkpoint of epoch %d could not be recorded: %s", self.epoch, error)
            close_old_connections()
            return False
        except checkpoints.CheckpointError as error:
            if not self._is_unsaved:  # a disk stays full for many epochs: once is enough
                self.note(str(error))
            self._is_unsaved = True
            self.schedule.saved()
            self._owed = None
            return False
        if self._owed is not None:
            self.note(f"the end of epoch {self.epoch + 1} is saved")
        self._saved_epoch, self._ahead, self._owed, self._is_unsaved = self.epoch, False, None, False
        self.schedule.saved()
        return True

    def _record(self, written: checkpoints.Written, ahead: bool) -> bool:
        """The row of a checkpoint, with those of the epochs that it covers: a run that goes on after it measures them no more.

        False, and nothing is left of it, if another attempt owns the operation: nobody would sweep it.
        """
        if lifecycle.live_status(self.operation_id, self.attempt) is None:
            checkpoints.discard(written)
            self.request_stop("superseded")
            return False
        if ahead:
            checkpoints.remove_after(self.operation_id, self.attempt, written.epoch)
        due = self._due()
        checkpoints.record(written, lambda: self._write_epochs(due))
        self._forget(due)
        return True

    def settle(self) -> None:
        """The run has come to its end: from here on what is written is waited for."""
        if self._recorder is not None:
            self._recorder.drain(PATIENCE_SECONDS)
            self._recorder = None

    def rest(self, seconds: float) -> None:
        """Wait for something that a run needs; raises Cancelled once it is asked to stop."""
        until = self.clock() + seconds
        while self.clock() < until and self._stop is None:
            time.sleep(0.05)
        self._look(self.clock())

    def write(self) -> None:
        """Bring the operation's row and epoch metrics up to date; raises Cancelled if the row says stop."""
        checks = self._checks
        status = lifecycle.beat(
            self.operation_id,
            self.attempt,
            stage=self.stage,
            percent=self.percent,
            epoch=self.epoch,
            notes=list(self.notes),
            stage_seconds={name: round(seconds, 3) for name, seconds in list(self.stage_seconds.items())},
            **({} if checks is None else {"checks": dict(checks)}),
        )
        if status is None:
            raise Cancelled(SUPERSEDED, kind="superseded")
        if self._checks is checks:
            self._checks = None  # once is enough
        due = self._due()
        if due.rows:
            with transaction.atomic():
                self._write_epochs(due)
            self._forget(due)
        if status == Status.CANCELLING:
            self._stop = self._stop or "cancellation"

    def _due(self) -> _Due:
        with self._rows:
            return _Due(list(self._unwritten), self._replaced, self._times_back)

    def _write_epochs(self, due: _Due) -> None:
        """Inside a transaction; what was written is forgotten once that has ended well."""
        if due.replaced is not None:
            EpochMetric.objects.filter(operation_id=self.operation_id, attempt=self.attempt, epoch__gte=due.replaced).delete()
        EpochMetric.objects.bulk_create(due.rows, ignore_conflicts=True)

    def _forget(self, due: _Due) -> None:
        """What is written is due no more, unless the run went back meanwhile: then older rows are still to go."""
        done = set(map(id, due.rows))
        with self._rows:
            self._unwritten = [row for row in self._unwritten if id(row) not in done]
            if self._times_back == due.times_back:
                self._replaced = None

    def _look(self, now: float) -> None:
        """Write what is due, and stop if asked to."""
        if now >= self._next_row:
            self._next_row = now + ROW_SECONDS
            if self._recorder is None:
                self._write_now(now)
            else:
                self._recorder.offer(self._write_aside)
                if len(self._unwritten) >= MOST_UNWRITTEN:
                    self._recorder.drain(ROW_SECONDS)
        if self._stop is not None:
            raise Cancelled(SUPERSEDED if self._stop == "superseded" else self._stop, kind=self._stop)

    def _write_aside(self) -> None:
        try:
            self.write()
        except Cancelled:
            self.request_stop("superseded")

    def _write_now(self, now: float) -> None:
        try:
            self.write()
        except DatabaseError as error:
            # A database that is busy for a moment must not end hours of training: the next look tries again.
            log.warning("progress could not be written: %s", error)
            close_old_connections()  # one that the database has ended would never work again
            after = self.clock()
            self._next_row = max(self._next_row, after + WAITED * (after - now))


def learned_weights(operation_id: str) -> Mapping[str, float]:
    """What the stages of the last completed run of the same strategy took; STAGES if there is none."""
    own = Operation.objects.filter(pk=operation_id).values("strategy_version__strategy")
    seconds = (
        Operation.objects.filter(strategy_version__strategy__in=own, status=Status.COMPLETED, attempt=1)
        .exclude(stage_seconds={})
        .order_by("-finished")
        .values_list("stage_seconds", flat=True)
        .first()
    )
    if not seconds:
        return STAGES
    least = sum(seconds.values()) / 200  # a stage that took no time may take some this time
    return {name: max(seconds.get(name, 0.0), least) for name in STAGES}


def row_of(operation_id: str, attempt: int, metrics: EpochMetrics) -> EpochMetric:
    """What is recorded of an epoch."""
    return EpochMetric(
        operation_id=operation_id, attempt=attempt, epoch=metrics["epoch"],
        train_loss=metrics["train_loss"], val_loss=metrics["val_loss"], metrics=metrics,
    )  # fmt: skip
