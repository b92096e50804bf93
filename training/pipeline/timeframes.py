"""Time: durations, buckets, resampling, and the one join that brings a higher timeframe to base rows.

All times are int64 µs since 1970-01-01 UTC. A bar is stamped at its open and known at open + duration.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.pipeline import kernels
from training.pipeline.frames import bar_frame, bar_times, bar_values
from training.store.coverage import DAY, SECOND, WEEK_ANCHOR, anchor, bucket_start, duration

__all__ = ["DAY", "SECOND", "WEEK_ANCHOR", "anchor", "bucket_start", "duration", "known_positions", "resample"]


def resample(frame: pd.DataFrame, timeframe: str, source: str | None = None) -> pd.DataFrame:
    """Bars of a lower timeframe gathered into buckets of `timeframe`: left-closed, left-labelled, weeks from Monday.

    source: the timeframe of the bars, if they may stand off its grid. One that reaches over a bucket's end belongs to
    the bucket in which it ends: else the bucket would be known before its last bar is.
    """
    times, bars = bar_times(frame), bar_values(frame)
    bucket_times = np.empty(len(times), dtype=np.int64)
    buckets = np.empty((5, len(times)), dtype=np.float64)
    lasting = duration(source) - 1 if source else 0
    count = kernels.resample(times, bars, duration(timeframe), anchor(timeframe) - lasting, bucket_times, buckets)
    bucket_times += lasting
    return bar_frame(bucket_times[:count].copy(), np.ascontiguousarray(buckets[:, :count]))


def known_positions(
    base_times: NDArray[np.int64], base_timeframe: str, times: NDArray[np.int64], timeframe: str
) -> NDArray[np.int64]:
    """For each base bar the position of the bar of `timeframe` whose value may be used, or −1 (see kernels.known_at)."""
    if timeframe == base_timeframe:
        if len(times) != len(base_times) or not np.array_equal(times, base_times):
            raise ValueError("the base timeframe joins only itself")
        return np.arange(len(base_times), dtype=np.int64)
    positions = np.empty(len(base_times), dtype=np.int64)
    kernels.known_at(base_times, duration(base_timeframe), times, duration(timeframe), anchor(timeframe), positions)
    return positions
