"""The sections `indicators`, `fuzzy_sets` and `nn_inputs`, and the types of all sections: what becomes of bars."""

from __future__ import annotations

import datetime as dt
import functools
import math
import operator
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    create_model,
    model_validator,
)

from strategies_app.grammar import plugins, vocabulary
from strategies_app.kinds import IndicatorKind, Parameter

ID = r"^[A-Za-z][A-Za-z0-9_-]*$"
#: Exchanges' own names fit: BTC/USDT:USDT, ^GSPC, .DJI, BRK.B. A slash or colon stands between letters or digits only.
SYMBOL = r"^[.^]?(?:[A-Za-z0-9])(?:[A-Za-z0-9._^=-]|[/:][A-Za-z0-9])*$"
MOST_OF_SYMBOL = 32
SYMBOL_WORDS = "at most 32 letters, digits and . _ ^ = - / : such as EURUSD, BRK.B, ^GSPC or BTC/USDT"


class Strict(BaseModel):
    """A map with known keys only; values are not coerced (an int may stand for a float)."""

    # Validators are built at first use: dozens of models that only ever serve as parts need none of their own.
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, protected_namespaces=(), allow_inf_nan=False, defer_build=True
    )


def _checked_id(value: str) -> str:
    if value in vocabulary.RESERVED_IDS:
        raise ValueError(f"'{value}' is reserved and cannot be an id")
    return value


