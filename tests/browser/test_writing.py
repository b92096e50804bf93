"""Writing a strategy and starting a training in the browser: by mouse, by keys alone, in two windows at once, narrow and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from strategies_app.starters import samples
from tests.browser.conftest import Site
from tests.examples.homes import STRATEGY

#: One process of a parallel run takes them all: they share one running system.
pytestmark = pytest.mark.xdist_group("browser: live")

LONG = f"l{'o' * 97}ng"
MINIMAL = samples()["minimal"].text


@pytest.fixture(scope="module")
def strategies(running: Site) -> None:
    """The quick worker is at work, and two strategies are stored: one of a plain name and one of the longest."""
    running.up.heard(r"^quick +worker ")
    paths = [running.home.strategy("written", 3), str(running.home.folder / "long.yaml")]
    Path(paths[1]).write_text(STRATEGY.format(name=LONG, epochs=3, batch_size=128))
    assert running.home.run("strategies", "import", *paths).returncode == 0


@pytest.fixture
def stored(strategies: None, site: Site) -> Site:
    return site


def editor(site: Site, address: str, **how: bool | int | str) -> Page:
    page = site.visitor(**how)  # type: ignore[arg-type]
    page.goto(address)
    expect(page.locator("#verdict")).not_to_have_text("Checked while you write")
    return page


def new(site: Site, name: str) -> Page:
    page = editor(site, "strategies/new/")
    page.locator("#text").fill(MINIMAL.replace("name: minimal", f"name: {name}"))
    expect(page.locator("#verdict")).to_contain_text(f"Right: {name}")
    return page


def selected(page: Page) -> str:
    return str(page.evaluate("(t => t.value.slice(t.selectionStart, t.selectionEnd))(document.getElementById('text'))"))


def test_from_a_sample_to_a_running_training_in_three_clicks(stored: Site) -> None:
    page = stored.visitor()
    page.goto("strategies/")
    page.get_by_text("Start from a sample").click()
    page.get_by_role("button", name="Use the sample minimal").click()
    page.get_by_role("link", name="Train", exact=True).click()
    expect(page.locator("#planned")).to_contain_text("mlp, 115 parameters, 3 features, 3 classes")
    page.get_by_role("button", name="Start", exact=True).first.click()
    page.wait_for_url(re.compile(r"/operations/op_training_"))
    expect(page.locator("h1 .pill")).to_have_text("completed", timeout=60_000)


def test_the_plan_follows_what_is_chosen_and_marks_what_is_wrong(stored: Site) -> None:
    page = stored.visitor()
    page.goto("train/?strategy=written")
    rows = page.locator("#planned .rows").first
    expect(rows).to_contain_text("train")
    before = rows.inner_text()
    page.get_by_label("IBM").check()
    expect(page.locator("#plan")).to_contain_text("IBM 1d")
    expect(rows).not_to_have_text(before)
    page.get_by_label("First day").fill("2015-01-01")
    expect(page.get_by_label("First day")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[data-for=start]")).to_contain_text("is after the end 2010-12-31")
    page.get_by_label("First day").fill("2004-01-01")
    expect(page.locator("[data-for=start]")).to_be_empty()
    expect(page.get_by_label("First day")).to_have_attribute("aria-invalid", "false")
    page.get_by_label("Strategy").focus()
    page.get_by_label("Strategy").select_option("minimal" if page.locator("option[value=minimal]").count() else "sample:minimal")
    expect(page.get_by_label("First day")).to_have_value("2000-03-01")
    expect(page.locator("#strategy")).to_be_focused()


def test_problems_are_told_while_typing_and_a_click_goes_there(stored: Site) -> None:
    page = editor(stored, "strategies/written/edit/")
    text = page.locator("#text")
    text.fill(text.input_value().replace("type: rsi", "type: rsl").replace("epochs: 3", "epochs: many"))
    expect(page.locator("#verdict")).to_contain_text("2 problems")
    expect(page.locator("#problems button")).to_have_count(2)
    expect(page.locator(".gutter .bad")).to_have_count(2)
    expect(text).to_have_attribute("aria-invalid", "true")
    page.locator("#problems button").nth(1).click()
    assert selected(page) == "many"
    text.press("Home")
    text.press("Alt+n")
    assert "rsl" in selected(page), "after the last comes the first"


def test_pieces_build_a_right_text_from_nothing(stored: Site) -> None:
    page = editor(stored, "strategies/new/")
    page.locator("#text").fill(
        "name: pieces\ntraining_data:\n  symbols: {mode: single, symbol: AAPL}\n  timeframes: {mode: single, timeframe: 1d}\n"
    )
    for piece in ("Indicators/rsi", "Indicators/roc", "Fuzzy sets/with a gaussian membership", "Inputs/fuzzy set", "Models/mlp",
                  "Labels/context", "Labels/zigzag", "Indicators/rsi"):  # fmt: skip
        page.locator("#snippet").select_option(piece)
    expect(page.locator("#verdict")).to_contain_text("Right: pieces, 1 features, label zigzag")
    text = page.locator("#text").input_value()
    assert text.count("labels:") == 1 and "rsi_14_2: " in text and "indicator: roc_10" in text


def test_keys_alone_reach_and_leave_the_text(stored: Site) -> None:
    page = editor(stored, "strategies/written/edit/")
    text = page.locator("#text")
    whole = text.input_value()
    text.focus()
    page.keyboard.press("Control+Home")
    page.keyboard.press("Tab")
    assert text.input_value() == f"  {whole}"
    page.keyboard.press("Control+z")
    assert text.input_value() == whole
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(text).not_to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(text).not_to_be_focused()


def test_a_draft_survives_a_reload_and_ends_with_saving(stored: Site) -> None:
    page = new(stored, "drafted")
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.reload()
    assert asked == ["beforeunload"]
    expect(page.locator("#kept")).to_contain_text("Your unsaved text was kept.")
    expect(page.locator("#text")).to_have_value(re.compile("name: drafted"))
    page.locator("#save").click()
    page.wait_for_url(re.compile(r"/strategies/drafted/$"))
    assert asked == ["beforeunload"], "saving is no leaving"
    page.goto("strategies/new/")
    expect(page.locator("#text")).to_have_value("")
    page.goto("strategies/drafted/edit/")
    page.locator("#text").press("Control+End")
    page.keyboard.type("# more")
    page.reload()
    page.get_by_role("button", name="Discard it").click()
    expect(page.locator("#text")).not_to_have_value(re.compile("# more"))


def test_of_two_windows_the_second_is_told_and_loses_nothing(stored: Site) -> None:
    new(stored, "shared").locator("#save").click()
    one, two = (editor(stored, "strategies/shared/edit/", breaks=True) for _ in range(2))
    for page, words in ((one, "# the first"), (two, "# the second")):
        page.locator("#text").press("Control+End")
        page.keyboard.type(words)
    one.locator("#save").click()
    one.wait_for_url(re.compile(r"/strategies/shared/$"))
    two.locator("#save").click()
    expect(two.get_by_role("alert")).to_contain_text("Version 2 was stored while you were editing")
    expect(two.locator("#text")).to_have_value(re.compile("# the second"))
    two.locator("#save").click()
    expect(two.locator(".message")).to_have_text("Stored as version 3.")


def test_the_preview_follows_text_and_symbol(stored: Site) -> None:
    page = editor(stored, "strategies/written/edit/")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("AAPL, 2,000 1d bars")
    expect(page.locator("#preview .chart .main-svg").first).to_be_visible()
    page.locator("#symbol").select_option("IBM")
    expect(preview).to_contain_text("IBM, 2,000 1d bars")
    text = page.locator("#text")
    text.fill(
        text.input_value()
        .replace("high: [50, 70, 100]", "high: [99, 99, 100]")
        .replace("middle: [30, 50, 70]", "middle: [40, 41, 42]")
    )
    expect(preview).to_contain_text("no membership fires on")
    text.fill(text.input_value() + "wrong")
    expect(page.locator("#preview-note")).to_have_text("of the text before")


PLACES = {
    "strategies": "strategies/", "strategy": "strategies/written/", "editor": "strategies/written/edit/", "new": "strategies/new/",
    "start": "train/?strategy=written", "long-name": f"strategies/{LONG}/",
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (380, "dark")])
def test_pages_fit_and_can_be_read_by_everyone(stored: Site, place: str, width: int, theme: str) -> None:
    page = stored.visitor(width=width, theme=theme)
    page.goto(PLACES[place])
    page.wait_for_load_state("networkidle")
    stored.picture(page, f"{place}-{width}-{theme}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
    assert found.violations_count == 0, found.generate_report()
