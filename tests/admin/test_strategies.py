"""Strategies in the admin: a text is checked whole, its save is a new version, and what is in use is not deleted."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from strategies_app.models import Strategy, StrategyVersion
from tests.examples import admin_rows as rows
from training.models import AuditEntry

pytestmark = pytest.mark.django_db
ADD = "admin:strategies_app_strategy_add"


@pytest.fixture
def trainer() -> Client:
    client = Client()
    client.force_login(rows.person("tom", "trainer"))
    return client


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(rows.person("ada", "admin"))
    return client


def page_of(strategy: Strategy, page: str = "change") -> str:
    return reverse(f"admin:strategies_app_strategy_{page}", args=[strategy.pk])


def errors(answer: HttpResponse) -> list[str]:
    """The problems that the form tells; none if it was accepted."""
    assert answer.status_code == 200, answer
    return list(answer.context["adminform"].form.errors["text"])


def test_a_pasted_text_becomes_a_strategy(trainer: Client) -> None:
    answer = trainer.post(reverse(ADD), {"text": rows.text_of("fresh").replace("\n", "\r\n")})
    version = StrategyVersion.objects.get()
    assert answer.status_code == 302 and answer["Location"] == page_of(version.strategy)
    assert (version.strategy.name, version.number, version.text) == ("fresh", 1, rows.text_of("fresh"))
    assert AuditEntry.objects.get(action="save").target == "fresh"
    assert LogEntry.objects.get().object_id == str(version.strategy_id)


def test_a_changed_text_is_the_next_version(trainer: Client) -> None:
    strategy = rows.version("grown").strategy
    answer = trainer.post(page_of(strategy), {"text": rows.text_of("grown", epochs=50)}, follow=True)
    assert [v.number for v in strategy.versions.order_by("number")] == [1, 2]
    assert "stored as version 2" in answer.content.decode()


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_the_same_text_is_no_version(trainer: Client, ends: str) -> None:
    strategy = rows.version("same").strategy
    answer = trainer.post(page_of(strategy), {"text": rows.text_of("same").replace("\n", ends)}, follow=True)
    assert strategy.versions.count() == 1 and "nothing was stored" in answer.content.decode()
    assert not AuditEntry.objects.filter(action="save").exists()


def test_a_text_stored_with_windows_lines_stays_as_it_is(trainer: Client) -> None:
    strategy = Strategy.objects.import_text(rows.text_of("crlf").replace("\n", "\r\n")).strategy
    trainer.post(page_of(strategy), {"text": rows.text_of("crlf").replace("\n", "\r\n")})
    assert strategy.versions.count() == 1


def test_all_problems_are_told_at_once_with_their_lines(trainer: Client) -> None:
    strategy = rows.version("wrong").strategy
    text = rows.text_of("wrong").replace("indicators:", "indicatorz:").replace("epochs: 40", "epochs: many")
    answer = trainer.post(page_of(strategy), {"text": text})
    told = errors(answer)
    line = text.split("\n").index("indicatorz:") + 1
    assert any(problem.startswith(f"line {line}, column 1, indicatorz") and "indicators" in problem for problem in told)
    assert any("training.epochs" in problem and "many" in problem for problem in told)
    assert answer.context["adminform"].form["text"].value() == text and strategy.versions.count() == 1


def test_a_changed_name_is_refused(trainer: Client) -> None:
    strategy = rows.version("old_name").strategy
    (problem,) = errors(trainer.post(page_of(strategy), {"text": rows.text_of("new_name")}))
    assert "seen 'new_name', wanted 'old_name'" in problem and "add it as a new strategy" in problem
    assert list(Strategy.objects.values_list("name", flat=True)) == ["old_name"]


def test_a_name_that_is_taken_is_not_overwritten_by_pasting(trainer: Client) -> None:
    strategy = rows.version("taken").strategy
    (problem,) = errors(trainer.post(reverse(ADD), {"text": rows.text_of("taken", epochs=3)}))
    assert "stored already" in problem and strategy.versions.count() == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x" * 70_000,
        "# ä\n" * 20_000,
        "a\x00b",
        "\x07",
        "- [",
        "&a [*a]",
        "!!python/object:os.system {}",
        "\ufeff\ud7ff",
        "null",
    ],
    ids=["empty", "blank", "large", "large in bytes", "NUL", "bell", "no YAML", "alias", "object", "odd", "null"],
)
def test_no_text_breaks_the_page(trainer: Client, text: str) -> None:
    assert errors(trainer.post(reverse(ADD), {"text": text}))
    assert not Strategy.objects.exists()


def test_binary_bytes_break_nothing(trainer: Client) -> None:
    body = b"text=" + bytes(range(128, 256)) + b"%ff%fe%00%ed%a0%80"
    answer = trainer.post(reverse(ADD), body, content_type="application/x-www-form-urlencoded")
    assert errors(answer)


def test_a_version_shows_its_text_and_what_changed(trainer: Client) -> None:
    rows.version("two", epochs=40)
    second = rows.version("two", epochs=50)
    page = trainer.get(reverse("admin:strategies_app_strategyversion_change", args=[second.pk])).content.decode()
    assert '<span class="removed">-  epochs: 40</span>' in page and '<span class="added">+  epochs: 50</span>' in page


def test_a_version_cannot_be_edited(boss: Client) -> None:
    version = rows.version("fixed")
    answer = boss.post(reverse("admin:strategies_app_strategyversion_change", args=[version.pk]), {"text": "x", "number": 7})
    version.refresh_from_db()
    assert answer.status_code == 403 and version.number == 1


def test_an_unused_strategy_is_deleted_with_its_versions(boss: Client) -> None:
    strategy = rows.version("unused").strategy
    rows.version("unused", epochs=9)
    assert "2 versions of unused go" in boss.get(page_of(strategy, "delete")).content.decode()
    assert Strategy.objects.exists()
    boss.post(page_of(strategy, "delete"))
    assert not Strategy.objects.exists() and not StrategyVersion.objects.exists()
    assert AuditEntry.objects.get(action="delete").target == "unused"


def test_a_strategy_in_use_stays(boss: Client) -> None:
    strategy = rows.operation().strategy_version.strategy
    assert "cannot be deleted" in boss.get(page_of(strategy, "delete")).content.decode()
    answer = boss.post(page_of(strategy, "delete"), follow=True)
    assert "1 operation was started with it" in answer.content.decode() and "left as it is" in answer.content.decode()
    assert strategy.versions.count() == 1 and not AuditEntry.objects.filter(action="delete").exists()
