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


def best_baseline(side: Metrics) -> Metrics:
    """The one that calls most labels right; {} if there is none."""
    return max(baselines_of(side), key=lambda b: float(b.get("accuracy", 0.0)), default={})


def signed(value: float) -> str:
    """With the sign that is as wide as a digit."""
    return f"{value:.3f}".replace("-", "−")


def rows_of(side: Metrics) -> int:
    return int(side.get("rows") or sum(map(sum, side.get("confusion_matrix", []))))


def judge(metrics: Metrics) -> Verdict | None:
    """What the model reaches beside its baselines; None if the figures are not all there.

    The margin is two standard errors: √(p(1−p)/n) of a share, about 1/√n of an MCC of 0; labels that
    overlap are not independent, so the true margin is wider.
    """
    split = judged_split(metrics)
    side: Metrics = metrics.get(split) or {}
    count, others = rows_of(side), baselines_of(side)
    if not count or not others or "mcc" not in side:
        return None
    ours, best = float(side["accuracy"]), best_baseline(side)
    margin, noise = 2 * math.sqrt(max(ours * (1 - ours), 1e-12) / count), 2 / math.sqrt(count)
    theirs = f"{baseline_name(best)} calls {best['accuracy']:.1%}"
    answer = f"On {count:,} {split} rows it calls {ours:.1%} of labels right; {theirs}."
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
        return "warn", f"More labels right than any baseline, but no better correlated than {baseline_name(rival)}."
    return "good", "Better than the majority class." if alone else f"Better than each of its {len(others)} baselines."


def _caveats(split: str, side: Metrics, margin: float, noise: float) -> tuple[str, ...]:
    found = [f"Give or take {margin * 100:.1f} points if rows were independent; labels overlap, so the true margin is wider."]
    matrix = side.get("confusion_matrix") or []
    if sum(1 for row in matrix if any(row)) == 1:
        found.insert(0, f"All {split} rows have the same label: nothing can be told from them.")
    elif matrix and sum(1 for column in zip(*matrix, strict=True) if any(column)) == 1:
        found.insert(0, "It gives every row the same class.")
    word = "above the" if side["mcc"] > noise else "within the" if side["mcc"] >= -noise else "below the"
    found.append(
        f"Correlation with the labels (MCC) {signed(side['mcc'])}, {word} noise of ±{noise:.3f}; 0 is guessing, 1 is perfect."
    )
    if split == "validation":
        found.append("There is no test split: validation rows chose the best epoch, so expect less on new bars.")
    return tuple(found)


def summary_of(metrics: Metrics) -> dict[str, Any]:
    """What lists show of a model, small enough to be sorted by."""
    split = judged_split(metrics)
    side, training, verdict = metrics.get(split) or {}, metrics.get("training") or {}, judge(metrics)
    best = best_baseline(side)
    return {
        "split": split,
        "rows": rows_of(side),
        **{name: side.get(name) for name in ("accuracy", "balanced_accuracy", "mcc", "f1_score", "loss", "rows_sha256")},
        "val_loss": training.get("val_loss"),
        "epochs": training.get("epochs_completed"),
        "best_epoch": training.get("best_epoch"),
        "baseline": baseline_name(best) if best else "",
        "baseline_accuracy": best.get("accuracy"),
        "lead": side["accuracy"] - best["accuracy"] if best and "accuracy" in side else None,
        "tone": verdict.tone if verdict else "",
        "headline": verdict.headline if verdict else "",
        "beats": verdict.beats if verdict else None,
    }
