"""What goes on beside a running attempt: a pulse that beats and notices requests to stop, and what the machine is used for."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from training.jobs import lifecycle
from training.models import Status

#: How often a request to stop is looked for.
LOOK_SECONDS = 0.2
#: So long the run may take to hear of it before `leave` is called: one call of a library may take seconds.
HEAR_SECONDS = 0.1
log = logging.getLogger(__name__)


class Beside:
    """A context in which a thread of its own does `_run`, until `_ended` is set at its end."""

    def __init__(self, name: str) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        raise NotImplementedError


class Pulse(Beside):
    """A context; inside, `on_stop` is called once with `cancellation` or `superseded` when the row says so, and `look` often.

    leave: called in the pulse's thread a moment after a cancellation that the run has not ended for.
    """

    def __init__(
        self,
        operation_id: str,
        attempt: int,
        on_stop: Callable[[str], None],
        look: Callable[[], None] = lambda: None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.operation_id, self.attempt, self.on_stop, self.look, self.leave = operation_id, attempt, on_stop, look, leave
        super().__init__("pulse")

    def _run(self) -> None:
        try:
            self._watch()
        finally:
            connection.close()  # each thread has a connection of its own

    def _watch(self) -> None:
        beaten = time.monotonic()
        while not self._ended.wait(LOOK_SECONDS):
            self.look()
            try:
                if time.monotonic() - beaten >= settings.HEARTBEAT_SECONDS:
                    status = lifecycle.beat(self.operation_id, self.attempt)
                    beaten = time.monotonic()
                else:
                    status = lifecycle.live_status(self.operation_id, self.attempt)
            except DatabaseError as error:
                # A database that is busy or away for a moment must not end hours of training.
                log.warning("the pulse of %s could not be written: %s", self.operation_id, error)
                close_old_connections()  # one that the database has ended would never work again
                continue
            if status is None or status == Status.CANCELLING:
                self.on_stop("superseded" if status is None else "cancellation")
                if status is not None and not self._ended.wait(HEAR_SECONDS):
                    self._leave()
                return self._beat_on()
        return None

    def _leave(self) -> None:
        try:
            self.leave()
        except DatabaseError as error:  # then the run ends by itself
            log.warning("the end of %s could not be written at once: %s", self.operation_id, error)
            close_old_connections()

    def _beat_on(self) -> None:
        """While the run comes to its end it is still alive."""
        while not self._ended.wait(settings.HEARTBEAT_SECONDS):
            try:
                lifecycle.beat(self.operation_id, self.attempt)
            except DatabaseError as error:
                log.warning("the pulse of %s could not be written: %s", self.operation_id, error)
                close_old_connections()


SECONDS = 1.0
#: Points kept at most: at twice as many, each two become one.
MOST = 300
#: After a longer silence (the machine slept) the points between are not known.
MOST_MISSED = 5
#: The row is written so often, and at the end.
WRITE_SECONDS = 10.0
#: What a reader of points joined in one wants to know of them: the most. Of the others, the mean.
PEAKS = ("memory", "gpu_memory")
Values = Mapping[str, float | None]


class Points:
    """Values by name, `seconds` apart; the longer it goes on, the further apart."""

    def __init__(self, most: int = MOST) -> None:
        self.seconds, self.columns = SECONDS, {}  # type: tuple[float, dict[str, list[float | None]]]
        self._most, self._part, self._length = most, [], 0  # type: tuple[int, list[Values], int]

    def __len__(self) -> int:
        return self._length

    def add(self, values: Values) -> None:
        """The values of the next second; empty if they are not known."""
        self._part.append(values)
        if len(self._part) * SECONDS < self.seconds:
            return
        for name in {*self.columns, *(name for part in self._part for name in part)}:
            column = self.columns.setdefault(name, [None] * self._length)
            column.append(_joined(name, [part.get(name) for part in self._part]))
        self._part, self._length = [], self._length + 1
        if self._length >= 2 * self._most:
            self.columns = {n: [_joined(n, c[i : i + 2]) for i in range(0, len(c), 2)] for n, c in self.columns.items()}
            self.seconds, self._length = 2 * self.seconds, -(-self._length // 2)


def _joined(name: str, values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return max(known) if name in PEAKS else round(sum(known) / len(known), 3)


class Card:
    """A graphics card as NVIDIA's library tells of it."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self.nvml, self.handle = nvml, handle

    def facts(self) -> dict[str, Any]:
        name = self._read(lambda: self.nvml.nvmlDeviceGetName(self.handle))
        total = self._read(lambda: self.nvml.nvmlDeviceGetMemoryInfo(self.handle).total)
        return {"gpu": name.decode() if isinstance(name, bytes) else name, "gpu_memory": total}

    def read(self) -> dict[str, float | None]:
        """Of the whole card: others may be at work on it, too."""
        return {
            "gpu": self._read(lambda: float(self.nvml.nvmlDeviceGetUtilizationRates(self.handle).gpu)),
            "gpu_memory": self._read(lambda: float(self.nvml.nvmlDeviceGetMemoryInfo(self.handle).used)),
        }

    def close(self) -> None:
        self._read(self.nvml.nvmlShutdown)

    def _read(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except self.nvml.NVMLError:  # a part of a card does not tell its use, a driver may be away
            return None


def open_card() -> Card | None:
    """The first card that this process sees; None without one, or without NVIDIA's library."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    try:
        by_name = seen.startswith(("GPU-", "MIG-"))
        handle = pynvml.nvmlDeviceGetHandleByUUID(seen) if by_name else pynvml.nvmlDeviceGetHandleByIndex(int(seen))
    except (pynvml.NVMLError, ValueError):
        pynvml.nvmlShutdown()
        return None
    return Card(pynvml, handle)


class Meter:
    """Reads this process and its machine."""

    def __init__(self, with_card: bool) -> None:
        import psutil

        self.psutil = psutil
        self.card = open_card() if with_card else None
        self._before = (time.monotonic(), time.process_time())
        psutil.cpu_percent(None)  # the first answer means nothing

    def facts(self) -> dict[str, Any]:
        found = {"cores": self.psutil.cpu_count(), "memory": self.psutil.virtual_memory().total}
        return found | (self.card.facts() if self.card else {})

    def read(self) -> dict[str, float | None]:
        """cpu: cores at work for this process; machine_cpu: percent of all cores; memory: this process's own, bytes."""
        from training.core.memory import own_memory

        (wall, work), now = self._before, (time.monotonic(), time.process_time())
        self._before = now
        own = own_memory()
        return {
            "cpu": round((now[1] - work) / max(now[0] - wall, 1e-3), 3),
            "machine_cpu": float(self.psutil.cpu_percent(None)),
            "memory": None if own is None else float(own),
            "machine_memory": float(self.psutil.virtual_memory().available),
            "disk": float(shutil.disk_usage(settings.HOME_DIR).free),
            **(self.card.read() if self.card else {}),
        }

    def close(self) -> None:
        if self.card:
            self.card.close()


class MachineUse(Beside):
    """A context; inside, the machine is measured. A run of less than a second leaves no row."""

    def __init__(self, operation_id: str, attempt: int, device: str | None) -> None:
        self.operation_id, self.attempt, self.with_card = operation_id, attempt, device != "cpu"
        super().__init__("machine use")

    def _run(self) -> None:
        points, began, written, first = Points(), time.monotonic(), 0.0, timezone.now()
        meter = Meter(self.with_card)
        try:
            facts, ticks = meter.facts(), 0
            while not self._ended.wait(max(0.0, began + (ticks + 1) * SECONDS - time.monotonic())):
                # A reading tells of all the time since the last one: seconds that were missed are in it. One that would
                # come too soon after a late one is left out, since it would tell of too short a moment.
                due = max(ticks + 1, round((time.monotonic() - began) / SECONDS))
                missed, values = due - ticks, meter.read()
                for _ in range(missed if missed <= MOST_MISSED else min(missed, 2 * MOST)):
                    points.add(values if missed <= MOST_MISSED else {})
                ticks = due
                if not written or time.monotonic() - written >= WRITE_SECONDS:
                    self._write(points, facts, first)
                    written = time.monotonic()
            if len(points):
                self._write(points, facts, first)
        except OSError as error:
            log.warning("what %s uses of its machine can no longer be measured: %s", self.operation_id, error)
        finally:
            meter.close()
            connection.close()  # each thread has a connection of its own

    def _write(self, points: Points, facts: dict[str, Any], first: Any) -> None:
        from training.models import ResourceUse

        told = {"began": first, "seconds": points.seconds, "points": points.columns, "facts": facts}
        try:
            ResourceUse.objects.update_or_create(operation_id=self.operation_id, attempt=self.attempt, defaults=told)
        except DatabaseError as error:
            # A database that is busy or away for a moment must not end hours of training: the next one holds it all.
            log.warning("what %s uses of its machine could not be written: %s", self.operation_id, error)
            close_old_connections()
