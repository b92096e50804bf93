"""Rows of the database: what was asked for, how far it came, what is kept of it. Verbs on them live in jobs.lifecycle."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from strategies_app.models import StrategyVersion
from training.results.verdict import summary_of


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
#: States that are not the last one yet.
OPEN = (Status.PENDING, *LIVE)
#: What only the page of one operation shows, of its row and of those beside it.
UNSEEN_IN_LISTS = (
    "notes", "checks", "fingerprints", "sources", "first_bars", "certificate", "strategy_version__text",
    "strategy_version__source_path", "trained_model__metrics", "trained_model__importance",
)  # fmt: skip
#: States from which an operation can be resumed.
RESUMABLE = (Status.FAILED, Status.CANCELLED, Status.INTERRUPTED)


def names_in(section: Mapping[str, Any], one: str) -> list[str]:
    """The symbols or timeframes of a plain strategy, whether it has one or a list of them."""
    return list(section["list"]) if "list" in section else [section[one]]


def new_operation_id(now: datetime | None = None) -> str:
    """op_training_YYYYmmdd_HHMMSS_xxxxxxxx, in UTC."""
    return f"op_training_{(now or timezone.now()):%Y%m%d_%H%M%S}_{secrets.token_hex(4)}"


def new_key() -> str:
    return secrets.token_hex(16)


def unseen_through(relation: str, *also: str) -> tuple[str, ...]:
    """The same for lists of rows that have an operation: names to defer."""
    return tuple(f"{relation}__{name}" for name in (*UNSEEN_IN_LISTS, *also) if not name.startswith("trained_model__"))


class OperationRows(models.QuerySet["Operation"]):
    """Rows of operations."""

    def for_lists(self, *also: str) -> OperationRows:
        """With strategy, user and model, in one query, without the long texts that no list shows, nor those named."""
        return self.select_related("strategy_version__strategy", "user", "trained_model").defer(*UNSEEN_IN_LISTS, *also)


class Operation(models.Model):
    """One requested training. `attempt` counts the tries at it and fences off the writes of earlier ones."""

    id = models.CharField(primary_key=True, max_length=64, default=new_operation_id, editable=False)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.PENDING, db_index=True)
    attempt = models.PositiveIntegerField(default=1)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="operations")
    task_id = models.CharField(  # noqa: DJ001 - null, since only what is given must be unique
        max_length=200, null=True, unique=True, help_text="the requester's own id: asked twice, started once"
    )
    request_sha256 = models.CharField(max_length=64, blank=True, help_text="of the request, to tell a repeated one from another")
    allow_inexact = models.BooleanField(default=False, help_text="the present attempt may continue where it is not bit for bit")
    detailed_analytics = models.BooleanField(default=False, help_text="its attempts keep what happens inside the network")
    queue = models.CharField(max_length=16, blank=True, help_text="empty for a run in the starter's own process")
    reason = models.TextField(blank=True, help_text="why it was cancelled, in the words of who did")
    strategy_version = models.ForeignKey(StrategyVersion, on_delete=models.PROTECT, related_name="operations")
    # Text, because a database may reorder the keys of its own JSON type, and their order is the order of the features.
    spec = models.TextField(help_text="the effective strategy as JSON: the stored text with the request's values")
    fingerprints = models.JSONField(default=dict, help_text="sha256 of exactly the bars used: symbol → timeframe → hex")
    sources = models.JSONField(default=dict, help_text="stored timeframe that each series was read or resampled from")
    plugins = models.JSONField(default=dict, help_text="kinds of other packages in it: name → package, version, code")
    first_bars = models.JSONField(default=dict, help_text="µs UTC of the first bar of each series: a resumed run begins there")

    stage = models.CharField(max_length=32, blank=True)
    percent = models.FloatField(default=0.0)
    epoch = models.PositiveIntegerField(null=True, help_text="the last completed epoch, counted from 0")
    stage_seconds = models.JSONField(default=dict, help_text="how long each stage took: later runs weigh their stages by it")
    notes = models.JSONField(default=list, help_text="warnings and notes of the run, in order")
    checks = models.JSONField(default=dict, help_text="what was found of the bars, the features and the labels, as values")
    error = models.TextField(blank=True)
    failure = models.JSONField(
        default=dict, help_text="of a failed run: category, cause, happening, kept, advice, resuming_helps"
    )
    retries = models.PositiveSmallIntegerField(default=0, help_text="attempts since a person asked that were made by themselves")
    retry_at = models.DateTimeField(null=True, help_text="when a run that failed of something passing is tried again")
    notify = models.EmailField(blank=True, help_text="who is mailed when it ends")
    mailed = models.CharField(max_length=40, blank=True, help_text="attempt and status of the end that was mailed last")
    certificate = models.TextField(blank=True, help_text="what is known of the exactness of the last resume")
    tags = models.CharField(max_length=400, blank=True, help_text="words to find it by, each between spaces")
    comment = models.TextField(blank=True, help_text="what people noted about it")

    created = models.DateTimeField(default=timezone.now, db_index=True)
    started = models.DateTimeField(null=True)
    finished = models.DateTimeField(null=True)
    heartbeat = models.DateTimeField(null=True)
    host = models.CharField(max_length=255, blank=True)
    process = models.CharField(max_length=64, blank=True, help_text="process id and start time of the owner, on its host")
    device = models.CharField(max_length=64, blank=True)

    objects = OperationRows.as_manager()

    class Meta:
        ordering: ClassVar = ["-created"]
        permissions: ClassVar = [
            ("start_operation", "Can start a training"),
            ("cancel_operation", "Can cancel a training"),
            ("force_operation", "Can stop a training by force"),
            ("resume_operation", "Can resume a training"),
            ("annotate_operation", "Can tag a training and note something about it"),
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def name(self) -> str:
        return str(self.strategy_version.strategy.name)

    @property
    def spec_data(self) -> dict[str, Any]:
        """The effective strategy as plain data, which reads as long as it is stored: kinds of other packages may be gone."""
        text, data = self.__dict__.get("_spec_data", (None, None))
        if text != self.spec:
            data = json.loads(self.spec)
            self.__dict__["_spec_data"] = self.spec, data
        return data  # type: ignore[no-any-return]

    @property
    def symbols(self) -> list[str]:
        return names_in(self.spec_data["training_data"]["symbols"], "symbol")

    @property
    def timeframes(self) -> list[str]:
        return names_in(self.spec_data["training_data"]["timeframes"], "timeframe")

    @property
    def epochs(self) -> int:
        return int(self.spec_data["training"]["epochs"])

    @property
    def output_format(self) -> str:
        return str((self.spec_data.get("decisions") or {}).get("output_format", "classification"))

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def waits_to_retry(self) -> bool:
        """Whether it failed of something passing and is tried again by itself."""
        return self.status == Status.FAILED and self.retry_at is not None

    @property
    def is_unsettled(self) -> bool:
        """Whether anything of it can still change by itself."""
        return self.is_open or self.waits_to_retry

    @property
    def failure_lines(self) -> dict[str, str]:
        """What is known of a failure beside its sentence, under the words that pages and terminals put before it."""
        words = {"category": "kind of fault", "happening": "happened", "kept": "kept", "advice": "what to do"}
        lines = {words[part]: text for part, text in self.failure.items() if part in words}
        if not self.failure:
            return lines
        if self.waits_to_retry:
            again = f"By itself at {self.retry_at:%Y-%m-%d %H:%M:%S} UTC."
        elif self.failure.get("resuming_helps"):
            again = "It can help."
        else:
            again = "It does not help as long as this stays as it is."
        return lines | {"resuming": again}

    @property
    def tag_list(self) -> list[str]:
        return self.tags.split()


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
        ordering: ClassVar = ["-attempt", "-epoch", "-created"]

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
    summary = models.JSONField(default=dict, help_text="the figures that lists show and sort by; made from the metrics")
    importance = models.JSONField(null=True, help_text="what each feature is worth, once somebody asked")
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-created"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self.summary:
            self.summary = summary_of(self.metrics)
        super().save(*args, **kwargs)


class BarSeries(models.Model):
    """A stored series of bars: its file lies in STORE_DIR and is the truth, `data --check` brings a row that differs in line."""

    symbol = models.CharField(max_length=32)
    timeframe = models.CharField(max_length=4)
    first = models.DateTimeField(help_text="open of the first bar, UTC")
    last = models.DateTimeField(help_text="open of the last bar, UTC")
    rows = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64, help_text="of the file")
    quality = models.JSONField(default=dict, help_text="missing values, gaps, stretches, jumps; `warnings` in words")
    source = models.CharField(max_length=255, blank=True, help_text="what was loaded last: a file's name, a source's market")
    feed = models.JSONField(
        default=dict, blank=True, help_text="where more is fetched: source, market, and spans (µs) that are empty there"
    )
    updated = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["symbol", "timeframe"]
        verbose_name_plural = "bar series"
        constraints: ClassVar = [models.UniqueConstraint(fields=["symbol", "timeframe"], name="one_row_per_symbol_and_timeframe")]

    def __str__(self) -> str:
        return f"{self.symbol} {self.timeframe}"


class BarFetch(models.Model):
    """Bars asked of a source from the browser. Short jobs one after the other work on it; `turn` fences off a lost one."""

    key = models.CharField(max_length=32, primary_key=True, default=new_key, editable=False)
    symbol = models.CharField(max_length=32)
    timeframe = models.CharField(max_length=4)
    source = models.CharField(max_length=64)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.PENDING, db_index=True)
    turn = models.PositiveIntegerField(default=0)
    state = models.JSONField(default=dict, help_text="what is wanted, and how far it came")
    due = models.DateTimeField(default=timezone.now, help_text="not asked before: the source wants a pause")
    error = models.TextField(blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created = models.DateTimeField(default=timezone.now)
    updated = models.DateTimeField(default=timezone.now, help_text="when it was last worked on")

    class Meta:
        ordering: ClassVar = ["-created"]
        verbose_name_plural = "bar fetches"

    def __str__(self) -> str:
        return f"{self.symbol} {self.timeframe} from {self.source}"


class ResourceUse(models.Model):
    """What one attempt used of its machine, by time: a bounded number of points, further apart the longer it runs."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="resource_use")
    attempt = models.PositiveIntegerField()
    began = models.DateTimeField(help_text="of the first point")
    seconds = models.FloatField(help_text="between two points")
    points = models.JSONField(help_text="name → values, null where one was not to be had")
    facts = models.JSONField(default=dict, help_text="cores, memory and device of the machine")

    class Meta:
        ordering: ClassVar = ["attempt"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["operation", "attempt"], name="one_use_per_attempt")]

    def __str__(self) -> str:
        return f"{self.operation_id} attempt {self.attempt}"


