"""Every kind that a strategy may name: the built-in vocabulary, then what installed packages add, and why others cannot be.

An installed package names its kinds in the groups `ktrdr.indicators`, `ktrdr.labels` and
`ktrdr.networks`. They are looked up once per process, in the order of their names. A kind never takes
the word of a built-in one, and two packages never share a word: which of them a strategy means would
depend on what else is installed.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from strategies_app.grammar import vocabulary
from strategies_app.kinds import IndicatorKind, Kind, LabelKind, Memory, NetworkKind, Parameter, Parameters

#: As an id of a strategy; it stands in file names and on pages.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
#: Keys of the maps in which parameters stand.
_TAKEN = frozenset({"type", "source", "kind", "parameters"})
_WORDS: dict[type, str] = {IndicatorKind: "an indicator", LabelKind: "a label", NetworkKind: "a network"}
#: The networks of the schema.
BUILT_IN_NETWORKS = ("mlp", "lstm", "gru")


def faults(kind: Any, wanted: type[Kind], entry: str) -> Iterator[str]:
    """All that is wrong with a description found under the entry point's name, apart from what calling its functions tells."""
    if not isinstance(kind, wanted):
        yield f"is a {type(kind).__name__}, wanted strategies_app.kinds.{wanted.__name__}"
        return
    if wrong := list(_of_other_types(kind)):
        yield from wrong
        return  # what the values mean can be asked only of values of the right type
    if kind.name != entry:
        yield f"describes {_WORDS[wanted]} of another name, '{kind.name}', wanted the entry point's own"
    yield from _names(kind)
    yield from _parameters(kind.parameters)
    if not isinstance(kind.function, str) or not _FUNCTION.fullmatch(kind.function):
        field = "build" if isinstance(kind, NetworkKind) else "compute"
        yield f"has {field} {kind.function!r}, wanted text such as 'package.module:function'"
    if isinstance(kind, IndicatorKind):
        yield from _indicator(kind)
    if isinstance(kind, LabelKind):
        yield from _label(kind)


def _is_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, str) for one in value)


def _is_function(value: Any) -> bool:
    return value is None or callable(value)


def _is_memories(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, tuple) and len(one) == 3 and isinstance(one[0], str) for one in value)


#: Field → what it must be and the words for that, where no check below tells it in better words.
_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("name", "constant", "formula"), (lambda value: isinstance(value, str), "a text")),
    **dict.fromkeys(("aliases", "columns", "scale_free_outputs"), (_is_names, "a tuple of texts")),
    **dict.fromkeys(("check", "warm_up"), (_is_function, "a function, or None")),
    "scale_free": (lambda value: isinstance(value, bool), "True or False"),
    "memory_if": (_is_memories, "a tuple of (parameter, value, memory)"),
}
_PARAMETER_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": _TYPES["name"],
    **dict.fromkeys(("aliases", "choices"), _TYPES["aliases"]),
    **dict.fromkeys(
        ("low", "high"),
        (lambda value: value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)), "a number, or None"),
    ),
}


def _of_other_types(kind: Kind) -> Iterator[str]:
    """Every field of a description, and of its parameters, that holds what it cannot."""
    for field, (fits, words) in _TYPES.items():
        if hasattr(kind, field) and not fits(getattr(kind, field)):
            yield f"has {field} {getattr(kind, field)!r}, wanted {words}"
    if isinstance(kind.parameters, tuple):
        for parameter in kind.parameters:
            for field, (fits, words) in _PARAMETER_TYPES.items():
                if isinstance(parameter, Parameter) and not fits(getattr(parameter, field)):
                    yield f"has a parameter {parameter.name!r} with {field} {getattr(parameter, field)!r}, wanted {words}"


def _names(kind: Kind) -> Iterator[str]:
    for word in (kind.name, *_aliases(kind)):
        if not isinstance(word, str) or not NAME.fullmatch(word):
            yield f"has the name {word!r}, wanted a letter, then letters, digits, '_' and '-'"


def _aliases(kind: Kind) -> tuple[str, ...]:
    return kind.aliases if isinstance(kind, IndicatorKind) else ()


def spellings(kind: Kind) -> tuple[str, ...]:
    """Every word by which a strategy may call the kind."""
    return (kind.name, *_aliases(kind))


def built_in(kind: Kind) -> frozenset[str]:
    """Every word by which a strategy calls a built-in kind of the same sort, in small letters."""
    if isinstance(kind, IndicatorKind):
        words: Any = vocabulary.BY_SPELLING
    else:
        words = vocabulary.LABEL_CLASSES if isinstance(kind, LabelKind) else BUILT_IN_NETWORKS
    return frozenset(word.lower() for word in words)


