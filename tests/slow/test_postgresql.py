"""What is promised for SQLite holds on PostgreSQL: a server of our own on a Unix socket, skipped where none is installed."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.examples.homes import ROOT, Home, made_home, operation_in, until
from training.core.processes import dying_with_parent

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

pytestmark = pytest.mark.timeout(300)  # seven processes, one after the other, beside other tests
EPOCHS, BATCH = 60, 16
#: The files whose tests live on what a database does when several write.
DATABASE_TESTS = (
    "jobs/test_lifecycle", "jobs/test_state_machine", "workers/test_reaper", "jobs/test_checkpoints", "grammar/test_strategy_versions",
)  # fmt: skip


def server_programs() -> Path | None:
    """The folder with initdb and postgres: the one on PATH, else the newest of a distribution's."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


def server_user() -> dict[str, Any]:
    """For subprocess: PostgreSQL refuses to run as root."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}


@dataclass(frozen=True)
class Server:
    """A PostgreSQL that listens on a socket in `folder` only."""

    folder: Path

    def url(self, database: str) -> str:
        return f"postgres://ktrdr@{quote(str(self.folder), safe='')}/{database}"

    def connect(self, database: str) -> Any:
        return psycopg.connect(host=str(self.folder), user="ktrdr", dbname=database, autocommit=True)

    def answers(self) -> bool:
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    programs = server_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed")
    user = server_user()
    folder = Path(tempfile.mkdtemp(prefix="ktrdr-pg-", dir="/tmp"))  # a socket's path must be short
    process = None
    try:
        if user:
            try:
                os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
            except KeyError:
                pytest.skip("PostgreSQL does not run as root, and there is no user 'postgres'")
        initdb = [programs / "initdb", "--auth=trust", "--username=ktrdr", "--encoding=UTF8", "--locale=C", "--no-sync", "data"]
        subprocess.run(initdb, cwd=folder, check=True, capture_output=True, **user)
        options = {"listen_addresses": "", "unix_socket_directories": folder, "fsync": "off", "shared_buffers": "16MB"}
        process = subprocess.Popen(
            [programs / "postgres", "-D", "data", *(f"--{name}={value}" for name, value in options.items())],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user,
            preexec_fn=dying_with_parent(signal.SIGQUIT),  # noqa: PLW1509 - it only calls prctl, looked up before
        )  # fmt: skip
        server = Server(folder)
        until(server.answers, "an answer of PostgreSQL")
        yield server
    finally:
        if process is not None:
            process.send_signal(signal.SIGQUIT)  # at once: nothing in it is wanted any more
            process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def made_database(server: Server, name: str) -> str:
    with server.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url(name)


def test_the_tests_of_the_database_pass_on_postgresql(server: Server) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["KTRDR_TEST_DATABASE_URL"] = made_database(server, "tests")
    files = [f"tests/{name}.py" for name in DATABASE_TESTS]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


def test_a_run_that_loses_its_database_and_is_killed_ends_in_the_weights_of_sqlite(
    server: Server, home: Home, tmp_path: Path
) -> None:
    database = {"DATABASE_URL": made_database(server, "training"), "CHECKPOINT_EPOCH_INTERVAL": 2}
    other = made_home(tmp_path, **database)
    checked = other.run("makemigrations", "--check", "--dry-run", **database)
    assert checked.returncode == 0, checked.stdout + checked.stderr

    epochs = 8 * EPOCHS  # training does not wait for what is written: it must last until that is seen
    process = other.begin("train", other.strategy("postgresql", epochs, BATCH), "--inline", **database)
    try:
        assert process.stdout is not None
        operation = next(operation_in(line) for line in process.stdout if "op_training_" in line)
        with server.connect("training") as connection:

            def column(name: str) -> Any:
                return connection.execute(f"SELECT {name} FROM training_operation WHERE id = %s", [operation]).fetchone()[0]

            until(lambda: (column("epoch") or 0) >= 2, "the third epoch")
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            lost_at = column("epoch")
            # Several epochs on: what was on its way when the connections ended does not count.
            until(lambda: column("epoch") > lost_at + 6 or process.poll() is not None, "a row over a new connection")
            assert process.poll() is None and column("status") == "running", column("error")
            assert list(json.loads(column("spec"))["fuzzy_sets"]["zone"])[-3:] == ["low", "middle", "high"]
    finally:
        process.kill()
        process.communicate()

    resumed = other.run("train", "--resume", operation, "--inline", **database)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "continues bit for bit from epoch" in resumed.stdout
    undisturbed = home.run("train", home.strategy("postgresql", epochs, BATCH), "--inline")
    assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    assert other.weights(operation) == home.weights(operation_in(undisturbed.stdout))


LOCKS = """
import django; django.setup()
from datetime import timedelta
from django.db import DatabaseError, connection
from django.utils import timezone
from strategies_app.models import Strategy
from training.models import Operation, Status
from training.workers.reaper import Reaper
import sys

