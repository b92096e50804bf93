"""The browser's socket: it names operations, gets what is stored of each, then whatever changes, with everybody who watches."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import re
import time
from collections.abc import Iterable
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Protocol

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth import get_user
from django.db import DatabaseError
from redis.exceptions import RedisError

from training.jobs.broadcast import SESSIONS_GROUP, group_of
from training.models import LIVE, EpochMetric, Operation

PERMISSION = "training.view_operation"
#: A page shows no more at once.
MOST_FOLLOWED = 50
#: So often the right to look is asked for again, and something is sent even if nothing moves.
RIGHTS_SECONDS, ALIVE_SECONDS = 60, 5
#: What an id may look like; no database is asked for anything else.
ID = re.compile("[A-Za-z0-9_.-]{1,64}")
#: Close codes, by which the page knows whether to come back.
NOT_SIGNED_IN, NOT_ALLOWED, NOT_UNDERSTOOD, NOTHING_THERE = 4401, 4403, 4400, 4404


def session_mark(session_key: str | None) -> str:
    """A session as messages name it: its key is a secret."""
    return hashlib.sha256((session_key or "").encode()).hexdigest()[:32]


class OperationSocket(AsyncWebsocketConsumer):
    """`{"follow": [ids]}` comes in once; `progress`, `row`, `epochs` and `alive` go out, the latest of each."""

    channel_layer_alias = ""  # the audience listens for all

    def __init__(self, audience: Audience) -> None:
        super().__init__()
        self.audience = audience
        self.key = self.session = ""
        self._waiting: dict[tuple[str, str], str] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        self.key = self.scope["cookies"].get(settings.SESSION_COOKIE_NAME) or ""
        self.session = session_mark(self.key)
        # At once, whoever it is: a refused handshake tells the page nothing, a close code does; and a crowd that comes back
        # after a restart would be cut off while each of its handshakes waits for the database.
        await self.accept()
        if refusal := await self._refusal():
            await self.close(code=refusal)
            return
        self._tasks = [asyncio.create_task(self._send_waiting()), asyncio.create_task(self._stay_allowed())]

    async def disconnect(self, code: int) -> None:
        for task in self._tasks:
            task.cancel()
        await self.audience.leave(self)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        wanted = _ids_in(text_data)
        if wanted is None or not self._tasks:
            await self.close(code=NOT_UNDERSTOOD)
            return
        known = await database_sync_to_async(_known)(wanted)
        await self.audience.follow(self, known)

    # --- the audience's side ---

    def offer(self, kind: str, operation_id: str, text: str) -> None:
        self._waiting[kind, operation_id] = text
        self._wake.set()

    def end(self) -> None:
        self._tasks.append(asyncio.create_task(self.close(code=NOT_SIGNED_IN)))

    # --- its own ---

    async def _send_waiting(self) -> None:
        """Whatever is the latest of its kind; a slow browser gets fewer, never a queue."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), ALIVE_SECONDS)
            except TimeoutError:
                await self.send(text_data='{"type": "alive"}')
                continue
            self._wake.clear()
            waiting, self._waiting = self._waiting, {}
            for text in waiting.values():
                await self.send(text_data=text)

    async def _stay_allowed(self) -> None:
        while True:
            await asyncio.sleep(RIGHTS_SECONDS)
            if refusal := await self._refusal():
                await self.close(code=refusal)
                return

    async def _refusal(self) -> int:
        """The close code for one who may not look, else 0; asked of the database each time."""
        return await database_sync_to_async(_refusal_of)(self.key) if self.key else NOT_SIGNED_IN


class NoSocket(AsyncWebsocketConsumer):
    """Any other address."""

    channel_layer_alias = ""

    async def connect(self) -> None:
        await self.accept()
        await self.close(code=NOTHING_THERE)


def _refusal_of(session_key: str) -> int:
    sessions = import_module(settings.SESSION_ENGINE)
    user = get_user(SimpleNamespace(session=sessions.SessionStore(session_key)))  # type: ignore[arg-type]
    if not user.is_authenticated:
        return NOT_SIGNED_IN
    return 0 if user.has_perm(PERMISSION) else NOT_ALLOWED


