"""Better means better than every baseline, by more than chance; what a list shows of a model says the same."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command

from tests.examples.api import Examples
from training.models import TrainedModel
from training.results import verdict
from training.results.verdict import judge, summary_of


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
        (side(0.60, 0.10, MAJORITY, ("label known last", 0.45, 0.2)), "warn", "More accurate than any baseline, but no better correlated than label known last."),
    ],
)  # fmt: skip
def test_the_best_baseline_decides(figures: dict[str, Any], tone: str, headline: str) -> None:
    told = judge({"test": figures})
    assert told is not None
    assert (told.tone, told.headline, told.beats) == (tone, headline, tone == "good")


def test_labels_that_overlap_count_once() -> None:
    """The same figures: a lead of ten points is beyond 1,000 rows' margin of 3, and within that of 60, which is 13."""
    figures = side(0.60, 0.30, MAJORITY)
    apart, together = judge({"test": figures | {"independent_rows": 1000}}), judge({"test": figures | {"independent_rows": 60}})
    assert apart is not None and apart.beats
    assert together is not None and not together.beats and together.headline == "Not distinguishable from the majority class."
    assert (
        together.caveats[0] == "Margin of error ±12.6 points: labels overlap, so 1,000 rows are worth about 60 independent ones."
    )
    two = judge({"test": figures | {"independent_rows": 60, "per_symbol": {"A": {}, "B": {}}}})
    assert two is not None and two.caveats[0].endswith("independent ones; correlated symbols make it wider.")


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


# --- returns -------------------------------------------------------------------------------------


def returns_side(
    gain: float, margin: float, ic: float | None, *others: tuple[str, float, float, float | None], groups: int = 10
) -> dict[str, Any]:
    """Measures of 1,000 rows of which 100 count; the first baseline is the best. others: name, gain, margin, IC."""
    found = [
        {"name": name, "rmse": 0.05 + number / 1000, "gain": g, "gain_margin": m, "ic": i}
        for number, (name, g, m, i) in enumerate([("always zero", gain, margin, None), *others])
    ]
    signals = {"BUY": {"rows": 60}, "HOLD": {"rows": 930}, "SELL": {"rows": 10}}
    return {
        "rows": 1000, "independent_rows": 100, "rmse": 0.05 * (1 - gain) ** 0.5, "ic": ic, "baselines": found, "baseline": found[0],
        "signals": signals, "edge": 0.004, "reliability": [{}] * groups, "rows_sha256": "cd",
    }  # fmt: skip


LAST = ("the last known return", 0.5, 0.1, 0.05)


@pytest.mark.parametrize(
    ("figures", "tone", "headline"),
    [
        (returns_side(0.10, 0.05, 0.40, LAST), "good", "Better than each of its 2 baselines."),
        (returns_side(0.04, 0.05, 0.40, LAST), "warn", "Not distinguishable from the best baseline (always zero)."),
        (returns_side(0.05, 0.05, 0.40, LAST), "warn", "Not distinguishable from the best baseline (always zero)."),
        (returns_side(-0.06, 0.05, 0.40, LAST), "bad", "Worse than the best baseline (always zero)."),
        (returns_side(0.10, 0.05, 0.40, ("the last known return", 0.1, 0.2, 0.0)), "warn", "Not distinguishable from the last known return."),
        (returns_side(0.10, 0.05, 0.19, LAST), "warn", "Smaller errors than any baseline, but its predictions do not move with the returns (IC 0.190)."),
        (returns_side(0.10, 0.05, None, LAST, groups=1), "warn", "Smaller errors than any baseline, but its predictions do not move with the returns (all the same)."),
        (returns_side(0.10, 0.05, 0.40, ("the last known return", 0.5, 0.1, 0.3)), "warn", "Smaller errors than any baseline, but no better correlated than the last known return."),
    ],
)  # fmt: skip
def test_returns_are_better_only_where_they_save_more_error_than_chance_and_move_with_what_came(
    figures: dict[str, Any], tone: str, headline: str
) -> None:
    told = judge({"test": figures})
    assert told is not None
    assert (told.tone, told.headline, told.beats) == (tone, headline, tone == "good")
    assert told.answer.startswith("On 1,000 test rows its predictions miss by") and "always zero misses by 5.00 %." in told.answer
    assert any("worth about 100 independent rows" in caveat for caveat in told.caveats)
    assert any("70 of 1,000 rows are signals" in caveat for caveat in told.caveats)
    assert ("It predicts the same return for every row." in told.caveats) == (len(figures["reliability"]) == 1)


def test_returns_without_a_signal_or_a_test_split_say_so() -> None:
    figures = returns_side(0.1, 0.05, 0.4, LAST)
    figures["signals"] = {name: {"rows": 0} for name in ("BUY", "HOLD", "SELL")}
    told = judge({"test": None, "validation": figures})
    assert told is not None and any("no test split" in caveat for caveat in told.caveats)
    assert "It never gives a signal: a predicted return of 0.40 % or more, up or down." in told.caveats


def test_a_baseline_that_misses_nothing_cannot_be_beaten() -> None:
    figures = returns_side(0.1, 0.05, 0.4)
    figures["baselines"][0] |= {"gain": None, "gain_margin": None, "rmse": 0.0}
    told = judge({"test": figures})
    assert told is not None and told.tone == "bad" and "misses nothing" in told.headline


def test_a_summary_of_returns_has_their_figures_and_none_of_classes() -> None:
    found = summary_of({"test": returns_side(0.10, 0.05, 0.40, LAST)})
    assert (found["output_format"], found["beats"], found["baseline"]) == ("regression", True, "always zero")
    assert (found["gain"], found["gain_margin"], found["ic"], found["baseline_rmse"]) == (0.10, 0.05, 0.40, 0.05)
    assert found["accuracy"] is None and found["lead"] is None and found["mcc"] is None


@pytest.mark.django_db
def test_a_summary_of_an_earlier_rule_is_made_anew_by_migrate(examples: Examples) -> None:
    model = examples.completed.trained_model
    now = model.summary
    assert now["rule"] == verdict.RULE
    for old in (
        {},
        {**now, "rule": verdict.RULE - 1, "headline": "what was said once"},
        {"headline": "before rules had numbers"},
    ):
        TrainedModel.objects.filter(pk=model.pk).update(summary=old)
        call_command("migrate", verbosity=0)
        model.refresh_from_db()
        assert model.summary == now