with open(sys.argv[1]) as file:
    version = Strategy.objects.import_text(file.read(), "held.yaml")
for name in ("held", "free"):
    Operation.objects.create(id=name, strategy_version=version, spec="{}", status=Status.RUNNING, heartbeat=timezone.now())
with connection.cursor() as cursor:
    shown = {}
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        cursor.execute(f"SHOW {name}"); shown[name] = cursor.fetchone()[0]
print("limits", shown, flush=True)
seconds = iter(range(0, 10_000, 100))
reaper = Reaper(clock=lambda: next(seconds))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(6):
    reaper.look()
print("buried", sorted(Operation.objects.filter(status=Status.INTERRUPTED).values_list("pk", flat=True)), flush=True)
try:
    Operation.objects.filter(pk="held").update(reason="mine")
    print("written")
except DatabaseError as error:
    print("refused", type(error).__name__, str(error).splitlines()[0])
"""


def test_a_row_that_somebody_holds_stops_neither_the_reaper_nor_a_writer_for_ever(server: Server, tmp_path: Path) -> None:
    database = {"DATABASE_URL": made_database(server, "locks"), "DATABASE_BUSY_SECONDS": 0.5, "ORPHAN_TIMEOUT_SECONDS": 60}
    other = made_home(tmp_path, **database)
    script = [sys.executable, "-c", LOCKS, other.strategy("held")]
    process = subprocess.Popen(
        script, cwd=ROOT, env=other.environment(**database, DJANGO_SETTINGS_MODULE="ktrdr_site.settings"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdin is not None and process.stdout is not None
        lines = iter(process.stdout.readline, "ready\n")
        assert any("'lock_timeout': '500ms'" in line and "'statement_timeout': '30s'" in line for line in lines)
        with psycopg.connect(host=str(server.folder), user="ktrdr", dbname="locks") as holder:
            holder.execute("SELECT id FROM training_operation WHERE id = 'held' FOR UPDATE")
            out, _ = process.communicate("go\n", timeout=120)
    finally:
        process.kill()
    assert "buried ['free']" in out
    assert "refused OperationalError" in out and "lock timeout" in out


def test_training_goes_on_while_its_database_does_not_answer_and_no_epoch_is_lost(server: Server, tmp_path: Path) -> None:
    """A statement that hangs for as long as it likes: the network that swallows it looks no different from here."""
    database = {
        "DATABASE_URL": made_database(server, "silent"), "CHECKPOINT_EPOCH_INTERVAL": 2,
        "DATABASE_BUSY_SECONDS": 3600, "DATABASE_STATEMENT_SECONDS": 0, "DATABASE_AWAY_SECONDS": 3600,
    }  # fmt: skip
    other = made_home(tmp_path, **database)
    process = other.begin("train", other.strategy("silent", EPOCHS, BATCH), "--inline", **database)
    try:
        assert process.stdout is not None
        operation = next(operation_in(line) for line in process.stdout if "op_training_" in line)
        log = other.folder / "logs" / f"{operation}-1.log"

        def trained() -> int:
            return log.read_text().count(" epoch ") if log.exists() else 0

        until(lambda: trained() >= 3, "the third epoch")
        with server.connect("silent") as holder:
            holder.autocommit = False
            holder.execute("LOCK TABLE training_operation, training_checkpoint, training_epochmetric IN ACCESS EXCLUSIVE MODE")
            seen = trained()
            until(lambda: trained() >= min(seen + 20, EPOCHS), "twenty epochs more while nothing can be written")
            holder.rollback()
        out, _ = process.communicate(timeout=240)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, out
    with server.connect("silent") as connection:
        rows = connection.execute("SELECT epoch FROM training_epochmetric WHERE operation_id = %s ORDER BY epoch", [operation])
        assert [row[0] for row in rows] == list(range(EPOCHS))
        assert connection.execute("SELECT status FROM training_operation").fetchone()[0] == "completed"
