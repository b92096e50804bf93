"""The section `training.labels`: one model per source."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from strategies_app.grammar import plugins
from strategies_app.grammar.sections import Fraction, Horizon, Multiplier, Strict, ask_plugin, parameter_field
from strategies_app.kinds import LabelKind


class ZigzagLabels(Strict):
    source: Literal["zigzag"]
    zigzag_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.02
    label_lookahead: Horizon = 20
    min_swing_length: Annotated[int, Field(ge=1, le=10_000)] = 3
    mode: Literal["window", "segments"] = "window"


class ForwardReturnLabels(Strict):
    source: Literal["forward_return"]
    horizon: Horizon = 20


class TripleBarrierLabels(Strict):
    source: Literal["triple_barrier"]
    pt_multiplier: Multiplier = 2.0
    sl_multiplier: Multiplier = 1.5
    max_holding_period: Horizon = 50
    vol_span: Annotated[int, Field(ge=2, le=10_000)] = 50
    vol_method: Literal["atr", "close"] = "atr"
    cusum_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    cusum_multiplier: Multiplier = 0.5
    compute_weights: bool = False


class ContextLabels(Strict):
    source: Literal["context"]
    horizon: Horizon = 5
    bullish_threshold: Annotated[float, Field(gt=-1, lt=10)] = 0.005
    bearish_threshold: Annotated[float, Field(gt=-1, lt=10)] = -0.005

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> ContextLabels:
        if self.bearish_threshold >= self.bullish_threshold:
            raise ValueError(
                f"bearish_threshold is {self.bearish_threshold:g} and bullish_threshold {self.bullish_threshold:g}, "
                "wanted bearish < bullish"
            )
        return self


class RegimeLabels(Strict):
    source: Literal["regime"]
    macro_atr_mult: Multiplier = 3.0
    micro_atr_mult: Multiplier = 1.0
    atr_period: Annotated[int, Field(ge=1, le=500)] = 14
    vol_lookback: Annotated[int, Field(ge=2, le=10_000)] = 120
    vol_crisis_threshold: Multiplier = 2.0
    progression_tolerance: Fraction = 0.5


class PluginLabels(Strict):
    """A label of another package; its further fields are the kind's parameters."""

    source: str

    @property
    def kind(self) -> LabelKind:
        return next(kind for kind in plugins.added_labels() if kind.name == self.source)

    @property
    def parameters(self) -> dict[str, Any]:
        return {p.name: getattr(self, p.name) for p in self.kind.parameters}

    @model_validator(mode="after")
    def _plugin_agrees(self) -> PluginLabels:
        ask_plugin(plugins.LABELS, self.source, self.parameters)
        return self


def _label_model(kind: LabelKind) -> Any:
    fields: dict[str, Any] = {"source": (Literal[(kind.name,)], ...)}
    fields |= {p.name: parameter_field(p) for p in kind.parameters}
    return create_model(kind.name, __base__=PluginLabels, __doc__=kind.formula, **fields)


#: The models of the labels that other packages add, by source.
PLUGIN_LABELS: dict[str, Any] = {kind.name: _label_model(kind) for kind in plugins.added_labels()}

if TYPE_CHECKING:
    Labels = ZigzagLabels | ForwardReturnLabels | TripleBarrierLabels | ContextLabels | RegimeLabels | PluginLabels
else:
    _BUILT_IN_LABELS = (ZigzagLabels, ForwardReturnLabels, TripleBarrierLabels, ContextLabels, RegimeLabels)
    Labels = Annotated[
        functools.reduce(operator.or_, [*_BUILT_IN_LABELS, *PLUGIN_LABELS.values()]), Field(discriminator="source")
    ]
