"""Compiled loops of indicators that TA-Lib does not have: one pass in time order, a value from its own bar and earlier ones.

Windowed sums are never carried from the first bar to the last: adding and taking away again leaves rounding behind, which
grows with the number of bars and hides a true zero. They begin anew at every whole multiple of the period, counted from
the first bar, so what comes later changes nothing and a window of zeros sums to exactly zero.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from training.pipeline.compiling import FloatOut, FloatVector, kernel

#: Values that a running total adds up by themselves before they join it.
STRETCH = 4096
#: Ehlers's bound on what goes into the Fisher transform: beyond the first number it counts as the second.
FISHER_BOUND, FISHER_LIMIT = 0.99, 0.999


@kernel(types.void(FloatVector, types.int64, FloatOut))
def window_sums(values, period, sums):  # type: ignore[no-untyped-def]
    """sums (n,): of the last `period` values, NaN before there are so many.

    A window is the end of one block of `period` values and the beginning of the next: nothing is subtracted, and the cost
    does not depend on the period.
    """
    rest = np.zeros(period + 1)  # of the block before, from its k-th value on
    for begin in range(0, values.shape[0], period):
        inside = min(period, values.shape[0] - begin)
        total = 0.0
        for k in range(inside):
            total += values[begin + k]
            sums[begin + k] = total + rest[k + 1] if begin > 0 or k == period - 1 else np.nan
        if inside == period:
            total = 0.0
            for k in range(period - 1, 0, -1):
                total += values[begin + k]
                rest[k] = total


@kernel(types.void(FloatVector, FloatOut))
def running_sums(values, sums):  # type: ignore[no-untyped-def]
    """sums (n,): of all values so far; stretches are added up by themselves, so that the error does not grow with every value."""
    before = 0.0
    for begin in range(0, values.shape[0], STRETCH):
        total = 0.0
        for t in range(begin, min(begin + STRETCH, values.shape[0])):
            total += values[t]
            sums[t] = before + total
        before += total


@kernel(types.void(FloatVector, FloatVector, FloatVector, types.float64, FloatOut, FloatOut))
def fisher_transform(price, lowest, highest, smoothing, fisher, signal):  # type: ignore[no-untyped-def]
    """Place of the price in its range, smoothed, stretched by ½·ln((1 + x)/(1 − x)), plus half of the value before it."""
    share = 1.0 / smoothing
    place, value = 0.0, 0.0
    begun = False
    for t in range(price.shape[0]):
        fisher[t] = signal[t] = np.nan
        if math.isnan(highest[t]):
            continue
        spread = highest[t] - lowest[t]
        now = 2.0 * (price[t] - lowest[t]) / spread - 1.0 if spread > 0.0 else 0.0
        place = share * now + (1.0 - share) * place
        if place > FISHER_BOUND:
            place = FISHER_LIMIT
        elif place < -FISHER_BOUND:
            place = -FISHER_LIMIT
        if begun:
            signal[t] = value
        value = 0.5 * math.log((1.0 + place) / (1.0 - place)) + 0.5 * value
        fisher[t] = value
        begun = True


@kernel(types.void(FloatVector, FloatVector, FloatVector, FloatVector, FloatOut, FloatOut))
def supertrend(high, low, close, width, trend, direction):  # type: ignore[no-untyped-def]
    """The band that trails the price at a distance of `width`, and +1 while it lies below (rising), −1 above (falling).

    A band only comes nearer until a close passes it; then the other one takes over.
    """
    upper = lower = 0.0
    begun = rising = False
    for t in range(close.shape[0]):
        if math.isnan(width[t]):
            trend[t] = direction[t] = np.nan
            continue
        middle = (high[t] + low[t]) / 2.0
        above, below = middle + width[t], middle - width[t]
        if begun:
            if close[t - 1] <= upper and above > upper:
                above = upper
            if close[t - 1] >= lower and below < lower:
                below = lower
            rising = close[t] >= below if rising else close[t] > above
        upper, lower, begun = above, below, True
        trend[t] = lower if rising else upper
        direction[t] = 1.0 if rising else -1.0


@kernel(types.void(FloatVector, FloatVector, FloatVector, FloatVector, FloatOut))
def squeeze(upper, lower, middle, half, intensity):  # type: ignore[no-untyped-def]
    """The smaller room between bands and the channel middle ± half, over half, in [0, 1]; `intensity` may be `half` itself."""
    for t in range(half.shape[0]):
        width = half[t]
        room = width - max(upper[t] - middle[t], middle[t] - lower[t])
        if math.isnan(upper[t]) or math.isnan(middle[t]) or math.isnan(width):
            intensity[t] = np.nan
        elif room <= 0.0 or width == 0.0:
            intensity[t] = 0.0
        else:
            intensity[t] = min(room / width, 1.0)


@kernel(types.void(FloatVector, FloatVector, FloatOut))
def middles(upper, lower, middle):  # type: ignore[no-untyped-def]
    """(upper + lower) / 2; `middle` may be one of them."""
    for t in range(middle.shape[0]):
        middle[t] = (upper[t] + lower[t]) / 2.0


@kernel(types.void(FloatVector, FloatOut))
def distances(price, average):  # type: ignore[no-untyped-def]
    """100 · (price / average − 1) in the place of the average: one array in and out lets several bars be divided at a time."""
    for t in range(price.shape[0]):
        average[t] = 100.0 * (price[t] / average[t] - 1.0)
