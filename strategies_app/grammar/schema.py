"""What a strategy says, as typed values: text goes through `reader.read_strategy` and comes out as a `StrategySpec`.

Every default that changes a result lives here and in the sections imported here (or, for indicator
parameters, in `vocabulary`) and nowhere else. Checks that need two sections at once are in `references`.
"""

from __future__ import annotations

import datetime as dt
import functools
import operator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model, field_validator, model_validator

from strategies_app.grammar import plugins, vocabulary
from strategies_app.grammar.sections import (
    ID,
    MOST_OF_SYMBOL,
    SYMBOL,
    SYMBOL_WORDS,
    AnyIndicator,
    Day,
    Fraction,
    FreeText,
    FuzzyInput,
    FuzzySet,
    Horizon,
    Id,
    Indicator,
    InputTransform,
    Membership,
    Multiplier,
    Name,
    NetworkInput,
    Point,
    RawInput,
    Strict,
    Symbol,
    Timeframe,
    ask_plugin,
    is_symbol,
    parameter_field,
)
from strategies_app.kinds import LabelKind, NetworkKind

__all__ = [
    "ID",
    "MOST_OF_SYMBOL",
    "PLUGIN_LABELS",
    "PLUGIN_MODELS",
    "SYMBOL",
    "SYMBOL_WORDS",
    "AnyIndicator",
    "ContextLabels",
    "CostModel",
    "DataSplit",
    "DateRange",
    "Day",
    "Decisions",
    "EarlyStopping",
    "Features",
    "Filters",
    "ForwardReturnLabels",
    "Fraction",
    "FreeText",
    "FuzzyInput",
    "FuzzySet",
    "Horizon",
    "Id",
    "Indicator",
    "InputTransform",
    "Labels",
    "Membership",
    "Mlp",
    "MlpArchitecture",
    "Multiplier",
    "Name",
    "NetworkInput",
    "Path",
    "PluginArchitecture",
    "PluginLabels",
    "PluginModel",
    "Point",
    "RawInput",
    "Recurrent",
    "RecurrentArchitecture",
    "RegimeLabels",
    "Scheduler",
    "SeveralSymbols",
    "SeveralTimeframes",
    "SingleSymbol",
    "SingleTimeframe",
    "Stability",
    "StrategySpec",
    "Strict",
    "Symbol",
    "Timeframe",
    "Training",
    "TrainingData",
    "TripleBarrierLabels",
    "ZigzagLabels",
    "ask_plugin",
    "feature_names",
    "highest_frequency",
    "is_symbol",
    "output_of",
    "parameter_field",
]  # fmt: skip


class SingleSymbol(Strict):
    mode: Literal["single"]
    symbol: Symbol

    @property
    def names(self) -> tuple[str, ...]:
        return (self.symbol,)


class SeveralSymbols(Strict):
    mode: Literal["multi_symbol"]
    symbols: list[Symbol] = Field(min_length=1, max_length=10_000, alias="list")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.symbols)

    @field_validator("symbols")
    @classmethod
    def _different(cls, value: list[str]) -> list[str]:
        return _all_different(value, "symbol")


class SingleTimeframe(Strict):
    mode: Literal["single"]
    timeframe: Timeframe

    @property
    def names(self) -> tuple[str, ...]:
        return (self.timeframe,)


class SeveralTimeframes(Strict):
    mode: Literal["multi_timeframe"]
    timeframes: list[Timeframe] = Field(min_length=1, max_length=9, alias="list")
    base_timeframe: Timeframe | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.timeframes)

    @field_validator("timeframes")
    @classmethod
    def _different(cls, value: list[str]) -> list[str]:
        return _all_different(value, "timeframe")

    @model_validator(mode="after")
    def _base_is_highest(self) -> SeveralTimeframes:
        highest = highest_frequency(self.timeframes)
        if self.base_timeframe not in (None, highest):
            raise ValueError(f"base_timeframe is '{self.base_timeframe}', wanted the highest frequency of the list, '{highest}'")
        return self


