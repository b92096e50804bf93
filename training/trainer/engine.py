"""Engine: one epoch of steps over batches, behind one small interface; a batch in smaller pieces once memory has run out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from strategies_app.grammar.schema import Training
from training.core.values import BatchMetrics
from training.trainer import batches
from training.trainer.analytics import StepWatch
from training.trainer.batches import Placed
from training.trainer.device import forward, out_of_memory, random_state, restore_random_state, used_precision
from training.trainer.networks import Dropout, NotEnoughMemory, PluginNetwork
from training.trainer.optimizers import Clip, Flat, make_clip, make_optimizer, optimizer_tensors, restore_optimizer
from training.trainer.stability import not_finite
from training.trainer.targets import make_loss, row_weights, summed_loss


class EpochSums(NamedTuple):
    """What an epoch leaves: the mean weighted training loss and the largest gradient norm before clipping.

    broken: the first step that left the finite numbers, in words; the epoch may have ended soon after it.
    """

    loss: float
    gradient_norm: float
    broken: str | None = None


class Engine(Protocol):
    """How the loop trains: a second engine needs these names and nothing else."""

    name: str
    network: nn.Module
    micro_batch: int  # rows computed at once; part of the state, because it decides the last bits
    watch: StepWatch | None  # looks at some steps, changes none

    def set_rate(self, rate: float) -> None:
        """The learning rate of the steps to come."""

    def train_epoch(
        self, order: NDArray[np.int64], seed: int, metrics: BatchMetrics, on_batch_end: Callable[[BatchMetrics], None]
    ) -> EpochSums:
        """One pass over the rows in `order`; `seed` fixes everything random in it."""

    def optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """The optimizer's memory by parameter name, not yet cloned."""

    def restore_optimizer(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `optimizer_tensors` gave. KeyError or ValueError if it does not fit."""


class Reference:
    """Torch's own operations for any network and device.

    rows: the whole dataset, resident or streaming; class weights float32 (k,), None for all one. With
    `fused` all parameters lie in one flat buffer, so clipping and updating are single operations;
    without it the weights are bit for bit those of a plain loop.
    """

    name = "reference"

    def __init__(
        self,
        network: nn.Module,
        training: Training,
        rows: Placed,
        class_weights: torch.Tensor | None,
        fused: bool,
    ) -> None:
        self.network = network
        self.training = training
        self.rows = rows
        self.class_weights = class_weights
        self.watch: StepWatch | None = None
        self.flat = Flat(network) if fused else None
        self.optimizer = make_optimizer(training, self.flat.tensors if self.flat else list(network.parameters()), fused)
        clear = self.flat.gradient.zero_ if self.flat else self.optimizer.zero_grad
        self.gradients = Gradients(network, training, rows, class_weights, clear)
        self.clip: Clip = make_clip(training.gradient_clip, network, self.flat)

    @property
    def micro_batch(self) -> int:
        return self.gradients.micro_batch

    @micro_batch.setter
    def micro_batch(self, rows: int) -> None:
        self.gradients.micro_batch = rows

    def set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def optimizer_tensors(self) -> dict[str, torch.Tensor]:
        return optimizer_tensors(self.optimizer, self.network, self.flat)

    def restore_optimizer(self, tensors: Mapping[str, torch.Tensor]) -> None:
        restore_optimizer(self.optimizer, self.network, self.flat, tensors)

    def train_epoch(
        self, order: NDArray[np.int64], seed: int, metrics: BatchMetrics, on_batch_end: Callable[[BatchMetrics], None]
    ) -> EpochSums:
        device, size = self.rows.device, self.training.batch_size
        sums = _Sums(batches.batch_count(len(order), size), device)
        metrics.batches, metrics.samples = len(sums.losses), 0
        metrics.loss = lambda: sums.mean_loss(metrics.batch + 1)
        self.network.train()
        watch = self.watch
        if watch is not None:
            watch.begin(len(sums.losses))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            _seed(device, seed)
            batch, of_rows = 0, self.rows.weights_of(order)
            for features, labels in self.rows.blocks(order, size):
                weights = None if of_rows is None else of_rows[metrics.samples : metrics.samples + len(labels)]
                sums.add_weights(batch, self._batch_weights(labels, weights))
                parts = itertools.repeat(None) if weights is None else torch.split(weights, size)
                for x, y, w in zip(torch.split(features, size), torch.split(labels, size), parts, strict=False):
                    seen = watch if watch is not None and watch.due(batch) else None
                    sums.losses[batch], sums.norms[batch] = self._step(x, y, w, seen)
                    metrics.batch = batch
                    metrics.samples += len(y)
                    batch += 1
                    on_batch_end(metrics)
                    if sums.broken:  # seen when somebody read the loss: what follows would be thrown away
                        return sums.whole(batch)
        return sums.whole(batch)

    def _step(
        self, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor | None, watch: StepWatch | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        loss = self.gradients.of(x, y, w)
        if watch is not None:
            watch.before_update()
        norm = self.clip()
        self.optimizer.step()
        if watch is not None:
            watch.after_update()
        return loss, norm

    def _batch_weights(self, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """Σ w of each batch of a block, in one go."""
        size = self.training.batch_size
        rows = row_weights(labels, self.class_weights, weights)
        missing = -len(rows) % size
        return nn.functional.pad(rows, (0, missing)).view(-1, size).sum(dim=1)


class _Sums:
    """Loss, gradient norm and Σ w of every batch of an epoch, on the device until someone reads them.

    Loss and norm are the flag of their step: whichever step left the finite numbers first is found in them later,
    without a word between device and host in between. broken: a loss that was read was not finite.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self.losses = torch.zeros(count, device=device)
        self.norms = torch.zeros(count, device=device)
        self.weights = torch.zeros(count, device=device)
        self.broken = False

    def add_weights(self, first: int, weights: torch.Tensor) -> None:
        self.weights[first : first + len(weights)] = weights

    def mean_loss(self, count: int) -> float:
        """Σ w·l / Σ w over the first `count` batches."""
        losses, weights = self.losses[:count].cpu().double(), self.weights[:count].cpu().double()
        loss = float((losses * weights).sum() / weights.sum())
        self.broken = self.broken or not math.isfinite(loss)
        return loss

    def whole(self, count: int) -> EpochSums:
        """Over the `count` batches that were trained."""
        loss, norms = self.mean_loss(count), self.norms[:count].cpu()
        finite = bool(torch.isfinite(norms).all()) and not self.broken
        broken = None if finite else not_finite(self.losses[:count].tolist(), norms.tolist(), len(self.losses))
        return EpochSums(loss, float(norms.max()), broken)


def _seed(device: torch.device, seed: int) -> None:
    """Seed only the generators in use, so that a caller's other devices are left alone."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


class Gradients:
    """Fills a network's gradients. `clear` sets them to zero; class weights float32 (k,), None: all one.

    micro_batch: rows that go through the network at once, at first the whole batch. It only ever
    shrinks, and the optimizer sees the gradient of the whole batch whatever it is.
    """

    def __init__(
        self,
        network: nn.Module,
        training: Training,
        rows: Placed,
        class_weights: torch.Tensor | None,
        clear: Callable[[], object],
    ) -> None:
        self.network, self.training, self.rows = network, training, rows
        self.class_weights = class_weights
        self.clear = clear
        self.loss = make_loss(training, class_weights)
        self.forward = forward(network, used_precision(training.precision, str(rows.device), network), rows.device)
        self.micro_batch = training.batch_size
        # Asking for the generator's state costs as much as a small layer: only for networks that draw from it.
        self.draws = any(isinstance(layer, Dropout | nn.Dropout | nn.RNNBase | PluginNetwork) for layer in network.modules())

    def of(self, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor | None = None) -> torch.Tensor:
        """The loss () of a batch, Σ w·l / Σ w; its gradients are then in the network. x float32 (b, f), y int64 (b,).

        w float32 (b,): the weights of the rows beside those of their classes, None: all one.

        When memory runs out, the batch begins anew in smaller pieces: gradients cleared, random numbers
        as they were. No update has happened until this returns. NotEnoughMemory if one row is too much.
        """
        start = random_state(self.rows.device) if self.draws else None
        while (loss := self._attempt(x, y, w)) is None:
            self._halve(len(y))
            if start is not None:
                restore_random_state(self.rows.device, start)
        return loss

    def _attempt(self, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor | None) -> torch.Tensor | None:
        """None if memory ran out. By then the error is gone, and with it the activations that its traceback held."""
        try:
            self.clear()
            return self._whole(x, y, w) if len(y) <= self.micro_batch else self._pieces(x, y, w)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        return None

    def _whole(self, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor | None) -> torch.Tensor:
        loss = self.loss(self.forward(self.rows.moved(x)), y, w)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _pieces(self, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor | None) -> torch.Tensor:
        """Each piece gives its Σ w·l over the Σ w of the whole batch, so that the sum is the batch's mean."""
        weights, loss = row_weights(y, self.class_weights, w), torch.zeros((), device=y.device)
        total = weights.sum()
        for rows, labels, of_rows in zip(*(torch.split(part, self.micro_batch) for part in (x, y, weights)), strict=True):
            part = summed_loss(self.forward(self.rows.moved(rows)), labels, self.training, of_rows) / total
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        return loss

    def _halve(self, batch: int) -> None:
        tried = min(self.micro_batch, batch)
        if tried == 1:
            raise NotEnoughMemory(
                f"there is not enough memory on {self.rows.device} to train even one row at a time; "
                "wanted a smaller network, or a device with more free memory"
            )
        self.micro_batch = -(-tried // 2)
        if self.rows.device.type == "cuda":
            torch.cuda.empty_cache()  # what the larger pieces left is cut in sizes that the smaller ones may not fit
