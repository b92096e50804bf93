"""Compiled loops over bars: arrays in, arrays out. Everything here is one pass in time order, without the GIL."""

from __future__ import annotations

import math

import numpy as np
from numba import types

from training.pipeline.compiling import (
    FeatureMatrix,
    Flags,
    FlagsOut,
    FloatMatrix,
    FloatOut,
    FloatVector,
    IntOut,
    IntVector,
)
from training.pipeline.compiling import kernel as _kernel

#: Rows that are worked on together: what they need stays in the processor's nearest cache.
BLOCK = 256

#: Numbers of the membership shapes inside the kernels; RAW passes the value through.
TRAPEZOIDAL, GAUSSIAN, SIGMOID, RAW = 0, 1, 2, 3
#: Numbers of the input transforms.
IDENTITY, PRICE_RATIO, PCT_OF_PRICE = 0, 1, 2
BUY, HOLD, SELL = 0, 1, 2
NO_LABEL = -1


@_kernel(types.void(FloatOut, types.int64, types.int64, types.float64, types.float64, types.float64, types.float64))
def degrees(values, count, shape, a, b, c, d):  # type: ignore[no-untyped-def]
    """Put membership degrees in [0, 1] in the place of the first `count` values; NaN stays.

    A triangle is the trapezoid (a, b, b, c). No branches on values: a processor would guess them wrongly half the time.
    """
    if shape == TRAPEZOIDAL:
        left_closed, right_closed = a == -np.inf or a == b, d == np.inf or c == d
        for i in range(count):
            x = values[i]
            rising = (1.0 if x >= a else 0.0) if left_closed else (x - a) / (b - a)
            falling = (1.0 if x <= d else 0.0) if right_closed else (d - x) / (d - c)
            lower = rising if rising < falling else falling
            lower = lower if lower < 1.0 else 1.0
            lower = lower if lower > 0.0 else 0.0
            values[i] = lower if x == x else x
    elif shape == GAUSSIAN:
        for i in range(count):
            z = (values[i] - a) / b
            values[i] = math.exp(-0.5 * z * z)
    elif shape == SIGMOID:
        for i in range(count):
            values[i] = 1.0 / (1.0 + math.exp(-(values[i] - a) / b))


@_kernel(types.void(FloatMatrix, FloatVector, IntVector, IntVector, IntVector, IntVector, FloatMatrix, IntVector, FeatureMatrix))
def fill_features(outputs, closes, positions, source, transform, shape, points, target, matrix):  # type: ignore[no-untyped-def]
    """Write one timeframe's columns of the feature matrix: transform, membership and join, a block of rows at a time.

    outputs float64 (o, m): indicator outputs over the timeframe's m bars, closes (m,) their closes;
    positions (n,): the bar known at each base row, −1 for none; source, transform, shape, target (c,)
    and points (c, 4) describe the columns; matrix float32 (n, f). A row without a bar gets NaN.
    A bar that several rows know is worked out once per block.
    """
    bars, slots, values = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64), np.empty(BLOCK, np.float64)
    for start in range(0, positions.shape[0], BLOCK):
        rows = min(BLOCK, positions.shape[0] - start)
        count = 0
        for row in range(rows):
            if count == 0 or positions[start + row] != bars[count - 1]:
                bars[count] = positions[start + row]
                count += 1
            slots[row] = count - 1
        for column in range(source.shape[0]):
            output, change, place = source[column], transform[column], target[column]
            for i in range(count):
                bar = bars[i]
                x = outputs[output, bar] if bar >= 0 else np.nan
                if change != IDENTITY and bar >= 0:
                    x = x / closes[bar]
                    if change == PCT_OF_PRICE:
                        x = 100.0 * (x - 1.0)
                values[i] = x
            degrees(values, count, shape[column], points[column, 0], points[column, 1], points[column, 2], points[column, 3])
            for row in range(rows):
                matrix[start + row, place] = values[slots[row]]


@_kernel(types.void(FeatureMatrix, types.int64, types.int64))
def fill_lags(matrix, width, lags):  # type: ignore[no-untyped-def]
    """Copy columns [0, width) of the row k bars back into columns [k·width, (k+1)·width), k = 1…lags; NaN at the beginning."""
    for row in range(matrix.shape[0]):
        for k in range(1, lags + 1):
            for column in range(width):
                matrix[row, k * width + column] = matrix[row - k, column] if row >= k else np.nan


