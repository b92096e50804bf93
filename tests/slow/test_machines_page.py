"""docs/several-machines.md is followed to the letter, on hosts that have the account, the folders and the files it speaks of."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.examples.homes import ROOT, STRATEGY, until
from tests.examples.hosts import NAMES_FOLDER, Hosts
from tests.examples.sites import LONG, Database, begin_redis, missing

pytest.importorskip("psycopg", reason="psycopg is not installed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif("KTRDR_TEST_HOSTS" not in os.environ, reason="takes many minutes and root: run it by `make hosts`"),
]
PAGE = (ROOT / "docs" / "several-machines.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Machines that the page speaks of, beside those of the database and of Redis.
MACHINES = ("web", "also", "worker")
KEY = "drawn once, the same on all of them, and longer than it must be"


@dataclass
class Followed:
    """The page's blocks, each of which is to be done."""

    done: set[str] = field(default_factory=set)

    def block(self, heading: str, language: str, having: str = "") -> str:
        part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        (found,) = [text for kind, text in BLOCK.findall(part) if kind == language and having in text]
        self.done.add(found)
        return str(found)


@dataclass
class Machines:
    """The hosts, each with an /etc, a local disk and the shared folder where the page says that they are."""

    hosts: Hosts
    folder: Path
    database: Database
    page: Followed
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    said: dict[str, Path] = field(default_factory=dict)

    def etc(self, host: str) -> Path:
        return self.folder / host / "etc"

    @property
    def shared(self) -> Path:
        return self.folder / "nas"

    def furnish(self, host: str) -> None:
        own = self.folder / host
        (own / "cache").mkdir(parents=True)
        (own / "cache").chmod(0o755)
        shutil.copytree("/etc", own / "etc", symlinks=True, ignore=lambda folder, names: {"netns"} & set(names))
        shutil.copy(NAMES_FOLDER / self.hosts.space(host) / "hosts", own / "etc" / "hosts")
        self.hosts.mounts[host] = [
            f"mount --bind {own}/etc /etc", f"mount --bind {own}/cache /var/cache",
            "mount -t tmpfs none /srv", "mkdir /srv/ktrdr", "mount -t tmpfs none /opt", "mkdir /opt/ktrdr",
            f"mount --bind {ROOT} /opt/ktrdr", f"mount --bind {self.shared} /srv/ktrdr",
            # Of the options of NFS those that a folder of the same disk can have.
            "mount -o remount,bind,noexec,nosuid,nodev /srv/ktrdr",
        ]  # fmt: skip

    # --- as root, as the account, as the service manager ---

    def _environment(self, **more: str) -> dict[str, str]:
        paths = f"/opt/ktrdr/.venv/bin:{os.environ['PATH']}"
        # The command may have been installed from another checkout than this one.
        return {"PATH": paths, "HOME": "/opt/ktrdr", "LANG": "C.UTF-8", "PYTHONPATH": "/opt/ktrdr", **more}

    def as_root(self, host: str, text: str, **more: str) -> str:
        done = self.hosts.run(host, "sh", "-euc", text, env=self._environment(**more), cwd="/")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def try_by_hand(self, host: str, text: str) -> subprocess.CompletedProcess[str]:
        """The account types it, after its settings were read."""
        words = ("sh", "-euc", f". /etc/ktrdr.sh\ncd /var/cache/ktrdr\n{text}")
        return self.hosts.run(host, *words, user="ktrdr", env=self._environment(PGPASSWORD="sec:ret"), cwd="/")

    def by_hand(self, host: str, text: str) -> str:
        done = self.try_by_hand(host, text)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _unit(self, host: str, name: str) -> tuple[dict[str, str], dict[str, str]]:
        """The unit's service and what it puts into the environment, as systemd reads them."""
        template, _, instance = name.partition("@")
        path = self.etc(host) / "systemd" / "system" / (f"{template}@.service" if instance else f"{template}.service")
        unit = configparser.ConfigParser(interpolation=None, strict=True)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(path.read_text().replace("\\\n", " ").replace("%i", instance))
        service = dict(unit["Service"])
        settings = {}
        for line in (self.etc(host) / service["EnvironmentFile"].removeprefix("/etc/")).read_text().splitlines():
            name, _, value = line.partition("=")
            settings[name] = value[1:-1] if value[:1] == value[-1:] == "'" else value
        settings |= dict([service["Environment"].split("=", 1)]) if "Environment" in service else {}
        return service, settings

    def enable(self, host: str, name: str) -> subprocess.Popen[str]:
        """`systemctl enable --now NAME`."""
        service, settings = self._unit(host, name)
        at = f'umask {service["UMask"]} && cd {service["WorkingDirectory"]} && exec "$@"'
        how = {"user": service["User"], "env": self._environment(**settings), "cwd": "/"}
        if "ExecStartPre" in service:
            first = ("sh", "-c", at, "sh", *shlex.split(service["ExecStartPre"]))
            assert service["Restart"] == "always"  # which holds for this too
            until(lambda: self.hosts.run(host, *first, **how).returncode == 0, service["ExecStartPre"], LONG)
        journal = self.folder / host / f"{name}.log"
        with journal.open("a") as file:
            words = ("sh", "-c", at, "sh", *shlex.split(service["ExecStart"]))
            started = self.hosts.begin(host, *words, stdout=file, stderr=subprocess.STDOUT, **how)
        self.running[f"{host} {name}"], self.said[f"{host} {name}"] = started, journal
        return started

    def begin_by_hand(self, host: str, name: str, text: str) -> None:
        """What goes on in the terminal of the account, in place of the unit."""
        words, journal = ("sh", "-euc", f". /etc/ktrdr.sh\ncd /opt/ktrdr\n{text}"), self.folder / host / f"{name}.terminal"
        with journal.open("a") as file:
            how = {"user": "ktrdr", "env": self._environment(), "cwd": "/"}
            self.running[f"{host} {name}"] = self.hosts.begin(host, *words, stdout=file, stderr=subprocess.STDOUT, **how)
        self.said[f"{host} {name}"] = journal

    def stop(self, host: str, name: str) -> None:
        """`systemctl stop NAME`, with KillMode=mixed: SIGTERM to the first process, and then it must be gone in time."""
        service, _ = self._unit(host, name)
        process = self.running.pop(f"{host} {name}")
        process.send_signal(signal.SIGTERM)
        process.wait(float(service["TimeoutStopSec"]))

    def journal(self, host: str, name: str) -> str:
        return self.said[f"{host} {name}"].read_text()

    # --- what is there ---

    def ask(self, host: str, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        more = {"Host": "ktrdr.example", "X-Forwarded-Proto": "https", **more}
        return self.hosts.ask(host, method, path, body, **more)

    def answers(self, host: str) -> bool:
        try:
            return self.ask(host, "GET", "/api/v1/healthz")[0] == 200
        except OSError:
            return False

    def start(self, token: str, epochs: int) -> str:
        body = {"strategy_yaml": STRATEGY.format(name="page", epochs=epochs, batch_size=128)}
        return str(self.queued("/api/v1/trainings/start", body, token)["operation_id"])

    def resume(self, operation: str, token: str) -> None:
        self.queued(f"/api/v1/operations/{operation}/resume", {}, token)

    def queued(self, path: str, body: Any, token: str) -> Any:
        """What is asked for is taken, as soon as the worker that was just started listens."""

        def asked() -> Any:
            status, told = self.ask("also", "POST", path, body, token=token)
            assert status == 202 or told["error"]["code"] == "no_worker", told
            return status == 202 and told

        return until(asked, "a worker", LONG)

    def cancel(self, operation: str, token: str) -> None:
        assert self.ask("also", "POST", f"/api/v1/operations/{operation}/cancel", {}, token=token)[0] in (200, 202)
        self.becomes(operation, "cancelled")

    def status(self, operation: str) -> str:
        return str(self.database.rows("SELECT status FROM training_operation WHERE id = %s", operation)[0][0])

    def becomes(self, operation: str, wanted: str) -> None:
        ends = (wanted, "failed", "completed")
        assert until(lambda: (s := self.status(operation)) in ends and s, wanted, LONG) == wanted, self.journal("worker", CPU)

    def epochs(self, operation: str) -> int:
        return int(self.database.rows("SELECT count(*) FROM training_epochmetric WHERE operation_id = %s", operation)[0][0])

    def bundles(self) -> dict[str, bytes]:
        """Weights by the name of the bundle."""
        return {path.parent.name: path.read_bytes() for path in self.shared.glob("bundles/*/weights.safetensors")}

    def bars(self) -> list[str]:
        return sorted(str(path.relative_to(self.shared)) for path in (self.shared / "bars").rglob("*") if path.is_file())


CPU, QUICK, WEB, ALSO = "ktrdr-worker@cpu", "ktrdr-worker@quick", "ktrdr-web", "ktrdr-web-also"


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """As the page makes them, up to `Start`."""
    if why := missing():
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="ktrdr-page-", dir="/tmp"))
    folder.chmod(0o755)
    hosts, page = Hosts(("db", "redis", *MACHINES)), Followed()
    try:
        made = Machines(hosts, folder, Database(hosts, folder / "pg"), page)
        begin_redis(hosts, folder / "redis", *page.block("Mount", "conf").splitlines())
        made.shared.mkdir()
        sockets = {"PGHOST": str(made.database.folder)}
        made.as_root("db", page.block("Settings", "sh", "CREATE ROLE"), **sockets)
        made.as_root("db", page.block("Mount", "sh", "ALTER ROLE"), **sockets)
        settings = page.block("Settings", "sh", "export").replace("...", KEY)
        for host in MACHINES:
            made.furnish(host)
            made.as_root(host, page.block("Account", "sh"))
            etc = made.etc(host)
            (etc / "ktrdr.sh").write_text(settings)
            os.chown(etc / "ktrdr.sh", 990, 990)
            (etc / "ktrdr.sh").chmod(0o400)
            of_web = "" if host == "worker" else "KTRDR_BEHIND_TLS=on\nKTRDR_ALLOWED_HOSTS=ktrdr.example\n"
            (etc / "ktrdr.env").write_text(settings.replace("export ", "") + of_web)
            (etc / "ktrdr.env").chmod(0o600)
            for unit in ("ktrdr-web.service", "ktrdr-worker@.service"):
                (etc / "systemd" / "system" / unit).write_text(page.block("As services", "ini", f"/{unit}"))
            also = page.block("A second web server", "ini")
            (etc / "systemd" / "system" / f"{ALSO}.service").write_text(also)
        made.as_root("web", "chown ktrdr:ktrdr /srv/ktrdr")
        yield made
    finally:
        hosts.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def token(machines: Machines) -> str:
    """The site runs: two web servers and a worker, and somebody may do all of it."""
    made = machines
    made.by_hand("web", "ktrdr migrate --verbosity 0")
    load = "import django; django.setup(); from training.bars.series import load_samples; load_samples()"
    made.by_hand("web", f"DJANGO_SETTINGS_MODULE=ktrdr_site.settings python -c '{load}'")
    for host in MACHINES:
        told = made.by_hand(host, "ktrdr home")
        assert "/srv/ktrdr" in told
    made.enable("web", WEB)
    until(lambda: made.running[f"web {WEB}"].poll() is not None or made.answers("web"), "the web server", LONG)
    assert made.running[f"web {WEB}"].poll() is None, made.journal("web", WEB)
    made.enable("worker", CPU)
    made.enable("also", ALSO)
    until(lambda: made.answers("also"), "the other web server", LONG)
    said = made.by_hand("web", "ktrdr tokens create admin page --scope admin")
    token = re.search(r"ktrdr_\S+", said)[0]  # type: ignore[index]
    until(lambda: made.ask("web", "GET", "/api/v1/healthz", token=token)[1]["workers"]["cpu"], "the worker", LONG)
    return token


