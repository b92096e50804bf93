"""Bars from a source in the browser: asked for, watched, stopped, gone on with, said in a sentence when they cannot be had."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.bars.test_sources import stored
from tests.examples.api import Examples, make_examples, register_worker
from tests.examples.bar_servers import BarServer
from tests.examples.quick_work import work
from training.bars import fetching
from training.jobs import fetches, queues
from training.models import AuditEntry, BarFetch, BarSeries, Status

COIN = {"source": "ccxt", "exchange": "binance", "symbol": "BTC-USDT", "timeframe": "1h", "since": "2024-01-01"}


@pytest.fixture
def examples(transactional_db: None, empty_redis: Any) -> Examples:
    found = make_examples()
    register_worker("quick")
    return found


def text_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def asked(client: Client, **fields: str) -> str:
    answer = client.post("/data/fetch/", COIN | fields)
    assert answer.status_code == 302, answer.content.decode()
    return str(answer["Location"])


def test_bars_are_fetched_by_the_quick_worker(examples: Examples, server: BarServer) -> None:
    client = examples.signed_in("trainer")
    address = asked(client)
    assert "Waiting for the quick worker" in text_of(client, address) and "every 1s" in text_of(client, address)
    work()
    page = text_of(client, address)
    assert "2,500 new bars in 3 pages" in page and "every 1s" not in page and "See the bars" in page
    assert stored() == server.coin
    done = AuditEntry.objects.get(action="load bars")
    assert (done.username, done.target, done.details["added"]) == ("trainer", "BTC-USDT 1h", 2500)
    assert AuditEntry.objects.filter(action="fetch bars", target="BTC-USDT 1h").exists()
    assert "Update" in text_of(client, "/data/BTC-USDT/1h/")
    server.coin.append(server.coin[-1] + 3600)
    again = client.post("/data/BTC-USDT/1h/update/")["Location"]
    work()
    assert "0 new bars" in text_of(client, again), "the newest bar is not over yet"


def test_questions_come_between_the_turns_of_a_long_fetch(
    examples: Examples, server: BarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TURN_SECONDS", 0.0)
    row = BarFetch.objects.get(pk=asked(examples.signed_in("trainer")).split("/")[-2])
    assert fetching.work(row.key, 0) == Status.RUNNING, BarFetch.objects.get(pk=row.key).error
    assert fetching.work(row.key, 0) == "overtaken", "a turn is done once"
    job = queues.enqueue_quick("preview", {}, examples.users["trainer"].pk)
    names = queues.queue_of("quick").job_ids
    assert names.index(job) > names.index(f"fetch-{row.key}-1")
    fetching.work(row.key, 1)
    assert queues.queue_of("quick").job_ids[-1] == f"fetch-{row.key}-2", "the next turn waits behind the question"
    assert len(stored()) == 1000


def test_stopped_it_keeps_what_came_and_goes_on_there(
    examples: Examples, server: BarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TURN_SECONDS", 0.0)
    client = examples.signed_in("trainer")
    address = asked(client)
    key = address.split("/")[-2]
    fetching.work(key, 0)
    fetching.work(key, 1)
    client.post(address, {"do": "stop"})
    assert "Stopping after the page under way" in text_of(client, address)
    work()
    page = text_of(client, address)
    assert "It was stopped; what came is stored" in page and "Go on" in page and len(stored()) == 1000
    server.asked.clear()
    client.post(address, {"do": "on"})
    work()
    assert stored() == server.coin and int(server.asked[0]["startTime"]) // 1000 == server.coin[997]
    assert BarFetch.objects.get(pk=key).status == Status.COMPLETED


def test_a_source_that_asks_for_patience_holds_up_nobody(
    examples: Examples, server: BarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults = [429]
    client = examples.signed_in("trainer")
    address = asked(client)
    key = address.split("/")[-2]
    assert fetching.work(key, 0) == Status.RUNNING
    assert "Binance asks to be asked less often. Trying again after 7 s" in text_of(client, address)
    waited: list[float] = []
    monkeypatch.setattr(fetching.time, "sleep", waited.append)
    assert fetching.work(key, 1) == Status.RUNNING and waited == [fetching.WAIT_SECONDS]
    BarFetch.objects.filter(pk=key).update(due=timezone.now())
    assert fetching.work(key, 2) == Status.COMPLETED and stored() == server.coin


def test_what_cannot_be_had_is_a_sentence_on_the_page(examples: Examples, server: BarServer) -> None:
    client = examples.signed_in("trainer")
    address = asked(client, symbol="BTC-USD")
    work()
    assert "did you mean BTC/USDT" in text_of(client, address)
    assert BarFetch.objects.get().status == Status.FAILED and not BarSeries.objects.exists()


def test_the_unexpected_ends_it_and_says_where_to_look(
    examples: Examples, server: BarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("broken")

    address = asked(client := examples.signed_in("trainer"))
    monkeypatch.setattr("training.bars.fetching.step", broken)
    with pytest.raises(RuntimeError):
        fetching.work(address.split("/")[-2], 0)
    assert "its log has" not in text_of(client, address) and "log has what happened" in text_of(client, address)


def test_a_lost_fetch_says_so_and_can_go_on(examples: Examples, server: BarServer) -> None:
    client = examples.signed_in("trainer")
    address = asked(client)
    assert b"is being fetched already" in client.post("/data/fetch/", COIN).content
    long_ago = timezone.now() - 2 * fetches.LOST
    BarFetch.objects.update(status=Status.RUNNING, updated=long_ago, due=long_ago)
    queues.queue_of("quick").empty()
    assert "Nobody works on it any more" in text_of(client, address)
    client.post(address, {"do": "on"})
    work()
    assert BarFetch.objects.get().status == Status.COMPLETED and stored() == server.coin


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"exchange": ""}, "Choose an exchange"),
        ({"symbol": "../BTC"}, "t most 32 letters"),
        ({"until": "2023-01-01"}, "before the first day"),
        ({"since": "2999-01-01"}, "still to come"),
        ({"market": "a b"}, "etters, digits and"),
        ({"exchange": "../x"}, "name such as binance"),
    ],
)
def test_wrong_fields_are_told_at_their_place(examples: Examples, fields: dict[str, str], words: str) -> None:
    answer = examples.signed_in("trainer").post("/data/fetch/", COIN | fields)
    assert answer.status_code == 422 and words in answer.content.decode() and not BarFetch.objects.exists()


def test_what_is_long_over_is_no_longer_listed(examples: Examples, server: BarServer) -> None:
    client = examples.signed_in("trainer")
    asked(client)
    BarFetch.objects.update(status=Status.COMPLETED, created=timezone.now() - 2 * fetches.KEPT)
    asked(client)
    assert BarFetch.objects.count() == 1


def test_who_may_fetch(examples: Examples, server: BarServer) -> None:
    address = asked(examples.signed_in("trainer"))
    assert Client().get("/data/fetch/").status_code == 302
    assert examples.signed_in("viewer").get("/data/fetch/").status_code == 403
    assert examples.signed_in("viewer").post("/data/fetch/", COIN).status_code == 403
    assert examples.signed_in("other").post(address, {"do": "stop"}).status_code == 403
    assert examples.signed_in("admin").post(address, {"do": "stop"}).status_code == 302
    assert BarFetch.objects.get().status == Status.CANCELLED


def test_without_a_quick_worker_nothing_is_begun(transactional_db: None, empty_redis: Any) -> None:
    client = make_examples().signed_in("trainer")
    assert "no quick worker is running" in text_of(client, "/data/fetch/").lower()
    assert client.post("/data/fetch/", COIN).status_code == 422 and not BarFetch.objects.exists()
