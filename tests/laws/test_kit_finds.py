"""Each law of the kit can be broken: a fault of its own kind, put in place of what is built in, is found and said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import talib
import torch
from torch import nn

from training.laws import networks as network_laws_module
from training.laws import runs
from training.pipeline import labels as labels_module
from training.pipeline.indicators import COMPUTATIONS
from training.pipeline.labels import LabelColumn
from training.testing import Law, indicator_laws, label_laws, network_laws
from training.trainer.networks import Normalization, build_network

Arrays = Callable[[Any, Any], tuple[np.ndarray, ...]]
kept: list[np.ndarray] = []


def said(laws: list[Law], name: str) -> str:
    """With what sentence the law of this name fails."""
    (law,) = [law for law in laws if law.name == name]
    with pytest.raises(AssertionError, match=f"law '{name}'") as caught:
        law()
    return str(caught.value)


def sma(columns: Any, parameters: Any) -> np.ndarray:
    return COMPUTATIONS["wma"](columns, parameters)[0]  # as good as any, with the same warm-up


def tomorrow(columns: Any, parameters: Any) -> tuple[np.ndarray, ...]:
    return (np.append(sma(columns, parameters)[1:], sma(columns, parameters)[-1:]),)


def of_all_bars(columns: Any, parameters: Any) -> tuple[np.ndarray, ...]:
    value = sma(columns, parameters)
    return (value * (1 + 1e-16 * np.sum(columns["close"])) if len(value) else value,)


def with_a_hole(columns: Any, parameters: Any) -> tuple[np.ndarray, ...]:
    value = sma(columns, parameters).copy()
    value[200:201] = np.nan
    return (value,)


def early(columns: Any, parameters: Any) -> tuple[np.ndarray, ...]:
    return (np.where(np.isnan(value := sma(columns, parameters)), columns["close"], value),)


def above(columns: Any, parameters: Any) -> tuple[np.ndarray, ...]:
    return (sma(columns, parameters) + 0.5,)


def since_the_beginning(columns: Any, parameters: Any) -> tuple[np.ndarray, ...]:
    value = np.cumsum(columns["close"]) / np.arange(1, len(columns["close"]) + 1)
    value[: parameters["period"] - 1] = np.nan
    return (value,)


def by_length(columns: Any, parameters: Any) -> tuple[np.ndarray, ...]:
    """A cache with too small a key."""
    for array in kept:
        if len(array) == len(columns["close"]):
            return (array,)
    kept.append(sma(columns, parameters))
    return (kept[-1],)


def counting_calls(columns: Any, parameters: Any) -> tuple[np.ndarray, ...]:
    kept.append(np.empty(0))
    return (sma(columns, parameters) + len(kept),)


def broken_off(columns: Any, parameters: Any) -> tuple[np.ndarray, ...]:
    return (sma(columns, parameters)[1:],)


@pytest.mark.parametrize(
    ("fault", "law", "words"),
    [
        (tomorrow, "causality", "it looks into the future"),
        (of_all_bars, "causality", "only its last digits differ"),
        (counting_calls, "causality", "the same bars gave other values a second time"),
        (with_a_hole, "warm-up", "value is missing at bar 200, after the 19 bars"),
        (early, "warm-up", "at bar 0, inside the 19 bars"),
        (above, "constant price", "value is 100.5 at bar 19 of a price that is 100 all the time"),
        (since_the_beginning, "memory", "its memory is called finite, wanted decaying or origin"),
        (by_length, "isolation", "it gave the very same values for the bars of two symbols"),
        (counting_calls, "isolation", "for the same bars computed a second time"),
        (broken_off, "answers", "value has the shape"),
        (counting_calls, "one NaN bar", "a bar with a missing price changes values of others"),
    ],
)
def test_a_fault_of_an_indicator_is_found(fault: Arrays, law: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.clear()
    monkeypatch.setitem(COMPUTATIONS, "sma", fault)
    assert words in said(indicator_laws("sma"), law)


def test_a_price_is_not_free_of_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMPUTATIONS, "rsi", lambda columns, parameters: (talib.MOM(columns["close"], parameters["period"]),))
    assert "it is called scale-free: symbols could not be compared" in said(indicator_laws("rsi"), "unit")


def shifted(by: int) -> Callable[[Any, Any], LabelColumn]:
    """The label `context` with ends that are so many bars away from the right ones."""
    honest = labels_module.LABELS["context"]

    def label(columns: Any, section: Any) -> LabelColumn:
        found = honest(columns, section)
        ends = np.where((found.ends >= 0) & (found.ends + by < len(found.ends)), found.ends + by, -1)
        return LabelColumn(found.values, ends)

    return label


def remembering(columns: Any, section: Any) -> LabelColumn:
    kept.append(np.empty(0))
    found = labels_module.LABELS["forward_return"](columns, section)
    return LabelColumn(np.where(found.ends >= 0, len(kept) % 3, -1), found.ends)


@pytest.mark.parametrize(
    ("fault", "law", "words"),
    [
        (shifted(-1), "label end", "it looks further than its end says"),
        (shifted(2), "needed end", "its ends are too late"),
        (remembering, "isolation", "it keeps something between calls"),
    ],
)
def test_a_fault_of_a_label_is_found(fault: Any, law: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.clear()
    monkeypatch.setitem(labels_module.LABELS, "context", fault)
    assert words in said(label_laws("context"), law)


class OfTheBatch(nn.Module):
    """Takes the mean of the batch away, in evaluation too."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values - values.mean(dim=0)


