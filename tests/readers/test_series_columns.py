"""Columns that say whose bars these are hold against what was asked; of several symbols one is taken by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.readers.bar_files import read_bar_file
from training.store.coverage import DataError
from training.store.reading import Asked, Reading
from training.store.series_names import guess, same_instrument, timeframe_named


def read(
    folder: Path, head: str, *cells: str, symbol: str = "", timeframe: str = "1d", **options: object
) -> tuple[list[float], list[str]]:
    """Closes 1.50, 1.51, … of bars with these cells in a further column, and notes."""
    path = folder / "bars.csv"
    rows = "".join(f"2019-01-{day:02d},{cell},1,2,.5,1.{48 + day},7\n" for day, cell in enumerate(cells, 2))
    path.write_text(f"Date,{head},Open,High,Low,Close,Volume\n{rows}", encoding="utf-8")
    frame, notes = read_bar_file(path, timeframe, Reading(**options), symbol=symbol)
    return frame["close"].tolist(), notes


@pytest.mark.parametrize("head", ["Symbol", "ticker", "Instrument", "pair", "<TICKER>", "ISIN", "Trading Symbol"])
def test_several_symbols_are_refused_and_one_is_taken_by_name(tmp_path: Path, head: str) -> None:
    cells = ["AAA", "AAA", "BBB", "AAA"]
    with pytest.raises(
        Asked, match=f"the rows are of several symbols: the column {head} has AAA, BBB; take one with --only, such as"
    ):
        read(tmp_path, head, *cells, symbol="AAA")
    assert read(tmp_path, head, *cells, symbol="ANYTHING", only="AAA") == (
        [1.5, 1.51, 1.53],
        ["1 row of other symbols left out"],
    )
    assert read(tmp_path, head, *cells, only="bbb")[0] == [1.52]
    with pytest.raises(Asked, match=f"no rows are of CCC: the column {head} has AAA, BBB"):
        read(tmp_path, head, *cells, only="CCC")


def test_rows_of_others_may_hold_anything(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text("Date,Symbol,Open,High,Low,Close\n2019-01-02,AAA,1,2,.5,1.5\nwhen,BBB,x,y,z,-1\n", encoding="utf-8")
    assert read_bar_file(path, "1d", Reading(only="AAA"))[0]["close"].tolist() == [1.5]


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("AAPL.US", "AAPL"), ("aapl", "AAPL"), ("NASDAQ:AAPL", "AAPL"), ("AAPL US Equity", "AAPL"), ("EUR/USD", "EURUSD"), ("EURUSD=X", "EURUSD"),
        ("EUR_USD", "EUR-USD"), ("EUR.USD", "EURUSD"), ("C:EURUSD", "EURUSD"), ("tBTCUSD", "BTCUSD"), ("XBTUSD", "BTC-USD"), ("BTC/USDT", "BTCUSDT"),
        ("^GSPC", "GSPC"), ("BRK-B", "BRK.B"), ("BRK/B", "BRK.B"), ("SAP.DE", "SAP"), ("GC=F", "GC"),
    ],
)  # fmt: skip
def test_one_instrument_under_two_names_is_one(tmp_path: Path, said: str, asked: str) -> None:
    assert same_instrument(said, asked) and same_instrument(asked, said)
    assert read(tmp_path, "Symbol", said, said, symbol=asked) == ([1.5, 1.51], [])


@pytest.mark.parametrize(
    ("said", "asked"),
    [("ZZQ.US", "AAPL"), ("BRK.A", "BRK.B"), ("AAPL.US", "AAPL.DE"), ("EURUSD", "GBPUSD"), ("BTCUSDT", "BTCUSD"), ("BTC/USDT:USDT", "BTCUSDT"), ("AAPL", "AAPLW"), ("TSLA", "T")],
)  # fmt: skip
def test_bars_of_another_are_refused_by_name(tmp_path: Path, said: str, asked: str) -> None:
    assert not same_instrument(said, asked)
    with pytest.raises(Asked) as refused:
        read(tmp_path, "Ticker", said, said, symbol=asked)
    assert f"its bars are those of {said}, by its column Ticker, not of {asked}" in str(refused.value)
    assert read(tmp_path, "Ticker", said, said, symbol=asked, only=said)[0] == [1.5, 1.51]


def test_a_row_that_names_no_symbol_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 3: no Symbol, where the other rows have AAA"):
        read(tmp_path, "Symbol", "AAA", "", "AAA", symbol="AAA")
    assert read(tmp_path, "Symbol", "", "", symbol="AAA")[0] == [1.5, 1.51]
    with pytest.raises(DataError, match="there is no column of symbols to take AAA from"):
        read(tmp_path, "Note", "x", "x", only="AAA")


def test_numbers_of_securities_are_not_compared_and_may_not_change(tmp_path: Path) -> None:
    assert read(tmp_path, "ISIN", "US0378331005", "US0378331005", symbol="AAPL")[0] == [1.5, 1.51]
    for head, *cells in (("ISIN", "US0378331005", "US5949181045"), ("Name", "AAPL", "MSFT"), ("Exchange", "NYSE", "NASDAQ")):
        assert read(tmp_path, head, cells[0], cells[0], symbol="AAPL")[0] == [1.5, 1.51]
        with pytest.raises(Asked, match="several symbols"):
            read(tmp_path, head, *cells, symbol="AAPL")
    left_out = ("date", "-", "open", "high", "low", "close", "volume")
    assert read(tmp_path, "Exchange", "NYSE", "NASDAQ", columns=left_out)[0] == [1.5, 1.51]


def test_a_symbol_like_a_missing_value_is_a_symbol(tmp_path: Path) -> None:
    assert read(tmp_path, "Symbol", "NA", "NA", symbol="NA")[0] == [1.5, 1.51]
    with pytest.raises(Asked, match="not of AAPL"):
        read(tmp_path, "Symbol", "NULL", "NULL", symbol="AAPL")


@pytest.mark.parametrize("head", ["<PER>", "interval", "Timeframe", "period", "Resolution"])
@pytest.mark.parametrize(("said", "other"), [("D", "W"), ("1d", "1h"), ("daily", "60"), ("1440", "M5"), ("P1D", "1M")])
def test_a_column_of_timeframes_holds_against_what_was_asked(tmp_path: Path, head: str, said: str, other: str) -> None:
    assert read(tmp_path, head, said, said) == ([1.5, 1.51], [])
    with pytest.raises(DataError) as refused:
        read(tmp_path, head, other, other)
    assert f"the bars are {timeframe_named(other)}, as the column {head} says ({other}), not 1d" in str(refused.value)
    with pytest.raises(DataError, match=r"line 4: the bars are "):
        read(tmp_path, head, said, said, other)


def test_a_column_that_is_no_timeframe_is_not_compared_and_said(tmp_path: Path) -> None:
    assert read(tmp_path, "period", "regular", "late") == (
        [1.5, 1.51],
        ["the column period says regular, which is no timeframe: it was not compared"],
    )


YFINANCE = "Price,Close,Close,High,High,Low,Low,Open,Open\nTicker,AAA,BBB,AAA,BBB,AAA,BBB,AAA,BBB\nDate,,,,,,,,\n2024-01-02,1.5,15,2,20,.5,5,1,10\n"


def test_columns_of_several_symbols_are_one_when_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(YFINANCE, encoding="utf-8")
    with pytest.raises(
        Asked, match="the columns are of several symbols, they are of AAA, BBB; take one with --only, such as --only AAA"
    ):
        read_bar_file(path, "1d", symbol="AAA")
    assert read_bar_file(path, "1d", Reading(only="BBB"))[0].to_numpy().tolist()[0][:4] == [10, 20, 5, 15]
    with pytest.raises(Asked, match="no columns are of CCC"):
        read_bar_file(path, "1d", Reading(only="CCC"))
    path.write_text(YFINANCE.replace("BBB", "AAA").split("\n")[0].replace("Close,Close,High,High,Low,Low,Open,Open", "Close,High,Low,Open")
                    + "\nTicker,AAA,AAA,AAA,AAA\nDate,,,,\n2024-01-02,1.5,2,.5,1\n", encoding="utf-8")  # fmt: skip
    assert read_bar_file(path, "1d", symbol="AAA")[0]["close"].tolist() == [1.5]
    with pytest.raises(Asked, match="its bars are those of AAA, by its column Ticker, not of ZZQ"):
        read_bar_file(path, "1d", symbol="ZZQ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NASDAQ_TSLA, 60.csv", ("TSLA", "1h")), ("BINANCE_BTCUSDT, 1D.csv", ("BTCUSDT", "1d")), ("NASDAQ_DLY_TSLA, 1D_a1b2c.csv", ("TSLA", "1d")),
        ("NASDAQ_TSLA, 1M.csv", ("TSLA", "")), ("XBTUSD_1440.csv", ("XBTUSD", "1d")), ("BTCUSDT-1h-2024-01.csv", ("BTCUSDT", "1h")),
        ("BTCUSDT-1m-2024-01-02.csv", ("BTCUSDT", "1m")), ("EURUSD_Candlestick_1_Hour_BID_01.01.2020-31.12.2020.csv", ("EURUSD", "1h")),
        ("DAT_ASCII_EURUSD_M1_2012.csv", ("EURUSD", "1m")), ("EURUSD60.csv", ("EURUSD", "1h")), ("EURUSD1440.csv", ("EURUSD", "1d")), ("EURUSDH1.csv", ("EURUSD", "1h")),
        ("EURUSD_H1_202001010000_202012312359.csv", ("EURUSD", "1h")), ("aapl.us.txt", ("AAPL.US", "")), ("aapl_us_d.csv", ("AAPL", "1d")),
        ("BTC_USD Binance Historical Data.csv", ("BTC-USD", "")), ("EUR_USD Historical Data.csv", ("EURUSD", "")), ("Binance_BTCUSDT_1h.csv", ("BTCUSDT", "1h")),
        ("Coinbase_ETHUSD_d.csv", ("ETHUSD", "1d")), ("daily_IBM.csv", ("IBM", "1d")), ("intraday_5min_IBM.csv", ("IBM", "5m")),
        ("Quote-Equity-RELIANCE-EQ-01-01-2019-to-30-07-2019.csv", ("RELIANCE", "")), ("AAPL (1).csv", ("AAPL", "")), ("BTC-USD.csv", ("BTC-USD", "")),
        ("BRK-B.csv", ("BRK-B", "")), ("CME_1d.csv", ("CME", "1d")), ("GC=F_1d.csv", ("GC=F", "1d")), ("AAPL_unadj_1d.csv", ("AAPL", "1d")),
    ],
)  # fmt: skip
def test_a_whole_name_says_symbol_and_timeframe(name: str, said: tuple[str, str]) -> None:
    assert guess(name) == said


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("MN1", "1 month"),
        ("10m", "10m"),
        ("PT1H", "1h"),
        ("4 hours", "4h"),
        ("10080", "1w"),
        ("foo", ""),
        ("0", ""),
        ("", ""),
        ("9" * 20, ""),
    ],
)
def test_a_timeframe_is_known_by_many_words(word: str, named: str) -> None:
    assert timeframe_named(word) == named
