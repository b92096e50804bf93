"""What the API takes and gives, as the OpenAPI document shows it: requests are strict, answers are read off rows."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from django.urls import reverse
from ninja import Field, Schema
from pydantic import AfterValidator, ConfigDict, WithJsonSchema, model_validator

from strategies_app.schema import SYMBOL
from training.estimates import names_in
from training.models import Operation, TrainedModel
from training.verdict import baselines_of


def _plain(value: str) -> str:
    if any(ord(letter) < 32 and letter not in "\t\n\r" for letter in value):
        raise ValueError("has a control character")
    return value


Text = Annotated[str, AfterValidator(_plain)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Path = Annotated[Text, Field(max_length=4096)]
Reason = Annotated[Text, Field(max_length=2000)]
Symbol = Annotated[Text, Field(pattern=SYMBOL)]


class Request(Schema):
    model_config = ConfigDict(extra="forbid")


# --- what is taken -----------------------------------------------------------------------------


class Start(Request):
    """A training: a stored strategy by name, or a strategy's text; the rest stands in place of the strategy's own values."""

    strategy_name: Name | None = None
    strategy_yaml: str | None = None
    strategy_path: Path | None = Field(None, description="where the text comes from, kept as provenance")
    task_id: Name | None = Field(None, description="your own id: asked twice, started once")
    symbols: Annotated[list[Name], Field(min_length=1, max_length=10_000)] | None = None
    timeframes: Annotated[list[Name], Field(min_length=1, max_length=20)] | None = None
    start_date: dt.date | None = Field(None, description="first UTC day")
    end_date: dt.date | None = Field(None, description="last UTC day")
    validation_split: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] | None = None
    detailed_analytics: bool = Field(False, description="keep what happens inside the network, epoch by epoch")
    notify: bool = Field(False, description="mail me when it has ended")

    @model_validator(mode="after")
    def _one_strategy(self) -> Start:
        if (self.strategy_name is None) == (self.strategy_yaml is None):
            raise ValueError("wanted strategy_name or strategy_yaml, and not both")
        return self

    def options(self) -> dict[str, Any]:
        """As `read_strategy` takes them, JSON-ready."""
        given = {
            "symbols": self.symbols,
            "timeframes": self.timeframes,
            "start": self.start_date and self.start_date.isoformat(),
            "end": self.end_date and self.end_date.isoformat(),
            "validation_split": self.validation_split,
            "detailed_analytics": self.detailed_analytics or None,
        }
        return {name: value for name, value in given.items() if value is not None}


class StrategyText(Request):
    strategy_yaml: str


class Cancel(Request):
    reason: Reason = ""
    force: bool = Field(False, description="end the process now, without a checkpoint")


class Resume(Request):
    allow_inexact: bool = Field(False, description="continue also where it would not be bit for bit")


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


# --- what is given -----------------------------------------------------------------------------


class Problem(Schema):
    path: str
    line: int | None = None
    column: int | None = None
    message: str


class Error(Schema):
    code: str
    message: str
    details: dict[str, Any] = Field(
        description="`problems` of a strategy or a request; `findings` where bars are refused, as under operations/{id}/checks"
    )


class ErrorBody(Schema):
    error: Error


class Started(Schema):
    operation_id: str
    status: str
    queue: str
    symbols: list[str]
    timeframes: list[str]
    strategy_name: str
    strategy_version: int
    estimated_duration_seconds: float | None


class Asked(Schema):
    """The answer takes longer: ask again at `where`."""

    job: str
    where: str


def symbols_of(operation: Operation) -> list[str]:
    return names_in(json.loads(operation.spec)["training_data"]["symbols"], "symbol")


def timeframes_of(operation: Operation) -> list[str]:
    return names_in(json.loads(operation.spec)["training_data"]["timeframes"], "timeframe")


class Changed(Schema):
    operation_id: str
    status: str
    attempt: int

    @staticmethod
    def resolve_operation_id(row: Any) -> str:
        return str(row.pk)


class OperationLine(Changed):
    strategy_name: str
    strategy_version: int
    symbols: list[str]
    timeframes: list[str]
    user: str | None
    queue: str
    stage: str
    percent: float
    epoch: int | None = Field(description="the last completed epoch, counted from 0")
    created: dt.datetime
    started: dt.datetime | None
    finished: dt.datetime | None
    error: str
    model: str | None

    @staticmethod
    def resolve_strategy_name(row: Any) -> str:
        return str(row.strategy_version.strategy.name)

    @staticmethod
    def resolve_strategy_version(row: Any) -> int:
        return int(row.strategy_version.number)

    @staticmethod
    def resolve_symbols(row: Any) -> list[str]:
        return symbols_of(row)

    @staticmethod
    def resolve_timeframes(row: Any) -> list[str]:
        return timeframes_of(row)

    @staticmethod
    def resolve_user(row: Any) -> str | None:
        return row.user.get_username() if row.user else None

    @staticmethod
    def resolve_model(row: Any) -> str | None:
        model = getattr(row, "trained_model", None)
        return model.name if model else None


class Failure(Schema):
    category: Literal["transient", "data", "strategy", "resources", "bug"]
    cause: str
    happening: str = Field(description="what the run was doing")
    kept: str = Field(description="the checkpoint that a resumed run continues from")
    advice: str = Field(description="what to do")
    resuming_helps: bool


class OperationDetail(OperationLine):
    failure: Failure | None = Field(description="of a failed run")
    retries: int = Field(description="attempts made by themselves after something passing")
    retry_at: dt.datetime | None = Field(description="when a failed run is tried again by itself")
    task_id: str | None
    reason: str
    notes: list[str]
    certificate: str
    allow_inexact: bool
    detailed_analytics: bool
    heartbeat: dt.datetime | None
    host: str
    device: str
    strategy_path: str
    spec: dict[str, Any]
    fingerprints: dict[str, Any]

    @staticmethod
    def resolve_failure(row: Any) -> dict[str, Any] | None:
        return row.failure or None

    @staticmethod
    def resolve_strategy_path(row: Any) -> str:
        return str(row.strategy_version.source_path)

    @staticmethod
    def resolve_spec(row: Any) -> dict[str, Any]:
        return dict(json.loads(row.spec))


class Analytics(Schema):
    best_epoch: int | None = Field(description="counted from 0")
    alerts: list[dict[str, str]] = Field(description="kind, head, what was seen, what it means, what to try")
    epochs: list[dict[str, Any]]


class TrainingStatus(Schema):
    operation_id: str
    state: str
    attempt: int
    stage: str
    percent: float
    epoch: int | None = Field(description="the last completed epoch, counted from 0")
    batch: int | None = Field(description="the batch at work now, counted from 0; null unless it is in training")
    batches: int | None
    eta_seconds: float | None
    metrics: dict[str, Any] = Field(description="those of the last completed epoch")
    warnings: list[str]
    error: str
    failure: Failure | None = Field(description="of a failed run")


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


class Bundle(Schema):
    model: str
    sha256: str
    download: str


#: Measures of classes, and of returns: of a model of the other kind they are null.
OF_CLASSES = {
    "accuracy": "share of labels called right", "balanced_accuracy": "mean recall", "mcc": "Matthews correlation",
    "precision": "macro average", "recall": "macro average", "f1_score": "macro average",
}  # fmt: skip
OF_RETURNS = {
    "mae": "mean absolute error of the predicted return", "rmse": "root mean square error of it",
    "r2": "against the mean of the training returns; below 0 is worse than it", "sign_accuracy": "share of right directions",
    "ic": "correlation of predicted and realised returns", "rank_ic": "correlation of their ranks",
}  # fmt: skip


def _described(names: Mapping[str, str], **numbers: str) -> WithJsonSchema:
    """An object with these numbers or nulls, and those that are always there; it may hold more."""
    known: dict[str, Any] = {name: {"type": kind} for name, kind in numbers.items()}
    known |= {name: {"type": ["number", "null"], "description": text} for name, text in names.items()}
    return WithJsonSchema({"type": "object", "properties": known, "required": list(known), "additionalProperties": True})


#: Of the epoch whose weights were kept; what is not a loss was measured on validation rows.
TrainingMeasures = Annotated[
    dict[str, Any],
    _described(
        {"accuracy": OF_CLASSES["accuracy"], **OF_RETURNS},
        train_loss="number", val_loss="number", best_epoch="integer", epochs_completed="integer", early_stopped="boolean",
    ),
]  # fmt: skip
SplitMeasures = Annotated[dict[str, Any], _described({"loss": "with the weights learned on train", **OF_CLASSES, **OF_RETURNS})]


class TrainingResults(Schema):
    operation_id: str
    output_format: Literal["classification", "regression"]
    training_metrics: TrainingMeasures
    validation: SplitMeasures
    test: SplitMeasures | None
    test_state: Literal["open", "sealed"]
    class_names: list[str]
    history: list[dict[str, Any]]
    baselines: dict[str, list[dict[str, Any]]]
    bundle: Bundle


def _whole(side: Mapping[str, Any]) -> dict[str, Any]:
    """With null for what is not measured of this kind of label."""
    return dict.fromkeys(("loss", *OF_CLASSES, *OF_RETURNS)) | side


def results_of(operation: Operation, model: TrainedModel) -> dict[str, Any]:
    """A completed training's results, from what was kept with its model."""
    metrics = model.metrics
    sides = {name: metrics[name] for name in ("validation", "test") if metrics.get(name)}
    return {
        "operation_id": operation.pk,
        "output_format": metrics.get("output_format", "classification"),
        "training_metrics": dict.fromkeys(("accuracy", *OF_RETURNS)) | metrics["training"],
        "validation": _whole(metrics["validation"]),
        "test": _whole(metrics["test"]) if metrics["test"] else None,
        "test_state": "open",
        "class_names": metrics["class_names"],
        "history": metrics["history"],
        "baselines": {name: baselines_of(side) for name, side in sides.items()},
        "bundle": {"model": model.name, "sha256": model.sha256, "download": reverse("api:download_model", args=[model.name])},
    }