@_kernel(types.void(FeatureMatrix, FlagsOut))
def complete_rows(matrix, complete):  # type: ignore[no-untyped-def]
    """complete (n,): whether every feature of the row is a finite number."""
    for row in range(matrix.shape[0]):
        whole = True
        for column in range(matrix.shape[1]):
            if not math.isfinite(matrix[row, column]):
                whole = False
        complete[row] = whole


@_kernel(types.int64(FeatureMatrix, Flags))
def compact_rows(matrix, keep):  # type: ignore[no-untyped-def]
    """Move the kept rows to the front, in order and in place; gives their number."""
    kept = 0
    for row in range(matrix.shape[0]):
        if keep[row]:
            if kept != row:
                for column in range(matrix.shape[1]):
                    matrix[kept, column] = matrix[row, column]
            kept += 1
    return kept


@_kernel(types.void(IntVector, types.int64, IntVector, types.int64, types.int64, IntOut))
def known_at(base_times, base_duration, times, duration, anchor, positions):  # type: ignore[no-untyped-def]
    """The one join of a higher timeframe onto base rows; all times and durations in µs.

    positions (n,): for each base bar, known at open + base_duration, the latest bar of `times` that is
    known by then (open + duration, never sooner). −1 if there is none, or if a bar after it is overdue:
    then the value is missing, not stale.

    Overdue: let u be the first base bar that opens at or after the end of the latest known bar. The bar that
    should hold u is overdue once it would be over: at u + duration on any clock, since a bar that opens
    at or before u is over by then; and, as long as every known bar has stood on the grid [anchor + k·duration, …),
    at the end of the grid's bucket that holds u. So no row is lost where each base bar lies in
    [open, open + duration) of a bar of `times`, whatever clock those follow, and nights and weekends pass
    by themselves, since no base bar lies in them. Only bars known by now and base bars up to the row decide.
    """
    bar = -1  # the latest known bar
    gridded = True  # every known bar so far stands on the grid
    over = 0  # the end of that bar
    after = 0  # the first base bar at or behind that end, among the rows so far
    overdue = 0  # when the bar that should hold it is over
    for row in range(base_times.shape[0]):
        now = base_times[row] + base_duration
        if bar + 1 < times.shape[0] and times[bar + 1] + duration <= now:
            while bar + 1 < times.shape[0] and times[bar + 1] + duration <= now:
                bar += 1
                gridded = gridded and (times[bar] - anchor) % duration == 0
            over = times[bar] + duration
            overdue = 0
        if overdue == 0 and bar >= 0:
            while after <= row and base_times[after] < over:
                after += 1
            if after <= row:
                opened = base_times[after]
                if gridded:
                    opened = (opened - anchor) // duration * duration + anchor
                overdue = opened + duration
        positions[row] = -1 if bar < 0 or (after <= row and overdue <= now) else bar


@_kernel(types.int64(IntVector, FloatMatrix, types.int64, types.int64, IntOut, types.Array(types.float64, 2, "C")))
def resample(times, bars, duration, anchor, bucket_times, buckets):  # type: ignore[no-untyped-def]
    """Bars into left-closed, left-labelled buckets; gives their number.

    bars float64 (5, n): open, high, low, close, volume. A bar with a NaN price is passed over; a NaN
    volume makes the bucket's volume NaN, since a partial sum would be an invented number.
    """
    count = 0
    for i in range(times.shape[0]):
        if math.isnan(bars[0, i]) or math.isnan(bars[1, i]) or math.isnan(bars[2, i]) or math.isnan(bars[3, i]):
            continue
        start = (times[i] - anchor) // duration * duration + anchor
        if count == 0 or bucket_times[count - 1] != start:
            bucket_times[count] = start
            for k in range(5):
                buckets[k, count] = bars[k, i]
            count += 1
        else:
            last = count - 1
            buckets[1, last] = max(buckets[1, last], bars[1, i])
            buckets[2, last] = min(buckets[2, last], bars[2, i])
            buckets[3, last] = bars[3, i]
            buckets[4, last] += bars[4, i]
    return count


