"""Files that others wrote become bars, or one sentence that names the rows; no zone, day or price is guessed."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.pipeline.bars import DataError, bar_times, bar_values
from training.pipeline.synthetic import make_bars, with_holes
from training.readers.bar_files import read_bar_file
from training.store.reading import Reading

HEADER = "timestamp,open,high,low,close,volume\n"


def rows(*stamps: str) -> str:
    """A CSV text with a bar for each stamp; closes are 1.00, 1.01, … in file order."""
    return HEADER + "".join(f"{stamp},1,2,0.5,{1 + i / 100},10\n" for i, stamp in enumerate(stamps))


def read(
    folder: Path, content: str | bytes, timeframe: str = "1h", **options: object
) -> tuple[list[str], list[float], list[str]]:
    """Opens as text, closes, notes."""
    path = folder / "bars.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    frame, notes = read_bar_file(path, timeframe, Reading(**options))
    return [f"{stamp:%Y-%m-%d %H:%M}" for stamp in frame.index], frame["close"].tolist(), notes


def refusal(folder: Path, content: str | bytes, timeframe: str = "1h", **options: object) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, content, timeframe, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- times -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamps", "opens"),
    [
        (["2024-01-02T03:00:00Z", "2024-01-02T04:00:00Z"], ["2024-01-02 03:00", "2024-01-02 04:00"]),
        (["2024-01-02 03:00+00:00"], ["2024-01-02 03:00"]),
        (["2024-01-02 03:00:00.000 UTC"], ["2024-01-02 03:00"]),
        (["2024-01-02 03:00:00 -0500"], ["2024-01-02 08:00"]),
        (["2024-10-27T02:00+02:00", "2024-10-27T02:00+01:00"], ["2024-10-27 00:00", "2024-10-27 01:00"]),
        (["2024-01-02T05:30+05:30"], ["2024-01-02 00:00"]),
        (["1704164400", "1704168000"], ["2024-01-02 03:00", "2024-01-02 04:00"]),
        (["1704164400.0"], ["2024-01-02 03:00"]),
        (["1704164400000"], ["2024-01-02 03:00"]),
        (["1704164400000000"], ["2024-01-02 03:00"]),
        (["1704164400000000000"], ["2024-01-02 03:00"]),
    ],
)
def test_times_that_say_what_they_mean_need_no_zone(tmp_path: Path, stamps: list[str], opens: list[str]) -> None:
    assert read(tmp_path, rows(*stamps))[0] == opens


@pytest.mark.parametrize(
    "stamp",
    [
        "2024-01-02 03:00",
        "2024-01-02T03:00:00",
        "2024-01-02 03:00:00.000",
        "2024.01.02 03:00",
        "2024/1/2 03:00:00",
        "20240102 030000",
        "20240102 0300",
    ],
)
def test_naive_times_need_a_zone(tmp_path: Path, stamp: str) -> None:
    assert "such as 2024-01-02 03:00, name no time zone; give it with --tz" in refusal(tmp_path, rows(stamp))
    assert read(tmp_path, rows(stamp), tz="America/New_York")[0] == ["2024-01-02 08:00"]


def test_a_zone_in_the_file_wins_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    opens, _, notes = read(tmp_path, rows("2024-01-02 03:00Z"), tz="Asia/Tokyo")
    assert (opens, notes) == (["2024-01-02 03:00"], ["the times carry their own zone; --tz was not used"])
    assert "unknown time zone 'Europe/Berln', wanted a name such as Europe/Berlin; did you mean" in refusal(
        tmp_path, rows("2024-01-02 03:00"), tz="Europe/Berln"
    )
    mixed = refusal(tmp_path, rows("2024-01-02 03:00Z", "2024-01-02 04:00Z", "2024-01-02 05:00"))
    assert "line 4: some times name a time zone and some, such as '2024-01-02 05:00', do not" in mixed


@pytest.mark.parametrize(
    ("zone", "timeframe", "stamps", "opens"),
    [
        ("Europe/Berlin", "1h", ["01:00", "02:00", "02:00", "03:00"], ["26 23:00", "27 00:00", "27 01:00", "27 02:00"]),
        ("Europe/Berlin", "30m", ["02:00", "02:30", "02:00", "02:30"], ["27 00:00", "27 00:30", "27 01:00", "27 01:30"]),
        ("Europe/Berlin", "30m", ["02:00", "02:30", "02:30"], ["27 00:00", "27 00:30", "27 01:30"]),
    ],
)
def test_a_repeated_hour_is_told_apart_by_order(
    tmp_path: Path, zone: str, timeframe: str, stamps: list[str], opens: list[str]
) -> None:
    stamps = [f"2024-10-27 {clock}" for clock in stamps]
    opens = [f"2024-10-{open_}" for open_ in opens]
    assert read(tmp_path, rows(*stamps), timeframe, tz=zone)[0] == opens
    found, closes, notes = read(tmp_path, rows(*reversed(stamps)), timeframe, tz=zone)  # newest first
    assert (found, closes) == (opens, [1 + i / 100 for i in reversed(range(len(stamps)))])
    assert notes == ["the rows were not in order of time and were sorted"]


def test_new_york_repeats_an_hour_in_november(tmp_path: Path) -> None:
    stamps = [f"2024-11-03 {clock}" for clock in ("00:30", "01:00", "01:30", "01:00", "01:30", "02:00")]
    opens = read(tmp_path, rows(*stamps), "30m", tz="America/New_York")[0]
    assert [text[-5:] for text in opens] == ["04:30", "05:00", "05:30", "06:00", "06:30", "07:00"]


@pytest.mark.parametrize("clocks", [["01:00", "02:00", "03:00"], ["02:00", "02:00", "02:00"], ["02:00", "02:15", "02:30"]])
def test_a_repeated_hour_without_both_passes_is_refused(tmp_path: Path, clocks: list[str]) -> None:
    message = refusal(tmp_path, rows("2024-10-26 12:00", *(f"2024-10-27 {c}" for c in clocks)), "15m", tz="Europe/Berlin")
    assert "2024-10-27 02:00 comes twice in Europe/Berlin" in message
    assert "lines 3, 4, 5:" in message or "line 4:" in message


@pytest.mark.parametrize(("zone", "stamp"), [("Europe/Berlin", "2024-03-31 02:30"), ("America/New_York", "2024-03-10 02:00")])
def test_an_hour_that_the_clocks_skip_is_refused(tmp_path: Path, zone: str, stamp: str) -> None:
    message = refusal(tmp_path, rows("2024-03-01 00:00", stamp), "30m", tz=zone)
    assert f"line 3: {stamp} does not exist in {zone}" in message


@given(
    start=st.sampled_from(["2023-03-20", "2023-10-20", "2024-06-01"]), zone=st.sampled_from(["Europe/Berlin", "America/New_York"])
)
@settings(max_examples=6, deadline=None)
def test_wall_clocks_of_a_zone_give_back_the_instants(tmp_path_factory: pytest.TempPathFactory, start: str, zone: str) -> None:
    frame = make_bars(24 * 30 * 4, "15m", start=start)
    path = tmp_path_factory.mktemp("zone") / "bars.csv"
    local = frame.set_axis(frame.index.tz_convert(zone).tz_localize(None), axis=0)
    local.to_csv(path, index_label="time")
    found, notes = read_bar_file(path, "15m", Reading(tz=zone))
    assert notes == []
    pd.testing.assert_frame_equal(found, frame)


# --- dates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stamps",
    [
        ["2024-01-12", "2024-01-13"],
        ["20240112", "20240113"],
        ["2024.01.12", "2024.01.13"],
        ["2024/1/12", "2024/1/13"],
        ["12/01/2024", "13/01/2024"],
        ["1/12/2024", "1/13/2024"],
        ["12.01.2024", "13.01.2024"],
        ["2024-01-12T00:00:00Z", "2024-01-13T00:00:00Z"],
        ["2024-01-12 00:00:00-05:00", "2024-01-13 00:00:00-04:00"],
        ["2024-01-12 09:30", "2024-01-13 09:30"],
        ["12-Jan-2024", "13-Jan-2024"],
    ],
)
@pytest.mark.parametrize("timeframe", ["1d", "1w"])
def test_daily_and_weekly_bars_are_stamped_with_their_date(tmp_path: Path, stamps: list[str], timeframe: str) -> None:
    assert read(tmp_path, rows(*stamps), timeframe)[0] == ["2024-01-12 00:00", "2024-01-13 00:00"]


def test_a_date_that_could_be_two_days_is_refused(tmp_path: Path) -> None:
    assert "'01/02/2024' may begin with a day or with a month" in refusal(tmp_path, rows("01/02/2024", "02/02/2024"), "1d")
    late = refusal(tmp_path, rows("2024-01-02 22:00Z"), "1d")
    assert "line 2: a 1d bar stamped 2024-01-02 22:00 does not say to which day it belongs" in late
    assert read(tmp_path, rows("2024-01-02 23:00Z"), "1d", tz="Europe/Berlin")[0] == ["2024-01-03 00:00"]
    assert read(tmp_path, rows("2024-01-02 05:00Z"), "1d", tz="America/New_York")[0] == ["2024-01-02 00:00"]


# --- cells -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("Date,Time,Open,High,Low,Close,Vol\n2024-01-02,03:00,1,2,0.5,1.5,7\n", {"tz": "UTC"}, []),
        (
            "<DATE> <TIME> <OPEN> <HIGH> <LOW> <CLOSE> <TICKVOL> <VOL>\n2024.01.02 03:00:00 1 2 .5 1.5 7 0\n".replace(" ", "\t"),
            {"tz": "UTC"},
            ["MetaTrader 5 layout: volume is the number of ticks, TICKVOL"],
        ),
        ("date;time;o;h;l;c;v\n20240102;30000;1,0;2,0;0,5;1,5;7\n", {"tz": "UTC"}, ["decimal comma"]),
        ("date;time;o;h;l;c;v\n20240102;300;1.0;2.0;0.5;1.5;7\n", {"tz": "UTC"}, []),
        ("\ufeffOpen time,OPEN,HIGH,LOW,CLOSE,VOLUME,Close time\n1704164400000,1,2,.5,1.5,7,0\n", {}, ["Binance layout"]),
        ("\n\ntimestamp,low,high,open,volume,close\r\n2024-01-02T03:00Z,.5,2,1,7,1.5\r\n\r\n", {}, []),
        (",open,high,low,close,volume\n2024-01-02 03:00:00+00:00,1,2,.5,1.5,7\n", {}, []),
        (gzip.compress((HEADER + "2024-01-02 03:00Z,1,2,.5,1.5,7\n").encode(), mtime=0), {}, []),
        (HEADER + "2024-01-02 03:00Z,10,20,5,15,7\n", {"price_scale": 10.0}, []),
    ],
)  # fmt: skip
def test_many_ways_of_writing_the_same_bar(
    tmp_path: Path, content: str | bytes, options: dict[str, object], said: list[str]
) -> None:
    path = tmp_path / "bars"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    frame, notes = read_bar_file(path, "1h", Reading(**options))
    assert frame.reset_index().to_numpy().tolist() == [[pd.Timestamp("2024-01-02 03:00", tz="UTC"), 1.0, 2.0, 0.5, 1.5, 7.0]]
    assert notes == said


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_text_loses_no_bit_of_a_price(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    frame = with_holes(make_bars(200, "1h", seed=seed), 0.2, seed)
    path = tmp_path_factory.mktemp("bits") / "bars.csv"
    frame.to_csv(path)
    pd.testing.assert_frame_equal(read_bar_file(path, "1h")[0], frame, check_exact=True)


@pytest.mark.parametrize("as_index", [True, False])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_with_the_time_as_index_or_column(tmp_path: Path, as_index: bool, unit: str) -> None:
    frame = make_bars(50)
    path = tmp_path / "bars.parquet"
    other = frame.set_axis(frame.index.as_unit(unit).tz_convert("Asia/Tokyo").rename("Date"), axis=0)
    (other if as_index else other.reset_index()).to_parquet(path)
    pd.testing.assert_frame_equal(read_bar_file(path, "1h")[0], frame)
    naive = other.set_axis(other.index.tz_localize(None), axis=0)
    naive.to_parquet(path)
    with pytest.raises(DataError, match="name no time zone"):
        read_bar_file(path, "1h")
    pd.testing.assert_frame_equal(read_bar_file(path, "1h", Reading(tz="Asia/Tokyo"))[0], frame)


def test_a_missing_volume_and_missing_prices_are_noted(tmp_path: Path) -> None:
    _, _, notes = read(tmp_path, "time,open,high,low,close\n2024-01-02 03:00Z,1,2,.5,1.5\n2024-01-02 04:00Z,,,,\n")
    assert notes == ["there is no volume column: volume is missing in every bar", "1 of 2 bars lack a price"]
    assert read(tmp_path, rows("2024-01-02 03:07Z"))[2] == ["1 stamp off the 1h grid, the first at 2024-01-02 03:07"]


BAR = "2024-01-02 03:00Z,1,2,.5,1.5,7\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "bars.csv: the file is empty"),
        ("\n \n", "bars.csv: the file is empty"),
        (HEADER, "bars.csv: the file has column names and no rows"),
        (b"\x00\x01\x02\x03", "neither a Parquet file nor text in UTF-8"),
        (b"\xff\xfe\xfa,1", "neither a Parquet file nor text in UTF-8"),
        (HEADER + BAR + '2024-01-02 04:00Z,1,2,.5,"1.5,7\n', "bars.csv: the file is not a table: EOF inside string"),
        (b"PAR1 and rubbish", "bars.csv cannot be read"),
        (b"\x1f\x8b and rubbish", "bars.csv cannot be read"),
        ("a,b\n1,2\n", "has no column for the time, open, high, low, close; it has a, b; wanted timestamp, open"),
        ("time,open,high,close\n1,2,3,4\n", "has no column for low;"),
        (HEADER + BAR + "2024-01-02 04:00Z,1,2,n.a.,1.5,7\n", "line 3: 'n.a.' in column low is not a number"),
        (HEADER + BAR + "\n\n2024-01-02 04:00Z,1,x,1,1.5,7\n", "line 5: 'x' in column high is not a number"),
        (HEADER + BAR + "2024-01-02 04:00Z,1,2,.5,1.5,7,8\n", "Expected 6 fields in line 3, saw 7"),
        (HEADER + BAR.replace("7", "7,8"), "the rows have more cells than the first line has names"),
        (HEADER + BAR + ",1,2,.5,1.5,7\n", "line 3: no time"),
        (HEADER + BAR + "tomorrow,1,2,.5,1.5,7\n", "line 3: some times name a time zone and some, such as 'tomorrow', do not"),
        (HEADER + "2024-13-02 03:00Z,1,2,.5,1.5,7\n", "line 2: '2024-13-02 03:00' is not a time"),
        (HEADER + BAR + BAR.replace("7", "8"), "lines 2, 3: the same time 2024-01-02 03:00 with different values"),
        (HEADER + "2024-01-02 03:00Z,1,2,-.5,1.5,7\n", "line 2: a price that is not positive"),
        (HEADER + BAR + "2024-01-02 04:00Z,1,.2,.5,1.5,7\n", "line 3: a high below open, close or low"),
        (HEADER + "2024-01-02 03:00Z,1,2,1.2,1.5,7\n", "line 2: a low above open or close"),
        (HEADER + "2024-01-02 03:00Z,1,2,.5,1.5,-7\n", "line 2: a negative volume"),
        (HEADER + "2024-01-02 03:00Z,1,inf,.5,1.5,7\n", "line 2: an infinite value"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in refusal(tmp_path, content)


def test_a_file_that_is_not_there_and_a_scale_that_multiplies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read_bar_file(tmp_path / "nowhere.csv", "1h")
    assert "prices are divided by the price scale" in refusal(tmp_path, HEADER + BAR, price_scale=1e-5)
    assert "there is no adjusted close to adjust by" in refusal(tmp_path, HEADER + BAR, adjust=True)


# --- order -------------------------------------------------------------------------------------


def test_rows_in_any_order_give_the_same_bars(tmp_path: Path) -> None:
    frame = make_bars(60)
    path = tmp_path / "bars.csv"
    shuffled = frame.sample(frac=1.0, random_state=1)
    pd.concat([shuffled, shuffled.iloc[5:8]]).to_csv(path)
    found, notes = read_bar_file(path, "1h")
    pd.testing.assert_frame_equal(found, frame)
    assert notes == ["the rows were not in order of time and were sorted", "3 exact repetitions of a row left out"]


def test_a_fault_in_sorted_rows_names_the_line_in_the_file(tmp_path: Path) -> None:
    content = HEADER + "2024-01-02 05:00Z,1,2,.5,1.5,7\n2024-01-02 04:00Z,1,2,.5,1.5,7\n2024-01-02 03:00Z,1,2,-.5,1.5,7\n"
    assert "line 4: a price that is not positive" in refusal(tmp_path, content)


# --- adjusting ---------------------------------------------------------------------------------


def split_bars(ratio: float, dividend: float = 0.0) -> pd.DataFrame:
    """Raw daily bars with a split and a dividend at bar 60 and 80, `adj close` made as data vendors make it."""
    frame = make_bars(100, "1d", seed=2, regimes=False)
    factor = np.ones(100)
    factor[:60] /= ratio
    factor[:80] *= 1 - dividend
    raw = frame.copy()
    raw[["open", "high", "low", "close"]] = frame[["open", "high", "low", "close"]].to_numpy() / factor[:, None]
    raw["volume"] = frame["volume"].to_numpy() * np.where(np.arange(100) < 60, 1 / ratio, 1.0)
    return raw.assign(**{"Adj Close": frame["close"]})


@pytest.mark.parametrize("ratio", [2.0, 3.0, 1.5, 0.1])
@pytest.mark.parametrize("dividend", [0.0, 0.01])
@pytest.mark.parametrize("column", [True, False])
def test_adjusting_undoes_splits_and_dividends(tmp_path: Path, ratio: float, dividend: float, column: bool) -> None:
    raw = split_bars(ratio, dividend)
    if column:
        raw["Stock Splits"] = np.where(np.arange(100) == 60, ratio, 0.0)
    raw.to_csv(tmp_path / "bars.csv")
    found, notes = read_bar_file(tmp_path / "bars.csv", "1d", Reading(adjust=True))
    frame = make_bars(100, "1d", seed=2, regimes=False)
    np.testing.assert_allclose(bar_values(found), bar_values(frame), rtol=1e-12)
    assert (bar_times(found) == bar_times(frame)).all()
    assert len(notes) == 1
    assert "volume divided by the factor of the splits: " in notes[0]


def test_adjusting_keeps_high_and_low_outside_to_the_last_bit(tmp_path: Path) -> None:
    raw = split_bars(3.0, 0.0137)
    raw["high"] = raw[["open", "close"]].max(axis=1)
    raw["low"] = raw[["open", "close"]].min(axis=1)
    raw.to_csv(tmp_path / "bars.csv")
    opens, highs, lows, closes, _ = bar_values(read_bar_file(tmp_path / "bars.csv", "1d", Reading(adjust=True))[0])
    assert (highs == np.maximum(opens, closes)).all()
    assert (lows == np.minimum(opens, closes)).all()


def test_what_is_not_adjusted_is_said(tmp_path: Path) -> None:
    split_bars(1.0).to_csv(tmp_path / "bars.csv")
    assert read_bar_file(tmp_path / "bars.csv", "1d")[1] == ["the adjusted close was not used; --adjust applies it"]
    assert "no split is in these bars" in read_bar_file(tmp_path / "bars.csv", "1d", Reading(adjust=True))[1][0]
    raw = split_bars(1.0)
    raw.iloc[:50, raw.columns.get_loc("Adj Close")] *= 0.7  # a step that the price does not follow
    raw.to_csv(tmp_path / "bars.csv")
    assert "the adjustment steps by 1.4" in read_bar_file(tmp_path / "bars.csv", "1d", Reading(adjust=True))[1][0]
    raw.iloc[4, raw.columns.get_loc("Adj Close")] = -1.0
    raw.to_csv(tmp_path / "bars.csv")
    with pytest.raises(DataError, match="line 6: an adjusted close that is not a positive number"):
        read_bar_file(tmp_path / "bars.csv", "1d", Reading(adjust=True))
