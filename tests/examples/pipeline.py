"""Made-up markets and strategies for the pipeline's tests: seeded, small, with holes; whatever the vocabulary lists is in them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from strategies_app.grammar.schema import AnyIndicator, StrategySpec
from strategies_app.grammar.vocabulary import INDICATORS, MEMBERSHIPS, TIMEFRAMES, IndicatorKind, Parameter
from training.laws.markets import CLOCKS, opens
from training.pipeline.features import bucket_start, duration, resample
from training.pipeline.frames import bar_frame, bar_times, bar_values
from training.pipeline.labels import LABELS
from training.pipeline.loading import RunBars
from training.pipeline.synthetic import make_bars

MONDAY = 1_420_416_000_000_000  # 2015-01-05 00:00 UTC
DAY = 86_400_000_000
Frames = dict[str, pd.DataFrame]

#: Enough to search, little enough for two cores. The same examples on every run.
modest = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
thorough = settings(modest, max_examples=40)

AVAILABLE = sorted(name for name, kind in INDICATORS.items() if kind.available)
PAIRS = [(base, higher) for base in TIMEFRAMES for higher in TIMEFRAMES if TIMEFRAMES[base] < TIMEFRAMES[higher]]

#: Label sections worth trying, by source; a source without an entry is tried with its defaults.
_LABELS: dict[str, list[dict[str, Any]]] = {
    "zigzag": [
        {"zigzag_threshold": 0.004, "label_lookahead": 7, "min_swing_length": 2},
        {"zigzag_threshold": 0.004, "mode": "segments"},
    ],
    "forward_return": [{"horizon": 5}],
    "context": [{"horizon": 5, "bullish_threshold": 0.001, "bearish_threshold": -0.002}],
    "triple_barrier": [
        {"max_holding_period": 9, "vol_span": 6},
        {"max_holding_period": 9, "vol_span": 6, "vol_method": "close"},
        {"max_holding_period": 9, "vol_span": 6, "cusum_threshold": 1e-4, "cusum_multiplier": 0.6, "compute_weights": True},
    ],
    "regime": [
        {"macro_atr_mult": 1.5, "micro_atr_mult": 0.4, "atr_period": 4, "vol_lookback": 12, "vol_crisis_threshold": 1.37},
    ],
}
LABEL_SECTIONS = [{"source": source, **extra} for source in LABELS for extra in _LABELS.get(source, [{}])]


def label_id(section: Mapping[str, Any]) -> str:
    words = [str(section[key]) for key in ("source", "mode", "vol_method") if key in section]
    return "-".join([*words, "cusum"] if "cusum_threshold" in section else words)


# --- markets -----------------------------------------------------------------------------------


def prices(count: int, seed: int = 0) -> np.ndarray:
    """float64 (5, count): open, high, low, close, volume of a lively market."""
    return bar_values(make_bars(count, "1d", seed)) if count else np.empty((5, 0))


def plain_market(count: int, timeframe: str, seed: int = 0, start: int = MONDAY) -> pd.DataFrame:
    """Bars without holes."""
    return bar_frame(start + np.arange(count, dtype=np.int64) * duration(timeframe), prices(count, seed))


def market_with_holes(
    base: str, highest: str, seed: int, bars: int = 260, buckets: int = 14, weekends: bool = False
) -> pd.DataFrame:
    """Base bars over several buckets of the highest timeframe: random holes, two whole buckets missing, weekends closed if asked."""
    random = np.random.default_rng(seed)
    first = bucket_start(MONDAY, highest)
    span = max(buckets * duration(highest), bars * duration(base)) // duration(base)
    steps = np.flatnonzero(random.random(span) < min(0.9, bars / span))
    times = first + steps.astype(np.int64) * duration(base)
    gone = random.choice(np.arange(1, buckets), 2, replace=False)
    keep = ~np.isin((times - first) // duration(highest), gone)
    if weekends:
        keep &= (times - MONDAY) // DAY % 7 < 5
    return bar_frame(times[keep], prices(int(keep.sum()), seed))


def stored_higher(base: pd.DataFrame, timeframe: str, seed: int) -> pd.DataFrame:
    """Bars of a higher timeframe stored by themselves: some buckets of the span lack one, prices are their own."""
    random = np.random.default_rng(seed + 1)
    times = bar_times(base)
    grid = np.arange(bucket_start(int(times[0]), timeframe), int(times[-1]) + 1, duration(timeframe), dtype=np.int64)
    grid = grid[random.random(len(grid)) < 0.8]
    return bar_frame(grid, prices(len(grid), seed + 2))


def market_on_clock(clock: str, pair: tuple[str, str], seed: int, days: int = 40, holes: float = 0.0) -> Frames:
    """Base bars and stored higher bars on one of the laws' clocks, over the end of summer time in the north; that share of the
    base bars is missing, and twice that share of the higher ones."""
    random = np.random.default_rng(seed)
    frames = {}
    for timeframe, share in zip(pair, (holes, 2 * holes), strict=True):
        times = opens(CLOCKS[clock], timeframe, dt.date(2022, 10, 10), days)
        times = times[random.random(len(times)) >= share]
        frames[timeframe] = bar_frame(times, prices(len(times), seed + TIMEFRAMES[timeframe]))
    return frames


def reference_positions(base_times: np.ndarray, base: str, times: np.ndarray, timeframe: str) -> np.ndarray:
    """The join's own words, bar by bar: slow, and sharing nothing with the kernel."""
    found = []
    for row, opened in enumerate(base_times):
        now = int(opened) + duration(base)
        known = [int(t) for t in times if int(t) + duration(timeframe) <= now]
        if not known:
            found.append(-1)
            continue
        on_grid = all(bucket_start(t, timeframe) == t for t in known)
        since = [int(b) for b in base_times[: row + 1] if b >= known[-1] + duration(timeframe)]
        over = [(bucket_start(b, timeframe) if on_grid else b) + duration(timeframe) for b in since]
        found.append(-1 if any(end <= now for end in over) else len(known) - 1)
    return np.array(found, dtype=np.int64)