def _parameters(parameters: Any) -> Iterator[str]:
    if not isinstance(parameters, tuple) or not all(isinstance(p, Parameter) for p in parameters):
        yield "has parameters that are no tuple of strategies_app.kinds.Parameter"
        return
    words = [word for p in parameters for word in (p.name, *p.aliases)]
    for word in dict.fromkeys(words):
        if not isinstance(word, str) or not re.fullmatch("[a-z][a-z0-9_]*", word):
            yield f"has a parameter {word!r}, wanted small letters, digits and '_'"
        elif (word in _TAKEN and not _is_source(word, parameters)) or hasattr(BaseModel, word):
            yield f"has a parameter '{word}', a word that is taken"
        elif words.count(word) > 1:
            yield f"has the parameter '{word}' twice"
    for parameter in parameters:
        yield from _parameter(parameter)


def _is_source(word: str, parameters: tuple[Parameter, ...]) -> bool:
    """The price that an indicator works on may be called so, with the choices that all indicators have."""
    return any(p.name == word == "source" and set(p.choices) <= set(vocabulary.SOURCES) and p.choices for p in parameters)


def _parameter(parameter: Parameter) -> Iterator[str]:
    name, default = parameter.name, parameter.default
    if isinstance(default, bool) or not isinstance(default, (int, float, str)):
        yield f"has a parameter '{name}' whose default is {default!r}, wanted a whole number, a number or a text"
    elif isinstance(default, str):
        if default not in parameter.choices:
            yield f"has a parameter '{name}' whose default '{default}' is none of its choices"
    elif parameter.choices:
        yield f"has a parameter '{name}' with choices and a number as its default, wanted one of the choices"
    else:
        low, high = parameter.low, parameter.high
        bounds = [b for b in (low, high) if b is not None]
        if len(bounds) < 2 or not all(isinstance(b, (int, float)) and math.isfinite(b) for b in bounds):
            yield f"has a parameter '{name}' without finite low and high bounds"
        elif not (math.isfinite(default) and low is not None and high is not None and low <= default <= high):
            yield f"has a parameter '{name}' whose default {default:g} is not within {low:g} to {high:g}"


def _indicator(kind: IndicatorKind) -> Iterator[str]:
    outputs = kind.outputs
    if not isinstance(outputs, tuple) or not outputs or not all(isinstance(o, str) and NAME.fullmatch(o) for o in outputs):
        yield f"has outputs {outputs!r}, wanted a tuple of names"
    elif len(set(outputs)) < len(outputs):
        yield "has two outputs of one name"
    if unknown := [c for c in kind.columns if c not in vocabulary.BAR_COLUMNS]:
        yield f"needs the column '{unknown[0]}', bars have {', '.join(vocabulary.BAR_COLUMNS)}"
    if not callable(kind.warm_up):
        yield "has no warm_up, wanted a function from parameters to bars per output"
    memories = get_args(Memory)
    if kind.memory not in memories or any(memory not in memories for *_, memory in kind.memory_if):
        yield f"has a memory other than {', '.join(memories)}"
    if unknown := [name for name, *_ in kind.memory_if if name not in [p.name for p in kind.parameters]]:
        yield f"has memory_if for '{unknown[0]}', which is no parameter"
    if unknown := [output for output in kind.scale_free_outputs if output not in outputs]:
        yield f"has scale_free_outputs '{unknown[0]}', which is no output"
    if not kind.formula or not kind.constant:
        yield f"has no {'formula' if not kind.formula else 'constant: what it gives on a constant price'}"


def _label(kind: LabelKind) -> Iterator[str]:
    if not callable(kind.look_ahead):
        yield "has no look_ahead, wanted a function from parameters to bars"
    classes = kind.classes
    if not isinstance(classes, tuple) or not all(isinstance(c, str) and NAME.fullmatch(c) for c in classes):
        yield f"has classes {classes!r}, wanted a tuple of names, or none for a number"
    elif len(classes) == 1 or len(set(classes)) < len(classes):
        yield f"has the classes {', '.join(classes)}, wanted at least two that differ"


