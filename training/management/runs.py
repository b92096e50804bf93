"""Training from the command line: in this process or on a worker, followed to its end if asked to."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from django.conf import settings
from rich.console import Console

from strategies_app.grammar.vocabulary import TIMEFRAMES
from strategies_app.models import StrategyVersion
from strategies_app.stored import find_strategy
from training.access.audit import Actor
from training.core.findings import ERROR, findings_of, lines_of
from training.core.values import BatchMetrics
from training.jobs import checkpoints, lifecycle, requests
from training.jobs.broadcast import Listener
from training.jobs.logs import log_file
from training.jobs.notices import mail_end
from training.jobs.progress import SUPERSEDED, Progress
from training.jobs.requests import resume, start_training
from training.jobs.status import counted_losses, last_measured, waits_for
from training.management.terminal import Display, console_on
from training.models import Operation, Status
from training.workers.attempt import run_operation

Hand = Callable[[Progress], None]


def start_inline(strategy: str, request: dict[str, Any], stream: TextIO, program: str, notify: str = "") -> str:
    """Store the strategy and the operation, then train; gives the final status."""
    found = find_strategy(strategy)
    with signals_handed_over() as hand:
        operation, _ = start_training(found, request, Actor(), inline=True, notify=notify)
        return _run(operation, operation.attempt, stream, program, hand)


def resume_inline(operation_id: str, stream: TextIO, *, allow_inexact: bool, program: str) -> str:
    """Continue a stopped operation from its last checkpoint; one whose process is gone is stopped."""
    operation = lifecycle.find(operation_id)
    if lifecycle.reap(operation):
        mail_end(operation.pk)
    say_if_file_differs(operation.strategy_version, stream)
    with signals_handed_over() as hand:
        attempt = resume(operation, Actor(), inline=True, allow_inexact=allow_inexact)
        return _run(operation, attempt, stream, program, hand, allow_inexact=allow_inexact)


def say_if_file_differs(version: StrategyVersion, stream: TextIO) -> None:
    path = Path(version.source_path)
    if version.source_path and path.is_file() and path.read_bytes() != version.text.encode():
        stream.write(f"note: {path} was changed since; the run continues with the text it was started with\n")


def _run(operation: Operation, attempt: int, stream: TextIO, program: str, hand: Hand, *, allow_inexact: bool = False) -> str:
    checkpoints.prune(settings.CHECKPOINT_MAX_AGE_DAYS)
    title = f"{operation.name}  {operation.pk}" + (f"  attempt {attempt}" if attempt > 1 else "")
    console = console_on(stream)
    with log_file(operation.pk, attempt) as log, Display(title, console) as display:
        display.state.best = _best_so_far(operation)

        def begin(progress: Progress) -> None:
            # As when a terminal is closed: what is trained is saved, and can be resumed.
            display.on_leaving = lambda: progress.request_stop("shutdown")
            if display.reader_left:
                display.on_leaving()
            hand(progress)

        status = run_operation(operation.pk, attempt, [display, log], allow_inexact=allow_inexact, on_start=begin)
    mail_end(operation.pk)
    tell(operation.pk, status, console, program)
    return status


def _best_so_far(operation: Operation) -> float:
    """The lowest validation loss of earlier attempts, so that a resumed run shows the best of the whole."""
    return min(counted_losses(operation), default=float("inf"))


def tell(operation_id: str, status: str, console: Console, program: str) -> None:
    """How a run ended: its result, or what was kept and how to continue."""
    operation = Operation.objects.select_related("strategy_version__strategy").get(pk=operation_id)
    if status == "superseded":
        console.print(f"stopped: {SUPERSEDED}")
        return
    if status == Status.COMPLETED:
        from training.results.report import result_tables
        from training.trainer.bundle import load_bundle

        model = operation.trained_model
        bundle = load_bundle(Path(settings.BUNDLE_DIR) / model.folder)
        console.print(result_tables(bundle.metrics, bundle.split))
        series = f"{bundle.symbols[0]} {min(bundle.timeframes, key=TIMEFRAMES.__getitem__)}"
        console.print(f"model {model.name}   predict with: {program} predict {model.name} {series}", markup=False)
        return
    newest = operation.checkpoints.first()
    inline = "" if operation.queue else " --inline"
    console.print(f"{status}: {operation.error or operation.reason or 'stopped on request'}", markup=False)
    for line in _findings(operation) if status == Status.FAILED else ():
        console.print(line, markup=False)
    for word, text in operation.failure_lines.items():
        console.print(f"{word:13} {text}", markup=False)
    if status == Status.FAILED and (newest is None or operation.failure.get("resuming_helps") is False):
        return  # nothing to continue: what was said has to be mended first
    kept = f"the end of epoch {newest.epoch + 1} is saved" if newest else "no epoch was completed, so nothing had to be saved"
    console.print(f"{kept}; continue with: {program} train --resume {operation_id}{inline}", markup=False)


def _findings(operation: Operation) -> list[str]:
    """What it was refused for; nothing of a run that failed of something else."""
    found = findings_of(operation.checks)
    return lines_of(found, operation.error) if any(of["severity"] == ERROR for of in found) else []


@contextmanager
def signals_handed_over() -> Iterator[Hand]:
    """Inside, Ctrl-C and termination ask the run to save and stop; a second one ends the process as usual.

    Gives the function that takes the run's progress; what was asked for before is asked for then.
    """
    kinds = {signal.SIGINT: "cancellation", signal.SIGTERM: "shutdown"}
    before = {number: signal.getsignal(number) for number in kinds}
    asked: list[str] = []
    watched: list[Progress] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(kinds[signal.Signals(number)])
        signal.signal(number, before[signal.Signals(number)])
        for progress in watched:
            progress.request_stop(asked[-1])

    def hand(progress: Progress) -> None:
        watched.append(progress)
        if asked:
            progress.request_stop(asked[-1])

    for number in kinds:
        signal.signal(number, ask)
    try:
        yield hand
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def dispatch(strategy: str, request: dict[str, object], stream: TextIO, *, program: str, follow: bool, notify: str = "") -> str:
    """Start on a worker; `dispatched`, or with follow the final status."""
    operation, _ = requests.start_training(find_strategy(strategy), request, Actor(), notify=notify)
    return _handed_over(operation, stream, program, follow)


def dispatch_resume(operation_id: str, stream: TextIO, *, program: str, follow: bool, allow_inexact: bool) -> str:
    """Continue on a worker from the last checkpoint."""
    operation = lifecycle.find(operation_id)
    if lifecycle.reap(operation):
        mail_end(operation.pk)
    say_if_file_differs(operation.strategy_version, stream)
    requests.resume(operation, Actor(), allow_inexact=allow_inexact)
    operation.refresh_from_db()
    return _handed_over(operation, stream, program, follow)


def _handed_over(operation: Operation, stream: TextIO, program: str, following: bool) -> str:
    if following:
        return follow_operation(operation, stream, program)
    stream.write(f"{operation.name}  {operation.pk}  on queue {operation.queue}\n")
    if text := waits_for(operation):
        stream.write(f"{text}\n")
    stream.write(f"follow with: {program} operations follow {operation.pk}\n")
    return "dispatched"


def follow_operation(operation: Operation, stream: TextIO, program: str) -> str:
    """Show a run until it ends. Ctrl-C asks it to stop with a checkpoint; a second one leaves it running."""
    console = console_on(stream)
    asked = False
    with Display(f"{operation.name}  {operation.pk}", console) as display:
        while True:
            try:
                status = follow(operation.pk, display)
                break
            except KeyboardInterrupt:
                operation.refresh_from_db()
                if asked or not operation.is_open:
                    display.note(f"left running; look again with: {program} operations follow {operation.pk}")
                    return "detached"
                asked = True
                requests.cancel(operation, Actor(), reason="Ctrl-C")
                display.note("asked to stop with a checkpoint; Ctrl-C again leaves it alone")
    tell(operation.pk, status, console, program)
    return status


LOOK_SECONDS = 0.5
#: After so long without a message the row tells where the run stands.
SILENT_SECONDS = 2.0


def follow(operation_id: str, display: Display) -> str:
    """Show a run until it ends; gives its final status. Ctrl-C passes through as KeyboardInterrupt."""
    listener = Listener(operation_id)
    shown: dict[str, object] = {"notes": 0, "epoch": None, "queued": ""}
    looked = heard = 0.0
    try:
        while True:
            for message in listener.messages(LOOK_SECONDS):
                heard = time.monotonic()
                _show(message, display)
            if display.reader_left:
                raise BrokenPipeError
            if time.monotonic() - looked < LOOK_SECONDS:
                continue
            looked = time.monotonic()
            operation = Operation.objects.get(pk=operation_id)
            _show_row(operation, display, shown, silent=time.monotonic() - heard > SILENT_SECONDS)
            if not operation.is_open:
                return str(operation.status)
    finally:
        listener.close()


def _show(message: dict[str, object], display: Display) -> None:
    percent = float(message["percent"])  # type: ignore[arg-type]
    stage = str(message["stage"])
    if stage and stage != display.state.current:
        display.stage(stage, float(message["fraction"]), percent)  # type: ignore[arg-type]
    if "batch" in message and stage == "train":
        display.batch(_batch(message), percent)


def _batch(message: dict[str, object]) -> BatchMetrics:
    metrics = BatchMetrics(int(message["epochs"]), int(message["batches"]))  # type: ignore[call-overload]
    metrics.epoch, metrics.batch = int(message["epoch"]), int(message["batch"])  # type: ignore[call-overload]
    metrics.samples = int(message["samples"])  # type: ignore[call-overload]
    loss = float(message["loss"])  # type: ignore[arg-type]
    metrics.loss = lambda: loss
    return metrics


def _show_row(operation: Operation, display: Display, shown: dict[str, object], *, silent: bool) -> None:
    """What is kept: notes, epochs, and where the run stands if no message came."""
    for text in operation.notes[int(shown["notes"]) :]:  # type: ignore[call-overload]
        display.note(text)
    shown["notes"] = len(operation.notes)
    if operation.status == Status.PENDING and (text := waits_for(operation)) != shown["queued"]:
        display.note(text)
        shown["queued"] = text
    if silent and operation.stage and operation.stage != display.state.current:
        display.stage(operation.stage, 0.0, operation.percent)  # messages are quicker than the row
    row = last_measured(operation)
    if row is not None and row.pk != shown["epoch"]:
        shown["epoch"] = row.pk
        display.epoch(row.metrics, operation.percent)
