"""Pieces of a strategy to insert while writing one, from the vocabulary and the schema: what is new there shows by itself."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from strategies_app.grammar import plugins, schema, vocabulary
from strategies_app.grammar.schema import StrategySpec
from strategies_app.grammar.vocabulary import IndicatorKind, MembershipKind
from strategies_app.tools.meanings import EXAMPLE

#: What the editor puts in place of these: the id of an indicator or of a fuzzy set that the text has.
INDICATOR, FUZZY_SET = "{indicator}", "{fuzzy_set}"
#: Points that show a shape on an indicator between 0 and 100.
_POINTS = {"triangular": (0, 25, 50), "trapezoidal": (0, 0, 25, 50), "gaussian": (50, 10), "sigmoid": (65, 5)}
#: Points for a value beside the close.
_BESIDE_CLOSE = {"price_ratio": (0.95, 1.0, 1.05), "pct_of_price": (-5, 0, 5)}


@dataclass(frozen=True)
class Snippet:
    """`section`: the key under which it belongs, such as `indicators`; `replaces`: whether what stands there gives way.

    `id` is what the piece is called, "" if it has no name: the editor makes it different from those that are there.
    """

    group: str
    title: str
    hint: str
    section: str
    lines: tuple[str, ...]
    id: str = ""
    replaces: bool = False


@functools.cache
def snippets() -> tuple[Snippet, ...]:
    """All pieces that a training can be started with, group after group."""
    return (*_indicators(), *_fuzzy_sets(), *_inputs(), *_labels(), *_models())


def _indicators() -> Iterator[Snippet]:
    for kind in plugins.indicators().values():
        if kind.name in vocabulary.REPAINTING or not kind.available:
            continue
        parameters = {p.name: p.default for p in kind.parameters}
        identifier = _identifier(kind)
        yield Snippet(
            "Indicators", kind.name, _from(plugins.INDICATORS, kind.name, kind.formula), "indicators",
            (f"{identifier}: {_flow({'type': kind.name} | parameters)}",), identifier,
        )  # fmt: skip


def _from(group: str, name: str, hint: str) -> str:
    """The hint, and the package that adds the kind if it is not built in."""
    package = plugins.origin(group, name)
    return "; ".join(part for part in (hint, f"from the package {package}" if package else "") if part)


def _identifier(kind: IndicatorKind) -> str:
    """`rsi_14`, `macd_12_26_9`: the kind and its periods."""
    periods = [str(p.default) for p in kind.parameters if isinstance(p.default, int)]
    return "_".join([kind.name, *periods])


def _fuzzy_sets() -> Iterator[Snippet]:
    for kind in vocabulary.MEMBERSHIPS.values():
        lines = ("zone:", f"  indicator: {INDICATOR}", f"  {_membership(kind)}")
        yield Snippet("Fuzzy sets", f"with a {kind.name} membership", kind.formula, "fuzzy_sets", lines, "zone")
    for transform in get_args(schema.InputTransform.model_fields["type"].annotation):
        if transform == schema.InputTransform().type:
            continue
        membership = _membership(vocabulary.MEMBERSHIPS["triangular"], _BESIDE_CLOSE.get(transform))
        with_transform = ("zone:", f"  indicator: {INDICATOR}", f"  input_transform: {{type: {transform}}}", f"  {membership}")
        hint = "the value beside the close of its bar"
        yield Snippet("Fuzzy sets", f"on {transform}", hint, "fuzzy_sets", with_transform, "zone")


def _membership(kind: MembershipKind, points: tuple[float, ...] | None = None) -> str:
    points = points or _POINTS.get(kind.name, tuple(range(len(kind.points))))
    return f"part: {_flow({'type': kind.name, 'parameters': list(points)})}"


def _inputs() -> Iterator[Snippet]:
    yield Snippet(
        "Inputs", "fuzzy set", "one feature per membership and timeframe", "nn_inputs",
        (f"- {{fuzzy_set: {FUZZY_SET}, timeframes: all}}",),
    )  # fmt: skip
    for name in get_args(schema.RawInput.model_fields["normalization"].annotation):
        yield Snippet(
            "Inputs", f"raw indicator, {name}", "the number itself; normalized on the training rows only", "nn_inputs",
            (f"- {{raw_indicator: {INDICATOR}, timeframes: all, normalization: {name}}}",),
        )  # fmt: skip


def _labels() -> Iterator[Snippet]:
    for source, classes in plugins.label_classes().items():
        whole = copy.deepcopy(EXAMPLE)
        whole["training"]["labels"] = {"source": source}
        spec = _available(whole)
        if spec is None:
            continue
        values = spec.training.labels.model_dump(mode="json", exclude_none=True)
        lines = ("labels:", *(f"  {key}: {_scalar(value)}" for key, value in values.items()))
        hint = _from(plugins.LABELS, source, ", ".join(classes))
        yield Snippet("Labels", source, hint, "training.labels", lines, replaces=True)


def _models() -> Iterator[Snippet]:
    for model in (schema.Mlp, schema.Recurrent, *schema.PLUGIN_MODELS.values()):
        for kind in get_args(model.model_fields["type"].annotation):
            architecture = {"sequence_length": 32} if model is schema.Recurrent else {}
            whole = EXAMPLE | {"model": {"type": kind, "architecture": architecture}}
            spec = _available(whole)
            if spec is None:
                continue
            values = spec.model.architecture.model_dump(mode="json")
            lines = ("model:", f"  type: {kind}", "  architecture:", *(f"    {k}: {_scalar(v)}" for k, v in values.items()))
            hint = _from(plugins.NETWORKS, kind, (model.__doc__ or "").strip())
            yield Snippet("Models", kind, hint, "model", lines, replaces=True)


def _available(whole: dict[str, Any]) -> StrategySpec | None:
    """The strategy if it is right."""
    try:
        spec = StrategySpec.model_validate(whole)
    except ValidationError:
        return None
    needs_numbers = not spec.class_names and spec.decisions.output_format == "classification"
    return None if needs_numbers else spec


def _flow(values: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in values.items()) + "}"


def _scalar(value: Any) -> str:
    """A value as it is written in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_scalar(one) for one in value)}]"
    return str(value)
