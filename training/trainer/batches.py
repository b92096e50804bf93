"""Batches: the order of an epoch → mini-batches as views of gathered blocks, from rows on the device or moved there in turn."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.core.values import rows_by_symbol
from training.trainer.device import free_memory, out_of_memory
from training.trainer.networks import bars_of, gather

#: Bytes of features gathered at once. Large enough to hide the cost of a gather, small enough to stay in the cache.
BLOCK_BYTES = 4 << 20


def generator(seed: int, epoch: int) -> np.random.Generator:
    """Random numbers of one epoch: counter-based, keyed by (seed, epoch), so that no state needs to be saved."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))


def torch_seed(seed: int, epoch: int) -> int:
    """Seed for torch's generator (dropout) in one epoch."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def epoch_order(
    seed: int, epoch: int, count: int, symbols: NDArray[np.int32] | None = None, sampling: str = "proportional"
) -> NDArray[np.int64]:
    """Which of `count` training rows come when: int64 (count,), a pure function of its arguments.

    proportional: a permutation. balanced: every symbol gives equally many draws (the odd ones out go
    round with the epochs), each symbol's rows repeated or thinned by whole permutations. symbols int32
    (count,): the symbol of each training row.
    """
    random = generator(seed, epoch)
    if sampling == "proportional" or symbols is None:
        return random.permutation(count)
    present = [rows for rows in rows_by_symbol(symbols, int(symbols.max()) + 1) if len(rows)]
    share, odd = divmod(count, len(present))
    draws = []
    for place, rows in enumerate(present):
        wanted = share + ((place - epoch) % len(present) < odd)
        rounds = -(-wanted // len(rows))
        draws.append(np.concatenate([random.permutation(rows) for _ in range(rounds)] or [rows])[:wanted])
    return random.permutation(np.concatenate(draws))


def resident(array: NDArray[Any], device: str) -> torch.Tensor:
    """The array as a tensor on `device`; on the CPU it is the same memory, also if that is a read-only map."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def batch_count(rows: int, batch_size: int) -> int:
    return -(-rows // batch_size)


def blocks(
    features: torch.Tensor,
    labels: torch.Tensor,
    order: NDArray[np.int64],
    batch_size: int,
    block_bytes: int = BLOCK_BYTES,
    ends: torch.Tensor | None = None,
    window: int = 1,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The rows in `order`, gathered in blocks of whole batches of at most `block_bytes` (one batch at least).

    features float32 (m, f), labels int64 (n,), ends int64 (n,): where each row's window ends, None: at the row itself.
    Block borders change no bit of any batch.
    """
    positions = torch.from_numpy(order).to(features.device)
    for block in torch.split(positions, block_rows(features, batch_size, block_bytes, window)):
        last = block if ends is None else ends.index_select(0, block)
        yield gather(features, last, window), labels.index_select(0, block)


def block_rows(features: torch.Tensor, batch_size: int, block_bytes: int, window: int = 1) -> int:
    """Rows of a block: whole batches of at most `block_bytes`, one batch at least."""
    row_bytes = max(1, window * features.shape[1]) * features.element_size()
    return max(1, block_bytes // (row_bytes * batch_size)) * batch_size


#: How much of the device's free memory the rows may take. The rest is for the network, its activations and the optimizer.
RESIDENT_SHARE = 0.6
#: Host blocks that may wait for their copy to the device at a time: one is filled while the other one travels.
BLOCKS_UNDER_WAY = 2

Block = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Placed:
    """All rows of a run: features float32 (m, f), labels int64 (n,), and the device that computes with them.

    weights float32 (n,): how much each row counts in training, on the device; None if all count alike.
    ends int64 (n,): where the window of `window` bars of each row ends; None if row i is features[i].

    Resident: all lie on the device. Streaming: all but the weights lie on the host, also in a memory-mapped file, and
    no more of them is copied than BLOCKS_UNDER_WAY blocks. Either way the batches are the same bits.
    """

    features: torch.Tensor
    labels: torch.Tensor
    device: torch.device
    streaming: bool
    weights: torch.Tensor | None = None
    ends: torch.Tensor | None = None
    window: int = 1

    def weights_of(self, order: NDArray[np.int64]) -> torch.Tensor | None:
        """The weights of the rows in `order`, gathered on the device in one go: four bytes a row."""
        if self.weights is None:
            return None
        return self.weights.index_select(0, torch.from_numpy(order).to(self.device))

    def blocks(self, order: NDArray[np.int64], batch_size: int, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """The rows in `order` in blocks of whole batches of at most `block_bytes` of features, or one batch if that is more.

        Labels lie on the device; features lie where the rows lie, and `moved` brings a part of them over.
        """
        if self.streaming:
            return self._streamed(order, batch_size, block_bytes)
        return blocks(self.features, self.labels, order, batch_size, block_bytes, self.ends, self.window)

    def moved(self, features: torch.Tensor) -> torch.Tensor:
        """Rows of a block on the device. From page-locked memory the copy runs while the host goes on."""
        return features.to(self.device, non_blocking=self._pinned) if self.streaming else features

    @property
    def _pinned(self) -> bool:
        return self.device.type == "cuda"

    def _streamed(self, order: NDArray[np.int64], batch_size: int, block_bytes: int) -> Iterator[Block]:
        under_way: deque[torch.cuda.Event] = deque()
        for block in torch.split(torch.from_numpy(order), block_rows(self.features, batch_size, block_bytes, self.window)):
            if len(under_way) == BLOCKS_UNDER_WAY:
                # Without this the host would run ahead of the device and fill its memory with blocks.
                under_way.popleft().synchronize()
            last = block if self.ends is None else self.ends.index_select(0, block)
            features = torch.empty(len(block) * self.window, self.features.shape[1], pin_memory=self._pinned)
            torch.index_select(self.features, 0, bars_of(last, self.window), out=features)
            whole = features if self.window == 1 else features.view(len(block), self.window, -1)
            yield whole, self.labels.index_select(0, block).to(self.device)
            if self._pinned:
                under_way.append(torch.cuda.current_stream(self.device).record_event())


def place(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    device: str,
    resident_limit: int | None = None,
    weights: NDArray[np.float32] | None = None,
    ends: NDArray[np.int64] | None = None,
    window: int = 1,
) -> Placed:
    """The rows where they fit. `resident_limit`: see `fits`. If the device turns out to have less than it said, they stream."""
    on_device = None if weights is None else resident(weights, device)
    there = torch.device(device)
    last = None if ends is None else resident(ends, "cpu")
    host = Placed(resident(features, "cpu"), resident(labels, "cpu"), there, True, on_device, last, window)
    if not fits(device, features.nbytes + labels.nbytes + (0 if ends is None else ends.nbytes), resident_limit):
        return host
    try:
        last = None if last is None else last.to(device)
        return Placed(host.features.to(device), host.labels.to(device), there, False, on_device, last, window)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    return host


def fits(device: str, size: int, resident_limit: int | None = None) -> bool:
    """Whether `size` bytes of rows may lie on the device: within its share of free memory, and within `resident_limit` bytes.

    On the CPU rows are used where they are, which takes nothing, so only a limit can speak against it.
    """
    free = free_memory(device)
    return (free is None or size <= RESIDENT_SHARE * free) and (resident_limit is None or size <= resident_limit)
