"""A version 2 text → the same strategy in grammar version 3, with its comments, what was changed, and what has no place any more.

Version 2 listed its indicators, named each fuzzy set after the indicator that it stands on, and fed all of them to the network.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from strategies_app.grammar import plugins, schema, vocabulary
from strategies_app.grammar.reader import Problem, StrategyError, read_strategy
from strategies_app.grammar.schema import Path, StrategySpec
from strategies_app.grammar.wording import dotted, one_of, seen
from strategies_app.grammar.yaml_text import Document, Place, UnreadableText, read_document
from strategies_app.kinds import IndicatorKind
from strategies_app.tools.older_words import PARAMETERS, POINTS, kind_of, known_key, known_timeframe, known_word, squeezed
from strategies_app.tools.yaml_writer import Comments, Node, comments_of, node_of, written

#: Sections that were called otherwise, or stood where another section begins.
_SECTIONS = {"data": "training_data", "market": "training_data", "network": "model", "neuralnetwork": "model",
             "decision": "decisions", "inputs": "nn_inputs", "features": "nn_inputs"}  # fmt: skip
_WORDS = ("description", "hypothesis", "scope")


@dataclass(frozen=True)
class Note:
    """A sentence about a place of the version 2 text."""

    line: int | None
    path: str
    message: str


@dataclass(frozen=True)
class Upgraded:
    """`changed`: what is said otherwise now; `left_out`: what version 3 has no place for, kept as comments at the end."""

    text: str
    spec: StrategySpec
    changed: tuple[Note, ...]
    left_out: tuple[Note, ...]


class AlreadyVersion3(Exception):
    """The text is a version 3 strategy, right or not."""


def upgraded(text: str) -> Upgraded:
    """The text in version 3, read and found right. StrategyError tells all that stands in the way, with lines of `text`."""
    try:
        document = read_document(text)
    except UnreadableText as error:
        raise StrategyError([_located("", error.problem.place, error.problem.message)]) from None
    if document.problems:
        raise StrategyError([_located(dotted(p.path), p.place, p.message) for p in document.problems])
    if not isinstance(document.data, dict):
        raise StrategyError([Problem("", 1, 1, f"seen {seen(document.data)}, wanted a strategy: a map that starts with name:")])
    if is_version_3(document.data):
        raise AlreadyVersion3
    work = Work()
    tree = _tree(node_of(document.data), work)
    comments = comments_of(text, document)
    left = Node({dotted(path): node for path, node in work.left})
    comments.settle({n.origin for root in (tree, left) for n in root.nodes() if n.origin})
    lines = written(tree, comments)
    _refuse([_placed(document, path, message) for path, message in work.problems])
    lines += _end(left, comments)
    result = "\n".join(lines) + "\n"
    try:
        spec = read_strategy(result)
    except StrategyError as error:
        raise StrategyError([_problem_before(document, tree, problem) for problem in error.problems]) from None
    return Upgraded(
        result, spec, _notes(document, work.changes),
        _notes(document, [(path, "version 3 has no place for it") for path, _ in work.left]),
    )  # fmt: skip


def is_version_3(data: dict[str, Any]) -> bool:
    """By what it holds: a map of indicators and nn_inputs, or nothing of version 2 and the number 3."""
    if str(data.get("version", "")).startswith("2") or isinstance(data.get("indicators"), list):
        return False
    sets = data.get("fuzzy_sets")
    named = isinstance(sets, dict) and all(isinstance(s, dict) and "indicator" in s for s in sets.values())
    return ("nn_inputs" in data and named) or str(data.get("version", "")).startswith("3")


def _tree(root: Node, work: Work) -> Node:
    """The strategy in the order of version 3; what is not taken over is noted in `work`."""
    given = _sections(root, work)
    result: dict[str, Node] = {}
    for key in ("name", "version", *_WORDS):
        if key in given:
            result[key] = given.pop(key)
    _name_and_version(result, work)
    result["training_data"] = training_data(given.pop("training_data", Node({})), given, work)
    made = indicators(given.pop("indicators", Node([])), work)
    result["indicators"] = made.node
    result["fuzzy_sets"] = fuzzy_sets(given.pop("fuzzy_sets", Node({})), made, work)
    result["nn_inputs"] = nn_inputs(given.pop("nn_inputs", None), result["fuzzy_sets"], made, work)
    training = given.pop("training", None)
    if "model" in given:
        result["model"], training = _model(given.pop("model"), training, work)
    if "decisions" in given:
        result["decisions"] = fitted(given.pop("decisions"), schema.Decisions, work)
    if training is not None:
        result["training"] = fitted(training, schema.Training, work)
    for key, node in given.items():
        work.leave_out(node.origin or (key,), node)
    return Node(result, ())


def _sections(root: Node, work: Work) -> dict[str, Node]:
    given: dict[str, Node] = {}
    for key, node in root.value.items():
        known = next(
            (name for name in StrategySpec.model_fields if squeezed(name) == squeezed(key)), _SECTIONS.get(squeezed(key))
        )
        name = known if known and known not in root.value and known not in given else key
        if name != key:
            work.change(node, f"'{key}' is called '{name}'")
        given[name] = node
    return given


def _name_and_version(result: dict[str, Node], work: Work) -> None:
    name = result.get("name")
    if name is not None and isinstance(name.value, str):
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name.value.strip()).strip("_-")[:100]
        if plain and plain != name.value:
            work.change(name, f"the name '{name.value}' is written '{plain}'")
            name.value = plain
    version = result.get("version", Node(None))
    if version.value is not None:
        work.change(version, f"version {version.plain} is 3.0")
    result["version"] = Node("3.0", version.origin)
    for key in _WORDS:
        if key in result and not isinstance(result[key].value, str):
            work.leave_out(result[key].origin or (key,), result.pop(key))


def _model(model: Node, training: Node | None, work: Work) -> tuple[Node, Node | None]:
    """The model, and `training` with what stood inside the model."""
    if not isinstance(model.value, dict):
        return model, training
    inner = model.value.pop("training", None)
    if inner is not None and (training is None or not isinstance(training.value, dict)):
        work.change(inner, "'model.training' is the section 'training'")
        training = inner
    elif inner is not None and training is not None and isinstance(inner.value, dict):
        work.change(inner, "'model.training' is part of the section 'training'")
        for key, node in inner.value.items():
            if key in training.value:
                work.leave_out(node.origin or (key,), node)
            else:
                training.value[key] = node
    kind = model.value.get("type", model.value.get("kind"))
    recurrent = kind is not None and isinstance(kind.value, str) and squeezed(kind.value) in ("lstm", "gru")
    whole = schema.Recurrent if recurrent else schema.Mlp
    inside = schema.RecurrentArchitecture if recurrent else schema.MlpArchitecture
    beside = [k for k in model.value if any(squeezed(k) == squeezed(field) for field in inside.model_fields)]
    if beside and isinstance(model.value.setdefault("architecture", Node({})).value, dict):
        for key in beside:
            work.change(model.value[key], f"'{key}' stands in 'architecture'")
            model.value["architecture"].value.setdefault(key, model.value.pop(key))
    return fitted(model, whole, work), training


def _end(left: Node, comments: Comments) -> list[str]:
    """What has no place in version 3, as comments, so that nothing is lost."""
    lines = ["", "# Left out: version 3 has no place for these."] if left.value else []
    lines += [f"# {line}" for line in written(left, comments) if line]
    return lines + comments.after


def _line_of(document: Document, path: Path) -> int | None:
    for length in range(len(path), 0, -1):
        place = document.keys.get(path[:length]) or document.values.get(path[:length])
        if place:
            return place.line
    return None


def _located(path: str, place: Place | None, message: str) -> Problem:
    return Problem(path, place.line if place else None, place.column if place else None, message)


def _notes(document: Document, sentences: list[tuple[Path, str]]) -> tuple[Note, ...]:
    """In the order of the version 2 text."""
    notes = (Note(_line_of(document, path), dotted(path), message) for path, message in sentences)
    return tuple(sorted(notes, key=lambda note: note.line or 0))


def _placed(document: Document, path: Path, message: str) -> Problem:
    line = _line_of(document, path)
    return Problem(dotted(path), line, 1 if line else None, message)


def _problem_before(document: Document, tree: Node, problem: Problem) -> Problem:
    """A problem of the text that was written, at the place from which its value came."""
    origins = {dotted(path): node.origin for path, node in tree.places()}
    path = problem.path
    while path and not origins.get(path):
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    line = _line_of(document, origins[path] or ()) if path else None
    return Problem(problem.path, line, 1 if line else None, problem.message)


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise StrategyError(sorted(problems, key=lambda p: p.line or 0))


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


@dataclass
class Work:
    """What is found out on the way, each with its path in the version 2 text."""

    changes: list[tuple[Path, str]] = field(default_factory=list)
    left: list[tuple[Path, Node]] = field(default_factory=list)
    problems: list[tuple[Path, str]] = field(default_factory=list)

    def change(self, node: Node, message: str) -> None:
        self.changes.append((node.origin or (), message))

    def leave_out(self, path: Path, node: Node) -> None:
        self.left.append((path, node))


def fitted(node: Node, model: type[BaseModel], work: Work) -> Node:
    """The map with the keys that `model` knows; the others are left out. What is no map is left to the reader."""
    node = _short_forms(node, model, work)
    if not isinstance(node.value, dict):
        return node
    known = {info.alias or name: info.annotation for name, info in model.model_fields.items()}
    result: dict[str, Node] = {}
    for key, child in node.value.items():
        name = known_key(key, known)
        if name is None or (name != key and name in node.value) or name in result:
            work.leave_out(child.origin or (key,), child)
            continue
        if name != key:
            work.change(child, f"'{key}' is called '{name}'")
        result[name] = _value(child, known[name], work)
    return Node(result, node.origin)


def _value(node: Node, annotation: Any, work: Work) -> Node:
    if annotation is schema.Training.model_fields["labels"].annotation:
        return _labels(node, work)
    inner = _models(annotation)
    if isinstance(node.value, str):
        choices = [c for member in _members(annotation) if get_origin(member) is Literal for c in get_args(member)]
        if inner and not choices:
            return _short_forms(node, inner[0], work)
        word = known_word(node.value, choices) if choices else node.value
        if word is not None and word != node.value:
            work.change(node, f"'{node.value}' is called '{word}'")
            return Node(word, node.origin)
        return node
    return fitted(node, inner[0], work) if len(inner) == 1 and not isinstance(node.value, list) else node


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for member in get_args(annotation) for inner in _members(member)]
    return [annotation]


def _models(annotation: Any) -> list[type[BaseModel]]:
    return [m for m in _members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]


def _short_forms(node: Node, model: type[BaseModel], work: Work) -> Node:
    """`early_stopping: true`, `early_stopping: 15`, a split in percent, the name of a scheduler."""
    value = node.value
    if model is schema.EarlyStopping and isinstance(value, (bool, int)):
        key = "enabled" if isinstance(value, bool) else "patience"
        work.change(node, f"{value} is written as '{key}'")
        return Node({key: Node(value)}, node.origin)
    if model is schema.Scheduler and isinstance(value, str):
        word = known_word(value, get_args(schema.Scheduler.model_fields["type"].annotation))
        if word is not None and word != value:
            work.change(node, f"'{value}' is called '{word}'")
        return Node(word or value, node.origin)
    if model is schema.DataSplit and isinstance(value, dict):
        shares = [n for n in value.values() if isinstance(n.value, (int, float)) and not isinstance(n.value, bool)]
        if shares and abs(sum(n.value for n in shares) - 100) < 0.01:
            work.change(node, "percent are shares")
            for share in shares:
                share.value = round(share.value / 100, 6)
    return node


def _labels(node: Node, work: Work) -> Node:
    """The label's map by its source; a bare name is its source."""
    if isinstance(node.value, str):
        node = Node({"source": Node(node.value, node.origin)}, node.origin)
    if not isinstance(node.value, dict):
        return node
    key = next((k for k in node.value if known_key(k, ["source"]) == "source"), None)
    source = known_word(str(node.value[key].value), list(vocabulary.LABEL_CLASSES)) if key else None
    model = next((m for m in _models(schema.Labels) if source in get_args(m.model_fields["source"].annotation)), None)
    if model is None:
        said = f"unknown source '{node.value[key].value}'" if key else "no source"
        work.problems.append((node.origin or (), f"{said} of labels{one_of(source or '', vocabulary.LABEL_CLASSES)}"))
        return node
    return fitted(node, model, work)


