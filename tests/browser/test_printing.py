"""A report on paper: every picture is drawn, nothing is cut at an edge, what is folded is open; then the page is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import CHROMIUM
from tests.examples.api import Examples
from tests.examples.results import completed, text_of

pytestmark = pytest.mark.django_db
#: What is wider than its place, among all that a report shows.
CUT = """() => [...document.querySelectorAll("main .scroll, main pre, main table, main .chart, main p")]
  .filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== "visible"
    || e.getBoundingClientRect().right > document.querySelector("main").getBoundingClientRect().right + 1)
  .map((e) => e.outerHTML.slice(0, 120))"""
DRAWN = """() => [...document.querySelectorAll(".chart[data-figure]")].map((e) => Boolean(e.querySelector(".main-svg")))"""


@pytest.fixture
def report(examples: Examples, tmp_path: Path) -> Path:
    operation = completed(text_of("printed"), user=examples.users["trainer"])
    path = tmp_path / "report.html"
    path.write_bytes(examples.signed_in("viewer").get(f"/operations/{operation.pk}/report/").content)
    return path


@pytest.fixture
def page(report: Path) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="dark")
        page.goto(report.as_uri())
        yield page
        browser.close()


def test_a_report_is_whole_on_paper_and_then_as_it_was(page: Page, tmp_path: Path) -> None:
    folded: int = page.evaluate("() => document.querySelectorAll('details:not([open])').length")
    page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    drawn: list[bool] = page.evaluate(DRAWN)
    assert len(drawn) >= 5 and all(drawn), "at once: printing does not wait"
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})
    assert page.evaluate(CUT) == []
    assert page.evaluate("() => document.querySelectorAll('details:not([open])').length") == 0 < folded
    ground: Any = page.evaluate("() => getComputedStyle(document.documentElement).getPropertyValue('--text').trim()")
    assert ground == "#141a21", "dark on white, whatever the screen is"
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("() => document.querySelectorAll('details:not([open])').length") == folded
    assert not page.evaluate("() => document.documentElement.className.includes('printing')")


def test_the_browser_prints_pages_of_it(page: Page, tmp_path: Path) -> None:
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert all(page.evaluate(DRAWN)), "the browser itself told that it prints"
    assert (tmp_path / "report.pdf").read_bytes().count(b"/Type /Page\n") >= 3
