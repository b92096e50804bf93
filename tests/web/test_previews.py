"""The preview beside the editor: pictures and words of the quick worker's answer, or a sentence on why there are none."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from strategies_app.models import Strategy
from tests.examples.api import TEXT, Examples
from tests.examples.quick_work import asking, work, worked
from tests.examples.strategy_texts import changed
from training.results.figures_bars import candles_figure, membership_figure
from training.web import previews
from training.workers import quick
from training.workers.preview import preview

__all__ = ["asking"]
ADDRESS = "/previews/"


def figures(page: str) -> dict[str, Any]:
    found = re.findall(r'<script id="([\w-]+)" type="application/json">(.*?)</script>', page, re.DOTALL)
    return {name: json.loads(text) for name, text in found}


def test_it_shows_what_the_pipeline_makes_of_the_bars(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    with worked(monkeypatch):
        page = asking.signed_in("viewer").post(ADDRESS, {"text": TEXT}).content.decode()
    told = preview(TEXT, "AAPL")
    assert "<b>AAPL</b>, 2,000 1d bars" in page and "<html" not in page
    drawn = figures(page)
    assert drawn["preview-candles-0"] == json.loads(json.dumps(candles_figure(told["series"]["1d"], told["labels"])))
    assert drawn["preview-set-0"] == json.loads(json.dumps(membership_figure(told["fuzzy_sets"][0])))
    for one in told["labels"]["classes"]:
        assert f"{one['name']} {one['share']:.1%}" in page
    names = re.findall(r"<li>(1[dw]_\w+|1d_macd_1\.histogram_raw)</li>", page)
    assert names == told["features"]


def test_a_figure_names_colours_by_token_and_draws_each_class_with_its_own_shape(asking: Examples) -> None:
    told = preview(TEXT, "AAPL")
    figure = candles_figure(told["series"]["1d"], told["labels"])
    markers = {trace["name"]: trace["marker"] for trace in figure["data"] if trace.get("mode") == "markers"}
    assert {name: (m["color"], m["symbol"]) for name, m in markers.items()} == {
        "BUY": ("--buy", "triangle-up"), "SELL": ("--sell", "triangle-down"),
    }  # fmt: skip
    assert {trace["type"] for trace in figure["data"]} == {"candlestick", "scatter"}, "no WebGL"
    assert "rgb" not in json.dumps(figure) and "#" not in json.dumps(figure)
    axes = [key for key in figure["layout"] if key.startswith("yaxis")]
    assert axes == ["yaxis", "yaxis2", "yaxis3"], "the candles, the RSI and the MACD"


def test_a_moving_average_lies_on_the_candles(asking: Examples) -> None:
    text = changed("macd_1: {type: macd}", "macd_1: {type: macd}\n  average: {type: ema}", TEXT)
    figure = candles_figure(preview(text, "AAPL")["series"]["1d"], None)
    lines = {trace["name"]: trace["yaxis"] for trace in figure["data"] if trace["type"] == "scatter"}
    assert lines["average.value"] == "y" and lines["rsi_14.value"] == "y2"


def test_silent_bars_and_one_sided_labels_are_said_first(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    text = changed("low: [0, 30, 50], middle: [30, 50, 70], high: [50, 70, 100]", "low: [0, 10, 20]", TEXT)
    text = changed("zigzag_threshold: 0.04", "zigzag_threshold: 0.9", text)
    with worked(monkeypatch):
        page = asking.signed_in("trainer").post(ADDRESS, {"text": text, "symbol": "AAPL"}).content.decode()
    assert "zone on 1d: no membership fires on" in page
    assert "More than 95 % of these bars are HOLD" in page


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"text": "name: x"}, "The preview comes back once the text is right."),
        ({"text": TEXT, "symbol": "NONE"}, "No bars of NONE are stored"),
        ({"text": TEXT, "symbol": "<script>"}, "--symbols"),
    ],
)
def test_what_cannot_be_shown_is_said(
    asking: Examples, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
) -> None:
    with worked(monkeypatch):
        page = asking.signed_in("viewer").post(ADDRESS, given).content.decode()
    assert said in page and "<script>" not in page


def test_without_a_quick_worker_it_says_how_to_start_one(asking: Examples, empty_redis: Any) -> None:
    empty_redis.flushdb()
    page = asking.signed_in("viewer").post(ADDRESS, {"text": TEXT}).content.decode()
    assert "No quick worker is running: start one with <code>manage.py worker --tag quick</code>" in page
    assert "Writing, checking and saving work without it." in page and "data-look-again" in page


def test_a_symbol_that_is_not_stored_is_not_passed_over_in_silence(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        changed("symbol: AAPL", "symbol: <i>TSLA", TEXT)
        if "symbol: <i>TSLA" in TEXT
        else TEXT.replace("symbol: AAPL", "symbol: TSLA")
    )
    assert "TSLA" in text
    viewer = asking.signed_in("viewer")
    with worked(monkeypatch):
        page = viewer.post(ADDRESS, {"text": text}).content.decode()
        chosen = viewer.post(ADDRESS, {"text": text, "symbol": "AAPL"}).content.decode()
    assert "No bars of TSLA are stored: AAPL is shown in their place." in page and 'href="/data/upload/"' in page
    assert "in their place" not in chosen, "it was asked for"
    monkeypatch.setattr(previews, "WAIT_SECONDS", 1)
    page = viewer.post(ADDRESS, {"text": text}).content.decode()
    (job,) = re.findall(r'hx-get="(/previews/quick-\w+/\?absent=TSLA)"', page)
    work()
    assert "No bars of TSLA are stored" in viewer.get(job).content.decode()
    assert (
        "<i>"
        not in viewer.get(job.replace("TSLA", "<i>")).content.decode().partition("in their place")[0].rpartition("No bars")[2]
    )


def test_bars_that_are_missing_can_be_uploaded(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    with worked(monkeypatch):
        page = asking.signed_in("viewer").post(ADDRESS, {"text": TEXT, "symbol": "NONE"}).content.decode()
    assert "load_data NONE" in page and 'href="/data/upload/"' in page


def test_a_longer_one_is_asked_for_again_by_the_page(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "WAIT_SECONDS", 1)
    viewer = asking.signed_in("viewer")
    page = viewer.post(ADDRESS, {"text": TEXT}).content.decode()
    (job,) = re.findall(r'hx-get="(/previews/quick-\w+/)"', page)
    assert "skeleton" in viewer.get(job).content.decode()
    assert "no question" in asking.signed_in("trainer").get(job).content.decode(), "only its asker"
    work()
    assert "preview-candles-0" in figures(viewer.get(job).content.decode())


def test_an_unexpected_error_is_told_as_nothing_but_that(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(**arguments: Any) -> dict[str, Any]:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setitem(quick.QUESTIONS, "preview", stumble)
    with worked(monkeypatch):
        page = asking.signed_in("viewer").post(ADDRESS, {"text": TEXT}).content.decode()
    assert "something unexpected" in page and "hunter2" not in page


def test_names_in_a_text_never_become_markup(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are letters and digits only; a name of a figure still leaves its script element by no means."""
    told = preview(TEXT, "AAPL")
    told["symbol"], told["notes"] = "</script><script>alert(1)</script>", ["<img src=x onerror=alert(1)>"]
    told["series"]["1d"]["outputs"][0]["name"] = "</script><script>alert(1)</script>"
    monkeypatch.setitem(quick.QUESTIONS, "preview", lambda **arguments: told)
    with worked(monkeypatch):
        page = asking.signed_in("viewer").post(ADDRESS, {"text": TEXT}).content.decode()
    assert "<script>alert" not in page and "<img" not in page


def test_who_may_not_see_bars_sees_no_preview(asking: Examples) -> None:
    assert asking.signed_in("nobody").post(ADDRESS, {"text": TEXT}).status_code == 403
    assert asking.signed_in("viewer", csrf=True).post(ADDRESS, {"text": TEXT}).status_code == 403
    assert asking.signed_in("viewer").get(ADDRESS).status_code == 405
    assert "<option>AAPL</option>" in asking.signed_in("viewer").get("/previews/symbols/").content.decode()
    assert not Strategy.objects.exclude(name="stored").exists()
