"""Every kind that a strategy may name: the built-in vocabulary, then what installed packages add, in the order of their names."""

from __future__ import annotations

from strategies_app.grammar import plugins, vocabulary
from strategies_app.grammar.plugins import Plugin
from strategies_app.kinds import IndicatorKind, LabelKind, NetworkKind

INDICATORS, LABELS, NETWORKS = plugins.GROUPS


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
    return [p.kind for p in plugins.plugins_of(LABELS).values() if isinstance(p.kind, LabelKind)]


def added_networks() -> list[NetworkKind]:
    return [p.kind for p in plugins.plugins_of(NETWORKS).values() if isinstance(p.kind, NetworkKind)]


def plugin(group: str, name: str) -> Plugin | None:
    """What another package added under this name; None for a built-in kind."""
    return plugins.plugins_of(group).get(name)


def origin(group: str, name: str) -> str:
    """`kama-plus 1.0`: the package that added a kind, "" for a built-in one."""
    found = plugin(group, name)
    return f"{found.source.package} {found.source.version}" if found else ""


def _added_indicators() -> list[IndicatorKind]:
    return [p.kind for p in plugins.plugins_of(INDICATORS).values() if isinstance(p.kind, IndicatorKind)]


def _added_spellings() -> dict[str, IndicatorKind]:
    return {spelling: kind for kind in _added_indicators() for spelling in (kind.name, *kind.aliases)}
