"""The laws of a network: a row's answer depends on that row and the weights, and a run on its seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import nn

from strategies_app.grammar.schema import Model, Recurrent
from strategies_app.kinds import Parameter
from training.laws import runs
from training.laws.law import Law, Subject, broken, first_difference, light_law, over, parameter_sets, written
from training.trainer.batches import resident
from training.trainer.evaluation import split_logits
from training.trainer.networks import build_network

#: inputs, outputs: few and many, odd and even.
SIZES = ((1, 2), (5, 3), (16, 4), (37, 3), (8, 1))
_MODEL: TypeAdapter[Any] = TypeAdapter(Model)


def known() -> list[str]:
    """Names of the networks that see one row at a time: those of other packages, and mlp."""
    return [
        name for model in get_args(Model) if model is not Recurrent for name in get_args(model.model_fields["type"].annotation)
    ]


def laws(subject: Subject) -> list[Law]:
    checks: dict[str, Callable[[Subject, dict[str, Any]], None]] = {
        "answers": _answers, "seed": _seed, "isolation": _isolation, "learns": _learns,
    }  # fmt: skip

    found = [*light_law(subject)]
    found += [Law(name, subject, over(check, subject, lambda: _sets(subject))) for name, check in checks.items()]
    return [*found, *runs.laws(subject, runs.Asked(network=_section(subject, {})), serve=True)]


def _sets(subject: Subject) -> list[dict[str, Any]]:
    parameters: tuple[Parameter, ...] = () if subject.plugin is None else subject.plugin.kind.parameters

    def valid(values: dict[str, Any]) -> bool:
        try:
            _MODEL.validate_python(_section(subject, values))
        except ValidationError:
            return False
        return True

    return parameter_sets(parameters, valid, wanted=3)


def _section(subject: Subject, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": subject.name, "architecture": parameters}


def _built(subject: Subject, parameters: dict[str, Any], inputs: int, outputs: int) -> nn.Module:
    spec = runs.strategy(runs.Asked(network=_section(subject, parameters)))
    ones = np.ones(inputs, dtype=np.float32)
    return build_network(spec, inputs, outputs, 0.5 * ones, 2.0 * ones)


def _features(rows: int, inputs: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, inputs)).astype(np.float32)


def _logits(network: nn.Module, features: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = split_logits(network, resident(features, "cpu"), None).numpy()
    return found


def _answers(subject: Subject, parameters: dict[str, Any]) -> None:
    """One number per row and output, for any number of rows, also for a last batch of one row in training."""
    for inputs, outputs in SIZES:
        network = _built(subject, parameters, inputs, outputs)
        for rows in (0, 1, 2, 33):
            logits = _logits(network, _features(rows, inputs, 1))
            if logits.shape != (rows, outputs) or not np.isfinite(logits).all():
                said = f"{rows} rows of {inputs} features gave {logits.shape} logits, or not all of them finite"
                broken(subject, "answers", f"{said}{written(parameters)}; wanted ({rows}, {outputs})")
        for rows in (1, 7):
            network.train()
            network.zero_grad()
            network(torch.from_numpy(_features(rows, inputs, 2))).square().sum().backward()
            for name, parameter in network.named_parameters():
                if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
                    said = f"the gradient of {name} is not finite for a batch of {rows} rows of {inputs} features"
                    broken(subject, "answers", f"{said}{written(parameters)}")


def _seed(subject: Subject, parameters: dict[str, Any]) -> None:
    """Initial weights come from torch's generator, which the product seeds, and from nothing else."""
    random.seed(0)
    np.random.seed(0)
    first = _built(subject, parameters, 5, 3).state_dict()
    random.seed(1)
    np.random.seed(1)
    torch.rand(3)
    again = _built(subject, parameters, 5, 3).state_dict()
    for name, tensor in first.items():
        if name not in again or tensor.shape != again[name].shape:
            broken(subject, "seed", f"{name} is not there, or has another shape, when it is built again{written(parameters)}")
        if not torch.equal(tensor, again[name]):
            said = f"{name} differs between two networks of one strategy{written(parameters)}"
            broken(subject, "seed", f"{said}: its weights are not drawn from torch's generator, so no run could be repeated")


def _isolation(subject: Subject, parameters: dict[str, Any]) -> None:
    """A row says the same alone, among others, in another order, and after other rows: bit for bit."""
    for inputs, outputs in SIZES:
        network, rows = _built(subject, parameters, inputs, outputs), _features(300, inputs, 3)
        whole = _logits(network, rows)
        order = np.random.default_rng(4).permutation(len(rows))
        ways = {
            "computed again": (_logits(network, rows), whole),
            "computed after rows of another symbol": (_logits(network, np.concatenate([9 * rows[:77], rows]))[77:], whole),
            "in another order": (_logits(network, rows[order]), whole[order]),
            "without the first 101": (_logits(network, rows[101:]), whole[101:]),
            "alone": (_logits(network, rows[42:43]), whole[42:43]),
        }
        for what, (seen, wanted) in ways.items():
            place = first_difference(seen.ravel(), np.ascontiguousarray(wanted).ravel())
            if place is None:
                continue
            became, was = seen.ravel()[place], wanted.ravel()[place]
            said = f"output {place % outputs} of row {place // outputs} is {was:.9g} and {became:.9g} for the same row {what}"
            small = abs(became - was) <= 1e-4 * max(1.0, abs(was))
            means = (
                "only its last digits differ: a layer rounds by where a row lies; linear layers are taken care of, others are not"
                if small
                else "a row's answer depends on the rows beside it or before it, and so on other symbols"
            )
            broken(
                subject,
                "isolation",
                f"{said} ({inputs} features{written(parameters).replace('(', '').replace(')', '')}): {means}",
            )


def _learns(subject: Subject, parameters: dict[str, Any]) -> None:
    """Steps down the gradient lower the loss of rows whose class is the sign of a feature, and move every parameter."""
    network, rows = _built(subject, parameters, 5, 2), _features(256, 5, 5)
    labels = torch.from_numpy((rows[:, 0] > 0.5).astype(np.int64))
    features = torch.from_numpy(rows)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    loss = nn.CrossEntropyLoss()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(6)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        network.eval()
        first = float(loss(network(features), labels).detach())
        network.train()
        for _ in range(60):
            optimizer.zero_grad()
            loss(network(features), labels).backward()
            optimizer.step()
        network.eval()
        last = float(loss(network(features), labels).detach())
    if not last < first:
        said = f"the loss went from {first:.4f} to {last:.4f} in 60 steps on rows whose class one feature tells"
        broken(subject, "learns", f"{said}{written(parameters)}: the gradient does not lead downwards")
    idle = [name for name, parameter in network.named_parameters() if torch.equal(before[name], parameter.detach())]
    if idle:
        broken(subject, "learns", f"{idle[0]} did not move in 60 steps{written(parameters)}: no gradient reaches it")
