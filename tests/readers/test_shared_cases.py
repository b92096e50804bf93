"""The small files of `../shared/cases`, where that folder is there, by command: each gives its right answer."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.examples.homes import ROOT
from training.pipeline.bars import read_bars

CASES = ROOT.parent / "shared" / "cases"
FOUND = next((folder for folder in (CASES, ROOT.parent.parent / "shared" / "cases") if folder.is_dir()), None)
pytestmark = [pytest.mark.django_db, pytest.mark.skipif(FOUND is None, reason="the shared cases are not here")]

#: File, timeframe, options → bars, first open, first bar, a note.
READ = [
    (
        "binance_mixed.csv",
        "1h",
        "",
        150,
        "2024-12-29 00:00",
        [100, 100.81, 99.99, 100.52, 65037],
        "each row is read in its own unit",
    ),
    (
        "binance_mixed_late.csv",
        "1h",
        "",
        150,
        "2024-12-29 00:00",
        [100, 100.81, 99.99, 100.52, 65037],
        "each row is read in its own unit",
    ),
    ("ymdhms14.csv", "1h", "--tz UTC", 150, "2021-03-01 00:00", [100, 100.81, 99.99, 100.52, 65037], ""),
    ("ymdhm12.csv", "1h", "--tz UTC", 150, "2021-03-01 00:00", [100, 100.81, 99.99, 100.52, 65037], ""),
    ("ms_1972.csv", "1h", "", 150, "1972-01-04 00:00", [100, 100.81, 99.99, 100.52, 65037], ""),
    (
        "excel_serial_frac.csv",
        "1h",
        "--tz UTC",
        150,
        "2019-01-02 00:00",
        [100, 100.81, 99.99, 100.52, 65037],
        "Excel day numbers",
    ),
    (
        "two_symbols_disjoint.csv",
        "1d",
        "--only AAA",
        75,
        "2019-01-02 00:00",
        [100, 100.81, 99.99, 100.52, 65037],
        "75 rows of other symbols left out",
    ),
    (
        "german_vol.csv",
        "1d",
        "",
        150,
        "2019-01-02 00:00",
        [100, 100.81, 99.99, 100.52, 65037],
        "thousands are separated by points",
    ),
    (
        "german_int.csv",
        "1d",
        "--thousands .",
        150,
        "2019-01-02 00:00",
        [13000, 13086, 12971, 13019, 11265],
        "thousands are separated by points",
    ),
    (
        "yahoo_thousands.csv",
        "1d",
        "",
        150,
        "2019-01-02 00:00",
        [39410.42, 39571.04, 39363.99, 39430.95, 29456000],
        "Yahoo layout",
    ),
    ("nse.csv", "1d", "", 150, "2019-01-02 00:00", [2392.05, 2397.05, 2385.86, 2395.32, 55132], "NSE layout"),
    ("nasdaq.csv", "1d", "", 150, "2019-01-02 00:00", [102.67, 103.89, 102.52, 103.75, 82578], "Nasdaq layout"),
    ("mt4.csv", "1h", "--tz UTC", 150, "2021-03-01 00:00", [1.306, 1.3067, 1.30595, 1.30661, 22262], "MetaTrader 4 layout"),
    (
        "histdata_m1.csv",
        "1m",
        "",
        150,
        "2012-02-01 05:00",
        [1.306, 1.3067, 1.30595, 1.30661, 0],
        "Eastern Standard Time without summer time",
    ),
    ("kraken.csv", "1h", "", 150, "2024-06-01 00:00", [100, 100.81, 99.99, 100.52, 65.037], "Kraken layout"),
    ("binance_us_nohdr.csv", "1h", "", 150, "2025-01-01 00:00", [100, 100.81, 99.99, 100.52, 65037], "Binance layout"),
    ("mt5_utf16.csv", "1h", "--tz UTC", 150, "2021-03-01 00:00", [1.306, 1.3067, 1.30595, 1.30661, 22262], "MetaTrader 5 layout"),
    ("t2400.csv", "1h", "--tz UTC", 150, "2021-03-01 00:00", [100, 100.81, 99.99, 100.52, 65037], ""),
    (
        "dukas_gmt_short.csv",
        "1h",
        "",
        200,
        "2021-03-01 00:00",
        [1.2, 1.20346, 1.19776, 1.20045, 8211.4],
        "day first, as their dots say",
    ),
    (
        "oil.csv",
        "1d",
        "--drop-impossible",
        148,
        "2019-01-02 00:00",
        [100, 100.81, 99.99, 100.52, 65037],
        "2 impossible bars left out",
    ),
    ("ws_last.csv", "1d", "", 150, "2019-01-02 00:00", [100, 100.81, 99.99, 100.52, 65037], ""),
]
REFUSED = [
    ("two_symbols_disjoint.csv", "AAA", "1d", "", "the column Symbol has AAA, BBB; take one with --only, such as --only AAA"),
    ("stooq_wrong.csv", "AAPL", "1d", "", "its bars are those of ZZQ.US, by its column <TICKER>, not of AAPL"),
    ("stooq_wrong.csv", "ZZQ", "1d", "", "the bars are 1w, as the column <PER> says (W), not 1d"),
    (
        "german_int.csv",
        "X",
        "1d",
        "",
        "'13.000' in column Open may be 13 or 13,000, and nothing in the file says which; set --thousands \".\"",
    ),
    ("oil.csv", "X", "1d", "", "lines 82, 83: a price that is not positive; --drop-impossible leaves such bars out"),
    ("mt4.csv", "X", "1h", "", "name no time zone; give it with --tz"),
]


def run(settings: LazySettings, tmp_path: Path, symbol: str, timeframe: str, name: str, options: str) -> str:
    assert FOUND is not None
    settings.STORE_DIR = tmp_path
    out = StringIO()
    call_command("load_data", symbol, timeframe, "--from", str(FOUND / name), *options.split(), stdout=out, no_color=True)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "timeframe", "options", "count", "first", "bar", "note"), READ, ids=[f"{one[0]} {one[2]}" for one in READ]
)
def test_a_shared_file_is_read(
    settings: LazySettings,
    tmp_path: Path,
    name: str,
    timeframe: str,
    options: str,
    count: int,
    first: str,
    bar: list[float],
    note: str,
) -> None:
    said = run(settings, tmp_path, "X", timeframe, name, options)
    frame = read_bars(tmp_path, "X", timeframe)
    assert (len(frame), f"{frame.index[0]:%Y-%m-%d %H:%M}", frame.iloc[0].tolist()) == (count, first, bar)
    assert note in said


@pytest.mark.parametrize(("name", "symbol", "timeframe", "options", "message"), REFUSED)
def test_a_shared_file_is_refused(
    settings: LazySettings, tmp_path: Path, name: str, symbol: str, timeframe: str, options: str, message: str
) -> None:
    with pytest.raises(CommandError) as refused:
        run(settings, tmp_path, symbol, timeframe, name, options)
    assert message in str(refused.value) and refused.value.returncode == 1
