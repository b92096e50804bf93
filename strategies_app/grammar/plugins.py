"""Kinds from other packages: installed entry points → kinds that can be used, and faults that say why others cannot.

An installed package names its kinds in the groups `ktrdr.indicators`, `ktrdr.labels` and
`ktrdr.networks`. They are looked up once per process, in the order of their names. A kind never takes
the word of a built-in one, and two packages never share a word: which of them a strategy means would
depend on what else is installed.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from strategies_app.grammar import plugin_checks
from strategies_app.kinds import IndicatorKind, Kind, LabelKind, NetworkKind, Parameters

GROUPS: dict[str, type[Kind]] = {
    "ktrdr.indicators": IndicatorKind,
    "ktrdr.labels": LabelKind,
    "ktrdr.networks": NetworkKind,
}
_NOUNS = {"ktrdr.indicators": "indicator", "ktrdr.labels": "label", "ktrdr.networks": "network"}
#: What is kept of the kinds that a run used: `indicator kama` → package, version, code.
Record = Mapping[str, Mapping[str, str]]


class PluginError(Exception):
    """Code of another package did not do what it should: one sentence that names package and entry point."""


@dataclass(frozen=True)
class Source:
    """Where a kind comes from: an entry point of an installed package."""

    group: str
    entry: str
    package: str
    version: str

    @property
    def label(self) -> str:
        """`indicator kama`: how records name it."""
        return f"{_NOUNS[self.group]} {self.entry}"

    def __str__(self) -> str:
        noun, _, name = self.label.partition(" ")
        return f"{noun} '{name}' of the package {self.package} {self.version} (entry point {self.group}: {self.entry})"


@dataclass(frozen=True)
class Plugin:
    """A kind that can be used."""

    source: Source
    kind: Kind


@dataclass(frozen=True)
class Fault:
    """A kind that cannot be used, and why, in one sentence."""

    source: Source
    message: str


@dataclass(frozen=True)
class Found:
    """All that is installed, by group and name."""

    plugins: tuple[Plugin, ...]
    faults: tuple[Fault, ...]


def guarded(source: Source, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's answer; PluginError if it raises. The only place that catches whatever another package's code raises."""
    try:
        return function(*arguments)
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{source} {what}: {in_words(error)}") from error


def in_words(error: BaseException) -> str:
    """`ValueError: the first line of what it says`."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


@functools.cache
def found() -> Found:
    """The kinds of all installed packages; none of them is imported if there is no such entry point."""
    installed = entry_points()
    entries = [entry for group in GROUPS for entry in installed.select(group=group)]
    loaded = [_loaded(entry) for entry in sorted(entries, key=lambda e: (list(GROUPS).index(e.group), e.name, _package(e)))]
    faults = [found for found in loaded if isinstance(found, Fault)]
    plugins = [found for found in loaded if isinstance(found, Plugin)]
    shared = Counter((p.source.group, w) for p in plugins for w in {w.lower() for w in plugin_checks.spellings(p.kind)})
    good = []
    for plugin in plugins:
        fault = _shadows(plugin, plugins, shared)
        if fault is None:
            good.append(plugin)
        else:
            faults.append(fault)
    return Found(tuple(good), tuple(faults))


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "?"


def _loaded(entry: EntryPoint) -> Plugin | Fault:
    source = Source(entry.group, entry.name, _package(entry), entry.dist.version if entry.dist is not None else "?")
    try:
        kind = guarded(source, "cannot be imported", entry.load)
        wrong = guarded(source, "is badly described", lambda: list(plugin_checks.faults(kind, GROUPS[entry.group], entry.name)))
        if not wrong:
            defaults = {p.name: p.default for p in kind.parameters}
            said = guarded(source, "fails with its own defaults", plugin_checks.told, kind, defaults)
            wrong = [f"refuses its own defaults: {said}"] if said else []
    except PluginError as error:
        return Fault(source, str(error))
    return Fault(source, f"{source} {wrong[0]}") if wrong else Plugin(source, kind)


def _shadows(plugin: Plugin, plugins: list[Plugin], shared: Counter[tuple[str, str]]) -> Fault | None:
    for word in plugin_checks.spellings(plugin.kind):
        if word.lower() in plugin_checks.built_in(plugin.kind):
            said = f"takes the word '{word}', which is built in; the built-in one stays, rename yours"
            return Fault(plugin.source, f"{plugin.source} {said}")
        if shared[plugin.source.group, word.lower()] > 1:
            others = [
                p.source
                for p in plugins
                if p is not plugin
                and p.source.group == plugin.source.group
                and word.lower() in [w.lower() for w in plugin_checks.spellings(p.kind)]
            ]
            said = f"shares the word '{word}' with the {others[0]}; neither is used, uninstall one of the packages"
            return Fault(plugin.source, f"{plugin.source} {said}")
    return None


def plugins_of(group: str) -> dict[str, Plugin]:
    """The kinds of one group that can be used, by name."""
    return {p.kind.name: p for p in found().plugins if p.source.group == group}


def fault_of(group: str, spelling: object) -> str | None:
    """Why the installed kind of this name cannot be used; None if there is none of it."""
    return next((f.message for f in found().faults if f.source.group == group and f.source.entry == spelling), None)


def complaint(plugin: Plugin, parameters: Parameters) -> str | None:
    """What a kind says against its parameters, in one sentence; None if they go together."""
    try:
        said = guarded(plugin.source, "fails with these parameters", plugin_checks.told, plugin.kind, dict(parameters))
    except PluginError as error:
        return str(error)
    return f"{plugin.source}: {said}" if said else None


# --- identity ----------------------------------------------------------------------------------


def identity(plugin: Plugin) -> dict[str, str]:
    """Package, version, and a digest of the package's sources: an edit without a new version is another code all the same."""
    return {
        "package": plugin.source.package,
        "version": plugin.source.version,
        "code": _code(plugin.kind.function.partition(":")[0].partition(".")[0]),
    }


