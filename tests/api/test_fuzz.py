"""Whatever is sent to any route of the OpenAPI document, the answer is JSON, of a declared status and in its declared shape."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import jsonschema_rs
import pytest
import schemathesis
from django.conf import settings as django_settings
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core import NotSet

from tests.examples.api import TEXT, Examples, bearer, register_worker, store_bars
from training.api.routes import api

pytestmark = pytest.mark.django_db

DOCUMENT: dict[str, Any] = json.loads(json.dumps(api.get_openapi_schema()))
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
ROUTES = {f"{found.ok().method.upper()} {found.ok().path}": found.ok() for found in SCHEMA.get_all_operations()}
ERROR = "#/components/schemas/ErrorBody"
#: What an address of another kind, or a method that a route does not have, may be answered with besides.
ELSEWHERE = {400, 404, 405, 411, 413, 422}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "x")

#: In place of an id in an address, and as the value of anything in a query.
ODD = [
    "\x00", "a\x00b", "../../etc/passwd", "..", ".", "%2e%2e%2f", "/etc/passwd", "a/b", "a\\b", "C:\\x", "\u202e", "ß" * 300, "x" * 5000,
    "' OR 1=1 --", "%", "%s%n", "${7*7}", "{{7*7}}", "🙂", "\r\nX-Injected: 1", "-1", "0", "1e999", "9" * 400, str(2**63), str(-(2**63) - 1),
    "NaN", "Infinity", "null", "true", "0001-01-01", "9999-12-31", "10000-01-01", "2005-02-30", "١٢٣", "WzFd:bad:signature", "a:b:c", " ", "",
]  # fmt: skip
QUERIES = ("limit", "cursor", "since", "tail", "attempt", "status", "strategy", "operation", "version", "start", "end", "x[]")
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from([*ODD, "\ud800", "stored", "AAPL", "1d", TEXT, 10**400, 1e308, -0.0])
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6
)
KEYS = sorted({key for name in ("Start", "StrategyText", "Cancel", "Resume", "Predict") for key in DOCUMENT["components"]["schemas"][name]["properties"]})  # fmt: skip
BODIES = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), VALUES, max_size=6) | VALUES
RAW = [
    b"", b"{", b"nul", b"\xff\xfe", b"\x00", b'{"strategy_yaml": "\\u0000"}', b'{"strategy_yaml": "\\ud800"}', b'{"a": NaN}', b"-" * 1000,
    b"[" * 100_000, b'{"a":' * 50_000, b"[" * 900 + b"]" * 900, b'{"strategy_yaml":' + b"[" * 500 + b"]" * 500 + b"}", b"9" * 10_000,
    b'{"validation_split": 1e400}', b'{"validation_split": ' + b"9" * 5000 + b"}", b'{"force": true, "force": false}', b"<x/>", b'"text"',
    b'{"strategy_yaml": "' + b"[" * 5000 + b'"}', b'{"strategy_yaml": "' + b"a: " * 5000 + b'"}', b'{"strategy_yaml": "? ? ? ?"}',
    json.dumps({"strategy_name": "stored", "symbols": ["AAPL"] * 1000}).encode(), json.dumps({"strategy_name": "../" * 60}).encode(),
    json.dumps({"strategy_yaml": TEXT, "strategy_path": "../../../../etc/passwd"}).encode(),
    json.dumps({"strategy_name": "stored", "start_date": "0001-01-01", "end_date": "9999-12-31"}).encode(),
    json.dumps({"strategy_name": "stored", "validation_split": 5e-324}).encode(), json.dumps({"strategy_name": "stored", "task_id": "\x7f"}).encode(),
]  # fmt: skip
FUZZ = settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@pytest.fixture
def stored(examples: Examples, empty_redis: Any) -> Examples:
    """Something of everything, and a worker, so that what is sent goes as deep as it can."""
    store_bars()
    register_worker("cpu")
    return examples


def ids(examples: Examples) -> dict[str, list[str]]:
    """What there is, by the names that the addresses of the document give to it."""
    operations = [row.pk for row in (examples.own, examples.others, examples.completed)]
    return {
        "operation_id": operations, "checkpoint_id": [str(examples.checkpoint.pk)], "name": ["stored", "stored-1"],
        "job": ["quick-x"], "symbol": ["AAPL"], "timeframe": ["1d"],
    }  # fmt: skip


def check(answer: Any, route: Any = None) -> None:
    """JSON, of a status that the document declares for the route, in the shape that it declares for that status."""
    status, said = answer.status_code, f"{answer.request['REQUEST_METHOD']} {answer.request['PATH_INFO']!r}: {answer.status_code}"
    assert status < 500 or status == 503, f"{said} {answer.content!r}"
    declared = route.definition.raw["responses"] if route is not None else {}
    assert str(status) in declared or status in ELSEWHERE or (route is None and status < 400), f"{said} is not declared"
    if status == 204 or answer.request["REQUEST_METHOD"] == "HEAD":
        return
    kinds = declared.get(str(status), {}).get("content", {"application/json": {}})
    kind = answer.headers["Content-Type"].partition(";")[0]
    assert kind in (kinds if status < 400 else ("application/json",)) or (route is None and status < 400), f"{said} is {kind}"
    if kind != "application/json":
        return
    body = json.loads(answer.content, parse_constant=lambda name: pytest.fail(f"{said} holds {name}"))
    schema = kinds.get(kind, {}).get("schema") or ({"$ref": ERROR} if status >= 400 else {})
    jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(body)
    if status >= 400 and schema["$ref"] == ERROR:
        assert set(body) == {"error"} and set(body["error"]) == {"code", "message", "details"}, said
        assert body["error"]["message"] and "Traceback" not in answer.content.decode(), said


def sent(client: Client, method: str, path: str, query: str = "", body: bytes = b"") -> Any:
    return client.generic(method, path, body, "application/json", QUERY_STRING=query)


def written(body: Any) -> bytes:
    """As JSON, if it is not bytes already."""
    if isinstance(body, NotSet):
        return b""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def encoded(query: dict[str, Any]) -> str:
    """As a browser writes it; what is no list of texts goes as JSON."""
    pairs = [(key, one) for key, value in query.items() for one in (value if isinstance(value, list) else [value])]
    texts = [(key, one if isinstance(one, str) else json.dumps(one)) for key, one in pairs]
    return "&".join(f"{quote(key.encode('utf-8', 'replace'))}={quote(one.encode('utf-8', 'replace'))}" for key, one in texts)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", ROUTES)
def test_what_the_document_describes_and_what_it_forbids_is_answered_as_declared(
    name: str, mode: schemathesis.GenerationMode, stored: Examples
) -> None:
    route, client, known = ROUTES[name], stored.signed_in("admin"), ids(stored)
    if mode == schemathesis.GenerationMode.NEGATIVE and not route.definition.raw.get("security"):
        pytest.skip("nothing of this route can be wrong")

    @settings(FUZZ, max_examples=8)
    @given(case=route.as_strategy(generation_mode=mode), data=st.data())
    def fuzzed(case: Any, data: st.DataObject) -> None:
        for key in case.path_parameters or {}:
            if data.draw(st.integers(0, 3)):  # mostly something that there is, so that the request comes further
                case.path_parameters[key] = data.draw(st.sampled_from(known[key]))
        check(sent(client, case.method, case.formatted_path, encoded(case.query or {}), written(case.body)), route)

    fuzzed()


@settings(FUZZ, max_examples=120)
@given(name=st.sampled_from(sorted(n for n in ROUTES if n.startswith("POST"))), body=BODIES)
def test_no_body_makes_the_server_stumble(name: str, body: Any, stored: Examples) -> None:
    path = filled(name, stored)
    check(sent(stored.signed_in("admin"), "POST", path, body=json.dumps(body).encode()), ROUTES[name])


def filled(name: str, examples: Examples) -> str:
    """The address of a route, of what there is."""
    path = str(name.partition(" ")[2])
    for key, values in ids(examples).items():
        model = key == "name" and "/models/" in path
        path = path.replace(f"{{{key}}}", values[-1] if model or key == "operation_id" else values[0])
    return path


@pytest.mark.parametrize("name", ROUTES)
def test_odd_ids_queries_methods_and_bodies_are_answered_in_one_shape(name: str, stored: Examples) -> None:
    method, _, template = name.partition(" ")
    route, client, plain = ROUTES[name], stored.signed_in("admin"), filled(name, stored)
    for odd in ODD:
        if "{" in template:
            whole = template
            for key in ids(stored):
                whole = whole.replace(f"{{{key}}}", quote(odd, safe="")).replace("//", "/%20/")
            check(sent(client, method, whole), route)
            if "/" in odd:
                check(sent(client, method, whole.replace("%2F", "/")))
    for other in METHODS:
        if f"{other} {template}" not in ROUTES:
            check(sent(client, other, plain))
    for number, raw in enumerate(RAW if method == "POST" else RAW[:6]):
        check(sent(client, method, plain, body=raw), route)
        if number < 3:
            check(client.generic(method, plain, raw, "text/plain"), route)
            check(client.generic(method, plain, raw, "application/json; charset=utf-16"), route)


@pytest.mark.parametrize("name", [n for n in ROUTES if n.startswith("GET")])
def test_odd_queries_are_answered_in_one_shape(name: str, stored: Examples) -> None:
    client, plain = stored.signed_in("admin"), filled(name, stored)
    taken = {p["name"] for p in ROUTES[name].definition.raw.get("parameters", []) if p["in"] == "query"}
    for key in sorted(taken & set(QUERIES)) or ["x[]"]:
        for odd in ODD:
            check(sent(client, "GET", plain, f"{quote(key)}={quote(odd)}"), ROUTES[name])
    for query in ("limit=1&limit=x", "%", "%zz=%ff", "a" * 5000, "&&&===", "cursor=%00", ";", "\xff"):
        check(sent(client, "GET", plain, query), ROUTES[name])


def test_no_header_makes_the_server_stumble(stored: Examples) -> None:
    for secret in [*(odd for odd in ODD if odd.isprintable()), "ktrdr_" + "x" * 5000, "é"]:
        for value in (secret, f"Bearer {secret}", f"Basic {secret}"):
            check(Client(headers={"Authorization": value}).get("/api/v1/operations"), ROUTES["GET /api/v1/operations"])
    check(bearer("").get("/api/v1/healthz"), ROUTES["GET /api/v1/healthz"])
    admin = stored.signed_in("admin")
    for length in ("-1", "x", "", "9" * 30, "1.5", "١"):
        check(admin.post("/api/v1/trainings/start", b"{}", "application/json", CONTENT_LENGTH=length))
    for host in ("", "x y", "evil.example", "[::1", "\x00"):
        check(admin.get("/api/v1/operations", headers={"host": host}))
    for accept in ("text/html", "\x00", "*/*;q=x"):
        check(admin.get("/api/v1/operations", headers={"accept": accept, "x-forwarded-for": "\x00" * 10, "x-csrftoken": accept}))
    assert django_settings.DEBUG is False
