"""Memory: what this process takes for itself, what this machine has to give, and whether a run fits into it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from training.core.values import Refusal

#: Where a container's limit stands: of the newer kind of control groups, and of the older one. (limit, used)
_CGROUPS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
#: A limit above this is the older kind's way of saying that there is none.
_NO_LIMIT = 1 << 60


class TooLarge(Refusal):
    """A run that does not fit into memory: one sentence with the figures."""

    category = "resources"


@dataclass(frozen=True)
class Room:
    """How many bytes a run may take, and whose limit that is. free: what is left now, after all that was taken already."""

    size: int
    whose: str
    free: bool = False


def own_memory() -> int | None:
    """Bytes of this process's own memory, without mapped files; None where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def free_room(allowance: int | None = None, system: Path = Path("/")) -> Room | None:
    """The smallest of what is free on this machine now, in this container, and the allowance; None if nothing is known."""
    found = [Room(size, "free on this machine", True) for size in (_machine(system, "MemAvailable"),) if size]
    found += [Room(max(0, most - used), "left of this container's limit", True) for most, used in _containers(system)]
    found += [] if allowance is None else [Room(allowance, "allowed by KTRDR_MEMORY_LIMIT")]
    return min(found, key=lambda room: room.size, default=None)


def whole_room(allowance: int | None = None, system: Path = Path("/")) -> Room | None:
    """The same of an idle machine: what does not fit here fits at no time."""
    found = [Room(size, "the memory of this machine") for size in (_machine(system, "MemTotal"),) if size]
    found += [Room(most, "this container's limit") for most, _ in _containers(system)]
    found += [] if allowance is None else [Room(allowance, "allowed by KTRDR_MEMORY_LIMIT")]
    return min(found, key=lambda room: room.size, default=None)


def _machine(system: Path, what: str) -> int | None:
    try:
        text = (system / "proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(rf"^{what}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _containers(system: Path) -> list[tuple[int, int]]:
    """Limit and use of the control group that this process sees as its own, if it has a limit."""
    for limit, used in _CGROUPS:
        try:
            most = (system / "sys/fs/cgroup" / limit).read_text(encoding="ascii").strip()
            now = (system / "sys/fs/cgroup" / used).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if most.isdigit() and int(most) < _NO_LIMIT:
            return [(int(most), int(now))]
    return []


def size_text(count: float) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"
