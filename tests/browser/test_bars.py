"""Bars in the browser: a file whose columns have no names is read by choosing what each holds, a series is taken along and deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from training.pipeline.synthetic import make_bars

#: One process of a parallel run takes them all: they share one running system.
pytestmark = pytest.mark.xdist_group("browser: live")

WINDOWS = [(1440, "light"), (1440, "dark"), (380, "light"), (380, "dark")]


@pytest.fixture
def bars(running: Site, site: Site) -> Site:
    """The quick worker is at work."""
    running.up.heard(r"^quick +worker ")
    return site


def csv(header: str, count: int = 60, timeframe: str = "1h") -> bytes:
    """Bars below these names: close before open, so that only a choice reads them rightly."""
    frame = make_bars(count, timeframe, seed=5)[["close", "high", "low", "open", "volume"]]
    text = frame.to_csv(header=False, date_format="%Y-%m-%dT%H:%M:%SZ")
    return f"{header}\n{text}".encode()


def sent(site: Site, name: str, content: bytes, **how: object) -> Page:
    page = site.visitor(**how)  # type: ignore[arg-type]
    page.goto("data/upload/")
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "text/csv", "buffer": content})
    page.get_by_role("button", name="Look at it").click()
    expect(page.locator("#preview .skeleton")).to_have_count(0)
    return page


def is_readable(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out to the side"
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa"]}})
    assert found.violations_count == 0, found.generate_report()


def test_columns_without_meaning_are_given_one_below_their_names(bars: Site) -> None:
    page = sent(bars, "COIN_1h.csv", csv("when,final,top,bottom,first,amount"))
    columns = page.get_by_label("What column")
    expect(columns).to_have_count(6)
    for number, meaning in enumerate(("timestamp", "close", "high", "low", "open", "volume")):
        columns.nth(number).select_option(meaning)
    page.get_by_role("region", name="First rows").locator("xpath=..").get_by_role("button", name="Read it this way").click()
    expect(page.get_by_role("button", name="Store as COIN 1h")).to_be_visible()
    expect(page.locator("body")).to_contain_text("The bars are 1 h apart, as the file's name says.")
    page.get_by_text("The same on the command line").click()
    expect(page.locator("code", has_text="--columns")).to_contain_text("timestamp,close,high,low,open,volume")
    page.get_by_role("button", name="Store as COIN 1h").click()
    expect(page.get_by_role("heading", name="COIN 1h")).to_be_visible()
    expect(page.locator("body")).to_contain_text("60 bars added")


def test_the_timeframe_is_proposed_from_the_times(bars: Site) -> None:
    page = sent(bars, "prices.csv", csv("date,close,high,low,open,volume"))
    expect(page.locator("select[name=timeframe]")).to_have_value("1h")
    expect(page.locator("#timeframe-field")).to_contain_text("Proposed from the times in the file")
    page = sent(bars, "PRICES_4h.csv", csv("date,close,high,low,open,volume"))
    expect(page.locator("#preview")).to_contain_text("The bars are 1 h apart, not 4 h")
    page.get_by_role("button", name="Read it as 1h").click()
    expect(page.get_by_role("button", name="Store as PRICES 1h")).to_be_visible()


def test_a_series_is_taken_along_and_deleted_after_one_question(bars: Site, tmp_path: Path) -> None:
    page = sent(bars, "GONE_1h.csv", csv("date,close,high,low,open,volume"))
    page.get_by_role("button", name="Store as GONE 1h").click()
    with page.expect_download() as told:
        page.get_by_role("link", name="Download CSV").click()
    told.value.save_as(tmp_path / "GONE_1h.csv")
    assert told.value.suggested_filename == "GONE_1h.csv" and len((tmp_path / "GONE_1h.csv").read_text().splitlines()) == 61
    page.get_by_role("button", name="Delete", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("trained models stay")
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Delete", exact=True).click()
    dialog.get_by_role("button", name="Delete 60 bars").click()
    expect(page.get_by_text("GONE 1h is deleted")).to_be_visible()
    assert page.goto("data/GONE/1h/").status == 404  # type: ignore[union-attr]
    bars.complaints.clear()  # the browser's word about the page that is not there


@pytest.mark.parametrize(("width", "theme"), WINDOWS)
def test_the_pages_fit_and_can_be_read_by_everyone(bars: Site, width: int, theme: str) -> None:
    """Also with more columns than fit, long names, and all that can be said of a file open."""
    header = "when,the last price of the hour,top,bottom,first,amount,extra one,extra two"
    content = b"\n".join(line + b",1,2" if number else line for number, line in enumerate(csv(header).splitlines()))
    page = sent(bars, "a-name-that-is-longer-than-others-of-files_1h.csv", content, width=width, theme=theme)
    page.get_by_text("Dates, numbers, encoding").click()
    bars.picture(page, f"upload-columns-{width}-{theme}")
    is_readable(page)
    page = sent(bars, "PICTURE_1h.csv", csv("date,close,high,low,open,volume"), width=width, theme=theme)
    bars.picture(page, f"upload-{width}-{theme}")
    is_readable(page)
    page.goto("data/AAPL/1d/")
    expect(page.locator("#candles-told")).to_contain_text("bars", timeout=30_000)
    bars.picture(page, f"series-{width}-{theme}")
    is_readable(page)
    page.get_by_role("button", name="Delete", exact=True).click()
    bars.picture(page, f"series-delete-{width}-{theme}")
    is_readable(page)
    page.goto("data/upload/")
    bars.picture(page, f"upload-files-{width}-{theme}")
    is_readable(page)
