"""Whatever another package's code does wrong ends in one sentence that names package and entry point, before any of it is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from strategies_app.grammar.plugins import Plugin, Source, complaint
from strategies_app.kinds import IndicatorKind, Kind, LabelKind, NetworkKind
from tests.examples.pipeline import prices
from tests.examples.trainer import dataset, strategy
from training.core.plugin_code import PluginFailed, indicator_arrays, label_arrays
from training.trainer.batches import place
from training.trainer.engine import Gradients
from training.trainer.evaluation import split_logits
from training.trainer.networks import Normalization, PluginNetwork, built, padded

COLUMNS = {n: np.ascontiguousarray(v) for n, v in zip(("open", "high", "low", "close", "volume"), prices(20, 1), strict=True)}


def plugin(kind: Kind) -> Plugin:
    groups = {IndicatorKind: "ktrdr.indicators", LabelKind: "ktrdr.labels", NetworkKind: "ktrdr.networks"}
    return Plugin(Source(groups[type(kind)], kind.name, "strange", "0.3"), kind)


def indicator(function: str, outputs: tuple[str, ...] = ("value",)) -> Plugin:
    return plugin(IndicatorKind("odd", outputs, warm_up=lambda p: (0,), compute=f"tests.examples.plugin_faults:{function}"))


def label(function: str) -> Plugin:
    return plugin(LabelKind("odd", lambda p: 2, f"tests.examples.plugin_faults:{function}", ("A", "B")))


def network(function: str, way: str = "") -> PluginNetwork:
    zeros = torch.zeros(5)
    kind = plugin(NetworkKind("odd", f"tests.examples.plugin_faults:{function}"))
    return built(kind, {"way": way}, Normalization(zeros, zeros + 1), 5, 3)


def refused(call: Any) -> str:
    with pytest.raises(PluginFailed) as caught:
        call()
    words = str(caught.value)
    assert "'odd' of the package strange 0.3 (entry point ktrdr." in words and "\n" not in words
    return words


def test_one_array_stands_for_a_tuple_of_one() -> None:
    (array,) = indicator_arrays(indicator("good"), {}, COLUMNS)
    assert np.array_equal(array, 2 * COLUMNS["close"])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("raising", "failed: ValueError: no such thing"),
        ("absent", "names tests.examples.plugin_faults:absent, which cannot be imported: AttributeError"),
        (
            "NOT_A_FUNCTION",
            "cannot be imported: TypeError: tests.examples.plugin_faults:NOT_A_FUNCTION is a int, wanted a function",
        ),
        ("shorter", "gave output value of shape (19,) for 20 bars, wanted (20,)"),
        ("single", "gave output value of type float32, wanted float64"),
        ("listed", "gave a list for output value, wanted a numpy array"),
        ("infinite", "gave inf for output value at bar 3 of 20, wanted a finite number, or NaN where there is none"),
        ("two", "gave 2 arrays, wanted a tuple of 1: value"),
        ("nothing", "gave a NoneType, wanted a tuple of 1: value"),
        ("writing", "failed: ValueError: assignment destination is read-only"),
    ],
)
def test_an_indicator_that_does_not_answer_rightly(function: str, words: str) -> None:
    assert words in refused(lambda: indicator_arrays(indicator(function), {}, COLUMNS))


def test_a_label_without_fault_and_what_has_no_label() -> None:
    values, ends = label_arrays(label("label"), {}, COLUMNS)
    assert values[0] == 1 and ends[0] == 2
    assert ends[-2:].tolist() == [-1, -1] and values[-2:].tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nothing", "gave a NoneType, wanted two arrays: values and ends"),
        ("label_in_floats", "gave values of type float64, wanted int64"),
        ("label_of_a_third_class", "gave 2 for the label of bar 4, wanted 0 to 1 (A, B)"),
        ("label_that_ends_with_its_own_bar", "gave end 4 for bar 4, wanted a bar after the label's own"),
        ("label_that_ends_behind_the_bars", "gave end 20 for bar 4, but there are 20 bars"),
        (
            "label_without_its_look_ahead",
            "gave end 19 for bar 18, but its look_ahead of 2 bars does not lie in the 20 bars, wanted -1",
        ),
    ],
)
def test_a_label_that_does_not_answer_rightly(function: str, words: str) -> None:
    assert words in refused(lambda: label_arrays(label(function), {}, COLUMNS))


@pytest.mark.parametrize(
    ("function", "way", "words"),
    [
        ("raising", "", "failed: ValueError: no such thing"),
        ("nothing", "", "built a NoneType, wanted a torch.nn.Module"),
        ("network_without_parameters", "", "built a network without parameters, so there is nothing to train"),
        ("network_in_doubles", "", "has the parameter weight, float64; wanted float32"),
        ("network_that_is_frozen", "", "has the parameter weight, one that is not learned"),
        ("network", "raises", "failed on 2 rows: KeyError: 'nothing'"),
        ("network", "twice", "gave (2, 3) of float64 for 2 rows, wanted (2, 3) of float32"),
        ("network", "narrow", "gave (2, 1) of float32 for 2 rows, wanted (2, 3) of float32"),
        ("network", "listed", "gave a list, wanted a tensor of shape (2, 3)"),
    ],
)
def test_a_network_that_does_not_answer_rightly_is_refused_when_it_is_built(function: str, way: str, words: str) -> None:
    assert words in refused(lambda: network(function, way))


def test_memory_that_runs_out_in_a_network_is_no_fault_of_it() -> None:
    """The batch then begins anew in smaller pieces, as with our own networks."""
    body = network("network")

    def full(features: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    body.body.forward = full
    with pytest.raises(RuntimeError, match="allocate memory"):
        body(torch.zeros(4, 5))


def test_random_numbers_of_a_network_are_repeated_when_a_batch_begins_anew() -> None:
    rows, _ = dataset()
    net, training = network("network"), strategy().training
    placed = place(rows.rows.features, rows.rows.labels, "cpu", None, None)
    assert Gradients(net, training, placed, None, net.zero_grad).draws  # it may draw without a layer that tells
    assert not Gradients(net.body, training, placed, None, net.zero_grad).draws


@pytest.mark.parametrize("rows", [1, 3, 1024, 1500])
def test_a_network_is_evaluated_as_it_is_but_for_rounding(rows: int) -> None:
    net = network("network")
    features = torch.rand(rows, 5)
    with torch.no_grad():
        plain = net.eval()(features)
    logits = split_logits(net, features, None)
    torch.testing.assert_close(logits, plain)
    assert torch.equal(split_logits(net, features.flip(0), None).flip(0), logits)


def test_a_widened_copy_keeps_the_names_and_weights_of_its_network() -> None:
    net = network("network")
    wide = padded(net)
    assert list(wide.state_dict()) == list(net.state_dict())
    assert type(net.body.linear) is nn.Linear and type(wide.body.linear) is not nn.Linear  # type: ignore[union-attr]


def test_parameters_that_do_not_go_together_are_told_before_anything_runs() -> None:
    kind = IndicatorKind(
        "odd", ("value",), warm_up=lambda p: (0,), compute="a:b", check=lambda p: "fast is above slow" if p["fast"] > 2 else None
    )
    assert complaint(plugin(kind), {"fast": 1}) is None
    said = complaint(plugin(kind), {"fast": 3})
    assert said == "indicator 'odd' of the package strange 0.3 (entry point ktrdr.indicators: odd): fast is above slow"
    failing = IndicatorKind("odd", ("value",), warm_up=lambda p: (1 // p["fast"],), compute="a:b")
    assert "fails with these parameters: ZeroDivisionError" in str(complaint(plugin(failing), {"fast": 0}))
