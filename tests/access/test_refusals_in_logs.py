"""The server's log: an answer that refuses is one line; only a fault of the program brings its traceback."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.examples.api import Examples

pytestmark = pytest.mark.django_db


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, bool]]:
    return [(record.getMessage(), bool(record.exc_info)) for record in caplog.records if record.name.startswith("django.")]


def test_a_page_that_a_role_may_not_see_is_one_line(examples: Examples, caplog: pytest.LogCaptureFixture) -> None:
    assert examples.signed_in("viewer").get("/train/").status_code == 403
    assert logged(caplog) == [("Forbidden (Permission denied): /train/", False)]


def test_a_host_that_is_not_ours_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    assert Client(headers={"Host": "evil.example"}).get("/").status_code == 400
    assert [has_traceback for _, has_traceback in logged(caplog)] == [False, False] or [
        has_traceback for _, has_traceback in logged(caplog)
    ] == [False]


def test_a_body_that_is_too_large_is_one_line(examples: Examples, caplog: pytest.LogCaptureFixture, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    body = {"text": "x" * 100}
    answer = examples.signed_in("trainer").post("/train/plan/", body, content_type="application/x-www-form-urlencoded")
    assert answer.status_code in (400, 413)
    assert not any(has_traceback for _, has_traceback in logged(caplog))


def test_a_fault_of_the_program_keeps_its_traceback(
    examples: Examples, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("training.web.home.render", broken)
    client = examples.signed_in("viewer")
    client.raise_request_exception = False
    assert client.get("/").status_code == 500
    assert ("Internal Server Error: /", True) in logged(caplog)