class ApiToken(models.Model):
    """A key to the API. Only its sha256 is stored; what it allows is never more than its user may at that moment."""

    class Scope(models.TextChoices):
        READ = "read"
        TRAIN = "train"
        ADMIN = "admin"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12, help_text="the token's beginning, to recognise it by")
    sha256 = models.CharField(max_length=64, unique=True)
    scope = models.CharField(max_length=8, choices=Scope.choices, default=Scope.READ)
    created = models.DateTimeField(default=timezone.now)
    expires = models.DateTimeField(null=True, blank=True)
    last_used = models.DateTimeField(null=True, blank=True)
    revoked = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created"]

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.name})"


class AuditEntry(models.Model):
    """Who did what, when: starts, cancels, resumes, deletions, exports, sign-ins."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    username = models.CharField(max_length=150, blank=True, help_text="as it was then; empty for the command line")
    action = models.CharField(max_length=32)
    target = models.CharField(max_length=200)
    details = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["-at"]
        verbose_name_plural = "audit trail"

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.username or 'command line'} {self.action} {self.target}"


class Identity(models.Model):
    """An id by which something outside the database is known: the database itself in Redis, a folder by the file in it."""

    name = models.CharField(max_length=32, primary_key=True, help_text="`database`, or which folder, such as bundles")
    key = models.CharField(max_length=32)
    since = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "identities"

    def __str__(self) -> str:
        return self.name
