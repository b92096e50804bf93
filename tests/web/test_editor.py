"""The editor: every problem with its place while typing, each save a version, nobody's work stored over, pieces from the vocabulary."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from strategies_app.grammar.reader import read_strategy
from strategies_app.grammar.vocabulary import INDICATORS, MEMBERSHIPS, REPAINTING
from strategies_app.models import NewerVersion, Strategy
from strategies_app.tools import snippets as pieces
from strategies_app.tools.snippets import Snippet, snippets
from tests.examples.api import TEXT, Examples
from tests.examples.strategy_texts import RIGHT, changed
from training.models import AuditEntry

NEW, EDIT, CHECK = "/strategies/new/", "/strategies/stored/edit/", "/strategies/new/check/"
OTHER = changed("epochs: 2", "epochs: 3", TEXT)
MINE = changed("epochs: 2", "epochs: 4", TEXT)


# --- while typing ------------------------------------------------------------------------------


def check(client: Client, text: str, strategy: str = "") -> dict[str, Any]:
    answer = client.post(CHECK, {"text": text, "strategy": strategy})
    assert answer.status_code == 200
    return dict(answer.json())


def test_every_problem_comes_with_its_line_and_column(examples: Examples) -> None:
    text = changed("type: rsi", "type: rsl", changed("epochs: 2", "epochs: many", TEXT))
    told = check(examples.signed_in("trainer"), text)
    assert not told["valid"] and told["count"] == 2
    lines = text.splitlines()
    seen = [(lines[p["line"] - 1][p["column"] - 1 :].partition(",")[0], p["path"]) for p in told["problems"]]
    assert seen == [("rsl", "indicators.rsi_14.type"), ("many", "training.epochs")]
    assert "did you mean 'rsi'?" in told["problems"][0]["message"]


def test_a_right_text_is_told_in_short_and_nothing_is_stored(examples: Examples) -> None:
    told = check(examples.signed_in("viewer"), RIGHT.replace("\n", "\r\n"))
    assert (told["valid"], told["name"], told["features"], told["labels"], told["problems"]) == (True, "right", 5, "zigzag", [])
    assert not Strategy.objects.filter(name="right").exists()


@pytest.mark.parametrize("text", ["", " \n", "a: b", "\0", "{" * 5000, "x" * 70_000, "a: &b [*b]", "é" * 40_000])
def test_no_text_is_too_strange_to_be_checked(examples: Examples, text: str) -> None:
    assert not check(examples.signed_in("trainer"), text)["valid"]


def test_a_check_needs_the_page_it_comes_from(examples: Examples) -> None:
    assert examples.signed_in("trainer", csrf=True).post(CHECK, {"text": TEXT}).status_code == 403
    assert examples.signed_in("trainer").get(CHECK).status_code == 405
    assert examples.signed_in("nobody").post(CHECK, {"text": TEXT}).status_code == 403


def test_a_name_that_cannot_be_saved_is_a_problem_at_its_line(examples: Examples) -> None:
    client = examples.signed_in("trainer")
    told = check(client, TEXT)
    (problem,) = told["problems"]
    line = TEXT.splitlines()[problem["line"] - 1]
    assert (told["valid"], told["readable"], line[problem["column"] - 1 :].split()[0]) == (False, True, "stored")
    assert problem["path"] == "name" and "is stored already: give this one another name" in problem["message"]
    assert check(client, TEXT, "stored")["valid"], "its own next version"
    (renamed,) = check(client, changed("name: stored", "name: another", TEXT), "stored")["problems"]
    assert "wanted 'stored': a stored strategy keeps its name" in renamed["message"]
    (reserved,) = check(client, changed("name: right", "name: new"))["problems"]
    assert "is an address of the pages" in reserved["message"]
    (folded,) = check(client, changed("name: stored", "name: >-\n  stored", TEXT))["problems"]
    assert (folded["line"], folded["column"]) == (None, None), "no place is better than a wrong one"


@pytest.mark.parametrize("name", ["stored", '"stored"', "'stored'"])
def test_a_copy_begins_under_a_name_that_is_free(examples: Examples, name: str) -> None:
    client = examples.signed_in("trainer")
    Strategy.objects.import_text(changed("name: stored", f"name: {name}  # mine", TEXT))
    Strategy.objects.import_text(changed("name: stored", "name: stored-2", TEXT))
    text = client.get(NEW, {"copy": "stored"}).content.decode().partition("<textarea")[2]
    assert "name: stored-3  # mine" in text
    assert "epochs: 2" in text


# --- saving ------------------------------------------------------------------------------------


def save(client: Client, address: str, text: str, base: int) -> Any:
    return client.post(address, {"text": text.replace("\n", "\r\n"), "base": base})


def test_saving_makes_the_next_version_and_the_old_one_stays(examples: Examples) -> None:
    answer = save(examples.signed_in("trainer"), EDIT, OTHER, 1)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/strategies/stored/?saved=edit")
    assert list(Strategy.objects.get().versions.order_by("number").values_list("number", "text")) == [(1, TEXT), (2, OTHER)]
    entry = AuditEntry.objects.get(action="save")
    assert (entry.username, entry.target, entry.details) == ("trainer", "stored", {"via": "web", "version": 2})


def test_the_same_text_makes_no_version_and_says_so(examples: Examples) -> None:
    client = examples.signed_in("trainer")
    page = client.post(EDIT, {"text": TEXT.replace("\n", "\r\n"), "base": 1}, follow=True).content.decode()
    assert Strategy.objects.get().versions.count() == 1
    assert "The text is that of version 1. Nothing new was stored." in page
    assert not AuditEntry.objects.filter(action="save").exists()


def test_a_new_strategy_is_stored_under_the_name_in_its_text(examples: Examples) -> None:
    answer = save(examples.signed_in("trainer"), NEW, RIGHT, 0)
    assert answer.headers["Location"] == "/strategies/right/?saved=new"
    assert Strategy.objects.get(name="right").newest().text == RIGHT  # type: ignore[union-attr]


def test_a_wrong_text_is_not_stored_and_not_lost(examples: Examples) -> None:
    wrong = changed("type: rsi", "type: rsl", TEXT)
    answer = save(examples.signed_in("trainer"), EDIT, wrong, 1)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "unknown indicator &#x27;rsl&#x27;" in page and "type: rsl" in page
    assert 'name="base" value="1"' in page and 'data-refused="1"' in page
    assert Strategy.objects.get().versions.count() == 1


@pytest.mark.parametrize(
    ("address", "text", "said"),
    [
        (NEW, TEXT, "is stored already"),
        (EDIT, changed("name: stored", "name: another", TEXT), "a stored strategy keeps its name"),
        (NEW, changed("name: right", "name: new"), "is an address of the pages"),
    ],
)
def test_a_name_has_its_rules(examples: Examples, address: str, text: str, said: str) -> None:
    answer = save(examples.signed_in("trainer"), address, text, 1)
    assert answer.status_code == 422 and said in answer.content.decode()
    assert Strategy.objects.get().versions.count() == 1


def test_the_second_of_two_is_told_and_loses_nothing(examples: Examples) -> None:
    first, second = examples.signed_in("trainer"), examples.signed_in("other")
    assert b'name="base" value="1"' in second.get(EDIT).content
    save(first, EDIT, OTHER, 1)
    answer = save(second, EDIT, MINE, 1)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "Version 2 was stored while you were editing" in page
    assert "epochs: 4" in page and "-  epochs: 3" in page and "+  epochs: 4" in page
    assert Strategy.objects.get().versions.count() == 2, "nothing was stored"
    assert 'name="base" value="2"' in page
    assert save(second, EDIT, MINE, 2).status_code == 302, "knowing of it, one may go on"
    assert [v.text for v in Strategy.objects.get().versions.order_by("number")] == [TEXT, OTHER, MINE]


def test_the_base_is_compared_where_versions_are_made(db: None) -> None:
    """Between the form's look and the store another save may come."""
    Strategy.objects.import_text(TEXT)
    Strategy.objects.import_text(OTHER, base=1)
    with pytest.raises(NewerVersion) as newer:
        Strategy.objects.import_text(MINE, base=1)
    assert newer.value.version.number == 2
    assert Strategy.objects.import_text(OTHER, base=1).number == 2, "the same text is no quarrel"