def _ids_in(text: str | None) -> list[str] | None:
    """The operations that a message names; None if it is not understood."""
    try:
        wanted: Any = json.loads(text or "")["follow"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    fits = (
        isinstance(wanted, list) and len(wanted) <= MOST_FOLLOWED and all(isinstance(x, str) and ID.fullmatch(x) for x in wanted)
    )
    return wanted if fits else None


def _known(wanted: list[str]) -> list[str]:
    return list(Operation.objects.filter(pk__in=wanted).values_list("pk", flat=True))


log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
#: The web server ends a socket by force that takes 10 s to close.
CLOSE_SECONDS = 3.0
#: Beyond so many viewers of one operation each gets two messages a second.
CROWD, CROWD_SECONDS = 20, 0.5
#: Epochs that one message carries at most; whoever needs more asks the API.
EPOCHS_AT_ONCE = 500
ROW = ("pk", "status", "attempt", "stage", "percent", "epoch", "error", "reason", "certificate", "notes", "device")


class Viewer(Protocol):
    """A socket's side: both must return at once."""

    session: str

    def offer(self, kind: str, operation_id: str, text: str) -> None: ...

    def end(self) -> None: ...


class Audience:
    """`follow` and `leave` for viewers; the rest runs by itself while anyone looks."""

    def __init__(self) -> None:
        self._viewers: dict[str, set[Viewer]] = {}
        self._everyone: set[Viewer] = set()
        self._channel: str | None = None
        self._joined: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._sent: dict[str, float] = {}
        self._late: dict[str, str] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self._told: dict[str, int] = {}

    async def follow(self, viewer: Viewer, operation_ids: Iterable[str]) -> None:
        self._everyone.add(viewer)
        for operation_id in operation_ids:
            self._viewers.setdefault(operation_id, set()).add(viewer)
            # Everyone hears of the row anew: a viewer who came late has missed it.
            self._rows.pop(operation_id, None)
        if not self._tasks:
            self._tasks = [asyncio.create_task(work()) for work in (self._listen, self._look, self._catch_up)]

    async def leave(self, viewer: Viewer) -> None:
        self._everyone.discard(viewer)
        for operation_id in [known for known, viewers in self._viewers.items() if viewer in viewers]:
            self._viewers[operation_id].discard(viewer)
            if not self._viewers[operation_id]:
                await self._forget(operation_id)
        if not self._everyone:
            # Forgotten before they are waited for: who comes meanwhile begins anew, and is not left to tasks that end.
            tasks, self._tasks, self._channel, self._joined = self._tasks, [], None, set()
            for task in tasks:
                task.cancel()
            # One of them may be in a thread that waits for a busy database; the socket is closed all the same.
            if tasks:
                await asyncio.wait(tasks, timeout=CLOSE_SECONDS)

    async def _forget(self, operation_id: str) -> None:
        for kept in (self._viewers, self._sent, self._late, self._rows, self._told):
            kept.pop(operation_id, None)  # type: ignore[attr-defined]
        if operation_id in self._joined and self._channel is not None:
            self._joined.discard(operation_id)
            with contextlib.suppress(RedisError, OSError):
                await get_channel_layer().group_discard(group_of(operation_id), self._channel)

    # --- what a training publishes ---

    async def _listen(self) -> None:
        while True:
            try:
                layer = get_channel_layer()
                if self._channel is None:
                    channel = await layer.new_channel()
                    await layer.group_add(SESSIONS_GROUP, channel)
                    self._channel, self._joined = channel, set()
                await self._join()
                self._hear(await layer.receive(self._channel))
            except (RedisError, OSError) as error:
                log.info("Redis cannot be heard for now: %s", error)
                self._channel = None
                await asyncio.sleep(LOOK_SECONDS)

    async def _join(self) -> None:
        """Listen to every followed operation; one whose turn Redis missed is joined by a later look."""
        if self._channel is None:
            return
        for operation_id in set(self._viewers) - self._joined:
            await get_channel_layer().group_add(group_of(operation_id), self._channel)
            self._joined.add(operation_id)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "session.ended":
            for viewer in [viewer for viewer in self._everyone if viewer.session == message["session"]]:
                viewer.end()
            return
        operation_id = message.pop("operation")
        text = json.dumps({**message, "type": "progress", "operation": operation_id}, allow_nan=False, default=str)
        crowd = len(self._viewers.get(operation_id, ())) > CROWD
        if crowd and time.monotonic() - self._sent.get(operation_id, 0.0) < CROWD_SECONDS:
            self._late[operation_id] = text
            return
        self._late.pop(operation_id, None)
        self._tell("progress", operation_id, text)

    def _tell(self, kind: str, operation_id: str, text: str) -> None:
        if kind == "progress":
            self._sent[operation_id] = time.monotonic()
        for viewer in self._viewers.get(operation_id, ()):
            viewer.offer(kind, operation_id, text)

    async def _catch_up(self) -> None:
        """What a crowd was spared is told when its half second is over."""
        while True:
            await asyncio.sleep(CROWD_SECONDS)
            for operation_id in list(self._late):
                self._tell("progress", operation_id, self._late.pop(operation_id))

    # --- what the database says ---

    async def _look(self) -> None:
        while True:
            try:
                await self._tell_rows()
                with contextlib.suppress(RedisError, OSError):
                    await self._join()
            except DatabaseError as error:
                log.warning("operations cannot be looked at for now: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell_rows(self) -> None:
        rows, news = await database_sync_to_async(_stored)(list(self._viewers), dict(self._told), set(self._rows))
        for row in rows:
            operation_id = row.pop("pk")
            if operation_id in self._viewers and self._rows.get(operation_id) != row:
                self._rows[operation_id] = row
                self._tell("row", operation_id, json.dumps({"type": "row", "operation": operation_id, **row}))
        for operation_id, (after, epochs) in news.items():
            self._told[operation_id] = epochs[-1]["id"] if epochs else after
            if epochs:
                message = {"type": "epochs", "operation": operation_id, "after": after, "epochs": epochs}
                self._tell("epochs", operation_id, json.dumps(message))


Epochs = list[dict[str, Any]]


def _stored(
    followed: list[str], told: dict[str, int], seen: set[str]
) -> tuple[list[dict[str, Any]], dict[str, tuple[int, Epochs]]]:
    """Rows of the followed operations, and per operation the epochs stored since the last one told."""
    rows = list(Operation.objects.filter(pk__in=followed).values(*ROW))
    news: dict[str, tuple[int, Epochs]] = {}
    for operation_id in [row["pk"] for row in rows if row["status"] in LIVE or row["pk"] not in seen]:
        stored = EpochMetric.objects.filter(operation_id=operation_id)
        after = told.get(operation_id)
        if after is None:  # a page comes with what was stored before; only what follows is told
            after = stored.order_by("-pk").values_list("pk", flat=True).first() or 0
        fresh = stored.filter(pk__gt=after).order_by("pk")[:EPOCHS_AT_ONCE]
        news[operation_id] = (after, list(fresh.values("id", "attempt", "epoch", "metrics")))
    return rows, news
