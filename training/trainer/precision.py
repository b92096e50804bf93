"""Precision: in which numbers a step is computed. Weights, gradients, optimizer, losses and evaluation are float32 always."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

#: Kinds of devices whose products are faster in bfloat16.
DEVICES = frozenset({"cuda"})

#: What it means for a trader.
MEANING = (
    "products of a training step are rounded to bfloat16 (8 bits of 24), which is faster on large networks; weights, optimizer, "
    "loss, validation and predictions stay float32; the weights that are learned are others than with float32"
)


RECURRENT = "precision {}: recurrent networks are computed in float32 all the same"


def used(wanted: str, device: str, network: nn.Module) -> str:
    """The precision that a step has: bfloat16 where it was asked for, the device is made for it and the network can be.

    Recurrent layers cannot: on CUDA torch would compute them in float16, whose largest number is 65504.
    """
    return wanted if torch.device(device).type in DEVICES and not _is_recurrent(network) else "float32"


def used_again(document: Mapping[str, Any], device: str) -> str:
    """The same for the run of a checkpoint (its state.json) that is continued on a device."""
    strategy, saved = document.get("strategy", {}), document.get("precision", "float32")
    wanted = strategy.get("training", {}).get("precision", "float32")
    could, can = (torch.device(name).type in DEVICES for name in (document.get("device", device), device))
    never = strategy.get("model", {}).get("type") in ("lstm", "gru") or (could and saved == "float32")
    return wanted if can and not never else "float32"


def remark(wanted: str, device: str, network: nn.Module) -> str | None:
    """What a run on this device should say of its precision; None if it is float32, as ever."""
    if wanted == "float32":
        return None
    if used(wanted, device, network) == wanted:
        return f"precision {wanted}: {MEANING}"
    if _is_recurrent(network):
        return RECURRENT.format(wanted)
    return f"precision {wanted} needs CUDA: on {device} this run computes in float32"


def forecast(wanted: str, network: nn.Module) -> str | None:
    """The same before it is known which device will train."""
    if wanted == "float32":
        return None
    if _is_recurrent(network):
        return RECURRENT.format(wanted)
    return f"precision {wanted} on CUDA: {MEANING}; on any other device the run computes in float32"


def _is_recurrent(network: nn.Module) -> bool:
    return any(isinstance(layer, nn.RNNBase) for layer in network.modules())


def forward(network: nn.Module, precision: str, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network as a training step calls it: float32 in, float32 out."""
    if precision == "float32":
        return network

    def rounded(features: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits: torch.Tensor = network(features)
        return logits.float()

    return rounded
