"""Pace: how long the rest of a training takes, by the epochs of this attempt. Early stopping may end it sooner."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

#: So many of the latest epochs tell it.
PACE_EPOCHS = 20
#: Batches tell it, before an epoch does, once they took so long (s).
FIRST_SECONDS = 0.5


def seconds_left(durations: Sequence[float], epochs_left: float) -> float | None:
    """Seconds that the epochs left will take at the median of the latest ones; None before there is one.

    durations: seconds of this attempt's epochs in order, from end to end, so that its first one, in which a process imports,
    compiles and fills caches, is none of them; epochs_left: may end in a part of one.
    """
    return max(epochs_left, 0.0) * median(durations[-PACE_EPOCHS:]) if durations else None


class Pace:
    """The same for who hears of batches and epochs as they come. Times in seconds on any clock.

    Until the second epoch of an attempt has ended, its batches tell the pace: those after the first one that is seen, then
    those after the first epoch. What an earlier attempt trained took this one no time.
    """

    def __init__(self) -> None:
        self._durations: deque[float] = deque(maxlen=PACE_EPOCHS)
        self._epochs, self._done = 0, 0.0
        self._begin: tuple[float, float] | None = None
        self._ended: float | None = None

    def batch(self, epoch: int, epochs: int, fraction: float, now: float) -> None:
        """So much of an epoch (from 0) was trained."""
        self._epochs, self._done = epochs, epoch + fraction
        self._begin = self._begin or (self._done, now)

    def epoch(self, epoch: int, now: float) -> None:
        """An epoch (from 0) has ended, with its validation and all that is kept of it."""
        self._done = epoch + 1.0
        if self._ended is None:
            self._begin = (self._done, now)
        else:
            self._durations.append(now - self._ended)
        self._ended = now

    def left(self, now: float) -> float | None:
        """Seconds; None as long as nothing can be said."""
        if not self._epochs:
            return None
        if self._durations:
            return seconds_left(list(self._durations), self._epochs - self._done)
        if self._begin is None or self._done <= self._begin[0] or now - self._begin[1] <= FIRST_SECONDS:
            return None
        return seconds_left([(now - self._begin[1]) / (self._done - self._begin[0])], self._epochs - self._done)
