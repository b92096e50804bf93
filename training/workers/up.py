"""Everything on one machine, behind `up`: what is set up and collected first, which processes there are, until when they live."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import DatabaseError
from redis.exceptions import RedisError

from training.core.files import naming
from training.core.modes import TooOpen, close_home, closed_sentence
from training.core.processes import dying_with_parent, take_lock
from training.core.values import Refusal
from training.jobs import homes, queues
from training.workers import embedded_redis
from training.workers.devices import CardSearch, visible_to
from training.workers.reaper import Caretaker, bury_dead
from training.workers.supervisor import Child, RollCall, Supervisor, listed_processes, worker_processes

Say = Callable[[str], None]
#: A worker that is not there after so long is not waited for, as long as there is one to train and one to answer.
LATE_SECONDS = 60.0
WELCOME_SECONDS = 0.2
#: So long a socket's handshake may wait for its turn while a crowd comes back.
HANDSHAKE_SECONDS = 60


class CannotStart(Refusal):
    """Something that `up` needs is not there: one sentence."""


@dataclass(frozen=True)
class Plan:
    """What was asked for. `gpu`: None means one worker per graphics card."""

    host: str
    port: int
    cpu: int
    gpu: int | None
    resume_interrupted: bool

    @property
    def address(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"


def run_everything(plan: Plan, say: Say) -> None:
    """Until Ctrl-C or SIGTERM. Raises Refusal with what is in the way."""
    homes.require_before_all()
    with _only_one():
        plan = replace(plan, port=_free_port(plan))
        if not settings.REDIS_EMBEDDED:
            _check_redis()
        _set_up(say)
        supervisor = Supervisor(children(plan), say)
        search = CardSearch(say) if plan.gpu is None else None
        caretaker = Caretaker(say, RollCall(supervisor.children), resume=plan.resume_interrupted)
        welcome = _Welcome(plan, say, supervisor, search)
        threads = [caretaker, welcome, *([search] if search else [])]
        try:
            supervisor.begin()
            for thread in threads:
                thread.start()
            supervisor.run(lambda: _add_found(supervisor, search))
            say("stopping; running trainings are saved")
        finally:
            for thread in threads:
                thread.end()
            began = time.monotonic()
            supervisor.stop()
        _bury_dead(say)
        say(f"stopped in {time.monotonic() - began:.1f} s")


def children(plan: Plan) -> list[Child]:
    """In the order in which they start; without gpu workers where the number of cards is not told."""
    counts = {"cpu": plan.cpu, "gpu": plan.gpu or 0, "quick": 1}
    hosts = ",".join(dict.fromkeys([*settings.ALLOWED_HOSTS, plan.host]))
    proxied = ["--proxy-headers"] if settings.BEHIND_TLS else []
    patience = ["--websocket_connect_timeout", str(HANDSHAKE_SECONDS)]
    options = ["-v", "0", "--no-server-name", *proxied, *patience, "-b", plan.host, "-p", str(plan.port)]
    web = ["daphne", *options, "ktrdr_site.asgi:application"]
    started = ",".join(tag for tag, count in counts.items() if count)
    found = [_module("web", 1, web, {"KTRDR_ALLOWED_HOSTS": hosts, "KTRDR_STARTED_BY_UP": started})]
    for tag, count in counts.items():
        found += _workers(tag, count)
    if settings.REDIS_EMBEDDED:
        folder = settings.HOME_DIR / "redis"
        found.insert(0, Child("redis", 2, lambda: embedded_redis.start(folder, settings.REDIS_SOCKET)))
    return found


def _workers(tag: str, count: int) -> Iterator[Child]:
    for number in range(count):
        card = visible_to(number, count, os.environ) if tag == "gpu" else {}
        yield _module(f"{tag}-{number + 1}" if count > 1 else tag, 0, ["django", "worker", "--tag", tag], card)


def _add_found(supervisor: Supervisor, search: CardSearch | None) -> None:
    """One gpu worker per card, as soon as the cards have answered. From the main thread, with which children end."""
    if search is not None and search.count and not any(child.name.startswith("gpu") for child in supervisor.children):
        for child in _workers("gpu", search.count):
            supervisor.add(child)


def _module(name: str, rank: int, command: list[str], more: dict[str, str]) -> Child:
    """A Python module as a child that ends with us; Ctrl-C reaches it only through us, in our order."""
    # The kernels' folder anew: while the home was not made yet, this process was told another one.
    ours = {"DJANGO_SETTINGS_MODULE": "ktrdr_site.settings", "NUMBA_CACHE_DIR": str(settings.KERNEL_DIR)}
    environment = {**ours, "PYTHONUNBUFFERED": "1", **more}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, "-m", *command],
            cwd=settings.BASE_DIR, env=os.environ | environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=dying_with_parent(),  # noqa: PLW1509 - it only calls prctl, looked up before
        )  # fmt: skip

    return Child(name, rank, start)


@contextmanager
def _only_one() -> Iterator[None]:
    """Two on one home would share their files."""
    sentence = f"`up` already runs on {settings.HOME_DIR}, process {{pid}}: stop it first, or set KTRDR_HOME to another folder"
    lock = take_lock(settings.HOME_DIR / "up.lock", sentence)
    try:
        yield
    finally:
        os.close(lock)


def _free_port(plan: Plan) -> int:
    """The port asked for if it can be listened on; for 0 one that can."""
    family = socket.AF_INET6 if ":" in plan.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((plan.host, plan.port))
            return int(listener.getsockname()[1])
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise CannotStart(
                f"{plan.host} port {plan.port} cannot be listened on ({reason}): choose with --host, --port"
            ) from None


def _check_redis() -> None:
    try:
        queues.queue_of("cpu").connection.ping()
    except RedisError as error:
        raise CannotStart(
            f"the Redis of REDIS_URL does not answer ({error}): start it, or unset REDIS_URL and `up` starts one of its own"
        ) from None


def _set_up(say: Say) -> None:
    """Modes, tables, static files, a first user, and operations that died with the machine."""
    _close_home(say)
    call_command("migrate", interactive=False, verbosity=0)
    homes.require_all()
    collect()
    _first_user(say)
    _bury_dead(say)


def _close_home(say: Say) -> None:
    """All of it: a copy or an older version may have left files open in a folder that is closed."""
    try:
        changed = close_home(settings.HOME_DIR, settings.ELSEWHERE, settings.UMASK, whole=True)
    except TooOpen as error:
        raise CannotStart(str(error)) from None
    if changed:
        say(closed_sentence(settings.HOME_DIR, changed))


def _bury_dead(say: Say) -> None:
    try:
        for operation in bury_dead():
            say(f"{operation} was at work when its process ended; it can be resumed")
    except DatabaseError as error:
        say(f"operations that lost their process could not be looked for ({error}): the next start does")


def _first_user(say: Say) -> None:
    """Somebody must be able to sign in; the password is shown this once."""
    from django.contrib.auth.models import User

    from training.access.roles import ADMIN, give_role

    if User.objects.filter(is_superuser=True, is_active=True).exists():
        return
    taken = set(User.objects.filter(username__startswith="admin").values_list("username", flat=True))
    name = next(n for n in ("admin", *(f"admin{i}" for i in range(2, len(taken) + 3))) if n not in taken)
    password = secrets.token_urlsafe(12)
    give_role(User.objects.create_user(name, password=password), ADMIN)
    say(f"first user: {name}   password: {password}   (shown this once)")


class _Welcome(threading.Thread):
    """Says once that the web server answers, and once that all workers listen."""

    def __init__(self, plan: Plan, say: Say, supervisor: Supervisor, search: CardSearch | None) -> None:
        super().__init__(name="welcome", daemon=True)
        self.plan, self.say, self.supervisor, self.search = plan, say, supervisor, search
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        began, answers, is_late = time.monotonic(), False, False
        while not self._ended.wait(WELCOME_SECONDS):
            if not answers and (answers := self._web_answers()):
                self.say(f"the web site answers at {self.plan.address}; workers are starting")
            if not answers or not (self.search is None or self.search.was_asked.is_set()):
                continue
            missing = self._not_listening()
            if missing is None:
                continue
            if missing and not is_late and time.monotonic() - began > LATE_SECONDS:
                is_late = True
                self.say(f"still starting: {', '.join(missing)}; the first start compiles, which takes a minute or two")
            if missing and not (is_late and self._is_enough(missing)):
                continue
            self.say(f"ready: {self.plan.address}   Ctrl-C stops everything")
            return

    def _is_enough(self, missing: Sequence[str]) -> bool:
        """Whether somebody trains and somebody answers without them."""
        trainers = [child.name for child in self.supervisor.children if child.rank == 0 and child.name != "quick"]
        return "quick" not in missing and (not trainers or any(name not in missing for name in trainers))

    def _web_answers(self) -> bool:
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to ask there, not to listen
        try:
            socket.create_connection((everywhere.get(self.plan.host, self.plan.host), self.plan.port), timeout=0.2).close()
        except OSError:
            return False
        return True

    def _not_listening(self) -> list[str] | None:
        """Names of the workers that are not listed yet; None while Redis cannot be asked, or cards wait for their workers."""
        names = [child.name for child in self.supervisor.children if child.rank == 0]
        if self.search is not None and self.search.count and not any(name.startswith("gpu") for name in names):
            return None
        try:
            listed = listed_processes()
        except queues.NoWorker:
            return None
        listening = {child.name for pid, child in worker_processes(self.supervisor.children).items() if pid in listed}
        return [name for name in names if name not in listening]


#: What the packages hold beside the files that a page asks for.
UNSERVED = ["widgetbundle.js", "datasets", "templates", "htmax*", "htmx-4*", "hx-*", "htmx-2-compat*"]


def collect() -> bool:
    """Collect them, unless nothing changed since the last time, which takes seconds less; whether it did."""
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    present = _digest()
    if stamp.exists() and stamp.read_text(encoding="ascii") == present:
        return False
    # Anew: it would keep a file that is younger than the one that came in its place with an older date.
    call_command("collectstatic", interactive=False, clear=True, verbosity=0, ignore_patterns=UNSERVED)
    with naming(stamp):
        stamp.write_text(present, encoding="ascii")
    return True


def _digest() -> str:
    """Of every file's place, size and time."""
    found = []
    for finder in get_finders():
        for name, storage in finder.list(UNSERVED):
            status = Path(storage.path(name)).stat()
            found.append((getattr(storage, "prefix", "") or "", name, status.st_size, status.st_mtime_ns))
    return hashlib.sha256(json.dumps([settings.STORAGES["staticfiles"], sorted(found)]).encode()).hexdigest()
