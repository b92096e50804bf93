"""The socket of the pages: who may listen, what is told, and what happens to a slow one, a crowd, and an ended session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.sessions import CookieMiddleware
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from ktrdr_site.asgi import application, sockets
from tests.examples import admin_rows
from training.jobs import lifecycle
from training.jobs.broadcast import Publisher
from training.models import EpochMetric, Status
from training.web import live
from training.web.live import NOT_ALLOWED, NOT_SIGNED_IN, NOT_UNDERSTOOD, NOTHING_THERE, Audience, OperationSocket

pytestmark = pytest.mark.django_db(transaction=True)


def socket_of(crowd: Audience, session_key: str | None) -> WebsocketCommunicator:
    """A socket of the browser that holds this session's cookie."""
    cookie = [] if session_key is None else [(b"cookie", f"{settings.SESSION_COOKIE_NAME}={session_key}".encode())]
    return WebsocketCommunicator(CookieMiddleware(OperationSocket.as_asgi(audience=crowd)), "/ws/operations/", headers=cookie)


def session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return str(client.session.session_key)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        await asyncio.wait_for(story(), 30)

    asyncio.run(within())


async def heard(socket: WebsocketCommunicator, kind: str, **wanted: Any) -> dict[str, Any]:
    """The next message of this kind that holds what is wanted."""
    while True:
        message = json.loads(await socket.receive_from(timeout=10))
        if message["type"] == kind and all(message.get(key) == value for key, value in wanted.items()):
            return message


async def closed_with(socket: WebsocketCommunicator) -> int:
    while True:
        message = await socket.receive_output(timeout=10)
        if message["type"] == "websocket.close":
            return int(message["code"])


async def opened(crowd: Audience, key: str, *operation_ids: str) -> WebsocketCommunicator:
    socket = socket_of(crowd, key)
    assert (await socket.connect())[0]
    await socket.send_to(json.dumps({"follow": list(operation_ids)}))
    return socket


def test_a_stranger_is_turned_away_with_a_code_that_the_page_knows() -> None:
    nobody = User.objects.create_user("nobody")
    key = session_of(nobody)

    async def story() -> None:
        for session, code in ((None, NOT_SIGNED_IN), (key, NOT_ALLOWED), ("gone", NOT_SIGNED_IN)):
            socket = socket_of(Audience(), session)
            await socket.connect()
            assert await closed_with(socket) == code
            await socket.disconnect()

    run(story)


@pytest.mark.parametrize(
    "said",
    [
        *(" ", "{", "[]", '{"follow": "x"}', '{"follow": [1]}', json.dumps({"follow": ["x"] * 51}), "[" * 100_000),
        *('{"follow": ["\\ud800"]}', '{"follow": ["a\\u0000b"]}', '{"follow": [""]}', '{"\\udfff": []}', "9" * 5000),
    ],
)
def test_a_message_that_is_not_understood_ends_the_socket(said: str) -> None:
    viewer = admin_rows.person("vera", "viewer")
    key = session_of(viewer)

    async def story() -> None:
        socket = socket_of(Audience(), key)
        await socket.connect()
        await socket.send_to(said)
        assert await closed_with(socket) == NOT_UNDERSTOOD
        await socket.disconnect()

    run(story)


def test_a_socket_at_another_address_is_closed_with_a_code() -> None:
    async def story() -> None:
        socket = WebsocketCommunicator(sockets, "/ws/nowhere/")
        assert (await socket.connect())[0]
        assert await closed_with(socket) == NOTHING_THERE
        await socket.disconnect()

    run(story)


