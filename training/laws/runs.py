"""Laws over whole runs: a small strategy around the kind is trained, stopped, resumed and served, as the product does it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies_app.grammar.schema import StrategySpec
from training.core.values import Callback, Cancelled, EpochMetrics, Parts, Silent
from training.laws.law import Law, Subject, broken, first_difference, fresh_process
from training.laws.markets import Columns
from training.pipeline.bars import write_bars
from training.pipeline.dataset import build_features
from training.pipeline.features import bar_columns
from training.pipeline.frames import bar_frame, bar_times, bar_values
from training.pipeline.loading import load_bars
from training.pipeline.synthetic import make_bars
from training.recipe import train_strategy
from training.trainer.bundle import Bundle, save_bundle

SYMBOLS = ("AAA", "BBB")
BARS, EPOCHS = 460, 4
_LABEL = {"source": "context", "horizon": 3, "bullish_threshold": 0.004, "bearish_threshold": -0.004}
_NETWORK = {"type": "mlp", "architecture": {"hidden_layers": [12], "dropout": 0.2}}


@dataclass(frozen=True)
class Asked:
    """What stands in the strategy: sections as a strategy writes them, what is left out is built in."""

    indicator: dict[str, Any] = field(default_factory=lambda: {"type": "rsi", "period": 5})
    outputs: tuple[str, ...] = ("value",)
    label: dict[str, Any] = field(default_factory=lambda: dict(_LABEL))
    network: dict[str, Any] = field(default_factory=lambda: dict(_NETWORK))


def strategy(
    asked: Asked, symbols: tuple[str, ...] = SYMBOLS, normalization: str = "zscore", regression: bool = False
) -> StrategySpec:
    inputs = [{"raw_indicator": f"it.{output}", "normalization": normalization} for output in asked.outputs]
    costs = {"output_format": "regression", "cost_model": {"round_trip_cost": 0.001, "min_edge_multiplier": 1.0}}
    return StrategySpec.model_validate(
        {
            "name": "law",
            "training_data": {
                "symbols": {"mode": "multi_symbol", "list": list(symbols)},
                "timeframes": {"mode": "single", "timeframe": "1d"},
            },
            "indicators": {"it": asked.indicator},
            "fuzzy_sets": {},
            "nn_inputs": inputs,
            "model": asked.network,
            "decisions": costs if regression else {},
            "training": {"labels": asked.label, "epochs": EPOCHS, "batch_size": 32, "early_stopping": {"enabled": False}},
        }
    )


def laws(subject: Subject, asked: Asked, *, serve: bool, regression: bool = False) -> Iterator[Law]:
    """resume, and serve = train where the kind plays a part in predicting."""

    def resume() -> None:
        with _stored_bars(SYMBOLS) as root:
            _resume(subject, strategy(asked, regression=regression), root)

    def served() -> None:
        with _stored_bars(SYMBOLS) as root:
            _serve(subject, strategy(asked, regression=regression), root)

    yield Law("resume", subject, resume)
    if serve:
        yield Law("serve = train", subject, served)


class _stored_bars:  # noqa: N801 - used as a function: with _stored_bars(symbols) as root
    """A store of made-up bars in a folder that goes away."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self._symbols = symbols
        self._folder = tempfile.TemporaryDirectory(prefix="laws-")

    def __enter__(self) -> Path:
        root = Path(self._folder.name)
        for number, symbol in enumerate(self._symbols):
            write_bars(root, symbol, "1d", make_bars(BARS + 40 * number, "1d", 30 + number))
        return root

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


class _Stopping(Silent):
    """Keeps the state after an epoch and stops there."""

    def __init__(self, after: int) -> None:
        self.after, self.parts = after, Parts()

    def on_epoch_end(self, metrics: EpochMetrics, state: Callable[[], Parts]) -> None:
        if metrics["epoch"] == self.after:
            self.parts = state()
            raise Cancelled


def _trained(spec: StrategySpec, root: Path, callback: Callback | None = None, resume: Parts | None = None) -> Bundle:
    return train_strategy(spec, load_bars(spec, root), callback=callback, resume=resume, device="cpu")


