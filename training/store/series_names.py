"""Names of symbols and timeframes: in a column and in a file's name as others write them, and in those of our own files.

Light: no pandas, no numpy.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from strategies_app.grammar.schema import is_symbol
from strategies_app.grammar.vocabulary import TIMEFRAMES

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNITS = {
    "s": ("s", "sec", "secs", "second", "seconds"),
    "m": ("m", "min", "mins", "minute", "minutes", "t"),
    "h": ("h", "hr", "hrs", "hour", "hours", "hourly"),
    "d": ("d", "day", "days", "daily", "eod"),
    "w": ("w", "wk", "wks", "week", "weeks", "weekly"),
    "month": ("mo", "mon", "mn", "month", "months", "monthly"),
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words}
#: Lengths in minutes by which exports name their files.
_MINUTES = ("1", "5", "15", "30", "60", "120", "240", "1440", "10080")

# --- timeframes --------------------------------------------------------------------------------


def timeframe_named(text: str) -> str:
    """The timeframe of a word such as H1, 60, daily, PT5M or 1 hour: `1h`; also one that is not of ours, such as `10m` or
    `1 month`; "" for what is none."""
    word = text.strip()
    if re.fullmatch(r"(?:1\s?)?M", word):  # a capital M alone is a month at Stooq, Binance and TradingView
        return "1 month"
    word = re.sub(r"^PT?(?=\d)", "", word, flags=re.IGNORECASE).lower()
    if word.isdigit() and word.isascii():
        count, unit = int(word), "m"
    else:
        before, after = re.fullmatch(r"(\d*)\s*[-_]?\s*([a-z]+)", word), re.fullmatch(r"([a-z]+)(\d+)", word)
        found = (before[2], before[1]) if before else (after[1], after[2]) if after else ("", "")
        count, unit = int(found[1] or 1), _UNIT_OF.get(found[0], "")
    if not unit or not 0 < count < 1_000_000:
        return ""
    if unit == "month":
        return f"{count} month{'s' if count > 1 else ''}"
    seconds = count * _SECONDS[unit]
    ours = next((name for name, length in TIMEFRAMES.items() if length == seconds), "")
    return ours or f"{count}{unit}"


# --- symbols -----------------------------------------------------------------------------------

#: What stands behind a symbol to say where it is listed, or what it is, without being another instrument.
_LISTING = re.compile(
    r"[. ](?:US|UK|DE|FR|JP|HK|PL|HU|NS|BO|NSE|BSE|TO|PA|AS|MI|SW|AX|SA|MC|BR|VI|HE|ST|CO|OL|L|F|T|N|O|OQ|FX|CC|X)"
    r"(?: (?:EQUITY|INDEX|CURNCY|COMDTY))?$|=[XF]$"
)


def same_instrument(one: str, other: str) -> bool:
    """Whether two names are of one instrument: AAPL and AAPL.US, EUR/USD and EURUSD, BTCUSD and tBTCUSD."""
    one, other = _named(one), _named(other)
    return bool(_core(one)) and (
        _core(one) == _core(other) or _core(_LISTING.sub("", one)) == _core(other) or _core(one) == _core(_LISTING.sub("", other))
    )


def _named(name: str) -> str:
    """A name in capitals, without the exchange before it."""
    name = re.sub(r"^t(?=[A-Z]{6,}$)", "", name.strip())
    return re.sub(r"^[A-Z]+:(?=[A-Z^.]+[A-Z0-9/._-]*$)", "", name.upper())


def _core(name: str) -> str:
    return re.sub(r"^XBT", "BTC", re.sub(r"[^A-Z0-9]", "", name))


# --- names of files ----------------------------------------------------------------------------


def file_name(symbol: str) -> str:
    """A symbol as part of a file's name on every system: `~` marks a change of case, so that `ab` and `AB` are two files where
    case is ignored, and what a folder or a hidden file is told by is escaped: `BTC/USDT` → `BTC%2FUSDT`, `.DJI` → `%2EDJI`."""
    name = _marked(symbol).replace("/", "%2F").replace(":", "%3A")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def symbol_of(name: str) -> str:
    """The symbol of a `file_name`."""
    return unquote(name.replace("~", ""))


def _marked(symbol: str) -> str:
    """`EURusd` → `EUR~usd`, `a1B` → `~a1~B`: each run of lower-case letters is fenced, upper case is the default."""
    marked, lower = "", False
    for letter in symbol:
        if letter.isalpha() and letter.islower() != lower:
            marked, lower = marked + "~", not lower
        marked += letter
    return marked


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_EXCHANGES = _words(
    "NASDAQ NYSE AMEX ARCA BATS CBOE CME CBOT COMEX NYMEX ICE LSE XETR FWB EURONEXT SIX TSX ASX HKEX TSE NSE BSE TVC OANDA FX"
    " FXCM FOREXCOM SAXO PEPPERSTONE CAPITALCOM ICMARKETS DUKASCOPY BINANCE BINANCEUS COINBASE KRAKEN BITSTAMP BITFINEX BYBIT OKX"
    " OKEX KUCOIN GEMINI HUOBI POLONIEX DERIBIT BITMEX CRYPTOCOM INDEX SP DJ DLY"
)
_NOISE = _words(
    "DAT ASCII MT MT4 MT5 MS NT XLSX CANDLESTICK CANDLES CANDLE BID ASK BARS BAR DATA HISTORICAL HISTORICALDATA HISTORICALQUOTES"
    " HISTORY PRICE PRICES QUOTE QUOTES EQUITY EQ STOCK STOCKS OHLC OHLCV KLINE KLINES EXPORT INTRADAY ADJUSTED UNADJUSTED ADJ"
    " UNADJ RAW SPOT FUTURES TO TABLE DOWNLOAD FROM"
)
_FIAT = _words("USD EUR GBP JPY CHF AUD NZD CAD SEK NOK DKK PLN HUF CZK TRY ZAR MXN CNH CNY HKD SGD INR RUB")
_QUOTED_IN = _FIAT | {"USDT", "USDC", "BUSD", "TUSD", "FDUSD", "BTC", "ETH", "XBT"}
_ENDINGS = re.compile(r"(\.(csv|txt|tsv|dat|prn|gz|parquet|pq))+$", re.IGNORECASE)


def guess(name: str) -> tuple[str, str]:
    """Symbol and timeframe that a file's name speaks of, "" where it says nothing: `NASDAQ_TSLA, 60.csv` → TSLA, 1h."""
    stem = re.sub(r"\s*\(\d+\)$", "", _ENDINGS.sub("", name))
    own, _, timeframe = stem.rpartition("_")
    if timeframe in TIMEFRAMES and re.search("[%~]", own) and own == file_name(symbol_of(own)) and is_symbol(symbol_of(own)):
        return symbol_of(own), timeframe  # as a stored series is called that was taken along
    words = [word for part in re.split(r"[_ ,]+", stem) for word in _parts(part) if word]
    words = [word for word in words if not re.fullmatch(r"\d{1,4}([.-]\d{1,2}){1,2}([.-]\d{4})?", word)]  # dates
    glued = re.fullmatch(rf"([A-Z]{{6}})({'|'.join(_MINUTES)}|[MHDW]\d{{1,2}})", words[0]) if words else None
    if glued and _of_ours(glued[2], last=True):
        return _symbol([glued[1]]), _of_ours(glued[2], last=True)
    found = [_of_ours(word, last=position == len(words) - 1) for position, word in enumerate(words)]
    for position in range(1, len(words)):  # `1_Hour`
        if words[position - 1].isdigit() and not words[position].isdigit():
            found[position] = _of_ours(words[position - 1] + words[position]) or found[position]
    timeframe = next((timeframe for timeframe in reversed(found[1:]) if timeframe), "")
    if re.search(r", 1M(_\w+)?$", stem):  # TradingView's month
        timeframe = ""
    rest = [word for word, known in zip(words, found, strict=True) if not known and not word.isdigit()]
    return _symbol(rest or words[:1]), timeframe or (found[0] if found and rest else "")


