"""Where an operation stands at this moment, which of its epochs count, how long the rest will take, and what it waits for."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from django.conf import settings
from redis.exceptions import RedisError

from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.core.pace import PACE_EPOCHS, seconds_left
from training.jobs import queues
from training.jobs.broadcast import Listener
from training.models import OPEN, BarSeries, EpochMetric, Operation, Status, names_in

#: A running training publishes five times a second; who asks waits so long for its next word.
LISTEN_SECONDS = 0.25


def standing_of(operation: Operation) -> dict[str, Any]:
    """State, stage, percent, epoch, batch, remaining seconds, metrics of the last epoch, warnings."""
    last = last_measured(operation)
    live = _published(operation) if operation.status == Status.RUNNING and operation.queue else {}
    in_training = live.get("stage") == "train"
    return {
        "operation_id": operation.pk,
        "status": operation.status,
        "state": operation.status,
        "waiting_for": waits_for(operation),
        "attempt": operation.attempt,
        "stage": operation.stage,
        "percent": max(operation.percent, live.get("percent", 0.0)),
        "epoch": operation.epoch,
        "batch": live.get("batch") if in_training else None,
        "batches": live.get("batches") if in_training else None,
        "eta_seconds": live.get("eta") or remaining_seconds(operation),
        "metrics": last.metrics if last else {},
        "warnings": operation.notes,
        "error": operation.error,
        "failure": operation.failure or None,
    }


def remaining_seconds(operation: Operation) -> float | None:
    """Of the epochs that are left, at the pace of this attempt's latest ones; None while nothing can be said."""
    if operation.status != Status.RUNNING or operation.stage != "train":
        return None
    rows = operation.epoch_metrics.filter(attempt=operation.attempt).order_by("-pk")
    latest = list(rows.values_list("epoch", "created")[: PACE_EPOCHS + 1])
    if len(latest) < 2:
        return None
    left = seconds_left(_durations([created for _, created in reversed(latest)]), operation.epochs - latest[0][0] - 1)
    return None if left is None else round(left, 1)


def _durations(ends: Sequence[dt.datetime]) -> list[float]:
    """Seconds between each two moments."""
    return [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(ends)]


def _published(operation: Operation) -> dict[str, Any]:
    """The next message of the present attempt, {} if none comes in time."""
    listener = Listener(operation.pk)
    try:
        message = next(iter(listener.messages(LISTEN_SECONDS)), {})
    finally:
        listener.close()
    return message if message.get("attempt") == operation.attempt else {}


def replaced_among(newest_first: Iterable[tuple[int, int]]) -> set[int]:
    """Of (key, epoch) from the newest to the oldest, the keys whose place a later one took."""
    found, least = set[int](), float("inf")
    for key, epoch in newest_first:
        if epoch >= least:
            found.add(key)
        least = min(least, epoch)
    return found


def replaced(operation: Operation, since: int = 0) -> set[int]:
    """Keys of the rows after `since` that count no more."""
    rows = operation.epoch_metrics.filter(pk__gt=since).order_by("-pk")
    return replaced_among(rows.values_list("pk", "epoch").iterator())


def last_measured(operation: Operation) -> EpochMetric | None:
    """Not the highest epoch: an earlier attempt may have come further."""
    return operation.epoch_metrics.order_by("-pk").first()


def counted_losses(operation: Operation) -> list[Any]:
    """Validation losses of the epochs that count."""
    gone = replaced(operation)
    return [loss for key, loss in operation.epoch_metrics.values_list("pk", "val_loss") if key not in gone]


#: Earlier runs that are looked at, and by what factor their size may differ.
RUNS, SIMILAR, SIMILAR_BATCH = 30, 4.0, 2.0
#: (symbol, timeframe) → first and last bar (s since 1970) and the number of bars.
Stored = Mapping[tuple[str, str], tuple[float, float, int]]


def seconds_for(spec: Mapping[str, Any]) -> float | None:
    """Seconds that all epochs of an effective strategy may take: the median per epoch and bar of earlier
    completed runs of similar size and batches, times its epochs and bars; None if there is no such run. Early stopping
    shortens it. Small networks take their time by the batch, so runs with other batches say little; recurrent ones
    take theirs by the bar of the window, so only runs of the same kind and similar windows and widths count.
    """
    stored = _stored()
    size = _bars(spec, stored)
    batch, network = spec["training"]["batch_size"], spec["model"]["type"]
    rates = [
        rate * _work(spec) / _work(earlier)
        for bars, earlier, rate in _rates(stored)
        if earlier["model"]["type"] == network
        and _similar(bars, size, SIMILAR)
        and _similar(earlier["training"]["batch_size"], batch, SIMILAR_BATCH)
        and _similar(_work(earlier), _work(spec), SIMILAR)
    ]
    return round(median(rates) * spec["training"]["epochs"] * size, 1) if rates else None


def base_bars(spec: Mapping[str, Any]) -> dict[str, int]:
    """About how many base bars a run has of each symbol, by what is stored."""
    stored = _stored()
    data = spec["training_data"]
    symbols = names_in(data["symbols"], "symbol")
    alone = ({**spec, "training_data": {**data, "symbols": {"mode": "single", "symbol": symbol}}} for symbol in symbols)
    return {symbol: round(_bars(plain, stored)) for symbol, plain in zip(symbols, alone, strict=True)}


def _stored() -> Stored:
    return {
        (symbol, timeframe): (first.timestamp(), last.timestamp(), rows)
        for symbol, timeframe, first, last, rows in BarSeries.objects.values_list("symbol", "timeframe", "first", "last", "rows")
    }


