"""Two strategies → the keys in which they differ in meaning, and what that changes: rows, features, labels, network, signals.

Spelling, order of keys, comments and defaults that are written out make no difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from strategies_app.grammar.schema import FuzzyInput, RawInput, StrategySpec, feature_names, output_of
from strategies_app.grammar.wording import dotted, seen
from strategies_app.grammar.yaml_text import Path
from strategies_app.tools.meanings import SECTIONS


@dataclass(frozen=True)
class Difference:
    """One key: its path, what it is (empty where it is of the author's choice), and both values as text."""

    path: str
    meaning: str
    before: str
    after: str


@dataclass(frozen=True)
class Comparison:
    """`effects`: what the differences mean for a training, the plainest sentence last."""

    differences: tuple[Difference, ...]
    effects: tuple[str, ...]


def compare(before: StrategySpec, after: StrategySpec) -> Comparison:
    """What differs in meaning from `before` to `after`; nothing at all if both train and call the same."""
    old, new = _normal(before), _normal(after)
    differences = tuple(
        Difference(dotted(path), _meaning(path), _text(a), _text(b)) for path, a, b in _differing(old, new) if a != b
    )
    return Comparison(differences, tuple(_effects(before, after, old, new)) if differences else ())


class _Absent:
    pass


_ABSENT = _Absent()


def _normal(spec: StrategySpec) -> dict[str, Any]:
    """Every key with its value, defaults included, each thing said in one way."""
    plain: dict[str, Any] = spec.model_dump(mode="json", by_alias=True)
    data = spec.training_data
    plain["training_data"] = {
        "symbols": list(spec.symbols), "timeframes": list(spec.timeframes), "history_required": data.history_required,
        "start_date": str(data.start or ""), "end_date": str(data.end or ""),
    }  # fmt: skip
    plain["indicators"] = {key: {"type": i.kind.name, **i.parameters} for key, i in spec.indicators.items()}
    for key, fuzzy_set in spec.fuzzy_sets.items():
        plain["fuzzy_sets"][key]["indicator"] = ".".join(output_of(fuzzy_set.indicator, spec.indicators))
        plain["fuzzy_sets"][key]["order of memberships"] = list(fuzzy_set.memberships)
    plain["nn_inputs"] = [_input(spec, entry) for entry in spec.nn_inputs]
    plain["training"]["loss"] = spec.training.loss_name
    if spec.training.gradient_clip <= 0:
        plain["training"]["gradient_clip"] = 0.0
    return plain


def _input(spec: StrategySpec, entry: FuzzyInput | RawInput) -> str:
    on = f"on {', '.join(spec.input_timeframes(entry))}"
    if isinstance(entry, RawInput):
        return f"{entry.raw_indicator} itself {on}, normalization {entry.normalization}"
    return f"{entry.fuzzy_set} {on}"


def _differing(old: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    if not isinstance(old, dict) or not isinstance(new, dict):
        yield path, old, new
        return
    for key in {**old, **new}:
        a, b = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if key == "order of memberships" and (sorted(map(str, a)) != sorted(map(str, b))):
            continue  # a membership more or less is told by itself
        yield from _differing(a, b, (*path, key))


def _text(value: Any) -> str:
    if isinstance(value, _Absent):
        return "–"
    if isinstance(value, list):
        return f"[{', '.join(_text(one) for one in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items() if k != "order of memberships") + "}"
    if isinstance(value, float):
        return f"{value:g}"
    return "–" if value in (None, "") else value if isinstance(value, str) else seen(value)


def _meaning(path: Path) -> str:
    """What the reference says of a key, without its marks; "" for an id of the author's choice."""
    for section in SECTIONS:
        if section.where == path[:-1] and (words := section.meanings.get(str(path[-1]))):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", words).replace("`", "")
            return "" if plain == "keys below" else plain
    return ""


def _effects(before: StrategySpec, after: StrategySpec, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    said, same_features = _features(before, after)
    same = {
        "the bars": old["training_data"] == new["training_data"],
        "the features": same_features,
        "the labels": old["training"]["labels"] == new["training"]["labels"],
        "the windows": _window(before) == _window(after),
    }
    splits = old["training"]["data_split"] == new["training"]["data_split"]
    network = old["model"] == new["model"] and _without(old["training"]) == _without(new["training"])
    others = [name for name, is_same in same.items() if not is_same]
    yield f"Features: {said}."
    yield "Rows: the same." if not others else f"Rows: not the same, since {_and(others)} differ."
    yield f"Labels: {'the same' if same['the labels'] else 'others, so shares of right labels cannot be compared'}."
    yield f"Splits: {'the same shares' if splits else 'others, so figures are of different rows'}."
    yield f"Network and training: {'the same' if network else 'changed'}."
    yield f"Signals: {'by the same rules' if old['decisions'] == new['decisions'] else 'by other rules'}."
    in_order = same_features and list(_made(before)) == list(_made(after))
    if not others and splits and network and in_order:
        yield _same_weights(feature_names(before) == feature_names(after), old, new)
    elif not others and splits:
        yield "In short: the same rows; only the model and how it is trained differ, so results can be compared."
    else:
        yield "In short: the rows differ, so results are compared with care: look at the baselines of each."


def _same_weights(names: bool, old: dict[str, Any], new: dict[str, Any]) -> str:
    if not names:
        return "In short: other names for the same features; both train the same weights, but neither resumes the other."
    if old["decisions"] != new["decisions"]:
        return "In short: both train the same weights; only what is made of their probabilities differs."
    return "In short: nothing that a training uses differs; both train the same weights."


def _features(before: StrategySpec, after: StrategySpec) -> tuple[str, bool]:
    """A sentence, and whether both see the same values, whatever their names and order."""
    old, new = list(_made(before)), list(_made(after))
    if old == new:
        names = feature_names(before) == feature_names(after)
        return f"the same {len(old)}, in the same order" if names else f"the same {len(old)} under other names", True
    if sorted(old) == sorted(new):
        return f"the same {len(old)} in another order", True
    gone, added = [f for f in old if f not in new], [f for f in new if f not in old]
    return f"{len(old)} before, {len(new)} after; {len(gone)} gone, {len(added)} new", False


def _made(spec: StrategySpec) -> Iterator[str]:
    """How each feature is made, in their order."""
    lags = range(spec.model.features.lookback_periods + 1)
    for lag in lags:
        for entry in spec.nn_inputs:
            raw = isinstance(entry, RawInput)
            fuzzy_set = None if isinstance(entry, RawInput) else spec.fuzzy_sets[entry.fuzzy_set]
            reference = fuzzy_set.indicator if fuzzy_set else entry.raw_indicator  # type: ignore[union-attr]
            identifier, output = output_of(reference, spec.indicators)
            indicator = spec.indicators[identifier]
            source = f"{lag} {indicator.kind.name} {sorted(indicator.parameters.items())} {output}"
            for timeframe in spec.input_timeframes(entry):
                if raw:
                    yield f"{source} {timeframe} {entry.normalization}"  # type: ignore[union-attr]
                elif fuzzy_set is not None:
                    for membership in fuzzy_set.memberships.values():
                        shape = f"{membership.type} {membership.parameters}"
                        yield f"{source} {timeframe} {fuzzy_set.input_transform.type} {shape}"


def _window(spec: StrategySpec) -> int:
    return int(getattr(spec.model.architecture, "sequence_length", 1))


def _without(training: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in training.items() if key not in ("labels", "data_split")}


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
