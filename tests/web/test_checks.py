"""What a run found of its bars, features and labels is kept with it, and stands on its page, in the admin, the API and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.urls import reverse

from strategies_app.models import Strategy
from tests.examples.api import Examples, send, start
from tests.examples.results import completed, text_of
from tests.pipeline.test_findings import apple_as_it_was_traded
from training.bars.series import load_samples, store_frame
from training.models import Operation
from training.pipeline.bars import bar_frame
from training.web import checks
from training.workers.attempt import run_operation
from training.workers.plan import plan

SPLIT = "AAPL 1d: 1 jump like an unadjusted split: 2005-02-28 (2:1); load adjusted prices (--adjust)"
ZONES = {"zone": {"indicator": "rsi_14", "low": [0, 30, 50], "high": [50, 70, 100], "nowhere": [200, 210, 220]}}
NEVER = "is always 0 on the training rows: 1d_zone_nowhere and 1w_zone_nowhere; the network sees zeros there, shift its points"


@pytest.fixture
def odd_store(db: None, settings: Any, tmp_path: Path) -> str:
    """A store in which a split of Apple's was not adjusted; gives a strategy with a membership that never fires."""
    settings.STORE_DIR = tmp_path / "store"
    store_frame("AAPL", "1d", bar_frame(*apple_as_it_was_traded()), source="as traded")
    load_samples("MSFT")
    return text_of("odd", fuzzy_sets=ZONES, training__epochs=1)


@pytest.mark.django_db(transaction=True)
def test_a_training_keeps_what_was_found_and_every_place_shows_it(examples: Examples, odd_store: str, empty_redis: Any) -> None:
    operation = start(Strategy.objects.import_text(odd_store), examples.users["trainer"])
    assert run_operation(operation.pk, 1, device="cpu") == "completed"
    operation.refresh_from_db()
    (split,) = [f for f in operation.checks["data"]["findings"] if (f["kind"], f["timeframe"]) == ("splits", "1d")]
    assert (split["symbol"], split["timeframe"], split["count"], split["first"]) == ("AAPL", "1d", 1, "2005-02-28T00:00:00Z")
    assert {SPLIT, NEVER} <= set(operation.notes)

    answer = send(examples.signed_in("viewer"), "get", f"/operations/{operation.pk}/checks")
    assert answer.status_code == 200
    assert split in answer.json()["data"]["findings"]
    assert answer.json()["inputs"]["features"] == operation.checks["inputs"]["features"]

    page = examples.signed_in("viewer").get(f"/operations/{operation.pk}/").content.decode()
    assert page.count(SPLIT) == 1 and page.count(NEVER[1:]) == 1  # on their cards, and not among the notes again
    assert "<h2>Data</h2>" in page and "<h2>Features and labels</h2>" in page
    assert '<td class="mono">1d_zone_nowhere</td>' in page
    report = examples.signed_in("viewer").get(f"/operations/{operation.pk}/report/").content.decode()
    assert SPLIT in report and "1d_zone_nowhere" in report
    admin = (
        examples.signed_in("admin").get(reverse("admin:training_operation_change", args=[quote(operation.pk)])).content.decode()
    )
    assert "<td>splits</td>" in admin and "<td>2005-02-28T00:00:00Z</td>" in admin


def test_a_page_of_a_run_that_has_found_nothing_yet_has_no_cards(examples: Examples, empty_redis: Any) -> None:
    page = examples.signed_in("viewer").get(f"/operations/{examples.own.pk}/").content.decode()
    assert "<h2>Data</h2>" not in page
    assert send(examples.signed_in("viewer"), "get", f"/operations/{examples.own.pk}/checks").json() == {
        "data": None,
        "inputs": None,
    }


@pytest.mark.django_db
def test_a_live_page_shows_the_findings_and_the_other_notes(examples: Examples, empty_redis: Any) -> None:
    finding = {"kind": "gaps", "severity": "warning", "symbol": "A", "timeframe": "1d", "count": 3, "first": None, "columns": [],
               "sentence": "A 1d: 1 gap (3 bars missing)"}  # fmt: skip
    told = {"data": {"count": 7, "findings": [finding]}}
    notes = [f"{finding['sentence']}; likewise 6 more: B", "the checkpoint could not be written"]
    Operation.objects.filter(pk=examples.own.pk).update(checks=told, notes=notes, status="running")
    page = examples.signed_in("viewer").get(f"/operations/{examples.own.pk}/").content.decode()
    assert page.count(finding["sentence"]) == 1 and "likewise" not in page and "and 6 more, in the API" in page
    assert notes[1] in page and "<h2>Features and labels</h2>" not in page


def test_a_plan_says_the_same_before_anything_is_trained(odd_store: str) -> None:
    told = json.loads(json.dumps(plan(odd_store, "draft", {})))
    assert {SPLIT, NEVER} <= set(told["notes"])
    shown = checks.context_of(told["checks"])
    marked = {of["name"]: [mark["word"] for mark in of["marks"]] for of in shown["features"]}
    assert marked["1d_zone_nowhere"] == ["never fires"]
    assert next(of["name"] for of in shown["features"]) in {name for name, words in marked.items() if words}


def test_every_kind_of_finding_about_features_has_a_word_for_the_page() -> None:
    import re

    from training.pipeline import checks as source

    text = Path(source.__file__).read_text()
    kinds = set(re.findall(r'_about\(\s*"(\w+)"', text)) | set(re.findall(r'\("(\w+_features)", ', text))
    assert kinds | {"large_drift", "moderate_drift"} == set(checks.WORDS)


@pytest.mark.django_db
def test_a_result_from_before_the_checks_still_opens(examples: Examples) -> None:
    operation = completed(user=examples.users["trainer"])
    assert examples.signed_in("viewer").get(f"/operations/{operation.pk}/").status_code == 200
