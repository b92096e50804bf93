"""The job: one attempt at an operation, from its claim, by what it continues from, to its end, in whatever process it runs.

Whatever happens, the row says how it ended and what was kept; everything heavy is imported inside.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DatabaseError, IntegrityError, close_old_connections, connections, transaction
from django.utils import timezone

from strategies_app.grammar import plugins
from training.core.memory import MemoryWatch
from training.core.values import Cancelled, Parts, Refusal
from training.jobs import checkpoints, homes, lifecycle
from training.jobs.analytics import analytics_of
from training.jobs.downloads import read_back
from training.jobs.failures import TRANSIENT, Moment, category_of, failure_of
from training.jobs.logs import log_file, write_traceback
from training.jobs.notices import mail_end
from training.jobs.progress import Progress, Watcher, learned_weights, row_of
from training.jobs.recording import Recorder, patiently
from training.jobs.status import replaced
from training.models import Checkpoint, EpochMetric, Operation, Status, TrainedModel
from training.workers.monitoring import MachineUse, Pulse

THREADS = 1
#: What asks a run on a worker to save and stop; the worker blocks them in its fork until the run can take them.
STOP_SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
log = logging.getLogger(__name__)


def train_operation(operation_id: str, attempt: int) -> str:
    """The job of the queues `gpu` and `cpu`, in the process that the worker forked for it; gives the final status."""
    from rq import get_current_job

    from training.jobs.broadcast import Publisher

    connections.close_all()  # what the fork inherited belongs to the worker
    job = get_current_job()
    device = "cpu" if job is not None and job.origin == "cpu" else None
    allow_inexact = bool(Operation.objects.filter(pk=operation_id).values_list("allow_inexact", flat=True).first())
    publisher, status = Publisher(operation_id, attempt), str(Status.FAILED)

    def leave(progress: Progress) -> None:
        """Cancelled while one call of a library computes on: with nothing to save, this process need not wait for it."""
        if not progress.has_nothing_to_save:
            return
        progress.is_left = lifecycle.stop(operation_id, attempt, Status.CANCELLED, CANCELLED)
        if progress.is_left:
            publisher.close(Status.CANCELLED)
            mail_end(operation_id)
            log.info("%s attempt %s: %s", operation_id, attempt, Status.CANCELLED)
            os._exit(0)

    try:
        with stop_signals() as hand, log_file(operation_id, attempt) as written:
            watchers = (written, publisher)
            log.info("%s attempt %s begins", operation_id, attempt)
            how = {"allow_inexact": allow_inexact, "device": device, "on_start": hand, "leave": leave}
            status = run_operation(operation_id, attempt, watchers, **how)
    except lifecycle.OperationError as refusal:
        log.info("nothing to do: %s", refusal)  # cancelled, or taken over, while it waited
    finally:
        publisher.close(status)
    mail_end(operation_id)
    log.info("%s attempt %s: %s", operation_id, attempt, status)
    return status


@contextmanager
def stop_signals() -> Iterator[Callable[[Progress], None]]:
    """Inside, a stop signal asks the run to save and stop, however often it comes and however early it came.

    Gives the function that takes the run's progress.
    """
    watched: list[Progress] = []
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        for progress in watched:
            progress.request_stop("shutdown")

    def hand(progress: Progress) -> None:
        watched.append(progress)
        if asked:
            progress.request_stop("shutdown")

    handlers = {number: signal.signal(number, ask) for number in STOP_SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        yield hand
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def run_operation(
    operation_id: str,
    attempt: int,
    watchers: Sequence[Watcher] = (),
    *,
    allow_inexact: bool = False,
    device: str | None = None,
    on_start: Callable[[Progress], None] = lambda progress: None,
    leave: Callable[[Progress], None] = lambda progress: None,
) -> str:
    """Train what the operation asks for and record how it ended; gives its final status.

    `device`: `cpu` on a cpu worker; the best of this machine if None.
    `on_start` gets the progress before anything is done, so that the caller can hand signals to it. `leave` gets it in
    another thread when the run does not hear a cancellation at once, and may end the process if there is nothing to save.
    """
    schedule = checkpoints.Schedule(settings.CHECKPOINT_EPOCH_INTERVAL, settings.CHECKPOINT_TIME_INTERVAL_SECONDS)
    recorder = Recorder(operation_id)
    weights = learned_weights(operation_id)
    progress = Progress(operation_id, attempt, schedule, watchers, weights=weights, recorder=recorder)
    on_start(progress)
    if not patiently(lambda: lifecycle.claim(operation_id, attempt), operation_id):
        raise lifecycle.OperationError(f"{operation_id} is not waiting for attempt {attempt}: another process has taken it")
    watch = MemoryWatch(settings.MEMORY_LIMIT, progress.note)
    pulse = Pulse(operation_id, attempt, progress.request_stop, watch.look, lambda: leave(progress))
    with pulse, MachineUse(operation_id, attempt, device), recorder:
        try:
            progress.on_stage("load", 0.0)
            _train(operation_id, attempt, progress, allow_inexact, device)
            return Status.COMPLETED
        except Cancelled as stop:
            return stopped(progress, stop)
        except Exception as error:  # noqa: BLE001 - whatever it is, the row says it, and the log holds the way to it
            return failed(progress, error)


def _train(operation_id: str, attempt: int, progress: Progress, allow_inexact: bool, device: str | None) -> None:
    from strategies_app.grammar.schema import StrategySpec
    from training.pipeline.loading import load_bars
    from training.recipe import FeatureCache, train_strategy
    from training.trainer.bundle import save_bundle
    from training.trainer.device import choose_device, memory_errors

    operation = Operation.objects.select_related("strategy_version__strategy").get(pk=operation_id)
    lifecycle.refuse_other_plugins(operation, allow_inexact=allow_inexact)
    spec = StrategySpec.model_validate(operation.spec_data)
    device = device or choose_device()
    # A later attempt reads from where the first one did, whatever has been stored before that or beside it since.
    again = {"first_bars": operation.first_bars or None, "sources": operation.sources or None}

    def load(store: Path) -> Any:
        return load_bars(spec, store, progress.on_stage, threads=settings.DATA_THREADS, **again)

    def last_state(folder: Path) -> Parts | None:
        return patiently(lambda: continue_from(operation, progress, device, THREADS, allow_inexact), operation_id)

    bars = homes.while_there("bars", load, progress.note, progress.rest)
    patiently(lambda: same_bars(operation, bars), operation_id)
    resume = homes.while_there("checkpoints", last_state, progress.note, progress.rest)
    patiently(lambda: Operation.objects.filter(pk=operation_id, attempt=attempt).update(device=device), operation_id)

    cache = FeatureCache(folder, settings.CACHE_LIMIT_BYTES) if (folder := homes.cache_folder()) else None
    with memory_errors(), analytics_of(operation, progress.note) as on_analytics:
        bundle = train_strategy(
            spec, bars, strategy_text=operation.strategy_version.text, callback=progress, note=progress.note,
            on_checks=progress.on_checks,
            device=device, threads=THREADS, data_threads=settings.DATA_THREADS, resume=resume, cache=cache,
            resident_limit=settings.RESIDENT_LIMIT_BYTES, memory_limit=settings.MEMORY_LIMIT,
            on_analytics=on_analytics,
        )  # fmt: skip

    progress.on_stage("save", 0.0)
    folder = f"{operation_id}-{attempt}"

    def keep(bundles: Path) -> str:
        shutil.rmtree(bundles / folder, ignore_errors=True)  # saved in a moment in which the disk was taken away
        digest = save_bundle(bundle, bundles / folder)
        read_back(bundles / folder, digest)
        return digest

    digest = homes.while_there("bundles", keep, progress.note, progress.rest)
    progress.on_stage("save", 1.0)
    progress.settle()
    close_old_connections()  # one that the database has ended since the last report would lose the run
    patiently(progress.write, operation_id)
    patiently(lambda: record(operation, attempt, folder, digest, bundle.metrics, progress.stage_seconds), operation_id)
    sweep(operation, folder)


CANCELLED = "stopped on request (cancellation)"


def record(
    operation: Operation, attempt: int, folder: str, digest: str, metrics: dict[str, object], stage_seconds: dict[str, float]
) -> None:
    """Completed and its model, in one transaction; nothing if a first try did it whose answer was lost."""
    if TrainedModel.objects.filter(operation=operation, folder=folder).exists():
        return
    with transaction.atomic():
        if not lifecycle.finish(operation.pk, attempt, stage_seconds=stage_seconds):
            raise Cancelled("another process took this operation over", kind="superseded")
        model = TrainedModel(operation=operation, folder=folder, sha256=digest, metrics=metrics)
        _name(model)


def _name(model: TrainedModel) -> None:
    """Save under the strategy's name and the next free number."""
    stem = model.operation.name
    number = TrainedModel.objects.filter(operation__strategy_version__strategy__name=stem).count() + 1
    while True:
        model.name = f"{stem}-{number}"
        try:
            with transaction.atomic():
                model.save()
                return
        except IntegrityError:
            if not TrainedModel.objects.filter(name=model.name).exists():
                raise
            number += 1


