"""Symbols from a list: a file on the command line, a text in the start form, an array in the API; what lacks bars is named first."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from strategies_app.grammar.reader import BadList, read_symbols, symbols_in
from strategies_app.grammar.schema import StrategySpec
from tests.examples.api import Examples, register_worker, send
from tests.examples.pipeline import strategy
from tests.examples.quick_work import asking
from tests.web.test_start import FORM, newest, planned
from training.jobs import queues
from training.models import BarSeries, Operation
from training.pipeline.prepare import gathered
from training.store.coverage import DataError, Ranges, check_stored, day_start, resolve_dates

__all__ = ["asking"]
MANY = [f"S{number:04}" for number in range(1000)]
DAY = 86_400_000_000


# --- the text ----------------------------------------------------------------------------------


def test_a_list_holds_one_a_line_or_with_commas_and_comments(tmp_path: Path) -> None:
    text = "\ufeff# tech\r\nAAPL, MSFT,\r\n\r\n  BRK.B   # Berkshire, class B\nEURUSD=X,GSPC.X\n"
    (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    assert read_symbols(tmp_path / "list.txt") == ["AAPL", "MSFT", "BRK.B", "EURUSD=X", "GSPC.X"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the list holds no symbol"),
        ("# nothing\n,,\n", "the list holds no symbol"),
        ("AAPL\nA B\n", "the list, line 2: 'A B' is no symbol"),
        ("AAPL\nMSFT\n# x\nAAPL\n", "the list holds AAPL (lines 1 and 4) more than once, wanted each symbol once"),
        ("\n".join(2 * MANY), "S0004 (lines 5 and 1005) and 995 more more than once"),
        ("A" * 1_000_001, "more than 1,000,000 characters"),
    ],
)
def test_what_is_no_list_is_said_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(BadList) as refused:
        symbols_in(text, "the list")
    assert said in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, said in (("none.txt", "does not exist"), (".", "is not a file"), ("binary", "is not a text in UTF-8")):
        with pytest.raises(BadList, match=said):
            read_symbols(tmp_path / name)


# --- what is stored of them --------------------------------------------------------------------


def stored(*, lacking: tuple[str, ...] = (), early: tuple[str, ...] = ()) -> Ranges:
    """Ten years of days of a thousand symbols, but for those that lack them or ended long ago."""
    first, last = 16_000 * DAY, 19_650 * DAY
    spans = {symbol: {"1d": (first - 5000 * DAY, first - 1000 * DAY) if symbol in early else (first, last)} for symbol in MANY}
    return {symbol: of for symbol, of in spans.items() if symbol not in lacking}


def thousand(**options: Any) -> StrategySpec:
    return strategy({"strength": {"type": "rsi"}}, ("1d",), MANY, **options)


def test_of_a_thousand_symbols_the_three_without_bars_are_named_with_the_command() -> None:
    with pytest.raises(DataError) as refused:
        resolve_dates(thousand(), stored(lacking=("S0007", "S0500", "S0999")))
    assert str(refused.value) == (
        "no bars of S0007, S0500 and S0999 are stored (3 of 1,000 symbols); "
        "load them with: manage.py load_data S0007 1d --from FILE, and so for each, or leave them out"
    )
    resolve_dates(thousand(), stored())


def test_of_many_without_bars_the_first_are_named_and_the_rest_counted() -> None:
    with pytest.raises(DataError, match=r"S0009 and 100 more are stored \(110 of 1,000 symbols\)"):
        resolve_dates(thousand(), stored(lacking=tuple(MANY[:110])))


def test_symbols_that_end_before_the_dates_are_named_together() -> None:
    spec = thousand(start_date="2014-06-01", end_date="2020-01-01")
    assert day_start(spec.training_data.start) > 16_000 * DAY  # type: ignore[arg-type]
    with pytest.raises(DataError) as refused:
        check_stored(spec, stored(early=("S0003", "S0004")))
    assert str(refused.value).startswith("no bars of S0003 and S0004 lie between 2014-06-01 and 2020-01-01 (2 of 1,000 symbols)")
    check_stored(spec, stored())


# --- what is said of them ----------------------------------------------------------------------


def test_what_is_said_of_many_symbols_is_said_once() -> None:
    alike = [f"{symbol} 1d is stored from 2015-0{1 + number % 9}-01 to 2016-01-01" for number, symbol in enumerate(MANY)]
    few = ["S0001 has no row in the test split", "S0002 has no row in the test split"]
    told = gathered([*alike[:3], "of the run", *few, *alike[3:], "of the run"], MANY)
    names = ", ".join(MANY[1:11])
    assert told == [f"{alike[0]}; likewise 999 more: {names} and 989 more", "of the run", *few]


# --- by command, page and API ------------------------------------------------------------------


@pytest.fixture
def ready(asking: Examples) -> Examples:
    """Bars of AAPL and a record of a thousand others."""
    register_worker("cpu")
    days = {"first": "2000-03-01T00:00Z", "last": "2013-03-01T00:00Z"}
    BarSeries.objects.bulk_create(
        [BarSeries(symbol=symbol, timeframe="1d", rows=3270, sha256="", **days) for symbol in MANY if symbol != "S0005"]
    )
    return asking


def in_spec(operation: Operation) -> list[str]:
    found: list[str] = json.loads(operation.spec)["training_data"]["symbols"]["list"]
    return found


def test_a_command_takes_a_file_of_a_thousand_symbols(ready: Examples, tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("# all but one\n" + "\n".join(MANY).replace("S0005\n", ""))
    with pytest.raises(SystemExit) as done:
        call_command("train", "stored", "--symbols", f"@{tmp_path}/all.txt")
    assert done.value.code == 0
    assert in_spec(newest()) == [symbol for symbol in MANY if symbol != "S0005"]


@pytest.mark.parametrize(
    ("text", "said"), [("A A\n", "line 1: 'A A' is no symbol"), ("S0005\nS0001\nNONE\n", "no bars of S0005 and NONE are stored")]
)
def test_a_command_refuses_a_wrong_file_and_queues_nothing(ready: Examples, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "some.txt").write_text(text)
    before = Operation.objects.count()
    with pytest.raises(CommandError) as refused:
        call_command("train", "stored", "--symbols", f"@{tmp_path}/some.txt")
    assert said in str(refused.value)
    assert Operation.objects.count() == before and not queues.queue_of("cpu").jobs


def test_the_form_takes_a_list_in_place_of_the_boxes(ready: Examples) -> None:
    answer = ready.signed_in("trainer").post("/train/", FORM | {"symbol_list": "S0001, S0002 # two\nAAPL"})
    assert answer.status_code == 302
    assert in_spec(newest()) == ["AAPL", "S0001", "S0002"], "the strategy's own come first"


def test_the_form_takes_a_box_for_each_of_a_thousand_symbols(ready: Examples) -> None:
    answer = ready.signed_in("trainer").post("/train/", FORM | {"symbols": [s for s in MANY if s != "S0005"]})
    assert answer.status_code == 302
    assert len(in_spec(newest())) == 999


@pytest.mark.parametrize(
    ("text", "said"), [("S0001, S0001", "more than once"), ("S0005\nNONE\nS0001", "No bars of S0005 and NONE are stored")]
)
def test_the_form_says_what_is_wrong_with_a_list_at_the_symbols(ready: Examples, text: str, said: str) -> None:
    client = ready.signed_in("trainer")
    found = dict(re.findall(r'<div class="refusal" data-field="(\w*)">(.*?)</div>', planned(client, symbol_list=text), re.DOTALL))
    assert said in found["symbols"]
    answer = client.post("/train/", FORM | {"symbol_list": text})
    assert answer.status_code == 422 and text in answer.content.decode(), "what was typed is kept"


def test_the_api_takes_a_thousand_symbols_and_names_those_without_bars(ready: Examples) -> None:
    client = ready.signed_in("trainer")
    refused = send(client, "post", "/trainings/start", {"strategy_name": "stored", "symbols": [*MANY, "NONE"]})
    assert refused.status_code == 422
    assert "no bars of S0005 and NONE are stored (2 of 1,001 symbols)" in refused.json()["error"]["message"]
    several = [symbol for symbol in MANY if symbol != "S0005"] + ["AAPL", *(f"T{number}" for number in range(5))]
    BarSeries.objects.bulk_create(
        BarSeries(symbol=f"T{number}", timeframe="1d", rows=9, sha256="", first="2000-03-01T00:00Z", last="2013-03-01T00:00Z")
        for number in range(5)
    )
    answer = send(client, "post", "/trainings/start", {"strategy_name": "stored", "symbols": several})
    assert (answer.status_code, len(answer.json()["symbols"])) == (202, 1005)