def test_the_units_and_the_mount_are_those_that_their_programs_take(machines: Machines) -> None:
    if shutil.which("systemd-analyze"):
        for unit in (f"{WEB}.service", "ktrdr-worker@cpu.service", f"{ALSO}.service"):
            words = ("systemd-analyze", "verify", "--man=no", f"/etc/systemd/system/{unit}")
            done = machines.hosts.run("web", *words, cwd="/")
            assert (done.returncode, done.stdout + done.stderr) == (0, ""), done.stdout + done.stderr
    table = machines.etc("web") / "fstab"
    table.write_text(machines.page.block("Mount", "fstab"))
    done = machines.hosts.run("web", "findmnt", "--verify", "--verbose", "--tab-file", "/etc/fstab", cwd="/")
    assert "parse error" not in done.stdout.lower().replace("0 parse errors", ""), done.stdout
    assert "target exists" in done.stdout, done.stdout


def test_health_is_seen_as_the_table_says(machines: Machines, token: str) -> None:
    assert machines.ask("also", "GET", "/api/v1/healthz")[0] == 200
    assert machines.ask("also", "GET", "/api/v1/healthz", Host="other.example")[0] == 400
    told = machines.ask("also", "GET", "/api/v1/healthz", token=token)[1]
    assert (told["workers"]["cpu"], told["workers"]["quick"], told["redis_state"]) == (1, 1, "ok"), told
    assert "cpu-worker-" in machines.by_hand("also", "ktrdr workers")
    assert "quick-web-" in machines.by_hand("worker", "ktrdr workers")
    text = machines.ask("also", "GET", "/metrics", token=token)[1]
    assert re.search(r'^ktrdr_workers\{queue="cpu".*\} 1', text, re.MULTILINE), text
    assert "ktrdr_operations{" in text


