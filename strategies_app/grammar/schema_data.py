"""The section `training_data`: which symbols, timeframes and days."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from strategies_app.grammar import vocabulary
from strategies_app.grammar.sections import Day, Strict, Symbol, Timeframe


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


def names_in(section: Mapping[str, Any], one: str) -> list[str]:
    """The symbols or timeframes of a plain strategy, whether it has one or a list of them."""
    return list(section["list"]) if "list" in section else [section[one]]
