"""Arguments of the functions for notebooks: what is not of the wanted kind is one sentence, not a traceback from within."""

from __future__ import annotations

from typing import Any

import numpy as np

from strategies_app.grammar.schema import StrategySpec
from training.store.coverage import DataError


class WrongArgument(DataError, TypeError):
    """A function was given something else than it takes: one sentence."""


def require(name: str, value: Any, kinds: type | tuple[type, ...], wanted: str) -> None:
    """WrongArgument unless the value is of one of these kinds; a bool is no number."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        raise WrongArgument(f"{name} is {kind_of(value)}, wanted {wanted}")


def require_call(name: str, value: Any, *methods: str) -> None:
    """WrongArgument unless the value, or each of these methods of it, can be called."""
    lacking = [method for method in methods if not callable(getattr(value, method, None))]
    if lacking:
        raise WrongArgument(f"{name} is {kind_of(value)}, wanted an object with {', '.join(lacking)}")
    if not methods and not callable(value):
        raise WrongArgument(f"{name} is {kind_of(value)}, wanted a function")


def require_spec(spec: Any) -> None:
    """WrongArgument for anything but a strategy that was read."""
    require("the strategy", spec, StrategySpec, "what strategies_app.grammar.reader.read_strategy(text) gives")


def require_threads(name: str, value: Any) -> None:
    require(name, value, (int, np.integer), "a whole number of at least 1")
    if value < 1:
        raise WrongArgument(f"{name} is {value}, wanted a whole number of at least 1")


def require_one_of(name: str, value: Any, known: tuple[Any, ...]) -> None:
    """WrongArgument unless the value is one of these."""
    if value not in known:
        raise WrongArgument(f"{name} is {value!r}, wanted one of {', '.join(map(str, known))}")


def kind_of(value: Any) -> str:
    """`None`, `a dict`, `an int`."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
