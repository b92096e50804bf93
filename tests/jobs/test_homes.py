"""A folder that is not mounted swallows nothing: who would write there waits, who would judge it refuses, and all say so."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from django.core.management import CommandError, call_command

from strategies_app.models import Strategy
from tests.examples.homes import ROOT, STRATEGY, Home, empty_home, made_home, operation_in, unmounted, until
from tests.examples.ups import Up
from training.access.audit import Actor
from training.bars.series import check_store, load_samples
from training.jobs import checkpoints, deletions, homes, lifecycle
from training.models import BarSeries, Checkpoint, Identity, Operation

EPOCHS, BATCH = 30, 16
SETTINGS = {"CHECKPOINT_EPOCH_INTERVAL": 2}


def begun(home: Home, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    process = home.begin("train", *arguments, "--inline", **SETTINGS)
    assert process.stdout is not None
    return process, next(operation_in(line) for line in process.stdout if "op_training_" in line)


def logged(home: Home, operation: str, words: str, attempt: int = 1) -> None:
    until(lambda: words in home.log(operation, attempt), f"'{words}' in the log", 120)


def epochs(home: Home, operation: str) -> list[int]:
    return home.rows(f"SELECT DISTINCT epoch FROM training_epochmetric WHERE operation_id = '{operation}' ORDER BY epoch")


@pytest.fixture(scope="module")
def undisturbed(home: Home) -> bytes:
    done = home.run("train", home.strategy("mounted", EPOCHS, BATCH), "--inline")
    assert done.returncode == 0, done.stderr
    return home.weights(operation_in(done.stdout))


def test_a_training_goes_on_without_its_folders_and_saves_what_it_owes_when_they_are_back(home: Home, undisturbed: bytes) -> None:
    process, operation = begun(home, home.strategy("unmounted", EPOCHS, BATCH))
    logged(home, operation, "epoch 4:")
    with unmounted(home, "checkpoints"):
        logged(home, operation, "the training goes on and saves once it can: the folder of checkpoints")
        logged(home, operation, "epoch 9:")
    logged(home, operation, " is saved")
    with unmounted(home, "bundles"):
        logged(home, operation, "waits: the folder of bundles")
        assert process.poll() is None and home.value(operation, "status") == "running"
        assert home.saved_epochs(operation), "the checkpoints stay until the model is safe"
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert home.weights(operation) == undisturbed
    assert epochs(home, operation) == list(range(EPOCHS))
    assert not (home.folder / "checkpoints" / operation).exists()


def test_resuming_waits_for_the_checkpoints_and_begins_nothing_anew(home: Home, undisturbed: bytes) -> None:
    process, operation = begun(home, home.strategy("resumed_unmounted", EPOCHS, BATCH))
    logged(home, operation, "epoch 7:")
    process.kill()
    process.communicate()
    with unmounted(home, "checkpoints", "bars"):
        process, _ = begun(home, "--resume", operation)
        logged(home, operation, "waits: the folder of bars", attempt=2)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "continues bit for bit from epoch" in told, told
    assert home.weights(operation) == undisturbed
    assert epochs(home, operation) == list(range(EPOCHS))


def test_a_wait_ends_when_it_is_asked_to(home: Home) -> None:
    process, operation = begun(home, home.strategy("stopped_waiting", 4, BATCH))
    with unmounted(home, "bundles"):
        logged(home, operation, "waits: the folder of bundles")
        process.terminate()
        told, _ = process.communicate(timeout=60)
    assert home.value(operation, "status") == "interrupted", told
    assert sorted(home.saved_epochs(operation)) == [2, 4]


@pytest.mark.parametrize("command", [("worker", "--tag", "cpu"), ("up", "--port", "0"), ("home",)])
def test_what_would_write_there_does_not_start(home: Home, command: tuple[str, ...]) -> None:
    with unmounted(home, "bundles"):
        done = home.run(*command, REDIS_URL="")
        assert done.returncode == 1 and "Traceback" not in done.stderr
        wanted = f"the folder of bundles, {home.folder}/bundles, is not there" if command[0] != "worker" else ""
        assert wanted in done.stderr


@dataclass(frozen=True)
class Apart(Home):
    """A home whose database lies elsewhere, as PostgreSQL does."""

    def environment(self, **settings: object) -> dict[str, str]:
        return super().environment(**{"DATABASE_URL": f"sqlite:///{self.folder.parent / 'apart.sqlite3'}", **settings})

    def python(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=self.environment(**settings), capture_output=True, text=True, timeout=120
        )


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    """It is not mounted: an empty folder lies in its place."""
    home = Apart(tmp_path_factory.mktemp("apart") / "home")
    done = home.run("migrate", "-v0")
    assert done.returncode == 0, done.stderr
    with unmounted(Home(home.folder.parent), "home"):
        yield home
    assert home.run("home").returncode == 0 and (home.folder / "secret_key").exists(), "the key is made where the home is"


@pytest.mark.parametrize(
    "command",
    [
        "check", "migrate", "home", "data", "models list", "operations list", "workers", "tokens list", "strategies list",
        "collectstatic --no-input", "up --port 0", "worker --tag cpu", "load_data AAPL 1d --from nothing.csv", "demo",
        "createsuperuser --no-input --username {name} --email one@example.com",
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["", "of the environment, and longer than it must be"])
def test_no_start_of_a_command_writes_into_the_empty_place_of_a_home(apart: Apart, command: str, key: str) -> None:
    words = command.format(name=f"admin{len(key)}").split()
    done = apart.run(*words, KTRDR_SECRET_KEY=key, DJANGO_SUPERUSER_PASSWORD="of-the-first-user-9")
    assert "Traceback" not in done.stderr and list(apart.folder.iterdir()) == [], done.stderr


@pytest.mark.slow
def test_the_first_up_makes_a_home_whose_database_lies_elsewhere_with_its_key() -> None:
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder:  # short, for the socket
        home = Apart(Path(folder) / "home")
        up = Up(home, "--cpu", "0", cpu=False)
        try:
            cookies = CookieJar()
            browser, page = build_opener(HTTPCookieProcessor(cookies)), f"{up.address}sign-in/"
            browser.open(page, timeout=60).read()
            token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
            told = {"username": "admin", "password": up.password, "csrfmiddlewaretoken": token}
            assert browser.open(page, urlencode(told).encode(), timeout=60).url == up.address, (
                "signed in, by a cookie with a signature"
            )
        finally:
            up.stop()
        assert {".ktrdr-id", "secret_key", "static", "bars"} <= {path.name for path in home.folder.iterdir()}


@pytest.mark.parametrize("key", ["", "of the environment, and longer than it must be"])
def test_without_its_home_the_web_server_does_not_start(apart: Apart, key: str) -> None:
    done = apart.python("-m", "daphne", "-p", "0", "ktrdr_site.asgi:application", KTRDR_SECRET_KEY=key)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"Configuration: the home {apart.folder} is not there or not made yet: mount the folder" in done.stderr
    assert list(apart.folder.iterdir()) == []


def test_what_signs_something_says_that_there_is_no_key(apart: Apart) -> None:
    done = apart.python("-c", "from django.core.signing import dumps; dumps(1)", DJANGO_SETTINGS_MODULE="ktrdr_site.settings")
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .endswith(
            f"KTRDR_SECRET_KEY is not set, and the home {apart.folder} is not there or not made yet: mount the folder, "
            "or make a new home with `manage.py migrate`"
        )
    )
    assert list(apart.folder.iterdir()) == []


def test_kernels_of_a_home_that_is_not_there_are_kept_elsewhere(apart: Apart) -> None:
    show = "from ktrdr_site import settings; import os; print(os.environ['NUMBA_CACHE_DIR'])"
    folders = [apart.python("-c", show, **more).stdout.strip() for more in ({"NUMBA_CACHE_DIR": ""}, {"NUMBA_CACHE_DIR": "/k"})]
    assert folders == ["", "/k"], "empty: numba looks for a place itself"
    made = {"DATABASE_URL": "", "NUMBA_CACHE_DIR": "", "KTRDR_SECRET_KEY": "x" * 40}
    assert apart.python("-c", show, **made).stdout.strip() == str(apart.folder / "numba"), "with its database, it is new"


def test_a_start_that_cannot_ask_the_database_takes_no_lock_in_the_empty_place(apart: Apart) -> None:
    done = apart.run("up", "--port", "0", DATABASE_URL="postgres://u:p@127.0.0.1:1/ktrdr")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert list(apart.folder.iterdir()) == []


def test_an_upgrade_while_the_whole_home_is_away_makes_no_home_of_its_empty_place(tmp_path: Path) -> None:
    home = Apart(tmp_path / "home")
    assert home.run("migrate", "-v0").returncode == 0
    load = "import django; django.setup(); from training.bars.series import load_samples; load_samples('AAPL')"
    assert home.python("-c", load, DJANGO_SETTINGS_MODULE="ktrdr_site.settings").returncode == 0
    assert home.run("migrate", "training", "0008").returncode == 0
    for mark in home.folder.rglob(homes.MARK):
        mark.unlink()
    with unmounted(Home(tmp_path), "home"):
        done = home.run("migrate")
        assert done.returncode == 0 and "is empty, and the database knows of things in it" in done.stderr
    assert home.run("home").returncode == 0


def test_a_home_from_before_folders_had_ids_gets_them_once(tmp_path: Path) -> None:
    home = made_home(tmp_path / "older")
    assert home.run("migrate", "training", "0008").returncode == 0
    for mark in home.folder.rglob(homes.MARK):
        mark.unlink()
    done = home.run("migrate")
    assert done.returncode == 0, done.stderr
    keys = {mark.parent.name: mark.read_text().strip() for mark in home.folder.rglob(homes.MARK)}
    assert set(keys) == {"older", "bars", "checkpoints", "bundles", "logs", "analytics", "uploads"}
    known = dict(home.rows("SELECT name, key FROM training_identity", whole=True))
    assert {known["home" if name == "older" else name]: name for name in keys} == {key: name for name, key in keys.items()}
    assert home.run("home").returncode == 0


def test_an_upgrade_while_the_disk_is_away_takes_no_empty_folder_for_the_store(tmp_path: Path) -> None:
    home = made_home(tmp_path / "older")
    assert home.run("migrate", "training", "0008").returncode == 0
    for mark in home.folder.rglob(homes.MARK):
        mark.unlink()
    with unmounted(home, "bars"):
        done = home.run("migrate")
        assert done.returncode == 0 and "is empty, and the database knows of things in it" in done.stderr
    assert home.run("data", "--check").returncode == 0


def test_two_databases_on_one_folder_know_the_same_id(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "shared")
    other = {"DATABASE_URL": f"sqlite:///{tmp_path / 'other.sqlite3'}"}
    assert home.run("migrate", "-v0", **other).returncode == 0
    assert home.run("home", **other).returncode == 0 and home.run("home").returncode == 0


def test_a_folder_that_was_given_up_is_begun_anew_by_name(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "home")
    (home.folder / "bundles").rename(tmp_path / "given up")
    (home.folder / "bundles").mkdir()
    assert home.run("home").returncode == 1
    wrong = home.run("home", "--adopt", "bundels")
    assert (wrong.returncode, wrong.stderr.strip()) == (2, "CommandError: no folder 'bundels', did you mean bundles?")
    assert "from now on, with a new id" in home.run("home", "--adopt", "bundles").stdout
    assert home.run("home").returncode == 0


# --- in this process ---


@pytest.fixture
def operation(folders: Path) -> Operation:
    version = Strategy.objects.import_text(STRATEGY.format(name="shown", epochs=1, batch_size=32))
    operation = lifecycle.start(version, {})
    lifecycle.claim(operation.pk, 1)
    return operation


def test_checking_the_store_removes_no_row_while_the_store_is_away(folders: Path) -> None:
    load_samples("AAPL", "IBM")
    with unmounted(Home(folders), "bars"), pytest.raises(CommandError, match=r"the folder of bars, .* is not there"):
        call_command("data", "--check")
    assert all(checked.sound for checked in check_store()) and BarSeries.objects.count() == 2
    (folders / "bars" / "IBM_1d.parquet").unlink()
    assert [checked.finding.partition(";")[0] for checked in check_store() if not checked.sound] == [
        "the file is gone and its row was removed"
    ], "in a store that is there, what is gone is gone"


def test_bars_are_not_loaded_into_an_empty_place(folders: Path) -> None:
    with unmounted(Home(folders), "bars"), pytest.raises(homes.Away):
        load_samples("AAPL")
    assert not BarSeries.objects.exists()


def test_nothing_old_is_removed_and_nothing_deleted_while_the_folder_is_away(operation: Operation, folders: Path) -> None:
    row = checkpoints.save(operation.pk, 1, 0, "failure", {"model": b"weights"})
    lifecycle.fail(operation.pk, 1, "broken")
    with unmounted(Home(folders), "checkpoints"):
        assert checkpoints.prune(0) == 0
        with pytest.raises(homes.Away):
            checkpoints.newest(operation)
        with pytest.raises(lifecycle.OperationError, match=r"nothing is deleted: the folder of checkpoints"):
            deletions.delete_operation(operation.pk, Actor())
        with pytest.raises(homes.Away):
            checkpoints.remove_all(operation.pk)
    assert checkpoints.read(row) == {"model": b"weights"}
    assert checkpoints.prune(0) == 1 and not Checkpoint.objects.exists()


def test_a_disk_taken_away_while_a_checkpoint_is_written_is_noticed(
    operation: Operation, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = checkpoints.write_folder

    def write_after(folder: Path, contents: Any) -> str:
        (folders / "checkpoints").rename(folders / "checkpoints.away")
        folder.parent.mkdir(parents=True)
        return really(folder, contents)

    monkeypatch.setattr(checkpoints, "write_folder", write_after)
    with pytest.raises(homes.Away):
        checkpoints.save(operation.pk, 1, 0, "periodic", {"model": b"weights"})
    assert not Checkpoint.objects.exists()


def test_a_model_whose_folder_is_away_is_not_called_damaged(folders: Path, examples: Any) -> None:
    client, address = examples.signed_in("viewer"), f"/api/v1/models/{examples.model.name}/download"
    with unmounted(Home(folders), "bundles"):
        answer = client.get(address)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "folder_away")
    assert client.get(address).status_code == 200
    (folders / "bundles" / examples.model.folder / "weights.safetensors").write_bytes(b"others")
    assert client.get(address).json()["error"]["code"] == "damaged"


def test_health_names_the_folder_to_who_may_look(folders: Path, examples: Any, empty_redis: Any) -> None:
    client = examples.signed_in("viewer")
    with unmounted(Home(folders), "bundles"):
        answer = client.get("/api/v1/healthz")
        assert answer.status_code == 503 and "is not there" in answer.json()["folders"]["bundles"]
    assert set(client.get("/api/v1/healthz").json()["folders"].values()) == {"ok"}


def test_a_folder_that_another_machine_adopted_meanwhile_is_taken(folders: Path) -> None:
    (folders / "bundles" / homes.MARK).write_text("0" * 32)
    assert not homes.is_there("bundles")
    Identity.objects.filter(name="bundles").update(key="0" * 32)
    assert homes.is_there("bundles") and homes.require("bundles") == folders / "bundles"
