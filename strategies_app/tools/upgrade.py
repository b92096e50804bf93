"""A version 2 text → the same strategy in grammar version 3, with its comments, what was changed, and what has no place any more.

Version 2 listed its indicators, named each fuzzy set after the indicator that it stands on, and fed all of them to the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from strategies_app.grammar import schema
from strategies_app.grammar.reader import Problem, StrategyError, read_strategy
from strategies_app.grammar.schema import Path, StrategySpec
from strategies_app.grammar.wording import dotted, seen
from strategies_app.grammar.yaml_text import Document, Place, UnreadableText, read_document
from strategies_app.tools.older_words import squeezed
from strategies_app.tools.upgrade_keys import Work, fitted, training_data
from strategies_app.tools.upgrade_sections import fuzzy_sets, indicators, nn_inputs
from strategies_app.tools.yaml_comments import Comments, comments_of
from strategies_app.tools.yaml_writer import Node, node_of, written

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
