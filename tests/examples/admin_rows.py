"""Rows for the admin's tests: people of every role, strategies, and an operation in any state, with its files if wanted."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from strategies_app.grammar.reader import read_strategy
from strategies_app.models import Strategy, StrategyVersion
from tests.examples.homes import STRATEGY
from training.access.roles import give_role
from training.core.files import write_folder
from training.jobs import homes
from training.models import AuditEntry, BarSeries, Checkpoint, EpochMetric, Identity, Operation, Status, TrainedModel

MEASURES = {
    "loss": 0.98, "accuracy": 0.521, "balanced_accuracy": 0.402, "mcc": 0.118, "precision": 0.41, "recall": 0.4, "f1_score": 0.4,
    "per_class": {
        name: {"precision": 0.4, "recall": 0.4, "f1_score": 0.4, "support": 400} for name in ("BUY", "HOLD", "SELL")
    },
    "confusion_matrix": [[100, 200, 100], [100, 300, 50], [90, 180, 130]],
}  # fmt: skip
BASELINE = MEASURES | {
    "name": "majority class of train",
    "class": "HOLD",
    "accuracy": 0.473,
    "balanced_accuracy": 1 / 3,
    "mcc": 0.0,
}
METRICS = {
    "class_names": ["BUY", "HOLD", "SELL"],
    "training": {"epochs_completed": 41, "best_epoch": 30, "early_stopped": True, "train_loss": 0.9, "val_loss": 0.95},
    "validation": MEASURES | {"baseline": BASELINE, "per_symbol": {"AAPL": MEASURES}},
    "test": MEASURES | {"baseline": BASELINE, "per_symbol": {"AAPL": MEASURES}},
    "history": [],
}


def person(name: str, role: str) -> User:
    user = User.objects.create_user(name)  # without a password: hashing one takes longer than most tests
    give_role(user, role)
    return user


def text_of(name: str, epochs: int = 40) -> str:
    return STRATEGY.format(name=name, epochs=epochs, batch_size=128)


def version(name: str, epochs: int = 40) -> StrategyVersion:
    return Strategy.objects.import_text(text_of(name, epochs))


def operation(status: str = Status.COMPLETED, *, of: StrategyVersion | None = None, epochs: int = 0, **fields: Any) -> Operation:
    """One operation; `epochs` of them are completed."""
    of = of or version("momentum_daily")
    now = timezone.now()
    started = None if status == Status.PENDING else now - timedelta(minutes=4)
    ended = None if status in (Status.PENDING, Status.RUNNING, Status.CANCELLING) else now - timedelta(minutes=1)
    percent = {Status.PENDING: 0.0, Status.COMPLETED: 100.0}.get(Status(status), 46.0)
    row = Operation.objects.create(
        **{
            "strategy_version": of, "spec": json.dumps(read_strategy(of.text).plain()), "status": status, "queue": "cpu",
            "stage": "train" if started else "", "percent": percent, "epoch": epochs - 1 if epochs else None,
            "started": started, "finished": ended, "heartbeat": started, "host": "desk", "process": "4711@1.00", "device": "cpu",
            "created": now - timedelta(minutes=5), **fields,
        }
    )  # fmt: skip
    EpochMetric.objects.bulk_create(
        EpochMetric(
            operation=row, attempt=1, epoch=n, train_loss=1.1 - n / 500, val_loss=1.12 - n / 600,
            metrics={"epoch": n, "val_accuracy": 0.4 + n / 1000, "val_balanced_accuracy": 0.38, "val_mcc": 0.1, "learning_rate": 0.001},
        )
        for n in range(epochs)
    )  # fmt: skip
    return row


def checkpoint(of: Operation, epoch: int, kind: str = "periodic") -> Checkpoint:
    """A checkpoint with its files."""
    folder = f"{of.pk}/{of.attempt}/epoch_{epoch:06d}_{kind}"
    path = homes.require("checkpoints") / folder
    path.parent.mkdir(parents=True, exist_ok=True)
    sha256 = write_folder(path, {"model.safetensors": b"weights" * 100})
    return Checkpoint.objects.create(
        operation=of, attempt=of.attempt, epoch=epoch, kind=kind, folder=folder, sha256=sha256, size=184_320
    )


def model(of: Operation, name: str = "") -> TrainedModel:
    """A trained model with a bundle's files."""
    folder = f"{of.pk}-{of.attempt}"
    document = {
        "seed": 42, "engine": "reference", "device": "cpu", "threads": 1, "versions": {"torch": "2.13.0", "numpy": "2.4.6"},
        "split": {"rows": {"train": 2800, "validation": 600, "test": 600}}, "feature_names": ["1d_zone_low"],
        "fingerprints": {"AAPL": {"1d": "ab" * 32}}, "notes": ["1w was resampled from 1d"], "spec": {"name": of.name},
    }  # fmt: skip
    contents = {
        "weights.safetensors": b"w" * 4000, "predictions.safetensors": b"p" * 100,
        "strategy.yaml": of.strategy_version.text.encode(), "bundle.json": json.dumps(document).encode(),
    }  # fmt: skip
    sha256 = write_folder(homes.require("bundles") / folder, contents)
    return TrainedModel.objects.create(operation=of, name=name or f"{of.name}-1", folder=folder, sha256=sha256, metrics=METRICS)


def log(of: Operation, text: str = "stage load\nepoch 1\n") -> Path:
    path = Path(settings.LOG_DIR) / f"{of.pk}-{of.attempt}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def bars(symbol: str = "AAPL", timeframe: str = "1d") -> BarSeries:
    end = timezone.now()
    quality = {
        "missing": {}, "gaps": {"count": 3, "bars": 7, "longest": 4}, "warnings": ["3 gaps, the longest 4 bars at 2008-01-02"],
    }  # fmt: skip
    return BarSeries.objects.create(
        symbol=symbol, timeframe=timeframe, first=end - timedelta(days=4000), last=end, rows=2750, sha256="cd" * 32,
        quality=quality, source="aapl.csv",
    )  # fmt: skip


def audit(target: str, **fields: Any) -> AuditEntry:
    return AuditEntry.objects.create(target=target, **{"username": "ada", "action": "start", **fields})


def clear() -> None:
    """All rows that these functions made, and their files; people stay."""
    for kind in (TrainedModel, Operation, BarSeries, AuditEntry, StrategyVersion, Strategy):
        kind.objects.all().delete()
    Identity.objects.all().delete()
    for folder in (settings.BUNDLE_DIR, settings.CHECKPOINT_DIR):
        shutil.rmtree(folder, ignore_errors=True)
