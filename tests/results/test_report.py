"""The verdict on a model claims no more than its figures."""

from __future__ import annotations

import pytest

from training.results.report import verdict


def figures(ours: float, theirs: float, mcc: float) -> dict[str, object]:
    test = {"accuracy": ours, "mcc": mcc, "confusion_matrix": [[250, 250], [250, 250]]}
    return {"test": {**test, "baseline": {"class": "HOLD", "accuracy": theirs}}}


@pytest.mark.parametrize(
    ("ours", "theirs", "mcc", "words"),
    [
        (0.60, 0.50, 0.20, "Better than the majority class."),
        (0.33, 0.26, 0.01, "Not distinguishable from guessing (MCC 0.010)."),
        (0.52, 0.50, 0.20, "Not distinguishable from the majority class."),
        (0.40, 0.50, 0.20, "Worse than the majority class."),
    ],
)
def test_the_verdict_follows_from_share_and_correlation(ours: float, theirs: float, mcc: float, words: str) -> None:
    said = verdict(figures(ours, theirs, mcc))
    assert said.startswith(words)
    assert f"It is right on {ours:.1%} of 1,000 test rows, always HOLD on {theirs:.1%}." in said