def training_data(node: Node, top: dict[str, Node], work: Work) -> Node:
    """Symbols, timeframes and dates, also where they stand at the top of the file; `top` loses those."""
    if not isinstance(node.value, dict):
        return node
    for key in [k for k in top if known_key(k, ("symbols", "timeframes", "start_date", "end_date", "date_range"))]:
        work.change(top[key], f"'{key}' stands in 'training_data'")
        node.value.setdefault(key, top.pop(key))
    result: dict[str, Node] = {}
    known = [info.alias or name for name, info in schema.TrainingData.model_fields.items()]
    base: Node | None = None
    for key, child in node.value.items():
        name = known_key(key, known)
        if squeezed(key) in ("basetimeframe", "basetf"):
            base = child
        elif name is None or name in result:
            work.leave_out(child.origin or (key,), child)
        elif name in ("symbols", "timeframes"):
            result[name] = _choice(child, name.removesuffix("s"), work)
        else:
            result[name] = fitted(child, schema.DateRange, work) if name == "date_range" else child
    if base is not None:
        timeframes = result.get("timeframes", Node(None)).value
        if isinstance(timeframes, dict) and "list" in timeframes:
            timeframes["base_timeframe"] = _known(base, "timeframe")
        else:
            work.leave_out(base.origin or (), base)
    order = sorted(result, key=lambda name: known.index(name))
    return Node({name: result[name] for name in order}, node.origin)


