"""A strategy's texts are kept as numbered versions that never change."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError

from strategies_app.grammar.reader import StrategyError
from strategies_app.models import ImmutableVersion, Strategy, StrategyVersion
from tests.examples.strategy_texts import RIGHT, changed

OTHER = changed("epochs: 3", "epochs: 4")


@pytest.mark.django_db
def test_an_import_keeps_the_exact_text_and_where_it_came_from() -> None:
    text = "# a comment\r\n" + RIGHT
    version = Strategy.objects.import_text(text, "/home/trader/right.yaml")
    version.refresh_from_db()
    assert (version.strategy.name, version.number, version.text) == ("right", 1, text)
    assert version.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert version.source_path == "/home/trader/right.yaml"
    assert str(version) == "right version 1"


@pytest.mark.django_db
def test_the_same_text_again_is_the_same_version() -> None:
    assert Strategy.objects.import_text(RIGHT) == Strategy.objects.import_text(RIGHT, "elsewhere.yaml")
    assert StrategyVersion.objects.count() == 1


@pytest.mark.django_db
def test_a_changed_text_is_the_next_version_and_so_is_going_back() -> None:
    numbers = [Strategy.objects.import_text(text).number for text in (RIGHT, OTHER, RIGHT)]
    assert numbers == [1, 2, 3]
    assert Strategy.objects.get().newest().text == RIGHT  # type: ignore[union-attr]


@pytest.mark.django_db
def test_a_wrong_text_is_not_stored() -> None:
    with pytest.raises(StrategyError):
        Strategy.objects.import_text(changed("type: rsi", "type: rsl"))
    assert not Strategy.objects.exists()


@pytest.mark.django_db
def test_a_stored_version_cannot_be_saved_again() -> None:
    version = Strategy.objects.import_text(RIGHT)
    version.text = OTHER
    with pytest.raises(ImmutableVersion, match="right version 1 is stored and cannot be changed"):
        version.save()
    version.refresh_from_db()
    assert version.text == RIGHT


@pytest.mark.django_db
def test_a_strategy_with_versions_cannot_be_deleted() -> None:
    version = Strategy.objects.import_text(RIGHT)
    with pytest.raises(ProtectedError):
        version.strategy.delete()


@pytest.mark.django_db
def test_two_versions_of_one_number_are_refused_by_the_database() -> None:
    strategy = Strategy.objects.import_text(RIGHT).strategy
    with pytest.raises(IntegrityError), transaction.atomic():
        strategy.versions.create(number=1, text=OTHER, sha256="")


@pytest.mark.django_db(transaction=True)
def test_imports_at_the_same_time_get_numbers_of_their_own() -> None:
    def run(number: int) -> int:
        try:
            return Strategy.objects.import_text(changed("epochs: 3", f"epochs: {number + 1}")).number
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(run, range(16)))
    assert sorted(numbers) == list(range(1, 17))


@pytest.mark.django_db(transaction=True)
def test_the_same_text_imported_at_the_same_time_is_one_version() -> None:
    def run(_: int) -> int:
        try:
            return Strategy.objects.import_text(RIGHT).number
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(run, range(16))) == {1}
    assert StrategyVersion.objects.count() == 1
