"""`python -m benchmarks`: runs every benchmark, prints the figures and writes them to docs/performance.md with the machine."""

from __future__ import annotations

import datetime as dt
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
LIBRARIES = ("torch", "numba", "numpy", "pandas", "pyarrow", "TA-Lib")


def main() -> None:
    """Pipeline first: its processes are measured without torch."""
    if sys.argv[1:]:
        sys.exit("benchmarks takes no arguments: it measures everything and writes docs/performance.md")
    from benchmarks import (
        analytics,
        checks,
        dashboard,
        indicators,
        jobs,
        labels,
        memory,
        pipeline,
        recurrent,
        safeguards,
        symbols,
        trainer,
    )  # fmt: skip

    first = [*_head(), *_pipeline(pipeline.run()), *symbols.table(symbols.run())]
    first += [*indicators.table(indicators.run()), *labels.table(labels.run())]
    learning = [*_trainer(trainer.run()), *recurrent.table(recurrent.run())]
    learning += [*checks.table(checks.run()), *safeguards.table(safeguards.run()), *analytics.table(analytics.run())]
    learning += memory.table(memory.run())
    page = "\n".join([*first, *learning, *_jobs(jobs.run()), *dashboard.table(dashboard.run())]) + "\n"
    PAGE.write_text(page, encoding="utf-8")
    print(page)


def _head() -> list[str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} · Python {platform.python_version()}"
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return [
        "# Performance",
        "",
        "Written by `make bench`. Ratios are against plain implementations of the same work, measured in turns in one run",
        "(`benchmarks/textbook.py`, and DataLoader loops in `benchmarks/trainer.py` and `recurrent.py`); both give the same",
        "numbers. Figures are medians. Absolute times depend on the machine and on what else it does: compare ratios.",
        "",
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d} · {_processor()} · {cores} cores · {system} · {libraries}",
        "",
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _range(figures: dict[str, Any], digits: int) -> str:
    low, high = figures["ratio_range"]
    return f"{low:.{digits}f}–{high:.{digits}f}"


def _pipeline(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## Bars to arrays",
        "",
        "Eight indicators, twenty memberships on two timeframes, zigzag labels: frames of bars → rows for the trainer.",
        "",
        "| bars | times the textbook | range | ours | per bar | textbook | CPU / wall |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for size in (key for key in figures if key.isdigit()):
        f = figures[size]
        mark = " (its cost per bar at 100,000)" if f["textbook_extrapolated"] else ""
        lines.append(
            f"| {int(size):,} | {f['ratio']:.0f} | {_range(f, 0)} | {1e3 * f['seconds']:.1f} ms "
            f"| {f['nanoseconds_per_bar']:.0f} ns | {f['textbook_seconds']:.1f} s{mark} | {f['cpu_over_wall']:.2f} |"
        )
    store = figures["store"]
    rows = [
        ("largest difference from the textbook's numbers", f"{figures['largest_difference']:.1e}"),
        ("cost per bar, largest size over smallest", f"{figures['cost_per_bar_largest_over_smallest']:.2f}"),
        (f"{store['bars']:,} bars, Parquet → arrays", f"{store['parquet_to_arrays_seconds']:.3f} s"),
        ("of that, loading and validating", f"{store['load_seconds']:.3f} s"),
        ("the same in a fresh process, imports counted, kernels cached", f"{store['fresh_process_seconds']:.2f} s"),
        ("peak anonymous memory of that process, without torch", f"{store['peak_anonymous_megabytes']:.0f} MB"),
        ("feature cache hit → first batch", f"{store['cache_hit_to_first_batch_seconds']:.3f} s"),
        ("writing the cache entry", f"{store['cache_write_seconds']:.3f} s"),
    ]
    return [*lines, "", "| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows), ""]


def _trainer(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## The trainer",
        "",
        "MLP 128-64-32 on 20 features, dropout 0.2, Adam, one thread. With dropout 0 and fused optimizers off its weights are",
        "bitwise those of the plain loop (`tests/trainer/test_equals_plain_loop.py`). The bound is a loop that does nothing but",
        "the matrix products.",
        "",
        "| batch | times the textbook | range | samples/s | textbook samples/s | of the bound | CPU / wall |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for size, f in figures.items():
        lines.append(
            f"| {int(size):,} | {f['ratio']:.1f} | {_range(f, 1)} | {f['samples_per_second']:,.0f} "
            f"| {f['textbook_samples_per_second']:,.0f} | {f['share_of_matrix_product_bound']:.0%} "
            f"| {f['cpu_over_wall']:.2f} |"
        )
    return lines


def _jobs(figures: dict[str, Any]) -> list[str]:
    reporting, dispatch, cancel = (figures[name] for name in ("reporting", "dispatch", "cancel"))
    low, high = reporting["share_range"]
    rows = [
        ("reporting, share of training's CPU time", f"{reporting['share']:.1%} ({low:.1%} to {high:.1%})", "< 2 %"),
        (f"dispatch, median of {dispatch['repeats']}", f"{1e3 * dispatch['seconds']:.0f} ms", "< 50 ms"),
        (f"a cancel is noticed, 95 % of {cancel['repeats']}", f"{1e3 * cancel['p95_seconds']:.0f} ms", "≤ 250 ms"),
        ("a cancel is noticed, median", f"{1e3 * cancel['median_seconds']:.0f} ms", ""),
    ]
    return [
        "",
        "## Jobs",
        "",
        "A training at batch 32 on a real database file and a real Redis. Reporting is everything that a worker does beside",
        f"training: rows, checkpoints, log, messages, heartbeat; {reporting['epochs']} epochs with and without it, in turns.",
        "",
        "| | | wanted |",
        "|---|---:|---:|",
        *(f"| {name} | {value} | {wanted} |" for name, value, wanted in rows),
    ]


if __name__ == "__main__":
    main()