def test_a_machine_without_the_mount_is_seen_and_starts_nothing(machines: Machines, token: str) -> None:
    empty = machines.folder / "empty"
    empty.mkdir()
    os.chown(empty, 990, 990)
    mounted = list(machines.hosts.mounts["worker"])
    machines.hosts.mounts["worker"] = [line.replace(str(machines.shared), str(empty)) for line in mounted]
    try:
        for command in ("ktrdr home", "ktrdr worker --tag cpu"):
            done = machines.try_by_hand("worker", command)
            assert done.returncode == 1, done.stdout + done.stderr
            assert "Traceback" not in done.stderr
    finally:
        machines.hosts.mounts["worker"] = mounted
    assert list(empty.iterdir()) == []


def test_tls_is_spoken_before_the_web_server(machines: Machines, token: str) -> None:
    server = shutil.which("nginx")
    if server is None:
        machines.page.block("TLS", "nginx")
        pytest.skip("nginx is not installed")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ktrdr.example -addext subjectAltName=DNS:ktrdr.example"
    machines.as_root("web", f"{make} -keyout /etc/ssl/ktrdr.example.key -out /etc/ssl/ktrdr.example.pem 2>&1")
    work = machines.folder / "nginx"
    work.mkdir()
    work.chmod(0o755)
    paths = " ".join(f"{kind}_temp_path {work}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    text = f"daemon off; pid {work}/pid; error_log {work}/error.log; events {{}}\nhttp {{ access_log off; {paths}\n"
    (machines.etc("web") / "page.conf").write_text(text + machines.page.block("TLS", "nginx") + "}\n")
    process = machines.hosts.begin("web", server, "-c", "/etc/page.conf", cwd="/")
    curl = "curl --silent --show-error --cacert /etc/ssl/ktrdr.example.pem --resolve ktrdr.example:443:127.0.0.1"

    def asked(*words: str) -> str:
        return machines.as_root("web", f"{curl} {shlex.join(words)} 2>&1 || true")

    until(lambda: "ok" in asked("https://ktrdr.example/api/v1/healthz"), "an answer by TLS", LONG)
    page = asked("--include", "https://ktrdr.example/sign-in/")
    assert " 200" in page.splitlines()[0]
    assert re.search(r"(?im)^set-cookie: .*; secure", page), page
    handshake = asked(
        "--dump-header", "-", "--output", "/dev/null", "--http1.1", "--max-time", "20", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
        "-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "-H", "Origin: https://ktrdr.example", "https://ktrdr.example/ws/operations/",
    )  # fmt: skip
    assert handshake.startswith("HTTP/1.1 101"), handshake
    file = machines.folder / "web" / "cache" / "large.csv"
    file.write_bytes(b"0" * 3_000_000)  # more than nginx takes by default
    form = ("-F", "f=@/var/cache/large.csv", "https://ktrdr.example/data/upload/")
    status = asked("--output", "/dev/null", "--write-out", "%{http_code}", *form)
    # From the site again.
    assert status == "403", (status, (work / "error.log").read_text(), machines.journal("web", WEB)[-3000:])
    machines.hosts.end(process, signal.SIGQUIT)


def test_a_second_web_server_goes_on_while_the_first_machine_is_away(machines: Machines, token: str) -> None:
    operation = machines.start(token, 40)
    until(lambda: machines.epochs(operation) > 0, "an epoch", LONG)
    machines.hosts.unplug("web")
    try:
        assert machines.ask("also", "GET", f"/api/v1/operations/{operation}", token=token)[0] == 200
        machines.becomes(operation, "completed")
    finally:
        machines.hosts.plug("web")
    until(lambda: machines.answers("web"), "the first web server", LONG)
    shown = [machines.ask(host, "GET", "/api/v1/models", token=token)[1] for host in ("web", "also")]
    assert shown[0] == shown[1]


def test_a_training_of_a_unit_that_is_stopped_is_saved_and_goes_on_once_it_is_started_again(
    machines: Machines, token: str
) -> None:
    operation = machines.start(token, 3000)
    until(lambda: machines.epochs(operation) > 0, "an epoch", LONG)
    machines.stop("worker", CPU)
    machines.becomes(operation, "interrupted")
    machines.enable("worker", CPU)
    machines.resume(operation, token)
    seen = machines.epochs(operation)
    until(lambda: machines.epochs(operation) > seen, "the epochs after", LONG)
    machines.cancel(operation, token)


def test_an_upgrade_interrupts_and_goes_on(machines: Machines, token: str) -> None:
    operation = machines.start(token, 3000)
    until(lambda: machines.epochs(operation) > 0, "an epoch", LONG)
    machines.stop("worker", CPU)
    machines.stop("web", WEB)
    machines.stop("also", ALSO)
    machines.by_hand("web", "ktrdr migrate --verbosity 0")
    machines.by_hand("web", "ktrdr migrate --check")
    for host in MACHINES:
        machines.by_hand(host, "ktrdr home")
    listed = machines.by_hand("worker", "ktrdr operations list --status interrupted")
    assert operation[-8:] in listed, listed
    seen = machines.epochs(operation)
    machines.begin_by_hand("web", WEB, f"exec env {machines.page.block('TLS', 'sh').strip()} --resume-interrupted")
    machines.enable("also", ALSO)
    machines.enable("worker", CPU)
    until(lambda: machines.answers("web") and machines.answers("also"), "the web servers", LONG)
    until(lambda: machines.epochs(operation) > seen, "the epochs after", LONG)
    machines.cancel(operation, token)


def test_what_is_lost_comes_back_from_a_backup(machines: Machines, token: str) -> None:
    operation = machines.start(token, 3000)
    until(lambda: machines.epochs(operation) > 0, "an epoch", LONG)
    machines.stop("worker", CPU)
    save = machines.page.block("Backup", "sh", "pg_dump")
    machines.by_hand("web", save)
    bundles, bars = machines.bundles(), machines.bars()
    assert bundles
    machines.stop("web", WEB)
    machines.enable("also", QUICK)
    body = {"strategy_yaml": STRATEGY.format(name="asked", epochs=1, batch_size=128)}
    asked = lambda: machines.ask("also", "POST", "/api/v1/trainings/plan", body, token=token)  # noqa: E731
    assert until(lambda: (a := asked())[0] == 200 and a[1], "a plan without the first machine", LONG)["features"]
    machines.stop("also", QUICK)
    machines.stop("also", ALSO)

    machines.as_root("web", "find /srv/ktrdr -mindepth 1 -delete")
    with machines.database.connect("postgres") as connection:
        connection.execute("DROP DATABASE ktrdr WITH (FORCE)")
    flush_redis(machines)
    create, restore = machines.page.block("Backup", "sh", "pg_restore").split("\n", 1)
    machines.as_root("db", create, PGHOST=str(machines.database.folder))
    told = machines.by_hand("web", restore)
    assert "/srv/ktrdr" in told
    assert (machines.bundles(), machines.bars()) == (bundles, bars)

    shutil.rmtree(machines.shared / "analytics")  # one that was not kept
    assert "analytics" in machines.try_by_hand("web", "ktrdr home").stderr
    machines.by_hand("web", "ktrdr home --adopt analytics")
    machines.by_hand("web", "ktrdr home")
    for host, unit in (("web", WEB), ("also", ALSO), ("worker", CPU)):
        machines.enable(host, unit)
    until(lambda: machines.answers("web") and machines.answers("also"), "the web servers", LONG)
    assert machines.ask("also", "GET", f"/api/v1/operations/{operation}", token=token)[1]["status"] == "interrupted"
    machines.resume(operation, token)
    seen = machines.epochs(operation)
    until(lambda: machines.epochs(operation) > seen, "the epochs after", LONG)
    (certificate,) = machines.database.rows("SELECT certificate FROM training_operation WHERE id = %s", operation)[0]
    assert certificate.startswith("continues bit for bit"), certificate


def flush_redis(machines: Machines) -> None:
    import redis

    redis.Redis(unix_socket_path=str(machines.folder / "redis" / "redis.sock"), password="hush").flushall()


def test_every_block_of_the_page_was_done(machines: Machines) -> None:
    """Last, so that a block that is added is followed too."""
    left = [text for _, text in BLOCK.findall(PAGE) if text not in machines.page.done]
    assert not left, json.dumps(left, indent=1)
