"""What was found of the bars, the features and the labels of a training, as its page shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from training.core import findings
from training.models import Operation, Status

#: A page shows so many features, those with the largest drift first; the API has all.
MOST_FEATURES = 100


def context_of(checks: Mapping[str, Any]) -> dict[str, Any]:
    """What `site/_checks.html` shows, from an operation's or a plan's checks; {} where nothing is known yet."""
    data, inputs = checks.get("data"), checks.get("inputs")
    if data is None and inputs is None:
        return {}
    found = (data or {}).get("findings", [])
    return {
        "data": found,
        "more_data": (data or {}).get("count", 0) - len(found),
        "inputs": inputs,
        **(_features(inputs) if inputs else {}),
    }


def _features(inputs: Mapping[str, Any]) -> dict[str, Any]:
    marks = _marks(inputs["findings"])
    lines = [of | {"marks": marks.get(of["name"], [])} for of in inputs["features"]]
    lines.sort(key=lambda of: (not of["marks"], -(of["drift"] or 0.0)))
    return {"features": lines[:MOST_FEATURES], "more_features": max(len(lines) - MOST_FEATURES, 0)}


#: What a finding says of one feature, in a word or two.
WORDS = {
    "degree_range": "outside 0 to 1", "never_fires": "never fires", "always_fires": "always fires",
    "constant_feature": "constant",
    "duplicate_features": "the same", "alike_features": "nearly the same", "large_drift": "large drift",
    "moderate_drift": "moderate drift",
}  # fmt: skip


def _marks(findings: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Feature → what was found of it."""
    marks: dict[str, list[dict[str, Any]]] = {}
    for of in findings:
        for name in of["columns"]:
            mark = {"word": WORDS[of["kind"]], "severity": of["severity"]}
            marks.setdefault(name, []).append(mark)
    return marks


def findings_of(operation: Operation) -> list[dict[str, Any]]:
    """All that are kept: of the bars, then of features and labels."""
    return findings.findings_of(operation.checks)


def refusal_of(operation: Operation) -> list[dict[str, Any]]:
    """What a failed run was refused for, and what else was seen then; nothing of one that failed of something else."""
    found = findings_of(operation) if operation.status == Status.FAILED else []
    return found if any(of["severity"] == findings.ERROR for of in found) else []


def other_notes(notes: Iterable[str], operation: Operation) -> list[str]:
    """The notes that the cards of the checks do not say already."""
    told = tuple(of["sentence"] for of in findings_of(operation))
    return [note for note in dict.fromkeys(notes) if not note.startswith(told)] if told else list(dict.fromkeys(notes))
