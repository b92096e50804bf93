"""What several machines share, for tests: a PostgreSQL and a Redis, each on a host of its own, begun as one finds them there."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.examples.homes import ROOT, Home, made_home, until
from tests.examples.hosts import NETWORK, Hosts, Service, refusal
from training.workers import embedded_redis

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parent.parent.name))
#: Long enough for what is done beside other tests.
LONG = 400.0
PASSWORD, HUSH = "sec:ret/%@", "hush"
EPOCHS, BATCH = 200, 32
MANAGE = (sys.executable, "manage.py")


def missing() -> str:
    """Why such a site cannot be made here; empty if it can."""
    if why := refusal():
        return why
    if not SERVERS:
        return "no PostgreSQL server is installed"
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return "PostgreSQL does not run as root, and there is no user 'postgres'"
    return ""


class Database:
    """A PostgreSQL on the host `db`. Its own socket lies in `folder`, where its superuser comes in without a password."""

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        self.hosts, self.folder = hosts, folder
        folder.mkdir()
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        programs = SERVERS[-1].parent
        self._as_postgres(
            programs / "initdb", "--auth-local=trust", "--auth-host=scram-sha-256", "--username=postgres",
            "--encoding=UTF8", "--locale=C", "--no-sync", "data",
        )  # fmt: skip
        with (folder / "data" / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {NETWORK}.0/24 scram-sha-256\n")
        options = {
            "listen_addresses": hosts.address("db"), "unix_socket_directories": folder, "fsync": "off",
            "shared_buffers": "16MB",
        }  # fmt: skip
        hosts.begin(
            "db", str(programs / "postgres"), "-D", "data", *(f"--{name}={value}" for name, value in options.items()),
            user="postgres", cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(self._answers, "an answer of PostgreSQL", LONG)

    def _as_postgres(self, *words: object) -> None:
        done = self.hosts.run("db", *map(str, words), user="postgres", cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr

    def _answers(self) -> bool:
        import psycopg

        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, name: str = "ktrdr") -> Any:
        import psycopg

        return psycopg.connect(host=str(self.folder), user="postgres", dbname=name, autocommit=True)

    def rows(self, query: str, *values: object) -> list[Any]:
        with self.connect() as connection:
            return connection.execute(query, values).fetchall()

    def make(self, password: str) -> None:
        """The role and its database."""
        role = f"CREATE ROLE ktrdr LOGIN PASSWORD '{password}'"
        self._as_postgres("psql", "-h", self.folder, "-U", "postgres", "-c", role, "-c", "CREATE DATABASE ktrdr OWNER ktrdr")


def begin_redis(hosts: Hosts, folder: Path, *settings: str) -> None:
    """On the host `redis`; settings are lines of its configuration."""
    folder.mkdir()
    lines = [
        f"bind {hosts.address('redis')}", "port 6379", f"dir {folder}", f"unixsocket {folder / 'redis.sock'}", 'save ""', *settings,
    ]  # fmt: skip
    (folder / "redis.conf").write_text("\n".join(lines) + "\n")
    hosts.begin("redis", embedded_redis.find_server(), str(folder / "redis.conf"), stdout=subprocess.DEVNULL)
    until((folder / "redis.sock").exists, "Redis")


@dataclass
class Site:
    """Four hosts, one folder that all of them see, and what is read of it beside them."""

    hosts: Hosts
    home: Home
    database: Database
    settings: dict[str, object] = field(default_factory=dict)
    token: str = ""

    def environment(self, **settings: object) -> dict[str, str]:
        """As docs/several-machines.md sets it on each machine."""
        addresses = {
            "DATABASE_URL": f"postgres://ktrdr:{quote(PASSWORD, safe='')}@db.internal:5432/ktrdr",
            "REDIS_URL": f"redis://:{HUSH}@redis.internal:6379/0",
            "KTRDR_SECRET_KEY": "the same on all of them, and longer than it must be",
        }
        return self.home.environment(**{**self.settings, **addresses, **settings})

    def service(self, host: str, *arguments: str, **settings: object) -> Service:
        return Service(self.hosts, host, *arguments, environment=self.environment(**settings))

    def rows(self, query: str, *values: object) -> list[Any]:
        return self.database.rows(query, *values)

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

    def begin_web(self) -> Service:
        """The web server and the interactive worker; from then on there is a token."""
        up = self.service("web", "up", "--cpu", "0", "--gpu", "0")
        until(lambda: "ready: " in up.said or up.process.poll() is not None, "the web server", LONG)
        assert up.process.poll() is None, up.said
        words = (*MANAGE, "tokens", "create", "admin", "hosts", "--scope", "admin")
        made = self.hosts.run("web", *words, cwd=ROOT, env=self.environment())
        self.token = re.search(r"ktrdr_\S+", made.stdout)[0]  # type: ignore[index]
        return up

    def begin_worker(self) -> Service:
        """A cpu worker on its host, from the moment in which it is listed."""
        service = self.service("worker", "worker", "--tag", "cpu")
        until(lambda: service.process.poll() is not None or self.listed("cpu"), "the worker", LONG)
        assert service.process.poll() is None, service.said
        return service


@contextlib.contextmanager
def made_site(settings: dict[str, object]) -> Iterator[Site]:
    """Database and Redis run, the folder has tables and sample bars; web server and worker do not run yet."""
    folder = Path(tempfile.mkdtemp(prefix="ktrdr-hosts-", dir="/tmp"))
    folder.chmod(0o755)
    hosts = Hosts(("db", "redis", "web", "worker"))
    try:
        (folder / "home").mkdir()
        site = Site(hosts, Home(folder / "home"), Database(hosts, folder / "pg"), settings)
        site.database.make(PASSWORD)
        begin_redis(hosts, folder / "redis", f"requirepass {HUSH}", "appendonly yes", "maxmemory-policy noeviction")
        address = f"postgres://ktrdr:{quote(PASSWORD, safe='')}@{quote(str(folder / 'pg'), safe='')}/ktrdr"
        made_home(site.home.folder, DATABASE_URL=address)
        yield site
    finally:
        hosts.close()
        shutil.rmtree(folder, ignore_errors=True)
