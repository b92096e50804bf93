"""Questions to the quick worker from the pages: each ends in an answer, in one sentence, or in waiting a little longer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from training.jobs import questions, queues
from training.jobs.questions import Broken, Refused, Reply, TookTooLong, UnknownJob
from training.jobs.queues import NoWorker

log = logging.getLogger(__name__)
#: A page is shown without the answer when it takes longer, and asks again by itself.
SECONDS = 2


@dataclass(frozen=True)
class Told:
    """One of three: the result, the sentence on why there is none, or neither, while the job is still to be waited for."""

    job: str = ""
    result: dict[str, Any] | None = None
    problem: str = ""
    took_too_long: bool = False

    @property
    def is_waiting(self) -> bool:
        return self.result is None and not self.problem


def ask(question: str, arguments: dict[str, Any], user: Any, seconds: float = SECONDS) -> Told:
    """Put a question and wait for it so long."""
    return _told(lambda: questions.ask(question, arguments, user, seconds))


def look(job: str, user: Any) -> Told:
    """How a question stands that was put before."""
    told = _told(lambda: questions.look(job, user))
    return _told(lambda: _still_worked_on(told)) if told.is_waiting else told


def without_worker() -> str:
    """The sentence on why nothing can be asked now; empty if it can."""
    try:
        queues.ping()
        queues.must_answer_quickly()
    except NoWorker as problem:
        return str(problem)
    return ""


def _still_worked_on(told: Told) -> Reply:
    queues.ping()
    queues.must_answer_quickly(questions.asked_at(told.job))
    return Reply(told.job, None)


def _told(asking: Callable[[], Reply]) -> Told:
    try:
        reply = asking()
    except TookTooLong as problem:
        return Told(problem=str(problem), took_too_long=True)
    except (NoWorker, UnknownJob, Refused) as problem:
        return Told(problem=str(problem))
    except RedisError as problem:
        return Told(problem=f"Redis does not answer ({problem}): what is stored can still be looked at")
    except Broken:
        log.exception("a question was not answered")
        return Told(problem="the quick worker met something unexpected; its log has what happened")
    return Told(job=reply.job, result=reply.result)
