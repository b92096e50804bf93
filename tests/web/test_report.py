"""The report is one file: nothing in it asks anybody for anything, and no text in it becomes markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.examples.analytics import record, returns_record
from tests.examples.api import Examples
from tests.examples.results import completed, text_of, text_of_returns
from training.jobs.analytics import Journal, folder_of
from training.models import TrainedModel

EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "quoted"'


class Seen(HTMLParser):
    """The tags of a page with their attributes, and what its scripts and styles hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.scripts.append((self.tags[-1][1], data))


@pytest.fixture
def report(examples: Examples) -> str:
    operation = completed(text_of("reported", description=EVIL), user=examples.users["trainer"], comment=EVIL, tags=" fine ")
    operation.notes = [EVIL]
    operation.save()
    TrainedModel.objects.filter(operation=operation).update(
        importance={"baseline": 0.4, "repeats": 3, "rows": 10, "of_rows": 10, "seed": 1, "sets": {},
                    "features": {EVIL: {"mean": 0.1, "spread": 0.01, "drops": [0.1]}}}
    )  # fmt: skip
    answer = examples.signed_in("viewer").get(f"/operations/{operation.pk}/report/")
    assert answer["Content-Type"].startswith("text/html")
    assert re.fullmatch(r'attachment; filename="reported-\d+\.html"', answer["Content-Disposition"])
    return str(answer.content.decode())


def test_nothing_comes_from_elsewhere(report: str) -> None:
    seen = Seen(report)
    for tag, attributes in seen.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "img"), tag
        for name in ("src", "href", "action", "data-figure-url", "srcset"):
            assert name not in attributes, (tag, name)
    style = next(text for tag, text in seen.scripts if "--ground" in text)
    assert "url(" not in style and "@import" not in style and "prefers-color-scheme: dark" in style


def test_the_scripts_are_plotly_and_the_charts_and_every_figure_is_in_it(report: str) -> None:
    seen = Seen(report)
    code = [attributes for tag, attributes in seen.tags if tag == "script" and attributes.get("type") != "application/json"]
    assert code == [{}, {}]
    assert "plotly.js v" in report and "ktrdr.charts" in report
    figures = {attributes["data-figure"] for _, attributes in seen.tags if "data-figure" in attributes}
    data = {attributes["id"] for tag, attributes in seen.tags if tag == "script" and attributes.get("type") == "application/json"}
    assert figures == data
    assert figures >= {"matrix-figure", "loss-figure", "ledger-figure", "said-0", "said-1", "importance-features"}


def test_no_text_becomes_markup(report: str) -> None:
    seen = Seen(report)
    assert not [attributes for _, attributes in seen.tags if any(name.startswith("on") for name in attributes)]
    assert "<img src=x" not in report and "<script>alert" not in report
    assert report.count("&lt;script&gt;alert(1)") >= 3, "description, comment and note are shown as they were written"


def test_it_says_what_the_page_says(report: str) -> None:
    for words in ("beside its baselines", "How every bar was used", "Provenance", "Settings", "zigzag_threshold: 0.04", "fine"):
        assert words in report
    assert "<h2>Download" not in report and "csrfmiddlewaretoken" not in report


def test_many_symbols_do_not_make_it_endless(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.web import downloads

    monkeypatch.setattr(downloads, "REPORT_SYMBOLS", 1)
    operation = completed(text_of("long"))
    page: Any = examples.signed_in("viewer").get(f"/operations/{operation.pk}/report/").content.decode()
    assert "Not drawn here" in page and "MSFT.</p>" in page and "said-1" not in page


@pytest.mark.parametrize(
    ("text", "make", "pictures"),
    [
        (text_of("inside"), record, {"gradients", "updates", "over-fitting", "signal", "calibration", "confidence", "entropy", "recall",
                                     "precision"}),
        (text_of_returns("inside_returns"), returns_record, {"gradients", "updates", "over-fitting", "signal", "residuals"}),
    ],
    ids=["classes", "returns"],
)  # fmt: skip
def test_detailed_analytics_are_in_it_with_their_alerts(examples: Examples, text: str, make: Any, pictures: set[str]) -> None:
    operation = completed(text, user=examples.users["trainer"], detailed_analytics=True)
    journal = Journal(folder_of(operation.pk), 1)
    for epoch in range(3):
        journal.add(make(epoch, hidden={"dead_share": 0.75}))
    page = str(examples.signed_in("viewer").get(f"/operations/{operation.pk}/report/").content.decode())
    seen = Seen(page)
    figures = {attributes["data-figure"] for _, attributes in seen.tags if "data-figure" in attributes}
    data = {attributes["id"] for tag, attributes in seen.tags if tag == "script" and attributes.get("type") == "application/json"}
    assert figures == data and {name for name in figures if name and name.startswith("analytics-")} == {
        f"analytics-{name}" for name in pictures
    }
    assert "Dead units.</strong> In epoch 3 75% of the units of hidden_0 are dead." in page and "Try: leaky_relu" in page
    assert "By layer, epoch 3" in page and ("By class, epoch 3" in page) == (make is record)
    assert not any(name in attributes for _, attributes in seen.tags for name in ("src", "href", "hx-get")), "it asks for nothing"


def test_without_detailed_analytics_it_does_not_speak_of_them(report: str) -> None:
    assert "Detailed analytics" not in report and "analytics-gradients" not in report