def test_a_save_needs_the_page_it_comes_from(examples: Examples) -> None:
    assert save(examples.signed_in("trainer", csrf=True), EDIT, OTHER, 1).status_code == 403
    assert examples.signed_in("trainer").post(EDIT, {"text": OTHER}).status_code == 422, "without a base"
    assert Strategy.objects.get().versions.count() == 1


def test_the_editor_begins_with_the_newest_text_or_with_one_to_copy(examples: Examples) -> None:
    trainer = examples.signed_in("trainer")
    assert "\n\nname: stored" in trainer.get(EDIT).content.decode(), "a leading line is kept by one more"
    assert "name: stored" in trainer.get(NEW, {"copy": "stored"}).content.decode()
    assert "name: minimal" in trainer.get(NEW, {"sample": "minimal"}).content.decode().partition("<textarea")[2]
    assert trainer.get("/strategies/none/edit/").status_code == 404


# --- pieces ------------------------------------------------------------------------------------

BEGINNING = "name: made\ntraining_data:\n  symbols: {mode: single, symbol: AAPL}\n  timeframes: {mode: single, timeframe: 1d}\n"


def of(group: str) -> list[Snippet]:
    return [snippet for snippet in snippets() if snippet.group == group]


def written(snippet: Snippet, indent: int) -> str:
    lines = (line.replace("{indicator}", "rsi_14").replace("{fuzzy_set}", "zone") for line in snippet.lines)
    return "".join(" " * indent + line + "\n" for line in lines)


