"""What a page still says after the state it told of is gone: signed out, ended, refused, past the last bar."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from strategies_app.starters import samples
from tests.browser.conftest import Site
from tests.examples.homes import until

#: One process of a parallel run takes them all: they share one running system.
pytestmark = pytest.mark.xdist_group("browser: pages")

Train = Callable[..., str]
#: As when Back brings a page that the browser had kept whole.
KEPT_WHOLE = "() => window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))"


def test_back_shows_nothing_of_somebody_who_signed_out(site: Site) -> None:
    page = site.visitor()
    page.goto("account/")
    page.evaluate(KEPT_WHOLE)
    page.wait_for_load_state("networkidle")
    expect(page.get_by_role("heading", name="admin")).to_be_visible()
    page.context.clear_cookies()
    page.evaluate(KEPT_WHOLE)
    page.wait_for_url("**/sign-in/**")
    expect(page.locator("body")).not_to_contain_text("signed in as")


def test_what_ended_has_no_time_left_and_no_older_message(site: Site, train: Train) -> None:
    operation = train("ended")
    page = site.visitor()
    page.goto(f"operations/{operation}/")
    until(lambda: site.home.value(operation, "epoch"), "an epoch")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel training").click()
    expect(page.locator("#status")).to_have_text("cancelled", timeout=30_000)
    expect(page.locator("#doing")).not_to_contain_text("left")
    expect(page.locator("main > .message")).to_have_count(0)


def test_a_name_that_is_taken_is_told_before_and_after_saving(site: Site) -> None:
    stored = site.home.run("strategies", "import", site.home.strategy("taken", 3))
    assert stored.returncode == 0, stored.stderr
    page = site.visitor(breaks=True)  # the browser complains of the refusal's status
    page.goto("strategies/new/?copy=taken")
    expect(page.locator("#verdict")).to_contain_text("Right: taken-2")
    page.locator("#text").fill(samples()["minimal"].text.replace("name: minimal", "name: taken"))
    for _ in range(2):
        expect(page.locator("#verdict")).to_contain_text("1 problem, the first on line 3")
        expect(page.locator("#problems")).to_contain_text("'taken' is stored already: give this one another name")
        expect(page.locator("#preview .preview")).to_contain_text("AAPL")
        page.get_by_role("button", name="Save", exact=True).click()
        page.wait_for_load_state("networkidle")


def test_later_and_earlier_end_where_the_bars_end(site: Site) -> None:
    page = site.visitor()
    page.goto("data/AAPL/1d/")
    expect(page.locator("#candles .main-svg").first).to_be_visible(timeout=20_000)

    def seen() -> list[str]:
        return list(page.evaluate("() => document.getElementById('candles').layout.xaxis.range.map(String)"))

    page.get_by_role("button", name="1 year", exact=True).click()
    until(lambda: seen()[0] > "2011", "the last year")
    for _ in range(3):
        page.get_by_role("button", name="Later").click()
    assert seen()[1] < "2013-06"
    page.get_by_role("button", name="all", exact=True).click()
    until(lambda: seen()[0] < "2001", "all of it")
    for _ in range(3):
        page.get_by_role("button", name="Earlier").click()
    assert seen()[0] > "1999-12"


def test_a_preview_without_an_answer_says_so_and_raises_nothing(site: Site) -> None:
    page = site.visitor(breaks=True)
    page.route("**/previews/", lambda route: route.abort("connectionreset"))
    page.goto("strategies/new/")
    page.locator("#text").fill(samples()["minimal"].text.replace("name: minimal", "name: unseen"))
    expect(page.locator("#verdict")).to_contain_text("Right: unseen")
    expect(page.locator("#preview")).to_contain_text("The preview could not be fetched. The next change tries again.")
    page.unroute_all()
    page.locator("#text").press("End")
    page.locator("#text").press_sequentially(" ")
    expect(page.locator("#preview .preview")).to_contain_text("AAPL")
