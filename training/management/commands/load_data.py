"""`load_data SYMBOL TIMEFRAME --from FILE | --source NAME`, `--from FOLDER`, `load_data --update`: bars into the store."""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from strategies_app.grammar.vocabulary import TIMEFRAMES

if TYPE_CHECKING:
    from training.bars.fetching import Fetch
    from training.models import BarSeries
    from training.store.file_lists import BarFile
    from training.store.reading import Reading

#: Options that only a file has, and only a source.
OF_FILE = (
    *("tz", "price_scale", "adjust", "columns", "date_format", "encoding", "thousands", "decimal", "only", "drop_impossible"),
    "timeframe_is_right",
)
OF_SOURCE = ("exchange", "market", "since", "until")
_MARKS = {"comma": ",", "point": ".", "dot": ".", "space": " ", "apostrophe": "'"}


class Command(BaseCommand):
    help = "Loads bars from a file or fetches them from a source; bars that are stored already are merged by time."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("symbol", metavar="SYMBOL", nargs="?", help="such as AAPL or EURUSD")
        parser.add_argument("timeframe", metavar="TIMEFRAME", nargs="?", choices=list(TIMEFRAMES), help=", ".join(TIMEFRAMES))
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument(
            "--from", dest="files", metavar="FILE", type=Path, action="append",
            help="CSV (also .gz) or Parquet; a folder or a zip of them; again for each further one",
        )  # fmt: skip
        where.add_argument("--source", metavar="NAME", help="yahoo, or ccxt with --exchange; each page is stored when it arrives")
        where.add_argument(
            "--update", action="store_true", help="fetch what is missing at the end and in gaps, of one series or of all"
        )
        parser.add_argument("--tz", metavar="ZONE", help="time zone of times that name none, such as Europe/Berlin or UTC")
        parser.add_argument(
            "--price-scale", type=float, default=1.0, metavar="N", help="divide prices by N, such as 100000 for points of EURUSD"
        )
        parser.add_argument(
            "--adjust", action="store_true", help="adjust prices by the file's adjusted close, and volume for the splits in it"
        )
        self._add_reading(parser)
        parser.add_argument(
            "--timeframe-is-right", action="store_true",
            help="each bar lasts no longer than TIMEFRAME, though the bars are few or further apart",
        )  # fmt: skip
        parser.add_argument(
            "--calendar", metavar="NAME", help="exchange calendar by which gaps are counted, such as XNYS; `none` takes it away"
        )
        parser.add_argument("--exchange", metavar="NAME", help="with --source ccxt: such as binance or kraken")
        parser.add_argument(
            "--market", metavar="NAME", help="the source's own name where it is not SYMBOL, such as ^GSPC or BTC/USDT:USDT"
        )
        parser.add_argument("--since", metavar="DAY", type=dt.date.fromisoformat, help="first UTC day to fetch")
        parser.add_argument(
            "--until", metavar="DAY", type=dt.date.fromisoformat, help="last UTC day to fetch; today if not given"
        )
        parser.add_argument("--replace", action="store_true", help="take the new bars where stored ones of the same time differ")

    def _add_reading(self, parser: argparse.ArgumentParser) -> None:
        """What a file may leave open."""
        parser.add_argument(
            "--columns", metavar="LIST", default=(), type=lambda text: tuple(text.split(",")),
            help="what the columns are, in order: date,time,timestamp,open,high,low,close,volume,adj_close,split,symbol,timeframe"
            " or - for one to leave out",
        )  # fmt: skip
        parser.add_argument(
            "--date-format", metavar="FORM", default="", help="of the times, such as %%d/%%m/%%Y or %%d/%%m/%%y %%H:%%M"
        )
        parser.add_argument(
            "--encoding", metavar="NAME", default="", help="of the text, such as cp1252; UTF-8 and UTF-16 are seen"
        )
        for name, what in (("thousands", "between thousands: . , or space"), ("decimal", "before decimals: . or ,")):
            parser.add_argument(
                f"--{name}", metavar="MARK", default="", type=lambda text: _MARKS.get(text, text),
                help=f"what stands {what}; needed where the file leaves it open",
            )  # fmt: skip
        parser.add_argument("--only", metavar="NAME", default="", help="the one symbol to take of a file that has several")
        parser.add_argument(
            "--drop-impossible", action="store_true", help="leave out impossible bars, such as one with a price of 0"
        )

    def handle(self, *args: Any, symbol: str | None, timeframe: str | None, **options: Any) -> None:
        from training.management.refusals import refusals
        from training.pipeline.bars import DataError, series_path

        if options["source"] and not (symbol and timeframe):
            raise CommandError("wanted SYMBOL TIMEFRAME, such as AAPL 1d", returncode=2)
        self._refuse_other(options)
        try:
            if symbol:
                series_path(Path(), symbol, timeframe or "1d")
        except DataError as error:
            raise CommandError(str(error), returncode=2) from None
        with refusals():
            if options["files"]:
                self._load(symbol, timeframe, options)
            elif options["source"]:
                self._fetch(_wanted(str(symbol), str(timeframe), options), _calendar(options))
            else:
                self._update(symbol, timeframe)

    def _refuse_other(self, options: dict[str, Any]) -> None:
        wrong = [name for name in (OF_SOURCE if options["files"] else OF_FILE) if _said(options, name)]
        wrong += [name for name in (*OF_SOURCE, "replace", "calendar") if options["update"] and _said(options, name)]
        if wrong:
            how = "--from" if options["files"] else "--source" if options["source"] else "--update"
            raise CommandError(f"--{wrong[0].replace('_', '-')} does not go with {how}", returncode=2)

    # --- from a file ---

    def _load(self, symbol: str | None, timeframe: str | None, options: dict[str, Any]) -> None:
        """Load the files one after the other; of several, one that cannot be loaded does not stop the others."""
        from training.core.values import Refusal
        from training.store.file_lists import bar_files
        from training.store.reading import Reading

        reading = Reading(**{name: options[name] for name in OF_FILE})
        files = bar_files(options["files"])
        failed = done = 0
        try:
            for file in files:
                try:
                    self._load_one(file, symbol, timeframe, reading, options, several=len(files) > 1)
                    done += 1
                except (Refusal, OSError) as refusal:
                    if len(files) == 1:
                        raise
                    failed += 1
                    self.stderr.write(f"{file.shown}: {str(refusal).removeprefix(f'{file.name}: ')}")
        except KeyboardInterrupt:
            loaded = f"; {done} of {len(files)} files are loaded" if len(files) > 1 else ""
            raise CommandError(
                f"stopped{loaded}; {files[done + failed].shown} is loaded as a whole or not at all, and may be loaded again",
                returncode=130,
            ) from None
        if len(files) > 1:
            self.stdout.write(f"{done} of {len(files)} files loaded")
        if failed:
            raise CommandError(f"{failed} of {len(files)} files could not be loaded")

    def _load_one(
        self,
        file: BarFile,
        symbol: str | None,
        timeframe: str | None,
        reading: Reading,
        options: dict[str, Any],
        *,
        several: bool,
    ) -> None:
        from training.bars.series import load_file, loaded_line

        symbol, timeframe = _series_of(file, symbol, timeframe, several)
        with file.opened() as path:
            loaded = load_file(symbol, timeframe, path, reading, replace=options["replace"], calendar=_calendar(options))
        self.stdout.write(f"{file.shown}: {loaded_line(loaded)}" if several else loaded_line(loaded))
        for note in loaded.notes:
            self.stdout.write(f"  note: {note}")
        for warning in loaded.warnings:
            if warning not in loaded.notes:
                self.stdout.write(self.style.WARNING(f"  warning: {warning}"))

    # --- from a source ---

    def _update(self, symbol: str | None, timeframe: str | None) -> None:
        from training.bars.fetching import Fetch
        from training.core.values import Refusal

        chosen = _remembered(symbol, timeframe)
        failed = 0
        for series in chosen:
            try:
                self._fetch(Fetch(series.symbol, series.timeframe, series.feed["source"], series.feed["market"]))
            except Refusal as refusal:  # the others can still be updated
                if len(chosen) == 1:
                    raise
                failed += 1
                self.stderr.write(f"{series}: {refusal}")
        if failed:
            raise CommandError(f"{failed} of {len(chosen)} series could not be updated")

    def _fetch(self, fetch: Fetch, calendar: str | None = None) -> None:
        from training.bars import fetching
        from training.bars.series import store_frame
        from training.core.findings import counted
        from training.models import BarSeries
        from training.pipeline.frames import empty_frame

        try:
            fetching.run(fetch, fetching.opened(fetch.source), fetching.rest, self._tell)
        except KeyboardInterrupt:
            kept = "what is stored stays as it was" if fetch.anew else f"{fetch.added:,} new bars are kept"
            raise CommandError(
                f"stopped; {kept}, and fetching {fetch.symbol} {fetch.timeframe} again goes on from there", returncode=130
            ) from None
        finally:
            for note in fetch.notes:
                self.stdout.write(f"  note: {note}")
        if calendar is not None:
            store_frame(fetch.symbol, fetch.timeframe, empty_frame(), source=fetch.label, calendar=calendar)
        series = BarSeries.objects.get(symbol=fetch.symbol, timeframe=fetch.timeframe)
        self.stdout.write(
            f"{series}: {counted(series.rows, 'bar')} from {series.first:%Y-%m-%d %H:%M} to {series.last:%Y-%m-%d %H:%M} UTC"
            f" ({fetch.added:,} {'fetched anew' if fetch.anew else 'added'} from {fetch.label})"
        )
        for warning in series.quality.get("warnings") or ():
            self.stdout.write(self.style.WARNING(f"  warning: {warning}"))

    def _tell(self, fetch: Fetch) -> None:
        if fetch.pause:
            self.stdout.write(f"  {fetch.problem}, trying again in {fetch.pause:g} s")
        elif fetch.pages and not fetch.is_done:
            self.stdout.write(f"  {fetch.percent:.0f} %, page {fetch.pages}, {fetch.added:,} new bars")