def _parts(word: str) -> list[str]:
    """A word split at its dashes, unless they belong to the symbol: BRK-B, BTC-USD."""
    first, _, second = word.partition("-")
    if re.fullmatch(r"[A-Z]{2,5}-[A-Z]", word) or (second.upper() in _QUOTED_IN and first.isalnum()):
        return [word]
    return word.split("-")


def _of_ours(word: str, *, last: bool = False) -> str:
    """The timeframe of a word in a file's name; a number is one only at the end, and a single letter of few."""
    if word.isdigit():
        return timeframe_named(word) if last and word in _MINUTES else {"60": "1h", "240": "4h"}.get(word, "")
    word = word.lower().removesuffix("bars")
    named = timeframe_named(word) if word not in ("m", "s", "t") else ""
    return named if named in TIMEFRAMES else ""


def _symbol(words: list[str]) -> str:
    told = [word for word in words if word.upper() not in _NOISE]
    if len(told) > 1 and told[0].upper() in _EXCHANGES:
        told = [word for word in told if word.upper() not in _EXCHANGES] or told[-1:]
    told = told or words
    symbol = told[0] if told else ""
    symbol = symbol.upper() if symbol.islower() else symbol
    if len(told) > 1 and told[1].upper() in _QUOTED_IN and symbol.isalpha() and symbol.upper() != told[1].upper():
        symbol += ("" if symbol.upper() in _FIAT and told[1].upper() in _FIAT else "-") + told[1].upper()
    return symbol if is_symbol(symbol) else ""
