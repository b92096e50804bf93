"""Starting a training in the browser: what is in the way is named at its field, the plan is that of the dry run, one press starts one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from strategies_app.models import Strategy, StrategyVersion
from strategies_app.starters import samples
from tests.examples import admin_rows
from tests.examples.api import TEXT, Examples, register_worker, send
from tests.examples.quick_work import asking, work, worked
from training.jobs import queues
from training.models import BarSeries, Operation
from training.pipeline.bars import read_bars, write_bars
from training.results import metric_table
from training.web import start

__all__ = ["asking"]
TRAIN, PLAN = "/train/", "/train/plan/"
FORM = {
    "strategy": "stored", "symbols": ["AAPL"], "timeframes": ["1d", "1w"], "start": "2003-01-01", "end": "2010-12-31",
    "validation_split": "0.15", "task_id": "a" * 32,
}  # fmt: skip


@pytest.fixture
def ready(asking: Examples) -> Examples:
    """Bars, a quick worker, and a cpu worker that takes nothing."""
    register_worker("cpu")
    return asking


def newest() -> Operation:
    return Operation.objects.order_by("-created")[0]


# --- the form ----------------------------------------------------------------------------------


def test_it_opens_with_the_strategys_own_values(ready: Examples) -> None:
    page = ready.signed_in("trainer").get(TRAIN, {"strategy": "stored"})
    text = page.content.decode()
    assert page.context["value"] == "stored"
    assert 'name="start" value="2003-01-01"' in text and 'name="end" value="2010-12-31"' in text
    assert [one["name"] for one in page.context["symbols"] if one["chosen"]] == ["AAPL"]
    assert [one["name"] for one in page.context["timeframes"] if one["chosen"]] == ["1d", "1w"]
    assert [one["name"] for one in page.context["timeframes"] if not one["can"]] == ["1m", "5m", "15m", "30m", "1h", "2h", "4h"]
    assert "1d 2000-03-01 to 2013-03-01, 3,270 bars" in text


def test_without_a_word_it_opens_with_what_was_trained_last_or_the_plainest_sample(ready: Examples) -> None:
    trainer = ready.signed_in("trainer")
    assert trainer.get(TRAIN).context["value"] == "stored"
    assert trainer.get(TRAIN, {"sample": "1"}).context["value"] == "sample:minimal"
    admin_rows.clear()
    BarSeries.objects.create(
        symbol="AAPL", timeframe="1d", first="2000-01-01T00:00Z", last="2010-01-01T00:00Z", rows=9, sha256=""
    )
    assert trainer.get(TRAIN).context["value"] == "sample:minimal"


def test_train_again_opens_with_what_that_run_was_started_with(ready: Examples, django_capture_on_commit_callbacks: Any) -> None:
    trainer = ready.signed_in("trainer")
    with django_capture_on_commit_callbacks(execute=True):
        trainer.post(TRAIN, FORM | {"timeframes": ["1d"], "start": "2004-05-06", "validation_split": "0.2"})
    page = trainer.get(TRAIN, {"again": newest().pk})
    text = page.content.decode()
    assert page.status_code == 200 and page.context["value"] == "stored"
    assert [one["name"] for one in page.context["symbols"] if one["chosen"]] == ["AAPL"]
    assert [one["name"] for one in page.context["timeframes"] if one["chosen"]] == ["1d"]
    assert 'name="start" value="2004-05-06"' in text and 'name="validation_split" value="0.2"' in text
    assert f"/train/?again={newest().pk}" in trainer.get(f"/operations/{newest().pk}/").content.decode()


def test_train_again_of_a_strategy_whose_package_is_gone_names_the_package(
    ready: Examples, django_capture_on_commit_callbacks: Any
) -> None:
    trainer = ready.signed_in("trainer")
    with django_capture_on_commit_callbacks(execute=True):
        trainer.post(TRAIN, FORM)
    run, strategy = newest(), StrategyVersion.objects.filter(strategy__name="stored")
    spec = json.loads(run.spec)
    spec["model"] = {"type": "gated"}
    used = {"network gated": {"package": "outsider-kinds", "version": "1.0", "code": "0"}}
    Operation.objects.filter(pk=run.pk).update(spec=json.dumps(spec), plugins=used)
    strategy.update(text=strategy.get().text.replace("type: mlp", "type: gated"))
    page = trainer.get(TRAIN, {"again": run.pk})
    text = page.content.decode()
    assert page.status_code == 200
    assert "needs the package outsider-kinds 1.0 (network gated), which is not installed" in text
    assert "unknown type &#x27;gated&#x27;" in text


def test_a_mail_is_offered_where_one_can_be_sent_and_goes_to_the_accounts_own_address(ready: Examples, settings: Any) -> None:
    trainer = ready.signed_in("trainer")
    assert 'name="notify"' not in trainer.get(TRAIN).content.decode()
    settings.EMAIL_HOST = "localhost"
    assert 'name="notify" value="1" disabled' in trainer.get(TRAIN).content.decode()
    before = Operation.objects.count()
    told = trainer.post(TRAIN, FORM | {"notify": "1"})
    assert told.status_code == 422 and "has no mail address" in told.content.decode() and Operation.objects.count() == before
    user = User.objects.get(pk=trainer.session["_auth_user_id"])
    user.email = "ada@example.org"
    user.save()
    trainer.post(TRAIN, FORM | {"notify": "1"})
    assert newest().notify == "ada@example.org"
    assert 'name="notify" value="1" checked' in trainer.get(TRAIN, {"again": newest().pk}).content.decode()


def test_without_bars_it_says_what_to_do_first(examples: Examples, empty_redis: Any) -> None:
    page = examples.signed_in("trainer").get(TRAIN).content.decode()
    assert "No bars are stored yet" in page and 'href="/data/"' in page and 'id="go"' not in page


def test_a_strategy_that_is_not_there_is_said(ready: Examples) -> None:
    page = ready.signed_in("trainer").get(TRAIN, {"strategy": "stord"}).content.decode()
    assert "did you mean &#x27;stored&#x27;?" in page


# --- the plan ----------------------------------------------------------------------------------


def planned(client: Client, **changes: Any) -> str:
    answer = client.post(PLAN, FORM | changes)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_plan_is_that_of_the_dry_run(ready: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    client = ready.signed_in("trainer")
    with worked(monkeypatch):
        send(client, "post", "/trainings/plan", {"strategy_name": "stored"})  # from here on the features lie in the cache
        page = planned(client)
        told = send(client, "post", "/trainings/plan", {"strategy_name": "stored"}).json()
    for name, count in told["split"]["rows"].items():
        assert re.search(rf'<td>{name}</td><td class="number">{count:,}</td>', page), name
    for shares in told["class_shares"].values():
        assert all(f"{share:.1%}" in page for share in shares.values())
    for name, cells in metric_table.label_lines(told["label_report"]):
        line = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        assert f"<tr><td>{name}</td>{line}</tr>" in page, name
    assert escape(metric_table.label_worth(told["label_report"])) in page
    assert told["network"] in page and escape(told["memory"].partition(", ")[2]) in page and "a cpu worker" in page
    assert re.findall(r"<li>(1\w+)</li>", page.partition("features mono")[2])[0] == told["features"][0]
    assert "covers" not in re.sub(r'aria-label="[^"]*"', "", page), "the dates are covered whole"
    assert "made into 1w" in page, "the week is not stored"


def test_the_time_is_that_of_earlier_runs(ready: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "seconds_for", lambda spec: 75.0 if spec["training"]["epochs"] == 2 else None)
    with worked(monkeypatch):
        assert 'data-seconds="75.0"' in planned(ready.signed_in("trainer"))


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"start": "2011-06-01"}, "start", "after the end"),
        ({"start": "1990-01-01", "end": "1990-12-31"}, "start", "No 1d bars of AAPL between 1990-01-01 and 1990-12-31"),
        ({"end": "yesterday"}, "end", "Seen &#x27;yesterday&#x27;, wanted a day as YYYY-MM-DD."),
        ({"symbols": ["AAPL", "NONE"]}, "symbols", "No bars of NONE are stored"),
        ({"symbols": []}, "symbols", "Choose at least one of the symbols."),
        ({"symbols": ["<b>"]}, "symbols", "&lt;b&gt;"),
        ({"timeframes": ["1w"]}, "timeframes", "1d"),
        ({"timeframes": ["1h", "1d"]}, "symbols", "No bars of AAPL at 1h or finer are stored"),
        ({"validation_split": "0.9"}, "validation_split", "0.9"),
        ({"validation_split": "nan"}, "validation_split", "nan"),
        ({"validation_split": "much"}, "validation_split", "wanted a share such as 0.2"),
        ({"strategy": "nothing"}, "strategy", "No strategy"),
    ],
)
def test_a_problem_is_named_at_its_field_before_anything_is_asked(
    ready: Examples, changes: dict[str, Any], field: str, said: str
) -> None:
    page = planned(ready.signed_in("trainer"), **changes)
    found = dict(re.findall(r'<div class="refusal" data-field="(\w*)">(.*?)</div>', page, re.DOTALL))
    assert said in found[field], found
    assert not queues.queue_of("quick").jobs, "no question was put"


def test_a_refusal_of_the_plan_is_one_sentence(ready: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what only a look into the bars tells: one of them is none that can be."""
    sound = read_bars(Path(settings.STORE_DIR), "AAPL", "1d")
    broken = sound.copy()
    broken.iloc[1_500, broken.columns.get_loc("high")] = 1e-6
    write_bars(Path(settings.STORE_DIR), "AAPL", "1d", broken)
    try:
        with worked(monkeypatch):
            page = planned(ready.signed_in("trainer"))
    finally:
        write_bars(Path(settings.STORE_DIR), "AAPL", "1d", sound)
    (said,) = re.findall(r'data-field="plan"><p class="error">(.*?)</p>', page)
    assert said[0].isupper() and said.endswith(".")


