"""`python -m tests.campaigns.file_fuzz N [SEED]`: draws bars, writes each as some program would, and reads the file back.

A file is read into exactly the bars that were drawn, or refused in one sentence; one whose bytes were changed may be read into
others, and may not end in a traceback.
"""

from __future__ import annotations

import gzip
import io
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.pipeline.frames import bar_times, bar_values
from training.readers.bar_files import first_rows, read_bar_file
from training.store.coverage import DataError
from training.store.reading import Reading

Clock = Callable[[datetime], str]
HEADS = {
    "English": ("Date", "Time", "Open", "High", "Low", "Close", "Volume"),
    "plain": ("timestamp", "time", "open", "high", "low", "close", "volume"),
    "short": ("date", "time", "o", "h", "l", "c", "v"),
    "German": ("Datum", "Uhrzeit", "Eröffnung", "Hoch", "Tief", "Schluss", "Volumen"),
    "German too": ("Datum", "Zeit", "Eröffnungskurs", "Höchst", "Tiefst", "Schlusskurs", "Umsatz"),
    "French": ("Date", "Heure", "Ouverture", "Plus Haut", "Plus Bas", "Clôture", "Volume"),
    "Spanish": ("Fecha", "Hora", "Apertura", "Máximo", "Mínimo", "Cierre", "Volumen"),
    "Italian": ("Data", "Ora", "Apertura", "Massimo", "Minimo", "Chiusura", "Volume"),
}
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Etc/GMT-3")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass
class Drawn:
    """Bars as texts with a point before decimals, and how they are to be read; `values` is what must come out."""

    times: list[datetime]
    prices: list[tuple[str, str, str, str]]
    volumes: list[str] | None
    timeframe: str
    reading: Reading = field(default_factory=Reading)

    @property
    def values(self) -> np.ndarray:
        columns = [[float(row[i]) for row in self.prices] for i in range(4)]
        columns.append([float(volume) for volume in self.volumes] if self.volumes is not None else [np.nan] * len(self.times))
        return np.array(columns)

    @property
    def microseconds(self) -> np.ndarray:
        return np.array([(time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for time in self.times], np.int64)


def draw(rng: random.Random) -> Drawn:
    """Bars in order of time; prices on a grid of ticks, as markets have them."""
    timeframe = rng.choice(["1m", "5m", "15m", "1h", "4h", "1d"])
    count = rng.randint(4, 50)
    step = timedelta(seconds=TIMEFRAMES[timeframe])
    start = datetime(rng.randint(1990, 2024), rng.randint(1, 12), rng.randint(1, 28), tzinfo=UTC)
    times = [start + step * i for i in range(count)]
    digits, level = rng.choice(
        [(5, 1.2), (2, 100), (2, 41_000), (0, 13_000), (3, 13), (3, 131), (4, 0.7), (8, 0.001), (1, 950), (3, 1350)]
    )
    last, prices = round(level * 10**digits * rng.uniform(0.8, 1.2)), []
    for _ in range(count):
        opened = last
        last = max(2, opened + rng.randint(-max(2, opened // 60), max(2, opened // 60)))
        high = max(opened, last) + rng.randint(0, max(1, opened // 200))
        low = max(1, min(opened, last) - rng.randint(0, max(1, opened // 200)))
        prices.append(tuple(_decimal(ticks, digits) for ticks in (opened, high, low, last)))
    volumes = rng.choice(
        [
            [str(rng.randint(0, 10**6)) for _ in times], [str(rng.randint(0, 900)) for _ in times], None,
            [_decimal(rng.randint(0, 10**8), 3) for _ in times], [_decimal(rng.randint(0, 10**9), 8) for _ in times],
        ]
    )  # fmt: skip
    return Drawn(times, prices, volumes, timeframe)


def _decimal(ticks: int, digits: int) -> str:
    return f"{ticks // 10**digits}.{ticks % 10**digits:0{digits}d}" if digits else str(ticks)


def _grouped(number: str, thousands: str, decimal: str) -> str:
    whole, point, fraction = number.partition(".")
    if thousands:
        whole = f"{int(whole):,}".replace(",", thousands)
    return whole + (decimal + fraction if point else "")


def _text(rows: Sequence[Sequence[str]], delimiter: str, quoted: bool, ending: str) -> str:
    lines = [delimiter.join(f'"{cell}"' if quoted else cell for cell in row) for row in rows]
    return ending.join(lines) + ending


# --- layouts of programs -----------------------------------------------------------------------


def _daily(bars: Drawn) -> bool:
    return bars.timeframe == "1d"


def _rows(bars: Drawn, clock: Clock, *, before: Sequence[str] = (), volume: bool = True) -> list[list[str]]:
    volumes = bars.volumes or ["0"] * len(bars.times)
    return [
        [*before, *clock(time).split("|"), *price, *([amount] if volume else [])]
        for time, price, amount in zip(bars.times, bars.prices, volumes, strict=True)
    ]


def _with_volume(bars: Drawn) -> Drawn:
    return bars if bars.volumes is not None else replace(bars, volumes=["0"] * len(bars.times))


def metatrader4(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    zone = rng.choice(ZONES)
    bars = replace(_with_volume(bars), reading=Reading(tz=None if _daily(bars) else zone))
    wall = ZoneInfo("UTC" if _daily(bars) else zone)
    return _text(_rows(bars, lambda t: f"{t.astimezone(wall):%Y.%m.%d|%H:%M}"), ",", False, "\n"), bars


def metatrader5(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars = replace(_with_volume(bars), reading=Reading(tz=None if _daily(bars) else "Etc/GMT-3"))
    names = [
        "<DATE>",
        *([] if _daily(bars) else ["<TIME>"]),
        "<OPEN>",
        "<HIGH>",
        "<LOW>",
        "<CLOSE>",
        "<TICKVOL>",
        "<VOL>",
        "<SPREAD>",
    ]
    form = "%Y.%m.%d" if _daily(bars) else "%Y.%m.%d|%H:%M:%S"
    wall = ZoneInfo("UTC" if _daily(bars) else "Etc/GMT-3")
    rows = [[*row, "0", "12"] for row in _rows(bars, lambda t: f"{t.astimezone(wall):{form}}")]
    return _text([names, *rows], "\t", False, "\r\n"), bars


def histdata(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars = replace(_with_volume(bars), timeframe="1m" if _daily(bars) else bars.timeframe)
    wall = ZoneInfo("Etc/GMT+5")
    return _text(_rows(bars, lambda t: f"{t.astimezone(wall):%Y%m%d %H%M%S}"), ";", False, "\n"), bars


def kraken(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars = _with_volume(bars)
    return _text([[*row, "7"] for row in _rows(bars, lambda t: str(int(t.timestamp())))], ",", False, "\n"), bars


def binance(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars, length = _with_volume(bars), TIMEFRAMES[bars.timeframe]
    switch = rng.choice([None, rng.randrange(len(bars.times))]) if bars.times[0].year > 2001 else None

    def clock(time: datetime, more: int = 0) -> str:
        unit = 10**6 if switch is not None and time >= bars.times[switch] else 10**3
        return str((int(time.timestamp()) + more) * unit - (1 if more else 0))

    rows = [
        [*row, clock(time, length), "5.5", "12", "1.5", "2.5", "0"]
        for time, row in zip(bars.times, _rows(bars, clock), strict=True)
    ]
    names = "open_time open high low close volume close_time quote_volume count taker_buy_volume taker_buy_quote_volume ignore"
    headed = rng.random() < 0.5 or bars.times[0].year < 2002
    return _text([*([names.split()] if headed else []), *rows], ",", False, "\n"), bars


def stooq(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    period = {"1d": "D", "1h": "60", "4h": "240", "15m": "15", "5m": "5", "1m": "1"}[bars.timeframe]
    bars = replace(_with_volume(bars), reading=Reading(tz=None if _daily(bars) else "UTC"))
    names = ["<TICKER>", "<PER>", "<DATE>", "<TIME>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>", "<OPENINT>"]
    rows = [[*row, "0"] for row in _rows(bars, lambda t: f"{t:%Y%m%d|%H%M%S}", before=("ZZQ.US", period))]
    return _text([names, *rows], ",", False, "\r\n"), bars


def dukascopy(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars = _with_volume(bars)
    rows = _rows(bars, lambda t: f"{t:%d.%m.%Y %H:%M:%S}.000")
    return _text([["Gmt time", "Open", "High", "Low", "Close", "Volume"], *rows], ",", False, "\n"), bars


def tradingview(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars = _with_volume(bars)
    rows = [[*row, "NaN"] for row in _rows(bars, lambda t: str(int(t.timestamp())))]
    return _text([["time", "open", "high", "low", "close", "Volume", "Volume MA"], *rows], ",", False, "\n"), bars


def _as_days(bars: Drawn) -> Drawn:
    start = bars.times[0]
    return replace(_with_volume(bars), timeframe="1d", times=[start + timedelta(days=i) for i in range(len(bars.times))])


def _whole(bars: Drawn) -> Drawn:
    return replace(bars, volumes=[volume.partition(".")[0] for volume in bars.volumes or ()])


def yahoo(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars = _whole(_as_days(bars))
    rows = []
    for time, price, volume in zip(bars.times, bars.prices, bars.volumes or (), strict=True):
        cells = [_grouped(cell, ",", ".") for cell in (*price, price[3], volume)]
        rows.append([f"{MONTHS[time.month - 1]} {time:%d, %Y}", *cells])
    if rng.random() < 0.3:
        rows.insert(rng.randrange(len(rows)), ["Jan 02, 1985", "0.73 Dividend"])
    return _text([["Date", "Open", "High", "Low", "Close*", "Adj Close**", "Volume"], *reversed(rows)], ",", True, "\n"), bars


def yfinance(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars = _with_volume(bars)
    form = "%Y-%m-%d" if _daily(bars) else "%Y-%m-%d %H:%M:%S+00:00"
    rows = [[row[0], row[4], row[2], row[3], row[1], row[5]] for row in _rows(bars, lambda t: f"{t:{form}}")]
    heads = [
        ["Price", "Close", "High", "Low", "Open", "Volume"],
        ["Ticker", *["ZZQ"] * 5],
        ["Date" if _daily(bars) else "Datetime", *[""] * 5],
    ]
    return _text([*heads, *rows], ",", False, "\n"), bars


def nasdaq(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars = _whole(_as_days(bars))
    rows = []
    for time, price, volume in zip(bars.times, bars.prices, bars.volumes or (), strict=True):
        opened, high, low, close = (f"${cell}" for cell in price)
        rows.append([f"{time:%m/%d/%Y}", close, volume, opened, high, low])
    return _text([["Date", "Close/Last", "Volume", "Open", "High", "Low"], *reversed(rows)], ",", False, "\n"), bars


def nse(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars = _whole(_as_days(bars))
    names = "Date |series |OPEN |HIGH |LOW |PREV. CLOSE |ltp |close |vwap |52W H|52W L |VOLUME |VALUE |No of trades "
    rows = []
    for time, price, volume in zip(bars.times, bars.prices, bars.volumes or (), strict=True):
        opened, high, low, close = (_grouped(cell, ",", ".") for cell in price)
        day = f"{time:%d}-{MONTHS[time.month - 1]}-{time:%Y}"
        rows.append(
            [
                day,
                "EQ",
                opened,
                high,
                low,
                "1.00",
                "2.00",
                close,
                "3.00",
                "9,999.00",
                "0.50",
                _grouped(volume, ",", "."),
                "5",
                "6",
            ]
        )
    return _text([names.split("|"), *reversed(rows)], ",", True, "\n"), bars


def investing(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars, german = _whole(_as_days(bars)), rng.random() < 0.4
    thousands, decimal = (".", ",") if german else (",", ".")
    volumes = [rng.choice(["12.5K", "3.20M", "1.75B", "412.00K"]) for _ in bars.times]
    bars = replace(bars, volumes=[volume[:-1] + {"K": "e3", "M": "e6", "B": "e9"}[volume[-1]] for volume in volumes])
    rows = []
    for time, price, volume in zip(bars.times, bars.prices, volumes, strict=True):
        opened, high, low, close = (_grouped(cell, thousands, decimal) for cell in price)
        rows.append(
            [f"{time:%d.%m.%Y}" if german else f"{time:%m/%d/%Y}", close, opened, high, low, volume.replace(".", decimal), "0"]
        )
    names = (
        ("Datum", "Zuletzt", "Eröffn.", "Hoch", "Tief", "Vol.", "+/- %")
        if german
        else ("Date", "Price", "Open", "High", "Low", "Vol.", "Change %")
    )
    return _text([names, *reversed(rows)], ",", True, "\n"), bars


def cryptodatadownload(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars = _with_volume(bars)
    rows = [
        [str(int(time.timestamp() * 1000)), f"{time:%Y-%m-%d %H:%M:%S}", "BTC/USDT", *row[1:], "1.5", "12"]
        for time, row in zip(bars.times, _rows(bars, lambda t: "x"), strict=True)
    ]
    names = ["unix", "date", "symbol", "open", "high", "low", "close", "Volume BTC", "Volume USDT", "tradecount"]
    return "https://www.CryptoDataDownload.com\n" + _text([names, *reversed(rows)], ",", False, "\n"), bars


def alphavantage(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars = _as_days(bars)
    rows = [[*row[:5], row[4], row[5], "0.0000", "1.0"] for row in _rows(bars, lambda t: f"{t:%Y-%m-%d}")]
    names = ["timestamp", "open", "high", "low", "close", "adjusted_close", "volume", "dividend_amount", "split_coefficient"]
    return _text([names, *reversed(rows)], ",", False, "\r\n"), bars


def interactive(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    bars = _with_volume(bars)
    form = "%Y%m%d" if _daily(bars) else "%Y%m%d %H:%M:%S"
    wall = ZoneInfo("UTC" if _daily(bars) else "America/New_York")
    zone = "" if _daily(bars) else " US/Eastern"
    rows = [[*row, "1.5", "12"] for row in _rows(bars, lambda t: f"{t.astimezone(wall):{form}}{zone}")]
    return _text([["date", "open", "high", "low", "close", "volume", "average", "barCount"], *rows], ",", False, "\n"), bars


# --- files of no known program -----------------------------------------------------------------


def _generic_clock(bars: Drawn, rng: random.Random) -> tuple[Clock, Reading, bool]:
    """How times are written, what is said of them, and whether date and clock are two columns."""
    if _daily(bars):
        forms = ["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d-%b-%Y", "%d/%m/%y"]
        form = rng.choice(forms)
        given = form if form == "%d/%m/%y" or (form == "%m/%d/%Y" and rng.random() < 0.3) else ""
        return (lambda t: f"{t:{form}}"), Reading(date_format=given), False
    zone = rng.choice(ZONES)
    wall = ZoneInfo(zone)
    unit = rng.choice([1, 10**3, 10**6, 10**9])
    kinds: list[tuple[Clock, Reading, bool]] = [
        (lambda t: f"{t:%Y-%m-%dT%H:%M:%SZ}", Reading(), False),
        (lambda t: t.astimezone(wall).isoformat(sep=" "), Reading(), False),
        (lambda t: f"{t.astimezone(wall):%Y-%m-%d %H:%M:%S}", Reading(tz=zone), False),
        (lambda t: f"{t.astimezone(wall):%Y-%m-%d|%H:%M}", Reading(tz=zone), True),
        (lambda t: f"{t.astimezone(wall):%Y%m%d|%H%M%S}".replace("|0", "|"), Reading(tz=zone), True),
        (lambda t: str(int(t.timestamp()) * unit), Reading(), False),
        (lambda t: f"{t.astimezone(wall):%Y%m%d%H%M}", Reading(tz=zone), False),
        (lambda t: f"{t.astimezone(wall):%Y%m%d%H%M%S}", Reading(tz=zone), False),
        (lambda t: f"{t.astimezone(wall):%d.%m.%Y %H:%M}", Reading(tz=zone), False),
        (lambda t: f"{t.astimezone(wall):%m/%d/%Y %I:%M %p}", Reading(tz=zone), False),
        (lambda t: f"{t.astimezone(wall):%d/%m/%Y %H:%M}", Reading(tz=zone, date_format=rng.choice(["%d/%m/%Y %H:%M", ""])), False),
        (lambda t: f"{t.astimezone(wall):%d %b %Y %H:%M:%S}", Reading(tz=zone), False),
        (lambda t: f"{(t - datetime(1899, 12, 30, tzinfo=UTC)) / timedelta(days=1):.6f}", Reading(tz="UTC"), False),
    ]  # fmt: skip
    clock, reading, two = rng.choice(kinds)
    return clock, reading, two


def generic(bars: Drawn, rng: random.Random) -> tuple[str, Drawn]:
    clock, reading, two = _generic_clock(bars, rng)
    delimiter = rng.choice(",,;;\t|")
    decimal = rng.choice(".,") if delimiter != "," else "."
    thousands = rng.choice(["", "", "", "." if decimal == "," else ",", "'", " "])
    quoted = rng.random() < 0.3 or (delimiter == "," and "," in (thousands, decimal))
    if rng.random() < 0.3 and thousands in ("", ",", "."):
        reading = replace(reading, decimal=decimal)
    names = list(rng.choice(list(HEADS.values())))
    rows = []
    for time, price, position in zip(bars.times, bars.prices, range(len(bars.times)), strict=True):
        numbers = [*price, *([bars.volumes[position]] if bars.volumes is not None else [])]
        rows.append([*clock(time).split("|"), *(_grouped(number, thousands, decimal) for number in numbers)])
    head = [names[0], *([names[1]] if two else []), *names[2:6], *([names[6]] if bars.volumes is not None else [])]
    if head[0] == "timestamp" and two:
        head[0] = "date"
    order = rng.choice([list(range(len(rows))), list(reversed(range(len(rows))))])
    if reading.tz is None and rng.random() < 0.3:
        rng.shuffle(order)
    rows = [rows[position] for position in order]
    if rng.random() < 0.1:
        rows.insert(rng.randrange(len(rows) + 1), list(rows[0]))
    extra = rng.random() < 0.2
    lines = [[*head, *(["note"] if extra else [])], *([*row, *(["x1"] if extra else [])] for row in rows)]
    if rng.random() < 0.1:
        lines = lines[1:]
        columns = ["date", "time"] if two else ["timestamp"]
        columns += ["open", "high", "low", "close", *(["volume"] if bars.volumes is not None else [])]
        reading = replace(reading, columns=(*columns, *(["-"] if extra else [])))
    before = rng.choice(["", "", "", "\n", f"sep={delimiter}\n"])
    after = rng.choice(["", "", "\n", "   \n", "\n\n"])
    return before + _text(lines, delimiter, quoted, rng.choice(["\n", "\r\n"])) + after, replace(bars, reading=reading)


PROGRAMS: dict[str, Callable[[Drawn, random.Random], tuple[str, Drawn]]] = {
    "MetaTrader 4": metatrader4, "MetaTrader 5": metatrader5, "HistData": histdata, "Kraken": kraken, "Binance": binance,
    "Stooq": stooq, "Dukascopy": dukascopy, "TradingView": tradingview, "Yahoo": yahoo, "yfinance": yfinance, "Nasdaq": nasdaq,
    "NSE": nse, "Investing.com": investing, "CryptoDataDownload": cryptodatadownload, "Alpha Vantage": alphavantage,
    "Interactive Brokers": interactive,
}  # fmt: skip


# --- bytes -------------------------------------------------------------------------------------


def _encoded(text: str, reading: Reading, rng: random.Random) -> tuple[bytes, Reading]:
    kind = rng.choice(["utf-8"] * 5 + ["utf-8-sig", "utf-16", "utf-16-be", "cp1252", "utf-16-le"])
    if kind == "utf-16-be":
        return "\ufeff".encode("utf-16-be") + text.encode("utf-16-be"), reading
    if kind in ("cp1252", "utf-16-le"):
        return text.encode(kind), replace(reading, encoding=rng.choice([kind, kind, ""]))
    return text.encode(kind), reading


def _parquet(bars: Drawn, rng: random.Random) -> tuple[bytes, Drawn]:
    unit = rng.choice(["s", "ms", "us", "ns"])
    index = pd.DatetimeIndex(bars.microseconds.view("M8[us]")).tz_localize("UTC").as_unit(unit)
    zone = rng.choice(["UTC", "Asia/Tokyo", None]) if not _daily(bars) else rng.choice(["UTC", None])
    index = index.tz_localize(None) if zone is None else index.tz_convert(zone)
    values = bars.values[: 5 if bars.volumes is not None else 4]
    columns = dict(zip(("open", "high", "low", "close", "volume"), values, strict=False))
    frame = pd.DataFrame(columns, index=index.rename(rng.choice(["Date", "timestamp", None])))
    if rng.random() < 0.3:
        names = ("open", "high", "low", "close")
        for position, name in enumerate(names):
            frame[name] = [price[position] for price in bars.prices]  # numbers as texts
    stored = frame if rng.random() < 0.5 else frame.rename_axis("Date").reset_index()
    packed = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(stored), packed, compression=rng.choice(["none", "snappy", "zstd"]))
    return packed.getvalue(), replace(bars, reading=Reading(tz="UTC" if zone is None and not _daily(bars) else None))


def _changed(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        position = rng.randrange(len(changed)) if changed else 0
        what = rng.randrange(5)
        if what == 0 and changed:
            changed[position] = rng.randrange(256)
        elif what == 1:
            changed[position:position] = bytes(rng.choices(b'0123456789.,;\n"-e \t\x00\xff', k=rng.randint(1, 4)))
        elif what == 2:
            del changed[position : position + rng.randint(1, 20)]
        elif what == 3 and changed:
            changed[position] = changed[position] ^ (1 << rng.randrange(8))
        elif len(changed) > 8:
            del changed[rng.randrange(4, len(changed)) :]
    return bytes(changed)


@dataclass
class Told:
    """What came of one file: its kind, and `read`, `refused`, or what is wrong."""

    kind: str
    changed: bool
    outcome: str
    detail: str = ""


def one_file(seed: int, folder: Path) -> Told:
    """Draw, write and read one file."""
    rng = random.Random(seed)
    bars = draw(rng)
    where = rng.random()
    if where < 0.12:
        kind, (content, bars) = "Parquet", _parquet(bars, rng)
    else:
        kind = "no known program" if where < 0.5 else rng.choice(list(PROGRAMS))
        text, bars = (generic if kind == "no known program" else PROGRAMS[kind])(bars, rng)
        content, reading = _encoded(text, bars.reading, rng)
        bars = replace(bars, reading=reading)
        content = gzip.compress(content) if rng.random() < 0.2 else content
    changed = rng.random() < 0.4
    content = _changed(content, rng) if changed else content
    path = folder / f"{seed}.csv"
    path.write_bytes(content)
    try:
        try:
            first_rows(path, bars.reading)
            frame, _ = read_bar_file(path, bars.timeframe, bars.reading)
        except DataError as error:
            sentence = str(error)
            return Told(kind, changed, "refused" if "\n" not in sentence and sentence else "more than a sentence", sentence)
        if changed:
            return Told(kind, changed, "read")
        same = len(frame) == len(bars.times) and (bar_times(frame) == bars.microseconds).all()
        same = same and np.array_equal(bar_values(frame), bars.values, equal_nan=True)
        return Told(kind, changed, "read" if same else "read into other numbers", "" if same else str(frame.iloc[:2].to_dict()))
    except Exception:  # noqa: BLE001 - what is looked for
        return Told(kind, changed, "traceback", traceback.format_exc())
    finally:
        path.unlink()


def campaign(count: int, seed: int = 0) -> tuple[Counter[tuple[str, bool, str]], list[tuple[int, Told]]]:
    """So many files from a seed on; how often what came of them, and those that went wrong."""
    counts: Counter[tuple[str, bool, str]] = Counter()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(seed, seed + count):
            told = one_file(number, Path(folder))
            counts[told.kind, told.changed, told.outcome] += 1
            if told.outcome not in ("read", "refused"):
                wrong.append((number, told))
    return counts, wrong


def main(arguments: Sequence[str]) -> int:
    count = int(arguments[0]) if arguments else 2000
    seed = int(arguments[1]) if len(arguments) > 1 else 0
    counts, wrong = campaign(count, seed)
    print(f"{count} files, seeds {seed} to {seed + count - 1}")
    for kind in sorted({kind for kind, _, _ in counts}):
        told = [
            f"{counts[kind, changed, outcome]} {outcome}" + (" of changed bytes" if changed else "")
            for changed in (False, True)
            for outcome in ("read", "refused")
        ]
        print(f"  {kind}: {', '.join(told)}")
    for changed in (False, True):
        read, refused = (
            sum(n for (_, c, o), n in counts.items() if c == changed and o == outcome) for outcome in ("read", "refused")
        )
        print(f"{'changed' if changed else 'as written'}: {read} read, {refused} refused")
    for number, told in wrong[:20]:
        print(f"seed {number}, {told.kind}: {told.outcome}\n{told.detail}")
    print(f"{len(wrong)} went wrong")
    return 1 if wrong else 0


def refusals(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Why files that nobody changed were refused."""
    with tempfile.TemporaryDirectory() as folder:
        told = [one_file(number, Path(folder)) for number in range(seed, seed + count)]
    return [(one.kind, one.detail) for one in told if one.outcome == "refused" and not one.changed]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
