"""Compiled loops over bars: arrays in, arrays out. Everything here is one pass in time order, without the GIL.

Signatures are explicit, so importing this module compiles every kernel once or takes it from the
cache (NUMBA_CACHE_DIR); inputs may be read-only. `error_model="numpy"` makes a division by zero
give inf or NaN as numpy does, and costs no branch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types

FloatVector = types.Array(types.float64, 1, "C", readonly=True)
IntVector = types.Array(types.int64, 1, "C", readonly=True)
FloatMatrix = types.Array(types.float64, 2, "C", readonly=True)
FeatureMatrix = types.Array(types.float32, 2, "C")
Flags = types.Array(types.boolean, 1, "C", readonly=True)
FlagsOut = types.Array(types.boolean, 1, "C")
IntOut = types.Array(types.int64, 1, "C")

#: Numbers of the membership shapes inside the kernels; RAW passes the value through.
TRAPEZOIDAL, GAUSSIAN, SIGMOID, RAW = 0, 1, 2, 3
#: Numbers of the input transforms.
IDENTITY, PRICE_RATIO, PCT_OF_PRICE = 0, 1, 2
BUY, HOLD, SELL = 0, 1, 2
NO_LABEL = -1


def _kernel(*signature: Any) -> Callable[[Callable[..., Any]], Any]:
    return njit(list(signature), cache=True, nogil=True, error_model="numpy")


@_kernel(types.float64(types.float64, types.int64, types.float64, types.float64, types.float64, types.float64))
def degree(x, shape, a, b, c, d):  # type: ignore[no-untyped-def]
    """Membership degree of x in [0, 1]; NaN for NaN. A triangle is the trapezoid (a, b, b, c)."""
    if shape == TRAPEZOIDAL:
        if x != x:
            return x
        if x < a or x > d:
            return 0.0
        if x < b:
            return 1.0 if a == -np.inf else (x - a) / (b - a)
        if x > c:
            return 1.0 if d == np.inf else (d - x) / (d - c)
        return 1.0
    if shape == GAUSSIAN:
        z = (x - a) / b
        return math.exp(-0.5 * z * z)
    if shape == SIGMOID:
        return 1.0 / (1.0 + math.exp(-(x - a) / b))
    return x


@_kernel(types.void(FloatMatrix, FloatVector, IntVector, IntVector, IntVector, IntVector, FloatMatrix, IntVector, FeatureMatrix))
def fill_features(outputs, closes, positions, source, transform, shape, points, target, matrix):  # type: ignore[no-untyped-def]
    """Write one timeframe's columns of the feature matrix: transform, membership and join in one pass.

    outputs float64 (o, m): indicator outputs over the timeframe's m bars, closes (m,) their closes;
    positions (n,): the bar known at each base row, −1 for none; source, transform, shape, target (c,)
    and points (c, 4) describe the columns; matrix float32 (n, f). A row without a bar gets NaN.
    """
    previous = -2
    for row in range(positions.shape[0]):
        position = positions[row]
        for c in range(source.shape[0]):
            if position < 0:
                matrix[row, target[c]] = np.nan
            elif position == previous:
                matrix[row, target[c]] = matrix[row - 1, target[c]]
            else:
                x = outputs[source[c], position]
                if transform[c] == PRICE_RATIO:
                    x = x / closes[position]
                elif transform[c] == PCT_OF_PRICE:
                    x = 100.0 * (x / closes[position] - 1.0)
                matrix[row, target[c]] = degree(x, shape[c], points[c, 0], points[c, 1], points[c, 2], points[c, 3])
        previous = position


@_kernel(types.void(FeatureMatrix, types.int64, types.int64))
def fill_lags(matrix, width, lags):  # type: ignore[no-untyped-def]
    """Copy columns [0, width) of the row k bars back into columns [k·width, (k+1)·width), k = 1…lags; NaN before the first row."""
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
    known by then (open + duration). −1 if there is none, or if a later closed bucket holds base bars
    but has no bar: then the value is missing, not stale. Buckets are [anchor + k·duration, …).
    """
    bar = -1  # the latest known bar
    closed = 0  # base bars [0, closed) lie in buckets that are closed by now
    for row in range(base_times.shape[0]):
        now = base_times[row] + base_duration
        while bar + 1 < times.shape[0] and times[bar + 1] + duration <= now:
            bar += 1
        while closed < row and ((base_times[closed] - anchor) // duration + 1) * duration + anchor <= now:
            closed += 1
        # The row itself may complete its bucket.
        last = closed - 1
        if closed == row and ((base_times[row] - anchor) // duration + 1) * duration + anchor <= now:
            last = row
        if bar < 0 or (last >= 0 and (base_times[last] - anchor) // duration > (times[bar] - anchor) // duration):
            positions[row] = -1
        else:
            positions[row] = bar


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
    """BUY, HOLD or SELL by the extremes of the next `lookahead` closes; the first extreme wins a tie."""
    for t in range(close.shape[0]):
        if t + lookahead >= close.shape[0]:
            labels[t] = NO_LABEL
            continue
        top = bottom = t + 1
        for j in range(t + 2, t + lookahead + 1):
            if close[j] > close[top]:
                top = j
            if close[j] < close[bottom]:
                bottom = j
        gain = (close[top] - close[t]) / close[t]
        loss = (close[t] - close[bottom]) / close[t]
        if gain >= threshold and gain > loss and top - t >= swing:
            labels[t] = BUY
        elif loss >= threshold and loss > gain and bottom - t >= swing:
            labels[t] = SELL
        else:
            labels[t] = HOLD


@_kernel(types.int64(FloatVector, types.float64, IntOut, IntOut))
def zigzag_pivots(close, threshold, pivots, confirmed):  # type: ignore[no-untyped-def]
    """Pivots of a reversal of at least `threshold` from the extreme: their bars and the bars that confirm them; gives their number."""
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
        if direction >= 0 and close[t] <= close[high] * (1.0 - threshold):
            pivots[count] = high
            confirmed[count] = t
            count += 1
            direction, low = -1, t
        elif direction <= 0 and close[t] >= close[low] * (1.0 + threshold):
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
