"""Kinds of files that traders have, uploaded: each is read to its right numbers, or refused with the option that it asks for."""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command

from tests.examples.api import Examples
from training.bars.upload_jobs import inspect_upload, load_upload
from training.jobs import uploads
from training.pipeline.bars import read_bars

COUNT = 30
#: Open, high, low, close, volume of row i are these, and so are recognised.
OPENS = [100 + i / 4 for i in range(COUNT)]
Row = tuple[dt.datetime, float, float, float, float, int]


def rows(start: str, step: dt.timedelta) -> list[Row]:
    first = dt.datetime.fromisoformat(start)
    return [(first + i * step, o, o + 2, o - 2, o + 1, 65_037 + i) for i, o in enumerate(OPENS)]


def hours(line: Callable[[Row], str], header: str = "", start: str = "2021-03-01") -> str:
    return "\n".join([*([header] if header else []), *map(line, rows(start, dt.timedelta(hours=1)))]) + "\n"


def days(line: Callable[[Row], str], header: str = "", start: str = "2019-01-02") -> str:
    return "\n".join([*([header] if header else []), *map(line, rows(start, dt.timedelta(days=1)))]) + "\n"


def prices(row: Row, form: str = "{:.2f}", mark: str = ",") -> str:
    return mark.join(form.format(value) for value in row[1:5])


def since_1970(row: Row, unit: int = 1) -> int:
    return round(row[0].replace(tzinfo=dt.UTC).timestamp()) * unit


def mixed(row: Row) -> int:
    """Milliseconds first, microseconds from the 13th row on."""
    return since_1970(row, 1000 if row[1] < 103 else 1_000_000)


@dataclass(frozen=True)
class Kind:
    """A file, how it is called, what is said of it in the form, and what comes of it: its first open and bar, or a refusal."""

    content: str | bytes
    name: str = "X.csv"
    options: dict[str, Any] = field(default_factory=dict)
    first: str = "2021-03-01 00:00"
    timeframe: str = "1h"
    volume: float = 65_037
    scale: float = 1
    count: int = COUNT
    refused: str = ""
    asked: str = ""


OHLCV = "Date,Open,High,Low,Close,Volume"
DAILY = {"first": "2019-01-02 00:00", "timeframe": "1d"}


def german(price: str) -> str:
    return days(lambda r: f"{r[0]:%Y-%m-%d};{prices(r, price, ';').replace('.', ',')};{r[5] / 1000:.3f}", OHLCV.replace(",", ";"))


def thousands_only(mark: str = ".") -> str:
    return days(lambda r: f"{r[0]:%Y-%m-%d};{prices(r, '{:.3f}', ';').replace('.', mark)};5", OHLCV.replace(",", ";"))


def oil() -> str:
    lines = days(lambda r: f"{r[0]:%Y-%m-%d},{prices(r)},{r[5]}", OHLCV).splitlines()
    lines[11] = f"{lines[11].split(',')[0]},18.0,20.0,-40.3,-37.6,5"
    return "\n".join(lines)


def two_symbols() -> str:
    one = days(lambda r: f"{r[0]:%Y-%m-%d},AAA,{prices(r)},{r[5]}", "Date,Symbol,Open,High,Low,Close,Volume")
    return one + days(lambda r: f"{r[0]:%Y-%m-%d},BBB,1,1,1,1,1", start="2020-01-02")