class Remembering(nn.Module):
    """Goes on from the rows before."""

    def __init__(self) -> None:
        super().__init__()
        self.state = torch.zeros(())

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        self.state = 0.5 * self.state + values.detach().mean()
        return values + self.state


class Idle(nn.Module):
    """A parameter that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(3))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + 0.0 * self.unused.detach().sum()


class Upwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return -gradient


class Contrary(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return Upwards.apply(values)


class AllButOne(nn.Module):
    """Fails where a batch has a single row, as a batch norm does in training."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values / (values.var(dim=0, keepdim=True, correction=0) if self.training else 1.0)


def with_part(part: Callable[[], nn.Module]) -> Callable[..., nn.Module]:
    def build(spec: Any, inputs: int, outputs: int, offset: Any, scale: Any) -> nn.Module:
        honest = build_network(spec, inputs, outputs, offset, scale)
        return nn.Sequential(*list(honest)[:2], part(), *list(honest)[2:])  # type: ignore[call-overload]

    return build


def contrary(spec: Any, inputs: int, outputs: int, offset: Any, scale: Any) -> nn.Module:
    return nn.Sequential(build_network(spec, inputs, outputs, offset, scale), Contrary())


def by_numpy(spec: Any, inputs: int, outputs: int, offset: Any, scale: Any) -> nn.Module:
    network = build_network(spec, inputs, outputs, offset, scale)
    last = network[-1]  # type: ignore[index]
    last.weight.data += torch.from_numpy(np.random.rand(*last.weight.shape).astype(np.float32))
    return network


@pytest.mark.parametrize(
    ("fault", "law", "words"),
    [
        (with_part(OfTheBatch), "isolation", "a row's answer depends on the rows beside it or before it"),
        (with_part(Remembering), "isolation", "a row's answer depends on the rows beside it or before it"),
        (by_numpy, "seed", "its weights are not drawn from torch's generator"),
        (with_part(Idle), "learns", "no gradient reaches it"),
        (contrary, "learns", "the gradient does not lead downwards"),
        (with_part(AllButOne), "answers", "is not finite for a batch of 1 rows"),
    ],
    ids=["batch", "memory", "seed", "idle", "contrary", "single"],
)
def test_a_fault_of_a_network_is_found(fault: Any, law: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_laws_module, "build_network", fault)
    assert words in said(network_laws("mlp"), law)


def test_what_decides_a_run_and_is_not_kept_is_found_at_its_resumption(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def unsteady(self: Normalization, features: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return (features - self.offset) / self.scale * (1 + 1e-3 * (len(calls) % 7))

    monkeypatch.setattr(Normalization, "forward", unsteady)
    monkeypatch.setattr(runs, "EPOCHS", 3)
    assert "ends " in said(network_laws("mlp"), "resume") and calls
