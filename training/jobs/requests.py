"""What a person asks for: start, cancel, force, resume, tag, note; the same by command, API and admin, with a trace of each."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from redis.exceptions import RedisError

from strategies_app.grammar.reader import read_strategy
from strategies_app.grammar.schema import StrategySpec
from strategies_app.models import Strategy
from strategies_app.stored import FoundStrategy
from training.access.audit import Actor, audit
from training.core.values import Refusal
from training.jobs import lifecycle, queues
from training.jobs.notices import checked_address, mail_end
from training.models import BarSeries, Operation, Status
from training.store.bar_counts import check_bars
from training.store.coverage import Ranges, check_stored, check_windows, resolve_dates

#: Options of a request that change no value of the strategy.
RUN_OPTIONS = ("detailed_analytics",)
log = logging.getLogger(__name__)


class Conflict(Refusal):
    """The same task_id was used for another request."""


def recorded_ranges() -> Ranges:
    """What is stored, from the database rows: no file is opened."""
    ranges: dict[str, dict[str, tuple[int, int]]] = {}
    for symbol, timeframe, first, last in BarSeries.objects.values_list("symbol", "timeframe", "first", "last"):
        ranges.setdefault(symbol, {})[timeframe] = (round(first.timestamp() * 1e6), round(last.timestamp() * 1e6))
    return ranges


def recorded_rows() -> dict[str, dict[str, int]]:
    """How many bars are stored: symbol → timeframe → rows."""
    rows: dict[str, dict[str, int]] = {}
    for symbol, timeframe, count in BarSeries.objects.values_list("symbol", "timeframe", "rows"):
        rows.setdefault(symbol, {})[timeframe] = count
    return rows


def of_strategy(options: dict[str, Any]) -> dict[str, Any]:
    """The options that stand in place of the strategy's values; the others are about the run."""
    return {name: value for name, value in options.items() if name not in RUN_OPTIONS}


def effective_spec(text: str, options: dict[str, Any]) -> StrategySpec:
    """The strategy with the request's options, and with days in place of open dates: what is stored with the operation.

    What is wrong with the request, the strategy or the store is said here, before anything is started.
    """
    options = of_strategy(options)
    spec = read_strategy(text, **options)
    ranges = recorded_ranges()
    start, end = resolve_dates(spec, ranges)
    spec = read_strategy(text, **options | {"start": start, "end": end})
    check_stored(spec, ranges)
    rows = recorded_rows()
    check_bars(spec, Path(settings.STORE_DIR), ranges, rows)
    check_windows(spec, ranges, rows)
    refuse_too_large(spec)
    return spec


def refuse_too_large(spec: StrategySpec) -> None:
    """TooLarge if the run cannot fit where it trains, as far as that is known here: KTRDR_MEMORY_LIMIT, and with a database
    that only this machine has also the machine's memory, all of it."""
    from training.core.memory import Room, footprint, must_fit, whole_room
    from training.jobs.status import base_bars

    counts = base_bars(spec.plain())
    told = footprint(spec, {symbol: [count] for symbol, count in counts.items()}, sum(counts.values()), in_file=True)
    allowed = None if settings.MEMORY_LIMIT is None else Room(settings.MEMORY_LIMIT, "allowed by KTRDR_MEMORY_LIMIT")
    is_alone = connection.vendor == "sqlite"
    must_fit(
        told, whole_room(settings.MEMORY_LIMIT) if is_alone else allowed, what=f"a run of about {sum(counts.values()):,} bars"
    )


def start_training(
    found: FoundStrategy,
    options: dict[str, Any],
    actor: Actor,
    *,
    task_id: str | None = None,
    inline: bool = False,
    notify: str = "",
) -> tuple[Operation, bool]:
    """An operation for the request, queued unless inline; the former one and False if the task_id was used for the same request.

    notify: the address that is mailed when it has ended. Raises StrategyError, DataError, NoWorker, NoMail, TooLarge, Conflict.
    """
    # What was said, not what it means today: a stored strategy may have got a new version since the first try.
    said = found.version.strategy.name if found.version else found.text
    digest = hashlib.sha256(json.dumps([said, options], sort_keys=True, default=str).encode()).hexdigest()
    if task_id and (former := Operation.objects.filter(task_id=task_id).first()):
        return _same_request(former, digest), False
    checked_address(notify)
    spec = effective_spec(found.text, options)
    queue = "" if inline else queues.choose_queue()
    try:
        with transaction.atomic():
            path = str(Path(found.path).absolute()) if found.path else ""
            version = found.version or Strategy.objects.import_text(found.text, path)
            operation = lifecycle.start(
                version,
                spec.plain(),
                plugins=spec.plugins,
                detailed_analytics=bool(options.get("detailed_analytics")),
                user=actor.user,
                queue=queue,
                task_id=task_id or None,
                notify=notify,
                request_sha256=digest,
                **({} if queue else lifecycle.owner()),
            )
            audit(actor, "start", operation.pk, strategy=str(version), queue=queue)
            if queue:
                transaction.on_commit(lambda: queues.hand_over(operation.pk, 1, queue))
    except IntegrityError:
        former = Operation.objects.filter(task_id=task_id).first() if task_id else None
        if former is None:
            raise
        return _same_request(former, digest), False
    return operation, True


