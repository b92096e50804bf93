"""What all sections of a strategy are typed with: names, days, timeframes, bounded numbers, parameters of kinds."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from strategies_app.grammar import plugins, vocabulary
from strategies_app.kinds import Parameter

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
