"""Symbols with the names that exchanges use (BTC/USDT:USDT, ^GSPC, .DJI) go through files, store, strategy, training, pages and API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.urls import resolve, reverse

from strategies_app.grammar.reader import BadList, read_strategy, symbols_in
from tests.examples.api import TEXT, Examples, register_worker, send
from tests.examples.homes import made_home
from training.bars.series import check_store, store_frame
from training.models import BarSeries
from training.pipeline.bars import read_bars, stored_series
from training.pipeline.synthetic import make_bars

COUNT = 300
NAMES = ["BTC/USDT", "BTC/USDT:USDT", "^GSPC", ".DJI", "BRK.B", "btc/usdt", "A/1d"]


@pytest.fixture
def stored(examples: Examples, tmp_path: Path, settings: Any) -> Examples:
    settings.STORE_DIR = tmp_path / "bars"
    for number, symbol in enumerate(NAMES):
        store_frame(symbol, "1d", make_bars(COUNT, "1d", seed=number), source="test")
    return examples


def test_each_has_a_file_of_its_own_that_names_it(stored: Examples) -> None:
    files = [path.name for path in Path(settings.STORE_DIR).glob("*.parquet")]
    assert (
        "BTC%2FUSDT_1d.parquet" in files and "%2EDJI_1d.parquet" in files and len({name.lower() for name in files}) == len(NAMES)
    )
    assert not [path for path in Path(settings.STORE_DIR).iterdir() if path.is_dir()]
    assert sorted(symbol for symbol, _ in stored_series(Path(settings.STORE_DIR))) == sorted(NAMES)
    assert all(series.sound for series in check_store())
    for number, symbol in enumerate(NAMES):
        assert read_bars(Path(settings.STORE_DIR), symbol, "1d").equals(make_bars(COUNT, "1d", seed=number)), symbol


def test_a_store_of_before_keeps_its_symbols_in_lower_case(tmp_path: Path) -> None:
    home = made_home(tmp_path)
    bars = home.folder / "bars"
    kept = read_bars(bars, "AAPL", "1d")
    (bars / "AAPL_1d.parquet").rename(bars / "aapl_1d.parquet")
    assert "aapl" not in home.run("data").stdout
    assert home.run("migrate", "training", "0008").returncode == 0
    done = home.run("migrate")
    assert done.returncode == 0 and "aapl_1d.parquet is ~aapl_1d.parquet now" in done.stdout + done.stderr
    assert read_bars(bars, "aapl", "1d").equals(kept) and ("aapl", "1d") in stored_series(bars)


@pytest.mark.parametrize("symbol", NAMES)
def test_pages_and_api_have_an_address_for_each(stored: Examples, symbol: str) -> None:
    client = stored.signed_in("trainer")
    assert client.get(reverse("site:series", args=[symbol, "1d"])).context["series"].symbol == symbol
    assert client.get(reverse("site:candles", args=[symbol, "1d"])).json()["bars"] == COUNT
    assert client.get(reverse("site:series-download", args=[symbol, "1d", "csv"])).status_code == 200
    for address in (f"/data/{symbol}/1d", f"/data/{symbol.replace('/', '%2F')}/1d"):
        assert send(client, "get", address).json()["coverage"]["symbol"] == symbol
    assert send(client, "get", f"/data/{symbol}/1d/download").status_code == 200
    assert f'href="{reverse("site:series", args=[symbol, "1d"])}"' in client.get("/data/").content.decode()
    assert send(client, "delete", f"/data/{symbol}/1d").status_code == 204
    assert BarSeries.objects.count() == len(NAMES) - 1 and not BarSeries.objects.filter(symbol=symbol).exists()


def test_a_training_is_started_on_one_by_form_and_api(stored: Examples, empty_redis: Any) -> None:
    register_worker("cpu")
    client = stored.signed_in("trainer")
    days = {"start": "2015-01-05", "end": "2015-10-20"}
    page = client.get("/train/", {"strategy": "stored"}).content.decode()
    assert 'value="BTC/USDT:USDT"' in page
    form = {
        "strategy": "stored",
        "symbols": ["BTC/USDT:USDT"],
        "timeframes": ["1d"],
        **days,
        "validation_split": "0.15",
        "task_id": "b" * 32,
    }
    answer = client.post("/train/", form)
    assert answer.status_code == 302, answer.content.decode()
    body = {
        "strategy_name": "stored",
        "symbols": ["^GSPC", ".DJI"],
        "timeframes": ["1d"],
        "start_date": days["start"],
        "end_date": days["end"],
    }
    answer = send(client, "post", "/trainings/start", body)
    assert answer.status_code == 202 and answer.json()["symbols"] == ["^GSPC", ".DJI"], answer.content
    for wrong in ("../x", "A//B", "x" * 33):
        assert send(client, "post", "/trainings/start", body | {"symbols": [wrong]}).status_code == 422


@pytest.mark.parametrize("symbol", ["../../etc/passwd", "..", "A/../B", "%2e%2e", "a\\b", "A" * 500, "A/B/../../C"])
def test_no_address_leads_out_of_the_store(stored: Examples, symbol: str) -> None:
    client = stored.signed_in("trainer")
    for path in (f"/data/{symbol}/1d/", f"/data/{symbol}/1d/candles/", f"/data/{symbol}/1d/download/csv/"):
        assert client.get(path).status_code == 404, path
    for method in ("get", "delete"):
        assert send(client, method, f"/data/{symbol}/1d").status_code == 404
    assert client.post(f"/data/{symbol}/1d/delete/").status_code == 404
    assert send(client, "get", f"/data/{symbol}\0/1d").status_code == 400
    assert BarSeries.objects.count() == len(NAMES)


def test_other_addresses_of_bars_are_no_symbols(stored: Examples) -> None:
    names = {"/data/upload/": "upload", "/data/fetch/": "fetch", "/data/A/1d/": "series", "/data/A/1d/candles/": "candles"}
    names |= {"/data/A/B/1d/update/": "series-update", "/data/A/1d/1d/": "series", f"/data/upload/{'a' * 32}/": "uploaded"}
    assert {path: resolve(path).url_name for path in names} == names


@pytest.mark.parametrize("symbol", NAMES)
def test_a_strategy_and_a_list_may_name_them(symbol: str) -> None:
    spec = read_strategy(TEXT.replace("symbol: AAPL", f"symbol: {symbol}"))
    assert spec.symbols == (symbol,) or list(spec.symbols) == [symbol]
    several = read_strategy(TEXT.replace("{mode: single, symbol: AAPL}", f"{{mode: multi_symbol, list: [AAPL, {symbol}]}}"))
    assert list(several.symbols) == ["AAPL", symbol]
    assert symbols_in(f"{symbol}, AAPL # two", "it") == [symbol, "AAPL"]
    with pytest.raises(BadList, match="BTC/USDT"):
        symbols_in("../x", "it")


def test_a_model_trains_and_predicts_on_one(tmp_path: Path) -> None:
    """By commands, as a user does it: load, train, predict, take along, delete."""
    home = made_home(tmp_path)
    assert home.run("data", "AAPL", "1d", "--export", str(tmp_path / "a.csv")).returncode == 0
    loaded = home.run("load_data", "BTC/USDT:USDT", "1d", "--from", str(tmp_path / "a.csv"))
    assert loaded.returncode == 0 and "BTC/USDT:USDT 1d: 3,270 bars" in loaded.stdout, loaded.stderr
    trained = home.run("train", home.strategy("coins", epochs=1), "--symbols", "BTC/USDT:USDT", "--inline")
    assert trained.returncode == 0, trained.stderr
    model = next(word for word in home.run("models", "list").stdout.split() if word.startswith("coins"))
    told = home.run("predict", model, "BTC/USDT:USDT", "1d", "--start", "2010-01-01", "--format", "csv")
    assert told.returncode == 0 and len(told.stdout.splitlines()) > 500, told.stderr
    assert home.run("data", "BTC/USDT:USDT", "1d", "--delete", "--yes").returncode == 0
    assert home.run("data", "--check").returncode == 0
