"""What is promised of several machines holds on hosts that are cut from each other: packets vanish, nobody says no."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
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
from tests.examples.hosts import Hosts, Service, refusal
from training.workers import embedded_redis

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
redis = pytest.importorskip("redis", reason="redis is not installed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif("KTRDR_TEST_HOSTS" not in os.environ, reason="takes many minutes and root: run it by `make hosts`"),
]
PASSWORD, HUSH = "sec:ret/%@", "hush"
EPOCHS, BATCH = 200, 32
#: Long enough for a training beside other tests.
LONG = 400.0
SETTINGS = {
    "DATABASE_AWAY_SECONDS": 3, "DATABASE_BUSY_SECONDS": 2, "HEARTBEAT_SECONDS": 0.5, "ORPHAN_CHECK_INTERVAL_SECONDS": 1,
    "ORPHAN_TIMEOUT_SECONDS": 600, "CHECKPOINT_EPOCH_INTERVAL": 10, "KTRDR_RETRY_SECONDS": 1,
}  # fmt: skip
MANAGE = (sys.executable, "manage.py")
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parent.parent.name))


@dataclass
class Site:
    """Four hosts, one folder that all of them see, and what is read of it beside them."""

    hosts: Hosts
    home: Home
    sockets: Path
    token: str = ""

    def environment(self, **settings: object) -> dict[str, str]:
        """As docs/several-machines.md sets it on each machine."""
        addresses = {
            "DATABASE_URL": f"postgres://ktrdr:{quote(PASSWORD, safe='')}@db.internal:5432/ktrdr",
            "REDIS_URL": f"redis://:{HUSH}@redis.internal:6379/0",
            "KTRDR_SECRET_KEY": "the same on all of them, and longer than it must be",
        }
        return self.home.environment(**{**SETTINGS, **addresses, **settings})

    def service(self, host: str, *arguments: str, **settings: object) -> Service:
        return Service(self.hosts, host, *arguments, environment=self.environment(**settings))

    def connect(self) -> Any:
        return psycopg.connect(host=str(self.sockets), user="postgres", dbname="ktrdr", autocommit=True)

    def rows(self, query: str, *values: object) -> list[Any]:
        with self.connect() as connection:
            return connection.execute(query, values).fetchall()

    def status(self, operation: str) -> str:
        return str(self.rows("SELECT status FROM training_operation WHERE id = %s", operation)[0][0])

    def trained(self, operation: str, attempt: int = 1) -> int:
        """Epochs that the attempt's log tells of."""
        return self.home.log(operation, attempt).count(" epoch ")

    def listed(self, queue: str) -> bool:
        told = self.hosts.ask("web", "GET", "/api/v1/healthz", token=self.token)[1]
        return bool(told.get("workers", {}).get(queue))

    def start(self, name: str, epochs: int = EPOCHS) -> str:
        """A training started over the API of the web host."""
        text = Path(self.home.strategy(name, epochs, BATCH)).read_text()
        status, told = self.hosts.ask("web", "POST", "/api/v1/trainings/start", {"strategy_yaml": text}, self.token)
        assert status == 202, told
        return str(told["operation_id"])

    def becomes(self, operation: str, *wanted: str) -> None:
        seen = until(lambda: (s := self.status(operation)) in (*wanted, "failed", "completed") and s, f"{wanted}", LONG)
        assert seen in wanted, self.rows("SELECT status, error, reason FROM training_operation WHERE id = %s", operation)

    def has_every_epoch_once(self, operation: str, epochs: int = EPOCHS) -> bool:
        query = "SELECT epoch FROM training_epochmetric WHERE operation_id = %s ORDER BY epoch"
        return [row[0] for row in self.rows(query, operation)] == list(range(epochs))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    if why := refusal():
        pytest.skip(why)
    if not SERVERS:
        pytest.skip("no PostgreSQL server is installed")
    try:
        owner = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user 'postgres'")
    folder = Path(tempfile.mkdtemp(prefix="ktrdr-hosts-", dir="/tmp"))
    folder.chmod(0o755)
    hosts = Hosts(("db", "redis", "web", "worker"))
    try:
        site = Site(hosts, Home(folder / "home"), folder / "pg")
        for path in (site.home.folder, site.sockets, folder / "redis"):
            path.mkdir()
        os.chown(site.sockets, owner.pw_uid, owner.pw_gid)
        begin_database(site, SERVERS[-1].parent)
        begin_redis(site, folder / "redis")
        address = f"postgres://ktrdr:{quote(PASSWORD, safe='')}@{quote(str(site.sockets), safe='')}/ktrdr"
        made_home(site.home.folder, DATABASE_URL=address)
        yield site
    finally:
        hosts.close()
        shutil.rmtree(folder, ignore_errors=True)


