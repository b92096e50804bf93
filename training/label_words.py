"""The label report in words: figures of `pipeline.label_report` → cells and a sentence, the same in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("Share", "Median run", "Longest run", "Expected return", "Best return", "Bars to best")


#: Of a label that is a return, per split.
RETURN_COLUMNS = ("Mean return", "Deviation", "Rising")
#: One class above this share of a split is worth a warning.
ONE_SIDED = 0.95


def split_columns(plan: Mapping[str, Any]) -> list[str]:
    """What a plan tells of the labels of each split: the share of each class, or three figures of the returns."""
    return list(plan["class_names"]) or list(RETURN_COLUMNS)


def split_cells(plan: Mapping[str, Any], name: str) -> list[tuple[str, bool]]:
    """A text for each of `split_columns`, and whether it is a warning; empty texts for rows that are in no split."""
    if not plan["class_names"]:
        told = plan["return_figures"].get(name)
        texts = (
            [_percent(told["mean"]), f"{told['deviation']:.2%}", f"{told['rising']:.1%}"] if told else [""] * len(RETURN_COLUMNS)
        )
        return [(text, False) for text in texts]
    shares = plan["class_shares"].get(name)
    return [(f"{shares[c]:.1%}", shares[c] > ONE_SIDED) if shares else ("", False) for c in plan["class_names"]]


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
