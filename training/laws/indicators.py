"""The laws of an indicator: what it gives depends on the bars up to the one it stands on, and on nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from strategies_app.grammar import plugins
from strategies_app.grammar.schema import AnyIndicator
from strategies_app.grammar.vocabulary import REPAINTING
from strategies_app.kinds import IndicatorKind
from training.laws import markets, runs
from training.laws.law import Law, Subject, broken, first_difference, light_law, over, parameter_sets, written
from training.pipeline.indicators import compute

__all__ = ["REPAINTING", "constants", "laws"]

Outputs = dict[str, NDArray[np.float64]]
BARS = 320
#: Where the future is changed: some bars in a row, and some far from one another.
PLACES = (40, 97, 98, 99, 100, 163, 201, 202, 255, 289, 318)


def laws(subject: Subject) -> list[Law]:
    kind = plugins.indicator_kind(subject.name)
    checks: dict[str, Callable[[Subject, dict[str, Any]], None]] = {
        "answers": _answers,
        "warm-up": _warm_up,
        "causality": _causality,
        "isolation": _isolation,
        "constant price": _constant_price,
        "memory": _memory,
        "unit": _unit,
    }

    found = [*light_law(subject)]
    found += [Law(name, subject, over(check, subject, lambda: _sets(kind))) for name, check in checks.items()]
    found.append(Law("one NaN bar", subject, lambda: _one_nan_bar(subject, kind)))
    section = {"type": kind.name}
    return [*found, *runs.laws(subject, runs.Asked(indicator=section, outputs=kind.outputs), serve=True)]


_INDICATOR: TypeAdapter[Any] = TypeAdapter(AnyIndicator)


def _sets(kind: IndicatorKind) -> list[dict[str, Any]]:
    def valid(parameters: dict[str, Any]) -> bool:
        try:
            _INDICATOR.validate_python({"type": kind.name, **parameters})
        except ValidationError:
            return False
        return max(_warm_ups(kind, parameters)) < BARS // 4

    return parameter_sets(kind.parameters, valid)


def _warm_ups(kind: IndicatorKind, parameters: dict[str, Any]) -> tuple[int, ...]:
    assert kind.warm_up is not None
    return kind.warm_up(parameters)


def _outputs(kind: IndicatorKind, parameters: dict[str, Any], columns: markets.Columns) -> Outputs:
    """Copies: what the kind gives may be memory that it goes on using."""
    return {name: array.copy() for name, array in compute(kind.name, parameters, columns).items()}


def _answers(subject: Subject, parameters: dict[str, Any]) -> None:
    """As many values as bars, however few; what is wrong with an answer is told by the product's own check of it."""
    kind = plugins.indicator_kind(subject.name)
    for count in (0, 1, 2, 3, 5, 8, 13, BARS):
        for output, array in _outputs(kind, parameters, markets.market(count, 1)).items():
            if array.shape != (count,):
                broken(subject, "answers", f"{output} has the shape {array.shape} for {count} bars{written(parameters)}")


def _warm_up(subject: Subject, parameters: dict[str, Any]) -> None:
    kind = plugins.indicator_kind(subject.name)
    outputs = _outputs(kind, parameters, markets.market(BARS, 2))
    for (output, array), bars in zip(outputs.items(), _warm_ups(kind, parameters), strict=True):
        says = f"the {bars} bars that it says it needs first{written(parameters)}"
        early = np.flatnonzero(~np.isnan(array[:bars]))
        if len(early):
            seen = f"{output} has the value {array[early[0]]:g} at bar {early[0]}, inside {says}"
            broken(subject, "warm-up", f"{seen}: wanted NaN there, or a shorter warm_up")
        late = bars + np.flatnonzero(np.isnan(array[bars:]))
        if len(late):
            seen = f"{output} is missing at bar {late[0]}, after {says}"
            broken(subject, "warm-up", f"{seen}: such a row would be dropped; wanted a value, or a longer warm_up")


