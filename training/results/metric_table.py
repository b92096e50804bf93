"""Measures in words: which a table shows for classes and which for returns, and how each is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.results.verdict import is_of_returns, percent, signed

#: Columns of a table of measures: key, word, how it is written.
OF_CLASSES = (
    ("accuracy", "Labels right", "share"), ("balanced_accuracy", "Balanced", "figure"), ("mcc", "MCC", "figure"),
    ("f1_score", "F1 (macro)", "figure"),
)  # fmt: skip
OF_RETURNS = (
    ("mae", "MAE", "return"), ("rmse", "RMSE", "return"), ("r2", "R²", "figure"), ("sign_accuracy", "Sign right", "share"),
    ("ic", "IC", "figure"), ("rank_ic", "Rank IC", "figure"),
)  # fmt: skip
NOTHING = "–"
#: What the short names mean, for who points at them.
MEANINGS = {
    "MAE": "mean absolute error of the predicted return", "RMSE": "root mean square error of the predicted return",
    "R²": "squared error saved beside always saying the mean of train; below 0 is worse",
    "Sign right": "how often the predicted direction came", "IC": "information coefficient: correlation with what came",
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
