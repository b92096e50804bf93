"""Checks that need two sections of a strategy at once: plain data → findings.

They look at the data as it was written, not at a `StrategySpec`, so that they speak even when another
section has errors. A value of the wrong type is left to the schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from strategies_app.grammar import plugins, vocabulary
from strategies_app.grammar.schema import FuzzyInput, Path, RawInput, StrategySpec, output_of
from strategies_app.grammar.vocabulary import IndicatorKind
from strategies_app.grammar.wording import Finding, one_of, seen, value_at

#: Columns of a network's input, lags included; a strategy of a few lines could name millions.
MAX_FEATURES = 20_000

Kinds = dict[str, IndicatorKind | None]


def reference_findings(data: dict[str, Any]) -> Iterator[Finding]:
    """What one section says and another does not know."""
    kinds = _kinds(data.get("indicators"))
    yield from _indicators(data.get("indicators"), kinds)
    yield from _fuzzy_sets(data.get("fuzzy_sets"), kinds)
    yield from _inputs(data, kinds)
    yield from _features(data)
    yield from _labels_fit(data)


def _kinds(section: Any) -> Kinds:
    """The kind of every indicator id, None where it is unknown."""
    kinds: Kinds = {}
    for identifier, definition in section.items() if isinstance(section, dict) else ():
        spelling = definition.get("type") if isinstance(definition, dict) else None
        try:
            kinds[identifier] = plugins.indicator_kind(spelling) if isinstance(spelling, str) else None
        except KeyError:
            kinds[identifier] = None
    return kinds


def _indicators(section: Any, kinds: Kinds) -> Iterator[Finding]:
    for identifier, definition in section.items() if isinstance(section, dict) else ():
        path: Path = ("indicators", identifier)
        if not isinstance(definition, dict):
            yield Finding(path, f"seen {seen(definition)}, wanted a map such as {{type: rsi, period: 14}}")
        elif "type" not in definition:
            near = vocabulary.nearest("type", definition)
            yield Finding(path, "missing key 'type'" + (f"; is '{near}' meant as it?" if near else ""))
        elif not isinstance(spelling := definition["type"], str):
            yield Finding((*path, "type"), f"seen {seen(spelling)}, wanted the name of an indicator")
        elif (kind := kinds[identifier]) is None:
            fault = plugins.fault_of(plugins.INDICATORS, spelling)
            unknown = f"unknown indicator {seen(spelling)}{one_of(spelling, plugins.indicator_spellings())}"
            yield Finding((*path, "type"), fault or unknown)
        elif kind.name in vocabulary.REPAINTING:
            yield Finding(
                (*path, "type"), f"{kind.name} repaints: its past values use later bars, so it can be a label but no input"
            )


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
    section = data.get("fuzzy_sets")
    fuzzy_sets = section if isinstance(section, dict) else {}
    for index, entry in enumerate(_list(data.get("nn_inputs"))):
        if not isinstance(entry, dict):
            continue
        path: Path = ("nn_inputs", index)
        if isinstance(name := entry.get("fuzzy_set"), str) and name not in fuzzy_sets:
            yield Finding((*path, "fuzzy_set"), f"unknown fuzzy set '{name}'{one_of(name, fuzzy_sets)}")
        if isinstance(reference := entry.get("raw_indicator"), str):
            yield from _reference((*path, "raw_indicator"), reference, kinds)
        yield from _input_timeframes((*path, "timeframes"), entry.get("timeframes"), _timeframes(data))


def _input_timeframes(path: Path, timeframes: Any, known: list[str]) -> Iterator[Finding]:
    for index, timeframe in enumerate(_list(timeframes)):
        if known and isinstance(timeframe, str) and timeframe in vocabulary.TIMEFRAMES and timeframe not in known:
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
    name = entry.get("fuzzy_set")
    fuzzy_set = value_at(data, ("fuzzy_sets", name)) if isinstance(name, str) else None
    members = [m for m in fuzzy_set if m not in ("indicator", "input_transform")] if isinstance(fuzzy_set, dict) else []
    for timeframe in timeframes:
        if isinstance(entry.get("raw_indicator"), str):
            yield f"{timeframe}_{entry['raw_indicator']}_raw"
        else:
            yield from (f"{timeframe}_{name}_{member}" for member in members)


CLASS_MONITORS = ("val_accuracy", "val_balanced_accuracy", "val_mcc")
_LOSSES = {True: ("cross_entropy", "focal"), False: ("huber", "mse")}


def _labels_fit(data: dict[str, Any]) -> Iterator[Finding]:
    """Labels that are classes want classification and its losses, labels that are numbers regression."""
    source = value_at(data, ("training", "labels", "source"))
    if not isinstance(source, str) or source not in (classes := plugins.label_classes()):
        return
    has_classes = bool(classes[source])
    kind = "classes" if has_classes else "numbers"
    output = value_at(data, ("decisions", "output_format")) or "classification"
    wanted = "classification" if has_classes else "regression"
    if output in ("classification", "regression") and output != wanted:
        path: Path = ("decisions", "output_format") if has_classes else ("training", "labels", "source")
        yield Finding(path, f"labels {source} are {kind}, but decisions.output_format is {output}, wanted {wanted}")
    loss = value_at(data, ("training", "loss"))
    if loss in _LOSSES[not has_classes]:
        yield Finding(
            ("training", "loss"),
            f"loss '{loss}' does not fit labels {source}, which are {kind}, wanted {' or '.join(_LOSSES[has_classes])}",
        )
    path = ("training", "early_stopping", "monitor")
    if not has_classes and (monitor := value_at(data, path)) in CLASS_MONITORS:
        yield Finding(path, f"monitor '{monitor}' is a measure of classes, but labels {source} are numbers, wanted val_loss")


def warnings_of(spec: StrategySpec) -> list[str]:
    """What is allowed and yet probably not meant, one sentence each."""
    return [*_scale_warnings(spec), *_memory_warnings(spec), *_unused_warnings(spec), *_effect_warnings(spec)]


def _indicator_id(reference: str) -> str:
    return reference.partition(".")[0]


def _used(spec: StrategySpec) -> list[str]:
    """Ids of the indicators that reach the network."""
    raw = (entry.raw_indicator for entry in spec.nn_inputs if isinstance(entry, RawInput))
    fuzzy = (spec.fuzzy_sets[entry.fuzzy_set].indicator for entry in spec.nn_inputs if isinstance(entry, FuzzyInput))
    return list(dict.fromkeys(_indicator_id(reference) for reference in (*raw, *fuzzy)))


def _scale_warnings(spec: StrategySpec) -> Iterator[str]:
    differ = f"in units of price or volume, which differ between the {len(spec.symbols)} symbols"
    for index, entry in enumerate(spec.nn_inputs):
        if isinstance(entry, RawInput):
            if _differs(spec, entry.raw_indicator):
                yield f"nn_inputs[{index}]: raw input '{entry.raw_indicator}' is {differ}"
            if entry.normalization == "none":
                yield f"nn_inputs[{index}]: raw input '{entry.raw_indicator}' reaches the network without normalization"
    for name, fuzzy_set in spec.fuzzy_sets.items():
        if fuzzy_set.input_transform.type == "identity" and _differs(spec, fuzzy_set.indicator):
            yield f"fuzzy_sets.{name}: '{fuzzy_set.indicator}' is {differ}; an input_transform may help"


def _differs(spec: StrategySpec, reference: str) -> bool:
    identifier, output = output_of(reference, spec.indicators)
    return len(spec.symbols) > 1 and not spec.indicators[identifier].kind.forgets_the_unit(output)


def _memory_warnings(spec: StrategySpec) -> Iterator[str]:
    for identifier in _used(spec):
        indicator = spec.indicators[identifier]
        if indicator.kind.memory_with(indicator.parameters) == "origin":
            kind = indicator.type
            yield f"indicators.{identifier}: {kind} depends on the first bar for ever: other bars before the start change it"


def _unused_warnings(spec: StrategySpec) -> Iterator[str]:
    named = {entry.fuzzy_set for entry in spec.nn_inputs if isinstance(entry, FuzzyInput)}
    for name in spec.fuzzy_sets:
        if name not in named:
            yield f"fuzzy_sets.{name}: no nn_input uses it"
    used = _used(spec)
    for identifier in spec.indicators:
        if identifier not in used:
            yield f"indicators.{identifier}: no nn_input uses it"


def _effect_warnings(spec: StrategySpec) -> Iterator[str]:
    if not spec.class_names and "class_weights" in spec.training.model_fields_set:
        yield f"training.class_weights: labels {spec.training.labels.source} have no classes, so it has no effect"
