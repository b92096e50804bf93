"""What to begin a strategy with: samples, and ideas whose comments say what to think about, each file under its own name."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from strategies_app.grammar.schema import StrategySpec
from strategies_app.grammar.vocabulary import nearest
from strategies_app.stored import Glance, glance

IDEAS = Path(__file__).resolve().parent / "ideas"
#: The one taken when none is chosen.
FIRST = "mean_reversion"


class UnknownIdea(LookupError):
    """There is no idea of this name."""


@functools.cache
def ideas() -> dict[str, Sample]:
    """By name, the usual first one before the others."""
    texts = [path.read_text(encoding="utf-8") for path in IDEAS.glob("*.yaml")]
    found = sorted((Sample(text, glance(text)) for text in texts), key=lambda idea: (idea.name != FIRST, idea.name))
    return {idea.name: idea for idea in found}


def begun(name: str, idea: str = FIRST) -> str:
    """The text of a new strategy called `name`; UnknownIdea, or ValueError if nothing can be called so."""
    if (chosen := ideas().get(idea)) is None:
        near = nearest(idea, ideas())
        hint = f"did you mean '{near}'?" if near else f"wanted one of {', '.join(ideas())}"
        raise UnknownIdea(f"unknown idea '{idea}', {hint}")
    if not re.fullmatch(_NAME, name):
        raise ValueError(f"seen '{name}', wanted a name of letters, digits, '_' and '-', at most 100, a letter or digit first")
    return chosen.text.replace(f"\nname: {idea}\n", f"\nname: {_quoted(name)}\n", 1)


_NAME = next(note.pattern for note in StrategySpec.model_fields["name"].metadata if getattr(note, "pattern", None))


def _quoted(name: str) -> str:
    """A name that YAML would take for a number or a truth, in quotes."""
    from strategies_app.grammar.yaml_text import plain_value

    return name if plain_value(name) == name else f'"{name}"'


SAMPLES = Path(__file__).resolve().parent / "samples"


@dataclass(frozen=True)
class Sample:
    """A sample's text, and what it tells of itself; its description says what it teaches."""

    text: str
    glance: Glance

    @property
    def name(self) -> str:
        return self.glance.name


@functools.cache
def samples() -> dict[str, Sample]:
    """By name, the plainest first."""
    texts = [path.read_text(encoding="utf-8") for path in SAMPLES.glob("*.yaml")]
    found = [Sample(text, glance(text)) for text in texts]
    found.sort(key=lambda sample: (len(sample.text.splitlines()), sample.name))
    return {sample.name: sample for sample in found}
