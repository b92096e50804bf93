"""What columns are called in files of bars, and the layouts of known exports: names and first row → Layout. Light: no pandas."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

#: What a column may be called in letters and digits alone, the likeliest first: English, German, French, Spanish, Italian,
#: Portuguese, Polish.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "timestamp": (
        *("timestamp", "datetime", "opentime", "unix", "unixtime", "unixtimestamp", "epoch", "datetimeutc", "dateandtime"),
        *("gmttime", "localtime", "utctime", "starttime", "zeitstempel", "datumzeit", "datumuhrzeit", "dateheure", "fechahora"),
        *("dataora", "dataeora", "datahora", "windowstart", "tsevent", "barstart", "begin", "start", "ts", "t"),
    ),
    "date": (
        "date",
        "day",
        "tradedate",
        "tradingdate",
        "tradingday",
        "dtyyyymmdd",
        "datum",
        "tag",
        "fecha",
        "dia",
        "data",
        "giorno",
    ),
    "time": ("time", "zeit", "uhrzeit", "heure", "hora", "ora", "orario", "godzina", "czas"),
    "index": ("index", ""),
    "open": (
        *(
            "open",
            "o",
            "openprice",
            "1open",
            "openingprice",
            "eroffnung",
            "eroffnungskurs",
            "eroffn",
            "eroffnungspreis",
            "erster",
        ),
        *("ouverture", "ouv", "apertura", "abertura", "prezzoapertura", "otwarcie"),
    ),
    "high": (
        *("high", "h", "highprice", "2high", "hoch", "hochst", "hochstkurs", "tageshoch", "hochstpreis", "haut", "plushaut"),
        *("maximo", "alto", "massimo", "maxima", "najwyzszy", "max"),
    ),
    "low": (
        *("low", "l", "lowprice", "3low", "tief", "tiefst", "tiefstkurs", "tagestief", "tiefstpreis", "bas", "plusbas"),
        *("minimo", "bajo", "basso", "minima", "najnizszy", "min"),
    ),
    "close": (
        *("close", "c", "closeprice", "4close", "closelast", "closeclosepriceadjustedforsplits", "closingprice", "schluss"),
        *(
            "schlusskurs",
            "schlusspreis",
            "zuletzt",
            "cloture",
            "clot",
            "fermeture",
            "dernier",
            "cierre",
            "ultimo",
            "ultima",
            "chiusura",
        ),
        *("fechamento", "zamkniecie", "last", "latest"),
    ),
    "volume": (
        *("volume", "tickvolume", "tickvol", "vol", "v", "5volume", "6volume", "basevolume", "totaltradedquantity"),
        *("volumen", "stuck", "stucke", "umsatz", "volumi", "wolumen"),
    ),
    "adj_close": (
        *("adjclose", "adjustedclose", "closeadj", "closeadjusted", "5adjustedclose", "adjcloseprice", "adjustedcloseprice"),
        "adjcloseadjustedclosepriceadjustedforsplitsanddividendandorcapitalgaindistributions",
    ),
    "split": (
        *("split", "splits", "stocksplits", "stocksplit", "splitratio", "splitfactor", "splitcoefficient", "8splitcoefficient"),
    ),
    "symbol": (
        *("symbol", "ticker", "instrument", "pair", "sym", "tradingsymbol", "tickersymbol", "currencypair", "symbolname"),
        *("ric", "isin", "wkn", "cusip", "sedol", "figi", "permno", "securityid", "name", "stock", "code", "company", "security"),
        *("coin", "exchange", "venue", "market"),
    ),
    "timeframe": (
        *(
            "timeframe",
            "per",
            "interval",
            "period",
            "tf",
            "resolution",
            "granularity",
            "barsize",
            "freq",
            "frequency",
            "candlesize",
        ),
    ),
}
#: Columns that tell one series from another by what is no symbol to compare: numbers, names of companies, places.
NOT_COMPARED = (
    *("isin", "wkn", "cusip", "sedol", "figi", "permno", "securityid", "name", "stock", "code", "company", "security", "coin"),
    *("exchange", "venue", "market"),
)
PRICES = ("open", "high", "low", "close")
NUMERIC = (*PRICES, "volume", "adj_close", "split")
_MEANING = {spelling: role for role, spellings in SPELLINGS.items() for spelling in spellings}


@dataclass(frozen=True)
class Layout:
    """A known way of writing bars.

    columns: the meaning of each column where the file has no names, and shape: what each cell of its first row looks like.
    zone: of times that name none, and zone_words: how it is said. month_first: of dates such as 07/30/2019. decimal: what
    always stands before decimals. missing_volume: the number that stands for no volume. others: what rows that are no
    bars have in place of a price.
    """

    name: str
    columns: tuple[str, ...] = ()
    shape: tuple[str, ...] = ()
    delimiter: str = ""
    zone: str = ""
    zone_words: str = ""
    month_first: bool = False
    decimal: str = ""
    missing_volume: float | None = None
    others: str = ""
    note: str = ""


_PRICE, _COUNT = r"\d*\.?\d+", r"\d+"
_BARS = (_PRICE,) * 4
_OHLCV = ("open", "high", "low", "close", "volume")
_EST = "Etc/GMT+5"
_SINCE_1970 = r"\d{13}|\d{16}"
BY_SHAPE = (
    Layout("MetaTrader 4", ("date", "time", *_OHLCV), (r"\d{4}\.\d\d\.\d\d", r"\d\d:\d\d", *_BARS, _PRICE), ",", decimal="."),
    Layout(
        "HistData", ("timestamp", *_OHLCV), (r"\d{8} \d{6}", *_BARS, _PRICE), ";", zone=_EST, decimal=".",
        zone_words="times are Eastern Standard Time without summer time (UTC−5), as HistData has them; --tz takes another",
    ),
    Layout("Kraken", ("timestamp", *_OHLCV), (r"\d{9,10}", *_BARS, _PRICE, _COUNT), ",", decimal="."),
    Layout(
        "Binance", ("timestamp", *_OHLCV), (_SINCE_1970, *_BARS, _PRICE, _SINCE_1970, _PRICE, _COUNT, _PRICE, _PRICE, _PRICE),
        ",", decimal=".",
    ),
)  # fmt: skip


def by_shape(cells: Sequence[str], delimiter: str) -> Layout | None:
    """The layout of a file without names, from the cells of its first row."""
    for layout in BY_SHAPE:
        fits = layout.delimiter == delimiter and len(cells) == len(layout.shape)
        if fits and all(re.fullmatch(shape, cell.strip()) for shape, cell in zip(layout.shape, cells, strict=True)):
            return layout
    return None


def by_names(names: Sequence[str], before: Sequence[str]) -> Layout | None:
    """The layout of a file with names; before: the lines before the names."""
    bare = [bare_name(name) for name in names]
    told = [name.strip() for name in names]
    if any("cryptodatadownload" in line.lower() for line in before):
        return Layout("CryptoDataDownload", zone="UTC", zone_words="times are UTC, as CryptoDataDownload says", decimal=".")
    if told[:1] == ["<TICKER>"] and "per" in bare:
        return Layout("Stooq", decimal=".")
    if told[:1] == ["<DATE>"] and "tickvol" in bare:
        return Layout("MetaTrader 5", decimal=".", note="volume is the number of ticks, TICKVOL")
    if bare[:5] == ["opentime", *PRICES] and "closetime" in bare:
        return Layout("Binance", decimal=".")
    if "closelast" in bare:
        return Layout("Nasdaq", month_first=True, decimal=".")
    if {"series", "prevclose", "ltp"} <= set(bare):
        return Layout("NSE", decimal=".")
    if bare[1:2] and bare[1] in ("price", "zuletzt", "dernier", "ultimo") and bare[5:6] == ["vol"]:
        return Layout("Investing.com")
    if bare in (["date", *PRICES, "adjclose", "volume"], ["date", *PRICES[:3], _YAHOO_CLOSE, _YAHOO_ADJUSTED, "volume"]):
        return Layout("Yahoo", decimal=".", others=r"(?i)dividend|split|capital gain")
    if "splitcoefficient" in bare or {"1open", "4close"} <= set(bare):
        return Layout("Alpha Vantage", decimal=".")
    if bare[:6] == ["date", *_OHLCV] and "barcount" in bare:
        return Layout("Interactive Brokers", decimal=".", missing_volume=-1.0)
    if bare[:1] in (["gmttime"], ["localtime"]) or told[:1] in (["Time (UTC)"], ["Time (EET)"]):
        return Layout("Dukascopy", decimal=".")
    if told[:5] == ["time", *PRICES] and any(name[:1].isupper() for name in told[5:]):
        return Layout("TradingView", decimal=".")
    return None


_YAHOO_CLOSE = "closeclosepriceadjustedforsplits"
_YAHOO_ADJUSTED = "adjcloseadjustedclosepriceadjustedforsplitsanddividendandorcapitalgaindistributions"


def bare_name(name: str) -> str:
    """A column's name in small letters and digits: `<CLOSE>`, `Close*` and ` close ` are one, `Eröffnung` is eroffnung."""
    plain = unicodedata.normalize("NFKD", name.casefold().strip())
    bare = re.sub(r"[\W_]", "", re.sub(r"\s*[(\[]\s*(?:(?:utc|gmt)[+-]?\d*|[a-z]{3,4}|[a-z]+/[a-z_/]+)\s*[)\]]$", "", plain))
    return "" if re.fullmatch(r"unnamed0|indexlevel0", bare) else bare


