"""Checks that need two sections of a strategy at once: plain data → findings.

They look at the data as it was written, not at a `StrategySpec`, so that they speak even when another
section has errors. A value of the wrong type is left to the schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from strategies_app import vocabulary
from strategies_app.schema import Path, StrategySpec
from strategies_app.vocabulary import LABEL_CLASSES, IndicatorKind
from strategies_app.wording import Finding, one_of, seen, value_at

#: Columns of a network's input, lags included; a strategy of a few lines could name millions.
MAX_FEATURES = 20_000

Kinds = dict[str, IndicatorKind | None]


def reference_findings(data: dict[str, Any]) -> Iterator[Finding]:
    """What one section says and another does not know."""
    kinds = yield from _indicators(data.get("indicators"))
    yield from _fuzzy_sets(data.get("fuzzy_sets"), kinds)
    yield from _inputs(data, kinds)
    yield from _features(data)
    yield from _labels_fit(data)


def _indicators(section: Any) -> Iterator[Finding]:  # type: ignore[misc]
    """Yields findings, returns the kind of every id (None where it is unknown)."""
    kinds: Kinds = {}
    for identifier, definition in section.items() if isinstance(section, dict) else ():
        kinds[identifier] = None
        path = ("indicators", identifier)
        if not isinstance(definition, dict):
            yield Finding(path, f"seen {seen(definition)}, wanted a map such as {{type: rsi, period: 14}}")
        elif "type" not in definition:
            yield Finding(path, f"missing key 'type'{_meant(definition)}")
        elif not isinstance(definition["type"], str):
            yield Finding((*path, "type"), f"seen {seen(definition['type'])}, wanted the name of an indicator")
        else:
            kinds[identifier] = yield from _kind((*path, "type"), definition["type"])
    return kinds


def _meant(definition: dict[str, Any]) -> str:
    near = vocabulary.nearest("type", definition)
    return f"; is '{near}' meant as it?" if near else ""


def _kind(path: Path, spelling: str) -> Any:
    try:
        kind = vocabulary.indicator_kind(spelling)
    except KeyError:
        yield Finding(path, f"unknown indicator '{spelling}'{one_of(spelling, vocabulary.indicator_spellings())}")
        return None
    if kind.name in vocabulary.REPAINTING:
        yield Finding(path, f"{kind.name} cannot be an input: it repaints, its past values use bars that come later; it exists as a label only")
    return kind


def _fuzzy_sets(section: Any, kinds: Kinds) -> Iterator[Finding]:
    for identifier, definition in section.items() if isinstance(section, dict) else ():
        if isinstance(definition, dict) and isinstance(definition.get("indicator"), str):
            yield from _reference(("fuzzy_sets", identifier, "indicator"), definition["indicator"], kinds)


def _reference(path: Path, reference: str, kinds: Kinds) -> Iterator[Finding]:
    identifier, dot, output = reference.partition(".")
    if identifier not in kinds:
        yield Finding(path, f"unknown indicator '{identifier}'{one_of(identifier, kinds)}")
        return
    kind = kinds[identifier]
    if dot and kind is not None and output not in kind.outputs:
        yield Finding(path, f"'{identifier}' ({kind.name}) has no output '{output}'{one_of(output, kind.outputs)}")


def _inputs(data: dict[str, Any], kinds: Kinds) -> Iterator[Finding]:
    fuzzy_sets = data.get("fuzzy_sets") if isinstance(data.get("fuzzy_sets"), dict) else {}
    for index, entry in enumerate(_list(data.get("nn_inputs"))):
        if not isinstance(entry, dict):
            continue
        path = ("nn_inputs", index)
        if isinstance(name := entry.get("fuzzy_set"), str) and name not in fuzzy_sets:
            yield Finding((*path, "fuzzy_set"), f"unknown fuzzy set '{name}'{one_of(name, fuzzy_sets)}")
        if isinstance(reference := entry.get("raw_indicator"), str):
            yield from _reference((*path, "raw_indicator"), reference, kinds)
        yield from _input_timeframes((*path, "timeframes"), entry.get("timeframes"), _timeframes(data))


def _input_timeframes(path: Path, timeframes: Any, known: list[str]) -> Iterator[Finding]:
    for index, timeframe in enumerate(_list(timeframes)):
        if known and timeframe in vocabulary.TIMEFRAMES and timeframe not in known:
            yield Finding((*path, index), f"timeframe '{timeframe}' is not in training_data.timeframes ({', '.join(known)})")


def _timeframes(data: dict[str, Any]) -> list[str]:
    section = value_at(data, ("training_data", "timeframes"))
    if not isinstance(section, dict):
        return []
    named = [section.get("timeframe")] if section.get("mode") == "single" else _list(section.get("list"))
    return [t for t in named if isinstance(t, str)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _features(data: dict[str, Any]) -> Iterator[Finding]:
    """Every feature has one name of its own, lags included, and there are not too many."""
    made_by: dict[str, int] = {}
    for index, entry in enumerate(_list(data.get("nn_inputs"))):
        for name in _entry_features(data, entry):
            if name in made_by:
                other = made_by[name]
                again = "twice by this entry" if other == index else f"here and by nn_inputs[{other}]"
                yield Finding(("nn_inputs", index), f"feature '{name}' is made {again}, wanted every name once")
                break
            made_by[name] = index
    lags = value_at(data, ("model", "features", "lookback_periods"))
    lags = lags if isinstance(lags, int) and not isinstance(lags, bool) else 0
    if len(made_by) * (1 + max(lags, 0)) > MAX_FEATURES:
        yield Finding(("nn_inputs",), f"{len(made_by) * (1 + lags)} features, wanted at most {MAX_FEATURES}")
    for name, index in made_by.items():
        lag = re.fullmatch(r"(.+)_lag([1-9][0-9]{0,3})", name)
        if lag and lag[1] in made_by and int(lag[2]) <= lags:
            yield Finding(("nn_inputs", index), f"feature '{name}' is also lag {lag[2]} of '{lag[1]}', wanted every name once")


def _entry_features(data: dict[str, Any], entry: Any) -> Iterator[str]:
    if not isinstance(entry, dict):
        return
    given = entry.get("timeframes", "all")
    timeframes = _timeframes(data) if given == "all" else [t for t in _list(given) if isinstance(t, str)]
    fuzzy_set = value_at(data, ("fuzzy_sets", entry.get("fuzzy_set"))) if isinstance(entry.get("fuzzy_set"), str) else None
    members = [m for m in fuzzy_set if m not in ("indicator", "input_transform")] if isinstance(fuzzy_set, dict) else []
    for timeframe in timeframes:
        if isinstance(entry.get("raw_indicator"), str):
            yield f"{timeframe}_{entry['raw_indicator']}_raw"
        else:
            yield from (f"{timeframe}_{entry['fuzzy_set']}_{member}" for member in members)


_LOSSES = {True: ("cross_entropy", "focal"), False: ("huber", "mse")}


def _labels_fit(data: dict[str, Any]) -> Iterator[Finding]:
    """Labels that are classes want classification and its losses, labels that are numbers regression."""
    source = value_at(data, ("training", "labels", "source"))
    if not isinstance(source, str) or source not in LABEL_CLASSES:
        return
    has_classes = bool(LABEL_CLASSES[source])
    kind = "classes" if has_classes else "numbers"
    output = value_at(data, ("decisions", "output_format")) or "classification"
    wanted = "classification" if has_classes else "regression"
    if output in ("classification", "regression") and output != wanted:
        path: Path = ("decisions", "output_format") if has_classes else ("training", "labels", "source")
        yield Finding(path, f"labels {source} are {kind}, but decisions.output_format is {output}, wanted {wanted}")
    loss = value_at(data, ("training", "loss"))
    if loss in _LOSSES[not has_classes]:
        yield Finding(("training", "loss"), f"loss '{loss}' does not fit labels {source}, which are {kind}, wanted {' or '.join(_LOSSES[has_classes])}")


def warnings_of(spec: StrategySpec) -> list[str]:
    """What is allowed and yet probably not meant, one sentence each."""
    return [*_scale_warnings(spec), *_memory_warnings(spec), *_unused_warnings(spec)]


def _used(spec: StrategySpec) -> dict[str, str]:
    """Indicator id → the nn_input or fuzzy set by which it reaches the network."""
    used: dict[str, str] = {}
    for entry in spec.nn_inputs:
        reference = entry.raw_indicator if hasattr(entry, "raw_indicator") else spec.fuzzy_sets[entry.fuzzy_set].indicator
        used.setdefault(reference.partition(".")[0], reference)
    return used


def _scale_warnings(spec: StrategySpec) -> Iterator[str]:
    several = len(spec.symbols) > 1
    for index, entry in enumerate(spec.nn_inputs):
        reference = getattr(entry, "raw_indicator", None)
        if reference is None:
            continue
        scale_free = spec.indicators[reference.partition(".")[0]].kind.scale_free
        if several and not scale_free:
            yield f"nn_inputs[{index}]: raw input '{reference}' is in units of price or volume, which differ between the {len(spec.symbols)} symbols"
        if getattr(entry, "normalization", None) == "none":
            yield f"nn_inputs[{index}]: raw input '{reference}' reaches the network without normalization"
    for name, fuzzy_set in spec.fuzzy_sets.items():
        scale_free = spec.indicators[fuzzy_set.indicator.partition(".")[0]].kind.scale_free
        if several and not scale_free and fuzzy_set.input_transform.type == "identity":
            yield (
                f"fuzzy_sets.{name}: '{fuzzy_set.indicator}' is in units of price or volume, which differ between the "
                f"{len(spec.symbols)} symbols; input_transform may help"
            )


def _memory_warnings(spec: StrategySpec) -> Iterator[str]:
    for identifier in _used(spec):
        if spec.indicators[identifier].kind.memory == "origin":
            kind = spec.indicators[identifier].type
            yield f"indicators.{identifier}: {kind} depends on the first bar for ever, so its level changes with the bars that are stored"


def _unused_warnings(spec: StrategySpec) -> Iterator[str]:
    named = {entry.fuzzy_set for entry in spec.nn_inputs if hasattr(entry, "fuzzy_set")}
    for name in spec.fuzzy_sets:
        if name not in named:
            yield f"fuzzy_sets.{name}: no nn_input uses it"
    for identifier in spec.indicators:
        if identifier not in _used(spec):
            yield f"indicators.{identifier}: no nn_input uses it"
