"""Better means better than every baseline, by more than chance; what a list shows of a model says the same."""

from __future__ import annotations

from typing import Any

import pytest

from training.verdict import judge, summary_of


def side(accuracy: float, mcc: float, *others: tuple[str, float, float], matrix: Any = None) -> dict[str, Any]:
    baselines = [
        {"name": name, "accuracy": a, "mcc": m} | ({"class": "HOLD"} if name == "majority" else {}) for name, a, m in others
    ]
    matrix = matrix or [[250, 250], [250, 250]]
    return {
        "accuracy": accuracy,
        "mcc": mcc,
        "confusion_matrix": matrix,
        "baselines": baselines,
        "baseline": baselines[0],
        "rows_sha256": "ab",
    }


MAJORITY = ("majority", 0.50, 0.0)


@pytest.mark.parametrize(
    ("figures", "tone", "headline"),
    [
        (side(0.60, 0.30, MAJORITY, ("label known last", 0.45, 0.1)), "good", "Better than each of its 2 baselines."),
        (side(0.60, 0.30, MAJORITY, ("label known last", 0.58, 0.1)), "warn", "Not distinguishable from the best baseline (label known last)."),
        (side(0.60, 0.30, MAJORITY, ("label known last", 0.70, 0.1)), "bad", "Worse than the best baseline (label known last)."),
        (side(0.60, 0.05, MAJORITY, ("label known last", 0.40, 0.0)), "warn", "Not distinguishable from guessing (MCC 0.050)."),
        (side(0.60, 0.10, MAJORITY, ("label known last", 0.45, 0.2)), "warn", "More labels right than any baseline, but no better correlated than label known last."),
    ],
)  # fmt: skip
def test_the_best_baseline_decides(figures: dict[str, Any], tone: str, headline: str) -> None:
    told = judge({"test": figures})
    assert told is not None
    assert (told.tone, told.headline, told.beats) == (tone, headline, tone == "good")


def test_without_a_test_split_the_verdict_says_what_validation_is_worth() -> None:
    told = judge({"test": None, "validation": side(0.60, 0.30, MAJORITY)})
    assert told is not None
    assert "1,000 validation rows" in told.answer
    assert any("no test split" in caveat for caveat in told.caveats)


def test_one_class_among_the_labels_or_the_answers_is_said() -> None:
    same = judge({"test": side(1.0, 0.0, ("majority", 1.0, 0.0), matrix=[[1000, 0], [0, 0]])})
    assert same is not None and "same label" in same.caveats[0] and same.tone == "warn"
    stubborn = judge({"test": side(0.5, 0.0, MAJORITY, matrix=[[500, 0], [500, 0]])})
    assert stubborn is not None and stubborn.caveats[0] == "It gives every row the same class."


def test_a_summary_is_small_and_says_what_the_verdict_says() -> None:
    found = summary_of(
        {"test": side(0.60, 0.30, MAJORITY), "training": {"val_loss": 0.9, "epochs_completed": 4, "best_epoch": 2}}
    )
    assert (found["split"], found["rows"], found["beats"], found["baseline"]) == ("test", 1000, True, "always HOLD")
    assert found["lead"] == pytest.approx(0.1) and found["headline"] == "Better than the majority class."
    assert summary_of({})["tone"] == "" and judge({"test": {"accuracy": 0.5}}) is None