def told(kind: Kind, parameters: Parameters) -> str | None:
    """What the kind's own functions say against the parameters; None if they agree. Raises whatever they raise."""
    said = kind.check(parameters) if kind.check is not None else None
    if said:
        return str(said)
    if isinstance(kind, IndicatorKind) and kind.warm_up is not None:
        bars = kind.warm_up(parameters)
        if not isinstance(bars, tuple) or len(bars) != len(kind.outputs) or not all(_is_count(b) for b in bars):
            return f"its warm_up gives {bars!r}, wanted a tuple of {len(kind.outputs)} whole numbers, one per output"
    if isinstance(kind, LabelKind):
        ahead, behind = kind.look_ahead(parameters), kind.warm_up(parameters) if kind.warm_up else 0
        if not _is_count(ahead) or ahead < 1:
            return f"its look_ahead gives {ahead!r}, wanted a whole number of at least 1"
        if not _is_count(behind):
            return f"its warm_up gives {behind!r}, wanted a whole number of at least 0"
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10_000_000


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
    shared = Counter((p.source.group, w) for p in plugins for w in {w.lower() for w in spellings(p.kind)})
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
        wrong = guarded(source, "is badly described", lambda: list(faults(kind, GROUPS[entry.group], entry.name)))
        if not wrong:
            defaults = {p.name: p.default for p in kind.parameters}
            said = guarded(source, "fails with its own defaults", told, kind, defaults)
            wrong = [f"refuses its own defaults: {said}"] if said else []
    except PluginError as error:
        return Fault(source, str(error))
    return Fault(source, f"{source} {wrong[0]}") if wrong else Plugin(source, kind)


def _shadows(plugin: Plugin, plugins: list[Plugin], shared: Counter[tuple[str, str]]) -> Fault | None:
    for word in spellings(plugin.kind):
        if word.lower() in built_in(plugin.kind):
            said = f"takes the word '{word}', which is built in; the built-in one stays, rename yours"
            return Fault(plugin.source, f"{plugin.source} {said}")
        if shared[plugin.source.group, word.lower()] > 1:
            others = [
                p.source
                for p in plugins
                if p is not plugin
                and p.source.group == plugin.source.group
                and word.lower() in [w.lower() for w in spellings(p.kind)]
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
        said = guarded(plugin.source, "fails with these parameters", told, plugin.kind, dict(parameters))
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
            said = f"is {now['package']} {now['version']} now" if other else "has been edited since; its version is the same"
        phrases.append(f"the package {package} {version} ({', '.join(labels)}) {said}")
    return phrases


def _by_package(kept: Record, labels: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for label in sorted(labels):
        groups.setdefault((kept[label]["package"], kept[label]["version"]), []).append(label)
    return groups


INDICATORS, LABELS, NETWORKS = GROUPS


def indicators() -> dict[str, IndicatorKind]:
    """Kind name → kind."""
    return vocabulary.INDICATORS | {kind.name: kind for kind in _added_indicators()}


def indicator_kind(spelling: str) -> IndicatorKind:
    """The kind of a name or alias; KeyError if there is none."""
    kind = vocabulary.BY_SPELLING.get(spelling)
    return kind if kind is not None else _added_spellings()[spelling]


def indicator_spellings(*, repainting: bool = False) -> list[str]:
    built_in = [s for s, kind in vocabulary.BY_SPELLING.items() if repainting or kind.name not in vocabulary.REPAINTING]
    return [*built_in, *_added_spellings()]


def label_classes() -> dict[str, tuple[str, ...]]:
    """Label source → its class names in the order of their numbers; no names where the label is a number."""
    return vocabulary.LABEL_CLASSES | {kind.name: kind.classes for kind in added_labels()}


def added_labels() -> list[LabelKind]:
    return [p.kind for p in plugins_of(LABELS).values() if isinstance(p.kind, LabelKind)]


def added_networks() -> list[NetworkKind]:
    return [p.kind for p in plugins_of(NETWORKS).values() if isinstance(p.kind, NetworkKind)]


def plugin(group: str, name: str) -> Plugin | None:
    """What another package added under this name; None for a built-in kind."""
    return plugins_of(group).get(name)


def origin(group: str, name: str) -> str:
    """`kama-plus 1.0`: the package that added a kind, "" for a built-in one."""
    found = plugin(group, name)
    return f"{found.source.package} {found.source.version}" if found else ""


def _added_indicators() -> list[IndicatorKind]:
    return [p.kind for p in plugins_of(INDICATORS).values() if isinstance(p.kind, IndicatorKind)]


def _added_spellings() -> dict[str, IndicatorKind]:
    return {spelling: kind for kind in _added_indicators() for spelling in (kind.name, *kind.aliases)}
