"""The label report in words: figures of `pipeline.label_report` → cells and a sentence, the same in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("Share", "Median run", "Longest run", "Expected return", "Best return", "Bars to best")


def label_lines(told: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Per class its name and a cell for each of COLUMNS."""
    return [(line["name"], _cells(line)) for line in told["classes"]]


def _cells(line: Mapping[str, Any]) -> tuple[str, ...]:
    if not line["rows"]:
        return ("0.0%", *["–"] * (len(COLUMNS) - 1))
    return (
        f"{line['share']:.1%}",
        f"{line['median_run']:,g}",
        f"{line['longest_run']:,}",
        _percent(line["expected_return"]),
        _percent(line["best_return"]),
        f"{line['bars_to_target']:,g}",
    )


def _percent(share: float) -> str:
    return f"{share:+.2%}".replace("-", "−")


def label_worth(told: Mapping[str, Any]) -> str:
    """What following right labels alone would earn, in a sentence."""
    if told["fitness"] is None:
        return "No training row has a label that says up or down, so there is nothing to trade on."
    cost = f"{told['cost']:.2%}{' (assumed: the strategy has no cost_model)' if told['cost_assumed'] else ''}"
    return (
        f"After a round-trip cost of {cost}, a trade from a row's bar to its label's end, with every label known, earns "
        f"{_percent(told['fitness'])} on average; {told['paying_share']:.1%} of them pay their cost. No model knows every label."
    )
