"""`models list | show MODEL`: what was trained, and what it reaches."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Lists trained models, or shows one."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=argparse.ArgumentParser)
        actions.add_parser("list", help="the trained models, newest first")
        show = actions.add_parser("show", help="one model: result, split, provenance")
        show.add_argument("model", help="a model's name, or the path of a bundle")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        from training.management.refusals import refusals
        from training.management.terminal import console_on

        console = console_on(self.stdout._out)
        with refusals():
            if action == "list":
                self._list(console)
            else:
                self._show(console, options["model"])

    def _list(self, console: Any) -> None:
        from rich.table import Table

        from training.models import TrainedModel
        from training.results.report import verdict

        models = TrainedModel.objects.all()
        if not models:
            console.print("No model is trained yet: `train STRATEGY --inline` trains one.")
            return
        table = Table("model", "trained (UTC)", "result", box=None, pad_edge=False, padding=(0, 2))
        for model in models:
            table.add_row(model.name, f"{model.created:%Y-%m-%d %H:%M}", verdict(model.metrics))
        console.print(table)

    def _show(self, console: Any, name: str) -> None:
        from training.results.report import provenance_table, result_tables
        from training.workers.prediction import describe_model

        told, missing = describe_model(name)
        console.print(result_tables(told.metrics, told.split))
        console.print(provenance_table(told))
        for sentence in missing:
            console.print(f"It cannot predict here: it needs {sentence}.", markup=False)