def _same_request(former: Operation, digest: str) -> Operation:
    if former.request_sha256 != digest:
        raise Conflict(f"task_id '{former.task_id}' was used for another request, operation {former.pk}")
    return former


def cancel(operation: Operation, actor: Actor, *, reason: str = "", force: bool = False) -> str:
    """Ask an operation to stop with a checkpoint; with force, end its process now. Gives the new status.

    One that waits to be tried again by itself stays failed, and is not.
    """
    if force and operation.status == Status.CANCELLING:
        _kill(operation)
        audit(actor, "force", operation.pk, reason=reason)
        return Status.CANCELLING
    with transaction.atomic():
        status = lifecycle.request_cancel(operation.pk, reason)
        audit(actor, "cancel", operation.pk, reason=reason, force=force)
    if status == Status.CANCELLED and operation.queue:
        try:
            queues.forget(operation.pk, operation.attempt)
        except RedisError as error:  # a job that is left there finds nothing to claim
            log.warning("the job of %s stays in its queue: %s", operation.pk, error)
    if force and status == Status.CANCELLING:
        _kill(operation)
    if status == Status.CANCELLED or (status == Status.FAILED and actor.user != operation.user):
        mail_end(operation.pk)
    return status


def _kill(operation: Operation) -> None:
    try:
        queues.kill(operation.pk, operation.attempt)
    except RedisError as error:
        raise queues.NoWorker(
            f"{operation.pk} is asked to stop with a checkpoint, but cannot be ended by force: {queues.trouble(error)}"
        ) from None


def resume(
    operation: Operation, actor: Actor, *, inline: bool = False, allow_inexact: bool = False, by_itself: bool = False
) -> int:
    """Continue a stopped operation from its last checkpoint as its next attempt, whose number it gives.

    OperationError if a package that it was started with is not there, or, unless allowed, is another version.
    """
    lifecycle.refuse_other_plugins(operation, allow_inexact=allow_inexact)
    queue = "" if inline else queues.choose_queue()
    with transaction.atomic():
        attempt = lifecycle.resume(operation.pk, queue, allow_inexact=allow_inexact, by_itself=by_itself)
        after = {"after": operation.error} if operation.error else {}
        audit(actor, "resume", operation.pk, attempt=attempt, queue=queue, **after)
        if queue:
            transaction.on_commit(lambda: queues.hand_over(operation.pk, attempt, queue))
    return attempt


MOST_TAGS, LONGEST_TAG, LONGEST_COMMENT = 10, 30, 4000
TAG = re.compile(r"[\w.+-]{1,30}")


class BadAnnotation(Refusal):
    """Tags or a note that cannot be kept: one sentence."""


def read_tags(text: str) -> list[str]:
    """Words between spaces or commas, each once, in small letters."""
    words = list(dict.fromkeys(text.replace(",", " ").lower().split()))
    if wrong := [word for word in words if not TAG.fullmatch(word)]:
        raise BadAnnotation(f"'{wrong[0][:40]}' cannot be a tag, wanted at most {LONGEST_TAG} letters, digits and . _ + -")
    if len(words) > MOST_TAGS:
        raise BadAnnotation(f"these are {len(words)} tags, wanted at most {MOST_TAGS}")
    return words


def annotate(operation: Operation, tags: str, comment: str, actor: Actor) -> None:
    """Keep tags and note in place of the former ones."""
    comment = comment.replace("\r\n", "\n").strip()
    if len(comment) > LONGEST_COMMENT:
        raise BadAnnotation(f"the note has {len(comment):,} characters, wanted at most {LONGEST_COMMENT:,}")
    if any(ord(letter) < 32 and letter not in "\t\n" for letter in comment):
        raise BadAnnotation("the note has a control character")
    words = read_tags(tags)
    operation.tags, operation.comment = kept(words), comment
    operation.save(update_fields=["tags", "comment"])
    audit(actor, "annotate", operation.pk, tags=" ".join(words))


def kept(words: list[str]) -> str:
    """Each word between spaces, so that a whole word can be looked for."""
    return f" {' '.join(words)} " if words else ""
