"""How long a training will take, from how long earlier ones of similar size took."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from statistics import median
from typing import Any

from strategies_app.grammar.schema import names_in
from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.models import BarSeries, EpochMetric, Operation, Status

#: Earlier runs that are looked at, and by what factor their size may differ.
RUNS, SIMILAR, SIMILAR_BATCH = 30, 4.0, 2.0
#: So many epochs tell the pace of a run.
PACE_EPOCHS = 20
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
    of_run: dict[str, list[float]] = {}
    rows = EpochMetric.objects.filter(operation__in=operations, epoch__range=(1, PACE_EPOCHS))
    for operation, seconds in rows.values_list("operation", "metrics__seconds"):
        if seconds:
            of_run.setdefault(operation, []).append(float(seconds))
    return {operation: median(seconds) for operation, seconds in of_run.items()}


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
