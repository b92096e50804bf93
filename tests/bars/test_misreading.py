"""How a series was read is remembered: a file read on another price scale or clock is named, never merged or replaced over it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from training.bars.series import origin_of, store_frame
from training.models import BarSeries
from training.pipeline.bars import read_bars
from training.pipeline.frames import bar_frame, bar_times, bar_values
from training.pipeline.synthetic import make_bars
from training.store.origins import Origin
from training.store.reading import Reading

pytestmark = pytest.mark.django_db
HOUR = 3_600_000_000
BARS = make_bars(600, "1h", 3, start="2024-01-08")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, settings: Any) -> Path:
    settings.STORE_DIR = tmp_path / "store"
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def file(folder: Path, frame: pd.DataFrame, *, factor: float = 1.0, hours: float = 0, zone: str | None = None) -> Path:
    """A CSV of these bars: prices times the factor, times so many hours later, or as the clock of a zone shows them."""
    values = bar_values(frame).copy()
    values[:4] = (values[:4] * factor).round(5)
    made = bar_frame(bar_times(frame) + round(hours * HOUR), values)
    path = folder / "bars.csv"
    if zone is None:
        made.to_csv(path, date_format="%Y-%m-%dT%H:%M:%SZ")
    else:
        made.tz_convert(zone).tz_localize(None).to_csv(path, date_format="%Y-%m-%d %H:%M:%S")
    return path


def load(path: Path, timeframe: str = "1h", **options: Any) -> str:
    out = StringIO()
    call_command("load_data", "EURUSD", timeframe, files=[path], stdout=out, no_color=True, **options)
    return out.getvalue()


def fails(path: Path, timeframe: str = "1h", **options: Any) -> str:
    before = BarSeries.objects.get().sha256
    with pytest.raises(CommandError) as caught:
        load(path, timeframe, **options)
    assert BarSeries.objects.get().sha256 == before
    return str(caught.value)


# --- the price scale ---------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"replace": True}])
def test_points_over_prices_name_the_scale_of_last_time(tmp_path: Path, given: dict[str, Any]) -> None:
    load(file(tmp_path, BARS, factor=100_000), price_scale=100_000.0)
    said = fails(file(tmp_path, BARS.iloc[300:], factor=100_000), **given)
    assert said.startswith("EURUSD 1h: the new prices are 100,000 times the stored ones: give --price-scale 100000, as last time")
    assert "--replace" not in said


def test_points_behind_prices_are_seen_by_their_neighbours(tmp_path: Path) -> None:
    load(file(tmp_path, BARS.iloc[:300], factor=100_000), price_scale=100_000.0)
    assert "give --price-scale 100000, as last time" in fails(file(tmp_path, BARS.iloc[300:], factor=100_000))
    assert "(300 added" in load(file(tmp_path, BARS.iloc[300:], factor=100_000), price_scale=100_000.0)


def test_points_before_prices_are_seen_too(tmp_path: Path) -> None:
    load(file(tmp_path, BARS.iloc[300:]))
    said = fails(file(tmp_path, BARS.iloc[:300], factor=1000))
    assert "the new prices are 1,000 times the stored ones: give --price-scale 1000; if the stored ones are wrong, delete" in said


def test_prices_that_were_divided_once_too_often_name_it(tmp_path: Path) -> None:
    load(file(tmp_path, BARS))
    said = fails(file(tmp_path, BARS), price_scale=100.0)
    assert "the new prices are 1/100 of the stored ones: leave --price-scale out, as last time" in said
    assert "the prices were divided by 100, last time by 1" in said


def test_stored_points_under_prices_are_to_be_loaded_anew(tmp_path: Path) -> None:
    load(file(tmp_path, BARS, factor=1000))
    said = fails(file(tmp_path, BARS.iloc[100:]))
    assert "1/1,000 of the stored ones: the stored ones want --price-scale 1000: delete the series and load it anew" in said


def test_every_stored_bar_may_be_replaced_by_one_on_the_right_scale(tmp_path: Path) -> None:
    load(file(tmp_path, BARS.iloc[:500], factor=1000))
    assert "(100 added, 0 the same, 500 replaced)" in load(file(tmp_path, BARS, factor=1000), price_scale=1000.0, replace=True)
    assert origin_of("EURUSD", "1h").price_scale == 1000


@pytest.mark.parametrize("factor", [0.1, 2.0, 10.0])
def test_a_jump_as_of_a_split_is_no_scale(tmp_path: Path, factor: float) -> None:
    load(file(tmp_path, BARS.iloc[:300]))
    assert "(300 added" in load(file(tmp_path, BARS.iloc[300:], factor=factor))


def test_prices_that_differ_by_no_power_of_ten_are_still_asked_about(tmp_path: Path) -> None:
    load(file(tmp_path, BARS))
    assert "have other values than the stored ones of the same time" in fails(file(tmp_path, BARS, factor=1.5))


# --- the clock ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("hours", "words"), [(5, "5 h later"), (-6, "6 h earlier"), (5.5, "330 min later"), (1, "1 h later")])
@pytest.mark.parametrize("given", [{}, {"replace": True}])
def test_the_same_prices_some_hours_apart_are_another_clock(
    tmp_path: Path, hours: float, words: str, given: dict[str, Any]
) -> None:
    load(file(tmp_path, BARS))
    said = fails(file(tmp_path, BARS.iloc[100:500], hours=hours), **given)
    assert f"the new bars are the stored ones {words}, such as that of 2024-01-" in said
    assert "the times were read in another zone" in said and "--replace" not in said


def test_the_zone_of_last_time_is_said(tmp_path: Path) -> None:
    load(file(tmp_path, BARS, zone="America/New_York"), tz="America/New_York")
    assert origin_of("EURUSD", "1h") == Origin(tz="America/New_York")
    said = fails(file(tmp_path, BARS, zone="America/New_York"), tz="UTC")
    assert "5 h earlier" in said and "last time it was --tz America/New_York" in said
    assert "last time it was --tz America/New_York" in fails(file(tmp_path, BARS, zone="America/New_York"))
    told = load(file(tmp_path, make_bars(50, "1h", 9, start="2024-03-04"), zone="Europe/Berlin"), tz="Europe/Berlin")
    assert "note: the times were read as Europe/Berlin, last time as America/New_York" in told


def test_closes_for_opens_are_named(tmp_path: Path) -> None:
    days = make_bars(200, "1d", 3, start="2024-01-01")
    load(file(tmp_path, days), "1d")
    said = fails(file(tmp_path, days, hours=24), "1d")
    assert "1 d later" in said and "as if one file stamped bars with their open and the other with their close" in said


def test_prices_that_stand_still_are_no_other_clock(tmp_path: Path) -> None:
    still = np.tile(np.array([[5.0], [5.0], [5.0], [5.0], [1.0]]), 400)
    times = bar_times(BARS)[0] + np.arange(400, dtype=np.int64) * HOUR
    some = np.arange(400) % 4 != 1
    store_frame("EURUSD", "1h", bar_frame(times[some], np.ascontiguousarray(still[:, some])), source="x")
    rest = bar_frame(times[~some], np.ascontiguousarray(still[:, ~some]))
    assert store_frame("EURUSD", "1h", rest, source="x", reading=Reading(timeframe_is_right=True)).merge.added == 100


# --- what is remembered ------------------------------------------------------------------------


def test_it_is_kept_with_the_series_and_shown(tmp_path: Path, store: Path) -> None:
    load(file(tmp_path, BARS, factor=1000, zone="Asia/Kolkata"), price_scale=1000.0, tz="Asia/Kolkata")
    origin = origin_of("EURUSD", "1h")
    assert origin == Origin(tz="Asia/Kolkata", price_scale=1000.0)
    assert BarSeries.objects.get().quality["origin"]["words"] == ["times read as Asia/Kolkata", "prices divided by 1,000"]
    out = StringIO()
    call_command("data", "EURUSD", "1h", stdout=out, no_color=True)
    assert "read with: times read as Asia/Kolkata; prices divided by 1,000" in out.getvalue()
    store_frame("EURUSD", "1h", read_bars(store, "EURUSD", "1h"), source="again", calendar="XNYS")
    assert origin_of("EURUSD", "1h") == Origin("XNYS", "Asia/Kolkata", 1000.0)


def test_bars_that_were_adjusted_and_such_that_were_not_say_so(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    days = make_bars(200, "1d", 3, start="2024-01-01")
    days.assign(**{"Adj Close": days["close"] * 0.5}).to_csv(path, date_format="%Y-%m-%d")
    load(path, "1d", adjust=True)
    assert origin_of("EURUSD", "1d") == Origin(adjusted=True)
    said = fails(path, "1d")
    assert "have other values" in said and "the new prices are not adjusted, the stored ones were (--adjust)" in said


def test_an_upload_is_told_the_same(tmp_path: Path) -> None:
    from django.contrib.auth import get_user_model
    from django.core.files.uploadedfile import SimpleUploadedFile

    from training.bars.upload_jobs import inspect_upload
    from training.jobs import uploads

    load(file(tmp_path, BARS, factor=1000), price_scale=1000.0)
    user = get_user_model().objects.create_user("uploader")

    def told(path: Path, **options: Any) -> dict[str, Any]:
        (kept,), _ = uploads.store(SimpleUploadedFile("EURUSD_1h.csv", path.read_bytes()), user.pk)
        return inspect_upload(uploads.change(kept, {"symbol": "EURUSD", "timeframe": "1h", **options}).key)

    whole = told(file(tmp_path, BARS, factor=1000))
    assert whole["problem"] == "" and "give --price-scale 1000, as last time" in whole["conflict"]  # which may replace all
    assert "give --price-scale 1000, as last time" in told(file(tmp_path, BARS.iloc[50:], factor=1000))["problem"]
    assert "5 h later" in told(file(tmp_path, BARS.iloc[50:], factor=1000, hours=5), price_scale=1000)["problem"]
    weeks = bar_frame(bar_times(BARS)[0] + np.arange(100, dtype=np.int64) * 168 * HOUR, bar_values(BARS)[:, :100].copy())
    assert "the bars are 7 d apart, not 1 h; load them as 1w" in told(file(tmp_path, weeks), symbol="NEW")["problem"]
    assert told(file(tmp_path, weeks), symbol="NEW", timeframe_is_right=True)["problem"] == ""