def _work(spec: Mapping[str, Any]) -> float:
    """How much a recurrent network computes per row, in no unit; 1 for others, whose time is that of the step."""
    architecture = spec["model"].get("architecture") or {}
    if "sequence_length" not in architecture:
        return 1.0
    # A step of a narrow layer takes its time whatever its width.
    width = float(architecture["hidden_size"])
    return float(architecture["sequence_length"]) * architecture["num_layers"] * (32.0 + width) * width


def _similar(one: float, other: float, factor: float) -> bool:
    return other > 0 and other / factor <= one <= other * factor


def _rates(stored: Stored) -> list[tuple[float, Mapping[str, Any], float]]:
    """Bars, strategy, seconds per epoch and bar, of the latest runs; not of resumed ones, which know the last attempt only.

    What a process does once (imports, compiled kernels, the first step of an optimizer) is no epoch's time: the pace is
    that of the epochs after the first; of a run whose epochs are not there, that of its training stage.
    """
    done = Operation.objects.filter(status=Status.COMPLETED, attempt=1, trained_model__isnull=False, started__isnull=False)
    names = ("pk", "spec", "started", "finished", "stage_seconds", "trained_model__metrics__training")
    rows = list(done.order_by("-created").values_list(*names)[:RUNS])
    paces = _paces([pk for pk, *_ in rows])
    found = []
    for pk, spec, started, finished, stages, training in rows:
        plain = json.loads(spec)
        bars, epochs = _bars(plain, stored), (training or {}).get("epochs_completed") or 0
        if bars and epochs:
            whole = stages.get("train") or (finished - started).total_seconds()
            found.append((bars, plain, paces.get(pk, whole / epochs) / bars))
    return found


def _paces(operations: list[str]) -> dict[str, float]:
    """Operation → seconds of an epoch, by some of those after its first."""
    ends: dict[str, list[dt.datetime]] = {}
    rows = EpochMetric.objects.filter(operation__in=operations, epoch__lte=PACE_EPOCHS).order_by("operation", "epoch")
    for operation, created in rows.values_list("operation", "created"):
        ends.setdefault(operation, []).append(created)
    return {operation: median(_durations(moments)) for operation, moments in ends.items() if len(moments) > 1}


def _bars(spec: Mapping[str, Any], stored: Stored) -> float:
    """Base bars of a run, about: what is stored for its symbols between its dates, in bars of the base timeframe.

    Reads the plain data: to validate some thirty strategies would cost more than the whole start.
    """
    section = spec["training_data"]
    if not section.get("start_date") or not section.get("end_date"):
        return 0.0
    start, end = (dt.datetime.fromisoformat(str(section[key])).replace(tzinfo=dt.UTC) for key in ("start_date", "end_date"))
    span = (start.timestamp(), end.timestamp() + 86_400)
    base = min(TIMEFRAMES[timeframe] for timeframe in names_in(section["timeframes"], "timeframe"))
    stored_of = {s: [t for t in TIMEFRAMES if (s, t) in stored] for s in names_in(section["symbols"], "symbol")}
    return sum(max((_inside(stored, s, t, span, base) for t in found), default=0.0) for s, found in stored_of.items())


def _inside(stored: Stored, symbol: str, timeframe: str, span: tuple[float, float], base: int) -> float:
    first, last, rows = stored[symbol, timeframe]
    seconds = TIMEFRAMES[timeframe]
    if seconds > base:
        return 0.0
    overlap = min(last + seconds, span[1]) - max(first, span[0])
    return max(overlap, 0.0) / (last + seconds - first) * rows * seconds / base


def waits_for(operation: Operation) -> str:
    """The sentence; empty for one that does not wait for a worker."""
    if operation.status != Status.PENDING or not operation.queue:
        return ""
    tag = operation.queue
    try:
        queues.ping()
        own = [worker for worker in queues.live_workers() if worker.queue == tag]
        is_lost = not queues.has_job(operation.pk, operation.attempt)
    except queues.RedisFull as refusal:
        return f"waiting for Redis: {refusal}"
    except (queues.RedisAway, RedisError):
        return "waiting for Redis, which does not answer; it is queued as soon as it does"
    return _for_a_worker(tag, own, is_lost) + _behind(operation)


def _for_a_worker(tag: str, own: list[queues.WorkerState], is_lost: bool) -> str:
    if not own and tag in settings.STARTED_BY_UP:
        return f"waiting for the {tag} worker, which is starting"
    if not own:
        return (
            f"waiting for a {tag} worker: none is running, start one with `manage.py worker --tag {tag}` "
            f"(it is given up after {_duration(settings.WORKER_WAIT_SECONDS)} without one)"
        )
    busy = sum(worker.job is not None for worker in own)
    if busy == len(own):
        return f"waiting for a free {tag} worker"
    if is_lost:
        return "waiting to be put into its queue again, which takes seconds"
    return f"waiting for the {tag} worker to begin"


def _behind(operation: Operation) -> str:
    """How many trainings of its queue were asked for earlier and are not done."""
    open_ones = Operation.objects.filter(status__in=OPEN, queue=operation.queue)
    count = open_ones.filter(created__lt=operation.created).count()
    return f", behind {count} earlier training{'' if count == 1 else 's'} of the {operation.queue} queue" if count else ""


def _duration(seconds: float) -> str:
    for length, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            count = f"{seconds / length:.3g}"
            return f"{count} {name}{'' if count == '1' else 's'}"
    return f"{seconds:.3g} s"
