"""One way of saying a thing in the whole API: `status`, lists inside an object, times as ISO text; the older ways go on beside them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from strategies_app.models import Strategy
from tests.examples.api import TEXT, Examples, register_worker, send, store_bars
from tests.examples.homes import ROOT
from tests.examples.strategy_texts import changed
from training.api.routes import api
from training.models import BarSeries
from training.workers.plan import in_times

pytestmark = pytest.mark.django_db
OLDER = [("/strategies", "strategies"), ("/data", "series"), ("/workers", "workers")]


@pytest.fixture
def client(examples: Examples, empty_redis: Any) -> Client:
    store_bars()
    row = BarSeries.objects.get()
    for number in range(4):
        row.pk, row.symbol = None, f"S{number}"
        row.save()
        Strategy.objects.import_text(changed("name: stored", f"name: other-{number}", TEXT))
    register_worker("cpu")
    return examples.signed_in("viewer")


@pytest.mark.parametrize(("path", "name"), OLDER)
def test_a_list_is_a_page_as_every_other_one(client: Client, path: str, name: str) -> None:
    bare = send(client, "get", path).json()
    assert isinstance(bare, list) and bare, "programs that read the bare list go on"
    seen, cursor = [], ""
    while cursor is not None:
        told = send(client, "get", f"{path}?limit=2&cursor={cursor}").json()
        assert set(told) == {name, "next_cursor"} and len(told[name]) <= 2
        seen += told[name]
        cursor = told["next_cursor"]
    by_name = sorted(bare, key=lambda item: (item.get("name") or item["symbol"], item.get("timeframe", "")))
    assert seen == by_name
    assert send(client, "get", f"{path}?limit=2&cursor=made-up").status_code == 422
    assert send(client, "get", f"{path}?limit=0").status_code == 422


def test_a_state_is_called_status(examples: Examples, client: Client) -> None:
    for told in (
        send(client, "get", f"/trainings/{examples.own.pk}/status").json(),
        *send(client, "get", "/workers?limit=5").json()["workers"],
    ):
        assert told["status"] == told["state"], "the older word says the same until it goes"
    assert send(client, "get", f"/operations/{examples.own.pk}").json()["status"] == "pending"


def test_every_older_word_is_marked_as_such(client: Client) -> None:
    shapes = api.get_openapi_schema()["components"]["schemas"]
    marked = {
        (name, field) for name, of in shapes.items() for field, told in of.get("properties", {}).items() if told.get("deprecated")
    }
    assert marked == {("TrainingStatus", "state"), ("Worker", "state")}
    with_state = {name for name, of in shapes.items() if "state" in of.get("properties", {})}
    assert with_state == {"TrainingStatus", "Worker"}, "nothing new may be called so"


def test_a_plan_tells_its_times_as_text() -> None:
    day = 86_400_000_000
    spans = {"AAPL": [{"part": "train", "first": 0, "last": day, "rows": 2}]}
    ledger = {
        "start": 0,
        "end": 9 * day,
        "cuts": [2 * day, 4 * day],
        "embargo_ends": [3 * day, 5 * day],
        "spans": spans,
        "rows": {},
    }
    told = in_times(ledger)
    assert told["times"] == {
        "start": "1970-01-01T00:00:00Z", "end": "1970-01-10T00:00:00Z",
        "cuts": ["1970-01-03T00:00:00Z", "1970-01-05T00:00:00Z"],
        "embargo_ends": ["1970-01-04T00:00:00Z", "1970-01-06T00:00:00Z"],
        "spans": {"AAPL": [{"part": "train", "first": "1970-01-01T00:00:00Z", "last": "1970-01-02T00:00:00Z", "rows": 2}]},
    }  # fmt: skip
    assert {name: told[name] for name in ledger} == ledger, "the numbers stay beside it"


def test_no_answer_tells_a_time_in_numbers_alone(examples: Examples, client: Client) -> None:
    """What is larger than 1e9 in an answer is a number of seconds or microseconds since 1970, a volume, or a size."""

    def numbers(value: Any, path: str = "") -> Any:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from numbers(inner, f"{path}.{key}")
        elif isinstance(value, list):
            for inner in value:
                yield from numbers(inner, path)
        elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > 1e9:
            yield path

    paths = [
        "/operations",
        f"/operations/{examples.completed.pk}",
        "/models",
        "/models/stored-1",
        "/data",
        "/checkpoints",
        "/workers",
    ]
    found = {where for path in paths for where in numbers(send(client, "get", path).json())}
    assert [where for where in found if not re.search(r"(size|memory|volume)", where)] == []


def test_our_own_pages_read_no_older_way() -> None:
    scripts = [path for app in ("training", "strategies_app") for path in (ROOT / app / "static").rglob("*.js")]
    older = re.compile(
        r"(?<!dataset)(?<!history)\.state\b|/api/v1/(?:workers|strategies|data)[\"'`]|\.(?:embargo_ends|cuts|spans)\b"
    )
    read = {f"{path.name}: {found[0]}" for path in scripts for found in older.finditer(path.read_text(encoding="utf-8"))}
    assert len(scripts) > 10 and read == set()