def strategy_of(indicator: Snippet, fuzzy: Snippet, entry: Snippet, model: Snippet, label: Snippet) -> str:
    first = written(of("Indicators")[0], 2)
    more = written(indicator, 2) if indicator != of("Indicators")[0] else ""
    return (
        f"{BEGINNING}indicators:\n{first}{more}fuzzy_sets:\n{written(fuzzy, 2)}nn_inputs:\n{written(entry, 2)}"
        f"{written(model, 0)}training:\n{written(label, 2)}"
    )


@pytest.mark.parametrize("number", range(max(len(of(g)) for g in ("Indicators", "Fuzzy sets", "Inputs", "Labels", "Models"))))
def test_pieces_put_together_are_a_right_strategy(number: int) -> None:
    """Every piece is used at least once."""
    chosen = [of(group)[number % len(of(group))] for group in ("Indicators", "Fuzzy sets", "Inputs", "Models", "Labels")]
    assert read_strategy(strategy_of(*chosen)).name == "made"


def test_pieces_are_all_that_can_be_trained_and_nothing_else() -> None:
    offered = {snippet.title for snippet in of("Indicators")}
    assert offered == {name for name, kind in INDICATORS.items() if kind.available and name not in REPAINTING}
    shapes = " ".join(snippet.title for snippet in of("Fuzzy sets"))
    assert all(name in shapes for name in MEMBERSHIPS)
    for section in (
        "model: {type: lstm, architecture: {sequence_length: 8}}",
        "model: {type: gru, architecture: {sequence_length: 8}}",
    ):
        assert read_strategy(changed("model:\n  type: mlp", section)).window == 8
        assert section.split("type: ")[1].split(",")[0] in {snippet.title for snippet in of("Models")}


def test_a_new_word_of_the_vocabulary_is_offered_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setitem(INDICATORS, "brandnew", replace(INDICATORS["rsi"], name="brandnew"))
    pieces.snippets.cache_clear()
    try:
        (found,) = [snippet for snippet in snippets() if snippet.title == "brandnew"]
        assert found.lines == ("brandnew_14: {type: brandnew, period: 14, source: close}",)
    finally:
        monkeypatch.undo()
        pieces.snippets.cache_clear()