Id = Annotated[str, Field(pattern=ID, max_length=100), AfterValidator(_checked_id)]
Name = Annotated[str, Field(pattern=ID, max_length=100)]
FreeText = Annotated[str, Field(max_length=10_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Horizon = Annotated[int, Field(ge=1, le=10_000)]
Multiplier = Annotated[float, Field(gt=0, le=100)]
Symbol = Annotated[str, Field(pattern=SYMBOL, min_length=1, max_length=MOST_OF_SYMBOL)]


def is_symbol(text: str) -> bool:
    return len(text) <= MOST_OF_SYMBOL and re.fullmatch(SYMBOL, text) is not None


def _known_timeframe(value: str) -> str:
    if value not in vocabulary.TIMEFRAMES:
        near = vocabulary.nearest(value, vocabulary.TIMEFRAMES)
        hint = f"did you mean '{near}'?" if near else f"wanted one of {', '.join(vocabulary.TIMEFRAMES)}"
        raise ValueError(f"unknown timeframe '{value}', {hint}")
    return value


Timeframe = Annotated[str, AfterValidator(_known_timeframe)]


def _as_day(value: object) -> object:
    if isinstance(value, str):
        try:
            if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value):  # fromisoformat takes weeks and missing dashes as well
                return dt.date.fromisoformat(value)
        except ValueError:
            pass
        raise ValueError(f"'{value}' is not a day, wanted YYYY-MM-DD")
    return value


Day = Annotated[dt.date, BeforeValidator(_as_day)]


def ask_plugin(group: str, name: str, parameters: dict[str, Any]) -> None:
    """A kind of another package may refuse parameters that are each within their bounds."""
    added = plugins.plugin(group, name)
    if added is not None and (said := plugins.complaint(added, parameters)):
        raise ValueError(said)


def parameter_field(parameter: Parameter) -> tuple[Any, Any]:
    choices = AliasChoices(parameter.name, *parameter.aliases) if parameter.aliases else None
    if parameter.choices:
        return Literal[parameter.choices], Field(default=parameter.default)
    return parameter.kind, Field(default=parameter.default, ge=parameter.low, le=parameter.high, validation_alias=choices)


# --- 2.2 indicators ----------------------------------------------------------------------------


class Indicator(Strict):
    """One indicator; its fields are the kind's parameters (one subclass per kind, made from the vocabulary)."""

    type: str

    @property
    def kind(self) -> IndicatorKind:
        return plugins.indicator_kind(self.type)

    @property
    def parameters(self) -> dict[str, Any]:
        return {p.name: getattr(self, p.name) for p in self.kind.parameters}

    @model_validator(mode="after")
    def _fast_before_slow(self) -> Indicator:
        fast, slow = getattr(self, "fast_period", None), getattr(self, "slow_period", None)
        if fast is not None and slow is not None and fast >= slow:
            raise ValueError(f"fast_period is {fast} and slow_period {slow}, wanted fast_period < slow_period")
        return self

    @model_validator(mode="after")
    def _plugin_agrees(self) -> Indicator:
        ask_plugin(plugins.INDICATORS, self.kind.name, self.parameters)
        return self


def _indicator_model(kind: IndicatorKind) -> Any:
    fields: dict[str, Any] = {"type": (Literal[(kind.name, *kind.aliases)], ...)}
    fields |= {p.name: parameter_field(p) for p in kind.parameters}
    return create_model(kind.name, __base__=Indicator, __doc__=kind.formula, **fields)


_INDICATOR_MODELS = {
    name: _indicator_model(kind) for name, kind in plugins.indicators().items() if name not in vocabulary.REPAINTING
}


def _indicator_tag(value: Any) -> str | None:
    spelling = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    try:
        return plugins.indicator_kind(spelling).name if isinstance(spelling, str) else None
    except KeyError:
        return None


if TYPE_CHECKING:
    AnyIndicator = Indicator
else:
    #: Chosen by `type`, aliases included.
    AnyIndicator = Annotated[
        functools.reduce(operator.or_, [Annotated[m, Tag(n)] for n, m in _INDICATOR_MODELS.items()]),
        Discriminator(_indicator_tag, custom_error_type="indicator_type", custom_error_message="unknown indicator"),
    ]


# --- 2.3 fuzzy_sets ----------------------------------------------------------------------------


def _as_number(value: object) -> object:
    return {"inf": math.inf, "-inf": -math.inf}.get(value, value) if isinstance(value, str) else value


Point = Annotated[
    float,
    Field(allow_inf_nan=True, ge=-math.inf, le=math.inf),
    BeforeValidator(_as_number),
    PlainSerializer(lambda v: v if math.isfinite(v) else str(v), when_used="json"),
]


def _listed(points: list[float]) -> str:
    """Points as they are written in YAML."""
    words = {math.inf: ".inf", -math.inf: "-.inf"}
    return f"[{', '.join('.nan' if math.isnan(p) else words.get(p, f'{p:g}') for p in points)}]"


class Membership(Strict):
    """A membership function; as a bare list, three points are triangular and four trapezoidal."""

    type: Literal["triangular", "trapezoidal", "gaussian", "sigmoid"]
    parameters: list[Point]

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        shapes = {3: "triangular", 4: "trapezoidal"}
        if len(value) not in shapes:
            raise ValueError(f"a list of {len(value)} points, wanted 3 (triangular) or 4 (trapezoidal)")
        return {"type": shapes[len(value)], "parameters": value}

    @model_validator(mode="after")
    def _points_fit_the_shape(self) -> Membership:
        points, names = self.parameters, vocabulary.MEMBERSHIPS[self.type].points
        if len(points) != len(names):
            raise ValueError(f"{self.type} has {len(points)} parameters, wanted {len(names)}: {', '.join(names)}")
        inner = points[1:-1] if self.type == "trapezoidal" else points
        outer_fit = self.type != "trapezoidal" or (points[0] < math.inf and points[-1] > -math.inf)
        if not all(math.isfinite(p) for p in inner) or not outer_fit or any(math.isnan(p) for p in points):
            raise ValueError(
                f"{self.type} points must be finite (only a trapezoid's a may be -.inf and its d .inf), seen {_listed(points)}"
            )
        if any(abs(p) > 1e15 for p in points if math.isfinite(p)):
            raise ValueError(f"{self.type} points must lie within ±1e15, seen {_listed(points)}")
        if self.type in ("triangular", "trapezoidal") and (points != sorted(points) or points[0] == points[-1]):
            order = " ≤ ".join(names)
            raise ValueError(f"{self.type} points are {_listed(points)}, wanted {order} and {names[0]} < {names[-1]}")
        if self.type == "gaussian" and points[1] <= 0:
            raise ValueError(f"gaussian deviation is {points[1]:g}, wanted above 0")
        if self.type == "sigmoid" and points[1] == 0:
            raise ValueError("sigmoid width is 0, wanted any other number")
        return self


class InputTransform(Strict):
    type: Literal["identity", "price_ratio", "pct_of_price"] = "identity"


class FuzzySet(BaseModel):
    """An indicator output, a transform, and memberships under names of the author's choice, in file order."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    __pydantic_extra__: dict[Name, Membership] = Field(init=False)

    indicator: str
    input_transform: InputTransform = InputTransform()

    @property
    def memberships(self) -> dict[str, Membership]:
        return self.__pydantic_extra__ or {}

    @model_validator(mode="after")
    def _has_membership(self) -> FuzzySet:
        if not self.memberships:
            raise ValueError("no membership, wanted at least one")
        return self


# --- 2.4 nn_inputs -----------------------------------------------------------------------------


class FuzzyInput(Strict):
    fuzzy_set: str
    timeframes: Literal["all"] | Annotated[list[Timeframe], Field(min_length=1)] = "all"


class RawInput(Strict):
    raw_indicator: str
    timeframes: Literal["all"] | Annotated[list[Timeframe], Field(min_length=1)] = "all"
    normalization: Literal["zscore", "minmax", "none"] = "zscore"


def _input_tag(value: Any) -> str:
    raw = "raw_indicator" in value if isinstance(value, dict) else isinstance(value, RawInput)
    return "raw" if raw else "fuzzy"


NetworkInput = Annotated[Annotated[FuzzyInput, Tag("fuzzy")] | Annotated[RawInput, Tag("raw")], Discriminator(_input_tag)]
