"""Compiled loops over bars: arrays in, arrays out. Everything here is one pass in time order, without the GIL."""

from __future__ import annotations

import heapq
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
FloatOut = types.Array(types.float64, 1, "C")


def kernel(*signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator of a compiled loop with these types."""
    return njit(list(signature), cache=True, nogil=True, error_model="numpy")


#: Rows that are worked on together: what they need stays in the processor's nearest cache.
BLOCK = 256

#: Numbers of the membership shapes inside the kernels; RAW passes the value through.
TRAPEZOIDAL, GAUSSIAN, SIGMOID, RAW = 0, 1, 2, 3
#: Numbers of the input transforms.
IDENTITY, PRICE_RATIO, PCT_OF_PRICE = 0, 1, 2
BUY, HOLD, SELL = 0, 1, 2
NO_LABEL = -1


@kernel(types.void(FloatOut, types.int64, types.int64, types.float64, types.float64, types.float64, types.float64))
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


@kernel(types.void(FloatMatrix, FloatVector, IntVector, IntVector, IntVector, IntVector, FloatMatrix, IntVector, FeatureMatrix))
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


@kernel(types.void(FeatureMatrix, types.int64, types.int64))
def fill_lags(matrix, width, lags):  # type: ignore[no-untyped-def]
    """Copy columns [0, width) of the row k bars back into columns [k·width, (k+1)·width), k = 1…lags; NaN at the beginning."""
    for row in range(matrix.shape[0]):
        for k in range(1, lags + 1):
            for column in range(width):
                matrix[row, k * width + column] = matrix[row - k, column] if row >= k else np.nan


@kernel(types.void(FeatureMatrix, FlagsOut))
def complete_rows(matrix, complete):  # type: ignore[no-untyped-def]
    """complete (n,): whether every feature of the row is a finite number."""
    for row in range(matrix.shape[0]):
        whole = True
        for column in range(matrix.shape[1]):
            if not math.isfinite(matrix[row, column]):
                whole = False
        complete[row] = whole


@kernel(types.int64(FeatureMatrix, Flags))
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


@kernel(types.void(IntVector, types.int64, IntVector, types.int64, types.int64, IntOut))
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


@kernel(types.int64(IntVector, FloatMatrix, types.int64, types.int64, IntOut, types.Array(types.float64, 2, "C")))
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


@kernel(types.void(FloatVector, types.int64, types.float64, types.int64, IntOut))
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


@kernel(types.int64(FloatVector, FloatVector, IntOut, IntOut))
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


@kernel(types.void(FloatVector, FloatVector, FloatVector, FloatVector, types.float64, types.float64, types.int64, IntOut, IntOut))
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
