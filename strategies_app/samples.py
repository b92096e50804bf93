"""The sample strategies that come with the project: files, each under the name of its strategy."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "samples"


@dataclass(frozen=True)
class Sample:
    """`teaches` is its description; symbols and timeframes are those that it names."""

    name: str
    text: str
    teaches: str
    symbols: tuple[str, ...]
    timeframes: tuple[str, ...]


@functools.cache
def samples() -> dict[str, Sample]:
    """By name, the plainest first."""
    from strategies_app.reader import read_strategy_file

    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        text, spec = read_strategy_file(path)
        found.append(Sample(spec.name, text, spec.description, spec.symbols, spec.timeframes))
    found.sort(key=lambda sample: (len(sample.text.splitlines()), sample.name))
    return {sample.name: sample for sample in found}
