"""Signals: what a network says of a row → what to do. Pure numpy, the same in evaluation, prediction and pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Signals of a predicted return, in the order in which they are shown.
SIGNALS = ("BUY", "HOLD", "SELL")


def signals_of(chances: NDArray[np.float32], class_names: tuple[str, ...], threshold: float) -> list[str]:
    """The most probable class where its probability reaches the threshold, else HOLD if there is such a class, else ""."""
    names = np.array([*class_names, "HOLD" if "HOLD" in class_names else ""])
    best = chances.argmax(axis=1)
    sure = chances[np.arange(len(chances)), best] >= threshold
    return [str(name) for name in names[np.where(sure, best, len(class_names))]]


def signals_of_returns(returns: NDArray[np.float64], edge: float) -> NDArray[np.int64]:
    """Positions in SIGNALS (n,): BUY from `edge` up, SELL from −`edge` down, else HOLD.

    edge: the cost of a round trip times how often it must be earned. A return of exactly 0 is never a signal.
    """
    return np.where((returns >= edge) & (returns > 0), 0, np.where((returns <= -edge) & (returns < 0), 2, 1))
