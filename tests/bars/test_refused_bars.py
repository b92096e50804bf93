"""Bars that nothing may be trained on: what speaks against them is told as values wherever the refusal is told."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.core.management import CommandError, call_command
from django.urls import reverse
from rich.console import Console

from strategies_app.grammar.reader import read_strategy
from strategies_app.models import Strategy
from tests.examples.api import Examples, send, start
from tests.examples.quick_work import asking, worked
from tests.examples.results import text_of
from training.bars.series import SAMPLE_BARS
from training.management.runs import tell
from training.models import BarSeries
from training.pipeline.bars import bar_frame, bar_times, bar_values, read_bars, write_bars
from training.pipeline.loading import load_bars
from training.store.coverage import DataError
from training.workers.attempt import run_operation

__all__ = ["asking"]  # a fixture
DAILY = {"mode": "single", "timeframe": "1d"}
HIGH = "AAPL 1d: 3 bars with a high below open, close or low, first at 2004-01-05"
LOW = "AAPL 1d: 1 bar with a low above open or close, first at 2004-06-01"
TOLD = f"{HIGH}; and 1 more finding that stops it"
AGAINST = [
    {"kind": "high_too_low", "severity": "error", "symbol": "AAPL", "timeframe": "1d", "count": 3,
     "first": "2004-01-05T00:00:00Z", "columns": [], "sentence": HIGH},
    {"kind": "low_too_high", "severity": "error", "symbol": "AAPL", "timeframe": "1d", "count": 1,
     "first": "2004-06-01T00:00:00Z", "columns": [], "sentence": LOW},
]  # fmt: skip


def broken(root: Path, symbol: str = "AAPL") -> None:
    """The sample's bars, four of which no bar can be; beside them sound ones of MSFT with a stretch without volume."""
    frame = read_bars(SAMPLE_BARS, "AAPL", "1d")
    times, values = bar_times(frame), bar_values(frame).copy()
    first, second = (int((frame.index < day).sum()) for day in ("2004-01-05", "2004-06-01"))
    values[1, first : first + 3] = values[2, first : first + 3] * 0.9
    values[2, second] = values[1, second] * 0.999
    values[0, second] = values[3, second] = values[2, second] * 0.99
    write_bars(root, symbol, "1d", bar_frame(times, values))
    sound = read_bars(SAMPLE_BARS, "MSFT", "1d")
    values = bar_values(sound).copy()
    values[4, 1500:1530] = 0
    write_bars(root, "MSFT", "1d", bar_frame(bar_times(sound), values))


def strategy() -> str:
    return text_of("unfit", training_data__timeframes=DAILY)


@pytest.fixture
def unfit(settings: Any, tmp_path: Path, db: None) -> str:
    """A store with such bars; gives a strategy that would train on them."""
    settings.STORE_DIR = tmp_path / "store"
    settings.STORE_DIR.mkdir()
    broken(settings.STORE_DIR)
    for symbol in ("AAPL", "MSFT"):
        frame = read_bars(settings.STORE_DIR, symbol, "1d")
        ends = {"first": frame.index[0].to_pydatetime(), "last": frame.index[-1].to_pydatetime()}
        BarSeries.objects.update_or_create(symbol=symbol, timeframe="1d", defaults={"rows": len(frame), "sha256": "", **ends})
    return strategy()


def test_all_that_is_wrong_is_found_at_once_and_what_else_was_seen(unfit: str, settings: Any) -> None:
    with pytest.raises(DataError) as refusal:
        load_bars(read_strategy(unfit), settings.STORE_DIR)
    found = [finding.plain() for finding in refusal.value.findings]
    assert str(refusal.value) == TOLD
    assert found[:2] == AGAINST
    assert {(of["kind"], of["symbol"]) for of in found[2:]} >= {("zero_volume", "MSFT")}
    assert "error" not in {of["severity"] for of in found[2:]}