def _causality(subject: Subject, parameters: dict[str, Any]) -> None:
    kind = plugins.indicator_kind(subject.name)
    columns = markets.market(BARS, 3)
    before, again = _outputs(kind, parameters, columns), _outputs(kind, parameters, columns)
    if any(first_difference(before[output], again[output]) is not None for output in kind.outputs):
        said = "the same bars gave other values a second time, so nothing can be said of what comes after a bar"
        broken(subject, "causality", f"{said}{written(parameters)}: see the law 'isolation'")
    for at in PLACES:
        futures = {
            "the bars after it were other ones": markets.other_future(columns, at, 3.0, 4),
            "the bars after it were not there yet": markets.first_bars(columns, at + 1),
        }
        for what, future in futures.items():
            for output, array in _outputs(kind, parameters, future).items():
                place = first_difference(before[output][: at + 1], array[: at + 1])
                if place is None:
                    continue
                was, became = before[output][place], array[place]
                reach = f"bar {place} knows of bars after bar {at}, at least {at + 1 - place} ahead"
                near = np.isfinite(was) and np.isfinite(became) and abs(was - became) <= 1e-9 * max(1.0, abs(was))
                means = (
                    "only its last digits differ: its rounding depends on later bars, so no prediction repeats the training's"
                    if near
                    else "it looks into the future, and training would learn from what nobody can know"
                )
                said = f"{output} of bar {place} was {was:.10g} and is {became:.10g} when {what}{written(parameters)}"
                broken(subject, "causality", f"{said}; {reach}: {means}")


def _isolation(subject: Subject, parameters: dict[str, Any]) -> None:
    kind = plugins.indicator_kind(subject.name)
    own, same_length, longer = (markets.market(count, seed) for count, seed in ((BARS, 5), (BARS, 6), (BARS + 90, 7)))
    first, again = _outputs(kind, parameters, own), _outputs(kind, parameters, own)
    other = _outputs(kind, parameters, same_length)
    after = _outputs(kind, parameters, own)
    _outputs(kind, parameters, longer)
    later = _outputs(kind, parameters, own)
    at_once = _at_once(kind, parameters, [own, longer, own, same_length] * 3)
    for what, seen in (
        ("computed a second time", again),
        ("computed after another symbol", after),
        ("computed after a symbol with more bars", later),
        *(("computed while other symbols are, in threads", seen) for seen in at_once[::2]),
    ):
        for output, array in seen.items():
            place = first_difference(first[output], array)
            if place is not None:
                said = (
                    f"{output} of bar {place} was {first[output][place]:.10g} and is {array[place]:.10g} for the same bars {what}"
                )
                means = "it keeps something between calls, so a symbol's features depend on which others were computed before"
                broken(subject, "isolation", f"{said}{written(parameters)}: {means}")
    usual = all(parameters[p.name] == p.default for p in kind.parameters)  # unusual ones may well say nothing of a market
    if usual and all(first_difference(first[output], other[output]) is None for output in kind.outputs):
        said = f"it gave the very same values for the bars of two symbols of {BARS} bars each{written(parameters)}"
        broken(subject, "isolation", f"{said}: what it gives was not computed from the bars at hand")


def _at_once(kind: IndicatorKind, parameters: dict[str, Any], symbols: list[markets.Columns]) -> list[Outputs]:
    """Symbols may be worked out side by side."""
    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(lambda columns: _outputs(kind, parameters, columns), symbols))


def constants(kind: IndicatorKind, price: float, volume: float) -> list[float] | None:
    """What the kind says about a constant price, as one number per output; None if it says it in other words."""
    words = kind.constant.split(";")[0]
    if re.fullmatch("the price(, (two|three|four) times)?", words):
        return [price] * len(kind.outputs)
    if words == "the first bar's volume":
        return [volume]
    numbers = [price if n == "the price" else float(n) for n in re.findall(r"the price|-?\d+(?:\.\d+)?", words)]
    return numbers if len(numbers) == len(kind.outputs) else None


