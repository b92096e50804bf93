"""Tags and notes: written by whose operation it is, or an admin; read by all; shown as text and nothing else."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.examples.api import Examples
from training.access.audit import Actor
from training.jobs.requests import BadAnnotation, annotate, read_tags
from training.models import AuditEntry, Operation

EVIL = "<script>alert(1)</script>"


def send(client: Client, operation: Operation, tags: str = "fast, Night", comment: str = "keep it", **headers: str) -> int:
    answer = client.post(f"/operations/{operation.pk}/annotate/", {"tags": tags, "comment": comment}, headers=headers)
    return int(answer.status_code)


@pytest.mark.parametrize(("role", "status"), [("trainer", 302), ("admin", 302), ("other", 403), ("viewer", 403), ("nobody", 403)])
def test_ones_own_or_any_as_an_admin(examples: Examples, role: str, status: int) -> None:
    assert send(examples.signed_in(role), examples.completed) == status
    kept = Operation.objects.get(pk=examples.completed.pk)
    assert (kept.tag_list, kept.comment) == ((["fast", "night"], "keep it") if status == 302 else ([], ""))
    assert AuditEntry.objects.filter(action="annotate", target=kept.pk).exists() == (status == 302)


def test_anonymous_visitors_sign_in_and_a_forged_form_is_refused(examples: Examples) -> None:
    assert Client().get(f"/operations/{examples.completed.pk}/annotate/").status_code == 302
    assert send(Client(), examples.completed) == 302
    assert send(examples.signed_in("trainer", csrf=True), examples.completed) == 403
    assert Operation.objects.get(pk=examples.completed.pk).tags == ""


def test_only_who_may_write_gets_the_form(examples: Examples) -> None:
    address = f"/operations/{examples.completed.pk}/annotate/?edit=1"
    assert "<form" in examples.signed_in("trainer").get(address).content.decode()
    assert "<form" not in examples.signed_in("viewer").get(address).content.decode()


def test_what_is_written_is_shown_as_text(examples: Examples) -> None:
    trainer = examples.signed_in("trainer")
    assert send(trainer, examples.completed, "ok", EVIL) == 302
    for address in (
        "/compare/",
        f"/operations/{examples.completed.pk}/",
        f"/operations/{examples.completed.pk}/annotate/?edit=1",
    ):
        page = trainer.get(address).content.decode()
        assert "&lt;script&gt;alert(1)" in page and EVIL not in page, address


def test_what_cannot_be_kept_is_said_and_stays_in_the_form(examples: Examples) -> None:
    answer = examples.signed_in("trainer").post(
        f"/operations/{examples.completed.pk}/annotate/", {"tags": EVIL, "comment": "mine"}, headers={"HX-Request": "true"}
    )
    page = answer.content.decode()
    assert "cannot be a tag" in page and ">mine</textarea>" in page and EVIL not in page
    assert Operation.objects.get(pk=examples.completed.pk).comment == ""


@pytest.mark.parametrize("text", ["a/b", "x" * 31, "ä'b", " ".join(f"t{n}" for n in range(11)), "a\0b"])
def test_tags_are_few_short_words(text: str) -> None:
    with pytest.raises(BadAnnotation):
        read_tags(text)


def test_tags_are_kept_once_in_small_letters() -> None:
    assert read_tags(" Fast, fast night-run,übung ") == ["fast", "night-run", "übung"]
    assert read_tags("") == []


def test_a_note_has_an_end(examples: Examples) -> None:
    for comment in ("x" * 4001, "a\0b"):
        with pytest.raises(BadAnnotation):
            annotate(examples.completed, "", comment, Actor())
    annotate(examples.completed, "", "one\r\ntwo", Actor())
    assert examples.completed.comment == "one\ntwo"
