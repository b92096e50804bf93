"""How many stored bars lie inside a run's dates, before it is started: pyarrow and numpy only, so that the web process may ask.

A range inside what is stored may still hold nothing (a weekend, a hole, the days after the last bar). The
counts are upper bounds: whatever is refused here would be refused on a worker, and nothing that could be trained is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strategies_app.grammar.schema import StrategySpec
from training.core.findings import Finding, refused
from training.store.candles import series_path, stored_times
from training.store.coverage import (  # fmt: skip
    DAY,
    MINIMUM_ROWS,
    DataError,
    Ranges,
    bucket_start,
    day_start,
    duration,
    few_bars,
    nothing_inside,
    resolve_dates,
    source_of,
)

#: Symbol → stored timeframe → number of bars.
Rows = Mapping[str, Mapping[str, int]]
#: So many files are opened for one start. Of more symbols, those that their ranges do not settle are counted by the worker.
MOST_FILES = 300


def check_bars(spec: StrategySpec, root: Path, ranges: Ranges, rows: Rows) -> None:
    """DataError if a series of the run has no bars inside the dates, or a symbol fewer than can be trained on."""
    against = list(_against(spec, root, ranges, rows))
    if against:
        raise DataError(against[0].sentence if len(against) == 1 else refused(against), against)


def _against(spec: StrategySpec, root: Path, ranges: Ranges, rows: Rows) -> Iterator[Finding]:
    first_day, last_day = resolve_dates(spec, ranges)
    start, end = day_start(first_day), day_start(last_day) + DAY
    files = 0
    for symbol in spec.symbols:
        for timeframe in spec.timeframes:
            source = source_of(ranges, symbol, timeframe, start, end)
            first, last = ranges[symbol][source]
            is_base = timeframe == spec.base_timeframe
            # On the first days of a higher timeframe's bucket its bar of before is the one that is known.
            since = start if is_base else bucket_start(start, timeframe) - duration(timeframe)
            until = bucket_start(end, timeframe)
            wanted = MINIMUM_ROWS if is_base else 1
            known = _at_least(rows.get(symbol, {}).get(source, 0), first, last, since, until, duration(source))
            if known * duration(source) // duration(timeframe) >= wanted:
                continue
            if (files := files + 1) > MOST_FILES:
                return
            if not series_path(root, symbol, source).exists():
                continue  # whether it can be read is for the worker to say
            opens = _buckets(stored_times(root, symbol, source, bucket_start(since, timeframe), until), timeframe)
            count = int(np.count_nonzero(opens >= since))
            if not count:
                yield nothing_inside(symbol, source, first, last, start, end)
                break
            if count < wanted:
                yield few_bars(symbol, timeframe, count, int(opens[opens >= since][0]), start, end)
                break


def _at_least(rows: int, first: int, last: int, since: int, until: int, step: int) -> int:
    """Bars in [since, until) at least: all that are stored but for as many as can lie outside."""
    outside = max(0, since - first) // step + 1 + max(0, last + step - until) // step + 1
    return rows - outside if (since > first or until <= last) else rows


def _buckets(times: NDArray[np.int64], timeframe: str) -> NDArray[np.int64]:
    """The opens of the timeframe's bars that these bars fall into."""
    origin, step = bucket_start(0, timeframe), duration(timeframe)
    return np.unique((times - origin) // step * step + origin)
