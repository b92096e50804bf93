"""Indicator benchmark: every kind with its defaults, in bars a second, and those that are made of TA-Lib's beside them.

The two run in turns on the same bars, in one thread, and its CPU time is what counts. What is written with kernels and sums
of ours stands by its speed alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import talib

from benchmarks.pipeline import seconds
from strategies_app.grammar.vocabulary import INDICATORS
from training.pipeline.indicators import Array, Columns, compute
from training.pipeline.synthetic import make_bars

BARS, PAIRS = 1_000_000, 15

#: Kind → the calls of TA-Lib that it is made of, with the defaults of the vocabulary.
PRIMITIVES: dict[str, Callable[[Columns], object]] = {
    "keltnerchannels": lambda c: (talib.EMA(c["close"], 20), talib.ATR(c["high"], c["low"], c["close"], 10)),
    "donchianchannels": lambda c: (talib.MAX(c["high"], 20), talib.MIN(c["low"], 20)),
    "parabolicsar": lambda c: talib.SAREXT(c["high"], c["low"], 0.0, 0.0, *(0.02, 0.02, 0.2) * 2),
    "ichimoku": lambda c: [(talib.MAX(c["high"], n), talib.MIN(c["low"], n)) for n in (9, 26, 52)],
    "adline": lambda c: talib.AD(c["high"], c["low"], c["close"], c["volume"]),
    "distancefromma": lambda c: talib.SMA(c["close"], 20),
    "squeezeintensity": lambda c: (
        talib.BBANDS(c["close"], 20, 2.0, 2.0), talib.EMA(c["close"], 20), talib.ATR(c["high"], c["low"], c["close"], 20),
    ),
}  # fmt: skip
#: Kinds by kernels and sums of ours.
OURS = ("rvi", "fishertransform", "supertrend", "vwap", "cmf", "volumeratio", "atr with smoothing sma", "vwap with period 0")
_SPECIAL: dict[str, tuple[str, dict[str, Any]]] = {
    "atr with smoothing sma": ("atr", {"smoothing": "sma"}),
    "vwap with period 0": ("vwap", {"period": 0}),
}


def run(bars: int = BARS, pairs: int = PAIRS) -> dict[str, dict[str, float]]:
    """Row → bars_per_second, and ratio: our time over that of its primitives, where it has any."""
    frame = make_bars(bars, "1h")
    columns = {str(name): np.ascontiguousarray(frame[name].to_numpy(dtype=np.float64)) for name in frame.columns}
    return {name: _measure(name, columns, pairs) for name in (*PRIMITIVES, *OURS)}


def _measure(name: str, columns: dict[str, Array], pairs: int) -> dict[str, float]:
    kind, special = _SPECIAL.get(name, (name, {}))
    parameters = {p.name: p.default for p in INDICATORS[kind].parameters} | special
    primitives = PRIMITIVES.get(name)
    compute(kind, parameters, columns)
    own, bare = [], []
    for _ in range(pairs):
        own.append(seconds(lambda: compute(kind, parameters, columns))[1])
        if primitives:
            bare.append(seconds(lambda: primitives(columns))[1])
    result = {"bars_per_second": len(columns["close"]) / statistics.median(own)}
    return result | ({"ratio": statistics.median(own) / statistics.median(bare)} if bare else {})


def table(figures: dict[str, dict[str, float]]) -> list[str]:
    """The section of docs/performance.md."""
    lines = [
        "## Indicators",
        "",
        f"{BARS:,} bars, defaults, CPU time of one thread. Those made of TA-Lib's functions: over the time of the bare calls,",
        "wanted at most 1.5. Those by kernels and sums of ours: wanted at least 5 million bars a second.",
        "",
        "| indicator | million bars/s | times the TA-Lib calls |",
        "|---|---:|---:|",
    ]
    for name, f in figures.items():
        lines.append(f"| {name} | {f['bars_per_second'] / 1e6:.0f} | {_ratio(f)} |")
    return [*lines, ""]


def _ratio(figures: dict[str, float]) -> str:
    return f"{figures['ratio']:.2f}" if "ratio" in figures else "–"
