"""Times of a file: each number in the unit that makes a bar's time of it, each text in the one order that all rows allow."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from training.readers.bar_files import read_bar_file
from training.store.coverage import DataError
from training.store.reading import Asked, Reading


def opens(
    folder: Path, *stamps: str, timeframe: str = "1h", head: str = "time", **options: object
) -> tuple[list[str], list[str]]:
    """The opens of bars with these stamps in UTC, and notes."""
    path = folder / "bars.csv"
    rows = "".join(f"{stamp},1,2,.5,{1 + position / 1000},7\n" for position, stamp in enumerate(stamps))
    path.write_text(f"{head},open,high,low,close,volume\n{rows}", encoding="utf-8")
    frame, notes = read_bar_file(path, timeframe, Reading(**options))
    return [f"{time:%Y-%m-%d %H:%M:%S}".removesuffix(":00") for time in frame.index], notes


def refusal(folder: Path, *stamps: str, **options: object) -> str:
    with pytest.raises(DataError) as refused:
        opens(folder, *stamps, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- numbers -----------------------------------------------------------------------------------


def test_each_row_is_read_in_its_own_unit(tmp_path: Path) -> None:
    stamps = ["1735682400000", "1735686000000", "1735689600000000", "1735693200000000"]
    found, notes = opens(tmp_path, *stamps)
    assert found == ["2024-12-31 22:00", "2024-12-31 23:00", "2025-01-01 00:00", "2025-01-01 01:00"]
    assert notes == ["times are in milliseconds and from line 4 on in microseconds: each row is read in its own unit"]
    found, notes = opens(tmp_path, *reversed(stamps))
    assert found == ["2024-12-31 22:00", "2024-12-31 23:00", "2025-01-01 00:00", "2025-01-01 01:00"]
    assert "times are in microseconds and from line 4 on in milliseconds: each row is read in its own unit" in notes


@pytest.mark.parametrize(
    ("one", "other"),
    [("1735682400", "1735686000000"), ("1735682400000000", "1735686000000000000"), ("1735682400", "1735686000000000000")],
)
def test_any_two_units_may_follow_each_other(tmp_path: Path, one: str, other: str) -> None:
    assert opens(tmp_path, one, other)[0] == ["2024-12-31 22:00", "2024-12-31 23:00"]


def test_a_change_of_unit_that_could_be_two_things_names_its_row(tmp_path: Path) -> None:
    said = refusal(tmp_path, "946684800000", "946688400000", "1735689600000000")  # milliseconds of 2000, microseconds of 2025
    assert "line 4: '1735689600000000' is in another unit than '946688400000' before it, or no time at all" in said


@pytest.mark.parametrize(
    ("stamps", "found"),
    [
        (["63331200000", "63334800000"], ["1972-01-04 00:00", "1972-01-04 01:00"]),
        (["63331200", "63334800"], ["1972-01-04 00:00", "1972-01-04 01:00"]),
        (["-2208988800", "-2208985200"], ["1900-01-01 00:00", "1900-01-01 01:00"]),
        (["-252460800000"], ["1962-01-01 00:00"]),
        (["0", "3600", "31536000"], ["1970-01-01 00:00", "1970-01-01 01:00", "1971-01-01 00:00"]),
        (
            ["1209600000", "1814400000", "15724800000", "126230400000"],
            ["1970-01-15 00:00", "1970-01-22 00:00", "1970-07-02 00:00", "1974-01-01 00:00"],
        ),
    ],
)
def test_early_years_are_read_in_the_unit_that_fits_all_rows(tmp_path: Path, stamps: list[str], found: list[str]) -> None:
    assert opens(tmp_path, *stamps)[0] == found


@pytest.mark.parametrize(
    ("stamps", "found"),
    [
        (["20210301", "20210302"], ["2021-03-01 00:00", "2021-03-02 00:00"]),
        (["2021030109", "2021030110"], ["2021-03-01 09:00", "2021-03-01 10:00"]),
        (["202103010930", "202103011030"], ["2021-03-01 09:30", "2021-03-01 10:30"]),
        (["20210301093015", "20210301103015"], ["2021-03-01 09:30:15", "2021-03-01 10:30:15"]),
    ],
)
def test_digits_that_are_a_date_are_a_date(tmp_path: Path, stamps: list[str], found: list[str]) -> None:
    assert opens(tmp_path, *stamps, tz="UTC")[0] == found
    assert "name no time zone" in refusal(tmp_path, *stamps)


@pytest.mark.parametrize(
    ("stamps", "form"),
    [
        (["20210228", "20210229", "20210301"], "YYYYMMDD"), (["202102282300", "202102290000", "202103010000"], "YYYYMMDDHHMM"),
        (["20210228230000", "20210228250000", "20210301000000"], "YYYYMMDDHHMMSS"), (["20210228", "2021030112", "20210301"], "YYYYMMDD"),
    ],
)  # fmt: skip
def test_one_row_that_is_no_date_among_dates_is_named(tmp_path: Path, stamps: list[str], form: str) -> None:
    said = refusal(tmp_path, *stamps, tz="UTC")
    assert f"line 3: '{stamps[1]}' is no time of the form {form}, which the other rows have" in said


@pytest.mark.parametrize("stamps", [["43467", "43468"], ["43467.0", "43468.0"]])
def test_excels_serial_days_are_recognised_and_said(tmp_path: Path, stamps: list[str]) -> None:
    assert opens(tmp_path, *stamps, timeframe="1d") == (
        ["2019-01-02 00:00", "2019-01-03 00:00"],
        ["times are Excel day numbers"],
    )


def test_excels_fractions_are_times_of_day(tmp_path: Path) -> None:
    stamps = ["43467.395833", "43467.437500", "43467.479178"]
    found, notes = opens(tmp_path, *stamps, tz="America/New_York")
    assert found == ["2019-01-02 14:30", "2019-01-02 15:30", "2019-01-02 16:30:01"]
    assert "times are Excel day numbers" in notes


@pytest.mark.parametrize("stamp", ["17898", "0", "2019", "210301", "999999"])
def test_small_numbers_that_could_be_anything_are_refused(tmp_path: Path, stamp: str) -> None:
    said = refusal(tmp_path, "43467", stamp, timeframe="1d")
    assert f"line 3: '{stamp}' cannot be read as a time: it is no date, no seconds since 1970 and no Excel day number" in said


def test_years_in_which_no_bar_can_be_are_refused_with_the_row(tmp_path: Path) -> None:
    last = dt.datetime.now(dt.UTC).year + 1
    for stamp, shown in (
        (f"{last + 1}-01-01 00:00", f"{last + 1}-01-01"),
        ("1899-12-31 23:00", "1899-12-31 23:00"),
        ("9999-01-01", "9999-01-01"),
        ("0021-03-01 00:00", "0021-03-01"),
    ):
        said = refusal(tmp_path, "2021-03-01 00:00", stamp, tz="UTC")
        assert f"line 3: {shown} cannot be the time of a bar, wanted years from 1900 to {last}" in said
    assert opens(tmp_path, f"{last}-12-31 23:00", "1900-01-01 00:00", tz="UTC")[0] == ["1900-01-01 00:00", f"{last}-12-31 23:00"]
    beyond = f"{int(dt.datetime(last + 1, 1, 1, tzinfo=dt.UTC).timestamp())}"
    assert f"line 3: '{beyond}' is in another unit than '1735682400' before it, or no time at all" in refusal(
        tmp_path, "1735682400", beyond
    )


@pytest.mark.parametrize("stamp", ["1e400", "nan", "99999999999999999999", "True"])
def test_wild_numbers_are_no_times(tmp_path: Path, stamp: str) -> None:
    assert "line 4" in refusal(tmp_path, "1735682400", "1735686000", stamp)


def test_numbers_that_a_spreadsheet_has_rounded_are_refused(tmp_path: Path) -> None:
    assert "line 2: '1.73568E+12' is not a time (a spreadsheet has rounded it)" in refusal(tmp_path, "1.73568E+12", "1.73569E+12")


# --- texts -------------------------------------------------------------------------------------


def test_24_00_is_the_next_day(tmp_path: Path) -> None:
    assert opens(tmp_path, "2021-02-28 23:00", "2021-02-28 24:00", "2021-03-01 01:00", tz="UTC")[0] == [
        "2021-02-28 23:00",
        "2021-03-01 00:00",
        "2021-03-01 01:00",
    ]
    assert opens(tmp_path, "2020-12-31T24:00:00Z")[0] == ["2021-01-01 00:00"]
    assert "line 2: '2021-02-28 24:01' is not a time" in refusal(tmp_path, "2021-02-28 24:01", tz="UTC")


@pytest.mark.parametrize(
    ("stamps", "found"),
    [
        (["04.01.2021 10:00", "05.01.2021 10:00"], ["2021-01-04 10:00", "2021-01-05 10:00"]),
        (["01.13.2021", "01.14.2021"], ["2021-01-13 00:00", "2021-01-14 00:00"]),
        (["13/01/2021", "02/02/2021"], ["2021-01-13 00:00", "2021-02-02 00:00"]),
        (["01/13/2021 4:00 PM", "02/02/2021 12:00 AM"], ["2021-01-13 16:00", "2021-02-02 00:00"]),
        (["30-Jul-2019", "1-Aug-2019"], ["2019-07-30 00:00", "2019-08-01 00:00"]),
        (['"Jul 30, 2019"', '"Aug 1, 2019"'], ["2019-07-30 00:00", "2019-08-01 00:00"]),
        (["30 July 2019 09:30", "1 August 2019 09:30"], ["2019-07-30 09:30", "2019-08-01 09:30"]),
        (['"Tue, 30 Jul 2019"'], ["2019-07-30 00:00"]),
        (["2019-Jul-30 09:30:15"], ["2019-07-30 09:30:15"]),
        (["2019-07-30 04-PM", "2019-07-30 12-AM"], ["2019-07-30 00:00", "2019-07-30 16:00"]),
        (["30.07.2019 09:30:15.123"], ["2019-07-30 09:30:15"]),
        (["20190730 0930", "20190730 1030"], ["2019-07-30 09:30", "2019-07-30 10:30"]),
    ],
)
def test_dates_in_many_forms(tmp_path: Path, stamps: list[str], found: list[str]) -> None:
    assert opens(tmp_path, *stamps, tz="UTC")[0] == found


def test_dots_say_that_the_day_comes_first(tmp_path: Path) -> None:
    found, notes = opens(tmp_path, "04.01.2021", "05.01.2021", timeframe="1d")
    assert found == ["2021-01-04 00:00", "2021-01-05 00:00"]
    assert notes == ["dates are read day first, as their dots say"]


def test_slashes_that_leave_the_order_open_are_asked_for(tmp_path: Path) -> None:
    said = refusal(tmp_path, "04/01/2021", "05/01/2021", timeframe="1d")
    assert (
        "'04/01/2021' may begin with a day or with a month, wanted dates as YYYY-MM-DD, or --date-format %d/%m/%Y or %m/%d/%Y"
        in said
    )
    assert opens(tmp_path, "04/01/2021", timeframe="1d", date_format="%d/%m/%Y")[0] == ["2021-01-04 00:00"]
    assert opens(tmp_path, "04/01/2021", timeframe="1d", date_format="%m/%d/%Y")[0] == ["2021-04-01 00:00"]
    both = refusal(tmp_path, "13/01/2021", "01/14/2021", timeframe="1d")
    assert "line 2: '13/01/2021' begins with a day and line 3: '01/14/2021' with a month, wanted one order" in both


@pytest.mark.parametrize(
    "stamp", ["30-Jul-19", "30/07/19", "30-Foo-2019", "31.02.2021", "2021-02-30 10:00", "soon", "2021-W05", "1/2", "10:00"]
)
def test_what_is_no_time_is_named_with_the_option_that_helps(tmp_path: Path, stamp: str) -> None:
    said = refusal(tmp_path, stamp, tz="UTC")
    assert f"line 2: '{stamp}' is not a time, wanted such as 2020-01-31 09:30; another form is told by --date-format" in said


def test_a_form_that_is_given_is_used(tmp_path: Path) -> None:
    assert opens(tmp_path, "30-Jul-19", timeframe="1d", date_format="%d-%b-%y")[0] == ["2019-07-30 00:00"]
    assert opens(tmp_path, "19/07/30 9h30", tz="UTC", date_format="%y/%m/%d %Hh%M")[0] == ["2019-07-30 09:30"]
    assert opens(tmp_path, "30-Jul-19 09:30 -0400", date_format="%d-%b-%y %H:%M %z")[0] == ["2019-07-30 13:30"]
    assert opens(tmp_path, "30-Jul-19,0930", head="date,time", tz="UTC", date_format="%d-%b-%y")[0] == ["2019-07-30 09:30"]
    assert "line 3: '2019-07-31' is not a time of the form %d-%b-%y" in refusal(
        tmp_path, "30-Jul-19", "2019-07-31", date_format="%d-%b-%y"
    )
    assert "'%d-%q' is no form of dates, wanted such as %d/%m/%Y %H:%M" in refusal(tmp_path, "30-Jul-19", date_format="%d-%q")


# --- zones -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "found", "note"),
    [
        ("Gmt time", "2021-07-01 10:00", "times are UTC, as the column Gmt time says"),
        ("Time (UTC)", "2021-07-01 10:00", "times are UTC, as the column Time (UTC) says"),
        ("date (UTC+2)", "2021-07-01 08:00", "times are Etc/GMT-2, as the column date (UTC+2) says"),
        ("Date (America/New_York)", "2021-07-01 14:00", "times are America/New_York, as the column Date (America/New_York) says"),
    ],
)
def test_a_columns_name_may_say_the_zone(tmp_path: Path, head: str, found: str, note: str) -> None:
    assert opens(tmp_path, "2021-07-01 10:00", head=head) == (
        [found],
        [note] if head[0] != "G" and "(UTC)" not in head else ["Dukascopy layout", note],
    )
    assert opens(tmp_path, "2021-07-01 10:00", head=head, tz="Asia/Tokyo")[1][-1] == f"{note}; --tz was not used"


def test_a_zone_behind_the_times_is_taken(tmp_path: Path) -> None:
    found, notes = opens(tmp_path, "20210701 10:00:00 US/Eastern", "20211201 10:00:00 US/Eastern")
    assert found == ["2021-07-01 14:00", "2021-12-01 15:00"]
    assert notes == ["times are those of US/Eastern, which they name"]
    assert opens(tmp_path, "01.07.2021 10:00:00.000 GMT+0200", "01.12.2021 10:00:00.000 GMT+0100")[0] == [
        "2021-07-01 08:00",
        "2021-12-01 09:00",
    ]


def test_mixed_zones_are_one_sentence(tmp_path: Path) -> None:
    said = refusal(tmp_path, "2021-07-01 10:00 Europe/Berlin", "2021-07-01 11:00 Europe/Berlin", "2021-07-01 10:00 US/Eastern")
    assert (
        "line 4: times of several zones, '2021-07-01 10:00 US/Eastern' beside Europe/Berlin, wanted one zone or offsets" in said
    )
    said = refusal(tmp_path, "2021-07-01 10:00 EST", "2021-07-01 11:00 EDT")
    assert (
        "lines 2, 3: '2021-07-01 10:00 EST' ends in EST, letters that several time zones share; wanted an offset such as -05:00"
        in said
    )
    assert opens(tmp_path, "2021-07-01 10:00+02:00", "2021-07-01 10:00Z")[0] == ["2021-07-01 08:00", "2021-07-01 10:00"]
    for odd in ("2021-07-01T10:00:00+01:00:30", "2021-07-01 10:00+99:00", "2021-07-01 10:00 +1"):
        try:
            opens(tmp_path, "2021-07-01 10:00+02:00", odd)
        except DataError as error:
            assert "\n" not in str(error)


def test_a_clock_of_hours_alone_is_not_taken_for_minutes(tmp_path: Path) -> None:
    said = refusal(tmp_path, "2021-03-01,9", "2021-03-01,10", head="date,time", tz="UTC")
    assert "'10' in column time may be an hour or a minute, wanted a clock such as 09:30" in said
    assert opens(tmp_path, "2021-03-01,0", "2021-03-01,5", "2021-03-01,100", head="date,time", tz="UTC", timeframe="5m")[0] == [
        "2021-03-01 00:00",
        "2021-03-01 00:05",
        "2021-03-01 01:00",
    ]


def test_a_file_of_dates_asks_for_no_zone_and_one_of_times_does(tmp_path: Path) -> None:
    assert opens(tmp_path, "2021-07-01", timeframe="1d")[0] == ["2021-07-01 00:00"]
    with pytest.raises(Asked) as asked:
        opens(tmp_path, "2021-07-01 10:00")
    assert asked.value.option == "tz"


@pytest.mark.parametrize("clock", [["09:30:00", "10:30:00"], [93000, 103000]])
def test_parquet_with_a_date_and_a_clock(tmp_path: Path, clock: list[object]) -> None:
    day = dt.date(2021, 7, 1)
    frame = pd.DataFrame({"date": [day, day], "time": clock, "open": 1.0, "high": 2.0, "low": 0.5, "close": [1.5, 1.6]})
    frame.to_parquet(tmp_path / "bars.parquet")
    found, _ = read_bar_file(tmp_path / "bars.parquet", "1h", Reading(tz="UTC"))
    assert [f"{time:%H:%M}" for time in found.index] == ["09:30", "10:30"]
