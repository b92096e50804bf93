"""The list of strategies and the page of one: what was used last, how it did, which texts it had and how they differ."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from strategies_app.models import Strategy, StrategyVersion
from strategies_app.starters import samples
from tests.examples import admin_rows
from tests.examples.api import TEXT, Examples, start
from tests.examples.homes import STRATEGY
from tests.examples.strategy_texts import changed
from training.models import AuditEntry

LIST, NEW = "/strategies/", "/strategies/new/"


def text(name: str, epochs: int = 2) -> str:
    return STRATEGY.format(name=name, epochs=epochs, batch_size=128)


def test_the_list_tells_version_symbols_runs_and_the_last_result(examples: Examples) -> None:
    Strategy.objects.import_text(text("stored", 9))
    page = examples.signed_in("viewer").get(LIST).content.decode()
    assert '<a href="/strategies/stored/">stored</a>' in page
    assert "AAPL" in page and ">2 <span" in page
    assert '<td class="number">4</td>' in page, "four operations"
    assert "60.0%" in page and "of test labels right; always HOLD 40.0%" in page


def test_the_filter_finds_names_and_words_of_the_newest_text(examples: Examples) -> None:
    Strategy.objects.import_text(changed("AAPL", "GBPUSD", text("pound")))
    viewer = examples.signed_in("viewer")

    def names(words: str) -> list[str]:
        rows = viewer.get(LIST, {"q": words}, headers={"HX-Request": "true", "HX-Target": "strategies"})
        assert b"<html" not in rows.content, "a part of the page"
        return [row.name for row in rows.context["found"]]

    assert names("GBP") == ["pound"] == names("poun")
    assert sorted(names("")) == ["pound", "stored"]
    assert names("nothing like it") == []


def test_an_empty_list_offers_the_samples_and_one_click_stores_one(examples: Examples) -> None:
    admin_rows.clear()
    trainer = examples.signed_in("trainer")
    page = trainer.get(LIST).content.decode()
    assert "Start from a sample" in page
    assert all(f'value="{name}"' in page for name in samples())
    answer = trainer.post("/strategies/new/samples/", {"name": "minimal"})
    assert answer.headers["Location"] == "/strategies/minimal/"
    assert Strategy.objects.get().newest().text == samples()["minimal"].text  # type: ignore[union-attr]
    trainer.post("/strategies/new/samples/", {"name": "minimal"})
    assert Strategy.objects.get().versions.count() == 1
    assert trainer.post("/strategies/new/samples/", {"name": "../../settings"}).status_code == 404
    entry = AuditEntry.objects.get(action="save")
    assert (entry.target, entry.details["via"]) == ("minimal", "web")


def test_an_empty_list_tells_a_viewer_who_can_change_that(examples: Examples) -> None:
    admin_rows.clear()
    page = examples.signed_in("viewer").get(LIST).content.decode()
    assert "No strategy is stored yet" in page and "Use it" not in page and "New strategy" not in page


def test_the_page_compares_any_two_versions(examples: Examples) -> None:
    for epochs in (3, 4, 5):
        Strategy.objects.import_text(text("stored", epochs))
    viewer = examples.signed_in("viewer")
    page = viewer.get("/strategies/stored/")
    assert [(line.kind, line.text) for line in page.context["difference"] if line.kind in ("added", "removed")] == [
        ("removed", "-  epochs: 4"),
        ("added", "+  epochs: 5"),
    ]
    chosen = viewer.get("/strategies/stored/", {"before": 1, "after": 3})
    assert "-  epochs: 2" in chosen.content.decode() and "+  epochs: 4" in chosen.content.decode()
    assert "1 line added, 1 removed" in chosen.content.decode()
    same = viewer.get("/strategies/stored/", {"before": 2, "after": 2}).content.decode()
    assert "The same text, line ends aside." in same
    old = viewer.get("/strategies/stored/", {"version": 2})
    assert old.context["shown"].number == 2 and "Text of version 2" in old.content.decode()
    for wrong in ("99", "-1", "x", "9" * 30, "\N{ARABIC-INDIC DIGIT TWO}9"):
        assert viewer.get("/strategies/stored/", {"version": wrong}).status_code == 404


def test_a_version_is_downloaded_byte_for_byte(examples: Examples) -> None:
    exact = "# Zoë's\r\n" + text("windows")
    Strategy.objects.import_text(exact)
    answer = examples.signed_in("viewer").get("/strategies/windows/versions/1/download/")
    assert answer.content == exact.encode()
    assert answer.headers["Content-Disposition"] == 'attachment; filename="windows-1.yaml"'


def test_the_page_shows_its_operations_and_where_a_version_came_from(examples: Examples) -> None:
    Strategy.objects.import_text(text("stored", 7), "/home/trader/stored.yaml")
    page = examples.signed_in("viewer").get("/strategies/stored/").content.decode()
    assert examples.own.pk in page and examples.completed.pk in page
    assert "/home/trader/stored.yaml" in page and "written here" in page
    assert "60.0%" in page


def test_a_viewer_sees_no_buttons_and_may_not_write(examples: Examples) -> None:
    viewer = examples.signed_in("viewer")
    for address in (LIST, "/strategies/stored/"):
        page = viewer.get(address).content.decode()
        assert "/edit/" not in page and NEW not in page and "/train/" not in page, address
    for address in (NEW, "/strategies/stored/edit/"):
        assert viewer.get(address).status_code == 403
        assert viewer.post(address, {"text": TEXT, "base": 1}).status_code == 403
    assert viewer.post("/strategies/new/samples/", {"name": "minimal"}).status_code == 403


@pytest.mark.parametrize(
    "address", [LIST, NEW, "/strategies/stored/", "/strategies/stored/edit/", "/strategies/stored/versions/1/download/"]
)
def test_who_is_not_signed_in_is_asked_to_and_who_has_no_role_is_refused(examples: Examples, address: str) -> None:
    answer = Client().get(address)
    assert answer.status_code == 302 and answer.headers["Location"].startswith(reverse("site:sign-in"))
    assert examples.signed_in("nobody").get(address).status_code == 403


def test_what_is_not_there_is_a_page_of_its_own(examples: Examples) -> None:
    viewer = examples.signed_in("viewer")
    for address in ("/strategies/none/", "/strategies/stored/versions/9/download/", "/strategies/<script>/"):
        assert viewer.get(address).status_code == 404


def test_no_text_becomes_markup(examples: Examples) -> None:
    attack = '"</textarea></pre><script>alert(1)</script>"'
    Strategy.objects.import_text(
        f"description: {attack}\nhypothesis: {attack}\n# <img src=x onerror=alert(1)>" + text("attack"), attack
    )
    Strategy.objects.import_text(f"description: {attack}" + text("attack"), attack)
    trainer = examples.signed_in("trainer")
    for address in (LIST, f"{LIST}?q={attack}", "/strategies/attack/", "/strategies/attack/edit/", "/train/?strategy=attack"):
        page = trainer.get(address).content.decode()
        assert "<script>alert" not in page and "<img src=x" not in page, address


def test_five_hundred_strategies_are_shown_in_pages_by_few_queries(
    examples: Examples, django_assert_max_num_queries: Any
) -> None:
    rows = Strategy.objects.bulk_create(Strategy(name=f"s{number}") for number in range(500))
    versions = [StrategyVersion(strategy=row, number=1, text=text(row.name), sha256="0" * 64) for row in rows]
    for version in StrategyVersion.objects.bulk_create(versions)[::50]:
        start(version, examples.users["trainer"])
    viewer = examples.signed_in("viewer")
    with django_assert_max_num_queries(15):
        page = viewer.get(LIST)
    assert len(page.context["found"]) == 50 and page.context["found"].paginator.count == 501
    with django_assert_max_num_queries(15):
        last = viewer.get(LIST, {"page": "11"})
    assert len(last.context["found"]) == 1
    with django_assert_max_num_queries(15):
        viewer.get("/strategies/s1/")
