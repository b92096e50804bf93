"""`load_data SYMBOL TIMEFRAME --from FILE`: bars from a CSV or Parquet file into the store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from strategies_app.vocabulary import TIMEFRAMES


class Command(BaseCommand):
    help = "Loads bars from a CSV or Parquet file; bars that are stored already are merged by time."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("symbol", metavar="SYMBOL", help="such as AAPL or EURUSD")
        parser.add_argument("timeframe", metavar="TIMEFRAME", choices=list(TIMEFRAMES), help=", ".join(TIMEFRAMES))
        parser.add_argument("--from", dest="file", metavar="FILE", type=Path, required=True, help="CSV (also .gz) or Parquet")
        parser.add_argument("--tz", metavar="ZONE", help="time zone of times that name none, such as Europe/Berlin or UTC")
        parser.add_argument(
            "--price-scale", type=float, default=1.0, metavar="N", help="divide prices by N, such as 100000 for points of EURUSD"
        )
        parser.add_argument(
            "--adjust", action="store_true", help="adjust prices by the file's adjusted close, and volume for the splits in it"
        )
        parser.add_argument(
            "--calendar", metavar="NAME", help="exchange calendar by which gaps are counted, such as XNYS; `none` takes it away"
        )
        parser.add_argument("--replace", action="store_true", help="take the new bars where stored ones of the same time differ")

    def handle(self, *args: Any, symbol: str, timeframe: str, file: Path, **options: Any) -> None:
        from training.bar_series import load_file, loaded_line
        from training.management.refusals import refusals
        from training.pipeline.bars import DataError, series_path

        try:
            series_path(Path(), symbol, timeframe)
        except DataError as error:
            raise CommandError(str(error), returncode=2) from None
        with refusals():
            loaded = load_file(
                symbol,
                timeframe,
                file,
                tz=options["tz"],
                price_scale=options["price_scale"],
                adjust=options["adjust"],
                replace=options["replace"],
                calendar="" if options["calendar"] == "none" else options["calendar"],
            )
        self.stdout.write(loaded_line(loaded))
        for note in loaded.notes:
            self.stdout.write(f"  note: {note}")
        for warning in loaded.warnings:
            if warning not in loaded.notes:
                self.stdout.write(self.style.WARNING(f"  warning: {warning}"))