@pytest.mark.parametrize("threads", [1, 2])
def test_one_series_does_not_hide_what_is_wrong_with_another(tmp_path: Path, threads: int) -> None:
    broken(tmp_path)
    write_bars(tmp_path, "IBM", "1d", read_bars(tmp_path, "AAPL", "1d"))
    text = text_of(
        training_data__symbols={"mode": "multi_symbol", "list": ["IBM", "MSFT", "AAPL"]}, training_data__timeframes=DAILY
    )
    with pytest.raises(DataError, match="and 3 more findings that stop it") as refusal:
        load_bars(read_strategy(text), tmp_path, threads=threads)
    assert [of.symbol for of in refusal.value.findings if of.severity == "error"] == ["IBM", "IBM", "AAPL", "AAPL"]


@pytest.mark.django_db(transaction=True)
def test_a_refused_plan_has_them_in_the_api_and_beside_the_form(asking: Examples, unfit: str, monkeypatch: Any) -> None:
    client = asking.signed_in("trainer")
    Strategy.objects.import_text(unfit)
    form = {"strategy": "unfit", "symbols": ["AAPL", "MSFT"], "timeframes": ["1d"], "validation_split": "0.15"}
    with worked(monkeypatch):
        answer = send(client, "post", "/trainings/plan", {"strategy_name": "unfit"})
        page = client.post("/train/plan/", form).content.decode()
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["message"]) == (422, "bars", TOLD)
    assert error["details"]["findings"][:2] == AGAINST
    rows = re.findall(r'<tr data-kind="(\w+)" data-severity="error">(.*?)</tr>', page)
    assert [kind for kind, _ in rows] == ["high_too_low", "low_too_high"]
    assert "AAPL 1d" in rows[0][1] and '<td class="number">3</td>' in rows[0][1] and "2004-01-05" in rows[0][1]
    assert page.count(HIGH) == 1 and page.count(LOW) == 1


def test_a_refused_start_has_them_too(examples: Examples, empty_redis: Any) -> None:
    answer = send(
        examples.signed_in("trainer"), "post", "/trainings/start", {"strategy_name": "stored", "symbols": ["XXX", "YYY"]}
    )
    assert answer.status_code == 422
    found = answer.json()["error"]["details"]["findings"]
    assert [(of["kind"], of["severity"], of["symbol"], of["timeframe"]) for of in found] == [
        ("not_stored", "error", "XXX", "1d"), ("not_stored", "error", "YYY", "1d"),
    ]  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_refused_keeps_them_and_every_place_shows_them(examples: Examples, unfit: str, empty_redis: Any) -> None:
    operation = start(Strategy.objects.import_text(unfit), examples.users["trainer"])
    assert run_operation(operation.pk, 1, device="cpu") == "failed"
    operation.refresh_from_db()
    assert operation.error == TOLD and operation.failure["category"] == "data"
    assert operation.checks["data"]["findings"][:2] == AGAINST
    viewer = examples.signed_in("viewer")
    assert send(viewer, "get", f"/operations/{operation.pk}/checks").json()["data"]["findings"][:2] == AGAINST
    page = viewer.get(f"/operations/{operation.pk}/").content.decode()
    assert re.findall(r'data-kind="(\w+)" data-severity="error"', page) == ["high_too_low", "low_too_high"]
    assert page.partition('id="ended"')[2].partition("</section>")[0].count(LOW) == 1
    admin = examples.signed_in("admin").get(reverse("admin:training_operation_change", args=[quote(operation.pk)]))
    assert "<td>high_too_low</td><td>error</td>" in admin.content.decode()
    written = StringIO()
    tell(operation.pk, "failed", Console(file=written, width=200), "ktrdr")
    assert "\n  error high_too_low: AAPL 1d, 3, first 2004-01-05T00:00:00Z\n" in written.getvalue()
    assert f"\n  error low_too_high: {LOW}\n" in written.getvalue()


def test_the_dry_run_lists_them(unfit: str) -> None:
    Strategy.objects.import_text(unfit)
    with pytest.raises(CommandError) as refusal:
        call_command("train", "unfit", dry_run=True, stdout=StringIO(), stderr=StringIO())
    assert str(refusal.value).splitlines()[:3] == [
        TOLD, "  error high_too_low: AAPL 1d, 3, first 2004-01-05T00:00:00Z", f"  error low_too_high: {LOW}",
    ]  # fmt: skip
