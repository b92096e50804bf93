"""Rows of the database: what was asked for, how far it came, what is kept of it. Verbs on them live in operations.py."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import ClassVar

from django.db import models
from django.utils import timezone

from strategies_app.models import StrategyVersion


class Status(models.TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


#: States in which a process may be at work.
LIVE = (Status.RUNNING, Status.CANCELLING)
#: States from which an operation can be resumed.
RESUMABLE = (Status.FAILED, Status.CANCELLED, Status.INTERRUPTED)


def new_operation_id(now: datetime | None = None) -> str:
    """op_training_YYYYmmdd_HHMMSS_xxxxxxxx, in UTC."""
    return f"op_training_{(now or timezone.now()):%Y%m%d_%H%M%S}_{secrets.token_hex(4)}"


class Operation(models.Model):
    """One requested training. `attempt` counts the tries at it and fences off the writes of earlier ones."""

    id = models.CharField(primary_key=True, max_length=64, default=new_operation_id, editable=False)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.PENDING, db_index=True)
    attempt = models.PositiveIntegerField(default=1)
    strategy_version = models.ForeignKey(StrategyVersion, on_delete=models.PROTECT, related_name="operations")
    # Text, because a database may reorder the keys of its own JSON type, and their order is the order of the features.
    spec = models.TextField(help_text="the effective strategy as JSON: the stored text with the request's values")
    fingerprints = models.JSONField(default=dict, help_text="sha256 of exactly the bars used: symbol → timeframe → hex")

    stage = models.CharField(max_length=32, blank=True)
    percent = models.FloatField(default=0.0)
    epoch = models.PositiveIntegerField(null=True, help_text="the last completed epoch, counted from 0")
    notes = models.JSONField(default=list, help_text="warnings and notes of the run, in order")
    error = models.TextField(blank=True)
    certificate = models.TextField(blank=True, help_text="what is known of the exactness of the last resume")

    created = models.DateTimeField(default=timezone.now, db_index=True)
    started = models.DateTimeField(null=True)
    finished = models.DateTimeField(null=True)
    heartbeat = models.DateTimeField(null=True)
    host = models.CharField(max_length=255, blank=True)
    process = models.CharField(max_length=64, blank=True, help_text="process id and start time of the owner, on its host")
    device = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering: ClassVar = ["-created"]

    def __str__(self) -> str:
        return self.id

    @property
    def name(self) -> str:
        return str(self.strategy_version.strategy.name)


class Checkpoint(models.Model):
    """A saved state to continue an operation from; its files lie in `folder` under CHECKPOINT_DIR."""

    class Kind(models.TextChoices):
        PERIODIC = "periodic"
        CANCELLATION = "cancellation"
        FAILURE = "failure"
        SHUTDOWN = "shutdown"

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="checkpoints")
    attempt = models.PositiveIntegerField()
    epoch = models.PositiveIntegerField(help_text="the completed epoch that it holds, counted from 0")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    folder = models.CharField(max_length=255, unique=True, help_text="below CHECKPOINT_DIR")
    sha256 = models.CharField(max_length=64, help_text="of the manifest, which holds the sha256 of every file")
    size = models.PositiveBigIntegerField(help_text="bytes")
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-epoch", "-created"]

    def __str__(self) -> str:
        return self.folder


class EpochMetric(models.Model):
    """What one epoch of one attempt measured."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="epoch_metrics")
    attempt = models.PositiveIntegerField()
    epoch = models.PositiveIntegerField()
    train_loss = models.FloatField()
    val_loss = models.FloatField()
    metrics = models.JSONField(default=dict)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["epoch", "attempt"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["operation", "attempt", "epoch"], name="one_metric_per_epoch_and_attempt")
        ]

    def __str__(self) -> str:
        return f"{self.operation_id} epoch {self.epoch}"


class TrainedModel(models.Model):
    """The bundle that an operation ended with; its files lie in `folder` under BUNDLE_DIR."""

    operation = models.OneToOneField(Operation, on_delete=models.PROTECT, related_name="trained_model")
    name = models.CharField(max_length=120, unique=True, help_text="strategy name and a number, as `predict` takes it")
    folder = models.CharField(max_length=255, unique=True)
    sha256 = models.CharField(max_length=64, help_text="of the bundle's manifest")
    metrics = models.JSONField(default=dict)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-created"]

    def __str__(self) -> str:
        return self.name


class BarSeries(models.Model):
    """A stored series of bars: its file lies in STORE_DIR and is the truth, `data --check` brings a row that differs in line."""

    symbol = models.CharField(max_length=32)
    timeframe = models.CharField(max_length=4)
    first = models.DateTimeField(help_text="open of the first bar, UTC")
    last = models.DateTimeField(help_text="open of the last bar, UTC")
    rows = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64, help_text="of the file")
    quality = models.JSONField(default=dict, help_text="missing values, gaps, stretches, jumps; `warnings` in words")
    source = models.CharField(max_length=255, blank=True, help_text="name of the file that was loaded last")
    updated = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["symbol", "timeframe"]
        verbose_name_plural = "bar series"
        constraints: ClassVar = [models.UniqueConstraint(fields=["symbol", "timeframe"], name="one_row_per_symbol_and_timeframe")]

    def __str__(self) -> str:
        return f"{self.symbol} {self.timeframe}"
