"""Shapes of operations: what is asked of one, its row in a list and in full, and what it left epoch by epoch."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from ninja import Field, Schema

from training.api.shapes import Reason, Request


class Cancel(Request):
    reason: Reason = ""
    force: bool = Field(False, description="end the process now, without a checkpoint")


class Resume(Request):
    allow_inexact: bool = Field(False, description="continue also where it would not be bit for bit")


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
        return dict(row.spec_data)


class Operations(Schema):
    operations: list[OperationLine]
    next_cursor: str | None


class Analytics(Schema):
    best_epoch: int | None = Field(description="counted from 0")
    alerts: list[dict[str, str]] = Field(description="kind, head, what was seen, what it means, what to try")
    epochs: list[dict[str, Any]]


class Metric(Schema):
    id: int  # what `since` takes
    attempt: int
    epoch: int
    train_loss: float
    val_loss: float
    metrics: dict[str, Any]
    counts: bool = Field(description="false where a later row took its place: done again, or gone back to before it")


class Metrics(Schema):
    """`next` is the `since` of the next call: only what was measured after these is answered then."""

    metrics: list[Metric]
    next: int


class Log(Schema):
    attempt: int
    lines: list[str]


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