def sweep(operation: Operation, folder: str) -> None:
    """A completed operation needs its bundle and nothing else of what its attempts left."""
    try:
        patiently(lambda: checkpoints.remove_all(operation.pk), operation.pk)
    except homes.Away as away:
        log.warning("the checkpoints of %s stay, and go when they are old: %s", operation.pk, away)
    for pattern in (f"{operation.pk}-*", f".new-{operation.pk}-*"):  # left by an attempt killed while saving
        for rest in Path(settings.BUNDLE_DIR).glob(pattern):
            if rest.name != folder:
                shutil.rmtree(rest, ignore_errors=True)


def stopped(progress: Progress, stop: Cancelled) -> str:
    if stop.kind == "superseded":
        shutil.rmtree(Path(settings.BUNDLE_DIR) / f"{progress.operation_id}-{progress.attempt}", ignore_errors=True)
        return "superseded"
    if progress.is_left:
        return Status.CANCELLED
    _keep(progress, stop.kind)
    status = Status.CANCELLED if stop.kind == "cancellation" else Status.INTERRUPTED
    reason = CANCELLED if stop.kind == "cancellation" else f"stopped on request ({stop.kind})"
    patiently(lambda: lifecycle.stop(progress.operation_id, progress.attempt, status, reason), progress.operation_id)
    return status