@functools.cache
def _code(top: str) -> str:
    """First digits of the sha256 over the Python files of a top-level package or module, which is not imported for it."""
    spec = importlib.util.find_spec(top)
    if spec is None:
        return "missing"
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [(file.relative_to(folder), file) for folder in folders for file in folder.rglob("*.py")]
    if not folders and spec.origin:
        files = [(Path(spec.origin).relative_to(Path(spec.origin).parent), Path(spec.origin))]
    digest = hashlib.sha256()
    for name, file in sorted(files):
        digest.update(str(name).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def record(indicators: Iterable[str], label: str, network: str) -> dict[str, dict[str, str]]:
    """The identity of each kind of another package among these names."""
    names = {"ktrdr.indicators": set(indicators), "ktrdr.labels": {label}, "ktrdr.networks": {network}}
    used = [p for p in found().plugins if p.kind.name in names[p.source.group]]
    return {plugin.source.label: identity(plugin) for plugin in used}


def missing(kept: Record) -> list[str]:
    """A phrase per recorded package whose kinds cannot be used here: which one is wanted, and why it cannot."""
    usable = {plugin.source.label for plugin in found().plugins}
    broken = {fault.source.label: fault.message for fault in found().faults}
    phrases = []
    for (package, version), labels in _by_package(kept, [label for label in kept if label not in usable]).items():
        why = next((broken[label] for label in labels if label in broken), None)
        hint = f"which cannot be used: {why}" if why else f"which is not installed: install version {version} from where it came"
        phrases.append(f"the package {package} {version} ({', '.join(labels)}), {hint}")
    return phrases


def differences(kept: Record) -> list[str]:
    """How what is installed differs from a record, a phrase per package; what is missing included."""
    here = {plugin.source.label: identity(plugin) for plugin in found().plugins}
    phrases = []
    for (package, version), labels in _by_package(kept, [label for label in kept if here.get(label) != kept[label]]).items():
        now = here.get(labels[0])
        said = "is not there"
        if now is not None:
            other = (now["package"], now["version"]) != (package, version)
            said = f"is {now['package']} {now['version']} now" if other else "was changed since, under the same version"
        phrases.append(f"the package {package} {version} ({', '.join(labels)}) {said}")
    return phrases


def _by_package(kept: Record, labels: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for label in sorted(labels):
        groups.setdefault((kept[label]["package"], kept[label]["version"]), []).append(label)
    return groups
