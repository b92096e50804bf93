"""The result of a completed training: the answer first, then what it rests on; nothing that is missing breaks the page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.test import Client

from tests.examples.api import Examples
from tests.examples.results import completed, text_of, trained
from training.models import AuditEntry, Operation, TrainedModel
from training.web import result


@pytest.fixture
def shown(examples: Examples) -> tuple[Examples, Operation]:
    return examples, completed(user=examples.users["trainer"])


def page_of(examples: Examples, operation: Operation, role: str = "viewer") -> str:
    answer = examples.signed_in(role).get(f"/operations/{operation.pk}/")
    assert answer.status_code == 200
    return str(answer.content.decode())


def figure_in(page: str, name: str) -> dict[str, Any]:
    found = re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', page)
    assert found, name
    return dict(json.loads(found[1]))


def test_the_answer_comes_first_and_everything_below_is_of_the_same_model(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    page, metrics = page_of(examples, operation), operation.trained_model.metrics
    order = [page.index(words) for words in ("verdict", "Test: beside its baselines", "Predictions against outcomes", "Loss by epoch", "By class",
             "By symbol", "How every bar was used", "Probabilities over the candles", "permutation importance", "Provenance", "<h2>Download")]  # fmt: skip
    assert order == sorted(order)
    assert f"{metrics['test']['accuracy']:.1%}" in page
    for name in ("This model", "Always ", "Label known last", "Guessing by the shares of train"):
        assert name in page
    counts = [cell for row in metrics["test"]["confusion_matrix"] for cell in row]
    cells = [a["text"] for a in figure_in(page, "matrix-figure")["layout"]["annotations"]]
    assert [int(re.match(r"<b>([\d,]+)</b>", cell)[1].replace(",", "")) for cell in cells] == counts  # type: ignore[index]
    assert figure_in(page, "loss-figure")["data"][1]["y"] == [epoch["val_loss"] for epoch in metrics["history"]]


def test_the_ledger_accounts_for_every_bar_of_each_symbol(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    ledger = figure_in(page_of(examples, operation), "ledger-figure")
    split = trained(text_of()).split
    assert {name for bar in ledger["data"] for name in bar["y"]} == {"AAPL", "MSFT"}
    for symbol, counts in split["per_symbol"].items():
        spans = split["spans"][symbol]
        for part, count in counts.items():
            assert sum(span["rows"] for span in spans if span["part"] == part) == count, (symbol, part)
        assert sum(span["rows"] for span in spans) == sum(counts.values())
        train = next(span for span in spans if span["part"] == "train")
        validation = next(span for span in spans if span["part"] == "validation")
        assert train["last"] < split["cuts"][0] <= validation["first"]
    assert sum(sum(c.values()) for c in split["dropped_by_symbol"].values()) == sum(split["dropped"].values())


def test_without_a_test_split_validation_is_judged_and_that_is_said(examples: Examples) -> None:
    split = {"train": 0.8, "validation": 0.2, "test": 0.0}
    page = page_of(examples, completed(text_of("untested", training__data_split=split)))
    assert "Validation: beside its baselines" in page and "Test: beside its baselines" not in page
    assert "There is no test split" in page


def test_one_symbol_has_no_table_of_symbols(examples: Examples) -> None:
    page = page_of(examples, completed(text_of("alone", training_data__symbols={"mode": "single", "symbol": "AAPL"})))
    assert "By symbol" not in page and "By class" in page


def test_test_rows_of_one_class_are_called_what_they_are(shown: tuple[Examples, Operation]) -> None:
    """Training refuses labels of one class; a quiet test split may still hold but one."""
    examples, operation = shown
    metrics = operation.trained_model.metrics
    for figures in (metrics["test"], metrics["test"]["baseline"]):
        figures["confusion_matrix"] = [[0, 0, 0], [0, figures["rows"], 0], [0, 0, 0]]
    TrainedModel.objects.filter(operation=operation).update(metrics=metrics)
    page = page_of(examples, operation)
    assert "have the same label: nothing can be told from them" in page
    assert len(figure_in(page, "matrix-figure")["layout"]["annotations"]) == 9


def test_a_model_whose_files_are_gone_still_shows_its_figures(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    shutil.rmtree(Path(settings.BUNDLE_DIR) / operation.trained_model.folder)
    page = page_of(examples, operation)
    assert "The model's files cannot be read" in page and "Test: beside its baselines" in page
    assert "How every bar was used" not in page and "said-chart" not in page
    client = examples.signed_in("viewer")
    for part in ("bundle", "predictions", "report"):
        answer = client.get(f"/operations/{operation.pk}/{part}/", follow=True)
        assert "There is nothing to download" in answer.content.decode(), part
    assert client.get(f"/operations/{operation.pk}/probabilities/?symbol=AAPL").status_code == 409


def test_a_completed_training_whose_model_was_deleted_says_so(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    TrainedModel.objects.filter(operation=operation).delete()
    assert "The model is gone" in page_of(examples, operation)
    assert examples.signed_in("viewer").get(f"/operations/{operation.pk}/bundle/").status_code == 302


def test_probabilities_are_those_that_were_kept_over_the_bars_of_those_days(
    shown: tuple[Examples, Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.web.predictions.MARKED", 100)
    examples, operation = shown
    client, address = examples.signed_in("viewer"), f"/operations/{operation.pk}/probabilities/"
    figure = client.get(f"{address}?symbol=MSFT").json()
    kept = trained(text_of()).predictions["test"]
    own = kept.symbols == 1
    lines = {t["name"]: t for t in figure["data"] if t.get("mode") == "lines"}
    assert lines["BUY"]["y"] == [round(float(p), 4) for p in kept.probabilities[own][:, 0].astype(float)]
    candles = next(t for t in figure["data"] if t["type"] == "candlestick")
    assert candles["x"] == lines["BUY"]["x"] and len(candles["x"]) == int(own.sum())
    assert all(
        low <= min(o, c) and max(o, c) <= high
        for o, high, low, c in zip(candles["open"], candles["high"], candles["low"], candles["close"], strict=True)
    )
    assert not [t for t in figure["data"] if t.get("mode") == "markers"], "too many to be told apart"
    few = client.get(f"{address}?symbol=MSFT&from=2009-06-01&to=2009-09-30").json()
    shown_times = [time[:10] for time in few["data"][0]["x"]]
    assert 70 < len(shown_times) < 90 and shown_times[0] == "2009-06-01" and shown_times[-1] == "2009-09-30"
    days = np.datetime_as_string(kept.times[own].view("M8[us]"), unit="D")
    inside = np.isin(days, shown_times)
    for place, name in ((0, "BUY"), (2, "SELL")):
        called = kept.probabilities[own][inside].argmax(axis=1) == place
        right = called & (kept.labels[own][inside] == place)
        texts = [text for t in few["data"] if t.get("name") == f"called {name}" for text in t["text"]]
        assert (len(texts), texts.count("right")) == (called.sum(), right.sum())
    none = client.get(f"{address}?symbol=MSFT&from=1999-06-01&to=1999-06-30").json()
    assert none["data"] == [] and "no test row" in none["layout"]["annotations"][0]["text"]
    assert client.get(f"{address}?symbol=NOBODY").status_code == 404
    assert client.get(f"{address}?symbol=MSFT&from=yesterday").status_code == 404


def test_many_bars_are_thinned_and_their_ranges_kept(shown: tuple[Examples, Operation], monkeypatch: pytest.MonkeyPatch) -> None:
    from training.web import predictions

    examples, operation = shown
    address = f"/operations/{operation.pk}/probabilities/?symbol=AAPL"
    client = examples.signed_in("viewer")
    whole = next(t for t in client.get(address).json()["data"] if t["type"] == "candlestick")
    monkeypatch.setattr(predictions, "POINTS", 40)
    thin = next(t for t in client.get(address).json()["data"] if t["type"] == "candlestick")
    assert len(thin["x"]) == 40
    assert max(thin["high"]) == max(whole["high"]) and min(thin["low"]) == min(whole["low"])
    assert thin["open"][0] == whole["open"][0] and thin["close"][-1] == whole["close"][-1]


def test_bars_that_are_gone_leave_what_was_said(shown: tuple[Examples, Operation]) -> None:
    from training.store.candles import series_path

    examples, operation = shown
    path = series_path(Path(settings.STORE_DIR), "AAPL", "1d")
    aside = path.with_suffix(".aside")
    path.rename(aside)
    try:
        figure = examples.signed_in("viewer").get(f"/operations/{operation.pk}/probabilities/?symbol=AAPL").json()
    finally:
        aside.rename(path)
    assert {t["type"] for t in figure["data"]} == {"scatter"}
    assert "not stored any more" in figure["layout"]["annotations"][0]["text"]


@pytest.mark.parametrize(
    "part", ["", "bundle/", "report/", "epochs/", "predictions/", "results/", "importance/", "probabilities/?symbol=AAPL"]
)
def test_only_who_may_look_gets_anything(shown: tuple[Examples, Operation], part: str) -> None:
    examples, operation = shown
    address = f"/operations/{operation.pk}/{part}"
    assert Client().get(address).url.startswith("/sign-in/")  # type: ignore[attr-defined]
    assert examples.signed_in("nobody").get(address).status_code == 403
    assert examples.signed_in("viewer").get(address).status_code == 200
    assert examples.signed_in("viewer").get(address.replace("op_", "op-")).status_code == 404


def test_downloads_hold_the_figures_and_leave_a_trace(shown: tuple[Examples, Operation]) -> None:
    examples, operation = shown
    client, model, kept = examples.signed_in("viewer"), operation.trained_model, trained(text_of()).predictions
    epochs = client.get(f"/operations/{operation.pk}/epochs/").content.decode().splitlines()
    assert epochs[0].startswith("epoch,") and "predicted_shares.BUY" in epochs[0] and len(epochs) == 1 + 3
    lines = client.get(f"/operations/{operation.pk}/predictions/").content.decode().splitlines()
    assert lines[0] == "split,symbol,timestamp,label,p_BUY,p_HOLD,p_SELL"
    assert len(lines) == 1 + sum(len(p.times) for p in kept.values())
    first = lines[1].split(",")
    assert first[:2] == ["validation", "AAPL"] and float(first[4]) == pytest.approx(float(kept["validation"].probabilities[0, 0]))
    told = client.get(f"/operations/{operation.pk}/results/")
    assert told.json() == client.get(f"/api/v1/trainings/{operation.pk}/results").json()
    zipped = client.get(f"/operations/{operation.pk}/bundle/")
    assert zipped["Content-Disposition"] == f'attachment; filename="{model.name}.zip"'
    assert b"".join(zipped).startswith(b"PK")
    traces = AuditEntry.objects.filter(action="export", target=model.name, username="viewer")
    assert [trace.details["kind"] for trace in traces.order_by("pk")] == ["epochs", "predictions", "json", "bundle"]


def test_the_page_asks_few_queries(shown: tuple[Examples, Operation], django_assert_max_num_queries: Any) -> None:
    examples, operation = shown
    client = examples.signed_in("viewer")
    with django_assert_max_num_queries(15):
        assert client.get(f"/operations/{operation.pk}/").status_code == 200


def test_of_many_symbols_the_table_has_all_and_the_rest_says_what_it_leaves_out() -> None:
    counts = dict.fromkeys(("train", "validation", "test", "purged", "embargoed"), 1)
    many = [f"S{number:03}" for number in range(60)]
    split = {"per_symbol": dict.fromkeys(many, counts), "rows": counts, "dropped": {}, "dropped_by_symbol": {}, "cuts": [0, 1]}
    ledger = result._ledger(split)
    assert [line["name"] for line in ledger["lines"]] == many
    assert (ledger["drawn"], ledger["count"]) == (40, "60")
    assert result._ledger(split | {"per_symbol": dict.fromkeys(many[:40], counts)})["drawn"] is None
