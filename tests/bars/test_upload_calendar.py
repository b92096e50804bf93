"""The calendar of an uploaded series: chosen beside its file, checked and counted by in the preview, kept with the bars."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from tests.bars.test_upload import examples, preview, send
from tests.examples.api import Examples
from tests.examples.quick_work import worked
from training.bars.series import SAMPLE_BARS
from training.pipeline import calendars
from training.pipeline.bars import read_bars, series_calendar

__all__ = ["examples"]  # a fixture
CLOSED_WEEK = "after 2001-09-10"


def sent(client: Client, calendar: str = "") -> str:
    """The sample's bars of IBM as a file, with this calendar; gives its address."""
    content = read_bars(SAMPLE_BARS, "IBM", "1d").to_csv(date_format="%Y-%m-%d %H:%M:%S")
    address = send(client, content, "IBM_1d.csv")["Location"]
    fields = {"do": "read", "symbol": "IBM", "timeframe": "1d", "tz": "UTC", "price_scale": "1", "calendar": calendar}
    assert client.post(address, fields)["Location"] == address
    return address


def test_it_is_chosen_shown_counted_by_and_kept(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("exchange_calendars")
    client = examples.signed_in("trainer")
    without = preview(client, sent(client), monkeypatch)
    assert CLOSED_WEEK in without and "without a calendar" in without and '<option value="XLON">' in without
    address = sent(client, "XNYS")
    assert 'name="calendar" list="calendars" value="XNYS"' in client.get(address).content.decode()
    seen = preview(client, address, monkeypatch)
    assert "counted by the calendar <b>XNYS</b>" in seen and CLOSED_WEEK not in seen and "Store as IBM 1d" in seen
    with worked(monkeypatch):
        client.post(address, {"do": "load"})
    assert series_calendar(Path(settings.STORE_DIR), "IBM", "1d") == "XNYS"

    kept = sent(client)  # another file without a word about it
    assert "<b>XNYS</b>" in preview(client, kept, monkeypatch)
    taken = sent(client, "none")
    assert "without a calendar" in preview(client, taken, monkeypatch)
    with worked(monkeypatch):
        client.post(kept, {"do": "load"})
        assert series_calendar(Path(settings.STORE_DIR), "IBM", "1d") == "XNYS"
        client.post(taken, {"do": "load"})
    assert series_calendar(Path(settings.STORE_DIR), "IBM", "1d") == ""


def test_an_unknown_one_is_refused_with_the_nearest(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("exchange_calendars")
    client = examples.signed_in("trainer")
    address = sent(client, "XNSY")
    seen = preview(client, address, monkeypatch)
    assert "Unknown calendar &#x27;XNSY&#x27;; did you mean XNYS?" in seen and "Store as" not in seen
    with worked(monkeypatch):
        refused = client.post(address, {"do": "load"}, follow=True).content.decode()
    assert "did you mean XNYS?" in refused and "Nothing was stored" in refused
    assert not list(Path(settings.STORE_DIR).glob("*"))


def test_without_the_package_it_says_how_to_get_it(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == calendars.PACKAGE else find(name, *rest))
    client = examples.signed_in("trainer")
    seen = preview(client, sent(client, "XNYS"), monkeypatch)
    assert (
        "exchange_calendars is not installed: in the folder of KTRDR Train run: pip install -c constraints.txt -e" in seen
        and "Store as" not in seen
    )
    assert "Store as IBM 1d" in preview(client, sent(client), monkeypatch), "without a calendar nothing is missing"
