"""The strategy reference says what the reader checks: it is made from the same tables, and leaves none of them out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from strategies_app.grammar import schema, vocabulary
from strategies_app.tools.meanings import SECTIONS
from strategies_app.tools.reference import COMMAND, reference_markdown
from tests.examples.homes import ROOT

COMMITTED = ROOT / "docs" / "strategy-reference.md"


@pytest.fixture(scope="module")
def text() -> str:
    return COMMITTED.read_text(encoding="utf-8")


def maps_of_the_grammar() -> list[type[BaseModel]]:
    """Every model of the schema that stands for a map in a strategy; indicators come from the vocabulary."""
    bases = (schema.Strict, schema.Indicator, schema.PluginLabels, schema.PluginModel, schema.PluginArchitecture)
    made = [m for m in vars(schema).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    return [m for m in made if m.__module__.startswith(schema.__name__) and m not in bases]


def part(text: str, heading: str) -> str:
    """What stands under a heading of the third level."""
    assert f"\n### {heading}" in text, heading
    return text.partition(f"\n### {heading}")[2].partition("\n##")[0]


def words_of(kind: vocabulary.IndicatorKind) -> Iterator[str]:
    yield from (kind.name, *kind.aliases, *kind.outputs)
    for parameter in kind.parameters:
        yield from (parameter.name, *parameter.aliases, *parameter.choices, f"{parameter.default}")


def test_the_committed_reference_is_the_one_that_the_code_makes(text: str) -> None:
    assert text == reference_markdown(), f"docs/strategy-reference.md is not up to date, run: {COMMAND}"


@pytest.mark.parametrize("model", maps_of_the_grammar(), ids=lambda m: m.__name__)
def test_every_key_of_the_schema_is_there(model: type[BaseModel], text: str) -> None:
    title = next(section.title for section in SECTIONS if section.model is model)
    for name, information in model.model_fields.items():
        assert f"\n| `{information.alias or name}` |" in text, f"{model.__name__}.{name} ({title})"


@pytest.mark.parametrize("kind", vocabulary.INDICATORS.values(), ids=lambda k: k.name)
def test_every_indicator_is_there(kind: vocabulary.IndicatorKind, text: str) -> None:
    if kind.name in vocabulary.REPAINTING:
        assert f"`{kind.name}` is refused as an input" in text
        return
    own = part(text, f"{kind.name}\n")
    overview = next(line for line in text.splitlines() if line.startswith(f"| [{kind.name}]"))
    missing = [word for word in words_of(kind) if word not in own + overview]
    assert missing == []
    assert kind.formula[1:] in own and kind.constant in own and kind.memory in own
    assert all(f"{memory} with {name} {value}" in own for name, value, memory in kind.memory_if)
    assert all(f"only {output}" in own for output in kind.scale_free_outputs)


@pytest.mark.parametrize("kind", vocabulary.MEMBERSHIPS.values(), ids=lambda k: k.name)
def test_every_membership_is_there(kind: vocabulary.MembershipKind, text: str) -> None:
    line = next(line for line in text.splitlines() if line.startswith(f"| `{kind.name}` |"))
    assert kind.formula in line and ", ".join(kind.points) in line


@pytest.mark.parametrize("source", vocabulary.LABEL_CLASSES)
def test_every_label_is_there_with_its_classes(source: str, text: str) -> None:
    own = part(text, f"labels: {source}")
    assert all(f"{number} {name}" in own for number, name in enumerate(vocabulary.LABEL_CLASSES[source]))


def test_every_timeframe_is_there(text: str) -> None:
    assert all(f"| `{name}` | {seconds:,} |" in text for name, seconds in vocabulary.TIMEFRAMES.items())