def failed(progress: Progress, error: Exception) -> str:
    """Save what can be saved, and record what it was; when it is tried again, the reaper does it."""
    identity = (progress.operation_id, progress.attempt)
    if not isinstance(error, Refusal):
        write_traceback(*identity, error)
    if found := getattr(error, "findings", ()):
        from training.core.findings import kept

        progress.on_checks({"data": kept(found)})
    _keep(progress, "failure")
    operation = patiently(lambda: Operation.objects.get(pk=progress.operation_id), progress.operation_id)
    newest = patiently(operation.checkpoints.first, progress.operation_id)
    pause = _pause(operation, error)
    epoch, epochs = progress.epoch_under_way
    failure = failure_of(error, Moment(progress.stage, epoch, epochs, newest.epoch + 1 if newest else None, pause))
    log.warning("%s attempt %s failed (%s): %s", *identity, failure.category, failure.cause)
    told = {"failure": failure.plain(), "retry_at": None if pause is None else timezone.now() + timedelta(seconds=pause)}
    patiently(lambda: lifecycle.fail(*identity, failure.cause, **told), progress.operation_id)
    return Status.FAILED


def _pause(operation: Operation, error: Exception) -> float | None:
    """Seconds until it is tried again: only what passes by itself, only on a worker, so often and each time twice as late."""
    if category_of(error) != TRANSIENT or not operation.queue or operation.retries >= settings.RETRIES:
        return None
    return float(settings.RETRY_SECONDS * 2**operation.retries)


