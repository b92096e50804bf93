"""`operations list | show | cancel | resume | follow`: trainings, what became of them, and what to do with them."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.access.audit import Actor


class Command(BaseCommand):
    help = "Lists trainings, shows one, cancels, resumes or follows it."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=argparse.ArgumentParser)
        listing = actions.add_parser("list", help="newest first")
        listing.add_argument("--status", help="only those in this state, such as running")
        listing.add_argument("--limit", type=_count, default=20, metavar="N")
        for name, words in (("show", "one operation"), ("follow", "the live display of one that runs on a worker")):
            actions.add_parser(name, help=words).add_argument("operation", help="an id, or its end")
        cancel = actions.add_parser("cancel", help="stop with a checkpoint")
        cancel.add_argument("operation", help="an id, or its end")
        cancel.add_argument("--reason", default="")
        cancel.add_argument("--force", action="store_true", help="end the process now: what its last checkpoint holds is kept")
        resume = actions.add_parser("resume", help="continue from the last checkpoint on a worker")
        resume.add_argument("operation", help="an id, or its end")
        resume.add_argument("--allow-inexact", action="store_true", help="also where it would not be bit for bit")
        resume.add_argument("--follow", action="store_true")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        from training.management.refusals import refusals

        with refusals():
            code = getattr(self, f"_{action}")(options)
        sys.exit(code or 0)

    def _list(self, options: dict[str, Any]) -> None:
        from rich.table import Column, Table

        from training.management.terminal import console_on
        from training.models import Operation, Status

        if options["status"] and options["status"] not in Status.values:
            raise CommandError(f"no state '{options['status']}', wanted one of {', '.join(Status.values)}", returncode=2)
        rows = Operation.objects.select_related("strategy_version__strategy").defer("spec", "notes", "checks")
        if options["status"]:
            rows = rows.filter(status=options["status"])
        names = ("operation", "strategy", "state", "done", "attempt", "created (UTC)")
        columns = (Column(name, no_wrap=True, overflow="fold") for name in names)
        table = Table(*columns, box=None, pad_edge=False, padding=(0, 2))
        shown = list(rows[: options["limit"]])
        for row in shown:
            done = f"{row.percent:.0f} %"
            table.add_row(row.pk, row.name, row.status, done, str(row.attempt), f"{row.created:%Y-%m-%d %H:%M:%S}")
        console = console_on(self.stdout._out)
        console.print(table if shown else "No training was started yet: `train STRATEGY` starts one.")

    def _show(self, options: dict[str, Any]) -> None:
        from training.jobs import lifecycle
        from training.jobs.status import waits_for

        row = lifecycle.find(options["operation"])
        newest = row.checkpoints.first()
        facts = {
            "operation": row.pk, "strategy": row.strategy_version, "state": row.status, "waits": waits_for(row),
            "stage": row.stage,
            "done": f"{row.percent:.0f} %", "epoch": None if row.epoch is None else row.epoch + 1, "attempt": row.attempt,
            "queue": row.queue or "its starter's process", "device": row.device, "host": row.host, "started": row.started,
            "finished": row.finished, "certificate": row.certificate, "reason": row.reason, "error": row.error,
            **row.failure_lines,
            "checkpoint": newest and f"epoch {newest.epoch + 1} ({newest.kind}, {newest.size / 1e3:,.0f} kB)",
            "model": getattr(row, "trained_model", None),
        }  # fmt: skip
        for name, value in facts.items():
            if value not in (None, ""):
                self.stdout.write(f"{name:12} {value}")
        for note in row.notes:
            self.stdout.write(f"{'note':12} {note}")

    def _cancel(self, options: dict[str, Any]) -> None:
        from training.jobs import lifecycle, requests
        from training.models import Status

        operation = lifecycle.find(options["operation"])
        status = requests.cancel(operation, Actor(), reason=options["reason"], force=options["force"])
        not_again = " and is not tried again by itself" if status == Status.FAILED else ""
        self.stdout.write(f"{operation.pk} is {status}{not_again}")

    def _resume(self, options: dict[str, Any]) -> int:
        from training.management.commands.train import EXIT, program
        from training.management.runs import dispatch_resume

        how = {"allow_inexact": options["allow_inexact"], "follow": options["follow"]}
        return EXIT[dispatch_resume(options["operation"], self.stdout._out, program=program(), **how)]

    def _follow(self, options: dict[str, Any]) -> int:
        from training.jobs import lifecycle
        from training.management.commands.train import EXIT, program
        from training.management.runs import follow_operation

        return EXIT[follow_operation(lifecycle.find(options["operation"]), self.stdout._out, program())]


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"wanted a whole number of at least 1, not '{text}'")
    return int(text)
