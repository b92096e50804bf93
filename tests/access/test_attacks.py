"""Everything at once: every address by every method for every role, odd bodies, mutated strategies. Small here; `make attacks N=1000` is large."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse

from strategies_app.grammar.reader import StrategyError
from strategies_app.models import StrategyVersion
from tests.campaigns import attacks
from tests.campaigns.attacks import METHODS, Tally
from tests.examples.api import Examples, register_worker, store_bars
from tests.examples.role_tables import ADMIN_PAGES, API, SITE
from training.core.values import Refusal
from training.models import ApiToken, BarFetch, BarSeries, Checkpoint, Operation, TrainedModel

pytestmark = pytest.mark.django_db
ROLES = ("anonymous", "nobody", "viewer", "trainer", "admin")
HEADERS = ("Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options")
#: Columns of the admin's table: a viewer, a trainer with what is the own and with what is another's, an admin.
COLUMNS = {
    ("viewer", True): 0,
    ("viewer", False): 0,
    ("trainer", True): 1,
    ("trainer", False): 2,
    ("admin", True): 3,
    ("admin", False): 3,
}


@pytest.fixture
def size(request: pytest.FixtureRequest) -> int | None:
    """How much is asked for; None: the small version."""
    return request.config.getoption("attacks")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("attack_seed"))


@pytest.fixture
def stored(examples: Examples, empty_redis: Any) -> Examples:
    store_bars()
    register_worker("cpu")
    return examples


def client_of(role: str, examples: Examples) -> Client:
    client = Client(raise_request_exception=False)
    if role != "anonymous":
        client.force_login(examples.users[role])
    return client


def state() -> Any:
    """Whatever a role may be forbidden to change."""
    return (
        list(Operation.objects.order_by("pk").values_list("pk", "status", "reason", "tags", "comment")),
        list(StrategyVersion.objects.order_by("pk").values_list("pk", flat=True)),
        [model.objects.count() for model in (TrainedModel, Checkpoint, BarSeries, BarFetch, ApiToken)],
        list(User.objects.order_by("pk").values_list("username", "password", "is_superuser", "is_active", "groups")),
    )


def may(role: str, name: str, method: str, *, mine: bool) -> bool:
    """Whether the tables let a role do this."""
    if name in SITE:
        allowed = SITE[name].get(method, frozenset())
        return role in allowed or (role == "trainer" and mine and "owner" in allowed)
    page = name.removeprefix("admin:")
    if method not in ("GET", "HEAD", "POST") or (role, mine) not in COLUMNS:
        return page in ("login", "logout") and method in ("GET", "HEAD", "POST")
    if page.startswith("django_rq_"):
        return role == "admin"
    column = COLUMNS[role, mine]
    rows = [statuses for row, statuses in ADMIN_PAGES.items() if row.split()[0] == page]
    if not rows:
        return page == "" or name == "metrics"
    return any(statuses[column] in (200, 302) for statuses in rows) or (page == "logout" and method == "POST")


def requests_of(examples: Examples) -> Iterator[tuple[str, str, bool]]:
    """Name, path and whether what it is about is the trainer's own."""
    for name, pattern in attacks.patterns():
        paths = {attacks.address(name, pattern, examples, mine=True): True}
        paths |= {path: False for path in (attacks.address(name, pattern, examples, mine=False),) if path not in paths}
        paths |= {path: True for path in (attacks.address(name, pattern, examples, there=False),) if path not in paths}
        yield from ((name, path, mine) for path, mine in paths.items() if path is not None)


def test_every_page_of_the_site_stands_in_the_table() -> None:
    names = {name for name, _ in attacks.patterns() if name.partition(":")[0] in ("site", "strategies")}
    assert names == set(SITE)
    said = {name: pattern.callback.methods for name, pattern in attacks.patterns() if hasattr(pattern.callback, "methods")}
    assert len(said) > 45
    assert {name: set(methods) for name, methods in said.items()} == {name: set(SITE[name]) for name in said}


def test_nothing_is_allowed_that_the_tables_do_not_allow_and_nothing_fails(stored: Examples, size: int | None, seed: int) -> None:
    rng = random.Random(seed)
    asked = list(itertools.product(sorted(requests_of(stored)), METHODS, ROLES))
    addresses = len({path for (_, path, _), _, _ in asked})
    asked = asked if size else rng.sample(asked, 350)
    form = attacks.everything(stored)
    before = state()
    clients = {role: client_of(role, stored) for role in ROLES}
    with Tally(seed) as tally:
        for (name, path, mine), method, role in asked:
            tally.doing = doing = f"{role} {method} {path}"
            allowed = may(role, name, method, mine=mine)
            with transaction.atomic():
                client = clients[role] if "out" not in name and "login" not in name else client_of(role, stored)
                answer = client.post(path, form) if method == "POST" else client.generic(method, path)
                tally.note(answer, doing)
                tally.kinds[name.partition(":")[0]] += 1
                if not allowed and answer.status_code < 400 and not is_open(name, answer):
                    tally.allowed.append(f"{doing}: {answer.status_code}")
                if not allowed and answer.status_code != 405 and state() != before:
                    tally.allowed.append(f"{doing}: something was changed")
                transaction.set_rollback(True)
        print(f"\n{addresses} addresses, {len(METHODS)} methods, {len(ROLES)} roles")
    assert (tally.faults, tally.allowed) == ([], [])


