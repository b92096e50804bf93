"""The values that pass from the pipeline to the trainer, the seam through which a run is watched and stopped, and signals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

#: Microseconds since 1970-01-01 UTC.
Microseconds = NDArray[np.int64]
#: A checkpoint as bytes: part name (`model.safetensors`, `state.json`, …) → content.
Parts = dict[str, bytes]


class Refusal(Exception):
    """Something cannot be done, in one sentence for the person who asked: what was seen, what was wanted, what helps.

    exit_code: what a command ends with: 1 failed, 2 asked wrongly. category: what a run fails of that ends with it, see
    training/jobs/failures.py; resuming_helps: whether it can go on afterwards, None: as others of its category.
    """

    exit_code = 1
    category = "strategy"
    resuming_helps: bool | None = None


class Cancelled(Exception):
    """Raised by a callback to stop a run; pure code never catches it. `kind` names the checkpoint to write."""

    def __init__(self, message: str = "cancelled", kind: str = "cancellation") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Rows:
    """Examples, symbol after symbol in time order; row i of every array is the same (symbol, time).

    features float32 (m, f), C-contiguous; labels int64 (n,) class numbers, or float64 (n,) returns;
    times int64 (n,) the base bar's open, µs UTC; label_ends int64 (n,) when the last bar the label
    looked at is known, µs UTC; symbols int32 (n,) positions in `Dataset.symbols`; weights float32 (n,)
    above 0: how much a row counts beside the others of its symbol in training, None if all count alike.

    A network that sees one bar at a time reads features[i] for row i, and m = n. For one that sees windows
    (`Dataset.window`) features holds every bar that has all of them, symbol after symbol, bar_times int64 (m,)
    and bar_symbols int32 (m,) say which bars those are, and ends int64 (n,) where the last bar of each
    row's window lies among them; the bars before it in the window lie right before it.
    """

    features: NDArray[np.float32]
    labels: NDArray[Any]
    times: Microseconds
    label_ends: Microseconds
    symbols: NDArray[np.int32]
    weights: NDArray[np.float32] | None = None
    ends: NDArray[np.int64] | None = None
    bar_times: Microseconds | None = None
    bar_symbols: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.times)

    def last_bars(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in `features` the last bar of each of these rows lies: int64, as many as positions."""
        return positions if self.ends is None else self.ends[positions]


def rows_by_symbol(symbols: NDArray[np.int32], count: int) -> list[NDArray[np.int64]]:
    """For each of `count` symbols the positions of its rows in `symbols` (n,), in order, in one pass over them."""
    order = np.argsort(symbols, kind="stable")
    return np.split(order, np.searchsorted(symbols[order], np.arange(1, count)))


def independent_rows(times: NDArray[np.int64], ends: NDArray[np.int64], symbols: NDArray[np.int32], bar: int) -> int:
    """How many of the labels can be taken, symbol by symbol and from the first on, so that none looks at another's bars.

    times: opens of the rows' bars, ends: when their labels are known, µs, in order within each symbol.
    Labels that overlap tell the same twice: a margin of error has to count these rows only.
    """
    count = 0
    for own in rows_by_symbol(symbols, int(symbols.max(initial=-1)) + 1):
        following = np.searchsorted(times[own] + bar, ends[own], side="left").tolist()
        place = 0
        while place < len(following):
            count, place = count + 1, max(following[place], place + 1)
    return count


@dataclass(frozen=True)
class Dataset:
    """All rows of a run with the names that give their columns and numbers a meaning.

    clock int64 (m,): the sorted union of the base-bar times of all symbols in [start, end], before
    any row was dropped; it is what splits are cut on. normalization: one of none, zscore, minmax per
    feature. class_names is empty for a regression label. dropped counts rows left out, by reason;
    dropped_by_symbol the same for each symbol. window: consecutive bars that an example consists of. without_bar:
    symbol → timeframe → base bars for which no bar of that timeframe is known.
    """

    rows: Rows
    clock: Microseconds
    symbols: tuple[str, ...]
    feature_names: tuple[str, ...]
    normalization: tuple[str, ...]
    class_names: tuple[str, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)
    dropped_by_symbol: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    window: int = 1
    without_bar: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def begins(self) -> Microseconds:
        """When the first bar of each row's window opens: int64 (n,), µs UTC; `rows.times` if a window is one bar."""
        rows = self.rows
        return rows.times if rows.ends is None or rows.bar_times is None else rows.bar_times[rows.ends - (self.window - 1)]


