"""Dates in which nothing is stored are refused before anything is started, whichever way is asked, in the worker's own words."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from strategies_app.grammar.reader import read_strategy
from tests.examples.api import TEXT, Examples, register_worker, send
from tests.examples.quick_work import asking
from training.bars.series import SAMPLE_BARS, store_frame
from training.jobs.requests import effective_spec
from training.models import Operation
from training.pipeline.bars import read_bars, series_path
from training.pipeline.loading import load_bars
from training.store.coverage import DataError

__all__ = ["asking"]  # a fixture
STORED = "stored are 2000-03-01 to 2013-03-01"
#: Inside a closed weekend; the days after the last bar; the week in which nothing was traded; too short.
DATES = {
    ("2004-01-03", "2004-01-04"): f"no 1d bars of AAPL between 2004-01-03 and 2004-01-04: {STORED}",
    ("2013-03-02", "2013-12-31"): f"no 1d bars of AAPL between 2013-03-02 and 2013-12-31: {STORED}",
    ("2001-09-11", "2001-09-16"): f"no 1d bars of AAPL between 2001-09-11 and 2001-09-16: {STORED}",
    ("2004-01-05", "2004-02-06"): "AAPL 1d: 24 bars between 2004-01-05 and 2004-02-06, wanted at least 100; choose more days",
}


@pytest.fixture
def ready(asking: Examples) -> Examples:
    register_worker("cpu")
    return asking


@pytest.mark.parametrize(("dates", "said"), DATES.items(), ids=lambda value: str(value)[:24])
@pytest.mark.django_db
def test_every_way_to_start_refuses_them(ready: Examples, dates: tuple[str, str], said: str) -> None:
    trainer, before = ready.signed_in("trainer"), Operation.objects.count()
    start, end = dates
    asked = {"strategy_name": "stored", "symbols": ["AAPL"], "start_date": start, "end_date": end}
    for address in ("/trainings/start", "/trainings/plan"):
        answer = send(trainer, "post", address, asked)
        assert answer.status_code == 422, address
        assert said in answer.json()["error"]["message"], address
    form = {"strategy": "stored", "symbols": ["AAPL"], "timeframes": ["1d", "1w"], "start": start, "end": end}
    page = trainer.post("/train/", form | {"task_id": "b" * 32})
    assert page.status_code == 422
    assert said[1:] in " ".join(page.context["problems"]["start"])  # which begins with a capital letter there
    for how in ([], ["--dry-run"], ["--inline"]):
        with pytest.raises(CommandError) as refused:
            call_command("train", "stored", "--symbols", "AAPL", "--start", start, "--end", end, *how, stderr=StringIO())
        assert said in str(refused.value), how
    assert Operation.objects.count() == before, "nothing was started"


@pytest.mark.django_db
def test_a_hole_of_one_symbol_among_several_is_named(ready: Examples) -> None:
    bars = read_bars(SAMPLE_BARS, "MSFT", "1d")
    store_frame("MSFT", "1d", bars[(bars.index < "2005-01-01") | (bars.index >= "2006-01-01")], source="sample bars", whole=True)
    asked = {"symbols": ["AAPL", "MSFT"], "start": "2005-02-01", "end": "2005-11-30"}
    try:
        with pytest.raises(DataError, match=r"^no 1d bars of MSFT between 2005-02-01 and 2005-11-30"):
            effective_spec(TEXT, asked)
    finally:
        series_path(Path(settings.STORE_DIR), "MSFT", "1d").unlink()
    effective_spec(TEXT, asked | {"symbols": ["AAPL"]})


@pytest.mark.django_db
def test_what_the_worker_would_read_is_never_refused(ready: Examples) -> None:
    """The shortest dates that a training's bars can have, and one bar fewer."""
    opens = read_bars(SAMPLE_BARS, "AAPL", "1d").index
    inside = opens[1000:1100]
    dates: dict[str, Any] = {"symbols": ["AAPL"], "start": f"{inside[0]:%Y-%m-%d}", "end": f"{inside[-1]:%Y-%m-%d}"}
    spec = effective_spec(TEXT, dates)
    assert len(load_bars(spec, Path(settings.STORE_DIR)).clock["AAPL"]) == 100
    with pytest.raises(DataError, match=r"^AAPL 1d: 99 bars between"):
        effective_spec(TEXT, dates | {"start": f"{inside[1]:%Y-%m-%d}"})
    assert read_strategy(TEXT).base_timeframe == "1d"
