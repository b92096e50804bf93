"""Hosts for tests: network namespaces on one bridge, each with a name of its own; a cut between two swallows what they send."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.examples.homes import ROOT

#: Where `ip netns exec` finds a host's own /etc/hosts.
NAMES_FOLDER = Path("/etc/netns")
NETWORK = "10.213.7"
#: Nobody's address: what is sent to it is carried to the switch and vanishes.
NOWHERE = "02:00:00:00:00:ff"
#: Another account than root's may read everything where this Python lies in a folder that is closed to others.
READS_ALL = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
IS_CLOSED = any(not folder.stat().st_mode & 0o001 for folder in Path(sys.executable).resolve().parents)


def refusal() -> str:
    """Why hosts cannot be made here; empty if they can."""
    if os.name != "posix" or os.getuid() != 0:
        return "hosts are made of network namespaces, for which these tests must run as root"
    if missing := [name for name in ("ip", "unshare", "setpriv") if shutil.which(name) is None]:
        return f"hosts are made of network namespaces, for which {missing[0]} is not installed"
    probe = f"ktp{os.getpid()}"
    try:
        tried = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
        if tried.returncode != 0:
            return f"no network namespace can be made here: {tried.stderr.strip()}"
        inside = subprocess.run(
            ["ip", "netns", "exec", probe, "unshare", "-u", "true"], capture_output=True, text=True, check=False
        )
        return "" if inside.returncode == 0 else f"no process can be started in a network namespace: {inside.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Hosts:
    """So many hosts that reach each other as `NAME.internal`; `close` ends what runs in them and takes all of it away."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.prefix = f"kt{os.getpid()}"
        self.numbers = {name: number for number, name in enumerate(names, 1)}
        self.processes: list[subprocess.Popen[str]] = []
        #: Host → shell commands by which each process on it finds its own disks mounted, before it begins.
        self.mounts: dict[str, list[str]] = {}
        self._made: list[str] = []
        try:
            self._make_space("switch")
            _ip("-n", self.space("switch"), "link", "add", "bridge", "type", "bridge")
            _ip("-n", self.space("switch"), "link", "set", "bridge", "up")
            for name in names:
                self._make_host(name)
            for name in names:
                for other in names:
                    if other != name:
                        self._say_where(name, other, self._hardware(other))
        except BaseException:
            self.close()
            raise

    def space(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def _make_space(self, name: str) -> None:
        _ip("netns", "add", self.space(name))
        self._made.append(name)
        _ip("-n", self.space(name), "link", "set", "lo", "up")

    def _make_host(self, name: str) -> None:
        self._make_space(name)
        space, switch = self.space(name), self.space("switch")
        _ip("-n", switch, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("-n", switch, "link", "set", name, "master", "bridge", "up")
        _ip("-n", space, "link", "set", "eth0", "address", self._hardware(name))
        _ip("-n", space, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        known = NAMES_FOLDER / space
        known.mkdir(parents=True)
        lines = [f"{self.address(other)} {other}.internal {other}" for other in self.numbers]
        (known / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines]) + "\n")

    def address(self, name: str) -> str:
        return f"{NETWORK}.{self.numbers[name]}"

    def _hardware(self, name: str) -> str:
        return f"02:00:00:00:00:{self.numbers[name]:02x}"

    def _say_where(self, name: str, other: str, hardware: str) -> None:
        space = self.space(name)
        _ip("-n", space, "neigh", "replace", self.address(other), "lladdr", hardware, "dev", "eth0", "nud", "permanent")

    # --- what runs in them ---

    def command(self, host: str, *words: str, user: str = "") -> list[str]:
        """The words as a command on the host."""
        as_user = (
            ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *(READS_ALL if IS_CLOSED else ())] if user else []
        )
        begins = " && ".join(['hostname "$0"', *self.mounts.get(host, []), 'exec "$@"'])
        inside = ["unshare", "-u", "sh", "-c", begins, host, *as_user, *words]
        return ["ip", "netns", "exec", self.space(host), *inside]

    def begin(self, host: str, *words: str, user: str = "", **more: Any) -> subprocess.Popen[str]:
        """A process on the host, which ends with the hosts at the latest."""
        process = subprocess.Popen(self.command(host, *words, user=user), text=True, **more)
        self.processes.append(process)
        return process

    def run(self, host: str, *words: str, user: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(host, *words, user=user), capture_output=True, text=True, timeout=300, check=False, **more
        )

    def ask(
        self, host: str, method: str, path: str, body: Any = None, token: str = "", seconds: float = 180.0, **more: str
    ) -> tuple[int, Any]:
        """Status and JSON (or text) that the web server of the host answers to one who is on it. more: headers."""

        def inside() -> tuple[int, Any]:
            with (Path("/run/netns") / self.space(host)).open() as space:
                if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), 0) != 0:
                    raise OSError(ctypes.get_errno(), "no way into the network namespace")
            web = http.client.HTTPConnection("127.0.0.1", 8000, timeout=seconds)
            headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {}) | more
            try:
                web.request(method, path, None if body is None else json.dumps(body), headers)
                answer = web.getresponse()
                text = answer.read().decode()
            finally:
                web.close()
            is_json = "json" in (answer.getheader("Content-Type") or "")
            return answer.status, json.loads(text) if is_json else text

        with ThreadPoolExecutor(1) as pool:  # a thread of its own, since it stays where it went
            return pool.submit(inside).result()

    # --- cuts ---

    @contextlib.contextmanager
    def cut(self, one: str, other: str) -> Iterator[None]:
        """Inside, what these two send each other vanishes without an answer."""
        self._say_where(one, other, NOWHERE)
        self._say_where(other, one, NOWHERE)
        try:
            yield
        finally:
            self._say_where(one, other, self._hardware(other))
            self._say_where(other, one, self._hardware(one))

    def unplug(self, name: str) -> None:
        """The host is gone for all others, and hears of nothing."""
        _ip("-n", self.space("switch"), "link", "set", name, "down")

    def plug(self, name: str) -> None:
        _ip("-n", self.space("switch"), "link", "set", name, "up")

    # --- the end ---

    def end(self, process: subprocess.Popen[str], number: int = signal.SIGTERM, seconds: float = 60) -> None:
        process.send_signal(number)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                self.end(process)
        for name in self._made:
            space = self.space(name)
            left = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False).stdout.split()
            for pid in map(int, left):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
            shutil.rmtree(NAMES_FOLDER / space, ignore_errors=True)
        with contextlib.suppress(OSError):
            NAMES_FOLDER.rmdir()
        self._made = []


class Service:
    """A command of ours on a host, and what it said."""

    def __init__(self, hosts: Hosts, host: str, *arguments: str, environment: dict[str, str]) -> None:
        self.process = hosts.begin(
            host, sys.executable, "-u", "manage.py", *arguments,
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
