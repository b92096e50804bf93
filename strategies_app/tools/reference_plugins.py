"""The part of the strategy reference that installed packages add: their descriptions → Markdown.

python -m strategies_app.tools.reference_plugins
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from strategies_app.grammar import plugins
from strategies_app.kinds import IndicatorKind, LabelKind, Parameter


def plugin_markdown() -> str:
    """Every kind of another package, marked with its package, and what cannot be used; "" if there is nothing."""
    blocks = list(_blocks())
    return "\n\n".join(["## Kinds of installed packages", *blocks]) + "\n" if blocks else ""


def _blocks() -> Iterator[str]:
    for plugin in plugins.found().plugins:
        kind, source = plugin.kind, plugin.source
        yield f"### {kind.name} ({source.package} {source.version})"
        yield f"{source.label.partition(' ')[0].capitalize()}: {kind.formula or 'not described'}."
        yield _table([("said of it", ""), *_facts(kind)])
        if kind.parameters:
            yield _table([("parameter", "values", "default", "also spelled"), *map(_parameter, kind.parameters)])
    for fault in plugins.found().faults:
        yield f"- cannot be used: {fault.message}"


def _facts(kind: plugins.Kind) -> Iterator[tuple[str, str]]:
    if isinstance(kind, IndicatorKind):
        yield from _indicator(kind)
    if isinstance(kind, LabelKind):
        defaults = {p.name: p.default for p in kind.parameters}
        yield "classes", ", ".join(kind.classes) or "none: it is a number"
        yield "bars it looks ahead, with the defaults", str(kind.look_ahead(defaults))
    yield "computed by", f"`{kind.function}`"


def _indicator(kind: IndicatorKind) -> Iterator[tuple[str, str]]:
    assert kind.warm_up is not None
    yield "also spelled", ", ".join(kind.aliases) or "–"
    yield "outputs", ", ".join(kind.outputs)
    yield (
        "bars before the first value, with the defaults",
        ", ".join(map(str, kind.warm_up({p.name: p.default for p in kind.parameters}))),
    )
    yield "needs", ", ".join(kind.columns)
    yield "memory", kind.memory
    yield "scale-free", "yes" if kind.scale_free else ", ".join(kind.scale_free_outputs) or "no"
    yield "on a constant price", kind.constant


def _parameter(parameter: Parameter) -> tuple[str, ...]:
    values = " · ".join(f"`{c}`" for c in parameter.choices) or f"{parameter.low:g} to {parameter.high:g}"
    return f"`{parameter.name}`", values, f"`{parameter.default}`", ", ".join(parameter.aliases) or "–"


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    heads, *rest = rows
    lines = [heads, ("---",) * len(heads), *rest]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(plugin_markdown())
