"""Analytics: an epoch that was trained and validated → one record of what happened inside the network, JSON-ready.

It only reads: gradients, weights, and the logits that validation has computed anyway. No weight depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from training.core.values import EpochMetrics
from training.trainer.evaluation import Validation, in_returns
from training.trainer.metrics import of_classes, of_returns
from training.trainer.networks import gather, window_of
from training.trainer.update_statistics import StepWatch, layer_of

#: What takes a record; called once per epoch, before the epoch's own report.
Sink = Callable[[dict[str, Any]], None]
#: Validation rows on which units are looked at: at most so many, at most one of so many, but a few always.
MOST_ROWS, ONE_OF, FEWEST_ROWS = 512, 4, 32
#: A unit whose output spans less than this over all of them is dead: nothing can be learned from a constant.
ALIVE = 1e-3
_ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.GELU, nn.ELU, nn.SiLU)
#: Figures of the epoch that a record repeats, so that it can be read by itself.
_REPEATED = ("epoch", "train_loss", "val_loss", "val_accuracy", "learning_rate", "gradient_norm", "seconds")


class Analyst:
    """Watches one run: its `steps` belong into the engine, `record` is asked for at every epoch's end."""

    def __init__(self, network: nn.Module, validation: Validation) -> None:
        self.network, self.validation = network, validation
        self.steps = StepWatch(network)
        count = len(validation.last)
        few = min(count, MOST_ROWS, max(FEWEST_ROWS, count // ONE_OF))
        self.sample = validation.last[torch.linspace(0, count - 1, few).long().to(validation.last.device)] if few else None

    def record(self, metrics: EpochMetrics, logits: torch.Tensor, best_epoch: int) -> dict[str, Any]:
        """One record: the epoch's figures, `best` (no epoch before it was better by what early stopping looks at), what
        the sampled steps did, and by layer the weights and the dead units; of classes or of returns what was said."""
        told = self.steps.told()
        weights, dead = weight_figures(self.network), self.dead_shares()
        layers = {name: of | weights[name] | {"dead_share": dead.get(name)} for name, of in told["layers"].items()}
        record = {name: metrics[name] for name in _REPEATED if name in metrics}
        record |= {"best": best_epoch == metrics["epoch"], **told, "layers": layers, **self._said(logits)}
        finite: dict[str, Any] = _finite(record)
        return finite

    def _said(self, logits: torch.Tensor) -> dict[str, Any]:
        validation = self.validation
        if not len(logits):
            return {}
        if validation.scale is not None:
            return of_returns(validation.realised, in_returns(logits, validation.scale), validation.scale)
        chances = torch.softmax(logits.double(), dim=1).numpy()
        return of_classes(validation.labels, chances, validation.class_names)

    def dead_shares(self) -> dict[str, float]:
        """Layer → share of its units that are dead on the fixed sample of validation rows: what comes out of the layer's
        activation, or of recurrent cells at the last bar, spans less than 0.001. For relu that is the unit that stays
        at zero (Lu, Shin, Su, Karniadakis: Dying ReLU and Initialization, 2019)."""
        if self.sample is None:
            return {}
        found: dict[str, torch.Tensor] = {}
        hooks = [module.register_forward_hook(_keeper(found, layer)) for layer, module in _watched(self.network)]
        was_training = self.network.training
        device = next(self.network.parameters()).device
        try:
            with torch.no_grad():
                self.network.eval()
                self.network(gather(self.validation.features, self.sample, window_of(self.network)).to(device))
        finally:
            self.network.train(was_training)
            for hook in hooks:
                hook.remove()
        return {name: float(share) for name, share in found.items()}


def _watched(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layer → the module whose output its units give: an activation belongs to the layer before it."""
    found: list[tuple[str, nn.Module]] = []
    layer = ""
    for name, module in network.named_modules():
        own = [key for key, _ in module.named_parameters(recurse=False)]
        if own:
            layer = layer_of(f"{name}.{own[0]}" if name else own[0])
        if isinstance(module, nn.LSTM | nn.GRU):
            found.append((f"{name or 'cells'} {module.num_layers} recurrent", module))
        elif isinstance(module, _ACTIVATIONS) and layer:
            found.append((layer, module))
    return found


def _keeper(found: dict[str, torch.Tensor], layer: str) -> Callable[[nn.Module, Any, Any], None]:
    def keep(module: nn.Module, given: Any, output: Any) -> None:
        values = output[0][:, -1] if isinstance(output, tuple) else output
        values = values.reshape(-1, values.shape[-1])
        found[layer] = ((values.amax(dim=0) - values.amin(dim=0)) < ALIVE).double().mean()

    return keep


@torch.no_grad()
def weight_figures(network: nn.Module) -> dict[str, dict[str, float]]:
    """Layer → weight_mean, weight_std (population), weight_min, weight_max over all its parameters, biases included."""
    by_layer: dict[str, list[torch.Tensor]] = {}
    for name, parameter in network.named_parameters():
        by_layer.setdefault(layer_of(name), []).append(parameter.detach().flatten())
    told = []
    for parts in by_layer.values():
        values = torch.cat(parts)
        low, high = values.aminmax()
        told.append(torch.stack([values.mean(), values.std(unbiased=False), low, high]))
    names = ("weight_mean", "weight_std", "weight_min", "weight_max")
    return {layer: dict(zip(names, row, strict=True)) for layer, row in zip(by_layer, torch.stack(told).tolist(), strict=True)}


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinity: what is none of the numbers is told as None."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
