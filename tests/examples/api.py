"""What the API's tests call it with: users of every role, and one row of everything that it shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.test import Client

from strategies_app.grammar.reader import read_strategy
from strategies_app.models import Strategy, StrategyVersion
from tests.examples.homes import STRATEGY
from training.access import tokens
from training.access.roles import give_role, make_groups
from training.core.files import write_folder
from training.jobs import checkpoints, homes, lifecycle, queues
from training.models import Checkpoint, Operation, Status, TrainedModel

TEXT = STRATEGY.format(name="stored", epochs=2, batch_size=128)
METRICS: dict[str, Any] = {
    "class_names": ["BUY", "HOLD", "SELL"],
    "training": {"best_epoch": 1, "epochs_completed": 2, "early_stopped": False, "train_loss": 1.0, "val_loss": 1.1, "accuracy": 0.5},
    "validation": {"accuracy": 0.5, "loss": 1.1, "precision": 0.4, "recall": 0.4, "f1_score": 0.4, "baseline": {"class": "HOLD", "accuracy": 0.4}},
    "test": {"accuracy": 0.6, "loss": 1.2, "precision": 0.4, "recall": 0.4, "f1_score": 0.4, "baseline": {"class": "HOLD", "accuracy": 0.4}},
    "history": [{"epoch": 0, "train_loss": 1.2, "val_loss": 1.3}, {"epoch": 1, "train_loss": 1.0, "val_loss": 1.1}],
}  # fmt: skip


@dataclass(frozen=True)
class Examples:
    """Users by role (`other` is a second trainer), a pending operation of `trainer` and one of `other`, a finished one."""

    users: dict[str, Any]
    version: StrategyVersion
    own: Operation
    others: Operation
    completed: Operation
    model: TrainedModel
    checkpoint: Checkpoint

    def signed_in(self, role: str, *, csrf: bool = False) -> Client:
        client = Client(enforce_csrf_checks=csrf)
        client.force_login(self.users[role])
        return client

    def with_token(self, role: str, scope: str) -> Client:
        """As the user of a role, whatever the scope: a role may have been taken away after the token was made."""
        user = self.users[role]
        secret = tokens.BEGIN + f"{role}-{scope}-".ljust(40, "x")
        tokens.ApiToken.objects.get_or_create(
            sha256=tokens._sha256(secret), defaults={"user": user, "name": "test", "prefix": secret[:12], "scope": scope}
        )
        return bearer(secret)


def bearer(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})


def send(client: Client, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """A request under /api/v1 with a JSON body."""
    content = "" if body is None else json.dumps(body)
    return client.generic(method.upper(), f"/api/v1{path}", content, "application/json", headers=headers or None)


def start(version: StrategyVersion, user: Any = None, **fields: Any) -> Operation:
    spec = read_strategy(version.text).plain()
    return lifecycle.start(version, spec, user=user, queue="cpu", **fields)


def make_examples() -> Examples:
    make_groups()
    users = {name: get_user_model().objects.create_user(name) for name in ("nobody", "viewer", "trainer", "other", "admin")}
    for name in ("viewer", "trainer", "admin"):
        give_role(users[name], name)
    give_role(users["other"], "trainer")
    version = Strategy.objects.import_text(TEXT)
    completed = start(version, users["trainer"], status=Status.COMPLETED)
    failed = start(version, users["trainer"], status=Status.FAILED)
    return Examples(
        users, version, start(version, users["trainer"]), start(version, users["other"]), completed,
        make_model(completed), checkpoints.save(failed.pk, 1, 0, "failure", {"model.safetensors": b"weights"}),
    )  # fmt: skip


def make_model(operation: Operation, name: str = "stored-1") -> TrainedModel:
    folder = f"{operation.pk}-1"
    digest = write_folder(homes.require("bundles") / folder, {"weights.safetensors": b"weights", "bundle.json": b"{}"})
    return TrainedModel.objects.create(operation=operation, name=name, folder=folder, sha256=digest, metrics=METRICS)


def register_worker(tag: str) -> Any:
    """A worker that is alive as far as Redis knows, and takes no job."""
    import django_rq
    from rq import Worker

    queue = django_rq.get_queue(tag)
    worker = Worker([queue], connection=queue.connection, name=f"{tag}-test", serializer=queue.serializer)
    worker.register_birth()
    assert queues.live_workers(tag)
    return worker


def store_bars() -> None:
    """The daily bars that come with the project, for AAPL."""
    from training.bars.series import SAMPLE_BARS, store_frame
    from training.pipeline.bars import read_bars

    store_frame("AAPL", "1d", read_bars(SAMPLE_BARS, "AAPL", "1d"), source="sample bars")
