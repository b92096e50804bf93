"""What only the result of a regression shows: predicted beside realised, what was missed, and what the signals met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.results import figures
from training.results.metric_table import written
from training.results.verdict import is_of_returns


def returns_of(side: Mapping[str, Any]) -> dict[str, Any] | None:
    """Pictures with their tables; None for classes."""
    if not is_of_returns(side):
        return None
    rows = side["rows"]
    return {
        "reliability_figure": figures.reliability(side["reliability"]),
        "reliability": [
            [written(group["rows"], "count"), *(written(group[name], "return") for name in ("predicted", "realised"))]
            for group in side["reliability"]
        ],
        "misses_figure": figures.misses(side["misses"]),
        "edge": written(side["edge"], "return"),
        "signals": [
            {"name": name, "cells": [written(told["rows"], "count"), written(told["rows"] / rows, "share"),
                                     written(told["mean_return"], "return")]}
            for name, told in side["signals"].items()
        ],
    }  # fmt: skip
