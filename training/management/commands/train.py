"""`train STRATEGY`: trains a stored strategy or a strategy file, or shows what it would do."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

EXIT = {"completed": 0, "dispatched": 0, "detached": 0, "failed": 1, "interrupted": 1, "superseded": 1, "cancelled": 130}


class Command(BaseCommand):
    help = "Trains a strategy on stored bars: on a worker, or in this process with --inline."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("strategy", nargs="?", help="a stored name, or the path of a strategy file")
        parser.add_argument("--start", metavar="YYYY-MM-DD", help="first UTC day")
        parser.add_argument("--end", metavar="YYYY-MM-DD", help="last UTC day")
        parser.add_argument(
            "--symbols", metavar="A,B|@FILE", type=_symbols, help="or @ and a file of them: one a line or with commas, # comments"
        )
        parser.add_argument("--timeframes", metavar="1h,4h", type=_names)
        parser.add_argument("--validation-split", metavar="SHARE", type=float, help="share of the validation split, such as .2")
        parser.add_argument("--detailed-analytics", action="store_true", help="keep what happens inside the network")
        parser.add_argument("--dry-run", action="store_true", help="show the plan and run nothing")
        parser.add_argument("--inline", action="store_true", help="train in this process")
        parser.add_argument(
            "--follow",
            action="store_true",
            help="show the run on its worker; Ctrl-C asks it to stop, a second one leaves it alone",
        )
        parser.add_argument("--mail", metavar="ADDRESS", default="", help="who is mailed when it has ended")
        parser.add_argument("--resume", metavar="OPERATION", help="continue a stopped operation from its last checkpoint")
        parser.add_argument("--allow-inexact", action="store_true", help="with --resume: also where it would not be bit for bit")

    def handle(self, *args: Any, **options: Any) -> None:
        from training.management.refusals import refusals

        self._refuse_unfitting(options)
        try:
            with refusals(options["strategy"] or ""):
                if options["dry_run"]:
                    self._show_plan(options)
                    return
                status = self._run(options)
        except KeyboardInterrupt:
            raise CommandError("stopped at once", returncode=EXIT["cancelled"]) from None
        sys.exit(EXIT[status])

    def _refuse_unfitting(self, options: dict[str, Any]) -> None:
        asked = list(_request(options))
        problem = None
        if bool(options["strategy"]) == bool(options["resume"]):
            problem = "wanted a strategy (a stored name or a path), or --resume OPERATION, and not both"
        elif options["resume"] and (asked or options["dry_run"]):
            problem = f"--resume continues with what was asked for then, without --{(asked or ['dry-run'])[0].replace('_', '-')}"
        elif options["allow_inexact"] and not options["resume"]:
            problem = "--allow-inexact goes with --resume"
        elif options["mail"] and (options["resume"] or options["dry_run"]):
            problem = "--mail goes with the start of a training"
        elif options["dry_run"] and options["follow"]:
            problem = "--dry-run runs nothing that could be followed"
        if problem:
            raise CommandError(problem, returncode=2)

    def _show_plan(self, options: dict[str, Any]) -> None:
        from strategies_app.stored import find_strategy
        from training.management.terminal import Waiting, console_on
        from training.workers.plan import plan

        found = find_strategy(options["strategy"])
        with Waiting("planning", self.stderr._out):
            figures = plan(found.text, found.label, _request(options))
        from training.results.report import plan_tables

        console_on(self.stdout._out).print(plan_tables(figures))

    def _run(self, options: dict[str, Any]) -> str:
        if not options["inline"]:
            from training.management.runs import dispatch, dispatch_resume

            if options["resume"]:
                how = {"allow_inexact": options["allow_inexact"], "follow": options["follow"]}
                return dispatch_resume(options["resume"], self.stdout._out, program=program(), **how)
            request = _request(options)
            how = {"follow": options["follow"], "notify": options["mail"]}
            return dispatch(options["strategy"], request, self.stdout._out, program=program(), **how)
        from training.management.runs import resume_inline, start_inline

        if options["resume"]:
            return resume_inline(options["resume"], self.stdout._out, allow_inexact=options["allow_inexact"], program=program())
        return start_inline(options["strategy"], _request(options), self.stdout._out, program(), options["mail"])


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("wanted at least one name")
    return names


def _symbols(text: str) -> list[str]:
    """Names, or with @ before it the file that holds them."""
    from strategies_app.grammar.reader import BadList, read_symbols

    if not text.startswith("@"):
        return _names(text)
    try:
        return read_symbols(text[1:])
    except BadList as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _request(options: dict[str, Any]) -> dict[str, Any]:
    names = ("symbols", "timeframes", "start", "end", "validation_split")
    given = {name: options[name] for name in names if options[name] is not None}
    return given | ({"detailed_analytics": True} if options["detailed_analytics"] else {})


def program() -> str:
    """How the user called us, to say how to call us again."""
    name = Path(sys.argv[0]).name
    if name != "manage.py":
        return name
    python = Path(sys.executable)
    return f"{python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python} {name}"
