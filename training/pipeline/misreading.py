"""New bars that are stored ones read otherwise: on another price scale or another clock → a sentence that says which.

Such bars must not be merged, with or without the leave to replace: half of the series would be in other prices, or
every bar there twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.core.findings import counted
from training.pipeline.frames import bar_times, bar_values, time_text
from training.pipeline.spacing import length_text
from training.store.coverage import DataError
from training.store.origins import Origin

#: Prices that differ by a factor differ by it everywhere, but for what rounding does.
ROUNDING = 0.005
#: From one bar to the next one prices do not move by more than this factor.
NEXT_BAR = 2.0
#: Neighbours say nothing of each other if so many of their own durations lie between them.
NEAR_BARS = 30
#: Without having been told a scale, a jump of ten between neighbours may be a split.
LEAST_JUMP = 100
#: So many of the new bars are looked for at other times, and so many must be found to be no chance.
SAMPLE, LEAST_FOUND = 2_000, 10
FOUND = 0.3
_HOUR = 3_600_000_000
_ZONES = (*range(1, 15), 3.5, 4.5, 5.5, 5.75, 6.5, 9.5, 10.5, 24)


@dataclass(frozen=True)
class _Prices:
    """times µs (n,); values: open, high, low and close, float64 (4, n)."""

    times: NDArray[np.int64]
    values: NDArray[np.float64]


def _prices_of(bars: pd.DataFrame) -> _Prices:
    return _Prices(bar_times(bars), bar_values(bars)[:4])


def refuse_misread(stored: pd.DataFrame, new: pd.DataFrame, timeframe: str, before: Origin, now: Origin, replace: bool) -> None:
    """DataError if the new bars are the stored ones on another scale or clock; before, now: how either was read.

    To replace every stored bar by one of another scale is what `replace` is for.
    """
    old, fresh = _prices_of(stored), _prices_of(new)
    if not len(old.times) or not len(fresh.times):
        return
    place = np.minimum(np.searchsorted(old.times, fresh.times), len(old.times) - 1)
    known = old.times[place] == fresh.times
    if not (replace and np.count_nonzero(known) == len(old.times)):
        _refuse_scale(_factor_of_same(old.values[:, place[known]], fresh.values[:, known]), before, now)
        if not known.any():
            _refuse_scale(_factor_of_neighbours(old, fresh, timeframe, before, now), before, now)
    _refuse_clock(old, fresh, timeframe, before)


# --- the scale ---------------------------------------------------------------------------------


def _factor_of_same(values: NDArray[np.float64], new_values: NDArray[np.float64]) -> float:
    """The power of ten by which the new prices of the same times are larger, 1 if they are not."""
    both = np.isfinite(values) & np.isfinite(new_values)
    if not both.any():
        return 1.0
    ratios = new_values[both] / values[both]
    power = _power_near(float(np.median(ratios)), 1 + ROUNDING)
    return power if np.mean(np.abs(ratios / power - 1) <= ROUNDING) >= 0.9 else 1.0


def _factor_of_neighbours(old: _Prices, fresh: _Prices, timeframe: str, before: Origin, now: Origin) -> float:
    """The same, from where a new bar stands beside a stored one; the jump must be a hundredfold, or that of the scales."""
    all_times = np.concatenate([old.times, fresh.times])
    closes = np.concatenate([old.values[3], fresh.values[3]])
    is_new = np.arange(len(all_times)) >= len(old.times)
    order = np.argsort(all_times, kind="stable")
    all_times, closes, is_new = all_times[order], closes[order], is_new[order]
    near = np.diff(all_times) <= NEAR_BARS * TIMEFRAMES[timeframe] * 1_000_000
    edges = np.flatnonzero((is_new[1:] != is_new[:-1]) & near & np.isfinite(closes[1:]) & np.isfinite(closes[:-1]))
    if not len(edges):
        return 1.0
    later = closes[edges + 1] / closes[edges]
    ratio = float(np.median(np.where(is_new[edges + 1], later, 1 / later)))
    told = before.price_scale / now.price_scale
    if told != 1 and 1 / NEXT_BAR <= ratio / told <= NEXT_BAR:
        return told
    power = _power_near(ratio, NEXT_BAR)
    return power if max(power, 1 / power) >= LEAST_JUMP else 1.0


def _power_near(ratio: float, tolerance: float) -> float:
    """The power of ten that is near a ratio, 1 if none is."""
    if not 0 < ratio < np.inf:
        return 1.0
    power = float(10.0 ** round(np.log10(ratio)))
    return power if 1 / tolerance <= ratio / power <= tolerance else 1.0


def _refuse_scale(factor: float, before: Origin, now: Origin) -> None:
    if factor == 1:
        return
    many = f"{factor:,.0f} times" if factor > 1 else f"1/{1 / factor:,.0f} of"
    scale = now.price_scale * factor
    last = ", as last time" if np.isclose(scale, before.price_scale) else ""
    if np.isclose(scale, 1):
        advice = f"leave --price-scale out{last}"
    elif scale > 1:
        advice = f"give --price-scale {scale:.12g}{last}"
    else:
        advice = f"the stored ones want --price-scale {1 / scale:.12g}: delete the series and load it anew"
    wrong = "" if last or scale < 0.999 else "; if the stored ones are wrong, delete the series and load it anew"
    raise DataError(f"the new prices are {many} the stored ones: {advice}{wrong}")


# --- the clock ---------------------------------------------------------------------------------


def _refuse_clock(old: _Prices, fresh: _Prices, timeframe: str, before: Origin) -> None:
    """DataError if many of the new bars are stored with the very same prices some hours, or one bar, earlier or later."""
    some = np.unique(np.linspace(0, len(fresh.times) - 1, min(SAMPLE, len(fresh.times))).astype(np.int64))
    asked, prices = fresh.times[some], fresh.values[:, some]

    def found(shift: int) -> int:
        place = np.minimum(np.searchsorted(old.times, asked - shift), len(old.times) - 1)
        same = (old.times[place] == asked - shift) & (old.values[:, place] == prices).all(axis=0)
        number = int(np.count_nonzero(same))
        return number if 2 * np.unique(prices[:, same], axis=1).shape[1] >= number else 0  # prices that stand still prove nothing

    step = TIMEFRAMES[timeframe] * 1_000_000
    lengths = {step, *(int(hours * _HOUR) for hours in _ZONES)}
    counts = {sign * length: found(sign * length) for length in sorted(lengths) for sign in (1, -1)}
    shift = max(counts, key=counts.__getitem__)
    if counts[shift] < max(LEAST_FOUND, FOUND * len(some)) or found(0) * 2 > counts[shift]:
        return
    way = "later" if shift > 0 else "earlier"
    if abs(shift) == step and (step < _HOUR or step % (24 * _HOUR) == 0):
        why = "as if one file stamped bars with their open and the other with their close"
    else:
        why = "the times were read in another zone" + (f", last time it was --tz {before.tz}" if before.tz else "")
    raise DataError(
        f"the new bars are the stored ones {length_text(abs(shift))} {way}, such as that of {time_text(int(asked[0]))} "
        f"({counted(counts[shift], 'bar')} of {len(some):,} with the same prices): {why}; if the stored ones are wrong, delete "
        "the series and load it anew"
    )
