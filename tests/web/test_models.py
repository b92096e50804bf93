"""Pages of trained models: the list beside its baselines, the page of one, its files, and predictions on stored bars."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from tests.examples.admin_rows import METRICS, model, operation, version
from tests.examples.api import Examples, make_examples, register_worker, store_bars
from tests.examples.quick_work import work, worked
from training.models import AuditEntry, Operation, Status, TrainedModel

XSS = "<script>alert(1)</script>"


@pytest.fixture
def shown(examples: Examples) -> TrainedModel:
    return model(operation(of=version("momentum_daily")), "momentum_daily-1")


def many(examples: Examples, count: int) -> None:
    spec = json.dumps(json.loads(examples.completed.spec))
    rows = Operation.objects.bulk_create(
        Operation(id=f"op_training_{n:06}", status=Status.COMPLETED, strategy_version=examples.version, spec=spec, user=examples.users["trainer"])
        for n in range(count)
    )  # fmt: skip
    TrainedModel.objects.bulk_create(
        TrainedModel(
            operation=row, name=f"stored-{n + 100}", folder=f"f{n}", sha256="ab" * 32, metrics=METRICS,
            summary={"accuracy": 0.4 + n / 10000, "mcc": n / 10000, "lead": -n, "split": "test", "headline": "Worse than guessing."},
        )
        for n, row in enumerate(rows)
    )  # fmt: skip


def test_no_model_yet_says_what_to_do(examples: Examples) -> None:
    TrainedModel.objects.all().delete()
    assert b"No model yet" in examples.signed_in("viewer").get("/models/").content
    assert b"Start a training" not in examples.signed_in("viewer").get("/models/").content
    assert b"Start a training" in examples.signed_in("trainer").get("/models/").content


def test_each_stands_beside_its_best_baseline(examples: Examples, shown: TrainedModel) -> None:
    page = examples.signed_in("viewer").get("/models/?q=MOMENTUM").content.decode()
    assert "52.1%" in page and "47.3%" in page and "always HOLD" in page and "0.118" in page
    assert shown.summary["headline"] in page and "stored-1" not in page
    assert "Nothing matches" in examples.signed_in("viewer").get("/models/?q=nothing%00").content.decode()


def test_a_thousand_models_take_few_queries_and_can_be_sorted(examples: Examples, django_assert_max_num_queries: Any) -> None:
    many(examples, 1000)
    client = examples.signed_in("viewer")
    for order, first in (("MCC", "stored-1099"), ("accuracy", ">stored-1<"), ("lead over the best baseline", ">stored-1<")):
        with django_assert_max_num_queries(15):
            page = client.get("/models/", {"order": order}).content.decode()
        lines = page.split('<td class="long"><a href')
        assert len(lines) == 51 and first in lines[1], order
    assert client.get("/models/?order=secret").status_code == 200


def test_a_page_tells_what_it_reaches_and_where_it_comes_from(
    examples: Examples, shown: TrainedModel, django_assert_max_num_queries: Any
) -> None:
    client = examples.signed_in("viewer")
    with django_assert_max_num_queries(15):
        page = client.get("/models/momentum_daily-1/").content.decode()
    for words in ("1d_zone_low", "seed 42", "torch 2.13.0", "train 2,800", "1w was resampled from 1d", "AAPL 1d", shown.operation_id,
                  "52.1%", "always HOLD", "on 1d bars; a signal needs a probability of at least 50.0%"):  # fmt: skip
        assert words in page, words
    assert client.get("/models/none/").status_code == 404


def test_it_is_shown_where_a_package_of_its_strategy_is_not_installed(examples: Examples, shown: TrainedModel) -> None:
    spec = json.loads(shown.operation.spec)
    spec["indicators"][next(iter(spec["indicators"]))] = {"type": "kama"}
    plugins = {"indicator kama": {"package": "kama-plus", "version": "1.0", "code": "ab12"}}
    Operation.objects.filter(pk=shown.operation_id).update(spec=json.dumps(spec), plugins=plugins)
    client = examples.signed_in("trainer")
    assert "of at least 50.0%" in client.get("/models/momentum_daily-1/").content.decode()
    page = client.get(f"/operations/{shown.operation_id}/").content.decode()
    assert "Indicator kama" in page and "kama-plus 1.0, code ab12" in page


def test_damaged_files_are_said_and_not_handed_out(examples: Examples, shown: TrainedModel) -> None:
    client = examples.signed_in("viewer")
    folder = Path(settings.BUNDLE_DIR) / shown.folder
    (folder / "weights.safetensors").write_bytes(b"other")
    answer = client.get("/models/momentum_daily-1/download/", follow=True)
    assert answer.redirect_chain and b"cannot be downloaded" in answer.content
    shutil.rmtree(folder)
    assert b"cannot be read" in client.get("/models/momentum_daily-1/").content
    assert not AuditEntry.objects.filter(action="export").exists()


def test_the_bundle_is_handed_out_whole_and_noted(examples: Examples, shown: TrainedModel) -> None:
    answer = examples.signed_in("viewer").get("/models/momentum_daily-1/download/")
    names = zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content))).namelist()
    assert "momentum_daily-1/weights.safetensors" in names and "momentum_daily-1/manifest.json" in names
    entry = AuditEntry.objects.get(action="export")
    assert (entry.username, entry.target, entry.details["via"]) == ("viewer", "momentum_daily-1", "web")


def test_without_a_quick_worker_the_rest_of_the_page_works(examples: Examples, shown: TrainedModel, empty_redis: Any) -> None:
    store_bars()
    client = examples.signed_in("viewer")
    page = client.get("/models/momentum_daily-1/").content.decode()
    assert "manage.py worker --tag quick" in page and "disabled" in page and "1d_zone_low" in page
    answer = client.post("/models/momentum_daily-1/predict/", {"symbol": "AAPL"}, follow=True)
    assert b"Not predicted. No quick worker is running" in answer.content
    assert "#" not in answer.redirect_chain[-1][0], "the refusal is in sight, on top of the page"


def test_a_prediction_is_asked_for_shown_and_given_as_a_file(
    transactional_db: None, empty_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.management.runs import start_inline

    examples = make_examples()
    store_bars()
    register_worker("quick")
    stream = io.StringIO()
    assert start_inline("stored", {}, stream, "manage.py") == "completed", stream.getvalue()
    client = examples.signed_in("viewer")
    page = client.get("/models/stored-2/").content.decode()
    assert '<option value="AAPL">AAPL: 2000-03-01 to 2013-03-01</option>' in page, page[page.index("<select") :][:400]
    monkeypatch.setattr("training.web.page.SECONDS", 0)
    asked = client.post("/models/stored-2/predict/", {"symbol": "AAPL", "start": "2010-01-01", "end": "2010-12-31"})["Location"]
    job = asked.split("job=")[1].split("#")[0]
    part = f"/models/stored-2/prediction/{job}/"
    assert part in client.get(asked).content.decode()
    assert "Predicting" in client.get(part).content.decode()
    work()
    told = client.get(part).content.decode()
    unsure = re.search(r"No class reaches 50\.0% on (\d+) of 252 bars: the signal there is HOLD\.", told)
    lines = [line.split(",") for line in client.get(f"{part}csv/").content.decode().splitlines()[1:]]
    assert int(unsure[1] if unsure else 0) == sum(max(map(float, line[1:4])) < 0.5 for line in lines)
    assert "252</b>" in told and "the last 60 of 252 bars" in told and "2010-12-31" in told and "prediction-figure" in told
    figure = json.loads(told.split('id="prediction-figure" type="application/json">')[1].split("</script>")[0])
    assert [trace["type"] for trace in figure["data"]] == ["candlestick", "scatter", "scatter", "scatter"]
    assert len(figure["data"][0]["x"]) == 252 == len(figure["data"][1]["x"])
    lines = client.get(f"{part}csv/").content.decode().splitlines()
    assert (
        lines[0] == "timestamp,BUY,HOLD,SELL,signal,split"
        and len(lines) == 253
        and lines[1].startswith("2010-01-04T00:00:00Z,0.")
    )
    assert "no question" in examples.signed_in("trainer").get(part).content.decode(), "an answer is its asker's alone"
    assert examples.signed_in("trainer").get(f"{part}csv/", follow=True).redirect_chain
    with worked(monkeypatch):
        monkeypatch.setattr("training.web.page.SECONDS", 2)
        wrong = client.post("/models/stored-2/predict/", {"symbol": XSS, "start": "yesterday"}, follow=True)
    assert XSS.encode() not in wrong.content and b"Not predicted." in wrong.content


def test_texts_of_others_stay_texts(examples: Examples, shown: TrainedModel) -> None:
    TrainedModel.objects.filter(pk=shown.pk).update(summary={"headline": XSS, "baseline": XSS, "tone": XSS, "split": XSS})
    document = Path(settings.BUNDLE_DIR) / shown.folder / "bundle.json"
    document.write_text(json.dumps({"notes": [XSS], "feature_names": [XSS], "device": XSS, "versions": {XSS: XSS}}))
    client = examples.signed_in("viewer")
    for address in (
        "/models/",
        f"/models/?q={XSS}&order={XSS}",
        "/models/momentum_daily-1/",
        f"/models/momentum_daily-1/?symbol={XSS}&start={XSS}&job={XSS}",
    ):
        assert XSS.encode() not in client.get(address).content, address
    assert client.get("/models/momentum_daily-1/prediction/quick-nothing/").status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "/models/",
        "/models/momentum_daily-1/",
        "/models/momentum_daily-1/download/",
        "/models/momentum_daily-1/prediction/x/",
        "/models/momentum_daily-1/prediction/x/csv/",
    ],
)
def test_who_may_look(examples: Examples, shown: TrainedModel, empty_redis: Any, address: str) -> None:
    assert Client().get(address)["Location"].startswith("/sign-in/")
    assert examples.signed_in("nobody").get(address).status_code == 403
    assert examples.signed_in("viewer").get(address).status_code in (200, 302)


def test_who_may_predict(examples: Examples, shown: TrainedModel, empty_redis: Any) -> None:
    address = "/models/momentum_daily-1/predict/"
    assert Client().post(address)["Location"].startswith("/sign-in/")
    assert examples.signed_in("nobody").post(address).status_code == 403
    assert examples.signed_in("viewer", csrf=True).post(address).status_code == 403
    assert examples.signed_in("viewer").get(address).status_code == 405
