"""Compiled loops over bars that labels need: medians so far, legs of zigzags, moving deviations, events, uniqueness, extremes."""

from __future__ import annotations

import heapq
import math

import numpy as np
from numba import types

from training.pipeline.compiling import FlagsOut, FloatOut, FloatVector, IntOut, IntVector, kernel

#: Numbers of the regime label's classes.
UP, DOWN, RANGING, VOLATILE = 0, 1, 2, 3
#: A leg needs so many fine pivots: two lows and two highs, so that both can be compared.
FEWEST_PIVOTS = 4


@kernel(types.void(FloatVector, FloatOut))
def expanding_median(values, medians):  # type: ignore[no-untyped-def]
    """medians (n,): the median of all values up to each one. NaN is passed over; NaN before the first value.

    Two heaps hold the lower and the upper half, so that a step costs the logarithm of the values so far.
    """
    lower, upper = [-1.0], [1.0]  # so typed; the lower half is held negated, its largest first
    lower.pop()
    upper.pop()
    for t in range(values.shape[0]):
        x = values[t]
        if not math.isnan(x):
            if len(lower) > 0 and x < -lower[0]:
                heapq.heappush(lower, -x)
            else:
                heapq.heappush(upper, x)
            if len(lower) > len(upper):
                heapq.heappush(upper, -heapq.heappop(lower))
            elif len(upper) > len(lower) + 1:
                heapq.heappush(lower, -heapq.heappop(upper))
        if len(upper) == 0:
            medians[t] = np.nan
        else:
            medians[t] = upper[0] if len(upper) > len(lower) else (upper[0] - lower[0]) / 2.0


@kernel(types.void(FloatVector, IntVector, IntVector, IntVector, IntVector, types.float64, IntOut, IntOut))
def leg_regimes(close, macro, macro_known, micro, micro_known, tolerance, regimes, ends):  # type: ignore[no-untyped-def]
    """UP, DOWN or RANGING for the bars of every leg between two coarse pivots; ends: the bar that confirms the closing one.

    macro, micro: pivots of the coarse and the fine zigzag, macro_known, micro_known: the bars that confirm
    them. A leg is its opening pivot and the bars before its closing one. It is judged by the fine pivots
    from pivot to pivot that are confirmed when the leg is: what is confirmed later plays no part.
    """
    first = 0
    for leg in range(macro.shape[0] - 1):
        begin, end, known = macro[leg], macro[leg + 1], macro_known[leg + 1]
        while first < micro.shape[0] and micro[first] < begin:
            first += 1
        lows = highs = rising = falling = 0
        last_low = last_high = 0.0
        k = first
        while k < micro.shape[0] and micro[k] <= end and micro_known[k] <= known:
            price = close[micro[k]]
            if close[micro_known[k]] < price:
                if highs > 0 and price < last_high:
                    falling += 1
                highs, last_high = highs + 1, price
            else:
                if lows > 0 and price > last_low:
                    rising += 1
                lows, last_low = lows + 1, price
            k += 1
        regime = RANGING
        if lows + highs >= FEWEST_PIVOTS:
            if close[end] > close[begin] and rising >= tolerance * (lows - 1):
                regime = UP
            elif close[end] < close[begin] and falling >= tolerance * (highs - 1):
                regime = DOWN
        for t in range(begin, end):
            regimes[t] = regime
            ends[t] = known


@kernel(types.void(FloatVector, types.int64, FloatOut))
def window_deviations(values, length, deviations):  # type: ignore[no-untyped-def]
    """deviations (n − length + 1,): the population deviation of values[k], …, values[k + length − 1].

    A window is the rest of the block of its length in which it begins and the beginning of the next, each
    summed from nothing (Welford) and put together (Chan, Golub and LeVeque): a value leaves no trace in
    windows that it is not in, and the cost per value is the same for every length.
    """
    count = values.shape[0]
    means, squares = np.empty(length), np.empty(length)
    for begin in range(0, count - length + 1, length):
        mean = square = 0.0
        for k in range(length - 1, -1, -1):
            delta = values[begin + k] - mean
            mean += delta / (length - k)
            square += delta * (values[begin + k] - mean)
            means[k], squares[k] = mean, square
        mean = square = 0.0
        for k in range(min(length, count - length - begin + 1)):
            if k > 0:
                delta = values[begin + length + k - 1] - mean
                mean += delta / k
                square += delta * (values[begin + length + k - 1] - mean)
            between = mean - means[k]
            whole = squares[k] + square + between * between * k * (length - k) / length
            deviations[begin + k] = math.sqrt(whole / length)


@kernel(types.void(FloatVector, FloatVector, FlagsOut))
def cusum_events(returns, thresholds, events):  # type: ignore[no-untyped-def]
    """Bars at which the rise or the fall, cumulated since the last event of its side, reaches the bar's threshold.

    López de Prado, Advances in Financial Machine Learning (2018), section 2.5.2.1. A bar without a
    threshold or a return is no event and adds nothing.
    """
    rise = fall = 0.0
    for t in range(returns.shape[0]):
        events[t] = False
        if math.isnan(thresholds[t]) or math.isnan(returns[t]):
            continue
        rise, fall = max(0.0, rise + returns[t]), min(0.0, fall + returns[t])
        if rise >= thresholds[t]:
            rise, events[t] = 0.0, True
        if fall <= -thresholds[t]:
            fall, events[t] = 0.0, True


@kernel(types.void(IntVector, IntVector, types.int64, FloatOut))
def uniqueness(rows, ends, count, weights):  # type: ignore[no-untyped-def]
    """weights (k,): the mean of 1 / concurrency over the bars that each label looks at, in (0, 1].

    The label of rows[i] looks at the bars rows[i] + 1 … ends[i]; the concurrency of a bar is how many labels look
    at it. López de Prado, chapter 4. One pass over `count` bars and one over the labels.
    """
    shares = np.zeros(count + 1)
    for i in range(rows.shape[0]):
        shares[rows[i] + 1] += 1.0
        shares[ends[i] + 1] -= 1.0
    alive = total = 0.0
    for t in range(count + 1):
        alive += shares[t]
        # From here on shares[t] is the sum of 1 / concurrency over the bars before t.
        shares[t] = total
        if alive > 0.0:
            total += 1.0 / alive
    for i in range(rows.shape[0]):
        weights[i] = (shares[ends[i] + 1] - shares[rows[i] + 1]) / (ends[i] - rows[i])


@kernel(types.void(FloatVector, IntVector, IntOut, IntOut))
def extremes_ahead(close, ends, tops, bottoms):  # type: ignore[no-untyped-def]
    """The first highest and the first lowest close among the bars t + 1 … ends[t] of every t; −1 where there are none.

    From the last bar to the first, a stack holds the next bar, the next one that is higher, the next one
    higher than that, …: the last of them within reach is the highest, and halving finds it.
    """
    count = close.shape[0]
    stack = np.empty(count, np.int64)
    for side in range(2):
        sign, found = (1.0, tops) if side == 0 else (-1.0, bottoms)
        size = 0
        for t in range(count - 1, -1, -1):
            found[t] = -1
            if ends[t] > t:
                low, high = 0, size - 1  # positions fall along the stack: the first one at or before the end
                while low < high:
                    middle = (low + high) // 2
                    if stack[middle] <= ends[t]:
                        high = middle
                    else:
                        low = middle + 1
                found[t] = stack[low]
            while size > 0 and sign * close[stack[size - 1]] <= sign * close[t]:
                size -= 1
            stack[size] = t
            size += 1
