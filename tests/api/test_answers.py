"""What the API tells of operations, models, strategies and bars, and how it turns the pages of a long list."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from strategies_app.models import Strategy
from tests.examples.api import METRICS, TEXT, Examples, register_worker, send, start, store_bars
from tests.examples.strategy_texts import changed
from training.models import AuditEntry, BarSeries, Checkpoint, EpochMetric, Operation, Status, TrainedModel

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer(examples: Examples) -> Client:
    return examples.signed_in("viewer")


def test_pages_stay_whole_while_operations_are_added(examples: Examples, viewer: Client) -> None:
    for _ in range(7):
        start(examples.version)
    Operation.objects.update(created=timezone.now())  # the same moment: the id decides
    expected = set(Operation.objects.values_list("pk", flat=True))
    seen, cursor = [], ""
    while cursor is not None:
        told = send(viewer, "get", f"/operations?limit=3&cursor={cursor}").json()
        seen += [line["operation_id"] for line in told["operations"]]
        cursor = told["next_cursor"]
        start(examples.version)
    assert len(seen) == len(set(seen))
    assert set(seen) == expected


def test_a_cursor_of_ones_own_making_is_refused(viewer: Client) -> None:
    answer = send(viewer, "get", "/operations?cursor=WyIyMDI2Il0")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


def test_operations_are_filtered_by_status_and_strategy(examples: Examples, viewer: Client) -> None:
    def listed(query: str) -> set[str]:
        return {line["operation_id"] for line in send(viewer, "get", f"/operations?{query}").json()["operations"]}

    assert listed("status=completed") == {examples.completed.pk}
    assert listed("strategy=stored") >= {examples.own.pk, examples.completed.pk}
    assert listed("strategy=none") == set()


def test_a_status_tells_stage_epoch_and_warnings(examples: Examples, viewer: Client, empty_redis: Any) -> None:
    Operation.objects.filter(pk=examples.own.pk).update(
        status=Status.RUNNING, stage="train", percent=50.0, epoch=3, notes=["few rows"], started=timezone.now() - timezone.timedelta(seconds=10)
    )  # fmt: skip
    spec = json.loads(examples.own.spec)
    spec["training"]["epochs"] = 14
    Operation.objects.filter(pk=examples.own.pk).update(spec=json.dumps(spec))
    ended = timezone.now()
    for epoch, loss, ago in ((2, 1.5, 1.0), (3, 1.25, 0.0)):  # what the first one of this process took counts for nothing
        EpochMetric.objects.create(
            operation=examples.own, attempt=1, epoch=epoch, train_loss=loss, val_loss=loss,
            metrics={"val_loss": loss, "seconds": 0.25}, created=ended - timezone.timedelta(seconds=ago),
        )  # fmt: skip
    told = send(viewer, "get", f"/trainings/{examples.own.pk}/status").json()
    assert (told["status"], told["stage"], told["percent"], told["epoch"]) == ("running", "train", 50.0, 3)
    assert told["metrics"] == {"val_loss": 1.25, "seconds": 0.25} and told["warnings"] == ["few rows"]
    assert told["eta_seconds"] == 10.0, "ten epochs at the pace of those after the first"
    assert told["batch"] is None, "nothing is published"


def test_a_status_tells_the_batch_that_the_running_process_publishes(
    examples: Examples, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.jobs import status

    Operation.objects.filter(pk=examples.own.pk).update(status=Status.RUNNING, stage="train", percent=10.0)
    message = {"attempt": 1, "stage": "train", "batch": 7, "batches": 20, "percent": 12.0}
    monkeypatch.setattr(status.Listener, "messages", lambda self, seconds: iter([message]))
    told = send(viewer, "get", f"/trainings/{examples.own.pk}/status").json()
    assert (told["batch"], told["batches"], told["percent"]) == (7, 20, 12.0)
    message["attempt"] = 0
    assert send(viewer, "get", f"/trainings/{examples.own.pk}/status").json()["batch"] is None, "of an earlier attempt"


def test_results_are_those_of_the_model(examples: Examples, viewer: Client) -> None:
    told = send(viewer, "get", f"/trainings/{examples.completed.pk}/results").json()
    given = {name: value for name, value in told["training_metrics"].items() if value is not None}
    assert given == METRICS["training"] and told["training_metrics"]["ic"] is None, "what only returns have is null"
    assert {name: told["test"][name] for name in METRICS["test"]} == METRICS["test"] and told["test_state"] == "open"
    assert {told["test"][name] for name in ("mae", "rmse", "r2", "ic", "rank_ic", "sign_accuracy")} == {None}
    assert told["baselines"]["test"][0]["class"] == "HOLD"
    assert told["bundle"] == {
        "model": "stored-1",
        "sha256": examples.model.sha256,
        "download": "/api/v1/models/stored-1/download",
    }
    unfinished = send(viewer, "get", f"/trainings/{examples.own.pk}/results")
    assert (unfinished.status_code, unfinished.json()["error"]["details"]) == (409, {"status": "pending"})


def test_metrics_since_are_those_measured_since_also_after_a_resume(examples: Examples, viewer: Client) -> None:
    def measure(attempt: int, epoch: int) -> None:
        EpochMetric.objects.create(operation=examples.own, attempt=attempt, epoch=epoch, train_loss=1, val_loss=1, metrics={})

    def asked(since: int) -> tuple[list[tuple[int, int]], int]:
        told = send(viewer, "get", f"/operations/{examples.own.pk}/metrics?since={since}").json()
        return [(row["attempt"], row["epoch"]) for row in told["metrics"]], told["next"]

    measure(1, 0)
    measure(1, 1)
    rows, since = asked(0)
    assert rows == [(1, 0), (1, 1)]
    assert asked(since) == ([], since)
    measure(2, 1)
    assert asked(since)[0] == [(2, 1)]


def test_the_end_of_a_log_is_told(examples: Examples, viewer: Client) -> None:
    path = f"/operations/{examples.own.pk}/log"
    assert send(viewer, "get", path).json() == {"attempt": 1, "lines": []}
    folder = Path(settings.LOG_DIR)
    folder.mkdir(exist_ok=True)
    (folder / f"{examples.own.pk}-1.log").write_text("".join(f"line {n}\n" for n in range(300)))
    assert send(viewer, "get", f"{path}?tail=2").json()["lines"] == ["line 298", "line 299"]
    assert send(viewer, "get", f"{path}?attempt=2").status_code == 404


def test_a_model_is_downloaded_whole_and_the_export_is_remembered(examples: Examples, viewer: Client) -> None:
    answer = send(viewer, "get", "/models/stored-1/download")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="stored-1.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.getvalue())) as archive:
        assert set(archive.namelist()) == {f"stored-1/{name}" for name in ("weights.safetensors", "bundle.json", "manifest.json")}
        assert archive.read("stored-1/weights.safetensors") == b"weights"
    assert AuditEntry.objects.get(action="export").username == "viewer"


def test_a_damaged_model_is_not_given_away(examples: Examples, viewer: Client) -> None:
    (Path(settings.BUNDLE_DIR) / examples.model.folder / "weights.safetensors").write_bytes(b"others")
    answer = send(viewer, "get", "/models/stored-1/download")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "damaged")
    assert not AuditEntry.objects.filter(action="export").exists()


def test_models_are_listed_with_their_accuracy(viewer: Client) -> None:
    (line,) = send(viewer, "get", "/models").json()["models"]
    assert (line["name"], line["strategy_name"], line["accuracy"]) == ("stored-1", "stored", 0.6)
    assert send(viewer, "get", "/models/stored-1").json()["metrics"] == METRICS


def test_a_strategy_is_shown_with_its_versions_and_features(viewer: Client) -> None:
    newer = changed("epochs: 2", "epochs: 5", TEXT)
    Strategy.objects.import_text(newer)
    (line,) = send(viewer, "get", "/strategies").json()
    assert (line["name"], line["version"], line["versions"]) == ("stored", 2, 2)
    told = send(viewer, "get", "/strategies/stored").json()
    assert (told["text"], told["versions"]) == (newer, [1, 2])
    assert send(viewer, "get", "/strategies/stored?version=1").json()["text"] == TEXT
    features = send(viewer, "get", "/strategies/stored/features").json()["features"]
    assert features[:2] == ["1d_zone_low", "1d_zone_middle"]


def test_a_text_is_validated_with_every_problem(viewer: Client) -> None:
    right = send(viewer, "post", "/strategies/validate", {"strategy_yaml": TEXT}).json()
    assert (right["valid"], right["name"], right["features"], right["problems"]) == (True, "stored", 7, [])
    wrong = send(viewer, "post", "/strategies/validate", {"strategy_yaml": changed("epochs: 2", "epochz: 2", TEXT)}).json()
    assert wrong["valid"] is False
    assert [(p["path"], p["line"]) for p in wrong["problems"]] == [("training.epochz", 19)]


def test_bars_are_told_with_coverage(viewer: Client) -> None:
    store_bars()
    told = send(viewer, "get", "/data/AAPL/1d?start=2010-01-04&end=2010-01-06").json()
    assert told["coverage"]["rows"] == BarSeries.objects.get().rows
    assert [bar["timestamp"][:10] for bar in told["bars"]] == ["2010-01-04", "2010-01-05", "2010-01-06"]
    last = send(viewer, "get", "/data/AAPL/1d?limit=2").json()
    assert [bar["timestamp"] for bar in last["bars"]][-1] == last["coverage"]["last"]
    assert len(last["bars"]) == 2
    assert send(viewer, "get", "/data/AAPL/1h").status_code == 404


def test_bars_without_a_value_are_null_in_the_answer(viewer: Client) -> None:
    import numpy as np

    from training.bars.series import store_frame
    from training.pipeline.bars import bar_frame

    values = np.array([[1.0, 2.0], [3.0, 3.0], [0.5, 1.0], [2.0, np.nan], [0.0, 5.0]])
    store_frame("HOLES", "1d", bar_frame(np.array([0, 86_400_000_000]), values), source="test")
    bars = send(viewer, "get", "/data/HOLES/1d").json()["bars"]
    assert bars[1] == {"timestamp": "1970-01-02T00:00:00Z", "open": 2.0, "high": 3.0, "low": 1.0, "close": None, "volume": 5.0}


def test_a_checkpoint_is_deleted_with_its_files_unless_its_operation_is_live(examples: Examples) -> None:
    client, row = examples.signed_in("admin"), examples.checkpoint
    folder = Path(settings.CHECKPOINT_DIR) / row.folder
    for status in ("pending", "running", "cancelling"):
        Operation.objects.filter(pk=row.operation_id).update(status=status)
        answer = send(client, "delete", f"/checkpoints/{row.pk}")
        assert (answer.status_code, answer.json()["error"]["details"]) == (409, {"status": status})
    Operation.objects.filter(pk=row.operation_id).update(status="failed")
    assert folder.is_dir()
    assert send(client, "delete", f"/checkpoints/{row.pk}").status_code == 204
    assert not folder.exists() and not Checkpoint.objects.exists()
    assert send(client, "delete", f"/checkpoints/{row.pk}").status_code == 404
    assert AuditEntry.objects.get(action="delete").username == "admin"


def test_health_tells_details_only_to_who_may_look(examples: Examples, viewer: Client, empty_redis: Any) -> None:
    register_worker("cpu")
    names = ("database", "redis", "redis_state", "workers", "folders")
    assert send(Client(), "get", "/healthz").json() == dict.fromkeys(names) | {"status": "ok"}
    told = send(viewer, "get", "/healthz").json()
    assert set(told.pop("folders").values()) == {"ok"}
    workers = {"gpu": 0, "cpu": 1, "quick": 0}
    assert told == {"status": "ok", "database": "ok", "redis": "ok", "redis_state": "ok", "workers": workers}


def test_health_fails_with_redis(examples: Examples, viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.jobs import queues

    def refuse() -> None:
        raise queues.RedisAway("Redis does not answer")

    monkeypatch.setattr(queues, "ping", refuse)
    answer = send(viewer, "get", "/healthz")
    told = answer.json()
    assert (answer.status_code, told["redis"], told["redis_state"]) == (503, "Redis does not answer", "away")
    assert json.loads(send(Client(), "get", "/healthz").content)["redis"] is None


LISTS = ("/operations?limit=500", "/models?limit=500", "/checkpoints?limit=500", "/strategies", "/data", "/workers")


@pytest.mark.parametrize("path", LISTS)
def test_no_list_asks_the_database_more_than_twelve_times_for_500_rows(
    path: str, examples: Examples, empty_redis: Any, django_assert_max_num_queries: Any
) -> None:
    if path.startswith(("/operations", "/models")):
        spec, user = examples.completed.spec, examples.users["trainer"]
        made = [Operation(strategy_version=examples.version, spec=spec, user=user, status=Status.COMPLETED) for _ in range(500)]
        Operation.objects.bulk_create(made)
        TrainedModel.objects.bulk_create(
            TrainedModel(operation=o, name=f"many-{n}", folder=f"many-{n}", sha256="", metrics=METRICS)
            for n, o in enumerate(made)
        )
    if path.startswith("/checkpoints"):
        rows = (
            Checkpoint(operation=examples.own, attempt=1, epoch=n, kind="periodic", folder=f"f{n}", sha256="", size=1)
            for n in range(500)
        )
        Checkpoint.objects.bulk_create(rows)
    if path == "/strategies":
        Strategy.objects.bulk_create(Strategy(name=f"s{number}") for number in range(500))
    if path == "/data":
        now = timezone.now()
        BarSeries.objects.bulk_create(
            BarSeries(symbol=f"S{n}", timeframe="1d", first=now, last=now, rows=1, sha256="") for n in range(500)
        )
    client = examples.with_token("viewer", "read")
    with django_assert_max_num_queries(12):
        answer = send(client, "get", path)
    assert answer.status_code == 200
    told = answer.json()
    rows = told if isinstance(told, list) else next(iter(told.values()))
    assert path == "/workers" or len(rows) >= 500
