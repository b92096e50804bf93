"""A running operation in the browser: it moves, it is cancelled and resumed, and it outlives what happens to the wire."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.browser.conftest import Site
from tests.examples.homes import until

#: One process of a parallel run takes them all: they share one running system.
pytestmark = pytest.mark.xdist_group("browser: live")

Train = Callable[..., str]


def opened(site: Site, operation: str, **how: bool | int | str) -> Page:
    page = site.visitor(**how)  # type: ignore[arg-type]
    page.goto(f"operations/{operation}/")
    return page


def epoch_of(page: Page) -> int:
    text = page.locator("[data-tile=epoch]").inner_text()
    return int(text) if text.isdigit() else 0


def points(page: Page) -> int:
    """Epochs that the validation curve shows."""
    return int(page.evaluate("document.getElementById('chart-loss').data?.find(t => t.name === 'validation')?.x.length ?? 0"))


def drawn_epochs(page: Page) -> list[int]:
    """The epochs of the validation curve, as soon as it is drawn."""
    return list(until(
        lambda: page.wait_for_timeout(50) or page.evaluate("document.getElementById('chart-loss').data?.find(t => t.name === 'validation')?.x"),
        "the curve", 20,
    ))  # fmt: skip


def moves(page: Page) -> None:
    """Both what is told and what is drawn go on."""
    seen, drawn = epoch_of(page), points(page)
    until(lambda: page.wait_for_timeout(50) or (epoch_of(page) > seen and points(page) > drawn), "another epoch on the page", 120)


def stop(site: Site, operation: str) -> None:
    site.home.run("operations", "cancel", operation)
    until(lambda: site.home.value(operation, "status") not in ("running", "cancelling"), "the end of the training")


def test_the_curve_grows_and_two_browsers_see_the_same(site: Site, train: Train) -> None:
    operation = train("grows")
    one, other = opened(site, operation), opened(site, operation, width=380, theme="dark")
    moves(one)
    moves(other)
    expect(one.locator("#status")).to_have_text("running")
    stop(site, operation)
    for page in (one, other):
        expect(page.locator("#status")).to_have_text("cancelled")
        page.wait_for_function("() => document.getElementById('chart-loss').data?.length > 1")
    count = int(site.home.value(operation, "epoch")) + 1
    assert points(one) == points(other)
    assert one.locator("[data-tile=epoch]").inner_text() == str(count)


def test_cancel_asks_once_and_resume_continues_on_the_same_axis(site: Site, train: Train) -> None:
    operation = train("stops")
    page = opened(site, operation)
    moves(page)
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("keeps the end of its last completed epoch")
    page.get_by_label("Reason, if you like").fill("<script>alert(1)</script>")
    page.get_by_role("button", name="Cancel training").click()
    expect(page.locator("#status")).to_have_text("cancelled")
    expect(page.locator("#ended")).to_contain_text("<script>alert(1)</script>")
    before = int(site.home.value(operation, "epoch"))
    elsewhere = opened(site, operation, width=380)
    expect(elsewhere.locator("#status")).to_have_text("cancelled")
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Resume training").click()
    expect(page.locator("#status")).to_have_text("running")
    expect(elsewhere.locator("#status")).to_have_text("running", timeout=30_000)
    until(lambda: page.wait_for_timeout(50) or epoch_of(page) > before + 1, "an epoch of the second attempt", 30)
    epochs = drawn_epochs(page)
    assert epochs == sorted(set(epochs)), "an epoch is drawn twice"
    stop(site, operation)


def test_a_dropped_socket_comes_back_by_itself(site: Site, train: Train) -> None:
    operation = train("drops")
    page = site.visitor(breaks=True)
    sockets: list[WebSocketRoute] = []

    def relay(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    page.route_web_socket("**/ws/operations/", relay)
    page.goto(f"operations/{operation}/")
    moves(page)
    sockets[-1].close(code=1011)
    until(lambda: page.wait_for_timeout(50) or len(sockets) > 1, "another socket", 20)
    moves(page)
    epochs = drawn_epochs(page)
    assert epochs == list(range(1, len(epochs) + 1)), "an epoch is missing or doubled"
    stop(site, operation)


def test_without_sockets_the_page_asks_and_says_so(site: Site, train: Train) -> None:
    operation = train("polls")
    page = site.visitor(breaks=True)
    page.route_web_socket("**/ws/operations/", lambda socket: socket.close(code=1011))
    page.goto(f"operations/{operation}/")
    expect(page.locator("#stale")).to_contain_text("asks every two seconds", timeout=20_000)
    drawn = points(page)
    until(lambda: page.wait_for_timeout(50) or points(page) > drawn, "more epochs", 20)
    stop(site, operation)
    expect(page.locator("#status")).to_have_text("cancelled")


def test_a_server_that_is_not_heard_is_said_with_the_time(site: Site, train: Train) -> None:
    operation = train("unheard")
    page = site.visitor(breaks=True)
    page.route_web_socket("**/ws/operations/", lambda socket: socket.close(code=1011))
    page.goto(f"operations/{operation}/")
    expect(page.locator("#stale")).to_contain_text("asks every two seconds", timeout=20_000)
    page.route("**/api/v1/**", lambda route: route.abort())
    expect(page.locator("#stale")).to_contain_text("Nothing was heard from the server since", timeout=20_000)
    site.picture(page, "operation-stale")
    page.unroute("**/api/v1/**")
    expect(page.locator("#stale")).to_contain_text("asks every two seconds", timeout=20_000)


@pytest.mark.parametrize("victim", ["daphne", "redis-server|valkey-server"])
def test_a_server_that_is_killed_and_started_again_loses_nothing(site: Site, train: Train, victim: str) -> None:
    operation = train(f"outlives-{victim[:5]}")
    page = opened(site, operation, breaks=True)
    moves(page)
    next(
        site.up.member(word) for word in victim.split("|") if any(word in " ".join(p.cmdline()) for p in site.up.family())
    ).kill()
    expect(page.locator("#stale")).to_be_hidden(timeout=40_000)
    moves(page)
    epochs = drawn_epochs(page)
    assert epochs == sorted(set(epochs)), "an epoch is drawn twice"
    stop(site, operation)


def test_a_session_that_ends_closes_its_sockets(site: Site, train: Train) -> None:
    operation = train("signs-out")
    page = site.visitor(signed_in=False, breaks=True)
    page.goto("sign-in/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(site.up.password)
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"operations/{operation}/")
    moves(page)
    second = page.context.new_page()
    second.goto("operations/")
    second.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in/**")
    stop(site, operation)


def test_with_the_keyboard_alone_a_training_is_cancelled(site: Site, train: Train) -> None:
    operation = train("keys")
    page = opened(site, operation)
    moves(page)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.dialog") == "ask-cancel":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.evaluate("document.activeElement.dataset.dialog") == "ask-cancel", "focus was lost"
    page.keyboard.press("Enter")
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Cancel training":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("cancelled")
