"""Requests that no browser sends are refused as what they are: no 5xx, no error page without its headers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.testing import HttpCommunicator
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import URLResolver, get_resolver, reverse

from ktrdr_site.asgi import application
from tests.examples.api import Examples, register_worker

pytestmark = pytest.mark.django_db
#: What every answer carries, whoever made it.
HEADERS = (
    "Content-Security-Policy",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "Referrer-Policy",
    "Cross-Origin-Opener-Policy",
)
HALF = "\\ud800"


@pytest.mark.parametrize("body", [
    f'{{"strategy_yaml": "{HALF}"}}', f'{{"strategy_name": "a{HALF}b"}}', f'{{"{HALF}": 1}}', f'{{"x": [{{"y": "{HALF}"}}]}}',
    f'"{HALF}"', '{"strategy_yaml": "\\udfff\\ud800"}', f'{{"x": {"[" * 300}"{HALF}"{"]" * 300}}}',
])  # fmt: skip
def test_half_a_character_anywhere_in_a_body_is_422_and_says_so(body: str, examples: Examples) -> None:
    for path in ("trainings/start", "trainings/plan", "strategies/validate", f"operations/{examples.own.pk}/cancel"):
        answer = examples.signed_in("admin").post(f"/api/v1/{path}", body, "application/json")
        assert answer.status_code == 422, answer.content
        (problem,) = answer.json()["error"]["details"]["problems"]
        assert problem["message"].startswith("holds half of a character, U+")


def test_whole_characters_beyond_the_first_plane_pass(examples: Examples) -> None:
    body = '{"strategy_yaml": "name: \\ud83d\\ude42"}'
    answer = examples.signed_in("admin").post("/api/v1/strategies/validate", body, "application/json")
    assert answer.status_code == 200 and answer.json()["valid"] is False


def test_a_body_that_says_two_things_under_one_name_is_422(examples: Examples) -> None:
    body = '{"strategy_name": "stored", "symbols": ["AAPL"], "symbols": ["MSFT"]}'
    answer = examples.signed_in("admin").post("/api/v1/trainings/start", body, "application/json")
    assert answer.status_code == 422
    assert answer.json()["error"]["details"]["problems"] == [{"path": "symbols", "message": "stands there twice"}]


@pytest.mark.parametrize("charset", ["utf-7", "unicode_escape", "utf-16", "rot13", "base64", "undefined", "no-such"])
def test_a_form_in_another_charset_is_read_as_utf_8(charset: str, examples: Examples) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\n+2AA-\\ud800\r\n--x--\r\n'
    client = examples.signed_in("admin")
    for path in (reverse("strategies:check"), reverse("site:sign-in"), reverse("site:plan")):
        answer = client.generic("POST", path, body, f"multipart/form-data; boundary=x; charset={charset}")
        assert answer.status_code < 500, (path, answer.status_code)
        assert client.get(path, headers={"Content-Type": f"text/plain; charset={charset}"}).status_code < 500


@pytest.mark.parametrize(("query", "content_type"), [
    (b"q=\xed\xa0\x80", "application/json"), (b"\xff\xfe", "application/json"), (b"q=%ED%A0%80", "application/json"),
    (b"", "application/json; charset*=no-such''x"), (b"", "multipart/form-data; boundary*=utf-7''+2AA-"),
    (b"", "application/json; charset*=utf-7''+2AA-"), (b"", "; = ;*=''"), (b"", "x\xff"),
])  # fmt: skip
def test_headers_and_queries_that_cannot_be_read_make_no_error_of_the_server(query: bytes, content_type: str) -> None:
    for path in ("/api/v1/operations", "/operations/", "/nowhere/", "/admin/"):
        for method in ("GET", "POST"):
            scope = {"query_string": query}
            status, headers = sent(
                method, path, [(b"host", b"localhost"), (b"content-type", content_type.encode("latin-1"))], scope
            )
            assert status < 500, (method, path, status)
            assert_safe(headers, path)


def sent(method: str, path: str, headers: list[tuple[bytes, bytes]], scope: dict[str, Any]) -> tuple[int, dict[str, str]]:
    """Through the application as the server calls it."""

    async def story() -> Any:
        communicator = HttpCommunicator(application, method, path, b"{}", headers)
        communicator.scope.update(scope)
        return await communicator.get_response(timeout=60)

    answer = async_to_sync(story)()
    return answer["status"], {name.decode().title(): value.decode() for name, value in answer["headers"]}


def assert_safe(headers: Any, what: str) -> None:
    assert [name for name in HEADERS if name not in headers] == [], what


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "nowhere", 404), ("PUT", "operations", 405), ("POST", "trainings/start", 401), ("GET", "operations/a%00b", 400),
    ("POST", "strategies/validate", 413), ("GET", "operations?limit=x", 422), ("GET", "operations", 400),
])  # fmt: skip
def test_every_error_of_the_api_carries_the_headers_of_a_page(method: str, path: str, status: int, examples: Examples) -> None:
    client = Client() if status == 401 else examples.signed_in("admin")
    host = {"Host": "elsewhere.example"} if (status, path) == (400, "operations") else {}
    body = b"x" * 600_000 if status == 413 else b""
    answer = client.generic(method, f"/api/v1/{path}", body, "application/json", headers=host)
    assert answer.status_code == status and set(answer.json()) == {"error"}
    assert_safe(answer.headers, path)
    if status == 405:
        assert answer.headers["Allow"] == "GET"


def views(resolver: URLResolver | None = None, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every page outside of the API with an address that leads to it."""
    import re

    for pattern in (resolver or get_resolver("ktrdr_site.urls")).url_patterns:
        text = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from () if text.startswith("api/") else views(pattern, text)
        else:
            made = re.sub(r"\(\?P<job>quick-[^)]*\)", "quick-" + "0" * 32, text)
            made = re.sub(r"<int:\w+>|\(\?P<token>[^)]*\)\?", "1", re.sub(r"\(\?P<key>[^)]*\)", "0" * 32, made))
            made = re.sub(r"<(?:\w+:)?\w+>", "x", made)
            yield "/" + re.sub(r"[\^$]|/\?|\\", "", made).replace("(?P<url>.*)", ""), pattern.callback