def zone_named(name: str) -> str:
    """The zone that a column's name speaks of: `Gmt time`, `date (UTC+2)`, `Time (America/New_York)`; "" if it names none."""
    found = re.search(r"(?i)(?<![a-z])(?:utc|gmt)\s*([+-]\s*\d{1,2}(?!\d|:))?(?![a-z])", name)
    if found:
        hours = int(found[1].replace(" ", "")) if found[1] else 0
        return f"Etc/GMT{-hours:+d}" if hours else "UTC"
    named = re.search(r"[(\[]\s*([A-Z][A-Za-z]+/[A-Za-z_/]+)\s*[)\]]", name)
    return named[1] if named else ""


def is_names(cells: Sequence[str]) -> bool:
    """Whether a line holds names of columns, and no bar: nearly none of its cells is a number."""
    numbers = [cell for cell in cells if re.fullmatch(r"[^\w]*\d[\d.,'’\s]*[^\w]*", cell.strip())]
    return len(numbers) < 3


def roles_of(names: Sequence[str], layout: Layout | None) -> tuple[list[str], list[str]]:
    """The meaning of each column, "" for one that is left out; and the meanings that two columns claim alike."""
    bare = [bare_name(name) for name in names]
    if layout is not None and layout.name == "Investing.com":
        bare = ["close" if name == "price" else name for name in bare]
    if not any(_MEANING.get(name) == "volume" for name in bare):  # `Volume BTC`, the first of two
        first = next((i for i, name in enumerate(bare) if re.fullmatch(r"volume[a-z]{2,6}", name)), None)
        bare = ["volume" if i == first else name for i, name in enumerate(bare)]
    roles, twice = [""] * len(bare), []
    for role, spellings in SPELLINGS.items():
        likeliest = next((spelling for spelling in spellings if spelling in bare), None)
        if likeliest is not None:
            roles[bare.index(likeliest)] = role
            if bare.count(likeliest) > 1 and likeliest:
                twice.append(likeliest)
    return _one_time(roles, layout), twice


def _one_time(roles: list[str], layout: Layout | None) -> list[str]:
    """A date and its clock, or one column of both: what is not needed is left out."""
    gone = {"index"} if {"timestamp", "date", "time"} & set(roles) else set()
    if "timestamp" in roles:
        # A date in words says what it is; CryptoDataDownload has rounded its numbers in many files.
        in_words = layout is not None and layout.name == "CryptoDataDownload" and "date" in roles
        gone |= {"timestamp", "time"} if in_words else {"date", "time"}
    roles = ["" if role in gone else role for role in roles]
    if "date" in roles and "time" in roles:
        return roles
    return ["timestamp" if role in ("date", "time", "index") else role for role in roles]
