"""`up`: everything on one machine: Redis, web, workers, and who looks after them."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Starts everything on this machine, and stops it with Ctrl-C; running trainings are saved."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--cpu", type=_count, default=1, metavar="N", help="workers that train on the processor (1)")
        parser.add_argument("--gpu", type=_count, metavar="N", help="workers that train on graphics cards (one per card)")
        parser.add_argument("--port", type=int, default=8000, help="of the web server (8000); 0 takes any free one")
        parser.add_argument("--host", default="127.0.0.1", help="the address it listens on (127.0.0.1)")
        parser.add_argument("--resume-interrupted", action="store_true", help="continue interrupted trainings by itself")

    def handle(self, *args: Any, **options: Any) -> None:
        from training.management.refusals import refusals
        from training.workers.up import Plan, run_everything

        plan = Plan(options["host"], options["port"], options["cpu"], options["gpu"], options["resume_interrupted"])
        with refusals():
            run_everything(plan, self._say)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"wanted a whole number of at least 0, not '{text}'")
    return int(text)
