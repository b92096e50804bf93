"""The form of an uploaded file: what each column holds is chosen below its name, and what the file leaves open is asked for."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.examples.api import Examples, make_examples, register_worker
from tests.examples.quick_work import worked
from training.jobs import uploads
from training.pipeline.synthetic import make_bars

COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]


@pytest.fixture
def client(transactional_db: None, empty_redis: Any, tmp_path: Path, settings: Any) -> Client:
    settings.STORE_DIR, settings.UPLOAD_DIR = tmp_path / "bars", tmp_path / "uploads"
    found: Examples = make_examples()
    register_worker("quick")
    return found.signed_in("trainer")


def bars(header: str, timeframe: str = "1h") -> str:
    return f"{header}\n" + make_bars(40, timeframe, seed=3).to_csv(header=False, date_format="%Y-%m-%dT%H:%M:%SZ")


def send(client: Client, content: str, name: str = "COIN_1h.csv") -> str:
    return str(client.post("/data/upload/", {"file": SimpleUploadedFile(name, content.encode())})["Location"])


def kept(address: str) -> dict[str, Any]:
    found = uploads.read(address.split("/")[-2])
    assert found is not None
    return found.options


def preview(client: Client, address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    with worked(monkeypatch):
        return html.unescape(client.get(f"{address}preview/").content.decode())


def chosen(page: str) -> list[str]:
    """The meaning that is chosen below each column."""
    selects = re.findall(r'<select name="columns".*?</select>', page, re.DOTALL)
    return [(re.search(r'value="([^"]*)" selected', select) or ["", ""])[1] for select in selects]


def test_the_meaning_that_was_guessed_stands_below_each_name(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    address = send(client, bars("Datum,Eröffnung,Hoch,Tief,Schlusskurs,Umsatz"))
    page = preview(client, address, monkeypatch)
    assert chosen(page) == COLUMNS and "Eröffnung" in page and "Store as COIN 1h" in page
    client.post(
        address, {"do": "read", "symbol": "COIN", "timeframe": "1h", "price_scale": "1", "columns": COLUMNS, "found": COLUMNS}
    )
    assert kept(address)["columns"] == [], "what the file says itself is not said again"


def test_names_that_say_nothing_are_given_a_meaning(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    address = send(client, bars("aa,bb,cc,dd,ee,ff"))
    page = preview(client, address, monkeypatch)
    assert "no column for the time, open" in page and chosen(page) == [""] * 6 and "Store as" not in page
    given = {"do": "read", "symbol": "COIN", "timeframe": "1h", "price_scale": "1"}
    client.post(address, given | {"columns": COLUMNS, "found": [""] * 6})
    assert kept(address)["columns"] == COLUMNS
    page = preview(client, address, monkeypatch)
    assert chosen(page) == COLUMNS and "Store as COIN 1h" in page
    assert "--columns timestamp,open,high,low,close,volume" in client.get(address).content.decode()
    client.post(address, given)  # as from a page that has not shown the columns yet
    assert kept(address)["columns"] == COLUMNS
    client.post(address, given | {"do": "guess", "columns": COLUMNS, "found": COLUMNS})
    assert kept(address)["columns"] == []


@pytest.mark.parametrize(("field", "value", "words"), [
    ("columns", ["open", "open"], "2 columns are called open, wanted one"),
    ("columns", ["open", "<script>"], "a column has a meaning that is not in its list"),
    ("columns", ["volume"] + [""] * 300, "a column has a meaning that is not in its list"),
    ("encoding", "klingon", "unknown encoding"),
    ("encoding", "rot13", "unknown encoding"),
    ("encoding", "../etc", "unknown encoding"),
    ("thousands", "x", "x is not one of"),
    ("date_format", "%d" * 50, "at most 64 characters"),
    ("only", "\0", "Null characters"),
])  # fmt: skip
def test_what_cannot_be_is_said_beside_its_field_and_changes_nothing(client: Client, field: str, value: Any, words: str) -> None:
    address = send(client, bars("aa,bb,cc,dd,ee,ff"))
    before = kept(address)
    answer = client.post(address, {"do": "read", "symbol": "COIN", "timeframe": "1h", "price_scale": "1", field: value})
    assert (
        answer.status_code == 422
        and words in html.unescape(answer.content.decode())
        and '<script>"' not in answer.content.decode()
    )
    assert kept(address) == before


def test_thousands_and_decimals_need_signs_of_their_own(client: Client) -> None:
    address = send(client, bars("aa,bb,cc,dd,ee,ff"))
    answer = client.post(address, {"do": "read", "price_scale": "1", "thousands": ",", "decimal": ","})
    assert answer.status_code == 422 and b"cannot have the same sign" in answer.content


def test_a_date_form_that_does_not_fit_is_one_sentence(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    address = send(client, bars("date,open,high,low,close,volume"))
    for form in ("%Q", "%d/%m/%Y", "%"):
        client.post(address, {"do": "read", "symbol": "COIN", "timeframe": "1h", "price_scale": "1", "date_format": form})
        page = preview(client, address, monkeypatch)
        assert 'role="alert"' in page and "met something unexpected" not in page and "Store as" not in page, form


def test_what_the_file_leaves_open_is_asked_for_with_a_way_to_its_field(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "Date;Open;High;Low;Close\n" + "\n".join(f"2019-01-{day:02};13.000;13.100;12.900;13.050" for day in range(1, 29))
    address = send(client, content, "X_1d.csv")
    page = preview(client, address, monkeypatch)
    assert "may be 13 or 13,000" in page and 'href="#field-thousands"' in page and "Store as" not in page
    assert 'id="field-thousands"' in client.get(address).content.decode()
    client.post(address, {"do": "read", "symbol": "X", "timeframe": "1d", "price_scale": "1", "thousands": "."})
    assert "13,000" in preview(client, address, monkeypatch) and "--thousands ." in client.get(address).content.decode()


def test_the_timeframe_is_proposed_from_the_times(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    address = send(client, bars("date,open,high,low,close,volume", "4h"), "prices.csv")
    page = preview(client, address, monkeypatch)
    assert "The bars are 4 h apart: 4h is proposed." in page and 'hx-swap-oob="true"' in page
    assert kept(address)["timeframe"] == "4h"
    assert '<option value="4h" selected>' in client.get(address).content.decode()


def test_a_timeframe_that_the_times_contradict_is_shown_before_anything_is_stored(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = send(client, bars("date,open,high,low,close,volume", "1d"), "X_4h.csv")
    page = preview(client, address, monkeypatch)
    assert "The bars are 1 d apart, not 4 h" in page and "Read it as 1d" in page and "Store as" not in page
    client.post(address, {"do": "timeframe", "timeframe": "1d"})
    assert kept(address)["timeframe"] == "1d"
    assert "Store as X 1d" in preview(client, address, monkeypatch)
    answer = client.post(address, {"do": "timeframe", "timeframe": "7m"})
    assert answer.status_code == 422 and kept(address)["timeframe"] == "1d"


def test_without_symbol_or_timeframe_nothing_is_stored(client: Client) -> None:
    address = send(client, bars("date,open,high,low,close,volume"))
    client.post(address, {"do": "read", "symbol": "", "timeframe": "", "price_scale": "1"})
    done = client.post(address, {"do": "load"}, follow=True)
    assert b"Say first which symbol and timeframe" in done.content and kept(address)["symbol"] == ""


def test_the_command_quotes_what_a_shell_would_take_apart(client: Client) -> None:
    address = send(client, bars("aa,bb,cc,dd,ee,ff"))
    client.post(address, {
        "do": "read", "symbol": "BTC/USDT", "timeframe": "1h", "price_scale": "100000", "date_format": "%d/%m/%y %H:%M", "thousands": " ",
        "only": "a'; rm -rf ~", "drop_impossible": "on", "columns": [*COLUMNS[:5], ""], "found": [""] * 6,
    })  # fmt: skip
    found = uploads.read(address.split("/")[-2])
    assert found is not None and found.command == (
        "manage.py load_data BTC/USDT 1h --from COIN_1h.csv --date-format '%d/%m/%y %H:%M' --thousands ' '"
        """ --only 'a'"'"'; rm -rf ~' --columns timestamp,open,high,low,close,- --price-scale 100000 --drop-impossible"""
    )
    assert html.escape(found.command) in client.get(address).content.decode()
