"""Several trainings side by side: may their figures be compared, which is to be trusted, and in what their settings differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.core.files import FolderError
from training.models import Operation
from training.results.pairs import Difference, Losses, are_of_the_same_rows, difference
from training.web.predictions import kept_predictions


@dataclass(frozen=True, eq=False)
class Run:
    """One training as it is compared. settings: path → value of the effective strategy, flattened."""

    operation: Operation
    name: str
    spec: dict[str, Any]
    settings: dict[str, Any]
    summary: dict[str, Any]
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class Comparability:
    """tone: good, warn or bad; reasons: what differs, in words."""

    tone: str
    headline: str
    reasons: tuple[str, ...]


def run_of(operation: Operation) -> Run:
    spec = operation.spec_data
    model = operation.trained_model
    return Run(operation, model.name, spec, flat(spec), model.summary, model.metrics.get("history") or [])


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """`{"model.architecture.dropout": 0.3, …}`; lists of plain values stay whole, others are numbered."""
    if isinstance(value, Mapping):
        items = [(f"{path}.{key}" if path else str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        items = [(f"{path}[{number}]", inner) for number, inner in enumerate(value)]
    else:
        return {path: value}
    found: dict[str, Any] = {}
    for where, inner in items:
        found |= flat(inner, where)
    return found


def settings_table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One line per path in the order of the first run that has it: `{path, values, differs}`; a value is text."""
    paths = list(dict.fromkeys(path for run in runs for path in run.settings))
    lines = []
    for path in paths:
        values = [as_text(run.settings[path]) if path in run.settings else None for run in runs]
        lines.append({"path": path, "values": values, "differs": len(set(values)) > 1})
    return lines


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def comparability(runs: Sequence[Run]) -> Comparability:
    """Figures can be compared if they are of the same rows; what differs in bars, split or labels is named either way."""
    kinds = {_kind(run) for run in runs}
    if len(kinds) > 1:
        return Comparability(
            "bad", "Some of these predict classes and some returns: their figures measure different things.",
            (f"{_names(runs, 'regression')} predict returns", f"{_names(runs, 'classification')} predict classes"),
        )  # fmt: skip
    reasons = tuple(_differences(runs))
    digests = {run.summary.get("rows_sha256") for run in runs}
    splits = {run.summary.get("split") for run in runs}
    rows = runs[0].summary.get("rows") or 0
    if len(digests) == 1 and None not in digests and len(splits) == 1:
        return Comparability(
            "good", f"These figures are of the same {rows:,} {splits.pop()} rows: they can be compared.", reasons
        )
    if None in digests and not reasons:
        return Comparability("warn", "Bars, split and labels are the same; whether the rows are was not recorded.", ())
    others = reasons or ("the indicators warm up differently, so the splits hold other rows",)
    return Comparability("bad", "These figures are of different rows: do not compare them.", others)


def _kind(run: Run) -> str:
    return str(run.summary.get("output_format") or "classification")


def _names(runs: Sequence[Run], kind: str) -> str:
    return ", ".join(run.name for run in runs if _kind(run) == kind)


def _differences(runs: Sequence[Run]) -> list[str]:
    found = []
    symbols, timeframes = _distinct(map(_symbols, runs)), _distinct(", ".join(run.operation.timeframes) for run in runs)
    if len(symbols) > 1:
        found.append(f"other symbols: {'; '.join(symbols)}")
    found += [f"other bars of {series}" for series in _other_bars(runs)]
    if len(timeframes) > 1:
        found.append(f"other timeframes: {'; '.join(timeframes)}")
    dates = _distinct(f"{r.spec['training_data'].get('start_date')} to {r.spec['training_data'].get('end_date')}" for r in runs)
    if len(dates) > 1:
        found.append(f"other dates: {'; '.join(dates)}")
    for section, word in (("data_split", "split"), ("labels", "labels")):
        told = _distinct(_section(run.spec["training"].get(section)) for run in runs)
        if len(told) > 1:
            found.append(f"other {word}: {'; '.join(told)}")
    judged = _distinct(str(run.summary.get("split") or "nothing") for run in runs)
    if len(judged) > 1:
        found.append(f"judged on {' and '.join(judged)} sets")
    return found


def _symbols(run: Run) -> str:
    names = run.operation.symbols
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _distinct(values: Any) -> list[str]:
    return list(dict.fromkeys(values))


def _section(section: Any) -> str:
    return ", ".join(f"{path} {as_text(value)}" for path, value in flat(section or {}).items()) or "default"


