"""What a trained model kept, for the eye: its predictions over the candles of a split, its ledger; no torch, no pandas."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.core.values import SIGNALS, signals_of_returns
from training.jobs.downloads import bundle_folder, unread
from training.models import Operation, TrainedModel
from training.store.coverage import DAY, DataError, day_of, day_start

#: So many points are drawn at most: more than a screen can show are thinned to equal stretches.
POINTS = 600
#: In so many bars at most each call is marked; more marks would hide the candles.
MARKED = 250
#: Stored bars read for one drawing at most.
MOST_BARS = 5_000_000


@dataclass(frozen=True)
class Said:
    """One symbol's rows of a split: times µs int64 (n,); labels int64 (n,) with probabilities float32 (n, k), or realised
    returns float64 (n,) as labels with the predicted ones in place of probabilities."""

    times: NDArray[np.int64]
    labels: NDArray[Any]
    probabilities: NDArray[Any]

    def __len__(self) -> int:
        return len(self.times)


def kept_predictions(model: TrainedModel) -> dict[str, NDArray[Any]]:
    """`{split}.{times | symbols | labels | probabilities or returns}` as kept with the bundle. FolderError if unreadable."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = bundle_folder(model) / "predictions.safetensors"
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as problem:
        raise unread(path, problem) from None


def said_of(arrays: dict[str, NDArray[Any]], split: str, number: int) -> Said:
    """The rows of the symbol with this number."""
    own = arrays[f"{split}.symbols"] == number
    said = "returns" if f"{split}.returns" in arrays else "probabilities"
    return Said(*(arrays[f"{split}.{name}"][own] for name in ("times", "labels", said)))


def between(said: Said, first: dt.date | None, last: dt.date | None) -> Said:
    """The rows between two UTC days."""
    begin = 0 if first is None else int(np.searchsorted(said.times, day_start(first)))
    end = len(said) if last is None else int(np.searchsorted(said.times, day_start(last) + DAY))
    return Said(said.times[begin:end], said.labels[begin:end], said.probabilities[begin:end])


def base_timeframe(operation: Operation) -> str:
    return min(operation.timeframes, key=lambda name: TIMEFRAMES[name])


def drawn(operation: Operation, symbol: str, said: Said, names: list[str]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Candles (None where no bars are stored) and what was said, thinned alike, as `figures.probabilities` takes them."""
    starts, lengths = _stretches(len(said))
    times, counts = said.times[starts], lengths[:, None]
    means = np.add.reduceat(said.probabilities.astype(np.float64), starts, axis=0) / counts
    told = {
        "times": texts(times),
        "classes": {name: [round(float(value), 4) for value in means[:, place]] for place, name in enumerate(names)},
        "marks": [],
    }
    candles = _candles(operation, symbol, said, times)
    if candles and len(times) == len(said) <= MARKED:
        told["marks"] = _marks(said, candles, names)
    return candles, told


def _stretches(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Beginnings and lengths of at most POINTS equal stretches of `count` rows."""
    edges = np.unique(np.linspace(0, count, min(count, POINTS) + 1).astype(np.int64))
    return edges[:-1], np.diff(edges)


def drawn_returns(operation: Operation, symbol: str, said: Said, edge: float) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Candles (None where no bars are stored) and returns, thinned alike, as `figures_returns.predictions` takes them."""
    starts, counts = _stretches(len(said))
    times = said.times[starts]
    told: dict[str, Any] = {"times": texts(times), "marks": []}
    for name, column in (("predicted", said.probabilities), ("realised", said.labels)):
        told[name] = [round(float(value), 6) for value in np.add.reduceat(column, starts) / counts]
    candles = _candles(operation, symbol, said, times)
    if candles and len(times) == len(said) <= MARKED:
        signals = signals_of_returns(said.probabilities, edge).tolist()
        told["marks"] = [
            {"time": candles["times"][row], "signal": SIGNALS[place], "price": candles["low" if place == 0 else "high"][row],
             "right": bool((said.labels[row] > 0) == (place == 0))}
            for row, place in enumerate(signals) if SIGNALS[place] != "HOLD"
        ]  # fmt: skip
    return candles, told


def _marks(said: Said, candles: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """One per bar that was called a rise or a fall, below or above its candle."""
    called = said.probabilities.argmax(axis=1)
    prices = {"BUY": "low", "BULLISH": "low", "UP": "low", "SELL": "high", "BEARISH": "high", "DOWN": "high", "VOLATILE": "high"}
    return [
        {"time": candles["times"][row], "class": names[place], "price": candles[prices[names[place]]][row],
         "right": bool(place == said.labels[row])}
        for row, place in enumerate(called.tolist())
        if names[place] in prices
    ]  # fmt: skip


def _candles(operation: Operation, symbol: str, said: Said, starts: NDArray[np.int64]) -> dict[str, Any] | None:
    """One candle per stretch that begins at `starts`, from the bars that the training read; None if they are not stored."""
    from training.store.candles import read_candles

    base = base_timeframe(operation)
    source = operation.sources.get(symbol, {}).get(base, base)
    end = int(said.times[-1]) + TIMEFRAMES[base] * 1_000_000
    try:
        times, values = read_candles(Path(settings.STORE_DIR), symbol, source, int(starts[0]), end, MOST_BARS)
    except DataError:
        return None
    whole = np.isfinite(values[:4]).all(axis=0)
    times, values = times[whole], values[:, whole]
    places = np.append(np.searchsorted(times, starts), len(times))
    if not len(times) or (np.diff(places) < 1).any():
        return None
    first, after = places[:-1], places[1:]
    columns = {
        "open": values[0][first], "high": np.maximum.reduceat(values[1], first),
        "low": np.minimum.reduceat(values[2], first), "close": values[3][after - 1],
    }  # fmt: skip
    return {"times": texts(starts), **{name: [float(f"{v:.7g}") for v in column] for name, column in columns.items()}}


def texts(times: NDArray[np.int64]) -> list[str]:
    """µs UTC → text that Plotly reads as a date."""
    return [text.replace("T", " ") for text in np.datetime_as_string(times.view("M8[us]"), unit="m").tolist()]


def ledger_spans(split: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Symbol → spans; a ledger without spans of its own is drawn from its cuts."""
    if split.get("spans"):
        return dict(split["spans"])
    (first, second), (one, two), end = split["cuts"], split["embargo_ends"], split["end"]
    borders = {
        "train": (split["start"], first), "validation": (one, min(second, end)), "test": (two, end),
    }  # fmt: skip
    return {
        symbol: [
            {"part": part, "first": begin, "last": until, "rows": counts.get(part, 0)}
            for part, (begin, until) in borders.items()
            if counts.get(part)
        ]
        for symbol, counts in split.get("per_symbol", {}).items()
    }


def span_of(split: dict[str, Any], name: str) -> tuple[str, str]:
    """First and last UTC day of the validation or the test split."""
    place = 0 if name == "validation" else 1
    end = min(split["cuts"][1], split["end"]) if name == "validation" else split["end"]
    return day_of(split["embargo_ends"][place]).isoformat(), day_of(end - 1).isoformat()
