"""Devices of this machine: graphics cards, asked in a short process of its own, since a parent that forks must not touch them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone

from training.core.processes import dying_with_parent, end_in_words
from training.core.values import Refusal

#: Cards that did not answer are asked again after twice as long as they were waited for, each time after twice as long.
LONGEST_PAUSE = 3600.0
PROBE = """
import json, torch
from training.trainer.device import device_memory, device_name
found = ["mps"] if torch.backends.mps.is_available() else [f"cuda:{i}" for i in range(torch.cuda.device_count())]
print(json.dumps([{"device": d, "name": device_name(d), "memory": device_memory(d) or 0} for d in found]))
"""


class NoDevice(Refusal):
    """The device that a worker is for is not there: one sentence."""

    category = "resources"


@dataclass(frozen=True)
class Device:
    """One device with its own name and its memory in bytes (0: unknown)."""

    device: str
    name: str
    memory: int


def graphics_devices() -> list[Device]:
    """What torch can use besides the processor; this process imports no torch. Raises NoDevice if torch cannot be asked."""
    process = subprocess.Popen(  # noqa: S603 - our own text
        [sys.executable, "-c", PROBE],
        cwd=settings.BASE_DIR, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=dying_with_parent(),  # noqa: PLW1509 - it only calls prctl, looked up before
    )  # fmt: skip
    try:
        said, complaint = process.communicate(timeout=settings.DEVICE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # and not waited for: what hangs in a driver cannot be killed
        raise NoDevice(f"the graphics cards did not answer within {settings.DEVICE_SECONDS:g} s") from None
    if process.returncode:
        last = complaint.strip().rpartition("\n")[2] or f"it {end_in_words(process.returncode)}"
        raise NoDevice(f"the graphics cards cannot be asked: {last}")
    return [Device(**found) for found in json.loads(said)]


class CardSearch(threading.Thread):
    """Asks for the graphics cards beside everything else, again and again until they answer."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(name="cards", daemon=True)
        self.say = say
        #: Set once the cards were asked, whatever came of it; and how many there are, once they answered.
        self.was_asked = threading.Event()
        self.count: int | None = None
        self._pause = min(LONGEST_PAUSE, 2 * settings.DEVICE_SECONDS)
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                self.count = len(graphics_devices())
            except NoDevice as refusal:
                self.say(f"{refusal}; trainings go to cpu workers, and the cards are asked again in {self._pause:g} s")
            else:
                if self.was_asked.is_set():
                    self.say(f"the graphics cards answer: {self.count}")
            self.was_asked.set()
            if self.count is not None or self._ended.wait(self._pause):
                return
            self._pause = min(LONGEST_PAUSE, 2 * self._pause)


def device_for(tag: str) -> Device:
    """The device of a worker of this tag. A cpu or quick worker may import torch, but runs nothing of it."""
    if tag == "gpu":
        found = graphics_devices()
        if not found:
            raise NoDevice("torch finds no graphics card on this machine: start a worker with --tag cpu")
        return found[0]
    from training.trainer.device import device_memory, device_name

    return Device("cpu", device_name("cpu"), device_memory("cpu") or 0)


def visible_to(number: int, count: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Environment for the gpu worker of a number, of so many cards: it sees one card, as its first and only one."""
    if count < 2:
        return {}
    named = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    cards = named or [str(position) for position in range(count)]
    return {"CUDA_VISIBLE_DEVICES": cards[number % len(cards)]}


def worker_environment(device: Device) -> dict[str, str]:
    """What a worker tells of itself."""
    return {
        "host": socket.gethostname(), "pid": str(os.getpid()), "started": timezone.now().isoformat(timespec="seconds"),
        "device": device.device, "device_name": device.name, "memory": str(device.memory),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"), "numpy": importlib.metadata.version("numpy"),
    }  # fmt: skip