def _all_different(values: list[str], noun: str) -> list[str]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{noun} '{value}' is listed twice")
    return values


def highest_frequency(timeframes: list[str] | tuple[str, ...]) -> str:
    return min(timeframes, key=lambda t: vocabulary.TIMEFRAMES[t])


class DateRange(Strict):
    start: Day
    end: Day


class TrainingData(Strict):
    symbols: Annotated[SingleSymbol | SeveralSymbols, Field(discriminator="mode")]
    timeframes: Annotated[SingleTimeframe | SeveralTimeframes, Field(discriminator="mode")]
    history_required: Annotated[int, Field(ge=50, le=1_000_000)] = 200
    start_date: Day | None = None
    end_date: Day | None = None
    date_range: DateRange | None = None

    @model_validator(mode="after")
    def _dates_in_order(self) -> TrainingData:
        if self.date_range is not None and (self.start_date or self.end_date):
            raise ValueError("dates are given twice, by date_range and by start_date or end_date")
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ValueError(f"the start {self.start} is after the end {self.end}")
        return self

    @property
    def start(self) -> dt.date | None:
        return self.date_range.start if self.date_range else self.start_date

    @property
    def end(self) -> dt.date | None:
        return self.date_range.end if self.date_range else self.end_date

    @property
    def base_timeframe(self) -> str:
        return highest_frequency(self.timeframes.names)


# --- 2.5 model ---------------------------------------------------------------------------------


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


class Features(Strict):
    lookback_periods: Annotated[int, Field(ge=0, le=500)] = 0


class MlpArchitecture(Strict):
    hidden_layers: Annotated[list[Annotated[int, Field(ge=1, le=16_384)]], Field(max_length=32)] = [64, 32]  # noqa: RUF012 - pydantic copies it
    activation: Literal["relu", "tanh", "sigmoid", "leaky_relu", "gelu"] = "relu"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


class RecurrentArchitecture(Strict):
    sequence_length: Annotated[int, Field(ge=2, le=10_000)]
    hidden_size: Annotated[int, Field(ge=1, le=16_384)] = 64
    num_layers: Annotated[int, Field(ge=1, le=16)] = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


class Mlp(Strict):
    type: Literal["mlp"]
    architecture: MlpArchitecture = MlpArchitecture()
    features: Features = Features()


class Recurrent(Strict):
    type: Literal["lstm", "gru"]
    architecture: RecurrentArchitecture
    features: Features = Features()


class PluginArchitecture(Strict):
    """What a network of another package is built with (one subclass per kind, made from its description)."""


class PluginModel(Strict):
    """A network of another package."""

    type: str
    architecture: PluginArchitecture
    features: Features = Features()

    @property
    def kind(self) -> NetworkKind:
        return next(kind for kind in plugins.added_networks() if kind.name == self.type)

    @property
    def parameters(self) -> dict[str, Any]:
        return {p.name: getattr(self.architecture, p.name) for p in self.kind.parameters}

    @model_validator(mode="after")
    def _plugin_agrees(self) -> PluginModel:
        ask_plugin(plugins.NETWORKS, self.type, self.parameters)
        return self


def _network_model(kind: NetworkKind) -> Any:
    fields: dict[str, Any] = {p.name: parameter_field(p) for p in kind.parameters}
    architecture = create_model(f"{kind.name}_architecture", __base__=PluginArchitecture, **fields)
    fields = {"type": (Literal[(kind.name,)], ...), "architecture": (architecture, architecture())}
    return create_model(kind.name, __base__=PluginModel, __doc__=kind.formula, **fields)


#: The models of the networks that other packages add, by name.
PLUGIN_MODELS: dict[str, Any] = {kind.name: _network_model(kind) for kind in plugins.added_networks()}

if TYPE_CHECKING:
    Model = Mlp | Recurrent | PluginModel
