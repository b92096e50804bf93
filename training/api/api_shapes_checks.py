"""Shapes of what was found before the first epoch: of the bars, and of features and labels."""

from __future__ import annotations

from typing import Literal

from ninja import Field, Schema


class Finding(Schema):
    kind: str = Field(description="gaps, splits, spikes, never_fires, large_drift and the like")
    severity: Literal["error", "warning", "info"] = Field(description="an error has stopped the training")
    symbol: str = Field(description="empty where it is about features or labels")
    timeframe: str
    count: int = Field(description="bars, rows or features")
    first: str | None = Field(description="open of the first bar, UTC")
    columns: list[str] = Field(description="the features that it is about")
    sentence: str


class DataChecks(Schema):
    count: int = Field(description="of all findings; the first 300 are kept")
    findings: list[Finding]


class FeatureFigures(Schema):
    name: str
    lowest: float = Field(description="on the training rows, as is highest")
    highest: float
    like: str | None = Field(description="an earlier feature that says the same")
    drift: float | None = Field(description="population stability index between the training rows and those of `against`")
    drift_word: Literal["steady", "moderate", "large"] | None


class SetFigures(Schema):
    name: str
    timeframe: str
    silent: float = Field(description="share of the training rows on which no membership fires")


class LabelDrift(Schema):
    drift: float
    drift_word: Literal["steady", "moderate", "large"]


class InputChecks(Schema):
    rows: int
    against: Literal["test", "validation"]
    features: list[FeatureFigures]
    sets: list[SetFigures]
    label_drift: LabelDrift | None
    findings: list[Finding]


class Checks(Schema):
    """None of a part until the run has come so far."""

    data: DataChecks | None = None
    inputs: InputChecks | None = None
