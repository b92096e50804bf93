"""Step watch: what single steps do to each layer — gradient norm before clipping, update beside weight, agreement of batches.

Every 16th step of an epoch is looked at, its first included: neighbouring steps differ by chance, epochs are compared.
Everything stays on the device until the epoch ends, and only reads: no weight depends on it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

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