def _series_of(file: BarFile, symbol: str | None, timeframe: str | None, several: bool) -> tuple[str, str]:
    """The series of a file: what was given, and else what its name says; an error if that says nothing."""
    from training.store.coverage import DataError
    from training.store.series_names import guess

    named_symbol, named_timeframe = guess(file.name)
    symbol, timeframe = symbol or named_symbol, timeframe or named_timeframe
    lacking = " and ".join(word for word, known in (("symbol", symbol), ("timeframe", timeframe)) if not known)
    if lacking:
        wanted = f"wanted SYMBOL TIMEFRAME, such as {symbol or 'AAPL'} {timeframe or '1d'}"
        told = f"the name {file.name} does not say the {lacking}, {wanted}"
        raise DataError(told) if several else CommandError(told, returncode=2)
    return symbol, timeframe


def _said(options: dict[str, Any], name: str) -> bool:
    return bool(options[name] != 1) if name == "price_scale" else bool(options[name])


def _calendar(options: dict[str, Any]) -> str | None:
    """The calendar's name, "" to take it away, None to leave it as it is."""
    return "" if options["calendar"] == "none" else options["calendar"]


def _wanted(symbol: str, timeframe: str, options: dict[str, Any]) -> Fetch:
    from training.bars.fetching import Fetch
    from training.store.coverage import DAY, day_start

    source, exchange = options["source"], options["exchange"]
    if exchange and source != "ccxt":
        raise CommandError("--exchange goes with --source ccxt", returncode=2)
    since, until = options["since"], options["until"]
    if since and until and since > until:
        raise CommandError(f"--since {since} is after --until {until}", returncode=2)
    return Fetch(
        symbol, timeframe, f"ccxt:{exchange or ''}" if source == "ccxt" else source, options["market"] or "",
        since=day_start(since) if since else None, until=day_start(until) + DAY if until else None, replace=options["replace"],
    )  # fmt: skip


def _remembered(symbol: str | None, timeframe: str | None) -> list[BarSeries]:
    """The series that came from a source; CommandError if there is none of the name."""
    from training.models import BarSeries

    rows = BarSeries.objects.all()
    rows = rows.filter(symbol=symbol) if symbol else rows
    rows = rows.filter(timeframe=timeframe) if timeframe else rows
    found = [row for row in rows if row.feed.get("source")]
    if found:
        return found
    what = " ".join(filter(None, (symbol, timeframe))) or "series"
    if rows and not symbol:
        raise CommandError(
            "no stored series came from a source, so none can be brought up to date; "
            "fetch one first: load_data SYMBOL TIMEFRAME --source yahoo",
            returncode=2,
        )
    if rows:
        raise CommandError(
            f"{what} came from a file ({rows[0].source or 'unknown'}), not from a source: name one with --source", returncode=2
        )
    raise CommandError(f"no {what} is stored; fetch it first: load_data SYMBOL TIMEFRAME --source yahoo", returncode=2)