@pytest.mark.parametrize(("path", "origin", "let_in"), [
    ("/ws/operations/", b"https://elsewhere.example", False), ("/ws/nowhere/", b"https://elsewhere.example", False),
    ("/ws/operations/", b"null", False), ("/ws/nowhere/", b"http://localhost", True),
])  # fmt: skip
def test_a_page_of_another_site_gets_no_socket_also_while_redis_is_away(
    path: str, origin: bytes, let_in: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def layer(alias: str) -> None:
        assert alias == "", "it would ask Redis"

    monkeypatch.setattr("channels.consumer.get_channel_layer", layer)

    async def story() -> None:
        socket = WebsocketCommunicator(application, path, headers=[(b"host", b"localhost"), (b"origin", origin)])
        assert (await socket.connect(timeout=10))[0] is let_in
        await socket.disconnect()

    run(story)


def test_a_frame_of_bytes_is_not_understood() -> None:
    viewer = admin_rows.person("vera", "viewer")
    key = session_of(viewer)

    async def story() -> None:
        socket = socket_of(Audience(), key)
        await socket.connect()
        await socket.send_to(bytes_data=b"\xff\xfe")
        assert await closed_with(socket) == NOT_UNDERSTOOD
        await socket.disconnect()

    run(story)


def test_rows_epochs_and_messages_arrive(empty_redis: Any) -> None:
    viewer, operation = admin_rows.person("vera", "viewer"), admin_rows.operation(Status.RUNNING)
    key = session_of(viewer)

    def measure(epoch: int) -> None:
        EpochMetric.objects.create(
            operation=operation, attempt=1, epoch=epoch, train_loss=1.0, val_loss=2.0, metrics={"val_loss": 2.0}
        )

    async def story() -> None:
        socket = await opened(Audience(), key, operation.pk, "op_unknown")
        assert (await heard(socket, "row"))["status"] == "running"
        await database_sync_to_async(measure)(0)
        first = await heard(socket, "epochs")
        await database_sync_to_async(measure)(1)
        second = await heard(socket, "epochs")
        assert (first["after"], second["after"]) == (0, first["epochs"][-1]["id"]), "a page could not see a gap"
        publisher = await asyncio.to_thread(Publisher, operation.pk, 1)
        publisher.stage("load", 0.5, 1.5)
        told = await heard(socket, "progress", stage="load")
        assert told["percent"] == 1.5 and told["attempt"] == 1 and told["seq"] == 1 and told["elapsed"] >= 0
        await asyncio.to_thread(publisher.close, "completed")
        await database_sync_to_async(lifecycle.finish)(operation.pk, 1)
        await heard(socket, "row", status="completed")
        await socket.disconnect()

    run(story)


def test_a_run_is_told_of_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        async def new_channel(self) -> str:
            raise ConnectionError

    monkeypatch.setattr(live, "get_channel_layer", Away)
    viewer, operation = admin_rows.person("vera", "viewer"), admin_rows.operation(Status.RUNNING)
    key = session_of(viewer)

    async def story() -> None:
        socket = await opened(Audience(), key, operation.pk)
        await heard(socket, "row", status="running")
        await database_sync_to_async(lifecycle.beat)(operation.pk, 1, stage="train", percent=33.0)
        await heard(socket, "row", percent=33.0)
        await socket.disconnect()

    run(story)


def test_signing_out_closes_the_sessions_sockets_and_no_others(empty_redis: Any) -> None:
    viewer, operation = admin_rows.person("vera", "viewer"), admin_rows.operation(Status.RUNNING)
    client = Client()
    client.force_login(viewer)
    key, other = str(client.session.session_key), session_of(viewer)

    async def story() -> None:
        crowd = Audience()
        ends, stays = await opened(crowd, key, operation.pk), await opened(crowd, other, operation.pk)
        publisher = await asyncio.to_thread(Publisher, operation.pk, 1)
        publisher.stage("load", 0.0, 0.0)
        await heard(ends, "progress")  # Redis is listened to
        await asyncio.to_thread(client.post, "/sign-out/")
        assert await closed_with(ends) == NOT_SIGNED_IN
        publisher.stage("validate", 0.0, 0.0)
        await heard(stays, "progress", stage="validate")
        await asyncio.to_thread(publisher.close, "running")
        await ends.disconnect()
        await stays.disconnect()

    run(story)


class Counting:
    """A viewer that counts."""

    session = ""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def offer(self, kind: str, operation_id: str, text: str) -> None:
        if kind == "progress":
            self.texts.append(text)

    def end(self) -> None: ...


@pytest.mark.parametrize(("viewers", "most"), [(3, 40), (200, 6)])
def test_a_crowd_gets_two_messages_a_second_and_the_last_one(empty_redis: Any, viewers: int, most: int) -> None:
    operation = admin_rows.operation(Status.RUNNING)

    async def story() -> None:
        crowd, people = Audience(), [Counting() for _ in range(viewers)]
        for viewer in people:
            await crowd.follow(viewer, [operation.pk])
        for seq in range(40):  # one second of a talkative training
            crowd._hear({"type": "operation.message", "operation": operation.pk, "attempt": 1, "seq": seq})
            await asyncio.sleep(0.025)
        await asyncio.sleep(live.CROWD_SECONDS * 1.5)
        assert {len(viewer.texts) for viewer in people} == {len(people[0].texts)} and 2 <= len(people[0].texts) <= most
        assert json.loads(people[0].texts[-1])["seq"] == 39, "the last word was lost"
        assert all(viewer.texts[0] is people[0].texts[0] for viewer in people), "it was encoded more than once"
        for viewer in people:
            await crowd.leave(viewer)
        assert not crowd._tasks

    run(story)


def test_who_comes_while_the_last_viewer_leaves_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watching:
        session = ""

        def offer(self, kind: str, operation_id: str, text: str) -> None: ...

        def end(self) -> None: ...

    async def ends_slowly(self: Audience) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await let_go.wait()  # as an answer of Redis or the database that is waited for

    async def scene() -> None:
        audience, first, second = Audience(), Watching(), Watching()
        await audience.follow(first, ["op"])
        before = list(audience._tasks)
        await asyncio.sleep(0)
        leaving = asyncio.create_task(audience.leave(first))
        await asyncio.sleep(0)
        await audience.follow(second, ["op"])
        let_go.set()
        await leaving
        assert len(audience._tasks) == 3 and not set(before) & set(audience._tasks)
        assert not any(task.done() or task.cancelling() for task in audience._tasks)
        await audience.leave(second)

    let_go = asyncio.Event()
    for name in ("_listen", "_look", "_catch_up"):
        monkeypatch.setattr(Audience, name, ends_slowly)
    asyncio.run(scene())