def test_how_much_of_the_dates_is_stored_is_shown(ready: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    with worked(monkeypatch):
        page = planned(ready.signed_in("trainer"), start="1990-01-01")
    assert "covers 5" in page, "of twenty-one years eleven are stored"


def test_without_workers_it_says_so_and_how_to_start_them(ready: Examples, empty_redis: Any) -> None:
    empty_redis.flushdb()
    page = planned(ready.signed_in("trainer"))
    assert "<code>manage.py worker --tag cpu</code>" in page and "The training could not start now." in page
    assert "<code>manage.py worker --tag quick</code>" in page and "the training can be started all the same" in page
    assert "3,270 1d bars" in page, "what is stored is known without them"


def test_a_longer_plan_is_asked_for_again_by_the_page(ready: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "WAIT_SECONDS", 1)
    client = ready.signed_in("trainer")
    (job,) = re.findall(r'hx-get="(/train/plan/quick-\w+/)"', planned(client))
    assert "skeleton" in client.get(job).content.decode()
    assert "no question" in ready.signed_in("other").get(job).content.decode()
    work()
    assert "Look-ahead" in client.get(job).content.decode()


# --- the start ---------------------------------------------------------------------------------


def test_start_queues_what_was_chosen_and_leads_to_it(ready: Examples, django_capture_on_commit_callbacks: Any) -> None:
    chosen = {"start": "2004-05-06", "validation_split": "0,2", "timeframes": ["1w", "1d"]}
    answer = ready.signed_in("trainer").post(TRAIN, FORM | chosen)
    operation = newest()
    assert answer.headers["Location"] == reverse("site:operation", args=[operation.pk])
    spec = json.loads(operation.spec)
    assert spec["training_data"]["start_date"] == "2004-05-06" and spec["training_data"]["end_date"] == "2010-12-31"
    assert spec["training"]["data_split"]["validation"] == 0.2
    assert spec["training_data"]["timeframes"]["list"] == ["1d", "1w"], (
        "the strategy's own order stays: it is that of the features"
    )
    assert (operation.user, operation.queue, operation.status) == (ready.users["trainer"], "cpu", "pending")


def test_a_double_click_starts_one(ready: Examples) -> None:
    client, before = ready.signed_in("trainer"), Operation.objects.count()
    first, second = client.post(TRAIN, FORM), client.post(TRAIN, FORM, follow=True)
    assert Operation.objects.count() == before + 1
    assert first.headers["Location"] == second.redirect_chain[0][0]
    assert "This was started already" in second.content.decode()


def test_the_same_form_with_other_values_is_another_training_after_a_word(ready: Examples) -> None:
    client = ready.signed_in("trainer")
    client.post(TRAIN, FORM)
    before = Operation.objects.count()
    answer = client.post(TRAIN, FORM | {"end": "2009-12-31"})
    assert answer.status_code == 422 and newest().pk in answer.content.decode()
    assert Operation.objects.count() == before
    fresh = answer.context["task_id"]
    assert client.post(TRAIN, FORM | {"end": "2009-12-31", "task_id": fresh}).status_code == 302


def test_a_sample_is_stored_and_started_in_one_go(ready: Examples) -> None:
    form = {"strategy": "sample:minimal", "symbols": ["AAPL"], "timeframes": ["1d"], "validation_split": "0.15", "task_id": "b"}
    assert ready.signed_in("trainer").post(TRAIN, form).status_code == 302
    assert newest().strategy_version.strategy.name == "minimal"
    assert Strategy.objects.get(name="minimal").newest().text == samples()["minimal"].text  # type: ignore[union-attr]


def test_without_a_worker_nothing_is_started_and_what_was_typed_stays(ready: Examples, empty_redis: Any) -> None:
    empty_redis.flushdb()
    before = Operation.objects.count()
    answer = ready.signed_in("trainer").post(TRAIN, FORM | {"start": "2005-01-03"})
    page = answer.content.decode()
    assert answer.status_code == 422 and Operation.objects.count() == before
    assert "Nothing was started." in page and "<code>manage.py worker --tag cpu</code>" in page
    assert 'name="start" value="2005-01-03"' in page


def test_without_a_quick_worker_it_starts_all_the_same(ready: Examples, empty_redis: Any) -> None:
    empty_redis.flushdb()
    register_worker("cpu")
    assert ready.signed_in("trainer").post(TRAIN, FORM).status_code == 302


def test_a_problem_starts_nothing_and_marks_its_field(ready: Examples) -> None:
    before = Operation.objects.count()
    answer = ready.signed_in("trainer").post(TRAIN, FORM | {"start": "2012-01-01"})
    page = answer.content.decode()
    assert answer.status_code == 422 and Operation.objects.count() == before
    assert re.search(r'name="start" value="2012-01-01" aria-invalid="true"', page)


@pytest.mark.parametrize("field", ["strategy", "symbols", "timeframes", "start", "end", "validation_split", "task_id"])
def test_no_field_becomes_markup(ready: Examples, field: str) -> None:
    attack = '"><script>alert(1)</script>'
    client = ready.signed_in("trainer")
    for address in (TRAIN, PLAN):
        assert "<script>alert" not in client.post(address, FORM | {field: attack}).content.decode()
    assert "<script>alert" not in client.get(TRAIN, {"strategy": attack, "sample": attack}).content.decode()


def test_only_who_may_start_sees_the_form(ready: Examples) -> None:
    for client, status in ((Client(), 302), (ready.signed_in("viewer"), 403), (ready.signed_in("nobody"), 403)):
        assert client.get(TRAIN).status_code == status
        assert client.post(TRAIN, FORM).status_code == status
        assert client.post(PLAN, FORM).status_code == status
    assert ready.signed_in("trainer", csrf=True).post(TRAIN, FORM).status_code == 403


def test_few_queries_with_many_strategies_and_series(ready: Examples, django_assert_max_num_queries: Any) -> None:
    rows = Strategy.objects.bulk_create(Strategy(name=f"s{number}") for number in range(500))
    StrategyVersion.objects.bulk_create(StrategyVersion(strategy=row, number=1, text=TEXT, sha256="0" * 64) for row in rows)
    BarSeries.objects.bulk_create(
        BarSeries(symbol=f"S{n}", timeframe="1d", first="2000-01-01T00:00Z", last="2010-01-01T00:00Z", rows=9, sha256="")
        for n in range(300)
    )
    client = ready.signed_in("trainer")
    with django_assert_max_num_queries(15):
        assert client.get(TRAIN).status_code == 200
    with django_assert_max_num_queries(15):
        client.post(PLAN, FORM | {"end": "no"})
