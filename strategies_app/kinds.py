"""What is said of a kind of indicator, label or network, built in or from another package: plain descriptions, no computation.

Another package describes its own kinds with these classes, in a module that imports nothing heavy;
what computes is named as text, `package.module:function`, and imported only where it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Memory = Literal["finite", "decaying", "origin"]
Parameters = Mapping[str, Any]
#: Parameters → why they do not go together, in one sentence; None if they do.
Check = Callable[[Parameters], str | None]


@dataclass(frozen=True)
class Parameter:
    """One parameter: its default, its inclusive bounds or its choices, and older spellings.

    It is a whole number, a number or a text, as its default is.
    """

    name: str
    default: int | float | str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def kind(self) -> type:
        return type(self.default)


@dataclass(frozen=True)
class IndicatorKind:
    """What is true of every indicator of one kind.

    `outputs`: their names, the primary one first. `columns`: those of the bars that it reads.
    `warm_up` maps the parameters to the number of bars before the first value, one number per
    output; it is None for a kind that is refused as an input.
    `memory`: finite (a window), decaying (a recursion that forgets), origin (depends on the first
    bar for ever); `memory_if` lists the values of a parameter with which it is another one, as
    (parameter, value, memory). `scale_free`: whether the unit of price and volume does not matter;
    `scale_free_outputs` are those of a kind whose others are not.
    `constant` says what it gives on a constant price: `the price`, or a number per output.
    `compute`, in a kind of another package: the function (columns, parameters) → one float64 array
    per output, all as long as the columns, NaN before the first value and nowhere else.
    """

    name: str
    outputs: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()
    columns: tuple[str, ...] = ("close",)
    warm_up: Callable[[Parameters], tuple[int, ...]] | None = None
    memory: Memory = "finite"
    scale_free: bool = False
    constant: str = ""
    formula: str = ""
    memory_if: tuple[tuple[str, int | str, Memory], ...] = ()
    scale_free_outputs: tuple[str, ...] = ()
    compute: str = ""
    check: Check | None = None

    @property
    def available(self) -> bool:
        return self.warm_up is not None

    @property
    def primary(self) -> str:
        return self.outputs[0]

    @property
    def takes_source(self) -> bool:
        return any(p.name == "source" for p in self.parameters)

    @property
    def function(self) -> str:
        return self.compute

    def memory_with(self, parameters: Parameters) -> Memory:
        """What a value depends on with these parameters."""
        return next((memory for name, value, memory in self.memory_if if parameters[name] == value), self.memory)

    def forgets_the_unit(self, output: str) -> bool:
        """Whether the unit of price and volume does not matter to this output."""
        return self.scale_free or output in self.scale_free_outputs


@dataclass(frozen=True)
class LabelKind:
    """What is true of every label of one kind of another package.

    `classes`: their names in the order of their numbers; none: the label is a number (regression).
    `look_ahead` maps the parameters to the bars after its own that a label needs at least, `warm_up`
    to those before it.
    `compute`: the function (columns, parameters) → (values, ends), both as long as the columns:
    values int64 class numbers or float64; ends int64, the position of the last bar that each label
    looked at, −1 where there is no label.
    """

    name: str
    look_ahead: Callable[[Parameters], int]
    compute: str
    classes: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    warm_up: Callable[[Parameters], int] | None = None
    formula: str = ""
    check: Check | None = None

    @property
    def function(self) -> str:
        return self.compute


@dataclass(frozen=True)
class NetworkKind:
    """What is true of every network of one kind of another package.

    `parameters`: the keys of `model.architecture`. `build`: the function (architecture, inputs,
    outputs) → torch module that maps normalized features float32 (b, inputs) to float32 (b, outputs).
    """

    name: str
    build: str
    parameters: tuple[Parameter, ...] = ()
    formula: str = ""
    check: Check | None = None

    @property
    def function(self) -> str:
        return self.build


Kind = IndicatorKind | LabelKind | NetworkKind
