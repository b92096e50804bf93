"""A running operation as messages for whoever follows it: at most five a second, the latest wins, numbered.

The database holds the history; a message says where the run stands now. `seq` counts per attempt,
so that a follower sees a gap and reads the rest from the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from training.values import BatchMetrics, EpochMetrics

#: A message costs 0.7 ms of CPU time: at ten a second alone a third of what reporting may take of a training.
INTERVAL_SECONDS = 0.2
log = logging.getLogger(__name__)


def group_of(operation_id: str) -> str:
    return f"operation.{operation_id}"


class Publisher:
    """A watcher that publishes over Channels from a thread of its own: a report costs the training microseconds.

    Make it inside the job, after the fork; `close` sends what is last.
    """

    def __init__(self, operation_id: str, attempt: int) -> None:
        self.operation_id = operation_id
        self._state: dict[str, Any] = {"attempt": attempt, "seq": 0, "stage": "", "fraction": 0.0, "percent": 0.0}
        self._slot: deque[dict[str, Any]] = deque(maxlen=1)
        self._ended = threading.Event()
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def stage(self, name: str, fraction: float, percent: float) -> None:
        self._push(stage=name, fraction=fraction, percent=percent)

    def batch(self, metrics: BatchMetrics, percent: float) -> None:
        at = {"epoch": metrics.epoch, "epochs": metrics.epochs, "batch": metrics.batch, "batches": metrics.batches}
        self._push(percent=percent, **at, samples=metrics.samples, loss=metrics.loss())

    def epoch(self, metrics: EpochMetrics, percent: float) -> None:
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
                    runner.run(self._send(self._slot.pop()))

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
