"""Symbols benchmark: features and labels of many symbols on one thread and on two, and the memory that a thousand take.

The strategy is that of the pipeline benchmark. One thread and two run in turns in one process, on the same bars, and give
the same bits, which is compared first.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.pipeline import BASE, HIGHER, _peak_anonymous, seconds, strategy
from strategies_app.grammar.schema import StrategySpec
from training.pipeline.bars import write_bars
from training.pipeline.dataset import build_dataset
from training.pipeline.features import duration, resample
from training.pipeline.frames import bar_times
from training.pipeline.loading import RunBars, load_bars
from training.pipeline.synthetic import make_bars

SYMBOLS, BARS, PAIRS = 100, (1_000, 10_000, 50_000), 7
MANY, EACH = 1_000, 2_000


def several(count: int) -> StrategySpec:
    """The strategy with so many symbols."""
    plain = strategy().plain()
    plain["training_data"]["symbols"] = {"mode": "multi_symbol", "list": [f"S{number:04}" for number in range(count)]}
    return StrategySpec.model_validate(plain)


def run(sizes: tuple[int, ...] = BARS, symbols: int = SYMBOLS, many: int = MANY, each: int = EACH) -> dict[str, Any]:
    """Per size ratio, ratio_range and seconds on one thread and on two; memory: see `_memory`."""
    return {"sizes": {size: _measure(several(symbols), size) for size in sizes}, "memory": _memory(many, each)}


def _measure(spec: StrategySpec, size: int) -> dict[str, Any]:
    frames = {symbol: make_bars(size, BASE, number) for number, symbol in enumerate(spec.symbols)}
    clock = {symbol: bar_times(frame) for symbol, frame in frames.items()}
    times = clock[spec.symbols[0]]
    both = {symbol: {BASE: frame, HIGHER: resample(frame, HIGHER)} for symbol, frame in frames.items()}
    bars = RunBars(both, int(times[0]), int(times[-1]) + duration(BASE), clock, {}, {}, {})
    one, two = (build_dataset(spec, bars, threads=threads).rows.features.tobytes() for threads in (1, 2))
    assert one == two, "two threads give other bits"
    del one, two
    walls: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(PAIRS):
        for threads, taken in walls.items():
            taken.append(seconds(lambda threads=threads: build_dataset(spec, bars, threads=threads))[0])  # type: ignore[misc]
    ratios = [alone / shared for alone, shared in zip(walls[1], walls[2], strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "seconds": {threads: statistics.median(taken) for threads, taken in walls.items()},
    }


def once(root: str, count: int, threads: int) -> None:
    """Load and work out all symbols of a store; prints what lies in memory for a purpose, in bytes."""
    spec = several(count)
    bars = load_bars(spec, Path(root), threads=threads)
    held = sum(frame.memory_usage().sum() for frames in bars.frames.values() for frame in frames.values())
    rows = build_dataset(spec, bars, threads=threads).rows
    columns = [column for column in vars(rows).values() if column is not None]
    places = [column if column.base is None else column.base for column in columns]
    print(json.dumps({"bars": int(held), "rows": sum(place.nbytes for place in places)}), flush=True)


def _memory(count: int, each: int) -> dict[str, float]:
    """Megabytes: bars and rows of all symbols, peak (anonymous memory of a process that does it on two threads), and
    that of the same with one symbol, which is imports and kernels."""
    with tempfile.TemporaryDirectory() as folder:
        for number, symbol in enumerate(several(count).symbols):
            write_bars(Path(folder), symbol, BASE, make_bars(each, BASE, number))
        whole, alone = _child(folder, count), _child(folder, 1)
    return {"symbols": count, "each": each, **whole, "alone": alone["peak"]}


def _child(root: str, count: int) -> dict[str, float]:
    code = f"from benchmarks.symbols import once; once({root!r}, {count}, 2)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    peak = _peak_anonymous(child)
    assert child.returncode == 0
    return {name: size / 1e6 for name, size in (json.loads(child.stdout.read()) | {"peak": peak}).items()}


def table(figures: dict[str, Any]) -> list[str]:
    """The section of docs/performance.md."""
    lines = [
        "## Many symbols",
        "",
        f"The strategy of bars to arrays for {SYMBOLS} symbols, on one thread and on two in turns, with the same bits. What",
        "holds Python's lock (TA-Lib, pandas) takes its turn, so short series gain nothing.",
        "",
        "| bars per symbol | one thread | two threads | times as fast | range |",
        "|---:|---:|---:|---:|---:|",
    ]
    for size, f in figures["sizes"].items():
        low, high = f["ratio_range"]
        walls = " | ".join(f"{1e3 * f['seconds'][threads]:.0f} ms" for threads in (1, 2))
        lines.append(f"| {int(size):,} | {walls} | {f['ratio']:.2f} | {low:.2f}–{high:.2f} |")
    m = figures["memory"]
    rest = m["peak"] - m["bars"] - m["rows"] - m["alone"]
    rows = [
        ("bars, both timeframes", m["bars"]),
        ("rows: features, labels, times", m["rows"]),
        ("a process with one symbol", m["alone"]),
        ("peak with all of them", m["peak"]),
        ("peak beyond the three above", rest),
    ]
    head = f"Memory of {m['symbols']:,} symbols of {m['each']:,} bars, loaded and worked out on two threads:"
    return [*lines, "", head, "", "| | |", "|---|---:|", *(f"| {name} | {size:,.0f} MB |" for name, size in rows), ""]
