"""A running `up` for tests: a process as a user starts it, what it says, and the processes that belong to it."""

from __future__ import annotations

import re
import signal
import threading
import time

import psutil

from tests.examples.homes import Home, until

SETTINGS = {"CHECKPOINT_EPOCH_INTERVAL": 1000, "HEARTBEAT_SECONDS": 0.5, "ORPHAN_CHECK_INTERVAL_SECONDS": 1}


class Up:
    """A running `up` and what it said."""

    def __init__(
        self, home: Home, *arguments: str, cpu: bool = True, gpu: str | None = "0", ready: bool = True, **settings: object
    ) -> None:
        """ready: wait until all workers listen. gpu: how many of them, None: as many as there are cards."""
        cards = [] if gpu is None else ["--gpu", gpu]
        self.process = home.begin("up", "--port", "0", *cards, *arguments, **{**SETTINGS, **settings})
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if ready:
            self.heard(r"ready: ", 240)  # workers import torch, which takes long on a busy machine
        if cpu and ready:
            self.heard(r"^cpu +worker ")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line

    def heard(self, pattern: str, seconds: float = 120.0) -> re.Match[str]:
        def search() -> re.Match[str] | None:
            assert self.process.poll() is None, self.said
            return re.search(pattern, self.said, re.MULTILINE)

        try:
            return until(search, f"{pattern!r} in what it says", seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.said}") from None

    @property
    def address(self) -> str:
        return self.heard(r"ready: (http://127\.0\.0\.1:\d+/)")[1]

    @property
    def password(self) -> str:
        """The first user's, shown once."""
        return self.heard(r"first user: admin   password: (\S+)")[1]

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def member(self, word: str) -> psutil.Process:
        return until(lambda: next((p for p in self.family() if re.search(word, _command(p))), None), f"a process with {word}")

    def stop(self) -> float:
        """Ctrl-C; gives the seconds that it took."""
        family, asked = self.family(), time.monotonic()
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=30) == 0, self.said
        took = time.monotonic() - asked
        self._reader.join(timeout=10)
        assert not [p for p in family if lives(p)], "it left something running"
        return took


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
