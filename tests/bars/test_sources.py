"""Bars from sources: pages that are stored as they come, faults that are waited out, gaps that are filled, prices that changed."""

from __future__ import annotations

import datetime as dt
import json
import socket
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.examples.bar_servers import BEGIN, DAY, HOUR, NOW, BarServer
from training.bars import fetching
from training.bars.fetching import FIRST_PAUSES, MOST_PAUSE, PAUSES, Fetch, open_source, possible_bars, run, step
from training.models import BarSeries
from training.pipeline.bars import bar_frame, bar_times, read_bars, series_calendar, write_bars
from training.sources.source import SourceError, Unavailable, WrongRequest

pytestmark = pytest.mark.django_db


def load(*arguments: str) -> str:
    out = StringIO()
    call_command("load_data", *arguments, stdout=out, no_color=True)
    return out.getvalue()


def fails(*arguments: str, code: int = 1) -> str:
    with pytest.raises(CommandError) as caught:
        load(*arguments)
    assert caught.value.returncode == code
    return str(caught.value)


COIN = ("BTC-USDT", "1h", "--source", "ccxt", "--exchange", "binance", "--since", "2024-01-01")


def coin_fetch() -> Fetch:
    return Fetch("BTC-USDT", "1h", "ccxt:binance", since=BEGIN * 1_000_000)


