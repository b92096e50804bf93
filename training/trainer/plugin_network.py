"""A network of another package → a module like our own: normalization first, its answers checked, evaluated row by row alike."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from strategies_app.grammar.plugins import Plugin, PluginError, guarded
from training.core.plugin_code import PluginFailed, call
from training.trainer.device import out_of_memory


class PluginNetwork(nn.Module):
    """Raw features float32 (b, f) → normalization → the other package's module → float32 (b, outputs)."""

    def __init__(self, plugin: Plugin, normalization: nn.Module, body: nn.Module, outputs: int) -> None:
        super().__init__()
        self.plugin, self.outputs = plugin, outputs
        self.normalization = normalization
        self.body = body

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        answer = self._body(self.normalization(features))
        wanted = (len(features), self.outputs)
        if not isinstance(answer, torch.Tensor):
            raise PluginFailed(f"{self.plugin.source} gave a {type(answer).__name__}, wanted a tensor of shape {wanted}")
        if tuple(answer.shape) != wanted or answer.dtype != torch.float32:
            seen = f"{tuple(answer.shape)} of {str(answer.dtype).removeprefix('torch.')}"
            raise PluginFailed(f"{self.plugin.source} gave {seen} for {len(features)} rows, wanted {wanted} of float32")
        return answer

    def _body(self, features: torch.Tensor) -> object:
        try:
            return guarded(self.plugin.source, f"failed on {len(features)} rows", self.body, features)
        except PluginError as error:
            if isinstance(error.__cause__, RuntimeError) and out_of_memory(error.__cause__):
                raise error.__cause__ from None  # the batch begins anew in smaller pieces
            raise PluginFailed(str(error)) from error


def built(plugin: Plugin, architecture: Mapping[str, Any], normalization: nn.Module, inputs: int, outputs: int) -> PluginNetwork:
    """What the kind builds. PluginFailed if it is nothing that can be trained."""
    body = call(plugin, dict(architecture), inputs, outputs)
    if not isinstance(body, nn.Module):
        raise PluginFailed(f"{plugin.source} built a {type(body).__name__}, wanted a torch.nn.Module")
    parameters = dict(body.named_parameters())
    if not parameters:
        raise PluginFailed(f"{plugin.source} built a network without parameters, so there is nothing to train")
    for name, parameter in parameters.items():
        if parameter.dtype != torch.float32 or not parameter.requires_grad:
            seen = str(parameter.dtype).removeprefix("torch.") if parameter.dtype != torch.float32 else "one that is not learned"
            raise PluginFailed(f"{plugin.source} has the parameter {name}, {seen}; wanted float32, and buffers for what stays")
    network = PluginNetwork(plugin, normalization, body, outputs)
    with torch.no_grad():  # on a copy: what the first rows leave behind must not be in the trained one
        copy.deepcopy(network).eval()(normalization.get_buffer("offset").repeat(2, 1))
    return network


class _Wide(nn.Linear):
    """A linear layer that is computed in multiples of `step` columns, and answers as the narrow one."""

    wide_weight: torch.Tensor
    wide_bias: torch.Tensor

    def widen(self, step: int) -> None:
        rows, columns = (-(-size // step) * step for size in self.weight.shape)
        wide = self.weight.new_zeros(rows, columns)
        wide[: self.out_features, : self.in_features] = self.weight
        bias = self.weight.new_zeros(rows)
        if self.bias is not None:
            bias[: self.out_features] = self.bias
        self.register_buffer("wide_weight", wide, persistent=False)
        self.register_buffer("wide_bias", bias, persistent=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's own name
        extra = self.wide_weight.shape[1] - self.in_features
        answer = nn.functional.linear(nn.functional.pad(input, (0, extra)), self.wide_weight, self.wide_bias)
        return answer[..., : self.out_features]


def widened(network: PluginNetwork, step: int) -> PluginNetwork:
    """A copy for evaluation whose linear layers work on multiples of `step` columns.

    As `networks.padded` for our own: a row's result then depends on that row alone. Other layers stay as they are.
    """
    with torch.no_grad():
        twin = copy.deepcopy(network).eval()
        for layer in twin.body.modules():
            if type(layer) is nn.Linear:
                layer.__class__ = _Wide
                assert isinstance(layer, _Wide)
                layer.widen(step)
    return twin