else:
    Model = functools.reduce(operator.or_, [Mlp, Recurrent, *PLUGIN_MODELS.values()])


# --- 2.6 decisions -----------------------------------------------------------------------------


class Filters(Strict):
    min_signal_separation: Annotated[int, Field(ge=0, le=100_000)] = 4
    volume_filter: bool = False


class CostModel(Strict):
    round_trip_cost: Annotated[float, Field(ge=0, le=1)]
    min_edge_multiplier: Annotated[float, Field(gt=0, le=1000)]

    @property
    def edge(self) -> float:
        """The predicted return from which on a bar is a signal, up or down."""
        return self.round_trip_cost * self.min_edge_multiplier


class Decisions(Strict):
    output_format: Literal["classification", "regression"] = "classification"
    confidence_threshold: Fraction = 0.5
    position_awareness: bool = True
    filters: Filters = Filters()
    cost_model: CostModel | None = None

    @model_validator(mode="after")
    def _regression_has_costs(self) -> Decisions:
        if self.output_format == "regression" and self.cost_model is None:
            raise ValueError("regression needs cost_model: {round_trip_cost, min_edge_multiplier}")
        return self


# --- 2.7 training ------------------------------------------------------------------------------


class DataSplit(Strict):
    train: Annotated[float, Field(gt=0, lt=1)] = 0.7
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(ge=0, lt=1)] = 0.15
    embargo: Annotated[float, Field(ge=0, le=0.2)] = 0.01

    @model_validator(mode="after")
    def _sums_to_one(self) -> DataSplit:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + validation + test is {total:g}, wanted 1")
        return self


#: Below this share of the first learning rate reduce_on_plateau does not go, unless min_rate says otherwise.
PLATEAU_FLOOR = 1e-4


class Scheduler(Strict):
    """How the learning rate falls; a bare name takes the defaults. Each type uses the keys named after it."""

    type: Literal["none", "step", "exponential", "cosine", "reduce_on_plateau"] = "reduce_on_plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5  # reduce_on_plateau
    patience: Annotated[int, Field(ge=0, le=100_000)] = 5  # reduce_on_plateau, in epochs
    step_size: Annotated[int, Field(ge=1, le=100_000)] = 30  # step, in epochs
    gamma: Annotated[float, Field(gt=0, lt=1)] | None = None  # step (0.1), exponential (0.95)
    min_rate: Annotated[float, Field(ge=0, le=1)] | None = None  # cosine (0), reduce_on_plateau (PLATEAU_FLOOR of the first)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    def floor(self, first_rate: float) -> float:
        """The lowest rate of `cosine` and `reduce_on_plateau`, which begin at first_rate."""
        if self.min_rate is not None:
            return min(self.min_rate, first_rate)
        return PLATEAU_FLOOR * first_rate if self.type == "reduce_on_plateau" else 0.0


class EarlyStopping(Strict):
    enabled: bool = True
    patience: Annotated[int, Field(ge=1, le=100_000)] = 10
    min_delta: Annotated[float, Field(ge=0, le=1)] = 0.0
    monitor: Literal["val_loss", "val_accuracy", "val_balanced_accuracy", "val_mcc"] = "val_loss"


class Stability(Strict):
    rollback: Annotated[int, Field(ge=0, le=100)] = 0


class Training(Strict):
    labels: Labels
    data_split: DataSplit = DataSplit()
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    batch_size: Annotated[int, Field(ge=1, le=10_000_000)] = 32
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.001
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 1e-4
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    lr_scheduler: Scheduler = Scheduler()
    loss: Literal["cross_entropy", "focal", "huber", "mse"] | None = None
    focal_gamma: Annotated[float, Field(ge=0, le=20)] = 2.0
    huber_delta: Annotated[float, Field(gt=0, le=1000)] = 1.0
    gradient_clip: Annotated[float, Field(ge=-1e6, le=1e6)] = 1.0
    early_stopping: EarlyStopping = EarlyStopping()
    class_weights: Literal["balanced", "none"] = "balanced"
    sampling: Literal["proportional", "balanced"] = "proportional"
    precision: Literal["float32", "bfloat16"] = "float32"
    stability: Literal["off"] | Stability = "off"

    @property
    def loss_name(self) -> str:
        return self.loss or ("cross_entropy" if plugins.label_classes()[self.labels.source] else "huber")


