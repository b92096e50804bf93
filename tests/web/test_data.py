"""The pages of stored bars: what is there, its findings and gaps, its candles, and the sample bars as the first click."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from strategies_app.models import Strategy
from tests.examples.admin_rows import bars
from tests.examples.api import Examples, register_worker, store_bars
from tests.examples.homes import ROOT
from tests.examples.quick_work import worked
from training.models import AuditEntry, BarSeries

XSS = "<script>alert(1)</script>"


def many(count: int) -> None:
    start = dt.datetime(2015, 1, 1, tzinfo=dt.UTC)
    quality = {"warnings": ["3 gaps"], "holes": [{"after": "2016-01-01T00:00:00Z", "before": "2016-02-01T00:00:00Z", "bars": 20}]}
    BarSeries.objects.bulk_create(
        BarSeries(
            symbol=f"S{n:04}", timeframe="1d", first=start + dt.timedelta(days=n), last=start + dt.timedelta(days=2000 + n), rows=2000,
            sha256="ab" * 32, quality=quality, source="bars.csv",
        )
        for n in range(count)
    )  # fmt: skip


def test_nothing_stored_offers_the_sample_bars_and_an_upload(examples: Examples) -> None:
    page = examples.signed_in("trainer").get("/data/").content.decode()
    assert "No bars are stored yet" in page and 'action="/data/sample/"' in page and 'href="/data/upload/"' in page
    page = examples.signed_in("viewer").get("/data/").content.decode()
    assert "Your role lets you look" in page and "/data/sample/" not in page and "/data/upload/" not in page


def test_each_series_is_a_line_with_its_coverage_and_gaps(examples: Examples) -> None:
    many(3)
    page = examples.signed_in("viewer").get("/data/").content.decode()
    assert page.count('<svg class="strip"') == 3 and page.count('class="gap" x=') == 3
    assert "S0002" in page and "2,000" in page and "2015-01-03" in page and ">2016</span>" in page
    assert "S0001" not in examples.signed_in("viewer").get("/data/?q=s0002").content.decode()
    assert "Nothing matches" in examples.signed_in("viewer").get("/data/?q=nothing%00").content.decode()
    assert "Nothing matches" in examples.signed_in("viewer").get("/data/?timeframe=1h").content.decode()


def test_a_thousand_series_take_few_queries(examples: Examples, django_assert_max_num_queries: Any) -> None:
    many(1000)
    client = examples.signed_in("viewer")
    with django_assert_max_num_queries(15):
        answer = client.get("/data/")
    assert answer.content.count(b'<svg class="strip"') == 200 and b"page 1 of 5" in answer.content


def test_a_series_shows_findings_gaps_and_its_ends(examples: Examples) -> None:
    store_bars()
    page = examples.signed_in("viewer").get("/data/AAPL/1d/").content.decode()
    row = BarSeries.objects.get()
    assert f"{row.first:%Y-%m-%d}" in page and f"{row.rows - 10:,} more" in page
    for warning in row.quality["warnings"]:
        assert f"{warning[0].upper()}{warning[1:]}." in page
    assert 'data-candles="/data/AAPL/1d/candles/"' in page
    assert examples.signed_in("viewer").get("/data/NONE/1d/").status_code == 404


def test_candles_answer_for_a_range_and_refuse_what_is_no_time(examples: Examples) -> None:
    store_bars()
    client = examples.signed_in("viewer")
    whole = client.get("/data/AAPL/1d/candles/").json()
    assert whole["together"] and whole["length"] == "1w" and len(whole["data"][0]["x"]) == whole["candles"] <= 1500
    near = client.get("/data/AAPL/1d/candles/?from=2010-01-01&to=2010-12-31T00:00:00Z").json()
    assert not near["together"] and near["bars"] == 251 and near["data"][0]["close"][0] > 0
    first = dt.datetime.fromtimestamp(near["data"][0]["x"][0] / 1000, dt.UTC)
    assert first.date() == dt.date(2010, 1, 4)
    ms = client.get(f"/data/AAPL/1d/candles/?from={near['data'][0]['x'][0]}&to={near['data'][0]['x'][5]}").json()
    assert ms["bars"] == 5
    for wrong in ("from=then", "to=1e999", "from=99999999999999999999999", "from=-"):
        assert client.get(f"/data/AAPL/1d/candles/?{wrong}").status_code == 400, wrong


def test_a_damaged_file_is_named_on_the_page(examples: Examples) -> None:
    bars("DAMAGED")
    Path(settings.STORE_DIR).mkdir(parents=True, exist_ok=True)
    path = Path(settings.STORE_DIR) / "DAMAGED_1d.parquet"
    path.write_bytes(b"PAR1 no more")
    try:
        page = examples.signed_in("viewer").get("/data/DAMAGED/1d/")
        assert page.status_code == 200 and b"cannot be read" in page.content
        assert examples.signed_in("viewer").get("/data/DAMAGED/1d/candles/").status_code == 409
    finally:
        path.unlink()


def test_texts_of_others_stay_texts(examples: Examples) -> None:
    row = bars("EVIL")
    BarSeries.objects.filter(pk=row.pk).update(source=XSS, quality={"warnings": [XSS]})
    client = examples.signed_in("viewer")
    for address in ("/data/", f"/data/?q={XSS}", "/data/EVIL/1d/"):
        assert XSS.encode() not in client.get(address).content, address


def test_a_million_bars_become_a_small_picture_without_pandas(tmp_path: Path) -> None:
    """In a process of its own that has no pandas and no numba, as the web's must not."""
    make = "import sys; from pathlib import Path; from training.pipeline.bars import write_bars; from training.pipeline.synthetic import make_bars; write_bars(Path(sys.argv[1]), 'A', '1m', make_bars(1_000_000, '1m'))"
    subprocess.run([sys.executable, "-c", make, str(tmp_path)], cwd=ROOT, check=True)
    read = """
import json, sys
from pathlib import Path
for name in ("pandas", "numba", "torch", "talib"):
    sys.modules[name] = None
from training.results.figures_bars import candle_figure
from training.store.candles import read_stored_candles
print(len(json.dumps(candle_figure(read_stored_candles(Path(sys.argv[1]), "A", "1m", None, None)))))
"""
    done = subprocess.run([sys.executable, "-c", read, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 400_000


# --- the sample bars ---------------------------------------------------------------------------


def test_the_sample_bars_are_stored_by_the_quick_worker_and_the_way_goes_on(
    transactional_db: None, empty_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.examples.api import make_examples

    shutil.rmtree(settings.STORE_DIR, ignore_errors=True)
    examples = make_examples()
    register_worker("quick")
    with worked(monkeypatch):
        answer = examples.signed_in("trainer").post("/data/sample/", {"next": "/operations/?sample=1"}, follow=True)
    assert answer.redirect_chain == [("/operations/?sample=1", 302)]
    assert b"sample bars are stored" in answer.content
    assert BarSeries.objects.count() == 4 and Strategy.objects.filter(name="multi_timeframe").exists()
    entry = AuditEntry.objects.get(action="load bars")
    assert entry.username == "trainer" and entry.details["added"] == sum(BarSeries.objects.values_list("rows", flat=True))
    before = Strategy.objects.count()
    with worked(monkeypatch):
        examples.signed_in("trainer").post("/data/sample/", {"next": "/data/"})
    assert Strategy.objects.count() == before and BarSeries.objects.count() == 4, "asked twice, stored once"


@pytest.mark.parametrize("elsewhere", ["https://example.com/", "//example.com", "javascript:alert(1)", "/\\example.com", ""])
def test_the_way_never_leads_elsewhere(
    transactional_db: None, empty_redis: Any, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    from tests.examples.api import make_examples
    from training.workers import quick

    monkeypatch.setitem(quick.QUESTIONS, "load_sample", lambda user: {"bars": 1, "series": 1, "strategies": []})
    examples = make_examples()
    register_worker("quick")
    with worked(monkeypatch):
        answer = examples.signed_in("trainer").post("/data/sample/", {"next": elsewhere})
    assert answer["Location"] == "/data/"


def test_without_a_quick_worker_the_page_says_how_to_start_one(examples: Examples, empty_redis: Any) -> None:
    answer = examples.signed_in("trainer").post("/data/sample/", {"next": "/"}, follow=True)
    assert answer.redirect_chain == [("/data/", 302)]
    assert b"manage.py worker --tag quick" in answer.content and b"were not stored" in answer.content


def test_what_takes_longer_is_waited_for_on_a_page(
    transactional_db: None, empty_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.examples.api import make_examples
    from tests.examples.quick_work import work
    from training.web import loading
    from training.workers import quick

    monkeypatch.setattr(loading, "SAMPLE_SECONDS", 0)
    monkeypatch.setitem(quick.QUESTIONS, "load_sample", lambda user: {"bars": 1, "series": 1, "strategies": []})
    examples = make_examples()
    register_worker("quick")
    client = examples.signed_in("trainer")
    here = client.post("/data/sample/", {"next": "/operations/"})["Location"]
    assert here.startswith("/data/sample/quick-") and b"The sample bars are being stored" in client.get(here).content
    assert client.get(here, headers={"HX-Request": "true"}).status_code == 204
    assert b"no question" in examples.signed_in("other").get(here, follow=True).content, "only who asked"
    work()
    assert client.get(here, headers={"HX-Request": "true"})["HX-Redirect"] == "/operations/"


# --- who may -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["/data/", "/data/AAPL/1d/", "/data/AAPL/1d/candles/", "/data/upload/", "/workers/", "/tokens/", "/models/"]
)
def test_strangers_are_sent_to_sign_in_and_users_without_a_role_are_refused(examples: Examples, address: str) -> None:
    assert Client().get(address)["Location"] == f"/sign-in/?next={address}"
    assert examples.signed_in("nobody").get(address).status_code == 403


def test_loading_bars_is_for_trainers(examples: Examples, empty_redis: Any) -> None:
    assert Client().post("/data/sample/")["Location"].startswith("/sign-in/")
    for address in ("/data/sample/", "/data/upload/"):
        assert examples.signed_in("viewer").post(address).status_code == 403
        assert examples.signed_in("trainer", csrf=True).post(address).status_code == 403, "without its token"
        assert examples.signed_in("admin").post(address).status_code in (302, 422)
    assert examples.signed_in("trainer").get("/data/sample/").status_code == 405
