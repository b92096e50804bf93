"""Permutation importance: what is lost when one input is shuffled among the rows, the network left as it is.

Breiman (2001). An input whose shuffling loses nothing is not used, or another one tells the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.core.values import rows_by_symbol
from training.trainer import metrics
from training.trainer.batches import generator, resident
from training.trainer.evaluation import Shuffled, in_returns, split_logits

#: How often each input is shuffled, and below how many times nothing can be said of the spread.
REPEATS, LEAST_REPEATS = 5, 2


def permutation_importance(
    network: nn.Module,
    features: NDArray[np.float32],
    labels: NDArray[Any],
    symbols: NDArray[np.int32],
    inputs: Mapping[str, Sequence[int]],
    classes: int,
    seed: int,
    has_time: Callable[[], bool],
    last: NDArray[np.int64] | None = None,
    centre: float = 0.0,
) -> dict[str, Any]:
    """Drop of balanced accuracy, or of R² for returns, per input: `{baseline, repeats, inputs: {name: {mean, spread, drops}}}`.

    features float32 (m, f), labels and symbols (n,), last (n,): where each row's window ends in features, None: row i
    is features[i]. inputs: name → columns, shuffled together, over whole windows, and within each symbol, so
    that one symbol never gets another's values and no window is mixed from several. Whole rounds over all inputs are made
    while `has_time`; a round that is not finished does not count, and `repeats` says how many were. For
    returns classes is 0, labels are float, in the units of the network's answer, and so is centre: the
    mean of the training returns. A drop of R² is a rise of the mean squared error over what that mean misses.
    """
    rows, own = resident(features, "cpu"), torch.arange(len(labels)) if last is None else resident(last, "cpu")

    def score(shuffled: Shuffled | None) -> float:
        outputs = split_logits(network, rows, own, shuffled)
        if not classes:
            return metrics.r_squared(in_returns(outputs, 1.0), labels, centre) or 0.0
        answers = outputs.argmax(dim=1).numpy()
        return metrics.balanced_accuracy(metrics.confusion(labels, answers, classes))

    whole = score(None)
    drops: dict[str, list[float]] = {name: [] for name in inputs}
    repeats = 0
    for repeat in range(REPEATS):
        order = torch.from_numpy(shuffled_within(symbols, seed, repeat))
        for name, columns in inputs.items():
            if not has_time():
                return _told(whole, repeats, drops)
            drops[name].append(whole - score(Shuffled(list(columns), own[order])))
        repeats += 1
    return _told(whole, repeats, drops)


def shuffled_within(symbols: NDArray[np.int32], seed: int, repeat: int) -> NDArray[np.int64]:
    """A permutation of the rows that keeps each row's symbol: int64 (n,), a function of its arguments."""
    random = generator(seed, repeat)
    order = np.arange(len(symbols), dtype=np.int64)
    for own in rows_by_symbol(symbols, int(symbols.max(initial=0)) + 1):
        order[own] = random.permutation(own)
    return order


def _told(whole: float, repeats: int, drops: Mapping[str, list[float]]) -> dict[str, Any]:
    """spread: the standard deviation over the repeats."""
    found = {}
    for name, values in drops.items():
        whole_rounds = np.array(values[:repeats])
        spread = float(whole_rounds.std(ddof=1)) if repeats > 1 else 0.0
        found[name] = {"mean": float(whole_rounds.mean()) if repeats else 0.0, "spread": spread, "drops": whole_rounds.tolist()}
    return {"baseline": whole, "repeats": repeats, "inputs": found}