def stored(symbol: str = "BTC-USDT", timeframe: str = "1h") -> list[int]:
    from django.conf import settings

    return [time // 1_000_000 for time in bar_times(read_bars(Path(settings.STORE_DIR), symbol, timeframe)).tolist()]


# --- pages -------------------------------------------------------------------------------------


def test_pages_are_stored_and_the_series_remembers_where_from(server: BarServer) -> None:
    said = load(*COIN)
    assert "(2,500 added from ccxt:binance BTC/USDT)" in said and "page 1, 1,000 new bars" in said
    assert stored() == server.coin and len(server.asked) == 3
    row = BarSeries.objects.get()
    assert (row.rows, row.source, row.feed["source"], row.feed["market"]) == (
        2500,
        "ccxt:binance BTC/USDT",
        "ccxt:binance",
        "BTC/USDT",
    )
    assert row.first == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def test_bars_of_another_timeframe_than_asked_are_refused(server: BarServer) -> None:
    server.coin = [BEGIN + DAY * n for n in range(90)]
    said = fails("BTC-USDT", "4h", "--source", "ccxt", "--exchange", "binance", "--since", "2024-01-01")
    assert "was asked for 4h bars, and the bars are 1 d apart, not 4 h; nothing of this answer was stored" in said
    assert not BarSeries.objects.exists()


def test_a_span_ends_where_it_is_told_to_and_may_bear_another_name(server: BarServer) -> None:
    load("COIN", *COIN[1:], "--until", "2024-01-03", "--market", "BTC/USDT")
    assert stored("COIN") == [time for time in server.coin if time < BEGIN + 3 * DAY]
    assert BarSeries.objects.get().feed["market"] == "BTC/USDT"


def test_the_last_bar_is_stored_when_it_is_over(server: BarServer) -> None:
    server.coin = [BEGIN + HOUR * n for n in range(2501)]
    load(*COIN)
    assert stored()[-1] == BEGIN + HOUR * 2499, "the bar that began a minute ago is not whole"


def test_an_update_asks_for_the_end_and_the_gaps_alone(server: BarServer) -> None:
    whole = list(server.coin)
    server.coin = whole[:1200] + whole[1300:2000]
    load(*COIN)
    assert len(stored()) == 1900
    server.coin, server.asked = whole, []
    assert "(600 added" in load("--update") and stored() == whole
    begins = [int(asked["startTime"]) // 1000 for asked in server.asked]
    assert begins == [whole[1197], whole[1997]], "the gap and the end, each from three stored bars on"
    server.asked = []
    assert "(0 added" in load("--update", "BTC-USDT", "1h") and len(server.asked) == 0


def test_a_gap_in_which_the_source_has_nothing_is_asked_for_once(server: BarServer) -> None:
    del server.coin[1200:1300]
    load(*COIN)
    load("--update")
    asked = len(server.asked)
    load("--update")
    assert len(server.asked) == asked and len(BarSeries.objects.get().feed["empty"]) == 1


def test_pages_that_overlap_are_taken_once(server: BarServer, monkeypatch: pytest.MonkeyPatch) -> None:
    klines = BarServer._klines

    def twice(self: BarServer, query: dict[str, str]) -> Any:
        status, rows = klines(self, query | {"startTime": str(int(query["startTime"]) - 10 * HOUR * 1000)})
        return status, [*rows, *rows[-5:]]

    monkeypatch.setattr(BarServer, "_klines", twice)
    load(*COIN)
    assert stored() == server.coin


# --- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize("faults", [[429], [429, 429, 418], [500], [503, 200, 429]])
def test_faults_are_waited_out_with_growing_pauses(server: BarServer, faults: list[int]) -> None:
    server.faults = list(faults)
    fetch, waited = coin_fetch(), []
    run(fetch, fetching.opened(fetch.source), waited.append, lambda fetch: None)
    assert stored() == server.coin
    bad = [fault for fault in faults if fault != 200]
    assert len(waited) == len(bad) and all(pause >= PAUSES[0] for pause in waited)
    if faults == [429]:
        assert waited == [7.0], "the server asked for seven seconds"
    if len(faults) == 3 and 200 not in faults:
        assert waited[2] >= PAUSES[2]


def test_patience_begins_anew_with_a_page_that_came_and_no_pause_is_endless(
    server: BarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, source, pauses = coin_fetch(), fetching.opened("ccxt:binance"), []
    step(fetch, source)
    server.faults = [500, 500, 200, 500]
    for _ in range(4):
        step(fetch, source)
        pauses.append(fetch.pause)
    assert pauses == [PAUSES[0], PAUSES[1], 0, PAUSES[0]]

    def tomorrow(*asked: Any) -> Any:
        raise Unavailable("come back tomorrow", 86_400.0)

    monkeypatch.setattr(source, "page", tomorrow)
    step(fetch, source)
    assert fetch.pause == MOST_PAUSE


def test_yahoo_is_left_alone_for_as_long_as_it_asks(server: BarServer) -> None:
    fetch, source = Fetch("AAPL", "1d", "yahoo"), fetching.opened("yahoo")
    step(fetch, source)
    server.faults = [429]
    step(fetch, source)
    assert (fetch.pause, fetch.problem) == (7.0, "Yahoo asks to be asked less often (429)")


def test_an_exchange_is_asked_at_its_packages_pace_and_with_the_keys_of_the_settings(settings: Any, tmp_path: Path) -> None:
    from training.sources.exchange import Exchange

    settings.HOME_DIR, settings.EXCHANGE_KEYS = tmp_path, {"kraken": ("the-key", "the-secret")}
    source, other = fetching.opened("ccxt:kraken"), fetching.opened("ccxt:binance")
    assert isinstance(source, Exchange) and source.api.enableRateLimit and source.api.rateLimit > 0
    assert isinstance(other, Exchange) and (source.keys, other.keys) == (("the-key", "the-secret"), None)


@pytest.mark.parametrize("symbol", ["BTC-USDT", "AAPL"])
def test_a_server_that_stays_broken_is_given_up_in_one_sentence(
    server: BarServer, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(fetching, "rest", slept.append)
    server.faults = [200] + [500] * 20 if symbol == "BTC-USDT" else [500] * 20
    arguments = COIN if symbol == "BTC-USDT" else ("AAPL", "1d", "--source", "yahoo")
    said = fails(*arguments)
    assert "asked 7 times, with pauses of 63 s; what came is kept" in said and "\n" not in said
    assert slept == list(PAUSES)
    assert len(stored()) == 1000 if symbol == "BTC-USDT" else not BarSeries.objects.exists()


@pytest.mark.parametrize("symbol", ["BTC-USDT", "AAPL"])
def test_without_a_network_it_is_given_up_soon(server: BarServer, symbol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens where the source is said to be, and nothing has come yet."""
    slept: list[float] = []
    monkeypatch.setattr(fetching, "rest", slept.append)
    with socket.create_server(("127.0.0.1", 0)) as free:
        server.url = f"http://127.0.0.1:{free.getsockname()[1]}"
    arguments = COIN if symbol == "BTC-USDT" else ("AAPL", "1d", "--source", "yahoo")
    said = fails(*arguments)
    assert said.endswith("asked 3 times, with pauses of 3 s; is there a network here?") and "\n" not in said
    assert slept == list(FIRST_PAUSES)


def test_a_network_that_fails_in_the_middle_is_waited_for(server: BarServer) -> None:
    fetch, source = coin_fetch(), fetching.opened("ccxt:binance")
    for _ in range(2):
        step(fetch, source)
    assert fetch.pages == 1

    def silent(*asked: Any) -> Any:
        raise Unavailable("nothing came", silent=True)

    source.page = silent
    for pause in PAUSES:
        step(fetch, source)
        assert fetch.pause == pause
    with pytest.raises(SourceError, match="asked 7 times"):
        step(fetch, source)


def test_stopped_in_the_middle_it_goes_on_where_the_store_ends(server: BarServer) -> None:
    def stop(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    told = fetching.run

    def interrupted(fetch: Fetch, source: Any, wait: Any, tell: Any) -> None:
        def watching(seen: Fetch) -> None:
            tell(seen)
            stop(seen.pages)

        told(fetch, source, wait, watching)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetching, "run", interrupted)
        said = fails(*COIN, code=130)
    assert "stopped; 2,000 new bars are kept" in said and len(stored()) == 2000
    server.asked = []
    load(*COIN)
    assert stored() == server.coin
    assert [int(asked["startTime"]) // 1000 for asked in server.asked] == [server.coin[1997]]


def test_ctrl_c_waits_for_a_page_that_is_being_written(server: BarServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    store = fetching.store_frame

    def disturbed(*args: Any, **kwargs: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return store(*args, **kwargs)

    monkeypatch.setattr(fetching, "store_frame", disturbed)
    assert "stopped; 1,000 new bars are kept" in fails(*COIN, code=130)
    row = BarSeries.objects.get()
    assert row.rows == len(stored()) == 1000 and row.feed["source"] == "ccxt:binance", "file and row agree"


def test_another_process_can_go_on_from_the_plain_state(server: BarServer) -> None:
    fetch = coin_fetch()
    while not fetch.is_done:
        fetch = Fetch(**json.loads(json.dumps(fetch.as_dict())))
        step(fetch, fetching.opened(fetch.source))
    assert stored() == server.coin and fetch.percent == 100 and fetch.added == 2500


# --- prices ------------------------------------------------------------------------------------


def test_yahoo_gives_adjusted_days_of_bars_that_are_over(server: BarServer) -> None:
    server.factor = 0.5
    load("AAPL", "1d", "--source", "yahoo")
    assert stored("AAPL", "1d") == [time for time in server.days if time + DAY <= NOW // 1_000_000]
    from django.conf import settings

    closes = read_bars(Path(settings.STORE_DIR), "AAPL", "1d")["close"].tolist()
    assert closes[0] == (100 + (server.days[0] // DAY) % 9) / 2
    assert BarSeries.objects.get().feed == {"source": "yahoo", "market": "AAPL", "empty": BarSeries.objects.get().feed["empty"]}


def test_a_calendar_is_given_to_what_a_source_has_and_stays(server: BarServer) -> None:
    from django.conf import settings

    load("AAPL", "1d", "--source", "yahoo", "--calendar", "XNYS")
    assert series_calendar(Path(settings.STORE_DIR), "AAPL", "1d") == "XNYS"
    load("--update", "AAPL", "1d")
    assert series_calendar(Path(settings.STORE_DIR), "AAPL", "1d") == "XNYS"
    load("AAPL", "1d", "--source", "yahoo", "--calendar", "none")
    assert series_calendar(Path(settings.STORE_DIR), "AAPL", "1d") == ""
    assert "--calendar does not go with --update" in fails("--update", "AAPL", "1d", "--calendar", "XNYS", code=2)


def test_after_a_split_the_whole_series_is_fetched_anew(server: BarServer) -> None:
    whole = list(server.days)
    server.days = whole[:20]
    load("AAPL", "1d", "--source", "yahoo", "--since", "2024-01-01")
    server.days, server.factor = whole, 0.5
    said = load("--update", "AAPL", "1d")
    assert "prices have changed since they were stored" in said and "fetched anew from yahoo AAPL" in said
    from django.conf import settings

    bars = read_bars(Path(settings.STORE_DIR), "AAPL", "1d")
    assert len(bars) == len(whole) and (bars["close"] < 60).all(), "never half in old prices and half in new ones"
    assert not list((Path(settings.STORE_DIR) / ".anew").glob("*"))


def test_stopped_while_fetching_anew_the_store_is_as_it_was(server: BarServer) -> None:
    whole = list(server.days)
    server.days = whole[:20]
    load("AAPL", "1d", "--source", "yahoo", "--since", "2024-01-01")
    before = BarSeries.objects.get().sha256
    server.days, server.factor = whole, 0.5
    fetch = Fetch("AAPL", "1d", "yahoo", "AAPL")
    source = fetching.opened("yahoo")
    step(fetch, source)
    step(fetch, source)
    assert fetch.anew and not fetch.is_done
    assert BarSeries.objects.get().sha256 == before and len(stored("AAPL", "1d")) == 20


def test_bars_of_a_file_with_other_prices_are_not_mixed_with_a_source(server: BarServer, settings: Any) -> None:
    times = [time * 1_000_000 for time in server.days[:10]]
    import numpy as np

    from training.bars.series import store_frame

    store_frame("AAPL", "1d", bar_frame(np.array(times), np.full((5, 10), 7.0)), source="mine.csv")
    said = fails("AAPL", "1d", "--source", "yahoo")
    assert "came from mine.csv, and yahoo AAPL has other prices" in said and "--replace" in said
    assert len(stored("AAPL", "1d")) == 10
    assert "came from a file (mine.csv)" in fails("--update", "AAPL", "1d", code=2)
    assert "no stored series came from a source" in fails("--update", code=2)
    load("AAPL", "1d", "--source", "yahoo", "--replace")
    assert read_bars(settings.STORE_DIR, "AAPL", "1d")["close"].min() > 90


def test_rounding_is_put_right_and_impossible_bars_are_left_out() -> None:
    import numpy as np

    values = np.array([[10.0, 10, 10], [10 * (1 - 1e-9), 8, 11], [9, 9, 9], [10, 10, 10], [1, 1, 1]])
    frame, left_out = possible_bars(bar_frame(np.array([0, 1, 2]) * DAY * 1_000_000, values))
    assert len(frame) == 2 and left_out == 1 and frame["high"].iloc[0] == 10


# --- what cannot be had ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("A", "1d", "--source", "yaho"), "did you mean yahoo?"),
        (("BTC-USDT", "1h", "--source", "ccxt"), "ccxt needs an exchange"),
        (("BTC-USDT", "1h", "--source", "ccxt", "--exchange", "binanc"), "did you mean binance?"),
        (("BTC-USD", "1h", "--source", "ccxt", "--exchange", "binance"), "did you mean BTC/USDT?"),
        (("AAPL", "4h", "--source", "yahoo"), "load 1h, of which a training makes 4h"),
        (("APPL", "1d", "--source", "yahoo"), "Yahoo knows no 'APPL'; did you mean AAPL?"),
        (("A", "1d", "--source", "yahoo", "--tz", "UTC"), "--tz does not go with --source"),
        (("A", "1d", "--source", "yahoo", "--exchange", "binance"), "--exchange goes with --source ccxt"),
        (("--update", "X"), "no X is stored"),
        (("--source", "yahoo"), "wanted SYMBOL TIMEFRAME"),
    ],
)
def test_what_there_is_not_is_said_in_one_sentence(server: BarServer, arguments: tuple[str, ...], words: str) -> None:
    said = fails(*arguments, code=2)
    assert words in said and "\n" not in said


@pytest.mark.parametrize(("name", "package"), [("yahoo", "yfinance"), ("ccxt:binance", "ccxt")])
def test_a_missing_package_is_named(name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("training.sources.yahoo", "training.sources.exchange", package):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WrongRequest, match=rf"pip install -c constraints.txt -e '\.\[{name.partition(':')[0]}\]'"):
        open_source(name, tmp_path)


def test_keys_are_neither_told_nor_stored(server: BarServer, settings: Any) -> None:
    settings.EXCHANGE_KEYS = {"binance": ("the-key", "the-secret")}
    source = fetching.opened("ccxt:binance")
    assert (source.api.apiKey, source.api.secret) == ("the-key", "the-secret")
    assert "the-key" not in source._plain(Exception("bad the-key and the-secret")) and "secret" not in source._plain(
        Exception("the-secret")
    )
    load(*COIN)
    row = BarSeries.objects.get()
    assert "the-" not in json.dumps([row.feed, row.source, row.quality])


def test_a_source_without_bars_says_so(server: BarServer) -> None:
    server.coin = []
    assert "has no 1h bars of BTC/USDT from 2024-01-01" in fails(*COIN)
    with pytest.raises(SourceError):
        run(coin_fetch(), fetching.opened("ccxt:binance"), lambda pause: None, lambda fetch: None)


def test_write_bars_of_a_given_up_fetch_goes_after_a_day(server: BarServer, settings: Any, tmp_path: Path) -> None:
    import os
    import time

    old = tmp_path / "bars" / ".anew" / "gone"
    frame = bar_frame(*_three())
    old.mkdir(parents=True)
    write_bars(old, "A", "1d", frame)
    os.utime(old, (time.time() - 2 * DAY,) * 2)
    load(*COIN)
    assert not old.exists()


def _three() -> Any:
    import numpy as np

    return np.arange(3) * DAY * 1_000_000, np.ones((5, 3))