KINDS: dict[str, Kind] = {
    "Binance, whose unit changes": Kind(
        hours(lambda r: f"{mixed(r)},{prices(r, '{:.8f}')},{r[5]},0,0,1,0,0,0", "open_time,open,high,low,close,volume,close_time,quote_volume,count,a,b,ignore"),
    ),
    "Binance without names": Kind(hours(lambda r: f"{since_1970(r, 1000)},{prices(r)},{r[5]},{since_1970(r, 1000) + 3_599_999},0.0,1,0.0,0.0,0"), "BTCUSDT-1h-2021-03.csv"),
    "fourteen digits": Kind(hours(lambda r: f"{r[0]:%Y%m%d%H%M%S},{prices(r)},{r[5]}", OHLCV), options={"tz": "UTC"}),
    "twelve digits": Kind(hours(lambda r: f"{r[0]:%Y%m%d%H%M},{prices(r)},{r[5]}", OHLCV), options={"tz": "UTC"}),
    "milliseconds of 1972": Kind(hours(lambda r: f"{since_1970(r, 1000)},{prices(r)},{r[5]}", OHLCV, "1972-01-04"), first="1972-01-04 00:00"),
    "Excel's days": Kind(hours(lambda r: f"{since_1970(r) / 86_400 + 25_569:.6f},{prices(r)},{r[5]}", OHLCV), options={"tz": "UTC"}),
    "weeks called days": Kind(
        "\n".join([OHLCV, *(f"{r[0]:%Y-%m-%d},{prices(r)},{r[5]}" for r in rows("2019-01-07", dt.timedelta(weeks=1)))]), "X_1d.csv",
        refused="the bars are 7 d apart, not 1 d",
    ),
    "weeks": Kind(
        "\n".join([OHLCV, *(f"{r[0]:%Y-%m-%d},{prices(r)},{r[5]}" for r in rows("2019-01-07", dt.timedelta(weeks=1)))]), "X_1d.csv",
        options={"timeframe": "1w"}, first="2019-01-07 00:00", timeframe="1w",
    ),
    "two symbols": Kind(two_symbols(), options={"symbol": "AAA"}, refused="the rows are of several symbols", asked="only"),
    "one of two symbols": Kind(two_symbols(), options={"symbol": "AAA", "only": "AAA"}, **DAILY),
    "Stooq's of another symbol": Kind(
        days(lambda r: f"ZZQ.US,D,{r[0]:%Y%m%d},000000,{prices(r)},{r[5]},0", "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"),
        options={"symbol": "AAPL"}, refused="its bars are those of ZZQ.US", asked="only",
    ),
    "decimal comma": Kind(german("{:.2f}"), **DAILY),
    "one mark that may be either": Kind(thousands_only(), refused="may be", asked="thousands"),
    "one mark, said to be between thousands": Kind(thousands_only(), options={"thousands": "."}, scale=1000, volume=5, **DAILY),
    "one mark, said to be before decimals": Kind(thousands_only(), options={"decimal": "."}, volume=5, **DAILY),
    "Yahoo's page": Kind(
        "\n".join(["Date,Open,High,Low,Close*,Adj Close**,Volume", *(f'"{r[0]:%b %d, %Y}",{prices(r, chr(34) + "{:,.2f}" + chr(34))},"{r[4]:,.2f}","{r[5]:,}"' for r in reversed(rows("2019-01-02", dt.timedelta(days=1))))]),
        **DAILY,
    ),
    "Nasdaq": Kind(
        "\n".join(["Date,Close/Last,Volume,Open,High,Low", *(f"{r[0]:%m/%d/%Y},${r[4]},{r[5]},${r[1]},${r[2]},${r[3]}" for r in reversed(rows("2019-01-02", dt.timedelta(days=1))))]),
        **DAILY,
    ),
    "MetaTrader 4": Kind(hours(lambda r: f"{r[0]:%Y.%m.%d,%H:%M},{prices(r)},{r[5]}"), "EURUSD60.csv", options={"tz": "UTC"}),
    "MetaTrader 5 in UTF-16": Kind(
        hours(lambda r: f"{r[0]:%Y.%m.%d}\t{r[0]:%H:%M:%S}\t{prices(r, mark=chr(9))}\t{r[5]}\t0\t12", "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>").encode("utf-16"),
        options={"tz": "UTC"},
    ),
    "HistData": Kind(
        "\n".join(f"{r[0]:%Y%m%d %H%M%S};{prices(r, '{:.6f}', ';')};{r[5]}" for r in rows("2012-02-01", dt.timedelta(minutes=1))), "DAT_ASCII_EURUSD_M1_201202.csv",
        first="2012-02-01 05:00", timeframe="1m",
    ),
    "Kraken": Kind(hours(lambda r: f"{since_1970(r)},{prices(r)},{r[5]},3"), "XBTUSD_60.csv"),
    "Dukascopy": Kind(hours(lambda r: f"{r[0]:%d.%m.%Y %H:%M:%S}.000,{prices(r)},{r[5]}", "Gmt time,Open,High,Low,Close,Volume")),
    "24:00": Kind(
        hours(lambda r: f"{r[0] - dt.timedelta(days=r[0].hour == 0):%Y-%m-%d},{r[0].hour or 24}:00,{prices(r)},{r[5]}", "date,time,open,high,low,close,volume"),
        options={"tz": "UTC"},
    ),
    "a price below zero": Kind(oil(), refused="not positive", asked="drop_impossible"),
    "a price below zero, left out": Kind(oil(), options={"drop_impossible": True}, count=COUNT - 1, **DAILY),
    "blanks in the last line": Kind(days(lambda r: f"{r[0]:%Y-%m-%d},{prices(r)},{r[5]}", OHLCV) + "   \n", **DAILY),
    "another encoding": Kind(days(lambda r: f"{r[0]:%Y-%m-%d},{prices(r)},{r[5]}", "Date,Open,High,Low,Close,Volume,Währung".removesuffix(",Währung")).replace("Date", "Dåte").encode("cp1252"), options={"encoding": "cp1252", "columns": ["date", "open", "high", "low", "close", "volume"]}, **DAILY),
    "columns in another order": Kind(
        hours(lambda r: f"{r[5]},{r[4]},{r[3]},{r[2]},{r[1]},{r[0]:%d/%m/%y %H.%M}"), options={"tz": "UTC", "date_format": "%d/%m/%y %H.%M", "columns": ["volume", "close", "low", "high", "open", "timestamp"]},
    ),
    "a column that is left out": Kind(hours(lambda r: f"{r[0]:%Y-%m-%dT%H:%MZ},7,{prices(r)},{r[5]}", "t,a,b,c,d,e,f"), options={"columns": ["timestamp", "", "open", "high", "low", "close", "volume"]}),
}  # fmt: skip


