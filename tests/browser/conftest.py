"""A real browser in front of a real system: `up` with its web server, Redis and workers, and Chromium through Playwright."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.examples.homes import Home, empty_home, made_home
from tests.examples.ups import Up

#: Pictures of pages for people to look at; git does not keep them.
PICTURES = Path(__file__).resolve().parents[2] / "var" / "pictures"
CHROMIUM = os.environ.get("CHROMIUM_BIN") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
#: Said by the browser about what a test breaks on purpose.
EXPECTED_WHEN_BROKEN = re.compile(
    r"WebSocket|htmx:|ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_NETWORK|Failed to load resource|ERR_INTERNET"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM:
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="no Chromium: apt-get install chromium, or set CHROMIUM_BIN"))


@dataclass
class Site:
    """A running system with sample bars, and ways into it."""

    home: Home
    up: Up
    browser: Browser
    state: Any = None
    contexts: list[BrowserContext] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    takes_pictures: bool = False

    def visitor(self, *, width: int = 1440, theme: Any = "light", signed_in: bool = True, breaks: bool = False) -> Page:
        """A new browser window; what its console complains of fails the test, unless the test breaks things itself."""
        context = self.browser.new_context(
            base_url=self.up.address, viewport={"width": width, "height": 900}, color_scheme=theme,
            storage_state=self.state if signed_in else None, reduced_motion="reduce",
        )  # fmt: skip
        context.set_default_timeout(20_000)
        self.contexts.append(context)
        page = context.new_page()

        def hear(kind: str, text: str) -> None:
            if not (breaks and EXPECTED_WHEN_BROKEN.search(text)):
                self.complaints.append(f"{page.url}: {kind}: {text}")

        page.on("console", lambda message: hear(message.type, message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: hear("exception", str(error)))
        return page

    def sign_in(self) -> None:
        page = self.visitor(signed_in=False)
        page.goto("sign-in/")
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill(self.up.password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(self.up.address)
        self.state = page.context.storage_state()

    def picture(self, page: Page, name: str) -> None:
        """For people to look at, with `--pictures`."""
        if not self.takes_pictures:
            return
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURES / f"{name}.png", full_page=True)

    def close(self) -> None:
        for context in self.contexts:
            context.close()
        self.contexts.clear()


@pytest.fixture(scope="package")
def running(request: pytest.FixtureRequest) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder, sync_playwright() as playwright:
        home = made_home(Path(folder))
        up = Up(home)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        site = Site(home, up, browser, takes_pictures=request.config.getoption("--pictures"))
        site.sign_in()
        yield site
        site.close()
        browser.close()
        if up.process.poll() is None:
            up.stop()


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """The running system for one test: its windows are closed at the end, and no console may have complained."""
    running.complaints.clear()
    yield running
    running.close()
    assert running.complaints == []


@pytest.fixture
def train(site: Site) -> Iterator[Callable[..., str]]:
    """Start a training by command; gives the operation. Thousands of epochs last long enough to be disturbed.

    What still trains at the end is cancelled: the next test's training waits for the same worker.
    """
    started: list[str] = []

    def start(name: str, epochs: int = 5000, batch_size: int = 32) -> str:
        from tests.examples.homes import operation_in

        done = site.home.run("train", site.home.strategy(name, epochs, batch_size))
        assert done.returncode == 0, done.stdout + done.stderr
        started.append(operation_in(done.stdout))
        return started[-1]

    yield start
    for operation in started:
        if site.home.value(operation, "status") in ("pending", "running"):
            site.home.run("operations", "cancel", operation)


def _empty(playwright_browser: Browser, folder: str, *, takes_pictures: bool) -> Site:
    home = empty_home(Path(folder))
    site = Site(home, Up(home), playwright_browser, takes_pictures=takes_pictures)
    site.sign_in()
    return site


@pytest.fixture(scope="package")
def _nothing(running: Site) -> Iterator[Site]:
    """A system in which nobody has done anything."""
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder:
        site = _empty(running.browser, folder, takes_pictures=running.takes_pictures)
        yield site
        site.close()
        site.up.stop()


@pytest.fixture
def fresh_site(_nothing: Site) -> Iterator[Site]:
    _nothing.complaints.clear()
    yield _nothing
    _nothing.close()
    assert _nothing.complaints == []


@pytest.fixture
def empty_site(running: Site) -> Iterator[Site]:
    """The same, for one test that changes it."""
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder:
        site = _empty(running.browser, folder, takes_pictures=running.takes_pictures)
        yield site
        site.close()
        site.up.stop()
        assert site.complaints == []