def _resume(subject: Subject, spec: StrategySpec, root: Path) -> None:
    whole = _trained(spec, root)
    for after in (0, EPOCHS - 2):
        stopping = _Stopping(after)
        try:
            _trained(spec, root, stopping)
        except Cancelled:
            resumed = _trained(spec, root, resume=stopping.parts)
        else:
            raise RuntimeError("the run was not stopped")
        again = resumed.network.state_dict()
        for name, tensor in whole.network.state_dict().items():
            if tensor.numpy().tobytes() == again[name].numpy().tobytes():
                continue
            far = float((tensor.double() - again[name].double()).abs().max())
            said = f"stopped after epoch {after + 1} of {EPOCHS} and resumed, {name} ends {far:.3g} away from an undisturbed run"
            means = "something that decides the run is kept outside of parameters, buffers and torch's random numbers"
            broken(subject, "resume", f"{said}: {means}")


_SERVE = """
from pathlib import Path
import numpy as np
from strategies_app.grammar.schema import StrategySpec
from training.recipe import load_bars, predict_bars
from training.trainer.bundle import load_bundle
root = Path({root!r})
bundle = load_bundle(root / "bundle")
bars = load_bars(StrategySpec.model_validate(bundle.spec), root, first_bars=bundle.first_bars, sources=bundle.sources)
told = {{symbol: predict_bars(bundle, symbol, bars.frames[symbol], bars.start) for symbol in reversed(bundle.symbols)}}
times = {{f"{{symbol}}.times": p.times for symbol, p in told.items()}}
np.savez(root / "told.npz", **times, **{{symbol: p.said for symbol, p in told.items()}})
"""


def _serve(subject: Subject, spec: StrategySpec, root: Path) -> None:
    """In a fresh process, the symbols in another order, the rows of training among all others."""
    bundle = _trained(spec, root)
    save_bundle(bundle, root / "bundle")
    done = fresh_process(_SERVE.format(root=str(root)))
    if done.returncode:
        broken(subject, "serve = train", f"a fresh process cannot predict: {done.stderr.strip().splitlines()[-1]}")
    with np.load(root / "told.npz") as told:
        for split, kept in bundle.predictions.items():
            for number, symbol in enumerate(bundle.symbols):
                mine = kept.symbols == number
                places = np.searchsorted(told[f"{symbol}.times"], kept.times[mine])
                served, trained = told[symbol][places].ravel(), np.ascontiguousarray(kept.said[mine]).ravel()
                place = first_difference(served, trained)
                if place is not None:
                    was = trained[place]
                    said = f"in the {split} rows of {symbol} a number is {served[place]:.9g}, and was {was:.9g} in training"
                    means = "something is kept in the process, or a row's answer depends on the rows beside it"
                    broken(subject, "serve = train", f"{said}: {means}")


@dataclass(frozen=True)
class OneGone:
    """What became of a series with a missing price: the rows, and the bars that are left. Times in µs."""

    features: NDArray[np.float32]
    times: NDArray[np.int64]
    all_times: NDArray[np.int64]
    gone: int
    columns: Columns


def with_one_nan_bar(asked: Asked) -> OneGone:
    """Bars of which one has a missing price, through store, loading and the making of features."""
    spec, at = strategy(asked, ("AAA",), "none"), BARS // 2
    frame = make_bars(BARS, "1d", 40)
    times, values = bar_times(frame), bar_values(frame).copy()
    values[1:4, at] = np.nan
    with tempfile.TemporaryDirectory(prefix="laws-") as folder:
        write_bars(Path(folder), "AAA", "1d", bar_frame(times, values))
        bars = load_bars(spec, Path(folder))
        inputs = build_features(spec, bars.frames["AAA"], bars.start)
    left = np.arange(BARS) != at
    columns = dict(bar_columns(bar_frame(times[left], np.ascontiguousarray(values[:, left]))))
    return OneGone(inputs.features, inputs.times, times[left], int(times[at]), columns)