@pytest.fixture
def owner(examples: Examples, tmp_path: Path, settings: Any) -> Any:
    settings.STORE_DIR, settings.UPLOAD_DIR = tmp_path / "bars", tmp_path / "uploads"
    return examples.users["trainer"]


def sent(kind: Kind, owner: Any) -> uploads.Upload:
    content = kind.content if isinstance(kind.content, bytes) else kind.content.encode()
    (upload,), _ = uploads.store(SimpleUploadedFile(kind.name, content), owner.pk)
    return uploads.change(upload, {"symbol": upload.options["symbol"] or "X", **kind.options})


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_of_file_is_read_rightly_or_refused_with_what_it_asks_for(owner: Any, name: str) -> None:
    kind = KINDS[name]
    upload = sent(kind, owner)
    told = inspect_upload(upload.key)
    assert told["head"]["columns"], "its first rows can be seen whatever is wrong"
    if kind.refused:
        assert kind.refused in told["problem"] and told["asked"] == kind.asked, told
        return
    assert told["problem"] == "" and told["bars"] == kind.count, told
    if not upload.options["timeframe"]:
        assert told["proposed"] == kind.timeframe
        upload = uploads.change(upload, {"timeframe": told["proposed"]})
    load_upload(upload.key, owner.pk)
    frame = read_bars(Path(settings.STORE_DIR), upload.options["symbol"], kind.timeframe)
    assert f"{frame.index[0]:%Y-%m-%d %H:%M}" == kind.first
    opens = [o for i, o in enumerate(OPENS) if kind.count == COUNT or i != 10]
    assert frame["open"].tolist() == pytest.approx([o * kind.scale for o in opens], rel=1e-12)
    assert frame["close"].tolist() == pytest.approx([(o + 1) * kind.scale for o in opens], rel=1e-12)
    assert frame["volume"].iloc[0] == kind.volume


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.refused])
def test_the_command_that_the_form_shows_loads_the_same_bars(owner: Any, name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    upload = sent(kind, owner)
    upload = uploads.change(upload, {"timeframe": kind.timeframe, "symbol": "AAA" if kind.options.get("symbol") else "FORM"})
    program, verb, symbol, *rest = shlex.split(upload.command)
    assert (program, verb) == ("manage.py", "load_data")
    call_command(
        "load_data",
        "BYCOMMAND" if symbol == "FORM" else symbol,
        *(str(upload.path) if one == upload.name else one for one in rest),
    )
    by_command = read_bars(Path(settings.STORE_DIR), "BYCOMMAND" if symbol == "FORM" else symbol, kind.timeframe)
    load_upload(upload.key, owner.pk)
    assert read_bars(Path(settings.STORE_DIR), symbol, kind.timeframe).equals(by_command)
