"""Label benchmark: every kind of label in nanoseconds a bar, and as a multiple of the slow reference of the tests.

The reference is plain Python from the words of the contract. Both give the same labels, compared first, and run in turns
on the same few bars; the cost per bar is that of a long series.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.pipeline import seconds
from strategies_app.grammar.schema import StrategySpec
from tests.examples import label_references
from tests.examples.pipeline import strategy
from training.pipeline.features import bar_columns
from training.pipeline.indicators import Columns
from training.pipeline.labels import compute_labels, uniqueness
from training.pipeline.synthetic import make_bars

BARS, FEW, PAIRS = 1_000_000, 1_000, 5
LABELS: dict[str, dict[str, Any]] = {
    "zigzag window": {"source": "zigzag"},
    "zigzag segments": {"source": "zigzag", "mode": "segments"},
    "forward_return": {"source": "forward_return"},
    "triple_barrier": {"source": "triple_barrier"},
    "triple_barrier with CUSUM and weights": {"source": "triple_barrier", "cusum_threshold": 0.001, "compute_weights": True},
    "context": {"source": "context"},
    "regime": {"source": "regime"},
}


def run(bars: int = BARS, few: int = FEW, pairs: int = PAIRS) -> dict[str, dict[str, Any]]:
    """Row → ratio, ratio_range, nanoseconds_per_bar, bars_per_second."""
    long, short = make_bars(bars, "1h"), make_bars(few, "1h")
    return {name: _measure(_spec(section), long, short, pairs) for name, section in LABELS.items()}


def _spec(section: dict[str, Any]) -> StrategySpec:
    return strategy({"strength": {"type": "rsi"}}, labels=section)


def _measure(spec: StrategySpec, long: pd.DataFrame, short: pd.DataFrame, pairs: int) -> dict[str, Any]:
    columns, few = bar_columns(long), bar_columns(short)
    _compare(spec, short)
    own = [seconds(lambda: _ours(spec, columns))[1] for _ in range(pairs)]
    ratios = []
    for _ in range(pairs):
        plain = seconds(lambda: _theirs(spec, short))[1]
        mine = seconds(lambda: [_ours(spec, few) for _ in range(50)])[1] / 50
        ratios.append(plain / mine)
    per_bar = statistics.median(own) / len(long)
    return {
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "nanoseconds_per_bar": 1e9 * per_bar,
        "bars_per_second": 1 / per_bar,
    }


Answer = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]


def _ours(spec: StrategySpec, columns: Columns) -> Answer:
    """Labels, ends, events and weights."""
    found = compute_labels(spec, columns)
    if found.events is None:
        return found.values, found.ends, None, None
    rows = np.flatnonzero((found.ends >= 0) & found.events)
    return found.values, found.ends, found.events, uniqueness(rows, found.ends[rows], len(found.ends))


def _theirs(spec: StrategySpec, bars: pd.DataFrame) -> Answer:
    section: Any = spec.training.labels
    labelled = label_references.reference_labels(bars, section)
    values = np.array([np.nan if of is None else of[0] for of in labelled])
    ends = np.array([-1 if of is None else of[1] for of in labelled])
    if getattr(section, "cusum_threshold", None) is None:
        return values, ends, None, None
    events = np.array(label_references.cusum_events(bars, section))
    rows = np.flatnonzero((ends >= 0) & events)
    return values, ends, events, np.array(label_references.uniqueness(rows.tolist(), ends[rows].tolist()))


def _compare(spec: StrategySpec, bars: pd.DataFrame) -> None:
    """AssertionError if they are not the same labels."""
    mine, plain = _ours(spec, bar_columns(bars)), _theirs(spec, bars)
    there = plain[1] >= 0
    assert there.any(), f"{spec.training.labels.source}: no bar of {len(bars)} has a label"
    assert np.array_equal(mine[1] >= 0, there) and np.array_equal(mine[1][there], plain[1][there]), "the label ends differ"
    assert np.allclose(mine[0][there], plain[0][there], rtol=1e-12), "the labels differ"
    if plain[2] is not None and plain[3] is not None and mine[2] is not None and mine[3] is not None:
        assert np.array_equal(mine[2][there], plain[2][there]), "the events differ"
        assert np.allclose(mine[3], plain[3], rtol=1e-5), "the weights differ"


def table(figures: dict[str, dict[str, Any]]) -> list[str]:
    """The section of docs/performance.md."""
    lines = [
        "## Labels",
        "",
        f"{BARS:,} bars, defaults, CPU time of one thread. The reference is the plain Python of",
        f"`tests/examples/label_references.py`, on {FEW:,} bars, of which it gives the same labels.",
        "",
        "| label | per bar | million bars/s | times the reference | range |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, f in figures.items():
        low, high = f["ratio_range"]
        lines.append(
            f"| {name} | {f['nanoseconds_per_bar']:.0f} ns | {f['bars_per_second'] / 1e6:.0f} "
            f"| {f['ratio']:,.0f} | {low:,.0f}–{high:,.0f} |"
        )
    return [*lines, ""]
