"""What predicts returns is shown, judged, compared, asked and handed out as such: no class, no confusion matrix, no empty column."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import numpy as np
import pytest
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import reverse

from tests.examples.api import Examples, send
from tests.examples.results import completed, text_of, text_of_returns, trained
from tests.workers.test_quick import asking, worked  # noqa: F401 - a fixture
from training.core.values import SIGNALS, signals_of_returns
from training.models import EpochMetric, Operation, Status
from training.web.predictions import kept_predictions
from training.workers import importance, plan
from training.workers.prediction import open_model, predict_stored


@pytest.fixture
def shown(examples: Examples) -> tuple[Examples, Operation]:
    return examples, completed(text_of_returns(), user=examples.users["trainer"])


def page_of(examples: Examples, address: str) -> str:
    answer = examples.signed_in("viewer").get(address)
    assert answer.status_code == 200
    return str(answer.content.decode())


def figure_in(page: str, name: str) -> dict[str, Any]:
    found = re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', page)
    assert found, name
    return dict(json.loads(found[1]))


# --- the result ----------------------------------------------------------------------------------


def test_the_result_shows_returns_beside_their_baselines_and_nothing_of_classes(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    page, test = page_of(examples, f"/operations/{operation.pk}/"), operation.trained_model.metrics["test"]
    order = [page.index(words) for words in ("verdict", "Test: beside its baselines", "Predicted against realised", "What was missed",
             "What its signals met", "Loss by epoch", "By symbol", "Predicted returns over the candles", "permutation importance")]  # fmt: skip
    assert order == sorted(order)
    for words in (
        "Always zero",
        "Always the mean of train",
        "The last known return",
        "MAE",
        "R²",
        "Rank IC",
        f"{100 * test['rmse']:.2f} %",
    ):
        assert words in page, words
    for words in ("matrix-figure", "Accuracy", "By class", "MCC", "probabilities over"):
        assert words not in page, words


def test_the_pictures_are_of_the_kept_figures(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    page, test = page_of(examples, f"/operations/{operation.pk}/"), operation.trained_model.metrics["test"]
    came = figure_in(page, "reliability-figure")["data"][1]
    assert came["y"] == pytest.approx([100 * group["realised"] for group in test["reliability"]])
    assert sum(figure_in(page, "misses-figure")["data"][0]["y"]) == test["rows"]
    curves = {line["name"]: line["y"] for line in figure_in(page, "measure-figure")["data"]}
    assert curves["IC"] == [epoch["val_ic"] for epoch in operation.trained_model.metrics["history"]]


def test_predicted_returns_are_drawn_over_the_candles_with_every_signal_marked_where_bars_are_few(
    shown: tuple[Examples, Operation],
) -> None:
    examples, operation = shown
    arrays, client = kept_predictions(operation.trained_model), examples.signed_in("viewer")
    own = arrays["test.symbols"] == 0
    times, said, came = (arrays[f"test.{name}"][own] for name in ("times", "returns", "labels"))
    days = np.datetime_as_string(times[:60].view("M8[us]"), unit="D")
    answer = client.get(f"/operations/{operation.pk}/probabilities/", {"symbol": "AAPL", "from": days[0], "to": days[-1]})
    figure = answer.json()
    lines = {trace.get("name"): trace for trace in figure["data"]}
    assert lines["predicted"]["y"] == pytest.approx(100 * said[:60], abs=1e-3)
    assert lines["came"]["y"] == pytest.approx(100 * came[:60], abs=1e-3)
    assert [shape["y0"] for shape in figure["layout"]["shapes"]] == pytest.approx([0.4, -0.4])
    signals = [SIGNALS[place] for place in signals_of_returns(said[:60], 0.004)]
    for name, way in (("BUY", came[:60] > 0), ("SELL", came[:60] <= 0)):
        rows = [row for row, signal in enumerate(signals) if signal == name]
        drawn = lines.get(f"signal {name}", {"x": [], "text": []})
        assert len(drawn["x"]) == len(rows)
        assert drawn["text"] == ["right way" if way[row] else "wrong way" for row in rows]


def test_the_files_to_take_along_hold_returns(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    client, arrays = examples.signed_in("viewer"), kept_predictions(operation.trained_model)
    told = client.get(reverse("site:predictions", args=[operation.pk])).content.decode()
    rows = [row for row in csv.DictReader(io.StringIO(told)) if row["split"] == "test"]
    assert [float(row["predicted_return"]) for row in rows] == arrays["test.returns"].tolist()
    assert [float(row["realised_return"]) for row in rows] == arrays["test.labels"].tolist()
    report = client.get(f"/operations/{operation.pk}/report/").content.decode()
    assert "What its signals met" in report and "predicted returns over the candles" in report and ">Accuracy<" not in report


def test_the_live_page_knows_what_is_trained(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    Operation.objects.filter(pk=operation.pk).update(status=Status.RUNNING)
    page = page_of(examples, f"/operations/{operation.pk}/")
    assert figure_in(page, "live")["output_format"] == "regression"
    assert "Errors by epoch" in page and "Predicted classes" not in page and "Accuracy" not in page
    classes = completed()
    Operation.objects.filter(pk=classes.pk).update(status=Status.RUNNING)
    other = page_of(examples, f"/operations/{classes.pk}/")
    assert figure_in(other, "live")["output_format"] == "classification" and "Predicted classes" in other


# --- lists and comparison ------------------------------------------------------------------------


def test_lists_show_errors_where_there_are_no_labels_right(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    summary = operation.trained_model.summary
    assert summary["output_format"] == "regression" and summary["accuracy"] is None and summary["lead"] is None
    missed = f"{100 * summary['rmse']:.2f} %"
    for address in ("/models/", "/models/?order=IC+%28returns%29", "/strategies/", "/compare/"):
        assert missed in page_of(examples, address), address
    model = page_of(examples, f"/models/{operation.trained_model.name}/")
    assert "predicted return of at least 0.40 %" in model and "Rank IC" in model


def test_returns_are_compared_with_returns_only(shown: tuple[Examples, Operation]) -> None:
    examples, one = shown
    two, classes = completed(text_of_returns("other", training__loss="mse")), completed()
    both = page_of(examples, f"/compare/?runs={one.pk},{two.pk}")
    assert (
        "they can be compared" in both
        and "overlay-val_mae" in both
        and '<th class="number">MCC</th>' not in both.partition("Choose runs")[0]
    )
    mixed = page_of(examples, f"/compare/?runs={one.pk},{classes.pk}")
    assert "Some of these predict classes and some returns" in mixed and "they can be compared" not in mixed


def test_the_admin_shows_them_beside_their_baselines(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    client, model = examples.signed_in("admin"), operation.trained_model
    for epoch in model.metrics["history"]:
        EpochMetric.objects.create(
            operation=operation,
            attempt=1,
            epoch=epoch["epoch"],
            train_loss=epoch["train_loss"],
            val_loss=epoch["val_loss"],
            metrics=epoch,
        )
    page = client.get(f"/admin/training/trainedmodel/{model.pk}/change/").content.decode()
    assert "Rank IC" in page and "Accuracy" not in page.partition("Measures")[2]
    epochs = client.get(f"/admin/training/operation/{quote(operation.pk)}/change/").content.decode()
    assert f"{100 * model.metrics['history'][0]['val_mae']:.2f}%" in epochs
    assert "MCC" not in re.sub("<[^>]*>", "", epochs), "a token in a hidden field may hold these letters"
    assert client.get("/admin/training/trainedmodel/").status_code == 200


# --- API and questions ---------------------------------------------------------------------------


def test_the_api_has_the_measures_of_returns_with_those_of_classes_null(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    viewer: Client = examples.signed_in("viewer")
    told, metrics = send(viewer, "get", f"/trainings/{operation.pk}/results").json(), operation.trained_model.metrics
    assert told["output_format"] == "regression" and told["class_names"] == []
    for side in ("training_metrics", "validation", "test"):
        assert told[side]["accuracy"] is None and told[side]["ic"] is not None and told[side]["mae"] > 0
    assert told["test"]["signals"] == metrics["test"]["signals"], "everything that was measured is there"
    assert told["test"]["f1_score"] is None and told["test"]["rmse"] == metrics["test"]["rmse"]
    assert [other["name"] for other in told["baselines"]["test"]] == [
        "always zero",
        "always the mean of train",
        "the last known return",
    ]
    line = send(viewer, "get", f"/models/{operation.trained_model.name}").json()
    assert line["accuracy"] is None
    shape = send(viewer, "get", "/openapi.json").json()["components"]["schemas"]
    assert {"ic", "rank_ic", "r2", "accuracy"} <= set(shape["TrainingResults"]["properties"]["validation"]["properties"])
    assert {"predicted_return", "probabilities"} <= set(shape["Predicted"]["properties"])


def test_a_prediction_is_that_of_training_bit_for_bit(shown: tuple[Examples, Operation]) -> None:
    _, operation = shown
    said, _ = predict_stored(open_model(operation.trained_model.name), "AAPL", "1d", "2003-01-01", "2009-12-31", recent=False)
    arrays = kept_predictions(operation.trained_model)
    own = arrays["test.symbols"] == 0
    places = np.searchsorted(said.times, arrays["test.times"][own])
    assert said.returns is not None and own.sum() > 100
    np.testing.assert_array_equal(said.returns[places], arrays["test.returns"][own])
    assert said.signals == [SIGNALS[place] for place in signals_of_returns(said.returns, 0.004)]


def test_a_prediction_is_answered_with_return_and_signal(asking: Examples, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    operation = completed(text_of_returns())
    name, body = operation.trained_model.name, {"symbol": "AAPL", "timeframe": "1d", "start": "2009-11-02", "end": "2009-12-31"}
    with worked(monkeypatch):
        told = send(asking.signed_in("viewer"), "post", f"/models/{name}/predict", body).json()
        asked = asking.signed_in("viewer").post(f"/models/{name}/predict/", {k: body[k] for k in ("symbol", "start", "end")})
    said, _ = predict_stored(open_model(name), "AAPL", "1d", body["start"], body["end"], recent=False)
    assert said.returns is not None and (told["output_format"], told["edge"]) == ("regression", 0.004)
    assert [bar["predicted_return"] for bar in told["bars"]] == said.returns.tolist()
    assert [bar["signal"] for bar in told["bars"]] == said.signals and {str(bar["probabilities"]) for bar in told["bars"]} == {
        "None"
    }
    job = asked["Location"].partition("job=")[2].partition("#")[0].partition("&")[0]
    client = asking.signed_in("viewer")
    part = client.get(f"/models/{name}/prediction/{job}/").content.decode()
    assert "Predicted return" in part and "No class reaches" not in part and "prediction-figure" in part
    rows = list(csv.DictReader(io.StringIO(client.get(f"/models/{name}/prediction/{job}/csv/").content.decode())))
    assert [float(row["predicted_return"]) for row in rows] == said.returns.tolist()


def test_importance_is_the_r2_that_is_lost(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    found = importance.importance(operation.trained_model.name)
    assert found["measure"] == "r2"
    assert found["baseline"] == pytest.approx(operation.trained_model.metrics["validation"]["r2"], abs=1e-5)
    page = page_of(examples, f"/operations/{operation.pk}/")
    assert "R² is" in page
    axis = figure_in(page, "importance-features")["layout"]["xaxis"]
    assert axis["title"]["text"] == "points of R² lost"


def test_a_plan_tells_of_returns_instead_of_shares(shown: tuple[Examples, Operation]) -> None:
    told = plan.plan(text_of_returns(), "here", {})
    labels = trained(text_of_returns()).predictions["test"].labels
    assert told["network"].endswith("one predicted return") and told["class_names"] == [] and told["class_shares"]["train"] == {}
    assert told["return_figures"]["test"]["mean"] == pytest.approx(labels.mean())
    assert told["return_figures"]["test"]["rising"] == pytest.approx((labels > 0).mean())
    assert told["label_report"]["cost"] == 0.002 and not told["label_report"]["cost_assumed"]
    assert plan.plan(text_of(), "here", {})["return_figures"] == {}
