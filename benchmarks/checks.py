"""Checks benchmark: what the data gate and the checks of features and labels cost beside the training that they come before.

CPU time of one thread: 100,000 bars through the gate, 100,000 rows of 40 features through the checks, and an epoch of an
MLP 128-64-32 over the same rows at batch 32.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from tests.examples.trainer import dataset, split, strategy
from training.core.values import Silent
from training.pipeline.checks import SetColumns, check_rows
from training.pipeline.quality import validate_bars
from training.pipeline.synthetic import make_bars
from training.trainer.loop import fit

ROWS, FEATURES, REPEATS = 100_000, 40, 5
#: A short training: a longer one makes the share smaller.
EPOCHS = 20


def cpu_seconds(act: Callable[[], Any]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def run(rows: int = ROWS, features: int = FEATURES, repeats: int = REPEATS) -> dict[str, Any]:
    """Medians: gate_seconds, checks_seconds, epoch_seconds; share of a training of EPOCHS epochs."""
    frame = make_bars(rows, "1h")
    whole, _ = dataset(rows, features)
    parts = split(rows)
    sets = [SetColumns(f"set {first}", "1h", tuple(range(first, first + 3))) for first in range(1, features - 2, 3)]
    spec = strategy([128, 64, 32], epochs=1, early_stopping={"enabled": False})
    gate = statistics.median(cpu_seconds(lambda: validate_bars(frame, "S", "1h")) for _ in range(repeats))
    checks = statistics.median(cpu_seconds(lambda: check_rows(whole, parts, sets)) for _ in range(repeats))
    fit(*dataset(), spec, Silent())  # what only the first training pays
    epoch = cpu_seconds(lambda: fit(whole, parts, spec, Silent()))
    return {
        "rows": rows, "features": features, "gate_seconds": gate, "checks_seconds": checks, "epoch_seconds": epoch,
        "epochs": EPOCHS, "share": (gate + checks) / (EPOCHS * epoch),
    }  # fmt: skip


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as a section of docs/performance.md."""
    size = f"{figures['rows']:,}"
    return [
        "",
        "## Checks before a training",
        "",
        "CPU time of what every training is looked through for: see `docs/safeguards.md`.",
        "",
        "| | | wanted |",
        "|---|---:|---:|",
        f"| data gate, {size} bars | {1e3 * figures['gate_seconds']:.0f} ms | |",
        f"| features and labels, {size} rows of {figures['features']} features | {1e3 * figures['checks_seconds']:.0f} ms | |",
        f"| an epoch of MLP 128-64-32 on them at batch 32 | {figures['epoch_seconds']:.1f} s | |",
        f"| both checks, share of {figures['epochs']} epochs | {figures['share']:.2%} | < 1 % |",
    ]


if __name__ == "__main__":
    print("\n".join(table(run())))
