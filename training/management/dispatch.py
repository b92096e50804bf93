"""Training on a worker, from the command line: hand the request over, and follow it if asked to."""

from __future__ import annotations

from typing import TextIO

from strategies_app.stored import find_strategy
from training.access.audit import Actor
from training.jobs import lifecycle, requests
from training.jobs.notices import mail_end
from training.jobs.status import waits_for
from training.management.follow import follow
from training.management.runs import say_if_file_differs, tell
from training.management.terminal import Display, console_on
from training.models import Operation


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
