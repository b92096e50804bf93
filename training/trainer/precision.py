"""Precision: in which numbers a step is computed. Weights, gradients, optimizer, losses and evaluation are float32 always."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

#: Kinds of devices whose products are faster in bfloat16.
DEVICES = frozenset({"cuda"})

#: What it means for a trader.
MEANING = (
    "products of a training step are rounded to bfloat16 (8 bits of 24), which is faster on large networks; weights, optimizer, "
    "loss, validation and predictions stay float32; the weights that are learned are others than with float32"
)


def used(wanted: str, device: str) -> str:
    """The precision that a step has on this device: bfloat16 where it was asked for and the device is made for it."""
    return wanted if torch.device(device).type in DEVICES else "float32"


def remark(wanted: str, device: str) -> str | None:
    """What a run on this device should say of its precision; None if it is float32, as ever."""
    if wanted == "float32":
        return None
    if used(wanted, device) == wanted:
        return f"precision {wanted}: {MEANING}"
    return f"precision {wanted} needs CUDA: on {device} this run computes in float32"


def forecast(wanted: str) -> str | None:
    """The same before it is known which device will train."""
    return None if wanted == "float32" else f"precision {wanted} on CUDA: {MEANING}; on any other device the run is in float32"


def forward(network: nn.Module, precision: str, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network as a training step calls it: float32 in, float32 out."""
    if precision == "float32":
        return network

    def rounded(features: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits: torch.Tensor = network(features)
        return logits.float()

    return rounded
