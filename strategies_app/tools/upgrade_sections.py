"""What version 3 says otherwise than version 2: indicators by id, fuzzy sets that name their indicator, inputs one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from strategies_app.grammar import plugins, schema, vocabulary
from strategies_app.grammar.wording import dotted, one_of
from strategies_app.kinds import IndicatorKind
from strategies_app.tools.older_words import PARAMETERS, POINTS, kind_of, known_key, known_word, squeezed
from strategies_app.tools.upgrade_keys import Work, fitted
from strategies_app.tools.yaml_writer import Node

_IDS = ("feature_id", "id", "alias")
_BESIDE = ("params", "parameters")


@dataclass
class Made:
    """The indicators as a map, their kinds, and the ids by which fuzzy sets may mean them."""

    node: Node
    kinds: dict[str, IndicatorKind | None]
    meant: dict[str, list[str]]

    def reference(self, word: str) -> str | None:
        """`rsi_14`, `macd`, `macd_12_26_9.signal`, `bbands_20_upper` → an id, or an id and its output."""
        found = self.meant.get(word) or self.meant.get(squeezed(word)) or []
        if len(found) == 1 or word in found:
            return word if word in found else found[0]
        if found:
            return None
        for split in [m.start() for m in re.finditer("[._]", word)][::-1]:
            base, output = self.reference(word[:split]), squeezed(word[split + 1 :])
            kind = self.kinds.get(base) if base else None
            named = next((o for o in kind.outputs if squeezed(o) == output), None) if kind else None
            if named:
                return f"{base}.{named}"
        return None


def indicators(node: Node, work: Work) -> Made:
    """A list of definitions with names and feature ids, or a map that has its ids already → a map."""
    made = Made(Node({}, node.origin), {}, {})
    if isinstance(node.value, list):
        work.change(node, "the list of indicators is a map from ids")
    elif not isinstance(node.value, dict):
        work.problems.append((node.origin or (), "no indicators, wanted a list or a map of them"))
        return made
    entries: list[tuple[str | None, Node]] = (
        [(None, entry) for entry in node.value] if isinstance(node.value, list) else list(node.value.items())
    )
    for given, entry in entries:
        if not isinstance(entry.value, dict):
            entry = Node({"name": entry}, entry.origin)
        _indicator(given, entry, made, work)
    return made


def _indicator(given: str | None, entry: Node, made: Made, work: Work) -> None:
    value = dict(entry.value)
    for key in _BESIDE:
        if key in value and isinstance(value[key].value, dict):
            value |= value.pop(key).value
    path = entry.origin or ()
    words = [value[key] for key in ("type", "kind", "indicator", "name") if key in value and isinstance(value[key].value, str)]
    kind = next(filter(None, (kind_of(word.value) for word in words)), None)
    if kind is None:
        seen = words[0].value if words else (given or "")
        work.problems.append((path, f"unknown indicator '{seen}'{one_of(seen, plugins.indicator_spellings())}"))
        return
    named = next((value[k].value for k in _IDS if k in value and isinstance(value[k].value, str)), given)
    own = value["name"].value if "name" in value and kind_of(value["name"].value) is None else None
    definition = {"type": Node(kind.name), **_parameters(value, kind, work)}
    wanted = str(named or own or _made_id(kind, definition))
    identifier = _valid_id(wanted)
    if identifier != wanted:
        work.change(entry, f"the id '{wanted}' is written '{identifier}'")
    elif named is None and own is None:
        work.change(entry, f"it has the id '{identifier}'")
    if words[0].value not in (kind.name, own):
        work.change(words[0], f"indicator '{words[0].value}' is called '{kind.name}'")
    if identifier in made.node.value:
        first = dotted(made.node.value[identifier].origin or ())
        if made.node.value[identifier].plain != Node(definition).plain:
            work.problems.append((path, f"the id '{identifier}' is that of {first} as well, wanted two ids"))
        else:
            work.leave_out(path, entry)
        return
    made.node.value[identifier] = Node(definition, entry.origin)
    made.kinds[identifier] = kind
    for word in {wanted, identifier, *(str(word.value) for word in words), kind.name}:
        for spelling in {word, squeezed(word)}:
            made.meant.setdefault(spelling, [])
            made.meant[spelling] += [] if identifier in made.meant[spelling] else [identifier]


def _parameters(value: dict[str, Node], kind: IndicatorKind, work: Work) -> dict[str, Node]:
    """In the order of the vocabulary; what the kind does not take is left out."""
    known = {p.name: p for p in kind.parameters}
    found: dict[str, Node] = {}
    for key, node in value.items():
        if key in ("type", "kind", "indicator", "name", *_IDS):
            continue
        spelled = next((p.name for p in kind.parameters if key in p.aliases), None)
        name = spelled or known_key(key, known, PARAMETERS)
        if name is None or name in found:
            work.leave_out(node.origin or (key,), node)
            continue
        if name != key:
            work.change(node, f"parameter '{key}' is called '{name}'")
        if known[name].choices and isinstance(node.value, str):
            node = Node(known_word(node.value, known[name].choices) or node.value, node.origin)
        elif known[name].kind is int and isinstance(node.value, float) and node.value.is_integer():
            node = Node(int(node.value), node.origin)
        found[name] = node
    return {name: found[name] for name in known if name in found}


def _made_id(kind: IndicatorKind, definition: dict[str, Node]) -> str:
    periods = (definition[p.name].value if p.name in definition else p.default for p in kind.parameters if p.kind is int)
    return "_".join([kind.name, *map(str, periods)])


def _valid_id(word: str) -> str:
    plain = re.sub("[^A-Za-z0-9_-]", "_", word).strip("_")[:100]
    plain = plain if re.match("[A-Za-z]", plain) else f"i_{plain}"
    return f"{plain}_" if plain in vocabulary.RESERVED_IDS else plain


def fuzzy_sets(node: Node, made: Made, work: Work) -> Node:
    """Each with the indicator that it stands on: named by it, or meant by its own name."""
    if not isinstance(node.value, dict):
        work.problems.append((node.origin or (), "no map of fuzzy sets, wanted one from names to memberships"))
        return Node({}, node.origin)
    result: dict[str, Node] = {}
    for name, entry in node.value.items():
        path = entry.origin or ()
        if not isinstance(entry.value, dict):
            work.problems.append((path, f"fuzzy set '{name}' is no map of memberships"))
            continue
        value = dict(entry.value)
        given = value.pop("indicator", None)
        word = given.value if given is not None and isinstance(given.value, str) else name
        reference = made.reference(word)
        if reference is None:
            known = list(made.node.value)
            several = made.meant.get(word, [])
            which = f"{', '.join(several)} are meant by it" if several else f"no indicator is called so{one_of(word, known)}"
            work.problems.append((path, f"fuzzy set '{name}' stands on '{word}', but {which}; add 'indicator: ID' to it"))
            continue
        if given is None:
            work.change(entry, f"fuzzy set '{name}' names its indicator, '{reference}'")
        elif reference != word:
            work.change(given, f"indicator '{word}' is '{reference}'")
        identifier = _valid_id(name)
        if identifier != name:
            work.change(entry, f"the id '{name}' is written '{identifier}'")
        parts = {"indicator": Node(reference, given.origin if given else None)}
        if "input_transform" in value:
            parts["input_transform"] = _transform(value.pop("input_transform"), work)
        parts |= {key: part for member, child in value.items() for key, part in _membership(member, child, work)}
        result[identifier] = Node(parts, entry.origin)
    return Node(result, node.origin)


def _transform(node: Node, work: Work) -> Node:
    if isinstance(node.value, str):
        node = Node({"type": Node(node.value)}, node.origin)
    if isinstance(node.value, dict) and "reference" in node.value and node.value["reference"].value == "close":
        work.change(node.value.pop("reference"), "the price of a transform is always the close")
    return fitted(node, schema.InputTransform, work)


def _membership(name: str, node: Node, work: Work) -> Iterator[tuple[str, Node]]:
    identifier = _valid_id(name)
    if identifier != name:
        work.change(node, f"membership '{name}' is written '{identifier}'")
    if not isinstance(node.value, dict):
        yield identifier, node
        return
    value = dict(node.value)
    spelled = next((k for k in ("type", "shape", "function", "kind") if k in value), None)
    kind = value.pop(spelled) if spelled else Node("triangular")
    shape = known_word(str(kind.value), list(vocabulary.MEMBERSHIPS)) or str(kind.value)
    listed = next((k for k in ("parameters", "params", "points", "values") if k in value), None)
    points = value.pop(listed) if listed else _points(shape, value)
    for key, child in value.items():
        work.leave_out(child.origin or (key,), child)
    if shape == "sigmoid":
        work.change(node, "look at it: 1/(1 + exp(−(x − centre)/width)), the second number is a width, not a slope")
    if points is None:
        work.problems.append((node.origin or (), f"membership '{name}' has no parameters"))
    elif shape in ("triangular", "trapezoidal"):
        yield identifier, Node(points.value, node.origin)
    else:
        yield identifier, Node({"type": Node(shape), "parameters": Node(points.value)}, node.origin)


def _points(shape: str, value: dict[str, Node]) -> Node | None:
    """Points that have names of their own; taken from `value`."""
    wanted = POINTS.get(shape, ())
    keys = [next((k for k in names if k in value), None) for names in wanted]
    found = [value.pop(key) for key in keys if key is not None]
    return Node(found) if found and len(found) == len(wanted) else None


def nn_inputs(given: Node | None, sets: Node, made: Made, work: Work) -> Node:
    """One input per fuzzy set, in their order, unless the text lists its inputs already."""
    if given is not None and isinstance(given.value, list):
        entries = [e if isinstance(e.value, dict) else Node({"fuzzy_set": e}, e.origin) for e in given.value]
        return Node([fitted(e, schema.RawInput if "raw_indicator" in e.value else schema.FuzzyInput, work) for e in entries])
    if given is not None:
        work.leave_out(given.origin or ("nn_inputs",), given)
    work.changes.append(
        (sets.origin or (), f"each of the {len(sets.value)} fuzzy sets is an input, in this order, on every timeframe")
    )
    return Node([Node({"fuzzy_set": Node(name), "timeframes": Node("all")}) for name in sets.value])
