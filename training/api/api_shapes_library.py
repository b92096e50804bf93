"""Shapes of what is stored, strategies, models and bars, and of a model's predictions."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from ninja import Field, Schema
from pydantic import model_validator

from training.api.shapes import Name, Problem, Request, Symbol


class StrategyText(Request):
    strategy_yaml: str


class StrategyLine(Schema):
    name: str
    version: int | None
    versions: int
    created: dt.datetime
    changed: dt.datetime | None


class Strategies(Schema):
    strategies: list[StrategyLine]
    next_cursor: str | None


class StrategyDetail(Schema):
    name: str
    version: int
    text: str
    sha256: str
    path: str
    created: dt.datetime
    versions: list[int]


class Validation(Schema):
    valid: bool
    name: str | None = None
    features: int | None = None
    labels: str | None = None
    warnings: list[str] = Field(default_factory=list)
    problems: list[Problem] = Field(default_factory=list)


class Features(Schema):
    name: str
    version: int
    features: list[str] = Field(description="in the order in which the network takes them")


class ModelLine(Schema):
    name: str
    operation_id: str
    strategy_name: str
    strategy_version: int
    created: dt.datetime
    accuracy: float | None = Field(description="on the test split, or the validation split if there is none; null for returns")

    @staticmethod
    def resolve_strategy_name(row: Any) -> str:
        return str(row.operation.strategy_version.strategy.name)

    @staticmethod
    def resolve_strategy_version(row: Any) -> int:
        return int(row.operation.strategy_version.number)

    @staticmethod
    def resolve_accuracy(row: Any) -> float | None:
        return row.validation_accuracy if row.test_accuracy is None else row.test_accuracy


class Models(Schema):
    models: list[ModelLine]
    next_cursor: str | None


class ModelDetail(ModelLine):
    sha256: str
    metrics: dict[str, Any]
    spec: dict[str, Any]
    fingerprints: dict[str, Any]

    @staticmethod
    def resolve_spec(row: Any) -> dict[str, Any]:
        return dict(row.operation.spec_data)

    @staticmethod
    def resolve_fingerprints(row: Any) -> dict[str, Any]:
        return dict(row.operation.fingerprints)


class Predict(Request):
    symbol: Symbol
    timeframe: Name
    start: dt.date | None = Field(None, description="first UTC day; all that is stored if not given")
    end: dt.date | None = Field(None, description="last UTC day")

    @model_validator(mode="after")
    def _in_order(self) -> Predict:
        if self.start and self.end and self.start > self.end:
            raise ValueError("the start is after the end")
        return self


class Predicted(Schema):
    timestamp: str
    probabilities: list[float] | None = Field(description="one per class; null where the model predicts returns")
    predicted_return: float | None = Field(description="over the label's horizon; null where the model has classes")
    signal: str
    split: Literal["before", "train", "validation", "test", "new"] = Field(
        description="what the training had to do with the bar's day: a backtest on train rows is no test"
    )


class Predictions(Schema):
    model: str
    symbol: str
    timeframe: str
    output_format: Literal["classification", "regression"]
    class_names: list[str]
    edge: float | None = Field(
        description="the predicted return from which on a bar is a signal; null where the model has classes"
    )
    bars: list[Predicted]
    notes: list[str]


class Series(Schema):
    symbol: str
    timeframe: str
    first: dt.datetime
    last: dt.datetime
    rows: int
    sha256: str
    source: str
    updated: dt.datetime
    quality: dict[str, Any]


class SeriesPage(Schema):
    series: list[Series]
    next_cursor: str | None


class Bar(Schema):
    timestamp: str
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None


class Bars(Schema):
    coverage: Series
    bars: list[Bar]
