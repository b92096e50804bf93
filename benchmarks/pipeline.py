"""Pipeline benchmark: bars → arrays as a multiple of a textbook implementation, and what a million bars cost.

Eight indicators, twenty memberships on two timeframes, zigzag labels. The two run in turns on the same bars;
`textbook` asserts nothing of itself, the numbers of both are compared first. Beyond 100k bars the textbook
is not run: its figure there is its cost per bar at 100k, and marked as such.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import textbook
from strategies_app.grammar.schema import StrategySpec
from training.core.values import Dataset
from training.pipeline import cache
from training.pipeline.bars import write_bars
from training.pipeline.dataset import build_dataset
from training.pipeline.features import duration, resample
from training.pipeline.frames import bar_times
from training.pipeline.loading import RunBars, load_bars
from training.pipeline.synthetic import make_bars

BASE, HIGHER, SYMBOL = "1h", "4h", "AAA"
THRESHOLD, LOOKAHEAD, SWING = 0.02, 20, 3
LARGEST_TEXTBOOK = 100_000
PAIRS = 5
#: A run's default on two cores.
THREADS = 2


def strategy() -> StrategySpec:
    """The strategy that `textbook.memberships` spells out."""
    indicators = {
        "strength": {"type": "rsi"}, "mean": {"type": "ema"}, "swing": {"type": "macd"}, "band": {"type": "bbands"},
        "range": {"type": "atr"}, "place": {"type": "stochastic"}, "flow": {"type": "obv"}, "change": {"type": "roc"},
    }  # fmt: skip

    def one(indicator: str, kind: str, points: list[float], transform: str = "identity") -> dict[str, Any]:
        return {"indicator": indicator, "input_transform": {"type": transform}, "it": {"type": kind, "parameters": points}}

    fuzzy_sets = {
        "weak": one("strength", "triangular", [0, 25, 50]),
        "strong": one("strength", "triangular", [50, 75, 100]),
        "trend": one("mean", "gaussian", [0, 1], "pct_of_price"),
        "swinging": one("swing.histogram", "sigmoid", [0, 0.001], "price_ratio"),
        "upper": one("band.upper", "triangular", [-1, 0.5, 2], "pct_of_price"),
        "wide": one("range", "triangular", [-0.001, 0.003, 0.02], "price_ratio"),
        "k": one("place.k", "sigmoid", [50, 10]),
        "d": one("place.d", "gaussian", [50, 20]),
        "flowing": one("flow", "sigmoid", [0, 50_000]),
        "changing": one("change", "triangular", [-2, 0, 2]),
    }
    labels = {"source": "zigzag", "zigzag_threshold": THRESHOLD, "label_lookahead": LOOKAHEAD, "min_swing_length": SWING}
    return StrategySpec.model_validate(
        {
            "name": "benchmark",
            "training_data": {
                "symbols": {"mode": "single", "symbol": SYMBOL},
                "timeframes": {"mode": "multi_timeframe", "list": [BASE, HIGHER]},
            },
            "indicators": indicators,
            "fuzzy_sets": fuzzy_sets,
            "nn_inputs": [{"fuzzy_set": name} for name in fuzzy_sets],
            "model": {"type": "mlp"},
            "training": {"labels": labels},
        }
    )


def ours(spec: StrategySpec, frame: pd.DataFrame) -> Dataset:
    """Bars in memory → rows."""
    times = bar_times(frame)
    frames = {SYMBOL: {BASE: frame, HIGHER: resample(frame, HIGHER)}}
    end = int(times[-1]) + duration(BASE)
    return build_dataset(spec, RunBars(frames, int(times[0]), end, {SYMBOL: times}, {}, {}, {}), threads=THREADS)


def theirs(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return textbook.build(frame, pd.Timedelta("1h"), pd.Timedelta("4h"), THRESHOLD, LOOKAHEAD, SWING)


def compare(spec: StrategySpec, frame: pd.DataFrame) -> float:
    """The largest difference between both results; AssertionError if they are not the same rows."""
    rows = ours(spec, frame).rows
    features, labels = theirs(frame)
    assert rows.features.shape == features.shape, f"{rows.features.shape} rows of ours, {features.shape} of the textbook"
    assert np.array_equal(rows.labels, labels), "the labels differ"
    difference = float(np.abs(rows.features - features).max())
    assert difference < 1e-5, f"a feature differs by {difference}"
    return difference


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def run(sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000), pairs: int = PAIRS) -> dict[str, Any]:
    """Paired ratios by number of bars, and for the largest number the whole way from the store."""
    spec = strategy()
    result: dict[str, Any] = {"largest_difference": compare(spec, make_bars(min(sizes), BASE))}
    per_bar = 0.0
    for size in sizes:
        result[str(size)] = measured = _pairs(spec, make_bars(size, BASE), pairs if size < LARGEST_TEXTBOOK else 1, per_bar)
        per_bar = measured["textbook_seconds"] / size
    result["cost_per_bar_largest_over_smallest"] = (
        result[str(max(sizes))]["nanoseconds_per_bar"] / result[str(min(sizes))]["nanoseconds_per_bar"]
    )
    with tempfile.TemporaryDirectory() as folder:
        write_bars(Path(folder), SYMBOL, BASE, make_bars(max(sizes), BASE))
        result["store"] = {"bars": max(sizes), **_from_store(spec, Path(folder), pairs), **_fresh(Path(folder))}
    return result


def _pairs(spec: StrategySpec, frame: pd.DataFrame, pairs: int, textbook_per_bar: float) -> dict[str, Any]:
    """The two in turns; ours three times around each textbook run, since it is so short."""
    ours(spec, frame)
    mine, plain, ratios = [], [], []
    extrapolated = len(frame) > LARGEST_TEXTBOOK
    for _ in range(pairs if not extrapolated else PAIRS):
        before = [seconds(lambda: ours(spec, frame)) for _ in range(3)]
        slow = textbook_per_bar * len(frame) if extrapolated else seconds(lambda: theirs(frame))[0]
        after = [seconds(lambda: ours(spec, frame)) for _ in range(3)]
        mine += [*before, *after]
        plain.append(slow)
        ratios.append(slow / statistics.median(wall for wall, _ in (*before, *after)))
    wall = statistics.median(w for w, _ in mine)
    return {
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "seconds": wall,
        "nanoseconds_per_bar": 1e9 * wall / len(frame),
        "textbook_seconds": statistics.median(plain),
        "textbook_extrapolated": extrapolated,
        "cpu_over_wall": sum(c for _, c in mine) / sum(w for w, _ in mine),
    }


def _from_store(spec: StrategySpec, root: Path, pairs: int) -> dict[str, Any]:
    """Parquet → arrays in a warm process, and a cache hit → the first batch."""
    times = [seconds(lambda: build_dataset(spec, load_bars(spec, root), threads=THREADS)) for _ in range(pairs)]
    bars = load_bars(spec, root)
    key, dataset = cache.cache_key(spec, bars), build_dataset(spec, bars)
    kept = seconds(lambda: cache.keep(root / "cache", key, dataset, 10**10))

    def first_batch() -> None:
        found = cache.find(root / "cache", cache.cache_key(spec, load_bars(spec, root)), spec)
        assert found is not None
        order = np.random.default_rng(0).permutation(len(found.rows))[:256]
        np.ascontiguousarray(found.rows.features[order])

    hits = [seconds(first_batch)[0] for _ in range(pairs)]
    return {
        "parquet_to_arrays_seconds": statistics.median(w for w, _ in times),
        "cpu_over_wall": sum(c for _, c in times) / sum(w for w, _ in times),
        "load_seconds": statistics.median(seconds(lambda: load_bars(spec, root))[0] for _ in range(pairs)),
        "cache_write_seconds": kept[0],
        "cache_hit_to_first_batch_seconds": statistics.median(hits),
    }


_ONCE = "import sys; from benchmarks.pipeline import once; once(sys.argv[1])"


def once(root: str) -> None:
    """The whole way once, for a process that was just started."""
    spec = strategy()
    rows = build_dataset(spec, load_bars(spec, Path(root)), threads=THREADS).rows
    assert "torch" not in sys.modules
    print(len(rows), flush=True)


def _fresh(root: Path, repeats: int = 3) -> dict[str, Any]:
    """A process from its start until the arrays are there, imports included, kernels cached; its anonymous memory."""
    walls, peaks = [], []
    for number in range(repeats + 1):
        begin = time.perf_counter()
        child = subprocess.Popen([sys.executable, "-c", _ONCE, str(root)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        if number:
            assert child.stdout.readline()
            walls.append(time.perf_counter() - begin)
        else:
            peaks.append(_peak_anonymous(child))
        assert child.wait() == 0
    return {"fresh_process_seconds": statistics.median(walls), "peak_anonymous_megabytes": max(peaks) / 1e6}


def _peak_anonymous(child: subprocess.Popen[bytes]) -> int:
    """The largest RssAnon (bytes) of a process until it ends, looked at every two milliseconds; 0 where there is no /proc."""
    peak = 0
    while child.poll() is None:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text()
        except OSError:
            status = ""
        lines = [line for line in status.splitlines() if line.startswith("RssAnon")]
        peak = max([peak, *(int(line.split()[1]) * 1024 for line in lines)])
        time.sleep(0.002)
    return peak


if __name__ == "__main__":
    print(f"CPUs: {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}")
    print(json.dumps(run(), indent=1))
