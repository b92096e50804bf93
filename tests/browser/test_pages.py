"""Every page in a real browser: no complaint in the console, nothing wider than the window, accessible, in both themes; and the first run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.examples.homes import operation_in, unmounted, until

#: One process of a parallel run takes them all: they share one running system.
pytestmark = pytest.mark.xdist_group("browser: pages")

#: Name of the page → its address; {done} is a completed operation, {stopped} a cancelled one.
PAGES = {
    "home": "", "strategies": "strategies/", "strategy": "strategies/{name}/", "strategy-new": "strategies/new/",
    "strategy-edit": "strategies/{name}/edit/", "train": "train/?strategy={name}", "operations": "operations/",
    "operations-none": "operations/?q=nothing-like-it", "result": "operations/{done}/", "stopped": "operations/{stopped}/",
    "compare": "compare/", "compare-two": "compare/?runs={done},{second}", "models": "models/", "model": "models/{model}/",
    "data": "data/", "series": "data/AAPL/1d/", "upload": "data/upload/", "workers": "workers/", "tokens": "tokens/",
    "account": "account/", "not-found": "operations/op_none/",
}  # fmt: skip
LOOKS = [(1440, "light"), (380, "dark")]
WHOLE: dict[str, Any] = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
#: All in which another theme and width can differ for who cannot see well.
CONTRAST: dict[str, Any] = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}


@pytest.fixture(scope="package")
def places(running: Site) -> dict[str, str]:
    """Two completed trainings, one of them of a name as long as names may be, and a cancelled one."""
    home, name = running.home, "n" + "_a_name_as_long_as_it_may_be" * 3
    trained = [home.run("train", home.strategy(each, 6), "--inline") for each in (name, "second")]
    assert all(done.returncode == 0 for done in trained), trained[0].stderr
    stopped = operation_in(home.run("train", home.strategy("stopped", 5000)).stdout)
    until(lambda: home.value(stopped, "epoch"), "an epoch")
    home.run("operations", "cancel", stopped)
    until(lambda: home.value(stopped, "status") == "cancelled", "its end")
    first, second = (operation_in(done.stdout + done.stderr) for done in trained)
    return {"name": name, "done": first, "second": second, "stopped": stopped, "model": f"{name}-1"}


#: Pictures are drawn when they come into sight.
DRAWN = """() => {
    document.querySelector('.chart:empty')?.scrollIntoView();
    if (document.readyState !== 'complete' || document.querySelector('.htmx-request')) return false;
    return ![...document.querySelectorAll('.chart:empty, .skeleton')].some(part => part.checkVisibility());
}"""


def settled(page: Page) -> None:
    """Nothing is asked for any more, and what is drawn is drawn."""
    page.wait_for_function(DRAWN, timeout=60_000)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_window_and_is_accessible_in_both_themes(site: Site, places: dict[str, str], name: str) -> None:
    for width, theme in LOOKS:
        page = site.visitor(width=width, theme=theme, breaks=name == "not-found")
        page.goto(PAGES[name].format(**places))
        try:
            settled(page)
        finally:
            page.evaluate("() => window.scrollTo(0, 0)")
            site.picture(page, f"{name}-{width}-{theme}")
        wider = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{width} px, {theme}: {wider} px wider than the window"
        found = Axe().run(page, options=WHOLE if (width, theme) == LOOKS[0] else CONTRAST).response["violations"]
        assert not found, f"{width} px, {theme}: " + json.dumps(
            [(v["id"], [(n["html"][:160], n.get("any") and n["any"][0]["message"]) for n in v["nodes"][:3]]) for v in found],
            indent=1,
        )


def test_three_clicks_lead_from_nothing_to_a_running_training(empty_site: Site) -> None:
    page = empty_site.visitor()
    page.goto("")
    empty_site.picture(page, "home-empty-1440-light")
    page.get_by_role("button", name="Use the sample bars").click()
    page.wait_for_url("**/train/**", timeout=60_000)
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/operations/op_training_**")
    expect(page.locator("#status")).to_have_text("completed", timeout=90_000)
    expect(page.locator(".verdict")).to_be_visible()
    empty_site.picture(page, "first-result-1440-light")


@pytest.mark.parametrize("name", ["strategies", "operations", "compare", "models", "data", "workers", "tokens"])
def test_an_empty_page_says_what_to_do(fresh_site: Site, name: str) -> None:
    page = fresh_site.visitor()
    page.goto(PAGES[name])
    fresh_site.picture(page, f"{name}-empty-1440-light")
    assert page.locator("main a.button, main button, main code").count() >= 1


def test_names_become_no_markup_anywhere(site: Site, places: dict[str, str], train: Callable[..., str]) -> None:
    """What people type is stored as it is and shown as text."""
    page = site.visitor()
    page.add_init_script("window.alert = () => { window.struck = true; }")
    nasty = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
    page.goto("tokens/")
    page.locator("#id_name").fill(nasty[:90])
    page.locator("main form button[type=submit]").first.click()
    expect(page.locator("main")).to_contain_text("<img src=x")
    for address in (
        "tokens/",
        f"operations/?q={nasty}",
        f"strategies/?q={nasty}",
        f"models/?q={nasty}",
        f"data/?q={nasty}",
        f"compare/?q={nasty}",
    ):
        page.goto(address)
        assert not page.evaluate("() => Boolean(window.struck)"), address
        assert page.locator("img[src=x]").count() == 0, address


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_a_folder_that_is_not_there_is_said_and_the_page_still_fits(site: Site, width: int, theme: str) -> None:
    page, words = site.visitor(width=width, theme=theme), "The folder of bundles is not there"
    page.goto("models/")
    with unmounted(site.home, "bundles"):
        expect(page.get_by_text(words)).to_be_visible(timeout=30_000)  # the part of the frame that is asked for every 10 s
        page.reload()
        expect(page.get_by_text(words)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert not Axe().run(page, options=WHOLE).response["violations"]
        site.picture(page, f"folder-away-{width}")
        page.goto("admin/")
        expect(page.get_by_text(words)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        site.picture(page, f"folder-away-admin-{width}")
        page.goto("models/")
    expect(page.get_by_text(words)).to_be_hidden(timeout=30_000)