@dataclass(frozen=True)
class Splits:
    """Which rows train, validate and test: int64 positions in `Rows`, ascending.

    cuts: the two times (µs UTC) that separate the sides; embargo_ends: where the embargo behind each
    cut ends. purged, embargoed and crossing: positions of the rows that belong to no split, by reason: their
    label looks over a cut, they stand right behind one, or their window reaches back to before their side begins.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    cuts: tuple[int, int]
    embargo_ends: tuple[int, int]
    purged: NDArray[np.int64]
    embargoed: NDArray[np.int64]
    crossing: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


class BatchMetrics:
    """Where training stands inside an epoch. One object is reused; read it, do not keep it.

    epoch, batch: counted from 0; batches: per epoch; samples: seen in this epoch so far.
    `loss()` reads the mean training loss of this epoch so far from the device: call it only when it is shown.
    """

    __slots__ = ("batch", "batches", "epoch", "epochs", "loss", "samples")

    def __init__(self, epochs: int, batches: int) -> None:
        self.epoch = 0
        self.epochs = epochs
        self.batch = 0
        self.batches = batches
        self.samples = 0
        self.loss: Callable[[], float] = lambda: float("nan")


EpochMetrics = dict[str, Any]


#: Above this share of the validation rows in one class, the network has stopped telling classes apart.
COLLAPSED = 0.95


#: So often a collapse is told; classes may take turns for hundreds of epochs.
MOST_COLLAPSES = 3


class Collapse:
    """Follows the predicted classes from epoch to epoch, and says when they fall into one and when they come apart again."""

    def __init__(self) -> None:
        self._fallen, self._times = "", 0

    def news(self, metrics: EpochMetrics) -> str:
        """A sentence if something changed with this epoch, else ""."""
        shares: Mapping[str, float] = metrics.get("predicted_shares") or {}
        name, share = max(shares.items(), key=lambda item: item[1], default=("", 0.0))
        before, self._fallen = self._fallen, name if share > COLLAPSED else ""
        if self._fallen == before:
            return ""
        self._times += bool(self._fallen)
        if self._times > MOST_COLLAPSES:
            first = self._times == MOST_COLLAPSES + 1 and self._fallen
            return self._again(metrics) if first else ""
        if self._fallen:
            return (
                f"epoch {metrics['epoch'] + 1}: {share:.1%} of the validation rows are called {name}, the classes have collapsed "
                "into one; try class_weights: balanced, a lower learning_rate or another label"
            )
        return f"epoch {metrics['epoch'] + 1}: the predicted classes have come apart again, {name} is at {share:.1%}"

    def _again(self, metrics: EpochMetrics) -> str:
        return (
            f"epoch {metrics['epoch'] + 1}: the classes have collapsed again, for the {self._times}th time, into "
            f"{self._fallen}; what follows of it is in the shares of the epochs and not told any more"
        )


def collapse_notes(history: Iterable[EpochMetrics]) -> list[str]:
    """The sentences of a whole run."""
    classes = Collapse()
    return [news for metrics in history if (news := classes.news(metrics))]


class Callback(Protocol):
    """What a run tells, and how it is stopped: any exception raised here ends the run and passes through."""

    def on_stage(self, name: str, fraction: float) -> None:
        """A stage (`load`, `indicators`, …) stands at `fraction` in [0, 1]; 0 is its first moment."""

    def on_batch_end(self, metrics: BatchMetrics) -> None:
        """A batch was trained. Called for every batch: answer in microseconds."""

    def on_epoch_end(self, metrics: EpochMetrics, state: Callable[[], Parts]) -> None:
        """An epoch was trained and validated; `state()` gives the bytes to continue from its end, also later."""


class Silent:
    """A callback that listens to nothing, for notebooks and tests."""

    def on_stage(self, name: str, fraction: float) -> None: ...

    def on_batch_end(self, metrics: BatchMetrics) -> None: ...

    def on_epoch_end(self, metrics: EpochMetrics, state: Callable[[], Parts]) -> None: ...


#: Signals of a predicted return, in the order in which they are shown.
SIGNALS = ("BUY", "HOLD", "SELL")


def signals_of(chances: NDArray[np.float32], class_names: tuple[str, ...], threshold: float) -> list[str]:
    """The most probable class where its probability reaches the threshold, else HOLD if there is such a class, else ""."""
    names = np.array([*class_names, "HOLD" if "HOLD" in class_names else ""])
    best = chances.argmax(axis=1)
    sure = chances[np.arange(len(chances)), best] >= threshold
    return [str(name) for name in names[np.where(sure, best, len(class_names))]]


def signals_of_returns(returns: NDArray[np.float64], edge: float) -> NDArray[np.int64]:
    """Positions in SIGNALS (n,): BUY from `edge` up, SELL from −`edge` down, else HOLD.

    edge: the cost of a round trip times the required multiple of it. A return of exactly 0 is never a signal.
    """
    return np.where((returns >= edge) & (returns > 0), 0, np.where((returns <= -edge) & (returns < 0), 2, 1))
