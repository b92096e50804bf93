"""The laws of a label: it is known when it says so, not later, and owes nothing to other symbols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from strategies_app.grammar import plugins
from strategies_app.grammar.schema import Labels, PluginLabels, StrategySpec
from strategies_app.kinds import Parameter
from training.laws import markets, runs
from training.laws.law import Law, Subject, broken, first_difference, light_law, over, parameter_sets, written
from training.pipeline.labels import LabelColumn, compute_labels, label_warm_up, look_ahead

BARS = 260
_LABELS: TypeAdapter[Any] = TypeAdapter(Labels)


def laws(subject: Subject) -> list[Law]:
    classes = plugins.label_classes()[subject.name]
    checks: dict[str, Callable[[Subject, StrategySpec], None]] = {
        "answers": _answers, "label end": _end, "needed end": _needed, "isolation": _isolation,
    }  # fmt: skip

    found = [*light_law(subject)]
    found += [Law(name, subject, over(check, subject, lambda: _specs(subject))) for name, check in checks.items()]
    asked = runs.Asked(label={"source": subject.name})
    return [*found, *runs.laws(subject, asked, serve=False, regression=not classes)]


def _specs(subject: Subject) -> list[StrategySpec]:
    """Strategies with this label, whose look-ahead and warm-up leave most of the bars with a label."""
    regression = not plugins.label_classes()[subject.name]
    specs = []
    for parameters in parameter_sets(_parameters(subject), lambda values: _valid(subject, values)):
        spec = runs.strategy(runs.Asked(label={"source": subject.name, **parameters}), regression=regression)
        if look_ahead(spec) + label_warm_up(spec) < BARS * 3 // 4:
            specs.append(spec)
    return specs


def _parameters(subject: Subject) -> tuple[Parameter, ...]:
    if subject.plugin is None:
        return ()  # a built-in label is tried with its defaults
    return subject.plugin.kind.parameters


def _valid(subject: Subject, parameters: dict[str, Any]) -> bool:
    try:
        _LABELS.validate_python({"source": subject.name, **parameters})
    except ValidationError:
        return False
    return True


def _labels(spec: StrategySpec, columns: markets.Columns) -> LabelColumn:
    """Copies: what the kind gives may be memory that it goes on using."""
    found = compute_labels(spec, columns)
    return LabelColumn(found.values.copy(), found.ends.copy(), found.events)


def _with(spec: StrategySpec) -> str:
    labels = spec.training.labels
    return written(labels.parameters if isinstance(labels, PluginLabels) else {})


def _named(spec: StrategySpec, value: Any) -> str:
    return spec.class_names[int(value)] if spec.class_names and value >= 0 else "no label" if value == -1 else f"{value:.6g}"


def _answers(subject: Subject, spec: StrategySpec) -> None:
    """As many labels as bars, however few; a lively market has labels, and of more than one class."""
    for count in (0, 1, 2, 3, 5, 8, 13, BARS):
        found = _labels(spec, markets.market(count, 11))
        if found.values.shape != (count,) or found.ends.shape != (count,):
            broken(subject, "answers", f"{found.values.shape} values and {found.ends.shape} ends for {count} bars{_with(spec)}")
    there = found.ends >= 0
    if not there.any():
        broken(subject, "answers", f"not one of {BARS} bars of a lively market has a label{_with(spec)}")


def _end(subject: Subject, spec: StrategySpec) -> None:
    """Whatever comes after its end changes neither a label nor its end."""
    columns = markets.market(BARS, 12)
    before = _labels(spec, columns)
    for at in range(30, BARS - 1, 3):
        settled = np.flatnonzero((before.ends >= 0) & (before.ends <= at))
        for factor in (3.0, 1 / 3):
            other = _labels(spec, markets.other_future(columns, at, factor, 13))
            _refuse_change(subject, spec, before, other, settled, f"only the bars after {at} are other ones")
        # A barrier touched early is known early, but a row is only used when its whole look-ahead is there.
        whole = settled[settled + look_ahead(spec) <= at]
        cut = _labels(spec, markets.first_bars(columns, at + 1))
        _refuse_change(subject, spec, before, cut, whole, f"the bars after {at} are not there yet")


def _refuse_change(
    subject: Subject, spec: StrategySpec, before: LabelColumn, after: LabelColumn, rows: NDArray[np.int64], when: str
) -> None:
    values = first_difference(before.values[rows], after.values[rows])
    ends = first_difference(before.ends[rows], after.ends[rows])
    if values is None and ends is None:
        return
    row = int(rows[values if values is not None else ends])
    if values is not None:
        seen = f"it is {_named(spec, before.values[row])}, and {_named(spec, after.values[row])} when {when}"
    else:
        seen = f"it ends with bar {after.ends[row]} when {when}"
    claims = f"the label of bar {row} says that it is known with bar {before.ends[row]}, but {seen}{_with(spec)}"
    means = "it looks further than its end says, so rows before a cut would be trained on bars that judge behind it"
    broken(subject, "label end", f"{claims}: {means}")


def _needed(subject: Subject, spec: StrategySpec) -> None:
    """The bar that a label ends with has a say in some label: an end that is too late costs rows at every cut."""
    columns = markets.market(BARS, 14)
    before = _labels(spec, columns)
    for at in range(40, BARS, 2):
        rows = np.flatnonzero(before.ends == at)
        for factor in (3.0, 1 / 3) if len(rows) else ():
            after = _labels(spec, markets.other_future(columns, at - 1, factor, 15))
            for was, became in ((before.values, after.values), (before.ends, after.ends)):
                if first_difference(was[rows], became[rows]) is not None:
                    return
    said = "no label changes when the bar that it ends with is another one, nor when all later ones are"
    broken(subject, "needed end", f"{said}{_with(spec)}: its ends are too late, and rows before every cut are lost for nothing")


def _isolation(subject: Subject, spec: StrategySpec) -> None:
    own, same_length, longer = (markets.market(count, seed) for count, seed in ((BARS, 16), (BARS, 17), (BARS + 70, 18)))
    first, again = _labels(spec, own), _labels(spec, own)
    other = _labels(spec, same_length)
    after = _labels(spec, own)
    _labels(spec, longer)
    later = _labels(spec, own)
    for what, seen in (
        ("a second time", again), ("after another symbol", after), ("after a symbol with more bars", later),
    ):  # fmt: skip
        for name, was, became in (("label", first.values, seen.values), ("end", first.ends, seen.ends)):
            place = first_difference(was, became)
            if place is not None:
                said = f"the {name} of bar {place} was {was[place]:g} and is {became[place]:g} for the same bars computed {what}"
                broken(
                    subject, "isolation", f"{said}{_with(spec)}: it keeps something between calls, so symbols change one another"
                )
    both = first_difference(first.values, other.values) is None and first_difference(first.ends, other.ends) is None
    if both and spec == _specs(subject)[0]:  # unusual parameters may well say the same of all
        said = f"it gave the very same labels for the bars of two symbols of {BARS} bars each{_with(spec)}"
        broken(subject, "isolation", f"{said}: what it gives was not computed from the bars at hand")
