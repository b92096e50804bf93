"""Figures are plain data: what they show is what they were given, told by more than colour, in the colours of the style."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strategies_app.grammar.vocabulary import LABEL_CLASSES
from training.results import figures

STATIC = Path(figures.__file__).parent.parent / "static" / "training"
HISTORY = [
    {"epoch": n, "train_loss": 1 - n / 10, "val_loss": 1.1 - n / 20, "val_accuracy": 0.4, "val_mcc": 0.1} for n in range(5)
]
DAY = 86_400_000_000
SPANS = {
    "AAPL": [
        {"part": "train", "first": 0, "last": 99 * DAY, "rows": 100}, {"part": "purged", "first": 100 * DAY, "last": 101 * DAY, "rows": 2},
        {"part": "embargoed", "first": 102 * DAY, "last": 102 * DAY, "rows": 1}, {"part": "validation", "first": 103 * DAY, "last": 120 * DAY, "rows": 18},
    ],
    "MSFT": [{"part": "train", "first": 10 * DAY, "last": 99 * DAY, "rows": 90}],
}  # fmt: skip
IMPORTANCE = {f"f{n}": {"mean": n / 100, "spread": 0.02, "drops": [n / 100]} for n in range(30)}
SAID = {"times": ["2020-01-01 00:00", "2020-01-02 00:00"], "classes": {"BUY": [0.5, 0.2], "HOLD": [0.3, 0.3], "SELL": [0.2, 0.5]},
        "marks": [{"time": "2020-01-01 00:00", "class": "BUY", "price": 9.0, "right": True}, {"time": "2020-01-02 00:00", "class": "SELL", "price": 12.0, "right": False}]}  # fmt: skip
CANDLES = {"times": SAID["times"], "open": [10, 11], "high": [11, 12], "low": [9, 10], "close": [11, 10]}

RETURNS = {"times": SAID["times"], "predicted": [0.01, -0.02], "realised": [0.03, None],
           "marks": [{"time": SAID["times"][0], "signal": "BUY", "price": 9.0, "right": True}]}  # fmt: skip


def every_figure() -> dict[str, Any]:
    runs = [(f"run-{n}", HISTORY) for n in range(7)]
    return {
        "learning": figures.learning_curves(HISTORY, 3),
        "measures": figures.measure_curves(HISTORY, 3),
        "matrix": figures.confusion_matrix([[8, 2, 0], [0, 0, 0], [1, 1, 2]], ["BUY", "HOLD", "SELL"]),
        "ledger": figures.split_ledger(SPANS),
        "importance": figures.importance_bars(IMPORTANCE),
        "probabilities": figures.probabilities(CANDLES, SAID, ["BUY", "HOLD", "SELL"]),
        "no candles": figures.probabilities(None, SAID, ["BUY", "HOLD", "SELL"]),
        "reliability": figures.reliability(
            [{"rows": 5, "predicted": -0.01, "realised": 0.02}, {"rows": 5, "predicted": 0.01, "realised": 0.0}]
        ),
        "misses": figures.misses({"width": 0.1, "counts": [1, 2, 3, 2, 1]}),
        "returns": figures.predictions(CANDLES, RETURNS, 0.004),
        "overlay": figures.overlay(runs, "val_loss", "loss"),
        "parallel": figures.parallel_coordinates([{"name": "training.epochs", "values": [1, 2]}], ["a", "b"]),
    }


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in strings(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("name", every_figure())
def test_a_figure_is_plain_data_in_the_colours_of_the_style(name: str) -> None:
    figure = every_figure()[name]
    json.dumps(figure, allow_nan=False)
    tokens = set(re.findall(r"(--[a-z-]+):", (STATIC / "site.css").read_text()))
    used = {text.partition("/")[0] for text in strings(figure) if text.startswith("--")}
    assert used <= tokens
    assert not [text for text in strings(figure) if re.fullmatch("#[0-9a-f]{3,8}|rgb.*", text)]
    assert {trace["type"] for trace in figure["data"]} <= {"scatter", "bar", "heatmap", "candlestick"}, (
        "only what is drawn as SVG"
    )


def test_epochs_are_counted_from_one_and_the_best_is_marked() -> None:
    figure = every_figure()["learning"]
    assert figure["data"][0]["x"] == [1, 2, 3, 4, 5] and figure["data"][1]["y"][0] == 1.1
    assert figure["layout"]["shapes"][0]["x0"] == 4 and figure["layout"]["annotations"][0]["text"].strip() == "best 4"


def test_lines_of_one_picture_differ_in_more_than_colour() -> None:
    for name in ("learning", "measures", "probabilities", "returns", "reliability"):
        lines = [t["line"]["dash"] for t in every_figure()[name]["data"] if t.get("mode") == "lines"]
        assert len(set(lines)) == len(lines), name
    overlay = [(t["line"]["color"], t["line"]["dash"]) for t in every_figure()["overlay"]["data"]]
    assert len(set(overlay)) == 7


def test_a_matrix_cell_holds_its_count_and_its_share_of_the_row() -> None:
    figure = every_figure()["matrix"]
    assert figure["data"][0]["z"][0] == [0.8, 0.2, 0.0] and figure["data"][0]["z"][1] == [0, 0, 0], "a class without rows"
    told = {(a["y"], a["x"]): a["text"] for a in figure["layout"]["annotations"]}
    assert told["SELL", "BUY"] == "<b>1</b><br>25%" and len(told) == 9


def test_the_ledger_has_every_span_at_its_time() -> None:
    bars = {bar["name"]: bar for bar in every_figure()["ledger"]["data"]}
    assert set(bars) == {"train", "purged", "embargo", "validation"}, "no test split, no bar"
    assert bars["train"]["y"] == ["AAPL", "MSFT"]
    assert bars["train"]["base"] == [0, 10 * DAY // 1000] and bars["train"]["x"] == [99 * DAY // 1000, 89 * DAY // 1000]
    assert bars["purged"]["customdata"] == [["2 rows", "1970-04-11", "1970-04-12"]]


def test_the_largest_importance_comes_first_with_its_spread() -> None:
    (bars,) = every_figure()["importance"]["data"]
    assert bars["y"][0] == "f29" and len(bars["y"]) == 25
    assert bars["x"][0] == pytest.approx(29) and bars["error_x"]["array"][0] == pytest.approx(2)


def test_marks_say_whether_they_were_right() -> None:
    marks = [t for t in every_figure()["probabilities"]["data"] if t.get("mode") == "markers"]
    assert [(m["name"], m["text"], m["marker"]["symbol"]) for m in marks] == [
        ("called BUY", ["right"], ["triangle-up"]),
        ("called SELL", ["wrong"], ["triangle-down-open"]),
    ]
    assert "candlestick" not in {t["type"] for t in every_figure()["no candles"]["data"]}


def test_axes_run_from_their_lowest_to_their_highest_value() -> None:
    axes = [{"name": "a.b", "values": [1, 3, None]}, {"name": "same", "values": [5, 5, 5]}]
    figure = figures.parallel_coordinates(axes, ["x", "y", "z" * 60])
    assert [trace["y"] for trace in figure["data"]] == [[0, 0.5], [1, 0.5], [None, 0.5]]
    assert figure["layout"]["xaxis"]["ticktext"] == ["a<br>b", "same"]
    assert len(figure["data"][2]["name"]) == 28


def test_no_chart_offers_to_send_itself_anywhere() -> None:
    script = (STATIC / "charts.js").read_text()
    assert "showSendToCloud: false" in script and "displayModeBar: false" in script


@pytest.mark.parametrize("source", [source for source, names in LABEL_CLASSES.items() if names])
def test_the_classes_of_a_label_differ_in_colour_and_dash_everywhere(source: str) -> None:
    names = LABEL_CLASSES[source]
    colours = [figures.CLASS_COLOURS[name] for name in names]
    dashes = [figures.CLASS_DASHES[colour] for colour in colours]
    assert len(set(colours)) == len(names) == len(set(dashes))
    tones = [colour.removeprefix("--") for colour in colours if colour != "--hold"]
    style = (STATIC / "site.css").read_text()
    assert all(
        re.search(rf"\.dot:is\([^)]*\.{name.lower()}\b", style) for name in names if figures.CLASS_COLOURS[name] != "--hold"
    )
    assert all(re.search(rf"\.dot:is\([^)]*\.{tone}\b", style) for tone in tones)


def test_four_names_above_a_matrix_stand_aslant() -> None:
    names = list(LABEL_CLASSES["regime"])
    four = figures.confusion_matrix(np.eye(4, dtype=int).tolist(), names)["layout"]
    three = figures.confusion_matrix(np.eye(3, dtype=int).tolist(), names[:3])["layout"]
    assert four["xaxis"]["tickangle"] == -35 and "tickangle" not in three["xaxis"]
    assert four["margin"]["t"] > three["margin"]["t"] and len(four["annotations"]) == 16


def test_a_split_ledger_of_many_symbols_draws_the_first() -> None:
    span = {"part": "train", "first": 0, "last": 86_400_000_000, "rows": 2}
    figure = figures.split_ledger({f"S{number:03}": [span] for number in range(1000)})
    assert [bar["y"] for bar in figure["data"]] == [[f"S{number:03}" for number in range(figures.MOST_LEDGER_LINES)]]
    assert figure["layout"]["height"] < 2000


@pytest.mark.parametrize("parts", [["train"], ["train", "purged", "validation"], list(figures.PARTS)])
def test_on_a_narrow_page_the_names_of_the_ledger_stand_above_its_bars(parts: list[str]) -> None:
    figure = figures.split_ledger({"AAPL": [{"part": part, "first": 0, "last": 86_400_000_000, "rows": 2} for part in parts]})
    narrow = figure["narrow"]
    lines = -(-len(parts) // 2)  # two names beside each other
    assert narrow["margin"]["t"] >= 19 * lines, "each takes nineteen points"
    assert narrow["height"] - narrow["margin"]["t"] - narrow["margin"]["b"] >= 50, "and the bar keeps its room"
