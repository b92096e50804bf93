"""The sample strategies that come with the project: files, each under the name of its strategy."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from strategies_app.stored import Glance, glance

FOLDER = Path(__file__).resolve().parent / "samples"


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
    texts = [path.read_text(encoding="utf-8") for path in FOLDER.glob("*.yaml")]
    found = [Sample(text, glance(text)) for text in texts]
    found.sort(key=lambda sample: (len(sample.text.splitlines()), sample.name))
    return {sample.name: sample for sample in found}