def test_no_page_answers_methods_that_it_does_not_have(examples: Examples, empty_redis: Any) -> None:
    client, found = examples.signed_in("admin"), list(views())
    assert len(found) > 150
    for path, view in found:
        allowed = getattr(view, "methods", ("GET", "HEAD", "POST"))
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", *({"GET", "POST"} - set(allowed))):
            answer = client.generic(method, path)
            assert answer.status_code == 405, (method, path, answer.status_code)
            assert answer.headers["Allow"] == ", ".join(allowed)


@pytest.mark.parametrize("wanted", [
    "abc", "a.b", "..", "https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "javascript:alert(1)", "\x00", "/\r\nX: 1",
    "http://[", "/" + "x" * 5000, "\u202e", "data:,x", "///", " /operations/", "?q=1",
])  # fmt: skip
def test_a_next_that_is_no_path_of_ours_leads_home(wanted: str, examples: Examples) -> None:
    examples.users["viewer"].set_password("corr3ct-horse")
    examples.users["viewer"].save()
    given = {"username": "viewer", "password": "corr3ct-horse", "next": wanted}
    answer = Client().post(reverse("site:sign-in"), given)
    assert (answer.status_code, answer["Location"]) == (302, "/")
    for client in (examples.signed_in("viewer"), Client()):
        assert client.get(reverse("site:sign-in"), {"next": wanted}).status_code < 400


def test_a_next_that_is_a_path_is_gone_to(examples: Examples) -> None:
    answer = examples.signed_in("viewer").get(reverse("site:sign-in"), {"next": "/operations/?q=a"})
    assert (answer.status_code, answer["Location"]) == (302, "/operations/?q=a")


def test_the_samples_lead_on_to_a_path_only(examples: Examples, empty_redis: Any) -> None:
    register_worker("quick")
    for wanted in ("abc", "https://elsewhere.example/", "a.b"):
        answer = examples.signed_in("trainer").post(reverse("site:sample"), {"next": wanted})
        assert answer.status_code == 302 and "elsewhere" not in answer["Location"] and "abc" not in answer["Location"]


@pytest.mark.parametrize("job", ["nothing", "a b", "a:b", "é", "%2e%2e", "x" * 300, "op_x-1"])
def test_what_the_queues_do_not_have_is_404_on_rqs_pages(job: str, examples: Examples, empty_redis: Any) -> None:
    client, base = examples.signed_in("admin"), "/admin/django_rq/dashboard/"
    asked = [f"{verb}" for verb in ("", "results/1/", "delete/", "requeue/", "enqueue/", "stop/")]
    for method in ("GET", "POST"):
        answers = {f"queues/0/{job}/{verb}": client.generic(method, f"{base}queues/0/{job}/{verb}") for verb in asked}
        for path in ("queues/99/", "queues/99/failed/", f"workers/0/{job}/", "workers/99/", "schedulers/99/", "queues/0/empty/x/",
                     f"cron-schedulers/0/{job}/", f"cron-schedulers/99/{job}/jobs/x/", "queues/confirm-action/99/", "queues/actions/99/"):  # fmt: skip
            answers[path] = client.generic(method, base + path)
        seen = {path: answer.status_code for path, answer in answers.items()}
        assert {path: status for path, status in seen.items() if status not in (302, 404, 405)} == {}
        assert seen[f"queues/0/{job}/"] == 404 and seen["queues/99/"] == 404


def test_rqs_actions_lead_to_no_other_site_and_take_no_unknown_ids(examples: Examples, empty_redis: Any) -> None:
    client, base = examples.signed_in("admin"), "/admin/django_rq/dashboard/queues"
    for given in ({"next_url": "https://elsewhere.example/"}, {"next_url": "abc"}, {"next_url": "/x", "action": "delete", "job_ids": ["no"]},
                  {"action": "requeue", "job_ids": ["no", "a b"]}, {"action": "stop", "job_ids": "x"}, {"action": "odd"}, {}):  # fmt: skip
        for path in (f"{base}/actions/0/", f"{base}/confirm-action/0/"):
            answer = client.post(path, given, headers={"Referer": "https://elsewhere.example/x"})
            assert answer.status_code in (200, 302, 404), (path, given)
            assert "elsewhere" not in answer.headers.get("Location", "")


@pytest.mark.django_db(transaction=True)
def test_files_that_one_person_uploads_at_once_are_all_answered(examples: Examples, empty_redis: Any) -> None:
    clients = [examples.signed_in("trainer") for _ in range(8)]

    def upload(number: int) -> int:
        from django.db import connections

        try:
            file = SimpleUploadedFile(f"S{number}_1d.csv", b"time,open,high,low,close,volume\n2020-01-02,1,1,1,1,1\n" * 200)
            return clients[number].post(reverse("site:upload"), {"file": file}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(upload, range(8)))
    assert {status for status in statuses if status not in (302, 409, 422, 429)} == set() and 302 in statuses
