"""The verdict: a model's figures and those of its baselines in, one careful sentence out. It claims no more than the figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """tone: good, warn or bad; beats: whether it is better than each of its baselines; caveats: what to know beside it."""

    tone: str
    headline: str
    answer: str
    beats: bool
    caveats: tuple[str, ...] = ()


def judged_split(metrics: Metrics) -> str:
    """The split that a model is judged on: test, or validation where there is no test; "" without figures."""
    return next((name for name in ("test", "validation") if metrics.get(name)), "")


def baselines_of(side: Metrics) -> list[Metrics]:
    """The baselines of one split in the order in which they are shown."""
    return list(side.get("baselines") or ([side["baseline"]] if side.get("baseline") else []))


def baseline_name(baseline: Metrics) -> str:
    return f"always {baseline['class']}" if baseline.get("class") else str(baseline.get("name", "baseline"))


def is_of_returns(side: Metrics) -> bool:
    """Whether these are measures of predicted returns, not of classes."""
    return "rmse" in side


def best_baseline(side: Metrics) -> Metrics:
    """The one that calls most labels right, or that misses returns by least; {} if there is none."""
    if is_of_returns(side):
        return min(baselines_of(side), key=lambda b: float(b["rmse"]), default={})
    return max(baselines_of(side), key=lambda b: float(b.get("accuracy", 0.0)), default={})


def signed(value: float) -> str:
    """With the sign that is as wide as a digit."""
    return f"{value:.3f}".replace("-", "−")


def rows_of(side: Metrics) -> int:
    return int(side.get("rows") or sum(map(sum, side.get("confusion_matrix", []))))


def judge(metrics: Metrics) -> Verdict | None:
    """What the model reaches beside its baselines; None if the figures are not all there.

    The margin is two standard errors: √(p(1−p)/n) of a share, about 1/√n of an MCC of 0. n counts only
    rows whose labels share no bar: the others tell the same twice.
    """
    split = judged_split(metrics)
    side: Metrics = metrics.get(split) or {}
    count, others = rows_of(side), baselines_of(side)
    if count and others and is_of_returns(side):
        return _judge_returns(split, side, others)
    if not count or not others or "mcc" not in side:
        return None
    ours, best = float(side["accuracy"]), best_baseline(side)
    apart = max(int(side.get("independent_rows") or count), 1)
    margin, noise = 2 * math.sqrt(max(ours * (1 - ours), 1e-12) / apart), 2 / math.sqrt(apart)
    theirs = f"{baseline_name(best)} on {best['accuracy']:.1%}"
    answer = f"It is right on {ours:.1%} of {count:,} {split} rows, {theirs}."
    tone, headline = _standing(side, others, best, margin, noise)
    return Verdict(tone, headline, answer, tone == "good", _caveats(split, side, margin, noise))


def _standing(side: Metrics, others: list[Metrics], best: Metrics, margin: float, noise: float) -> tuple[str, str]:
    alone = len(others) == 1
    strongest = "the majority class" if alone else f"the best baseline ({baseline_name(best)})"
    lead = side["accuracy"] - best["accuracy"]
    if lead < -margin:
        return "bad", f"Worse than {strongest}."
    if lead <= margin:
        return "warn", f"Not distinguishable from {strongest}."
    if side["mcc"] <= noise:
        # The majority of train may be rare here: to beat it is then no skill.
        return "warn", f"Not distinguishable from guessing (MCC {signed(side['mcc'])})."
    rival = max(others, key=lambda b: float(b.get("mcc", 0.0)))
    if side["mcc"] <= rival.get("mcc", 0.0) + noise:
        return "warn", f"More accurate than any baseline, but no better correlated than {baseline_name(rival)}."
    return "good", "Better than the majority class." if alone else f"Better than each of its {len(others)} baselines."


def _caveats(split: str, side: Metrics, margin: float, noise: float) -> tuple[str, ...]:
    found = [f"Margin of error ±{margin * 100:.1f} points{_why_so_wide(side)}"]
    matrix = side.get("confusion_matrix") or []
    if sum(1 for row in matrix if any(row)) == 1:
        found.insert(0, f"All {split} rows have the same label: nothing can be told from them.")
    elif matrix and sum(1 for column in zip(*matrix, strict=True) if any(column)) == 1:
        found.insert(0, "It gives every row the same class.")
    found.append(f"Correlation with the labels (MCC) {_beside_noise(side['mcc'], noise)}; 0 is guessing, 1 is perfect.")
    if split == "validation":
        found.append("There is no test split: validation rows chose the best epoch, so expect less on new bars.")
    return tuple(found)


def _beside_noise(figure: float, noise: float) -> str:
    """A correlation, and whether it could be chance."""
    if figure > noise:
        return f"{signed(figure)}, above the noise of ±{noise:.3f}"
    return f"{signed(figure)}, {'not significant (noise' if figure >= -noise else 'significantly negative (noise'} ±{noise:.3f})"


def _why_so_wide(side: Metrics) -> str:
    if not side.get("independent_rows"):
        return " if rows were independent; labels overlap, so the true margin is wider."
    alone = "" if len(side.get("per_symbol") or ()) < 2 else "; correlated symbols make it wider"
    rows, independent = f"{rows_of(side):,}", f"{side['independent_rows']:,}"
    return f": labels overlap, so {rows} rows are worth about {independent} independent ones{alone}."


def percent(value: float | None, digits: int = 2) -> str:
    """A return as it is written."""
    return "–" if value is None else f"{100 * value:.{digits}f} %".replace("-", "−")


def _judge_returns(split: str, side: Metrics, others: list[Metrics]) -> Verdict:
    """By the squared error that is saved beside the best baseline. Margin and noise count only rows whose labels share no
    bar: two standard errors of the difference, and about 2/√n of a correlation of 0."""
    best, noise = best_baseline(side), 2 / math.sqrt(max(side["independent_rows"], 1))
    answer = f"On {rows_of(side):,} {split} rows its predictions miss by {percent(side['rmse'])} (root mean square); "
    answer += f"{baseline_name(best)} misses by {percent(best['rmse'])}."
    tone, headline = _standing_of_returns(side, others, best, noise)
    return Verdict(tone, headline, answer, tone == "good", _caveats_of_returns(split, side, best, noise))


def _standing_of_returns(side: Metrics, others: list[Metrics], best: Metrics, noise: float) -> tuple[str, str]:
    name = f"the best baseline ({baseline_name(best)})"
    if best["gain"] is None:
        return "bad" if side["rmse"] > 0 else "warn", f"No better than {name}, which misses nothing."
    if best["gain"] < -best["gain_margin"]:
        return "bad", f"Worse than {name}."
    unsure = [other for other in [best, *others] if other["gain"] is not None and other["gain"] <= other["gain_margin"]]
    if unsure:
        return "warn", f"Not distinguishable from {name if unsure[0] is best else baseline_name(unsure[0])}."
    if side["ic"] is None or side["ic"] <= noise:
        told = "all the same" if side["ic"] is None else f"IC {signed(side['ic'])}"
        return "warn", f"Smaller errors than any baseline, but its predictions do not move with the returns ({told})."
    rival = max(others, key=lambda other: other["ic"] or 0.0)
    if side["ic"] <= (rival["ic"] or 0.0) + noise and rival["ic"]:
        return "warn", f"Smaller errors than any baseline, but no better correlated than {baseline_name(rival)}."
    return "good", f"Better than each of its {len(others)} baselines."


def _caveats_of_returns(split: str, side: Metrics, best: Metrics, noise: float) -> tuple[str, ...]:
    found = []
    if len(side["reliability"]) == 1:
        found.append("It predicts the same return for every row.")
    if best["gain"] is not None:
        verb, saved = ("saves" if best["gain"] >= 0 else "adds"), percent(abs(best["gain"]), 1)
        found.append(
            f"It {verb} {saved} of that baseline's squared error, give or take {percent(best['gain_margin'], 1)}: "
            f"labels overlap, so they are worth about {side['independent_rows']:,} independent rows; "
            "correlated symbols make it wider."
        )
    if side["ic"] is not None:
        found.append(f"Correlation with the returns (IC) {_beside_noise(side['ic'], noise)}; 0 is guessing, 1 is perfect.")
    given = sum(side["signals"][name]["rows"] for name in ("BUY", "SELL"))
    reach = f"a predicted return of {percent(side['edge'])} or more, up or down"
    found.append(f"{given:,} of {rows_of(side):,} rows are signals: {reach}." if given else f"It never gives a signal: {reach}.")
    if split == "validation":
        found.append("There is no test split: validation rows chose the best epoch, so expect less on new bars.")
    return tuple(found)


#: Figures that a list shows, by the kind of label; the other kind has None.
OF_CLASSES = ("accuracy", "balanced_accuracy", "mcc", "f1_score")
OF_RETURNS = ("mae", "rmse", "r2", "sign_accuracy", "ic", "rank_ic")


#: The number of the rule by which `judge` and `summary_of` speak: one more whenever the same metrics give another summary.
RULE = 2


def summary_of(metrics: Metrics) -> dict[str, Any]:
    """What lists show of a model, small enough to be sorted by, with the number of the rule that it follows."""
    split = judged_split(metrics)
    side, training, verdict = metrics.get(split) or {}, metrics.get("training") or {}, judge(metrics)
    best = best_baseline(side)
    return {
        "rule": RULE,
        "split": split,
        "rows": rows_of(side),
        "output_format": "regression" if is_of_returns(side) else "classification",
        **{name: side.get(name) for name in (*OF_CLASSES, *OF_RETURNS, "loss", "rows_sha256")},
        "val_loss": training.get("val_loss"),
        "epochs": training.get("epochs_completed"),
        "best_epoch": training.get("best_epoch"),
        "baseline": baseline_name(best) if best else "",
        "baseline_accuracy": best.get("accuracy"),
        "lead": side["accuracy"] - best["accuracy"] if best and "accuracy" in side else None,
        **{f"baseline_{name}": best.get(name) for name in ("rmse", "ic")},
        **{name: best.get(name) for name in ("gain", "gain_margin")},
        "tone": verdict.tone if verdict else "",
        "headline": verdict.headline if verdict else "",
        "beats": verdict.beats if verdict else None,
    }
