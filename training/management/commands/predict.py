"""`predict MODEL SYMBOL TIMEFRAME`: probabilities or returns, and signals, of a trained model on stored bars."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand

SHOWN = 20


class Command(BaseCommand):
    help = "Predicts with a trained model on stored bars: CSV, or a table of the last bars on a terminal."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("model", help="a model's name, or the path of a bundle")
        parser.add_argument("symbol")
        parser.add_argument("timeframe", help="the model's base timeframe")
        parser.add_argument("--start", metavar="YYYY-MM-DD", help="first UTC day; all that is stored if not given")
        parser.add_argument("--end", metavar="YYYY-MM-DD", help="last UTC day")
        parser.add_argument("--recent", action="store_true", help="read only the warm-up: faster, values may differ")
        parser.add_argument("--output", metavar="FILE", help="write every bar as CSV to FILE")
        parser.add_argument("--format", choices=("csv", "table"), help="csv unless this is a terminal")

    def handle(self, *args: Any, **options: Any) -> None:
        from training.management.refusals import refusals
        from training.management.terminal import Waiting
        from training.workers.prediction import open_model, predict_stored

        with refusals(), Waiting("predicting", self.stderr._out):
            bundle = open_model(options["model"])
            predictions, notes = predict_stored(
                bundle, options["symbol"], options["timeframe"], options["start"], options["end"], recent=options["recent"]
            )
        for note in notes:
            self.stderr.write(f"note: {note}")
        shape = options["format"] or ("table" if sys.stdout.isatty() and not options["output"] else "csv")
        if options["output"]:
            self._write_file(options["output"], predictions)
        elif shape == "csv":
            try:
                _write_csv(self.stdout._out, predictions)
                self.stdout._out.flush()
            except BrokenPipeError:  # the reader, such as `head`, has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            self._print_table(predictions)

    def _write_file(self, path: str, predictions: Any) -> None:
        from django.conf import settings
        from django.core.management.base import CommandError

        from training.core.findings import counted

        is_new = not os.path.exists(path)
        try:
            with open(path, "w", newline="", encoding="utf-8") as file:
                if is_new and os.path.isfile(path):
                    os.fchmod(file.fileno(), 0o666 & ~settings.CALLER_UMASK)  # it is the caller's, as any other
                _write_csv(file, predictions)
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}") from None
        self.stdout.write(f"{counted(len(predictions.times), 'bar')} written to {path}")

    def _print_table(self, predictions: Any) -> None:
        from rich.table import Table

        from training.management.terminal import console_on

        of_returns = predictions.returns is not None
        table = Table("time (UTC)", *_columns(predictions), "signal", "split", box=None, pad_edge=False, padding=(0, 2))
        rows = list(_rows(predictions))
        for time, *chances, signal, split in rows[-SHOWN:]:
            table.add_row(time, *(f"{float(c):+.2%}" if of_returns else f"{float(c):.1%}" for c in chances), signal, split)
        console = console_on(self.stdout._out)
        console.print(table)
        if len(rows) > SHOWN:
            console.print(f"the last {SHOWN} of {len(rows):,} bars; --output FILE writes all of them")


def _columns(predictions: Any) -> tuple[str, ...]:
    return tuple(predictions.class_names) if predictions.returns is None else ("predicted_return",)


def _rows(predictions: Any) -> Any:
    """Time, one probability per class or the predicted return (shortest text that reads back to it), signal, split."""
    import numpy as np

    times = np.datetime_as_string(predictions.times.view("M8[us]").astype("M8[s]"))
    said = predictions.probabilities if predictions.returns is None else predictions.returns[:, None]
    for time, chances, signal, split in zip(times, said, predictions.signals, predictions.splits, strict=True):
        yield [f"{time}Z", *(np.format_float_positional(c, unique=True, trim="0") for c in chances), signal, split]


def _write_csv(stream: Any, predictions: Any) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["timestamp", *_columns(predictions), "signal", "split"])
    writer.writerows(_rows(predictions))
