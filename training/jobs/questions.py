"""Questions to the quick worker, from the side that asks: put, wait a little, ask again. Nothing heavy is imported here."""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.core.values import Refusal
from training.jobs import queues

#: How long the asker waits for an answer before getting a job to ask again.
WAIT_SECONDS = 10
#: Redis is asked to hold an answer back for no longer: its client takes a silence of five seconds for the end of it.
BLOCK_SECONDS = 3


class UnknownJob(Refusal):
    """No such question, or it was put by somebody else, or it is too long ago."""


class TookTooLong(Refusal):
    """The quick worker gave up."""


class Refused(Refusal):
    """What the quick worker refused: one sentence, the name of the refusal's class, a strategy's problems, and what was
    found of the bars, as JSON."""

    def __init__(
        self, kind: str, message: str, problems: Sequence[dict[str, Any]] = (), findings: Sequence[dict[str, Any]] = ()
    ) -> None:
        super().__init__(message)
        self.kind, self.problems, self.findings = kind, list(problems), list(findings)


class Broken(Exception):
    """The quick worker met something unexpected; its log has the traceback."""


@dataclass(frozen=True)
class Reply:
    """The job to ask again, and the result as soon as there is one."""

    job: str
    result: dict[str, Any] | None


def ask(question: str, arguments: dict[str, Any], user: Any, seconds: float | None = None) -> Reply:
    """Put a question (`plan`, `predict`, `preview`) and wait for its answer so long, WAIT_SECONDS if not told.

    Raises NoWorker, and Refused with what the worker refused.
    """
    return _look(queues.enqueue_quick(question, arguments, user.pk), user, WAIT_SECONDS if seconds is None else seconds)


def look(job: str, user: Any) -> Reply:
    """How a question stands that this user put before; UnknownJob for everybody else's."""
    return _look(job, user, 0)


def asked_at(job: str) -> dt.datetime | None:
    """When a question was put; None if it is forgotten."""
    found = queues.quick_job(job)
    asked = found.enqueued_at if found is not None else None
    return asked if asked is None or asked.tzinfo else asked.replace(tzinfo=dt.UTC)


def _look(job: str, user: Any, seconds: float) -> Reply:
    found = queues.quick_job(job) if job.startswith("quick-") else None
    if found is None or found.get_meta(refresh=False).get("owner") != user.pk:
        raise UnknownJob(f"there is no question {job} of yours, or it is too long ago")
    result = _awaited(found, seconds)
    if result is None:
        return Reply(job, None)
    if result.type != result.Type.SUCCESSFUL:
        if "JobTimeoutException" in (result.exc_string or ""):
            raise TookTooLong("it took longer than a quick question may: ask for less, such as fewer days")
        raise Broken(f"{job} failed:\n{result.exc_string}")
    return Reply(job, _result(result.return_value))


def _awaited(job: Any, seconds: float) -> Any:
    """RQ's result of a job, None if none comes in time."""
    until = time.monotonic() + seconds
    while True:
        left = until - time.monotonic()
        result = job.latest_result(timeout=max(0, min(BLOCK_SECONDS, math.ceil(left))))
        if result is not None or left <= BLOCK_SECONDS:
            return result


def _result(value: dict[str, Any]) -> dict[str, Any]:
    if refusal := value.get("refusal"):
        raise Refused(**refusal)
    return dict(value["result"])
