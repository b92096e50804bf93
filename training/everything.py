"""Everything on one machine, behind `up`: what is set up first, which processes there are, and until when they live."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError
from redis.exceptions import RedisError

from ktrdr_site import embedded_redis
from training import assets, homes, queues
from training.caretaker import Caretaker, bury_dead
from training.devices import graphics_devices, visible_to
from training.processes import dying_with_parent, take_lock
from training.supervisor import Child, Supervisor
from training.values import Refusal

Say = Callable[[str], None]


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
        cards = len(graphics_devices()) if plan.gpu is None else plan.gpu
        supervisor = Supervisor(children(plan, cards), say)
        caretaker = Caretaker(say, resume=plan.resume_interrupted)
        try:
            supervisor.begin()
            caretaker.start()
            supervisor.run(_Welcome(plan, say))
            say("stopping; running trainings are saved")
        finally:
            caretaker.end()
            began = time.monotonic()
            supervisor.stop()
        _bury_dead(say)
        say(f"stopped in {time.monotonic() - began:.1f} s")


def children(plan: Plan, gpu: int) -> list[Child]:
    """In the order in which they start."""
    environment = {"DJANGO_SETTINGS_MODULE": "ktrdr_site.settings", "PYTHONUNBUFFERED": "1"}
    hosts = ",".join(dict.fromkeys([*settings.ALLOWED_HOSTS, plan.host]))
    proxied = ["--proxy-headers"] if settings.BEHIND_TLS else []
    web = ["daphne", "-v", "0", "-b", plan.host, "-p", str(plan.port), *proxied, "ktrdr_site.asgi:application"]
    found = [_module("web", 1, web, environment | {"KTRDR_ALLOWED_HOSTS": hosts})]
    for tag, count in (("cpu", plan.cpu), ("gpu", gpu), ("quick", 1)):
        for number in range(count):
            card = visible_to(number, count, os.environ) if tag == "gpu" else {}
            name = f"{tag}-{number + 1}" if count > 1 else tag
            found.append(_module(name, 0, ["django", "worker", "--tag", tag], environment | card))
    if settings.REDIS_EMBEDDED:
        folder = settings.HOME_DIR / "redis"
        found.insert(0, Child("redis", 2, lambda: embedded_redis.start(folder, settings.REDIS_SOCKET)))
    return found


def _module(name: str, rank: int, command: list[str], environment: dict[str, str]) -> Child:
    """A Python module as a child that ends with us; Ctrl-C reaches it only through us, in our order."""

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
    """Tables, static files, a first user, and operations that died with the machine."""
    call_command("migrate", interactive=False, verbosity=0)
    homes.require_all()
    assets.collect()
    _first_user(say)
    _bury_dead(say)


def _bury_dead(say: Say) -> None:
    try:
        for operation in bury_dead():
            say(f"{operation} was at work when its process ended; it can be resumed")
    except DatabaseError as error:
        say(f"operations that lost their process could not be looked for ({error}): the next start does")


def _first_user(say: Say) -> None:
    """Somebody must be able to sign in; the password is shown this once."""
    from django.contrib.auth.models import User

    from training.roles import ADMIN, give_role

    if User.objects.filter(is_superuser=True, is_active=True).exists():
        return
    taken = set(User.objects.filter(username__startswith="admin").values_list("username", flat=True))
    name = next(n for n in ("admin", *(f"admin{i}" for i in range(2, len(taken) + 3))) if n not in taken)
    password = secrets.token_urlsafe(12)
    give_role(User.objects.create_user(name, password=password), ADMIN)
    say(f"first user: {name}   password: {password}   (shown this once)")


class _Welcome:
    """Called now and then: says once that the web server answers."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self.plan, self.say, self.said = plan, say, False

    def __call__(self) -> None:
        if self.said:
            return
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to ask there, not to listen
        try:
            socket.create_connection((everywhere.get(self.plan.host, self.plan.host), self.plan.port), timeout=0.2).close()
        except OSError:
            return
        self.said = True
        self.say(f"ready: {self.plan.address}   Ctrl-C stops everything")
