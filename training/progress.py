"""The callback of a stored operation: it turns a run's reports into rows, checkpoints and pictures, and stops it when asked.

Reports come thousands of times a second; what they lead to goes by the clock: watchers five times a
second, the operation's row once a second, checkpoints by their schedule.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from django.db import DatabaseError, close_old_connections, transaction

from training import checkpoints, operations
from training.models import EpochMetric, Operation, Status
from training.values import BatchMetrics, Cancelled, Collapse, EpochMetrics, Parts

#: Stage → its usual share of a run, until an earlier run tells better; the percentage is their sum and never goes back.
STAGES = {
    "load": 3, "validate": 1, "indicators": 3, "memberships": 3, "features": 2,
    "labels": 2, "split": 1, "train": 80, "evaluate": 3, "save": 2,
}  # fmt: skip
WATCH_SECONDS = 0.1
ROW_SECONDS = 1.0
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
    ) -> None:
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
        self._stop: str | None = None
        self._next_watch = self._next_row = clock()
        self._unwritten: list[EpochMetric] = []
        self._batch: BatchMetrics | None = None
        self._state: Callable[[], Parts] | None = None
        self._saved_epoch: int | None = None
        self._is_unsaved = False  # the last checkpoint could not be written
        self._replaced: int | None = None
        self._ahead = False  # checkpoints of epochs that the run went back over may be there

    @property
    def epoch_under_way(self) -> tuple[int | None, int]:
        """The epoch that is trained now, counted from 1 (None before the first batch), and how many there are to be."""
        return (None, 0) if self._batch is None else (self._batch.epoch + 1, self._batch.epochs)

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
        self._unwritten.append(_row(self.operation_id, self.attempt, metrics))
        for watcher in self.watchers:
            watcher.epoch(metrics, self.percent)
        if news := self._classes.news(metrics):
            self.note(news)
        for finding in metrics.get("findings", ()):
            self.note(finding["text"])
        if went_back or self.schedule.due(metrics["epoch"]):
            self.save("periodic")
        self._look(self.clock())

    def _forget_from(self, epoch: int) -> None:
        """The run went back to a good epoch: what was told of those from `epoch` on is not part of it any more.

        Their rows go when this epoch's row comes, so that nobody reads a history with a hole.
        """
        self._unwritten = [row for row in self._unwritten if row.epoch < epoch]
        self._replaced = epoch if self._replaced is None else min(epoch, self._replaced)
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
        try:
            if operations.live_status(self.operation_id, self.attempt) is None:
                return False  # what an attempt that lost its operation saves would never be swept
            if self._ahead:
                checkpoints.remove_after(self.operation_id, self.attempt, self.epoch)
            checkpoints.save(self.operation_id, self.attempt, self.epoch, kind, self._state())
        except DatabaseError as error:
            log.warning("the checkpoint of epoch %d could not be recorded: %s", self.epoch, error)
            close_old_connections()
            return False
        except checkpoints.CheckpointError as error:
            if not self._is_unsaved:  # a disk stays full for many epochs: once is enough
                self.note(str(error))
            self._is_unsaved = True
            self.schedule.saved()
            return False
        self._saved_epoch, self._ahead, self._is_unsaved = self.epoch, False, False
        self.schedule.saved()
        return True

    def write(self) -> None:
        """Bring the operation's row and epoch metrics up to date; raises Cancelled if the row says stop."""
        status = operations.beat(
            self.operation_id,
            self.attempt,
            stage=self.stage,
            percent=self.percent,
            epoch=self.epoch,
            notes=self.notes,
            stage_seconds={name: round(seconds, 3) for name, seconds in self.stage_seconds.items()},
            **({} if self._checks is None else {"checks": dict(self._checks)}),
        )
        if status is not None:
            self._checks = None  # once is enough
        if status is None:
            raise Cancelled(SUPERSEDED, kind="superseded")
        if self._unwritten:
            self._write_epochs()
        if status == Status.CANCELLING:
            self._stop = self._stop or "cancellation"

    def _write_epochs(self) -> None:
        with transaction.atomic():
            if self._replaced is not None:
                EpochMetric.objects.filter(
                    operation_id=self.operation_id, attempt=self.attempt, epoch__gte=self._replaced
                ).delete()
            EpochMetric.objects.bulk_create(self._unwritten, ignore_conflicts=True)
        self._unwritten, self._replaced = [], None

    def _look(self, now: float) -> None:
        """Write what is due, and stop if asked to."""
        if now >= self._next_row:
            self._next_row = now + ROW_SECONDS
            try:
                self.write()
            except DatabaseError as error:
                # A database that is busy for a moment must not end hours of training: the next look tries again.
                log.warning("progress could not be written: %s", error)
                close_old_connections()  # one that the database has ended would never work again
                after = self.clock()
                self._next_row = max(self._next_row, after + WAITED * (after - now))
        if self._stop is not None:
            raise Cancelled(SUPERSEDED if self._stop == "superseded" else self._stop, kind=self._stop)


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


def _row(operation_id: str, attempt: int, metrics: EpochMetrics) -> EpochMetric:
    return EpochMetric(
        operation_id=operation_id, attempt=attempt, epoch=metrics["epoch"],
        train_loss=metrics["train_loss"], val_loss=metrics["val_loss"], metrics=metrics,
    )  # fmt: skip