def _keep(progress: Progress, kind: str) -> None:
    """Save what can be saved, and bring the row up to date as far as it is still ours."""
    try:
        progress.save(kind)  # first, as it may be stopped by force
        progress.settle()
        progress.write()
    except Cancelled:
        log.warning("%s attempt %s was taken over while it ended", progress.operation_id, progress.attempt)
    except DatabaseError as error:  # the reason that the run ended for matters more
        log.warning("%s: its last state could not be written: %s", progress.operation_id, error)
        close_old_connections()


if TYPE_CHECKING:
    from training.pipeline.loading import RunBars


def same_bars(operation: Operation, bars: RunBars) -> None:
    """The first attempt records which bars it uses; a later one must use the very same."""
    used = {name: {s: dict(v) for s, v in getattr(bars, name).items()} for name in ("fingerprints", "sources", "first_bars")}
    if not operation.fingerprints:
        Operation.objects.filter(pk=operation.pk, attempt=operation.attempt).update(**used)
        return
    seen = used["fingerprints"]
    for symbol, timeframes in operation.fingerprints.items():
        for timeframe, digest in timeframes.items():
            if seen.get(symbol, {}).get(timeframe) != digest:
                raise lifecycle.OtherBars(
                    f"the stored bars of {symbol} {timeframe} are not those that {operation.pk} was started with; "
                    "load the former bars again, or start a new training"
                )


def continue_from(operation: Operation, progress: Progress, device: str, threads: int, allow_inexact: bool) -> Parts | None:
    """The checkpoint's parts, None for a fresh start. Refuses a continuation that is not exact unless allowed."""
    from training.trainer.state import differences

    if operation.attempt == 1:
        return None
    row, parts, notes = checkpoints.newest(operation)
    for text in notes:
        progress.note(text)
    if row is None:
        other = plugins.differences(operation.plugins)
        ends = f"with other code: {'; '.join(other)}" if other else "and ends in the same weights"
        certificate = f"no checkpoint: starts again at the first epoch, {ends}"
        parts = {}
    else:
        differing = differences(parts, device, threads)
        if differing and not allow_inexact:
            raise lifecycle.OperationError(
                f"continuing from epoch {row.epoch + 2} would not be bit for bit: {'; '.join(differing)}; "
                "to continue all the same, add --allow-inexact"
            )
        how = f"not bit for bit: {'; '.join(differing)}" if differing else "bit for bit"
        certificate = f"continues {how} from epoch {row.epoch + 2}"
        patch_history(row, parts)
    progress.note(certificate)
    Operation.objects.filter(pk=operation.pk, attempt=operation.attempt).update(certificate=certificate)
    return parts or None


def patch_history(row: Checkpoint, parts: Parts) -> None:
    """Epochs that a checkpoint tells of and the table does not: the process died before they were recorded."""
    told = {metrics["epoch"]: metrics for metrics in json.loads(parts["state.json"]).get("history", ())}
    gone = replaced(row.operation)
    kept = {epoch for key, epoch in row.operation.epoch_metrics.values_list("pk", "epoch") if key not in gone}
    missing = sorted(set(told) - kept)
    if not missing:
        return
    with transaction.atomic():  # what is recorded later takes the place of all that follows it, so all of it is
        row.operation.epoch_metrics.filter(attempt=row.attempt, epoch__gte=missing[0]).delete()
        EpochMetric.objects.bulk_create(
            row_of(row.operation_id, row.attempt, told[epoch]) for epoch in sorted(told) if epoch >= missing[0]
        )
