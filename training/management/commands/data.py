"""`data [SYMBOL [TIMEFRAME]] [--check | --export FILE | --delete]`: what is stored and how good it is."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from strategies_app.grammar.vocabulary import TIMEFRAMES, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.models import BarSeries


class Command(BaseCommand):
    help = "Lists the stored bars with coverage, gaps and quality; with SYMBOL and TIMEFRAME, the details of one series."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("symbol", metavar="SYMBOL", nargs="?")
        parser.add_argument("timeframe", metavar="TIMEFRAME", nargs="?", choices=list(TIMEFRAMES))
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--export", metavar="FILE", type=Path, help="write the series as .csv, .csv.gz or .parquet")
        what.add_argument("--delete", action="store_true", help="remove the series, after a question")
        parser.add_argument("--yes", action="store_true", help="with --delete: do not ask")
        what.add_argument("--check", action="store_true", help="compare every file with what was recorded, repair the records")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, symbol: str | None, timeframe: str | None, check: bool, **options: Any) -> None:
        from training.management.refusals import refusals

        which = next((name for name in ("export", "delete") if options[name]), None)
        if which and not (symbol and timeframe):
            raise CommandError(f"--{which} needs SYMBOL TIMEFRAME, such as AAPL 1d", returncode=2)
        with refusals():
            if check:
                self._check()
            elif which == "export":
                self._export(str(symbol), str(timeframe), options["export"])
            elif which == "delete":
                self._delete(str(symbol), str(timeframe), options["yes"])
            else:
                self._show(symbol, timeframe, options["json"])

    def _show(self, symbol: str | None, timeframe: str | None, as_json: bool) -> None:
        from training.models import BarSeries

        stored = list(BarSeries.objects.all())
        chosen = [series for series in stored if symbol in (None, series.symbol) and timeframe in (None, series.timeframe)]
        chosen.sort(key=lambda series: (series.symbol, TIMEFRAMES.get(series.timeframe, 0)))
        if not chosen and symbol:
            raise CommandError(_not_stored(symbol, timeframe, stored), returncode=2)
        if as_json:
            self.stdout.write(json.dumps([_as_dict(series) for series in chosen], indent=1))
        elif not chosen:
            self.stdout.write("No bars are stored yet: manage.py load_data SYMBOL TIMEFRAME --from FILE")
        elif timeframe:
            self._details(chosen[0])
        else:
            self._table(chosen)

    def _export(self, symbol: str, timeframe: str, target: Path) -> None:
        from training.jobs.downloads import write_series

        series = self._stored(symbol, timeframe)
        written = write_series(symbol, timeframe, target)
        self.stdout.write(f"{series}: {series.rows:,} bars are in {target} ({written:,} bytes)")

    def _delete(self, symbol: str, timeframe: str, is_sure: bool) -> None:
        from training.access.audit import Actor
        from training.jobs.deletions import MOST_NAMED, delete_series, resumable_readers, why_kept

        series = self._stored(symbol, timeframe)
        if why := why_kept(symbol, timeframe):
            raise CommandError(why)
        if not is_sure:
            waiting = resumable_readers(symbol, timeframe)
            self.stdout.write(
                f"{series}: {series.rows:,} bars from {series.first:%Y-%m-%d} to {series.last:%Y-%m-%d} are removed for good. "
                "Strategies, results and trained models stay."
            )
            if waiting:
                many = f"{len(waiting)}{' or more' if len(waiting) == MOST_NAMED else ''}"
                self.stdout.write(f"{many} stopped operations can be resumed only when the same bars are loaded again.")
            if not sys.stdin.isatty():
                raise CommandError("nothing was deleted: there is nobody to ask, so give --yes", returncode=2)
            if input("Delete them? [y/N] ").strip().lower() not in ("y", "yes"):
                self.stdout.write("Nothing was deleted.")
                return
        rows = delete_series(symbol, timeframe, Actor())
        self.stdout.write(f"{symbol} {timeframe} is deleted, {rows:,} bars.")

    def _stored(self, symbol: str, timeframe: str) -> BarSeries:
        from training.models import BarSeries

        found = BarSeries.objects.filter(symbol=symbol, timeframe=timeframe).first()
        if found is None:
            raise CommandError(_not_stored(symbol, timeframe, list(BarSeries.objects.all())), returncode=2)
        return found

    def _table(self, stored: Sequence[BarSeries]) -> None:
        from training.core.findings import counted

        rows = [("symbol", "timeframe", "from (UTC)", "to (UTC)", "bars", "missing values", "gaps", "longest gap", "warnings")]
        for series in stored:
            quality = series.quality
            gaps = quality["gaps"]
            rows.append(
                (
                    series.symbol,
                    series.timeframe,
                    f"{series.first:%Y-%m-%d %H:%M}",
                    f"{series.last:%Y-%m-%d %H:%M}",
                    f"{series.rows:,}",
                    f"{sum(quality['missing'].values()):,}",
                    f"{gaps['count']:,}",
                    counted(gaps["longest"], "bar") if gaps["count"] else "–",
                    f"{len(quality['warnings'])}",
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.rjust(w) if i >= 4 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
            self.stdout.write("  ".join(cells).rstrip())

    def _details(self, series: BarSeries) -> None:
        from training.core.findings import counted

        quality = series.quality
        missing = ", ".join(f"{count:,} {column}" for column, count in quality["missing"].items() if count) or "none"
        gaps = quality["gaps"]
        lines = {
            "bars": f"{series.rows:,}, {series.first:%Y-%m-%d %H:%M} to {series.last:%Y-%m-%d %H:%M} UTC",
            "missing values": missing,
            "gaps": f"{gaps['count']:,} ({counted(gaps['bars'], 'bar')} missing)"
            + (f", after {_times(gaps['first'])}" if gaps["count"] else ""),
            "calendar": quality.get("calendar") or "none: gaps are counted by the usual hours of the bars",
            "read with": "; ".join((quality.get("origin") or {}).get("words") or ["no options"]),
            "loaded from": f"{series.source or 'unknown'}, {series.updated:%Y-%m-%d %H:%M} UTC",
            "sha256 of the file": series.sha256,
        }
        self.stdout.write(str(series))
        for name, text in lines.items():
            self.stdout.write(f"  {name}: {text}")
        for warning in quality["warnings"]:
            self.stdout.write(self.style.WARNING(f"  warning: {warning}"))

    def _check(self) -> None:
        from training.bars.series import check_store

        checked = check_store()
        for series in checked:
            style = self.style.SUCCESS if series.sound else self.style.ERROR
            self.stdout.write(f"{series.symbol} {series.timeframe}: {style(series.finding)}")
        unsound = sum(not series.sound for series in checked)
        if unsound:
            raise CommandError(f"{unsound} of {len(checked)} stored series cannot be used")
        self.stdout.write(f"{len(checked)} stored series, all sound.")


def _times(texts: Sequence[str]) -> str:
    return ", ".join(text.removesuffix("Z").removesuffix("T00:00:00").replace("T", " ") for text in texts)


def _as_dict(series: BarSeries) -> dict[str, Any]:
    return {
        "symbol": series.symbol,
        "timeframe": series.timeframe,
        "first": series.first.isoformat(),
        "last": series.last.isoformat(),
        "rows": series.rows,
        "sha256": series.sha256,
        "source": series.source,
        "quality": series.quality,
    }


def _not_stored(symbol: str, timeframe: str | None, stored: Sequence[BarSeries]) -> str:
    own = [series.timeframe for series in stored if series.symbol == symbol]
    near = nearest(symbol, {series.symbol for series in stored})
    known = (
        f"{symbol} is stored as {', '.join(own)}"
        if own
        else f"did you mean {near}?"
        if near
        else "`manage.py data` lists what is"
    )
    return f"no {timeframe + ' ' if timeframe else ''}bars of {symbol} are stored; {known}"