def _constant_price(subject: Subject, parameters: dict[str, Any]) -> None:
    kind = plugins.indicator_kind(subject.name)
    for price in (100.0, 1.1, 97.31, 1e5 / 3):
        expected = constants(kind, price, 7.0)
        if expected is None:
            said = f"it says '{kind.constant}' of a constant price"
            broken(subject, "constant price", f"{said}, wanted 'the price' or a number for each of {', '.join(kind.outputs)}")
        warm_ups = _warm_ups(kind, parameters)
        outputs = _outputs(kind, parameters, markets.constant_market(max(warm_ups) + 60, price, 7.0))
        for (output, array), bars, value in zip(outputs.items(), warm_ups, expected, strict=True):
            wrong = bars + np.flatnonzero(~(np.abs(array[bars:] - value) <= 1e-6 * max(price, 1.0)))
            if len(wrong):
                said = f"{output} is {array[wrong[0]]:g} at bar {wrong[0]} of a price that is {price:g} all the time"
                broken(subject, "constant price", f"{said}{written(parameters)}, and it says that it is {value:g} then")


def _memory(subject: Subject, parameters: dict[str, Any]) -> None:
    """A finite memory forgets where the bars began as soon as it has its window; a decaying one in the end."""
    kind = plugins.indicator_kind(subject.name)
    memory = kind.memory_with(parameters)
    if memory == "origin":
        return
    warm_ups = _warm_ups(kind, parameters)
    cut, settle = 70, 0 if memory == "finite" else 40 * (max(warm_ups) + 1)
    columns = markets.market(cut + max(warm_ups) + settle + 100, 8)
    whole = _outputs(kind, parameters, columns)
    part = _outputs(kind, parameters, {name: column[cut:] for name, column in columns.items()})
    for (output, array), bars in zip(part.items(), warm_ups, strict=True):
        first = bars + settle
        there = whole[output][cut + first :]
        scale = np.maximum(np.abs(there), float(np.nanstd(whole[output])) + 1e-12)
        far = first + np.flatnonzero(~(np.abs(array[first:] - there) <= (1e-7 if memory == "finite" else 1e-4) * scale))
        if len(far):
            was, became = whole[output][cut + far[0]], array[far[0]]
            said = f"{output} of one bar is {was:.8g}, and {became:.8g} where {cut} older bars are missing"
            means = f"{far[0]} bars after the new beginning{written(parameters)}; its memory is called {memory}"
            broken(subject, "memory", f"{said}, {means}, wanted {'decaying or origin' if memory == 'finite' else 'origin'}")


def _unit(subject: Subject, parameters: dict[str, Any]) -> None:
    kind = plugins.indicator_kind(subject.name)
    columns = markets.market(BARS, 9)
    once = _outputs(kind, parameters, columns)
    for factor in (0.001, 12345.0):
        again = _outputs(kind, parameters, markets.scaled(columns, factor))
        for output in kind.outputs:
            was, became = once[output], again[output]
            if not kind.forgets_the_unit(output) or np.allclose(was, became, rtol=1e-6, atol=1e-5, equal_nan=True):
                continue
            place = int(np.nanargmax(np.abs(became - was)))
            said = f"{output} of bar {place} is {was[place]:g}, and {became[place]:g} for prices {factor:g} times as high"
            broken(subject, "unit", f"{said}{written(parameters)}, and it is called scale-free: symbols could not be compared")


def _one_nan_bar(subject: Subject, kind: IndicatorKind) -> None:
    """A bar with a missing value is taken out before: it has no row, and all others are as if it had never been."""
    parameters = {p.name: p.default for p in kind.parameters}
    seen = runs.with_one_nan_bar(runs.Asked(indicator={"type": kind.name}, outputs=kind.outputs))
    expected = np.stack([_outputs(kind, parameters, seen.columns)[output] for output in kind.outputs], axis=1)
    rows = np.flatnonzero(~np.isnan(expected).any(axis=1))
    if seen.gone in seen.times or not np.array_equal(seen.times, seen.all_times[rows]):
        said = f"{len(seen.times)} rows were made of {len(expected)} bars, {len(rows)} of which have every value"
        broken(subject, "one NaN bar", f"{said}, when one more bar has a missing price")
    wanted, found = expected[rows].astype(np.float32).ravel(), seen.features.ravel()
    place = first_difference(found, wanted)
    if place is not None:
        row, output = divmod(place, len(kind.outputs))
        said = f"{kind.outputs[output]} is {found[place]:.8g} in row {row}, wanted {wanted[place]:.8g}"
        broken(subject, "one NaN bar", f"{said}: a bar with a missing price changes values of others")