@_kernel(types.void(FloatVector, types.int64, types.float64, types.int64, IntOut))
def zigzag_window(close, lookahead, threshold, swing, labels):  # type: ignore[no-untyped-def]
    """BUY, HOLD or SELL by the extremes of the next `lookahead` closes; the first extreme wins a tie.

    The extremes of a sliding window from those of blocks of its length: the rest of the block in which
    it begins and the beginning of the next, so that the cost per bar is the same for every look-ahead.
    """
    count = close.shape[0]
    tops, bottoms = np.empty(lookahead), np.empty(lookahead)
    for t in range(max(count - lookahead, 0), count):
        labels[t] = NO_LABEL
    for begin in range(1, count - lookahead + 1, lookahead):
        top = bottom = close[begin + lookahead - 1]
        for k in range(lookahead - 1, -1, -1):
            top, bottom = max(top, close[begin + k]), min(bottom, close[begin + k])
            tops[k], bottoms[k] = top, bottom
        top, bottom = -np.inf, np.inf
        for k in range(min(lookahead, count - lookahead - begin + 1)):
            if k > 0:
                top, bottom = max(top, close[begin + lookahead + k - 1]), min(bottom, close[begin + lookahead + k - 1])
            t = begin + k - 1
            highest, lowest = max(top, tops[k]), min(bottom, bottoms[k])
            gain, loss = (highest - close[t]) / close[t], (close[t] - lowest) / close[t]
            labels[t] = HOLD
            if gain >= threshold and gain > loss:
                labels[t] = BUY
                for j in range(t + 1, t + min(swing, lookahead + 1)):
                    if close[j] == highest:
                        labels[t] = HOLD
            elif loss >= threshold and loss > gain:
                labels[t] = SELL
                for j in range(t + 1, t + min(swing, lookahead + 1)):
                    if close[j] == lowest:
                        labels[t] = HOLD


@_kernel(types.int64(FloatVector, FloatVector, IntOut, IntOut))
def zigzag_pivots(close, thresholds, pivots, confirmed):  # type: ignore[no-untyped-def]
    """Pivots: extremes followed by a reversal of at least the threshold, and the bars that confirm them; gives their number.

    thresholds (n,): the reversal that counts at each bar, as a share of the price; a bar where it is NaN confirms nothing.
    A price that stands still is no reversal, whatever the threshold.
    """
    count = 0
    if close.shape[0] == 0:
        return 0
    high = low = 0
    direction = 0  # +1: looking for a top, −1: for a bottom, 0: not known yet
    for t in range(1, close.shape[0]):
        if close[t] > close[high]:
            high = t
        if close[t] < close[low]:
            low = t
        if direction >= 0 and close[t] < close[high] and close[t] <= close[high] * (1.0 - thresholds[t]):
            pivots[count] = high
            confirmed[count] = t
            count += 1
            direction, low = -1, t
        elif direction <= 0 and close[t] > close[low] and close[t] >= close[low] * (1.0 + thresholds[t]):
            pivots[count] = low
            confirmed[count] = t
            count += 1
            direction, high = 1, t
    return count


@_kernel(
    types.void(FloatVector, FloatVector, FloatVector, FloatVector, types.float64, types.float64, types.int64, IntOut, IntOut)
)
def triple_barrier(high, low, close, sigma, take_profit, stop_loss, holding, labels, ends):  # type: ignore[no-untyped-def]
    """First touch of C(1 + take_profit·σ) or C(1 − stop_loss·σ) within `holding` bars; ends: the bar that decided.

    Only rows whose whole holding period lies in the data are labelled: with the others only early
    touches would survive. Both barriers in one bar: by that close against the entry.
    """
    for t in range(close.shape[0]):
        labels[t] = NO_LABEL
        ends[t] = -1
        if t + holding >= close.shape[0] or math.isnan(sigma[t]):
            continue
        entry = close[t]
        upper = entry * (1.0 + take_profit * sigma[t])
        lower = entry * (1.0 - stop_loss * sigma[t])
        for j in range(t + 1, t + holding + 1):
            up, down = high[j] >= upper, low[j] <= lower
            if up or down:
                ends[t] = j
                if up and down:
                    labels[t] = BUY if close[j] > entry else (SELL if close[j] < entry else HOLD)
                else:
                    labels[t] = BUY if up else SELL
                break
        if ends[t] < 0:
            ends[t] = t + holding
            change = close[t + holding] / entry - 1.0
            if abs(change) < 0.5 * sigma[t] * math.sqrt(holding) or change == 0.0:
                labels[t] = HOLD
            else:
                labels[t] = BUY if change > 0 else SELL


def warm() -> None:
    """Nothing to do but import: explicit signatures have compiled or loaded every kernel by now."""
