"""A running operation as messages for whoever follows it: at most five a second, the latest wins, numbered.

The database holds the history; a message says where the run stands now. `seq` counts per attempt,
so that a follower sees a gap and reads the rest from the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from training.core.memory import own_memory
from training.core.pace import Pace
from training.core.values import BatchMetrics, EpochMetrics

#: A message costs 0.7 ms of CPU time: at ten a second alone a third of what reporting may take of a training.
INTERVAL_SECONDS = 0.2
#: Where the end of a signed-in session is told, so that its sockets close.
SESSIONS_GROUP = "sessions"
log = logging.getLogger(__name__)


def group_of(operation_id: str) -> str:
    return f"operation.{operation_id}"


class StageTimes:
    """How long each stage took, and how long the rest of the training will take."""

    def __init__(self, now: float) -> None:
        self.stages: dict[str, float] = {}
        self.pace = Pace()
        self._stage, self._since, self._began = "", now, now

    def enter(self, stage: str, now: float) -> dict[str, float]:
        """Seconds of the stages that are over."""
        if stage != self._stage:
            if self._stage:
                self.stages = {**self.stages, self._stage: round(now - self._since, 3)}
            self._stage, self._since = stage, now
        return self.stages

    def told(self, now: float) -> dict[str, float | None]:
        """`elapsed` of the attempt, `stage_elapsed`, and `eta`: seconds, None where nothing can be said."""
        left = self.pace.left(now) if self._stage == "train" else None
        return {
            "elapsed": round(now - self._began, 2),
            "stage_elapsed": round(now - self._since, 2),
            "eta": None if left is None else round(left, 1),
        }


class Publisher:
    """A watcher that publishes over Channels from a thread of its own: a report costs the training microseconds.

    Make it inside the job, after the fork; `close` sends what is last.
    """

    def __init__(self, operation_id: str, attempt: int) -> None:
        self.operation_id = operation_id
        self._state: dict[str, Any] = {
            "operation": operation_id, "attempt": attempt, "seq": 0, "stage": "", "fraction": 0.0, "percent": 0.0, "stages": {},
        }  # fmt: skip
        self._times = StageTimes(time.monotonic())
        self._slot: deque[dict[str, Any]] = deque(maxlen=1)
        self._ended = threading.Event()
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def stage(self, name: str, fraction: float, percent: float) -> None:
        now = time.monotonic()
        self._push(stage=name, fraction=fraction, percent=percent, stages=self._times.enter(name, now))

    def batch(self, metrics: BatchMetrics, percent: float) -> None:
        fraction = (metrics.batch + 1) / max(metrics.batches, 1)
        self._times.pace.batch(metrics.epoch, metrics.epochs, fraction, time.monotonic())
        where = {"epoch": metrics.epoch, "epochs": metrics.epochs, "batch": metrics.batch, "batches": metrics.batches}
        self._push(percent=percent, at=time.time(), **where, samples=metrics.samples, loss=metrics.loss())

    def epoch(self, metrics: EpochMetrics, percent: float) -> None:
        self._times.pace.epoch(metrics["epoch"], time.monotonic())
        self._push(percent=percent, last_epoch=dict(metrics))

    def note(self, text: str) -> None:
        self._push(note=text)

    def close(self, status: str) -> None:
        """Send the last word and end."""
        self._push(status=status)
        self._ended.set()
        self._thread.join(timeout=5)

    def _push(self, **changes: Any) -> None:
        self._state = {**self._state, **changes, "seq": self._state["seq"] + 1}
        self._slot.append(self._state)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            ended = False
            while not ended:
                ended = self._ended.wait(INTERVAL_SECONDS)
                with contextlib.suppress(IndexError):
                    state = self._slot.pop()
                    now = time.monotonic()
                    runner.run(self._send({**state, **self._times.told(now), "memory": own_memory()}))

    async def _send(self, state: dict[str, Any]) -> None:
        try:
            layer = get_channel_layer()
            await layer.group_send(group_of(self.operation_id), {"type": "operation.message", **state})
            self._broken = False
        except (RedisError, OSError) as error:
            if not self._broken:
                log.warning("%s cannot be followed for now: %s", self.operation_id, error)
            self._broken = True


class Listener:
    """A follower's ear: `messages(seconds)` gives those that came within so long. Without Redis it hears nothing."""

    def __init__(self, operation_id: str) -> None:
        self._group = group_of(operation_id)
        self._runner = asyncio.Runner()
        self._channel: str | None = None

    def messages(self, seconds: float) -> Iterator[dict[str, Any]]:
        message = self._runner.run(self._receive(seconds))
        if message is not None:
            yield message

    async def _receive(self, seconds: float) -> dict[str, Any] | None:
        layer = get_channel_layer()
        try:
            if self._channel is None:
                self._channel = await layer.new_channel()
                await layer.group_add(self._group, self._channel)
            return dict(await asyncio.wait_for(layer.receive(self._channel), seconds))
        except TimeoutError:
            return None
        except (RedisError, OSError):
            self._channel = None
            await asyncio.sleep(seconds)  # the caller looks into the database meanwhile
            return None

    def close(self) -> None:
        self._runner.close()


def tell_session_ended(mark: str) -> None:
    """A signed-in session is over: its sockets close at once; without Redis they close at their next look."""
    try:
        async_to_sync(get_channel_layer().group_send)(SESSIONS_GROUP, {"type": "session.ended", "session": mark})
    except (RedisError, OSError) as error:
        log.info("the sockets of an ended session close later: %s", error)
