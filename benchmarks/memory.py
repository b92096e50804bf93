"""Memory benchmark: the own memory (RssAnon) that a run takes at most, beside what its plan estimates, over ten shapes.

Each shape trains in a process of its own, which reads its bars from files as any run does, on one thread.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strategies_app.grammar.schema import StrategySpec
from training.core.memory import own_memory, program_now
from training.pipeline.bars import write_bars
from training.pipeline.synthetic import make_bars

SAMPLE_SECONDS = 0.004


@dataclass(frozen=True)
class Shape:
    """What a run is made of."""

    name: str
    symbols: int = 1
    bars: int = 100_000
    indicators: int = 6
    lags: int = 0
    hidden: tuple[int, ...] = (32,)
    batch: int = 1024
    recurrent: str = ""
    window: int = 1


SHAPES = (
    Shape("a small run", bars=20_000),
    Shape("a year of minutes", bars=500_000),
    Shape("many features", bars=200_000, indicators=40),
    Shape("lags", bars=200_000, lags=20),
    Shape("more lags", bars=300_000, indicators=10, lags=30),
    Shape("many symbols", symbols=100, bars=10_000),
    Shape("some symbols, many bars", symbols=10, bars=100_000, indicators=12),
    Shape("a large network", bars=50_000, hidden=(2048, 2048), batch=256),
    Shape("large batches", bars=100_000, hidden=(512, 512), batch=16_384),
    Shape("windows", bars=100_000, recurrent="lstm", window=64, batch=256),
)


def strategy(shape: Shape) -> StrategySpec:
    """The strategy of a shape, on hourly bars."""
    names = [f"S{number:04}" for number in range(shape.symbols)]
    symbols = {"mode": "multi_symbol", "list": names} if len(names) > 1 else {"mode": "single", "symbol": names[0]}
    indicators = {f"rsi_{k}": {"type": "rsi", "period": 5 + k} for k in range(shape.indicators)}
    model: dict[str, Any] = {"type": "mlp", "architecture": {"hidden_layers": list(shape.hidden)}}
    if shape.recurrent:
        model = {"type": shape.recurrent, "architecture": {"hidden_size": 32, "num_layers": 1, "sequence_length": shape.window}}
    if shape.lags:
        model["features"] = {"lookback_periods": shape.lags}
    labels = {"source": "zigzag", "zigzag_threshold": 0.02, "label_lookahead": 20}
    return StrategySpec.model_validate(
        {
            "name": "memory",
            "training_data": {
                "symbols": symbols,
                "timeframes": {"mode": "single", "timeframe": "1h"},
                "start_date": "1955-01-01",
                "end_date": "2100-01-01",
            },
            "indicators": indicators,
            "fuzzy_sets": {},
            "nn_inputs": [{"raw_indicator": name} for name in indicators],
            "model": model,
            "training": {"labels": labels, "epochs": 1, "batch_size": shape.batch, "early_stopping": {"enabled": False}},
        }
    )


class Peak:
    """The most own memory of this process while inside, sampled by a thread."""

    def __init__(self) -> None:
        self.most = own_memory() or 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.most = max(self.most, own_memory() or 0)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *what: object) -> None:
        self._ended.set()
        self._thread.join()


def once(root: str, shape: Shape) -> None:
    """In the child: train, and print what the run took at most beside the program, what the plan said, and the program."""
    from training import recipe
    from training.pipeline.prepare import footprint_of

    spec = strategy(shape)
    program = program_now()
    with Peak() as peak:
        bars = recipe.load_bars(spec, Path(root))
        told = footprint_of(spec, bars)
        recipe.train_strategy(spec, bars)
    print(json.dumps({"program": program, "peak": peak.most, "estimate": program + told.run}))


def measure(shape: Shape, folder: Path) -> dict[str, int]:
    """`once` in a process of its own, on synthetic bars."""
    for number in range(shape.symbols):
        write_bars(folder, f"S{number:04}", "1h", make_bars(shape.bars, "1h", number, start="1960-01-01"))
    command = [sys.executable, "-c", f"from benchmarks.memory import *; once({str(folder)!r}, Shape(**{asdict(shape)!r}))"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run(shapes: tuple[Shape, ...] = SHAPES) -> dict[str, dict[str, int]]:
    """Per shape: bytes of the program, peak and estimate."""
    found = {}
    for shape in shapes:
        with tempfile.TemporaryDirectory() as folder:
            found[shape.name] = measure(shape, Path(folder))
    return found


def table(found: dict[str, dict[str, int]]) -> list[str]:
    """Lines of docs/performance.md."""
    lines = ["## Memory of a run", "", "The most own memory (RssAnon) of a training's process, beside what its plan says.", ""]
    lines += ["| shape | of these the program | estimated | measured | estimate / measured |", "|---|---:|---:|---:|---:|"]
    for name, told in found.items():
        sizes = [f"{told[part] / 1e6:,.0f} MB" for part in ("program", "estimate", "peak")]
        lines.append(f"| {name} | {' | '.join(sizes)} | {told['estimate'] / told['peak']:.2f} |")
    return [*lines, ""]


if __name__ == "__main__":
    print("\n".join(table(run())))