def is_open(name: str, answer: Any) -> bool:
    """What tells nothing, as long as nothing was changed: a redirect, no content, words for scripts."""
    return answer.status_code in (204, 301, 302) or name == "admin:jsi18n"


def test_no_route_of_the_api_is_open_to_another_method_or_role(stored: Examples, size: int | None, seed: int) -> None:
    rng = random.Random(seed)
    paths = sorted({path for _, path in API})
    asked = list(itertools.product(paths, METHODS, ROLES))
    asked = asked if size else rng.sample(asked, 150)
    before = state()
    with Tally(seed) as tally:
        for path, method, role in asked:
            allowed, body, _ = API.get((method, path), (frozenset(), {}, set()))
            where = "/api/v1" + filled(path, stored)
            tally.doing = f"{role} {method} {where}"
            with transaction.atomic():
                answer = client_of(role, stored).generic(method, where, json.dumps(body), "application/json")
                tally.note(answer, tally.doing)
                if role not in allowed and (answer.status_code < 400 or state() != before):
                    tally.allowed.append(f"{tally.doing}: {answer.status_code}")
                if [name for name in HEADERS if name not in answer.headers]:
                    tally.faults.append(f"{tally.doing}: without the headers of a page")
                transaction.set_rollback(True)
    assert (tally.faults, tally.allowed) == ([], [])


def filled(path: str, examples: Examples) -> str:
    values = {
        "operation_id": examples.own.pk,
        "checkpoint_id": str(examples.checkpoint.pk),
        "job": "quick-x",
        "symbol": "AAPL",
        "timeframe": "1d",
    }
    values["name"] = "stored-1" if "models" in path else "stored"
    return path.replace("{path:", "{").format(**values)


def test_odd_bodies_are_refused_as_what_they_are(stored: Examples, size: int | None, seed: int) -> None:
    client = client_of("admin", stored)
    with Tally(seed) as tally:
        for kind, path, body in attacks.bodies(random.Random(seed), size or 120, stored):
            tally.doing = f"{kind} to {path}: {body[:120]!r}"
            tally.kinds[kind] += 1
            with transaction.atomic():
                answer = client.post(f"/api/v1/{path}", body, "application/json")
                tally.note(answer, tally.doing)
                said = answer.json()
                if answer.status_code >= 400 and not (set(said) == {"error"} and said["error"]["message"]):
                    tally.faults.append(f"{tally.doing}: an error of another shape")
                if [name for name in HEADERS if name not in answer.headers]:
                    tally.faults.append(f"{tally.doing}: without the headers of a page")
                if kind == "half a character" and answer.status_code != 422 and b"\\ud" in body.lower():
                    tally.faults.append(f"{tally.doing}: {answer.status_code}, not 422")
                transaction.set_rollback(True)
    assert tally.faults == []


def test_mutated_strategies_are_read_or_refused_in_words(stored: Examples, size: int | None, seed: int) -> None:
    client, valid = client_of("admin", stored), []
    with Tally(seed) as tally:
        for number, text in enumerate(attacks.strategies(random.Random(seed), 2 * size if size else 100)):
            for path, how in (("/api/v1/strategies/validate", "api"), ("/api/v1/trainings/start", "api"),
                              ("/api/v1/trainings/plan", "api"), (reverse("strategies:check"), "page"), (reverse("strategies:new"), "page")):  # fmt: skip
                tally.doing = f"strategy {number} to {path}"
                with transaction.atomic():
                    if how == "api":
                        answer = client.post(path, json.dumps({"strategy_yaml": text}), "application/json")
                    else:
                        answer = client.post(path, {"text": text.encode("utf-8", "replace").decode()})
                    tally.note(answer, f"{tally.doing}: {text!r}")
                    transaction.set_rollback(True)
                if path.endswith("validate") and answer.status_code == 200:
                    is_valid = answer.json()["valid"]
                    tally.kinds["valid" if is_valid else "not valid"] += 1
                    valid += [text] if is_valid else []
        for text in valid[: size // 10 if size else 3]:
            tally.kinds["planned"] += 1
            planned(text, tally)
    assert tally.faults == []


def planned(text: str, tally: Tally) -> None:
    """The whole plan, bars and features included, as the quick worker makes it."""
    from training.workers.plan import plan

    try:
        plan(text, "mutated", {}, "")
    except (Refusal, StrategyError) as refusal:
        if "Traceback" in str(refusal):
            tally.faults.append(f"{text!r}: a traceback in words")
