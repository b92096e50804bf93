"""The browser's socket: it names operations, gets what is stored of each, and then whatever changes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user

from training.models import Operation
from training.web.audience import Audience

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