def _choice(node: Node, noun: str, work: Work) -> Node:
    """One or several symbols or timeframes: a text, a list, or a map with a mode."""
    base = None
    entries: Any = node.value
    if isinstance(node.value, dict):
        base = node.value.pop("base_timeframe", None)
        key = next((k for k in ("list", noun, f"{noun}s", "symbols", "values", "supported") if k in node.value), None)
        entries = node.value.pop(key).value if key else None
        for name in [k for k in node.value if k != "mode"]:
            work.leave_out((*(node.origin or ()), name), node.value[name])
    if isinstance(entries, str):
        entries = [Node(part.strip()) for part in entries.split(",")]
    if not isinstance(entries, list) or not entries:
        work.problems.append((node.origin or (), f"no {noun}, wanted a {noun} or a list of them"))
        return node
    entries = [_known(entry, noun) for entry in entries]
    if len(entries) == 1 and base is None:
        result = {"mode": Node("single"), noun: entries[0]}
    else:
        result = {"mode": Node(f"multi_{noun}"), "list": Node(entries)}
    if base is not None:
        result["base_timeframe"] = _known(base, noun)
    mode = node.value.get("mode") if isinstance(node.value, dict) else None
    if mode is None or mode.value != result["mode"].value:
        work.change(node, f"{noun}s have the mode {result['mode'].value}")
    return Node(result, node.origin)


def _known(node: Node, noun: str) -> Node:
    if noun == "timeframe" and isinstance(node.value, str):
        return Node(known_timeframe(node.value) or node.value, node.origin)
    return node
