"""Analytics: what single steps do to each layer, and an epoch that was trained and validated → one record, JSON-ready.

It only reads: gradients, weights, and the logits that validation has computed anyway. No weight depends on it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.core.values import EpochMetrics
from training.trainer.evaluation import Validation, in_returns
from training.trainer.metrics import of_classes, of_returns
from training.trainer.networks import gather, window_of

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


#: One step of so many is looked at.
EVERY = 16
_CELLS = re.compile(r"(?:weight|bias)_(ih|hh|hr)_l(\d+)$")
_GATES = {"ih": "input", "hh": "recurrent", "hr": "projection"}


def layer_of(parameter: str) -> str:
    """`hidden_0.weight` → `hidden_0`; of recurrent cells `cells.weight_hh_l1` → `cells 2 recurrent`."""
    owner, _, name = parameter.rpartition(".")
    cells = _CELLS.match(name)
    if cells is None:
        return owner or name
    return f"{owner or 'cells'} {int(cells[2]) + 1} {_GATES[cells[1]]}"


def layers_of(network: nn.Module) -> dict[str, list[int]]:
    """Layer → positions of its parameters among those of the network, in its order."""
    layers: dict[str, list[int]] = {}
    for position, (name, _) in enumerate(network.named_parameters()):
        layers.setdefault(layer_of(name), []).append(position)
    return layers


class StepWatch:
    """Looks at a network's sampled steps: `before_update` once gradients are there, `after_update` once weights have moved."""

    def __init__(self, network: nn.Module) -> None:
        self.parameters = list(network.parameters())
        self.layers = layers_of(network)
        self.before = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.summed = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.begin(1)

    def begin(self, steps: int) -> None:
        """A new epoch of so many steps."""
        self.seen = 0
        shape = (3, -(-steps // EVERY), len(self.parameters))
        #: Norms of gradients, updates and weights: (3, samples, parameters).
        self.norms = torch.zeros(shape, device=self.parameters[0].device)
        for summed in self.summed:
            summed.zero_()

    def due(self, step: int) -> bool:
        return step % EVERY == 0

    @torch.no_grad()
    def before_update(self) -> None:
        gradients, places = self.norms[0, self.seen].unbind(), zip(self.parameters, self.summed, self.before, strict=True)
        for norm, (parameter, summed, before) in zip(gradients, places, strict=True):
            before.copy_(parameter)
            if parameter.grad is not None:  # a parameter that the loss does not depend on has none
                torch.linalg.vector_norm(parameter.grad, out=norm)
                summed.add_(parameter.grad)

    @torch.no_grad()
    def after_update(self) -> None:
        _, updates, weights = self.norms[:, self.seen].unbind()
        places = zip(updates.unbind(), weights.unbind(), self.parameters, self.before, strict=True)
        for update, weight, parameter, before in places:
            torch.linalg.vector_norm(before, out=weight)
            torch.linalg.vector_norm(before.sub_(parameter), out=update)
        self.seen += 1

    def told(self) -> dict[str, Any]:
        """sampled_steps, signal (see `signal_of`) and by layer gradient_norm (mean of the sampled steps), its least and
        largest, update_ratio and signal. The update ratio is the mean of ‖w′ − w‖ / ‖w‖ over the sampled steps; about 0.001
        is usual (A. Karpathy, CS231n notes, "Ratio of weights:updates"), None for a layer whose weights are all zero."""
        squares = self.norms[:, : self.seen].double().square().cpu().numpy()
        of_mean = torch.stack([summed.double().square().sum() for summed in self.summed]).cpu().numpy()
        of_mean /= max(self.seen, 1) ** 2
        layers = {name: _layer(squares[:, :, own], of_mean[own]) for name, own in self.layers.items()}
        return {"sampled_steps": self.seen, "signal": signal_of(squares[0].sum(axis=1), float(of_mean.sum())), "layers": layers}


def _layer(squares: NDArray[np.float64], of_mean: NDArray[np.float64]) -> dict[str, Any]:
    """Of a layer's parameters: squares (3, samples, parameters), of_mean (parameters,)."""
    gradients, updates, weights = np.sqrt(squares.sum(axis=2))
    moved = weights > 0
    return {
        "gradient_norm": float(gradients.mean()),
        "gradient_norm_min": float(gradients.min()),
        "gradient_norm_max": float(gradients.max()),
        "update_ratio": float((updates[moved] / weights[moved]).mean()) if moved.any() else None,
        "signal": signal_of(gradients**2, float(of_mean.sum())),
    }


def signal_of(squares: NDArray[np.float64], of_mean: float) -> float | None:
    """Learning-signal strength: the share of the gradients' energy that all sampled batches agree on, in [0, 1].

    squares ‖g‖² of each of m sampled gradients; of_mean ‖ḡ‖² of their mean. |G|² = (m‖ḡ‖² − mean ‖g‖²) / (m − 1) is an
    unbiased estimate of the true gradient's square, here over mean ‖g‖²; the rest is noise between batches (McCandlish,
    Kaplan, Amodei: An Empirical Model of Large-Batch Training, 2018, appendix A). None for fewer than two, or no gradient.
    """
    count, mean = len(squares), float(squares.mean()) if len(squares) else 0.0
    if count < 2 or mean == 0:
        return None
    return min(max((count * of_mean - mean) / (count - 1) / mean, 0.0), 1.0)
