"""A crowd of pages that comes back at once after a restart, on a machine whose database is slow: every one gets in."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.examples.homes import ROOT, Home, made_home
from tests.examples.ups import Up

CROWD = 200
#: In the web server each statement takes so long: two hundred askings for who it is take longer than five seconds.
SLOW = """
import sqlite3, sys, time
if "daphne" in sys.orig_argv:
    class Slow(sqlite3.Cursor):
        def execute(self, *arguments):
            time.sleep(0.02)
            return super().execute(*arguments)
    sqlite3.dbapi2.Cursor = Slow
"""
SESSION = """
import django; django.setup()
from django.contrib.auth.models import User
from django.test import Client
client = Client()
client.force_login(User.objects.get())
print(client.session.session_key)
"""
TEXT, CLOSE = 0x81, 0x88


@pytest.fixture
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder:
        yield made_home(Path(folder))


async def handshake(host: str, port: int, key: str) -> str:
    """What came of one socket: `in` once the first message is there."""
    reader, writer = await asyncio.open_connection(host, port)
    lines = (
        "GET /ws/operations/ HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", f"Origin: http://{host}:{port}",
        f"Cookie: sessionid={key}", "", "",
    )  # fmt: skip
    writer.write("\r\n".join(lines).encode())
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b" ", 2)[1].decode()
        if status != "101":
            return status
        first = await reader.readexactly(1)
        return "in" if first[0] == TEXT else f"turned away ({first[0]:#x})"
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        return type(error).__name__
    finally:
        writer.close()


def test_two_hundred_sockets_at_once_are_all_let_in(home: Home) -> None:
    (home.folder / "sitecustomize.py").write_text(SLOW)
    up = Up(home, "--cpu", "0", PYTHONPATH=home.folder, cpu=False)
    try:
        environment = home.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings")
        done = subprocess.run(
            [sys.executable, "-c", SESSION], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        address = urlsplit(up.address)

        async def crowd() -> list[str]:
            return await asyncio.gather(*(handshake("127.0.0.1", address.port or 0, done.stdout.strip()) for _ in range(CROWD)))

        assert Counter(asyncio.run(asyncio.wait_for(crowd(), 120))) == {"in": CROWD}
    finally:
        up.stop()
