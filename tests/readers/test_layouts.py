"""Files as known programs write them: recognised by their first lines, named in a note, and read into the right bars."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.readers.bar_files import first_rows, read_bar_file
from training.store.coverage import DataError
from training.store.reading import Asked, Reading

METATRADER5 = (
    "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\r\n"
    "2021.03.01\t00:00:00\t1.306\t1.308\t1.305\t1.307\t22262\t0\t12\r\n"
    "2021.03.01\t01:00:00\t1.307\t1.309\t1.306\t1.308\t40488\t0\t12\r\n"
)


def write(folder: Path, content: str | bytes, name: str = "bars.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(
    folder: Path, content: str | bytes, timeframe: str = "1h", **options: object
) -> tuple[list[tuple[str, list[float]]], list[str]]:
    """Each bar as its open in UTC and its numbers; notes."""
    frame, notes = read_bar_file(write(folder, content), timeframe, Reading(**options))
    return [(f"{time:%Y-%m-%d %H:%M}", row.tolist()) for time, row in zip(frame.index, frame.to_numpy(), strict=True)], notes


BINANCE = "1735689600000000,100.0,100.81,99.99,100.52,65037.0,1735693199999999,6537519.24,12,32518.5,3268759.62,0\n"
KNOWN = [
    (
        "MetaTrader 4 layout", "1h", {"tz": "Etc/GMT-2"},
        "2021.03.01,00:00,1.30600,1.30670,1.30595,1.30661,22262\n2021.03.01,01:00,1.30661,1.30667,1.30642,1.30665,40488\n",
        [("2021-02-28 22:00", [1.306, 1.3067, 1.30595, 1.30661, 22262]), ("2021-02-28 23:00", [1.30661, 1.30667, 1.30642, 1.30665, 40488])],
    ),
    (
        "MetaTrader 5 layout: volume is the number of ticks, TICKVOL", "1h", {"tz": "UTC"}, METATRADER5,
        [("2021-03-01 00:00", [1.306, 1.308, 1.305, 1.307, 22262]), ("2021-03-01 01:00", [1.307, 1.309, 1.306, 1.308, 40488])],
    ),
    (
        "HistData layout", "1m", {}, "20120701 000000;1.306;1.3067;1.30595;1.30661;0\n20120701 000100;1.30661;1.30667;1.30642;1.30665;0\n",
        [("2012-07-01 05:00", [1.306, 1.3067, 1.30595, 1.30661, 0]), ("2012-07-01 05:01", [1.30661, 1.30667, 1.30642, 1.30665, 0])],
    ),
    ("Kraken layout", "1h", {}, "1717200000,100.0,100.81,99.99,100.52,65.037,3\n", [("2024-06-01 00:00", [100, 100.81, 99.99, 100.52, 65.037])]),
    ("Binance layout", "1h", {}, BINANCE, [("2025-01-01 00:00", [100, 100.81, 99.99, 100.52, 65037])]),
    (
        "Binance layout", "1h", {}, "open_time,open,high,low,close,volume,close_time,quote_volume\n1717200000000,1,2,.5,1.5,65.037,1717203599999,9\n",
        [("2024-06-01 00:00", [1, 2, 0.5, 1.5, 65.037])],
    ),
    (
        "Stooq layout", "1w", {}, "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\nZZQ.US,W,20190107,000000,100.0,100.81,99.99,100.52,65037,0\n",
        [("2019-01-07 00:00", [100, 100.81, 99.99, 100.52, 65037])],
    ),
    (
        "Dukascopy layout", "1h", {}, "Gmt time,Open,High,Low,Close,Volume\n04.01.2021 00:00:00.000,1.2,1.20346,1.19776,1.20045,8211.4\n",
        [("2021-01-04 00:00", [1.2, 1.20346, 1.19776, 1.20045, 8211.4])],
    ),
    (
        "TradingView layout", "1h", {}, "time,open,high,low,close,Volume,Volume MA\n1717200000,1,2,.5,1.5,7,NaN\n",
        [("2024-06-01 00:00", [1, 2, 0.5, 1.5, 7])],
    ),
    (
        "Yahoo layout", "1d", {},
        ('Date,Open,High,Low,Close*,Adj Close**,Volume\n"Jul 30, 2019","41,000.00","41,094.15","40,752.03","40,806.67","40,806.67","97,079,000"\n'
        '"Jul 29, 2019","0.73 Dividend"\n"Jul 26, 2019","40,432.24","40,512.54","40,387.49","40,452.12","40,452.12","48,831,000"\n'),
        [("2019-07-26 00:00", [40432.24, 40512.54, 40387.49, 40452.12, 48831000]), ("2019-07-30 00:00", [41000, 41094.15, 40752.03, 40806.67, 97079000])],
    ),
    (
        "yfinance layout", "1d", {}, "Price,Close,High,Low,Open,Volume\nTicker,ZZQ,ZZQ,ZZQ,ZZQ,ZZQ\nDate,,,,,\n2024-01-02,1.5,2,.5,1,7\n",
        [("2024-01-02 00:00", [1, 2, 0.5, 1.5, 7])],
    ),
    (
        "Nasdaq layout", "1d", {}, "Date,Close/Last,Volume,Open,High,Low\n07/02/2019,$100.52,65037,$100.0,$100.81,$99.99\n",
        [("2019-07-02 00:00", [100, 100.81, 99.99, 100.52, 65037])],
    ),
    (
        "NSE layout", "1d", {},
        ('"Date ","series ","OPEN ","HIGH ","LOW ","PREV. CLOSE ","ltp ","close ","vwap ","52W H","52W L ","VOLUME ","VALUE ","No of trades "\n'
        '"30-Jul-2019","EQ","2,400.00","2,413.40","2,396.28","1.00","2.00","2,404.80","3.00","9,913.40","2.28","13,20,159","3,82,363.20","15"\n'),
        [("2019-07-30 00:00", [2400, 2413.4, 2396.28, 2404.8, 1320159])],
    ),
    (
        "Investing.com layout", "1d", {},
        '"Date","Price","Open","High","Low","Vol.","Change %"\n"07/30/2019","1,404.80","1,400.00","1,413.40","1,396.28","12.5K","0.2%"\n"07/29/2019","1,400.00","1,399.00","1,401.00","1,398.00","-","0.1%"\n',
        [("2019-07-29 00:00", [1399, 1401, 1398, 1400, None]), ("2019-07-30 00:00", [1400, 1413.4, 1396.28, 1404.8, 12500])],
    ),
    (
        "Investing.com layout", "1d", {},
        '"Datum","Zuletzt","Eröffn.","Hoch","Tief","Vol.","+/- %"\n"04.07.2019","1.404,80","1.400,00","1.413,40","1.396,28","1,25M","0,2%"\n',
        [("2019-07-04 00:00", [1400, 1413.4, 1396.28, 1404.8, 1250000])],
    ),
    (
        "CryptoDataDownload layout", "1h", {},
        "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount\n1.72E+12,2024-06-01 01:00:00,BTC/USDT,1,2,.5,1.5,7,9,3\n1.72E+12,2024-06-01 00:00:00,BTC/USDT,1,2,.5,1.6,8,9,3\n",
        [("2024-06-01 00:00", [1, 2, 0.5, 1.6, 8]), ("2024-06-01 01:00", [1, 2, 0.5, 1.5, 7])],
    ),
    (
        "Alpha Vantage layout", "1d", {}, "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient\n2024-01-02,1,2,.5,1.5,1.4,7,0.0,1.0\n",
        [("2024-01-02 00:00", [1, 2, 0.5, 1.5, 7])],
    ),
    (
        "Interactive Brokers layout", "30m", {}, "date,open,high,low,close,volume,average,barCount\n20240702 09:30:00 US/Eastern,1,2,.5,1.5,-1.0,1,3\n",
        [("2024-07-02 13:30", [1, 2, 0.5, 1.5, None])],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "timeframe", "options", "content", "bars"), KNOWN, ids=[f"{one[0]} {i}" for i, one in enumerate(KNOWN)]
)
def test_a_known_layout_is_named_and_read(
    tmp_path: Path,
    name: str,
    timeframe: str,
    options: dict[str, object],
    content: str,
    bars: list[tuple[str, list[float | None]]],
) -> None:
    found, notes = read(tmp_path, content, timeframe, **options)
    assert [(time, [None if value != value else value for value in values]) for time, values in found] == bars
    assert notes[0] == name
    assert first_rows(write(tmp_path, content), Reading(**options)).layout == name.partition(" layout")[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read_by_its_mark(tmp_path: Path, encoding: str) -> None:
    content = METATRADER5.encode(encoding) if encoding == "utf-16" else f"\ufeff{METATRADER5}".encode(encoding)
    assert read(tmp_path, content, tz="UTC")[0][1] == ("2021-03-01 01:00", [1.307, 1.309, 1.306, 1.308, 40488])


def test_another_encoding_is_asked_for(tmp_path: Path) -> None:
    head = "Datum;Eröffnung;Hoch;Tief;Schluss\n2024-01-02;1,0;2,0;0,5;1,5\n"
    with pytest.raises(Asked, match=r"neither a Parquet file nor text in UTF-8, wanted .* --encoding, such as cp1252") as asked:
        read(tmp_path, head.encode("cp1252"), "1d")
    assert asked.value.option == "encoding"
    assert first_rows(tmp_path / "bars.csv").options_needed == ("encoding",)
    bar = [("2024-01-02 00:00", [1.0, 2.0, 0.5, 1.5])]
    found, _ = read(tmp_path, head.encode("cp1252"), "1d", encoding="cp1252")
    assert [(time, values[:4]) for time, values in found] == bar
    found, _ = read(tmp_path, head.encode("utf-16-le"), "1d", encoding="utf-16-le")
    assert [(time, values[:4]) for time, values in found] == bar
    for wrong in ("latin-0", "rot13"):
        with pytest.raises(DataError, match=f"'{wrong}' is no encoding, wanted such as utf-8"):
            read(tmp_path, head, "1d", encoding=wrong)


def test_histdata_is_eastern_time_without_summer_time_unless_told_otherwise(tmp_path: Path) -> None:
    content = "20120701 000000;1.306;1.3067;1.30595;1.30661;0\n"
    (bar,), notes = read(tmp_path, content, "1m")
    assert bar[0] == "2012-07-01 05:00"  # in New York it would be 04:00
    assert "times are Eastern Standard Time without summer time (UTC−5), as HistData has them; --tz takes another" in notes
    (bar,), notes = read(tmp_path, content, "1m", tz="America/New_York")
    assert bar[0] == "2012-07-01 04:00" and notes == ["HistData layout"]


HEADS = [
    "Datum;Zeit;Eröffnung;Hoch;Tief;Schluss;Volumen", "Datum;Uhrzeit;Eröffnungskurs;Höchst;Tiefst;Schlusskurs;Umsatz",
    "Date;Heure;Ouverture;Plus Haut;Plus Bas;Clôture;Volume", "Fecha;Hora;Apertura;Máximo;Mínimo;Cierre;Volumen",
    "Data;Ora;Apertura;Massimo;Minimo;Chiusura;Volume", "Data;Hora;Abertura;Máxima;Mínima;Fechamento;Volume",
    "DATE;TIME;OPEN;HIGH;LOW;CLOSE;VOL",
]  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_heads_of_several_languages_are_known(tmp_path: Path, head: str) -> None:
    found, _ = read(tmp_path, f"{head}\n02.07.2024;09:30;1,5;2,5;0,5;1,25;7\n", "30m", tz="UTC")
    assert found == [("2024-07-02 09:30", [1.5, 2.5, 0.5, 1.25, 7.0])]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("t,o,h,l,c,v,n,vw\n1719912600000,1.5,2.5,0.5,1.25,7,3,1\n", {}),
        ("ticker,volume,open,close,high,low,window_start,transactions\nZZQ,7,1.5,1.25,2.5,.5,1719912600000000000,3\n", {}),
        ("ts_event,open,high,low,close,volume\n2024-07-02T09:30:00.000000000Z,1.5,2.5,.5,1.25,7\n", {}),
        ("open,close,high,low,value,volume,begin,end\n1.5,1.25,2.5,.5,9,7,2024-07-02 09:30:00,2024-07-02 09:59:59\n", {"tz": "UTC"}),
        ("Date, Time, Open, High, Low, Last, Volume, NumberOfTrades\n2024/7/2, 09:30:00, 1.5, 2.5, .5, 1.25, 7, 3\n", {"tz": "UTC"}),
        ('Time,Open,High,Low,Last,Change,%Chg,Volume,"Open Int"\n2024-07-02 09:30,1.5,2.5,.5,1.25,1,+1%,7,\n', {"tz": "UTC"}),
        ('"Ticker","Date/Time","Open","High","Low","Close","Volume"\n"ZZQ","7/2/2024 9:30:00 AM","1.5","2.5",".5","1.25","7"\n', {"tz": "UTC", "date_format": "%m/%d/%Y %I:%M:%S %p"}),
    ],
)  # fmt: skip
def test_files_of_other_sources_are_read_by_their_names(tmp_path: Path, content: str, options: dict[str, object]) -> None:
    assert read(tmp_path, content, "30m", **options)[0] == [("2024-07-02 09:30", [1.5, 2.5, 0.5, 1.25, 7])]


def test_columns_are_assigned_by_position(tmp_path: Path) -> None:
    content = "x,1.5,07/02/2024,1,2,.5,7\nx,1.6,07/13/2024,1,2,.5,8\n"
    with pytest.raises(
        Asked, match=r"no line of column names and is of no known layout; its first row is x,1.5,07/02/2024,1,2,.5,7; say"
    ):
        read(tmp_path, content, "1d")
    rows = first_rows(tmp_path / "bars.csv", count=1)
    assert rows.names == () and rows.cells == (("x", "1.5", "07/02/2024", "1", "2", ".5", "7"),)
    assert rows.roles == ("",) * 7 and rows.options_needed == ("columns",)
    columns = ("-", "close", "date", "open", "high", "low", "volume")
    found, notes = read(tmp_path, content, "1d", columns=columns)
    assert found == [("2024-07-02 00:00", [1, 2, 0.5, 1.5, 7]), ("2024-07-13 00:00", [1, 2, 0.5, 1.6, 8])]
    assert notes == []
    assert first_rows(tmp_path / "bars.csv", Reading(columns=columns)).roles == (
        "",
        "close",
        "timestamp",
        "open",
        "high",
        "low",
        "volume",
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("date", "opn", "high", "low", "close"), "'opn' is no meaning of a column, wanted date, time, .* did you mean open?"),
        (("date", "open", "open", "low", "close"), "two columns are given as open"),
        (("date", "timestamp", "open", "high", "low", "close"), "a column of timestamp and one of date are given"),
        (("date", "open", "high", "low"), "no column for close"),
        (("date", "open", "high", "low", "close", "volume", "-"), "7 columns are given and the rows have 6 cells"),
    ],
)
def test_columns_that_cannot_be_are_refused(tmp_path: Path, columns: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, "2024-01-02,1,2,.5,1.5,7\n", "1d", columns=columns)


def test_columns_may_be_assigned_over_names(tmp_path: Path) -> None:
    found, _ = read(tmp_path, "when,a,b,c,d\n2024-01-02,1,2,.5,1.5\n", "1d", columns=("date", "open", "high", "low", "close"))
    assert found[0][1][:4] == [1, 2, 0.5, 1.5]


@pytest.mark.parametrize(
    ("head", "twice"),
    [
        ("date,open,high,low,close,open,high,low,close", "open and two columns|open and two"),
        ("date,open,high,low,close,Close", "close"),
    ],
)
def test_two_columns_of_one_name_are_refused(tmp_path: Path, head: str, twice: str) -> None:
    with pytest.raises(Asked, match=f"two columns are called {twice}"):
        read(tmp_path, f"{head}\n2024-01-02" + ",1" * head.count(",") + "\n", "1d")


def test_lines_before_and_behind_the_bars_are_left_out_and_said(tmp_path: Path) -> None:
    bar = "2024-01-02,1,2,.5,1.5,7\n"
    found, notes = read(
        tmp_path, f'Prices of ZZQ\n\nDate,Open,High,Low,Close,Volume\n{bar}   \n"Downloaded from nowhere, in 2024"\n', "1d"
    )
    assert found == [("2024-01-02 00:00", [1, 2, 0.5, 1.5, 7])]
    assert notes == [
        "left out before the names of the columns: Prices of ZZQ",
        "line 6 left out, which is no bar: Downloaded from nowhere, in 2024",
    ]
    assert read(tmp_path, f"sep=;\nDate;Open;High;Low;Close;Volume\n{bar.replace(',', ';')}", "1d")[0] == found


@pytest.mark.parametrize("blank", ["   \n", ",,,,,\n", " , , , , , \n", "\t\n\n", "\x0c\n"])
def test_a_last_line_of_blanks_is_no_bar(tmp_path: Path, blank: str) -> None:
    found, notes = read(tmp_path, f"Date,Open,High,Low,Close,Volume\n2024-01-02,1,2,.5,1.5,7\n{blank}", "1d")
    assert found == [("2024-01-02 00:00", [1, 2, 0.5, 1.5, 7])]
    assert [note for note in notes if "fewer cells" not in note] == []


def test_a_file_that_ends_within_a_row_is_refused(tmp_path: Path) -> None:
    content = "Date,Open,High,Low,Close,Volume\n2024-01-02,1,2,.5,1.5,7\n2024-01-03,1,2,.5,1"
    with pytest.raises(DataError, match=r"the file ends within line 3: 2024-01-03,1,2,.5,1; wanted the whole file"):
        read(tmp_path, content, "1d")
    found, notes = read(tmp_path, content.replace("1.5,7\n", "1.5\n") + ".5,7\n", "1d")
    assert notes == ["1 row with fewer cells than there are columns, line 2"] and len(found) == 2


@pytest.mark.parametrize(
    ("begins", "told"),
    [(b"PK\x03\x04", "zip archive or an Excel workbook"), (b"\xd0\xcf\x11\xe0", "an Excel workbook"), (b"<!DOCTYPE html>", "a web page"), (b'{"a": 1}', "JSON")],
)  # fmt: skip
def test_what_is_no_table_is_called_by_its_name(tmp_path: Path, begins: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read(tmp_path, begins + b" " * 50)


def test_impossible_bars_are_left_out_when_that_is_wanted(tmp_path: Path) -> None:
    content = "Date,Open,High,Low,Close,Volume\n2020-04-17,1,2,.5,1.5,7\n2020-04-20,1,2,-37.6,-37.6,7\n2020-04-21,1,.2,.5,1.5,7\n2020-04-22,1,2,.5,1.6,7\n"
    with pytest.raises(Asked, match="line 3: a price that is not positive; --drop-impossible leaves such bars out"):
        read(tmp_path, content, "1d")
    found, notes = read(tmp_path, content, "1d", drop_impossible=True)
    assert [time for time, _ in found] == ["2020-04-17 00:00", "2020-04-22 00:00"]
    assert notes == ["2 impossible bars left out (line 3: a price that is not positive; line 4: a high below open, close or low)"]
    with pytest.raises(DataError, match="no bar is left without the impossible ones"):
        read(tmp_path, "Date,Open,High,Low,Close\n2020-04-20,1,2,-37.6,-37.6\n", "1d", drop_impossible=True)


def test_an_unnamed_count_of_rows_is_no_time(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as a time"):
        read(tmp_path, ",open,high,low,close\n0,1,2,.5,1.5\n1,1,2,.5,1.5\n")
    found, _ = read(tmp_path, ",date,open,high,low,close\n0,2024-01-02,1,2,.5,1.5\n1,2024-01-03,1,2,.5,1.5\n", "1d")
    assert [time for time, _ in found] == ["2024-01-02 00:00", "2024-01-03 00:00"]
