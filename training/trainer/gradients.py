"""Gradients: a batch → the gradients of its mean loss, computed in smaller pieces once memory has run out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from strategies_app.grammar.schema import Training
from training.trainer.batches import Placed
from training.trainer.device import out_of_memory, random_state, restore_random_state
from training.trainer.networks import Dropout, NotEnoughMemory, PluginNetwork
from training.trainer.precision import forward, used
from training.trainer.targets import make_loss, row_weights, summed_loss


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
        self.forward = forward(network, used(training.precision, str(rows.device), network), rows.device)
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