def _other_bars(runs: Sequence[Run]) -> list[str]:
    """Series that several runs used with different content."""
    seen: dict[str, set[str]] = {}
    for run in runs:
        for symbol, timeframes in run.operation.fingerprints.items():
            for timeframe, digest in timeframes.items():
                seen.setdefault(f"{symbol} {timeframe}", set()).add(digest)
    return [series for series, digests in seen.items() if len(digests) > 1]


def losses_of(run: Run) -> Losses:
    """What the model lost on each row that it is judged on: 0 right and 1 wrong, or the squared error. FolderError if its
    predictions cannot be read."""
    model, split = run.operation.trained_model, str(run.summary.get("split"))
    kept = kept_predictions(model)
    side = model.metrics.get(split) or {}
    try:
        times, symbols, labels = (kept[f"{split}.{name}"] for name in ("times", "symbols", "labels"))
        if _kind(run) == "regression":
            values = np.square(labels - kept[f"{split}.returns"])
        else:
            values = (kept[f"{split}.probabilities"].argmax(axis=1) != labels).astype(np.float64)
    except KeyError as missing:
        raise FolderError(f"the predictions of {run.name} hold no {missing}") from None
    return Losses(times, symbols, values, len(times) / max(side.get("independent_rows") or len(times), 1))


def whom_to_trust(runs: Sequence[Run], same_rows: bool, losses: Callable[[Run], Losses] = losses_of) -> str:
    """Which of the runs beat their own baselines, and which of those is the better as far as the figures say.

    A leader is one whose lead over each other run is real, row by row on the same rows; of several runs so much clearer
    as there are pairs that might have led by chance.
    """
    better = [run for run in runs if run.summary.get("beats")]
    if not better:
        return "None of them beats its own baselines: there is nothing to trust yet."
    names = ", ".join(run.name for run in better)
    if len(better) == 1:
        return f"Only {names} beats its own baselines."
    if not same_rows:
        return f"{names} beat their own baselines. Which of them is better cannot be told from different rows."
    try:
        lost = {run: losses(run) for run in better}
    except FolderError as error:
        return f"{names} beat their own baselines. Which of them is better cannot be told: {error}."
    first, *others = sorted(better, key=lambda run: float(lost[run].values.mean()))
    if not all(are_of_the_same_rows(lost[first], lost[other]) for other in others):
        return f"{names} beat their own baselines. Which of them is better cannot be told: their rows were kept in other orders."
    pairs = len(better) * (len(better) - 1) // 2
    leads = [difference(lost[first], lost[other], pairs) for other in others]
    told = _lead_in_words(first, others[0], leads[0])
    if all(lead.is_real for lead in leads):
        return f"{first.name} leads: {told}."
    return f"{names} beat their own baselines. They cannot be told apart: {told}."


def _lead_in_words(first: Run, second: Run, lead: Difference) -> str:
    """How much the first has before the second on the same rows, and the margin of error of that."""
    if lead.margin is None:
        return "their labels overlap so much that too few independent rows are left"
    if not lead.mean:
        return f"{first.name} and {second.name} are equally good on these rows"
    if _kind(first) == "regression":
        scale = _error_of_baseline(second)
        return (
            f"the squared error of {first.name} is {100 * lead.mean / scale:.1f} % of the best baseline's lower than that of "
            f"{second.name} (margin of error ±{100 * lead.margin / scale:.1f} %, row by row)"
        )
    return (
        f"{first.name} is right on {100 * lead.mean:.1f} points more of the rows than {second.name} "
        f"(margin of error ±{100 * lead.margin:.1f} points, row by row)"
    )


def _error_of_baseline(run: Run) -> float:
    """The mean squared error of the best baseline, which is the same for all models of the same rows."""
    return float(run.summary["baseline_rmse"]) ** 2 or 1.0


def axes_of(runs: Sequence[Run], most: int = 7) -> list[dict[str, Any]]:
    """For parallel coordinates: the numbers among the settings that differ, then what was reached."""
    axes = []
    for path in dict.fromkeys(path for run in runs for path in run.settings):
        values = [_number(run.settings.get(path)) for run in runs]
        if len({v for v in values if v is not None}) > 1:
            axes.append({"name": path.removeprefix("training.").removeprefix("model.architecture."), "values": values})
    reached = [
        ("accuracy", "accuracy"), ("balanced", "balanced_accuracy"), ("MCC", "mcc"), ("RMSE", "rmse"),
        ("R²", "r2"), ("IC", "ic"), ("validation loss", "val_loss"),
    ]  # fmt: skip
    figures = [{"name": word, "values": [run.summary.get(key) for run in runs]} for word, key in reached]
    return axes[:most] + [axis for axis in figures if any(value is not None for value in axis["values"])]


def _number(value: Any) -> float | int | None:
    """A number, or the sum of a list of them, such as the widths of hidden layers."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, list) and value and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        return sum(value)
    return None
