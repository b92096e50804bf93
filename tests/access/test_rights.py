"""What a page offers to a role, that role may do: every link, form and part of every page is followed for each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.examples.api import Examples, register_worker
from tests.examples.quick_work import asking
from training.models import Operation, Status

__all__ = ["asking"]
OFFERED = re.compile(
    r"""<(?:a|button|form|div|section|select|pre|tr|input)\b[^>]*?\s(href|action|hx-get|hx-post)="([^"]*)"[^>]*>"""
)
#: Followed all the same elsewhere: leaving ends the session of the test, and files are not pages.
LEFT_OUT = re.compile(r"^/(static|sign-out|sign-in|api/v1/docs|admin)|^#|^https?:|^$|^javascript")


def offered(page: str) -> set[tuple[str, str]]:
    """How and where each thing on a page leads."""
    found = set()
    for how, where in OFFERED.findall(page):
        address = where.replace("&amp;", "&").split("#")[0]
        if not LEFT_OUT.search(address) and address.startswith(("/", "?")):
            found.add(("post" if how in ("action", "hx-post") else "get", address))
    for tag in re.findall(r"<form\b[^>]*>", page):
        if "method" not in tag and (address := re.search(r'action="([^"]*)"', tag)):
            found.discard(("post", address[1]))
            found.add(("get", address[1]))
    return found


def pages(client: Client, begin: str) -> Iterator[tuple[str, str, str, int]]:
    """Everything that can be reached from a page: how, where, from where, and the answer's status."""
    known, waiting = {("get", begin)}, [("get", begin, "the beginning")]
    while waiting:
        how, address, origin = waiting.pop()
        answer: Any = client.post(address, {}) if how == "post" else client.get(address)
        yield how, address, origin, answer.status_code
        is_page = how == "get" and answer.status_code == 200 and answer.get("Content-Type", "").startswith("text/html")
        if not is_page or getattr(answer, "streaming", False):
            continue
        for way, there in offered(answer.content.decode()):
            full = address.split("?")[0] + there if there.startswith("?") else there
            if (way, re.sub(r"\d+", "0", full)) not in known:
                known.add((way, re.sub(r"\d+", "0", full)))
                waiting.append((way, full, address))


@pytest.mark.parametrize("role", ["viewer", "trainer", "admin"])
def test_nothing_is_offered_that_the_role_may_not_do(asking: Examples, role: str) -> None:
    register_worker("cpu")
    Operation.objects.filter(pk=asking.others.pk).update(status=Status.CANCELLED)
    client = asking.signed_in(role)
    seen = list(pages(client, "/"))
    for operation in Operation.objects.all():
        seen += pages(client, reverse("site:operation", args=[operation.pk]))
        seen += pages(client, reverse("site:analytics", args=[operation.pk]))
    refused = sorted({(how, address, origin) for how, address, origin, status in seen if status == 403})
    assert refused == []
    assert len({address for _, address, _, _ in seen}) > 20, "the pages were walked"
    assert [line for line in seen if line[3] >= 500 and line[3] != 503] == []
