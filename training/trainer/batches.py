"""Batches: features and labels + the order of an epoch → mini-batches as views of gathered blocks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.core.values import rows_by_symbol
from training.trainer.networks import gather

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
