"""`demo`: sample bars into the store, sample strategies into the database, and one of them trained: a first look."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

SAMPLE = "multi_timeframe"


class Command(BaseCommand):
    help = "Loads the sample bars and strategies and trains one of them in this process."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        from training.bars.series import load_samples
        from training.management.commands.train import EXIT, program
        from training.management.refusals import refusals
        from training.management.runs import start_inline

        with refusals():
            for loaded in load_samples():
                series = loaded.series
                self.stdout.write(f"{series.symbol} {series.timeframe}: {series.rows:,} sample bars stored")
            self.stdout.write(f"{import_samples()} sample strategies stored; training '{SAMPLE}'\n\n")
            status = start_inline(SAMPLE, {}, self.stdout._out, program=program())
        sys.exit(EXIT[status])


def import_samples() -> int:
    """Store every sample strategy, unless it is stored with this very text; gives their number."""
    import strategies_app
    from strategies_app.models import Strategy

    paths = sorted((Path(strategies_app.__file__).parent / "samples").glob("*.yaml"))
    for path in paths:
        Strategy.objects.import_text(path.read_text(encoding="utf-8"), str(path))
    return len(paths)