def with_higher(base: pd.DataFrame, timeframes: Sequence[str], stored: bool, seed: int) -> Frames:
    """Frames of all timeframes (the first is the base), the higher ones stored by themselves or resampled."""
    higher = {t: stored_higher(base, t, seed) if stored else resample(base, t) for t in timeframes[1:]}
    return {timeframes[0]: base, **higher}


def run_bars(spec: StrategySpec, frames: Mapping[str, Frames], start: int | None = None, end: int | None = None) -> RunBars:
    """Frames as the loading step would hand them on; the dates are the bars' own unless given."""
    base = {symbol: bar_times(frames[symbol][spec.base_timeframe]) for symbol in spec.symbols}
    start = min(int(t[0]) for t in base.values()) if start is None else start
    end = max(int(t[-1]) for t in base.values()) + duration(spec.base_timeframe) if end is None else end
    clock = {symbol: times[times >= start] for symbol, times in base.items()}
    return RunBars({s: frames[s] for s in spec.symbols}, start, end, clock, {}, {}, {})


def until(frame: pd.DataFrame, timeframe: str, now: int) -> np.ndarray:
    """Which bars are known at `now`."""
    return bar_times(frame) + duration(timeframe) <= now


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal in every bit, NaN included."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# --- strategies --------------------------------------------------------------------------------


def parameter_values(parameter: Parameter, longest: int) -> st.SearchStrategy[Any]:
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    low, high = parameter.low or 0, parameter.high or 0
    if parameter.kind is int:
        return st.integers(int(low), max(int(low) + 2, min(int(high), longest)))
    return st.floats(low, high)


#: Made once: it takes longer than most checks by it.
_INDICATOR: TypeAdapter[Any] = TypeAdapter(AnyIndicator)


def valid_indicator(definition: Mapping[str, Any]) -> bool:
    try:
        _INDICATOR.validate_python(dict(definition))
    except ValidationError:
        return False
    return True


def definitions(kind: IndicatorKind, longest: int = 25) -> st.SearchStrategy[dict[str, Any]]:
    """Definitions of one kind with random parameters inside their bounds."""
    values = {p.name: parameter_values(p, longest) for p in kind.parameters}
    return st.fixed_dictionaries({"type": st.just(kind.name), **values}).filter(valid_indicator)


def short_definition(kind: IndicatorKind) -> dict[str, Any]:
    """The kind with periods of a few bars, so that a dozen bars are enough."""
    numbers = [p for p in kind.parameters if p.kind is int]
    return {"type": kind.name, **{p.name: min(int(p.low or 0) + 1 + i, int(p.high or 0)) for i, p in enumerate(numbers)}}


def membership_points(name: str) -> st.SearchStrategy[list[float]]:
    """Rising positive points, which every kind of membership accepts."""
    count = len(MEMBERSHIPS[name].points)
    return st.lists(st.floats(0.01, 100), min_size=count, max_size=count, unique=True).map(sorted)


def some_memberships() -> dict[str, dict[str, Any]]:
    return {
        name: {"type": name, "parameters": [10.0, 30.0, 60.0, 95.0][: len(kind.points)]} for name, kind in MEMBERSHIPS.items()
    }


def strategy(
    indicators: Mapping[str, Mapping[str, Any]],
    timeframes: Sequence[str] = ("1h",),
    symbols: Sequence[str] = ("AAA",),
    labels: Mapping[str, Any] | None = None,
    lags: int = 0,
    inputs: list[dict[str, Any]] | None = None,
    fuzzy_sets: Mapping[str, Any] | None = None,
    window: int = 1,
    **training_data: Any,
) -> StrategySpec:
    """A strategy; without inputs every output of every indicator is one, raw, and through every kind of membership."""
    sets: dict[str, Any] = dict(fuzzy_sets or {})
    if inputs is None:
        inputs = []
        for identifier, definition in indicators.items():
            for output in INDICATORS[definition["type"]].outputs:
                reference = f"{identifier}.{output}"
                sets[f"{identifier}_{output}"] = {"indicator": reference, **some_memberships()}
                inputs += [{"raw_indicator": reference, "normalization": "none"}, {"fuzzy_set": f"{identifier}_{output}"}]
    model = {"type": "mlp"} if window == 1 else {"type": "lstm", "architecture": {"sequence_length": window}}
    return StrategySpec.model_validate(
        {
            "name": "example",
            "training_data": {
                "symbols": {"mode": "multi_symbol", "list": list(symbols)},
                "timeframes": {"mode": "multi_timeframe", "list": list(timeframes)},
                **training_data,
            },
            "indicators": dict(indicators),
            "fuzzy_sets": sets,
            "nn_inputs": inputs,
            "model": {"features": {"lookback_periods": lags}, **model},
            "training": {"labels": dict(labels or {"source": "forward_return", "horizon": 3})},
        }
    )


def whole_vocabulary(timeframes: Sequence[str] = ("1h",), **options: Any) -> StrategySpec:
    """Every available indicator with short periods."""
    return strategy({name: short_definition(INDICATORS[name]) for name in AVAILABLE}, timeframes, **options)
