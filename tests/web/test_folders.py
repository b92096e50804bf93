"""A folder that is not there is said on every page, in one sentence: without a question to the database, and without waiting for it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.examples.api import Examples
from tests.examples.homes import Home, unmounted, until
from training.jobs import homes
from training.jobs.homes import LATE_SECONDS, SILENT, FolderWatch, Look, words_of
from training.models import Identity

GONE = "The folder of bundles is not there: what needs it waits or is refused until whoever runs the server brings it back."
PAGES = ("/", "/strategies/", "/operations/", "/models/", "/data/", "/workers/", "/account/", "/train/", "/around/", "/admin/")


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> FolderWatch:
    """That of the pages, which looks anew for every page."""
    monkeypatch.setattr(homes, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(homes, "watch", FolderWatch())
    return homes.watch


def told(client: Client, address: str) -> bool:
    return GONE in client.get(address).content.decode()


def test_every_page_says_it_while_the_folder_is_away(
    folders: Path, examples: Examples, empty_redis: Any, watch: FolderWatch
) -> None:
    client = examples.signed_in("admin")
    assert not any(told(client, address) for address in PAGES)
    with unmounted(Home(folders), "bundles"):
        for address in PAGES:
            until(lambda address=address: told(client, address), f"the sentence on {address}")
        assert not told(Client(), "/sign-in/"), "who is not signed in learns nothing of it"
        assert str(folders) not in client.get("/").content.decode(), "places are for whoever runs the server"
    for address in PAGES:
        until(lambda address=address: not told(client, address), f"the end of the sentence on {address}")


def test_the_part_of_the_frame_brings_it_to_a_page_that_is_open(
    folders: Path, examples: Examples, empty_redis: Any, watch: FolderWatch
) -> None:
    client = examples.signed_in("viewer")
    empty = '<div id="folders-away" hx-swap-oob="innerHTML"></div>'
    assert empty in client.get("/around/").content.decode().replace("\n", "")
    with unmounted(Home(folders), "bundles"):
        until(lambda: told(client, "/around/"), "the sentence")


def test_while_all_is_well_the_database_is_not_asked(
    folders: Path, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "FRESH_SECONDS", 0.0)
    watch = FolderWatch()
    until(lambda: watch._seen or watch.sentence(), "the first look")
    with django_assert_num_queries(0):
        assert [watch.sentence() for _ in range(20)] == [""] * 20


def test_a_folder_that_is_away_costs_one_question_a_look(folders: Path, django_assert_max_num_queries: Any) -> None:
    watch = FolderWatch()
    with unmounted(Home(folders), "bundles", "bars"), django_assert_max_num_queries(1):
        until(lambda: watch.sentence().startswith("The folders of bars and bundles are not there"), "the sentence")
        assert len({watch.sentence() for _ in range(20)}) == 1


def test_a_folder_that_another_machine_adopted_is_not_told_of(folders: Path, watch: FolderWatch) -> None:
    until(lambda: watch._seen or watch.sentence(), "the first look")
    (folders / "bundles" / homes.MARK).write_text("0" * 32)
    until(lambda: watch.sentence() == GONE, "the sentence")
    Identity.objects.filter(name="bundles").update(key="0" * 32)
    until(lambda: watch.sentence() == "", "its end")


def test_folders_that_hang_hold_no_request_up_and_are_told_of(
    examples: Examples, empty_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, now, looks = threading.Event(), [0.0], []

    def look(name: str) -> Look:
        looks.append(name)
        answers.wait()
        return homes.look(name)

    watch = FolderWatch(look, lambda: now[0])
    monkeypatch.setattr(homes, "watch", watch)
    try:
        assert watch.sentence() == "", "nothing is known yet"
        now[0] = LATE_SECONDS
        assert [watch.sentence() for _ in range(50)] == [SILENT] * 50
        for _ in range(3):  # a probe does not wait either, once it is known
            answer = examples.signed_in("viewer").get("/api/v1/healthz")
            assert answer.status_code == 503 and set(answer.json()["folders"].values()) == {SILENT}
        assert looks == ["home"], "one thread waits, however many pages ask"
    finally:
        answers.set()
    until(lambda: watch.sentence() == "", "its end")


def test_the_sentence_names_what_is_away() -> None:
    assert words_of([]) == ""
    assert words_of(["bundles"]) == GONE
    assert words_of(["bars", "checkpoints", "bundles"]).startswith(
        "The folders of bars, checkpoints and bundles are not there: what needs them"
    )
    assert words_of(["home", "bars", "logs"]).startswith("The home folder of this server is not there")