class StrategySpec(Strict):
    """A whole strategy, grammar version 3."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
    version: Literal["3.0"] = "3.0"
    description: FreeText = ""
    hypothesis: FreeText = ""
    scope: FreeText = ""
    training_data: TrainingData
    indicators: Annotated[dict[Id, AnyIndicator], Field(min_length=1, max_length=1000)]
    fuzzy_sets: Annotated[dict[Id, FuzzySet], Field(max_length=1000)]
    nn_inputs: Annotated[list[NetworkInput], Field(min_length=1, max_length=1000)]
    model: Annotated[Model, Field(discriminator="type")]
    decisions: Decisions = Decisions()
    training: Training

    @field_validator("version", mode="before")
    @classmethod
    def _unquoted_version(cls, value: object) -> object:
        return "3.0" if isinstance(value, float) and value == 3.0 else value

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.training_data.symbols.names

    @property
    def timeframes(self) -> tuple[str, ...]:
        return self.training_data.timeframes.names

    @property
    def base_timeframe(self) -> str:
        return self.training_data.base_timeframe

    @property
    def class_names(self) -> tuple[str, ...]:
        return plugins.label_classes()[self.training.labels.source]

    @property
    def plugins(self) -> dict[str, dict[str, str]]:
        """The kinds of other packages that it uses: `indicator kama` → package, version, code."""
        return plugins.record({i.kind.name for i in self.indicators.values()}, self.training.labels.source, self.model.type)

    @property
    def output_count(self) -> int:
        """Numbers that the network gives for a row: one per class, or one predicted return."""
        return len(self.class_names) or 1

    @property
    def window(self) -> int:
        """Consecutive base bars that the network sees at once."""
        return self.model.architecture.sequence_length if isinstance(self.model, Recurrent) else 1

    def input_timeframes(self, entry: FuzzyInput | RawInput) -> tuple[str, ...]:
        return self.timeframes if entry.timeframes == "all" else tuple(entry.timeframes)

    def plain(self) -> dict[str, Any]:
        """JSON-ready data that `StrategySpec.model_validate` reads back to an equal spec."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        if not self.class_names and "class_weights" not in self.training.model_fields_set:
            # Without effect there, so it stands in the data only where it was written, which is warned about.
            del document["training"]["class_weights"]
        return document


Path = tuple[str | int, ...]


def output_of(reference: str, indicators: dict[str, Indicator]) -> tuple[str, str]:
    """`macd_1.signal` → (`macd_1`, `signal`); a bare id names the primary output. KeyError if there is none."""
    identifier, dot, output = reference.partition(".")
    kind = indicators[identifier].kind
    if not dot:
        return identifier, kind.primary
    if output not in kind.outputs:
        raise KeyError(output)
    return identifier, output


def feature_names(spec: StrategySpec) -> list[str]:
    """Names of the features in their one order: entry → timeframe → membership, then all again per lag."""
    names: list[str] = []
    for entry in spec.nn_inputs:
        for timeframe in spec.input_timeframes(entry):
            if isinstance(entry, RawInput):
                names.append(f"{timeframe}_{entry.raw_indicator}_raw")
            else:
                names += [f"{timeframe}_{entry.fuzzy_set}_{m}" for m in spec.fuzzy_sets[entry.fuzzy_set].memberships]
    lags = range(1, spec.model.features.lookback_periods + 1)
    return names + [f"{name}_lag{k}" for k in lags for name in names]
