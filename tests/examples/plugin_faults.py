"""What the code of a package may do wrong: functions that a test names as another package's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

NOT_A_FUNCTION = 3


def good(columns: Any, parameters: Any) -> Any:
    return columns["close"] * 2.0


def raising(*arguments: Any) -> Any:
    raise ValueError("no such thing\nand a second line")


def shorter(columns: Any, parameters: Any) -> Any:
    return columns["close"][1:].copy()


def single(columns: Any, parameters: Any) -> Any:
    return columns["close"].astype(np.float32)


def listed(columns: Any, parameters: Any) -> Any:
    return (columns["close"].tolist(),)


def infinite(columns: Any, parameters: Any) -> Any:
    values = columns["close"].copy()
    values[3] = np.inf
    return values


def two(columns: Any, parameters: Any) -> Any:
    return columns["close"], columns["open"]


def nothing(*arguments: Any) -> Any:
    return None


def writing(columns: Any, parameters: Any) -> Any:
    columns["close"][0] = 0.0
    return columns["close"]


def _label(columns: Any, place: int, value: int, end: int) -> Any:
    count = len(columns["close"])
    values, ends = np.zeros(count, dtype=np.int64), np.minimum(np.arange(count) + 2, count)
    ends[ends >= count] = -1
    values[place], ends[place] = value, end
    return values, ends


def label(columns: Any, parameters: Any) -> Any:
    return _label(columns, 0, 1, 2)


def label_of_a_third_class(columns: Any, parameters: Any) -> Any:
    return _label(columns, 4, 2, 6)


def label_that_ends_with_its_own_bar(columns: Any, parameters: Any) -> Any:
    return _label(columns, 4, 1, 4)


def label_that_ends_behind_the_bars(columns: Any, parameters: Any) -> Any:
    return _label(columns, 4, 1, len(columns["close"]))


def label_without_its_look_ahead(columns: Any, parameters: Any) -> Any:
    count = len(columns["close"])
    return _label(columns, count - 2, 1, count - 1)


def label_in_floats(columns: Any, parameters: Any) -> Any:
    values, ends = label(columns, parameters)
    return values.astype(np.float64), ends


class Body(nn.Module):
    def __init__(self, inputs: int, outputs: int, way: str = "") -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.way = way

    def forward(self, features: torch.Tensor) -> Any:
        if self.way == "raises":
            raise KeyError("nothing")
        logits = self.linear(features)
        return {"twice": logits.double(), "narrow": logits[:, :1], "listed": logits.tolist()}.get(self.way, logits)


def network(architecture: Any, inputs: int, outputs: int) -> nn.Module:
    return Body(inputs, outputs, architecture["way"])


def network_without_parameters(architecture: Any, inputs: int, outputs: int) -> nn.Module:
    return nn.Flatten()


def network_in_doubles(architecture: Any, inputs: int, outputs: int) -> nn.Module:
    return nn.Linear(inputs, outputs).double()


def network_that_is_frozen(architecture: Any, inputs: int, outputs: int) -> nn.Module:
    return nn.Linear(inputs, outputs).requires_grad_(False)
