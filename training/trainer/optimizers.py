"""Optimizers: gradients → updated parameters, over single tensors or one flat buffer; the next rate, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from strategies_app.grammar.schema import EarlyStopping, Scheduler, Training

Clip = Callable[[], torch.Tensor]

#: Parameters start at multiples of this many floats in the flat buffer: 64 bytes, what a matrix product likes.
ALIGNMENT = 16
#: Optimizers with a kernel that updates everything in one call, and where.
FUSED = {"adam", "adamw", "sgd"}
FUSED_DEVICES = {"cpu", "cuda"}


class Flat:
    """All parameters of a network as views of one buffer, and their gradients as views of another. Padding stays 0."""

    def __init__(self, network: nn.Module) -> None:
        self.parameters = dict(network.named_parameters())
        self.places: dict[str, slice] = {}
        end = 0
        for name, parameter in self.parameters.items():
            self.places[name] = slice(end, end + parameter.numel())
            end += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
        device = next(iter(self.parameters.values())).device
        self.values = nn.Parameter(torch.zeros(end, device=device))
        self.gradient = torch.zeros(end, device=device)
        self.values.grad = self.gradient
        self.tensors = [self.values]
        for name, parameter in self.parameters.items():
            view = self.view(self.values.data, name)
            view.copy_(parameter.data)
            parameter.data = view
            parameter.grad = self.view(self.gradient, name)

    def view(self, flat: torch.Tensor, name: str) -> torch.Tensor:
        """The part of a flat tensor that belongs to a parameter, in its shape."""
        return flat[self.places[name]].view(self.parameters[name].shape)


def make_optimizer(training: Training, parameters: list[nn.Parameter], fused: bool) -> torch.optim.Optimizer:
    """The strategy's optimizer. adam and rmsprop: decay joins the gradient; adamw: decoupled; sgd: momentum 0.9."""
    common: dict[str, Any] = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    if fused and training.optimizer in FUSED and parameters[0].device.type in FUSED_DEVICES:
        common["fused"] = True
    match training.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, **common)
        case "adamw":
            return torch.optim.AdamW(parameters, **common)
        case "sgd":
            return torch.optim.SGD(parameters, momentum=0.9, **common)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, **common)


def make_clip(max_norm: float, network: nn.Module, flat: Flat | None) -> Clip:
    """A function that clips the gradients to `max_norm` (≤ 0: not at all) and gives their norm before it."""
    if flat is not None:
        gradient = flat.gradient

        def clip_flat() -> torch.Tensor:
            norm: torch.Tensor = torch.linalg.vector_norm(gradient)
            if max_norm > 0:
                # Multiplied always, by 1 if the norm is small: deciding would read the norm from the device.
                gradient.mul_((max_norm / (norm + 1e-6)).clamp_max_(1.0))
            return norm

        return clip_flat
    parameters = list(network.parameters())
    if max_norm > 0:
        return lambda: nn.utils.clip_grad_norm_(parameters, max_norm)
    return lambda: nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: nn.Module, flat: Flat | None) -> dict[str, torch.Tensor]:
    """`<parameter>:<key>` → tensor, the same names whether the optimizer works flat or not. Empty before the first step."""
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in network.named_parameters():
        state = optimizer.state[flat.values if flat else parameter]
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                whole = flat is None or value.dim() == 0
                tensors[f"{name}:{key}"] = value if whole or flat is None else flat.view(value, name)
    return tensors


def restore_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module, flat: Flat | None, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Fill the optimizer's memory from `optimizer_tensors`. ValueError names a tensor that does not fit."""
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for full_name, tensor in tensors.items():
        name, _, key = full_name.rpartition(":")
        if name not in shapes or (tensor.dim() and tensor.shape != shapes[name]):
            raise ValueError(f"optimizer memory {full_name} of shape {tuple(tensor.shape)} fits no parameter")
        if flat is None:
            state.setdefault(list(shapes).index(name), {})[key] = tensor.clone()
        elif not tensor.dim():
            state.setdefault(0, {})[key] = tensor.clone()
        else:
            buffer = state.setdefault(0, {}).setdefault(key, torch.zeros_like(flat.values.data))
            flat.view(buffer, name).copy_(tensor)
    present = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": present["param_groups"]})


#: A validation loss must fall by this fraction to count for reduce_on_plateau, as torch's scheduler has it.
PLATEAU_THRESHOLD = 1e-4


@dataclass
class Schedule:
    """The learning rate. All but reduce_on_plateau are functions of the epoch; that one counts epochs without progress."""

    rate: float
    best: float | None = None
    waited: int = 0

    def advance(self, scheduler: Scheduler, first_rate: float, done: int, epochs: int, loss: float) -> None:
        """`done` epochs of `epochs` are trained, the last one reached validation loss `loss`: set the next rate."""
        match scheduler.type:
            case "step":
                self.rate = first_rate * _gamma(scheduler, 0.1) ** (done // scheduler.step_size)
            case "exponential":
                self.rate = first_rate * _gamma(scheduler, 0.95) ** done
            case "cosine":
                low = scheduler.floor(first_rate)
                self.rate = low + (first_rate - low) * (1 + math.cos(math.pi * done / epochs)) / 2
            case "reduce_on_plateau":
                self._plateau(scheduler, first_rate, loss)

    def _plateau(self, scheduler: Scheduler, first_rate: float, loss: float) -> None:
        if self.best is None or loss < self.best * (1 - PLATEAU_THRESHOLD):
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > scheduler.patience:
            self.rate = max(self.rate * scheduler.factor, min(scheduler.floor(first_rate), self.rate))
            self.waited = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _gamma(scheduler: Scheduler, default: float) -> float:
    return default if scheduler.gamma is None else scheduler.gamma


@dataclass
class Monitor:
    """The best epoch by strict comparison, and the patience: epochs since a value better than `reference` by min_delta."""

    best: float | None = None
    best_epoch: int = -1
    reference: float | None = None
    waited: int = 0

    def see(self, stopping: EarlyStopping, epoch: int, value: float) -> bool:
        """Take an epoch's value in; True if it is the best so far."""
        sign = 1.0 if stopping.monitor == "val_loss" else -1.0
        if self.reference is None or sign * value < sign * self.reference - stopping.min_delta:
            self.reference, self.waited = value, 0
        else:
            self.waited += 1
        if self.best is None or sign * value < sign * self.best:
            self.best, self.best_epoch = value, epoch
            return True
        return False

    def exhausted(self, stopping: EarlyStopping) -> bool:
        return stopping.enabled and self.waited >= stopping.patience

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
