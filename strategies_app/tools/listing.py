"""The vocabulary as a list for the terminal: every kind, what it takes and gives, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from strategies_app.grammar import plugins, schema, vocabulary
from strategies_app.kinds import Parameter

HEADS = ("name", "also", "parameters", "gives", "from")
BUILT_IN = "built in"


def vocabulary_rows() -> dict[str, list[tuple[str, ...]]]:
    """Indicators, labels and networks: rows under `HEADS`, built-in ones first."""
    return {"Indicators": _indicators(), "Labels": _labels(), "Networks": _networks()}


def faults() -> list[str]:
    """One sentence per installed kind that cannot be used."""
    return [fault.message for fault in plugins.found().faults]


def _indicators() -> list[tuple[str, ...]]:
    return [
        (
            kind.name, ", ".join(kind.aliases), _parameters(kind.parameters), ", ".join(kind.outputs),
            _origin(plugins.INDICATORS, kind.name),
        )
        for kind in plugins.indicators().values()
        if kind.name not in vocabulary.REPAINTING
    ]  # fmt: skip


def _labels() -> list[tuple[str, ...]]:
    classes = plugins.label_classes()
    rows = []
    for model in get_args(get_args(schema.Labels)[0]):
        (source,) = get_args(model.model_fields["source"].annotation)
        gives = ", ".join(classes[source]) or "a number"
        rows.append((source, "", _keys(model, "source"), gives, _origin(plugins.LABELS, source)))
    return rows


def _networks() -> list[tuple[str, ...]]:
    rows = []
    for model in get_args(schema.Model):
        keys = _keys(model.model_fields["architecture"].annotation)
        rows += [
            (name, "", keys, "", _origin(plugins.NETWORKS, name)) for name in get_args(model.model_fields["type"].annotation)
        ]
    return rows


def _keys(model: Any, *without: str) -> str:
    """Keys of a map with their defaults; one without a default by itself."""
    fields = ((name, f) for name, f in model.model_fields.items() if name not in without)
    return ", ".join(name if f.is_required() or f.default is None else f"{name} {_written(f.default)}" for name, f in fields)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parameters(parameters: Iterable[Parameter]) -> str:
    return ", ".join(f"{p.name} {p.default}" for p in parameters)


def _origin(group: str, name: str) -> str:
    return plugins.origin(group, name) or BUILT_IN
