"""What a law is: a named check of one kind, and the sentence with which it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from strategies_app.grammar.plugins import Plugin
from strategies_app.kinds import Parameter

T = TypeVar("T")
#: What a description must not import: the pages describe kinds and compute nothing.
HEAVY = ("numpy", "pandas", "torch", "talib", "numba", "pyarrow")


@dataclass(frozen=True)
class Subject:
    """The kind that is tested; plugin: None for a built-in one."""

    group: str
    name: str
    plugin: Plugin | None

    def __str__(self) -> str:
        return f"{self.group.partition('.')[2].removesuffix('s')} {self.name}"


@dataclass(frozen=True)
class Law:
    """Call it: it returns if the law holds and raises AssertionError with what was seen if not."""

    name: str
    subject: Subject
    check: Callable[[], None]

    def __call__(self) -> None:
        self.check()

    def __str__(self) -> str:
        return f"{self.subject.name}-{self.name}"


def over(check: Callable[[Subject, T], None], subject: Subject, sets: Callable[[], Iterable[T]]) -> Callable[[], None]:
    """The check of every one of the sets, which are made when the law is tried."""

    def all_of_them() -> None:
        for one in sets():
            check(subject, one)

    return all_of_them


def broken(subject: Subject, law: str, seen: str) -> NoReturn:
    raise AssertionError(f"{subject}, law '{law}': {seen}")


def written(parameters: Mapping[str, Any]) -> str:
    """`with period 10`, for the end of a sentence; nothing if there are none."""
    return f" (with {', '.join(f'{name} {value}' for name, value in parameters.items())})" if parameters else ""


def first_difference(one: NDArray[Any], other: NDArray[Any]) -> int | None:
    """Position of the first bit that differs, None if there is none; NaN equals NaN."""
    assert one.shape == other.shape and one.dtype == other.dtype
    differs = one != other if one.dtype.kind != "f" else (one != other) & ~(np.isnan(one) & np.isnan(other))
    return int(np.flatnonzero(differs)[0]) if differs.any() else None


def parameter_sets(
    parameters: tuple[Parameter, ...], valid: Callable[[dict[str, Any]], bool], wanted: int = 6
) -> list[dict[str, Any]]:
    """The defaults, the lowest values, and some in between, as far as they go together."""
    random = np.random.default_rng(20)
    candidates = [{p.name: p.default for p in parameters}, {p.name: _low(p) for p in parameters}]
    candidates += [{p.name: _drawn(p, random) for p in parameters} for _ in range(8 * wanted)]
    sets: list[dict[str, Any]] = []
    for candidate in candidates:
        if candidate not in sets and len(sets) < wanted and valid(candidate):
            sets.append(candidate)
    return sets


def _low(parameter: Parameter) -> Any:
    return parameter.choices[0] if parameter.choices else parameter.kind(parameter.low)


def _drawn(parameter: Parameter, random: np.random.Generator) -> Any:
    if parameter.choices:
        return parameter.choices[int(random.integers(len(parameter.choices)))]
    assert parameter.low is not None and parameter.high is not None and not isinstance(parameter.default, str)
    if parameter.kind is int:
        lowest = int(parameter.low)
        return int(random.integers(lowest, min(int(parameter.high), max(lowest, 1) + 30) + 1))
    reach = max(abs(parameter.default) * 2, 1e-9)
    low, high = max(parameter.low, parameter.default - reach), min(parameter.high, parameter.default + reach)
    return float(random.uniform(low, high))


def light_law(subject: Subject) -> Iterator[Law]:
    """The description of an installed kind is imported by every page: in a process without what computes."""
    plugin = subject.plugin
    if plugin is None:
        return

    def light() -> None:
        module = _module_of(plugin)
        done = fresh_process(f"import sys\nfor name in {HEAVY!r}: sys.modules[name] = None\nimport {module}")
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1]
            said = f"importing its description {module} without {', '.join(HEAVY)} fails: {last}; every page would wait for them"
            broken(subject, "light", f"{said}. Name the function as text and keep it in a module of its own")

    yield Law("light", subject, light)


def _module_of(plugin: Plugin) -> str:
    from importlib.metadata import entry_points

    (entry,) = entry_points(group=plugin.source.group, name=plugin.source.entry)
    return entry.module


def fresh_process(code: str) -> subprocess.CompletedProcess[str]:
    """The code in a process that shares nothing with this one but where modules are found."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=300)  # noqa: S603