def begin_database(site: Site, programs: Path) -> None:
    def as_postgres(*words: object) -> subprocess.CompletedProcess[str]:
        done = site.hosts.run("db", *map(str, words), user="postgres", cwd=site.sockets)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    as_postgres(
        programs / "initdb", "--auth-local=trust", "--auth-host=scram-sha-256", "--username=postgres",
        "--encoding=UTF8", "--locale=C", "--no-sync", "data",
    )  # fmt: skip
    with (site.sockets / "data" / "pg_hba.conf").open("a") as file:
        file.write("host all all 10.213.7.0/24 scram-sha-256\n")
    options = {
        "listen_addresses": site.hosts.address("db"), "unix_socket_directories": site.sockets, "fsync": "off",
        "shared_buffers": "16MB",
    }  # fmt: skip
    site.hosts.begin(
        "db", str(programs / "postgres"), "-D", "data", *(f"--{name}={value}" for name, value in options.items()),
        user="postgres", cwd=site.sockets, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def answers() -> bool:
        try:
            psycopg.connect(host=str(site.sockets), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    until(answers, "an answer of PostgreSQL", LONG)
    role = f"CREATE ROLE ktrdr LOGIN PASSWORD '{PASSWORD}'"
    as_postgres("psql", "-h", site.sockets, "-U", "postgres", "-c", role, "-c", "CREATE DATABASE ktrdr OWNER ktrdr")


def begin_redis(site: Site, folder: Path) -> None:
    options = {
        "bind": site.hosts.address("redis"), "port": "6379", "requirepass": HUSH, "dir": folder, "appendonly": "yes",
        "maxmemory-policy": "noeviction", "unixsocket": folder / "redis.sock", "save": "",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    site.hosts.begin("redis", embedded_redis.find_server(), *words, stdout=subprocess.DEVNULL)
    until((folder / "redis.sock").exists, "Redis")


@pytest.fixture(scope="module")
def web(site: Site) -> Service:
    """The web server, a token to it, and the interactive worker."""
    up = site.service("web", "up", "--cpu", "0", "--gpu", "0")
    until(lambda: "ready: " in up.said or up.process.poll() is not None, "the web server", LONG)
    assert up.process.poll() is None, up.said
    made = site.hosts.run(
        "web", *MANAGE, "tokens", "create", "admin", "hosts", "--scope", "admin", cwd=ROOT, env=site.environment()
    )
    site.token = re.search(r"ktrdr_\S+", made.stdout)[0]  # type: ignore[index]
    return up


@pytest.fixture(scope="module")
def weights(site: Site, home: Home) -> bytes:
    """Of the same training undisturbed, in its own process on SQLite."""
    done = home.run("train", home.strategy("hosts", EPOCHS, BATCH), "--inline")
    assert done.returncode == 0, done.stdout + done.stderr
    return home.weights(operation_in(done.stdout))


@pytest.fixture(scope="module")
def worker(site: Site, web: Service) -> Service:
    """A cpu worker on its host, from the moment in which it is listed."""
    service = site.service("worker", "worker", "--tag", "cpu")
    until(lambda: service.process.poll() is not None or site.listed("cpu"), "the worker", LONG)
    assert service.process.poll() is None, service.said
    return service


def test_a_training_started_on_one_host_is_trained_on_another(site: Site, worker: Service, weights: bytes) -> None:
    assert site.hosts.ask("web", "GET", "/api/v1/healthz")[0] == 200
    operation = site.start("hosts")
    site.becomes(operation, "completed")
    assert site.rows("SELECT host, attempt FROM training_operation WHERE id = %s", operation) == [("worker", 1)]
    assert site.has_every_epoch_once(operation)
    assert site.home.weights(operation) == weights


def test_training_goes_on_while_its_host_is_cut_from_the_database(site: Site, worker: Service, weights: bytes) -> None:
    operation = site.start("hosts")
    until(lambda: site.trained(operation) >= 3, "the third epoch", LONG)
    with site.hosts.cut("worker", "db"):
        until(lambda: re.search(rf"{operation}.* could not be", worker.said), "a connection that is given up", LONG)
        seen = site.trained(operation)
        assert seen < EPOCHS - 20, "too few epochs for a cut"
        until(lambda: site.trained(operation) >= seen + 10, "ten epochs more while nothing can be written", LONG)
        written = site.rows("SELECT count(*) FROM training_epochmetric WHERE operation_id = %s", operation)[0][0]
        assert written < seen + 10
    site.becomes(operation, "completed")
    assert site.rows("SELECT attempt FROM training_operation WHERE id = %s", operation) == [(1,)]
    assert site.has_every_epoch_once(operation)
    assert site.home.weights(operation) == weights


def test_a_training_cut_off_for_too_long_is_interrupted_ends_by_itself_and_is_resumed(
    site: Site, worker: Service, weights: bytes
) -> None:
    with watching(site):
        operation = site.start("hosts")
        until(lambda: len(site.home.saved_epochs(operation)) > 0, "a checkpoint", LONG)
        with site.hosts.cut("worker", "db"):
            until(lambda: site.status(operation) == "interrupted", "somebody who misses it", LONG)
        until(lambda: f"{operation} attempt 1: superseded" in worker.said, "the end of what was taken for dead", LONG)
        assert site.status(operation) == "interrupted"
        assert site.hosts.ask("web", "POST", f"/api/v1/operations/{operation}/resume", {}, site.token)[0] == 202
        site.becomes(operation, "completed")
    query = "SELECT DISTINCT epoch FROM training_epochmetric WHERE operation_id = %s ORDER BY epoch"
    assert [row[0] for row in site.rows(query, operation)] == list(range(EPOCHS))
    assert site.home.weights(operation) == weights


#: Looks for lost trainings as every worker does, and misses one sooner.
WATCHER = """
import django; django.setup()
import sys, time
from training.workers.reaper import Reaper
reaper = Reaper()
print("looking", flush=True)
while True:
    for sentence in reaper.look():
        print(sentence, flush=True)
    time.sleep(0.5)
"""


@contextlib.contextmanager
def watching(site: Site) -> Iterator[None]:
    settings = site.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings", ORPHAN_TIMEOUT_SECONDS=5)
    how = {"cwd": ROOT, "env": settings, "stdout": subprocess.PIPE}
    watcher = site.hosts.begin("web", sys.executable, "-c", WATCHER, **how)
    try:
        assert watcher.stdout is not None and watcher.stdout.readline() == "looking\n"
        yield
    finally:
        site.hosts.end(watcher)


def test_a_web_server_that_is_cut_from_the_database_says_so_and_comes_back(site: Site, web: Service) -> None:
    def answered(path: str) -> int:
        return site.hosts.ask("web", "GET", path)[0]

    assert (answered("/api/v1/healthz"), answered("/sign-in/")) == (200, 200)
    with site.hosts.cut("web", "db"):
        assert answered("/api/v1/healthz") == 503
        status, told = site.hosts.ask("web", "GET", "/api/v1/operations", token=site.token)
        assert status == 503, told
    until(lambda: answered("/api/v1/healthz") == 200, "the end of the outage")
    assert site.hosts.ask("web", "GET", "/api/v1/operations", token=site.token)[0] == 200
    assert web.process.poll() is None


def test_a_web_server_that_is_cut_from_redis_says_so_and_comes_back(site: Site, web: Service) -> None:
    with site.hosts.cut("web", "redis"):
        status, told = site.hosts.ask("web", "GET", "/api/v1/healthz", token=site.token)
        assert (status, told["redis_state"]) == (503, "away")
        assert site.hosts.ask("web", "GET", "/api/v1/operations", token=site.token)[0] == 200
    until(lambda: site.hosts.ask("web", "GET", "/api/v1/healthz")[0] == 200, "the end of the outage")


HOLDER = """
import django; django.setup()
from django.db import transaction
from strategies_app.models import Strategy
from training.models import Operation, Status
import sys
with open(sys.argv[1]) as file:
    version = Strategy.objects.import_text(file.read(), "held.yaml")
Operation.objects.create(id="held", strategy_version=version, spec="{}", status=Status.CANCELLED)
with transaction.atomic():
    Operation.objects.select_for_update().get(pk="held")
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_host_that_vanishes_gives_back_what_it_held(site: Site) -> None:
    settings = site.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings")
    holder = site.hosts.begin(
        "worker", sys.executable, "-c", HOLDER, site.home.strategy("held"), cwd=ROOT, env=settings,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"

    def writes() -> bool:
        with site.connect() as connection:
            connection.execute("SET lock_timeout = '200ms'")
            try:
                connection.execute("UPDATE training_operation SET reason = reason WHERE id = 'held'")
            except psycopg.errors.LockNotAvailable:
                return False
        return True

    assert not writes()
    site.hosts.unplug("worker")
    try:
        until(writes, "the row, given back", LONG)
    finally:
        site.hosts.plug("worker")
        holder.kill()


def test_a_worker_that_is_cut_from_redis_is_listed_again_idle_and_after_a_training(
    site: Site, worker: Service, weights: bytes
) -> None:
    with site.hosts.cut("worker", "redis"):
        until(lambda: not site.listed("cpu"), "a worker that nobody has heard of", LONG)
    until(lambda: site.listed("cpu"), "the worker again", LONG)

    operation = site.start("hosts")
    until(lambda: site.trained(operation) >= 3, "the third epoch", LONG)
    with site.hosts.cut("worker", "redis"):
        until(lambda: "Redis does not answer, the training goes on" in worker.said, "a connection that is given up", LONG)
        site.becomes(operation, "completed")
        end = f"{operation} attempt 1: completed"
        until(lambda: "the worker waits" in worker.said.partition(end)[2], "a worker that waits for Redis", LONG)
    assert site.home.weights(operation) == weights
    until(lambda: site.listed("cpu"), "the worker again", LONG)
    following = site.start("after", 2)
    site.becomes(following, "completed")
    assert worker.process.poll() is None, worker.said
