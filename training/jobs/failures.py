"""Failures: the exception that ended a run → what it was, when, what was kept, what to do, and whether resuming can help."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, OperationalError
from pydantic import ValidationError
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import TimeoutError as RedisSilent

from training.core.values import Refusal
from training.jobs.database_words import sentence_of

TRANSIENT, DATA, STRATEGY, RESOURCES, BUG = "transient", "data", "strategy", "resources", "bug"
#: Category → what it means to the one who started the run, and what to do. `{wait}` stands for how it is tried again.
ADVICE: Final = {
    TRANSIENT: "No action is needed. {wait}",
    DATA: "Load or mend the bars that are named, then start a new training: a run goes on only with the bars it began with.",
    STRATEGY: "Change the strategy as the sentence says, then start a new training: the same text would end the same way.",
    RESOURCES: "Make room or bring back what is named (memory, disk, device, package), then resume.",
    BUG: "This is a fault of the program or of a package, not of your strategy. Report it with the whole log of this run.",
}
#: Category → whether the same attempt, tried once more, can end otherwise.
RESUMING_HELPS: Final = {TRANSIENT: True, DATA: False, STRATEGY: False, RESOURCES: True, BUG: False}
#: Of the system's errors, those that pass by themselves: a network or a disk behind one that hiccups. A full disk does not.
PASSING: Final = frozenset(
    getattr(errno, name)
    for name in ("EIO", "EAGAIN", "EINTR", "EBUSY", "ETIMEDOUT", "ESTALE", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH")
    if hasattr(errno, name)
)
#: What a database says of a state that waiting does not change.
_FULL = ("is full", "no space left", "readonly", "read-only", "unable to open", "no such table", "no such column")
#: Stage of a run → what it was doing then.
DOING: Final = {
    "load": "loading bars", "validate": "checking the bars", "indicators": "computing indicators",
    "memberships": "computing memberships", "features": "joining features", "labels": "computing labels",
    "split": "cutting the splits", "train": "training", "evaluate": "measuring the trained network", "save": "saving the model",
}  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """Why a run failed: each a sentence but for category and resuming_helps. JSON-ready by `plain`."""

    category: str
    cause: str
    happening: str
    kept: str
    advice: str
    resuming_helps: bool

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Moment:
    """Where the run stood. epoch: the one under way, and kept: the last one that is saved, counted from 1; None if there is
    none. again: seconds until it is tried again by itself, None if it is not."""

    stage: str = ""
    epoch: int | None = None
    epochs: int = 0
    kept: int | None = None
    again: float | None = None


def failure_of(error: BaseException, moment: Moment) -> Failure:
    """What there is to say of a run that ended with this exception at this moment."""
    category = category_of(error)
    helps = getattr(error, "resuming_helps", None) if isinstance(error, Refusal) else None
    helps = RESUMING_HELPS[category] if helps is None else helps
    wait = "Resume it." if moment.again is None else f"It is tried again by itself in {_span(moment.again)}."
    advice = ADVICE[category] if category != DATA or not helps else "Bring back what is named, then resume."
    return Failure(category, cause_of(error), _happening(moment), _kept(moment), advice.format(wait=wait), helps)


def category_of(error: BaseException) -> str:
    """One of transient, data, strategy, resources, bug."""
    if isinstance(error, Refusal):
        behind = error.__cause__  # a file that could not be written, told in our words
        return category_of(behind) if error.category == RESOURCES and isinstance(behind, OSError) else error.category
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's own, which is not imported here
        return RESOURCES
    if isinstance(error, ValidationError) or type(error).__name__ == "StrategyError":
        return STRATEGY
    if isinstance(error, DatabaseError | InterfaceError):
        return _of_database(error)
    if isinstance(error, RedisError):
        return TRANSIENT if isinstance(error, RedisGone | RedisSilent | BusyLoadingError) else RESOURCES
    if isinstance(error, OSError):
        passing = isinstance(error, ConnectionError | TimeoutError) or error.errno in PASSING
        return TRANSIENT if passing else RESOURCES
    return BUG


def _of_database(error: Exception) -> str:
    if not isinstance(error, OperationalError | InterfaceError):
        return BUG  # a statement that the database does not take
    return RESOURCES if any(word in str(error).lower() for word in _FULL) else TRANSIENT


def cause_of(error: BaseException) -> str:
    """The short sentence: what was seen, and as far as it is known what was wanted."""
    text = (str(error).splitlines() or [""])[0]
    if isinstance(error, Refusal):
        return str(error)
    if category_of(error) == RESOURCES and not isinstance(error, OSError | DatabaseError | RedisError):
        return f"there is not enough memory for this run ({text}); wanted a smaller network or fewer rows"
    if isinstance(error, ValidationError):
        return f"the stored strategy does not fit this version of the program any more: {error.errors()[0]['msg']}"
    if isinstance(error, DatabaseError | InterfaceError) and category_of(error) != BUG:
        return sentence_of(error)
    if isinstance(error, RedisError):
        return f"Redis does not answer: {text}"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else f"the system says: {text}"
    return f"{type(error).__name__}: {text}"


def without_retry(failure: Mapping[str, Any]) -> dict[str, Any]:
    """What there is to say of a failure (as `plain` gives it) that is not tried again by itself after all."""
    return {**failure, "advice": ADVICE[TRANSIENT].format(wait="Resume it.")} if failure else {}


def kept_words(epoch: int | None) -> str:
    """What is kept of a run that ended early; epoch: the last one that is saved, counted from 1."""
    if epoch is None:
        return "Nothing: no epoch was saved. Resuming starts at the first one."
    return f"The checkpoint of epoch {epoch}. Resuming continues in epoch {epoch + 1}."


def _happening(moment: Moment) -> str:
    doing = DOING.get(moment.stage, "beginning")
    return f"While {doing}{f', in epoch {moment.epoch} of {moment.epochs}' if moment.epoch and moment.stage == 'train' else ''}."


def _kept(moment: Moment) -> str:
    if moment.kept and moment.stage in ("evaluate", "save") and (moment.epoch is None or moment.kept >= moment.epoch):
        return f"The checkpoint of epoch {moment.kept}, the last that was trained. Resuming goes on after it."
    return kept_words(moment.kept)


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
