"""Metrics in words: which a table shows for classes and which for returns, how each is written, and the label report in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.results.verdict import is_of_returns, percent, signed

#: Columns of a table of measures: key, word, how it is written.
OF_CLASSES = (
    ("accuracy", "Accuracy", "share"), ("balanced_accuracy", "Balanced", "figure"), ("mcc", "MCC", "figure"),
    ("f1_score", "F1 (macro)", "figure"),
)  # fmt: skip
OF_RETURNS = (
    ("mae", "MAE", "return"), ("rmse", "RMSE", "return"), ("r2", "R²", "figure"),
    ("sign_accuracy", "Directional accuracy", "share"),
    ("ic", "IC", "figure"), ("rank_ic", "Rank IC", "figure"),
)  # fmt: skip
NOTHING = "–"
#: What the short names mean, for who points at them.
MEANINGS = {
    "MAE": "mean absolute error of the predicted return", "RMSE": "root mean square error of the predicted return",
    "R²": "squared error saved beside always saying the mean of train; below 0 is worse",
    "Directional accuracy": "how often the predicted direction came", "IC": "information coefficient: correlation with what came",
    "Rank IC": "correlation of the ranks", "MCC": "Matthews correlation; 0 is guessing",
    "Balanced": "mean recall of the classes",
}  # fmt: skip


def columns_of(side: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """The columns that fit these measures."""
    return OF_RETURNS if is_of_returns(side) else OF_CLASSES


def heads_of(side: Mapping[str, Any]) -> list[dict[str, str]]:
    """Their words with what they mean, "" where the word says it."""
    return [{"word": word, "means": MEANINGS.get(word, "")} for _, word, _ in columns_of(side)]


def cells_of(measured: Mapping[str, Any], side: Mapping[str, Any] | None = None) -> list[str]:
    """A cell for each of the columns; `side` decides which they are, if it is another one's."""
    return [written(measured.get(key), how) for key, _, how in columns_of(measured if side is None else side)]


def written(value: Any, how: str) -> str:
    """A figure as people read it."""
    if value is None:
        return NOTHING
    if how == "return":
        return percent(value)
    return f"{100 * value:.1f} %" if how == "share" else f"{value:,}" if how == "count" else signed(value)


#: Measures of classes, and of returns: of a model of the other kind they are null.
MEASURED_OF_CLASSES = {
    "accuracy": "share of labels called right", "balanced_accuracy": "mean recall", "mcc": "Matthews correlation",
    "precision": "macro average", "recall": "macro average", "f1_score": "macro average",
}  # fmt: skip
MEASURED_OF_RETURNS = {
    "mae": "mean absolute error of the predicted return", "rmse": "root mean square error of it",
    "r2": "against the mean of the training returns; below 0 is worse than it", "sign_accuracy": "share of right directions",
    "ic": "correlation of predicted and realised returns", "rank_ic": "correlation of their ranks",
}  # fmt: skip


COLUMNS = ("Rows", "Share", "Median run", "Longest run", "Expected return", "Best return", "Bars to peak")
#: Of fewer independent trades nothing can be said.
FEWEST_TRADES = 30

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
    shares, rows = plan["class_shares"].get(name), plan["split"]["rows"].get(name, 0)
    if not shares:
        return [("", False) for _ in plan["class_names"]]
    return [(f"{shares[c]:.1%} ({round(shares[c] * rows):,})", shares[c] > ONE_SIDED) for c in plan["class_names"]]


def label_lines(told: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Per class its name and a cell for each of COLUMNS."""
    return [(line["name"], _cells(line)) for line in told["classes"]]


def _cells(line: Mapping[str, Any]) -> tuple[str, ...]:
    if not line["rows"]:
        return ("0", "0.0%", *["–"] * (len(COLUMNS) - 2))
    return (
        f"{line['rows']:,}",
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
    """What trading with perfect foresight of the labels would earn, in a sentence; nothing of too few trades."""
    if told["fitness"] is None:
        return "No training row has a label that says up or down, so there is nothing to trade on."
    trades, apart = told["trades"], told["independent_trades"]
    if apart < FEWEST_TRADES:
        rows = "1 training row has a label that says" if trades == 1 else f"{trades:,} training rows have labels that say"
        return (
            f"{rows} up or down, worth {apart:,} independent trade{'s' if apart != 1 else ''} (their labels overlap in no bar): "
            f"too few to say what they would earn, wanted at least {FEWEST_TRADES}."
        )
    cost = f"{told['cost']:.2%}{' (assumed: the strategy has no cost_model)' if told['cost_assumed'] else ''}"
    return (
        f"With perfect foresight {trades:,} trades, {apart:,} of them independent (their labels overlap in no bar), would earn "
        f"{_percent(told['fitness'])} each on average after a round-trip cost of {cost}, and {told['paying_share']:.1%} of them "
        "would cover their costs: the ceiling for any model."
    )