class Operations(Schema):
    operations: list[OperationLine]
    next_cursor: str | None


class Metric(Schema):
    id: int  # what `since` takes
    attempt: int
    epoch: int
    train_loss: float
    val_loss: float
    metrics: dict[str, Any]


class Metrics(Schema):
    """`next` is the `since` of the next call: only what was measured after these is answered then."""

    metrics: list[Metric]
    next: int


class Log(Schema):
    attempt: int
    lines: list[str]


class Worker(Schema):
    name: str
    queue: str
    state: str
    job: str | None
    heartbeat: dt.datetime
    environment: dict[str, Any]


class StrategyLine(Schema):
    name: str
    version: int | None
    versions: int
    created: dt.datetime
    changed: dt.datetime | None


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
        return dict(json.loads(row.operation.spec))

    @staticmethod
    def resolve_fingerprints(row: Any) -> dict[str, Any]:
        return dict(row.operation.fingerprints)


class Predicted(Schema):
    timestamp: str
    probabilities: list[float] | None = Field(description="one per class; null where the model predicts returns")
    predicted_return: float | None = Field(description="over the label's horizon; null where the model has classes")
    signal: str


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


class CheckpointLine(Schema):
    id: int
    operation_id: str
    attempt: int
    epoch: int
    kind: str
    size: int
    sha256: str
    created: dt.datetime


class Checkpoints(Schema):
    checkpoints: list[CheckpointLine]
    next_cursor: str | None


class Health(Schema):
    status: Literal["ok", "failing"]
    database: str | None = None
    redis: str | None = None
    workers: dict[str, int] | None = None
