"""What is pressed keeps its place and what is said keeps up: the live page's buttons and device, Start on a narrow window."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Site

pytestmark = pytest.mark.xdist_group("browser: live")

#: The page's relative times as they will read after so many seconds; gives where Cancel lies then.
PLACE = """(seconds) => {
  for (const time of document.querySelectorAll("time.ago")) time.dateTime = new Date(Date.now() - seconds * 1000).toISOString();
  ktrdr.tellTimes(document);
  const box = [...document.querySelectorAll(".head .actions button")].find((e) => e.textContent.trim() === "Cancel").getBoundingClientRect();
  return [Math.round(box.left), Math.round(box.top)];
}"""


@pytest.mark.parametrize("width", [1440, 1000, 380])
def test_cancel_stays_where_it_is_while_time_goes_by(site: Site, train: Callable[..., str], width: int) -> None:
    operation = train(f"still-{width}")
    page = site.visitor(width=width)
    page.goto(f"operations/{operation}/")
    expect(page.locator(".head .actions").get_by_role("button", name="Cancel", exact=True)).to_be_visible()
    places = {tuple(page.evaluate(PLACE, seconds)) for seconds in (1, 7, 59, 61, 599, 3599, 4000, 50_000, 90_000, 300_000)}
    assert len(places) == 1, places
    assert page.locator("time.ago").first.inner_text() == "3 days ago"
    page.evaluate(PLACE, 90_000)
    assert page.locator("time.ago").first.inner_text() == "1 day ago"


def test_the_device_is_there_without_a_reload(site: Site, train: Callable[..., str]) -> None:
    first = train("holds-the-worker")
    second = train("waits-for-it")
    page = site.visitor()
    page.goto(f"operations/{second}/")
    device = page.locator('[data-tile="device"]')
    expect(device).to_have_text("–")
    page.evaluate("() => { window.same = true; }")
    site.home.run("operations", "cancel", first)
    expect(device).to_have_text("cpu", timeout=60_000)
    assert page.evaluate("() => window.same"), "the page was not loaded anew"


def test_start_is_in_sight_on_a_narrow_window_however_long_the_plan_is(site: Site) -> None:
    page = site.visitor(width=380)
    page.goto("train/?sample=minimal")
    page.locator("#plan-body").wait_for()
    start = page.get_by_role("button", name="Start", exact=True)
    for place in (0, 600, 1_500):
        page.evaluate("(top) => window.scrollTo(0, top)", place)
        assert start.evaluate("(e) => { const b = e.getBoundingClientRect(); return b.top >= 0 && b.bottom <= innerHeight; }"), (
            place
        )
