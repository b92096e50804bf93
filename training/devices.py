"""Devices of this machine: graphics cards, asked in a short process of its own, since a parent that forks must not touch them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone

from training.values import Refusal

PROBE_SECONDS = 60
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
    try:
        done = subprocess.run(  # noqa: S603 - our own text
            [sys.executable, "-c", PROBE],
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise NoDevice(f"the graphics cards did not answer within {PROBE_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        raise NoDevice(f"the graphics cards cannot be asked: {error.stderr.strip().rpartition(chr(10))[2]}") from None
    return [Device(**found) for found in json.loads(done.stdout)]


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
