"""A preview: strategy text and a symbol → what the pipeline makes of its last bars, JSON-ready; nothing is trained or stored.

Every value is the pipeline's own. Shares and histograms are over all bars looked at, candles
are the last of them, and whatever is left out is said in `notes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings

from strategies_app.grammar.reader import read_strategy, warnings_of
from strategies_app.grammar.schema import FuzzySet, RawInput, StrategySpec, feature_names, output_of
from strategies_app.grammar.vocabulary import PRICE_COLUMNS, TIMEFRAMES
from training.core.values import Refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from training.pipeline.loading import RunBars

#: Base bars that are looked at if not told otherwise, and at most.
BARS, MOST_BARS = 2_000, 20_000
#: More candles than these are no candles to the eye; more outputs, sets and names than these are read by nobody.
MOST_CANDLES, MOST_OUTPUTS, MOST_SETS, MOST_NAMES = 250, 40, 40, 1_000
#: Points of a curve, and bars of a histogram.
POINTS, BINS = 161, 48
#: Below this degree a membership says next to nothing.
FAINT = 0.05


class PreviewError(Refusal):
    """What was asked for cannot be shown, in one sentence."""


@dataclass(frozen=True)
class _Shown:
    """One timeframe's bars inside the preview, and the warm-up before them."""

    times: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]
    first: int

    def inside(self, values: NDArray[Any]) -> NDArray[Any]:
        return values[self.first :]


def preview(text: str, symbol: str, timeframe: str | None = None, bars: int = BARS) -> dict[str, Any]:
    """Candles and indicator outputs per timeframe, fuzzy sets over the values they meet, labels, features, notes.

    Looks at the last `bars` base bars of the symbol in the strategy's dates, or, with a timeframe, on that one alone.
    Raises StrategyError, DataError, PreviewError.
    """
    if not 1 <= bars <= MOST_BARS:
        raise PreviewError(f"a preview looks at 1 to {MOST_BARS:,} bars, seen {bars:,}")
    chosen = {"symbols": [symbol]} | ({"timeframes": [timeframe]} if timeframe else {})
    spec = read_strategy(text, **chosen)  # type: ignore[arg-type]
    run, notes = _last_bars(text, spec, chosen, bars)
    shown = {t: _shown(run, symbol, t, _begin(run, symbol, spec, bars)) for t in spec.timeframes}
    outputs = _outputs(spec, shown, notes)
    sets = _fuzzy_sets(spec, shown, outputs, notes)
    names = feature_names(spec)
    base = shown[spec.base_timeframe]
    return {
        "name": spec.name,
        "symbol": symbol,
        "base_timeframe": spec.base_timeframe,
        "bars": len(base.times) - base.first,
        "from": _iso(base.times[base.first]),
        "to": _iso(base.times[-1]),
        "series": {t: _series(shown[t], outputs[t], spec, notes) for t in spec.timeframes},
        "fuzzy_sets": sets,
        "labels": _labels(spec, base),
        "features": names[:MOST_NAMES],
        "feature_count": len(names),
        "notes": list(dict.fromkeys([*notes, *run.notes, *warnings_of(spec)])),
    }


# --- which bars --------------------------------------------------------------------------------


def _last_bars(text: str, spec: StrategySpec, chosen: dict[str, Any], bars: int) -> tuple[RunBars, list[str]]:
    """The bars of a run over the last days that hold so many base bars; the same reading, warm-up and checks as in training."""
    from training.pipeline.loading import load_bars, stored_ranges
    from training.store.candles import read_candles
    from training.store.coverage import DAY, day_of, day_start, resolve_dates, source_of

    root = Path(settings.STORE_DIR)
    ranges = stored_ranges(root, spec.symbols)
    start, end = resolve_dates(spec, ranges)
    symbol, base = spec.symbols[0], spec.base_timeframe
    source = source_of(ranges, symbol, base, day_start(start), day_start(end) + DAY)
    count = bars * (TIMEFRAMES[base] // TIMEFRAMES[source])
    times, _ = read_candles(root, symbol, source, day_start(start), day_start(end) + DAY, count + 1)
    if len(times) <= count:
        return load_bars(spec, root), []
    first = day_of(int(times[1]))
    note = f"these are the last {bars:,} {base} bars of {start} to {end}; a training sees all of them"
    return load_bars(read_strategy(text, **chosen, start=max(first, start), end=end), root), [note]


def _begin(run: RunBars, symbol: str, spec: StrategySpec, bars: int) -> int:
    """Open (µs) of the first base bar that is shown: days hold many bars, and only the last `bars` are wanted."""
    from training.pipeline.frames import bar_times

    times = bar_times(run.frames[symbol][spec.base_timeframe])
    inside = times[times >= run.start]
    if len(inside) == 0:
        raise PreviewError(f"no {spec.base_timeframe} bar of {symbol} in the last days is whole; load its bars again")
    return int(inside[-bars:][0])


def _shown(run: RunBars, symbol: str, timeframe: str, begin: int) -> _Shown:
    """The bars of a timeframe from the one on that holds `begin`."""
    import numpy as np

    from training.pipeline.features import bar_columns
    from training.pipeline.frames import bar_times
    from training.store.coverage import duration

    frame = run.frames[symbol][timeframe]
    times = bar_times(frame)
    first = int(np.searchsorted(times, begin - duration(timeframe), side="right"))
    return _Shown(times, bar_columns(frame), min(first, len(times) - 1))


# --- indicators --------------------------------------------------------------------------------


def _outputs(spec: StrategySpec, shown: Mapping[str, _Shown], notes: list[str]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Timeframe → `id.output` → values over all its bars. What no input uses yet is computed on the base timeframe."""
    import numpy as np

    from training.pipeline.indicators import compute
    from training.pipeline.loading import used_indicators

    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    used = {t: used_indicators(spec, t) for t in spec.timeframes}
    unused = [i for i in spec.indicators if not any(i in ids for ids in used.values())]
    for timeframe, bars in shown.items():
        found[timeframe] = {}
        for identifier in [*used[timeframe], *(unused if timeframe == spec.base_timeframe else ())]:
            indicator = spec.indicators[identifier]
            if identifier in unused and "volume" in indicator.kind.columns and np.isnan(bars.columns["volume"]).any():
                notes.append(f"{identifier} is not drawn: some bars have no volume, and no input uses it")
                continue
            values = compute(indicator.kind.name, indicator.parameters, bars.columns)
            found[timeframe] |= {f"{identifier}.{output}": array for output, array in values.items()}
    return found


def _series(shown: _Shown, outputs: Mapping[str, NDArray[np.float64]], spec: StrategySpec, notes: list[str]) -> dict[str, Any]:
    """The last candles and outputs, as they are drawn."""
    count = len(shown.times) - shown.first
    if len(outputs) > MOST_OUTPUTS:
        notes.append(f"{len(outputs)} indicator outputs, the first {MOST_OUTPUTS} are drawn")
    drawn = slice(-min(count, MOST_CANDLES), None)
    return {
        "bars": count,
        "times": [_iso(time) for time in shown.times[drawn]],
        **{name: _numbers(shown.columns[name][drawn]) for name in PRICE_COLUMNS},
        "outputs": [
            {"name": name, "kind": spec.indicators[name.partition(".")[0]].kind.name, "values": _numbers(values[drawn])}
            for name, values in list(outputs.items())[:MOST_OUTPUTS]
        ],
    }


# --- fuzzy sets --------------------------------------------------------------------------------


def _fuzzy_sets(
    spec: StrategySpec, shown: Mapping[str, _Shown], outputs: Mapping[str, Mapping[str, NDArray[np.float64]]], notes: list[str]
) -> list[dict[str, Any]]:
    from training.pipeline.features import transform

    places = [(name, timeframe) for name in spec.fuzzy_sets for timeframe in _timeframes_of(spec, name)]
    if len(places) > MOST_SETS:
        notes.append(f"{len(places)} fuzzy sets and timeframes, the first {MOST_SETS} are drawn")
    found = []
    for name, timeframe in places[:MOST_SETS]:
        fuzzy_set, bars = spec.fuzzy_sets[name], shown[timeframe]
        reference = ".".join(output_of(fuzzy_set.indicator, spec.indicators))
        if reference not in outputs[timeframe]:
            continue
        kind = fuzzy_set.input_transform.type
        values = bars.inside(transform(outputs[timeframe][reference], bars.columns["close"], kind))
        found.append({"name": name, "timeframe": timeframe, "indicator": reference, "transform": kind} | _set(fuzzy_set, values))
    return found


def _timeframes_of(spec: StrategySpec, name: str) -> list[str]:
    """Where inputs use a fuzzy set, in the strategy's order; the base timeframe if none does yet."""
    used = {
        timeframe
        for entry in spec.nn_inputs
        if not isinstance(entry, RawInput) and entry.fuzzy_set == name
        for timeframe in spec.input_timeframes(entry)
    }
    return [t for t in spec.timeframes if t in used] or [spec.base_timeframe]


def _set(fuzzy_set: FuzzySet, values: NDArray[np.float64]) -> dict[str, Any]:
    """Curves over the histogram of real values (n,), and the share of bars on which no membership fires."""
    import numpy as np

    from training.pipeline.features import degrees

    known = values[~np.isnan(values)]
    low, high = _view(fuzzy_set, known)
    corners = [p for m in fuzzy_set.memberships.values() if m.type in ("triangular", "trapezoidal") for p in m.parameters]
    x = np.unique(np.concatenate([np.linspace(low, high, POINTS), [p for p in corners if low <= p <= high]]))
    counts, edges = np.histogram(known[(known >= low) & (known <= high)], bins=BINS, range=(low, high))
    strongest = np.max([degrees(m, known) for m in fuzzy_set.memberships.values()], axis=0)
    count = len(known)
    return {
        "x": _numbers(x),
        "memberships": [
            {"name": name, "type": m.type, "degrees": _numbers(degrees(m, x))} for name, m in fuzzy_set.memberships.items()
        ],
        "histogram": {"edges": _numbers(edges), "counts": counts.tolist()},
        "values": count,
        "outside": int(count - counts.sum()),
        "silent_share": float(np.mean(strongest == 0)) if count else None,
        "faint_share": float(np.mean(strongest < FAINT)) if count else None,
    }


def _view(fuzzy_set: FuzzySet, known: NDArray[np.float64]) -> tuple[float, float]:
    """What is drawn of x: all but the rarest values, and those points of the memberships that lie near them."""
    import numpy as np

    points = np.array([p for m in fuzzy_set.memberships.values() for p in _marks(m.type, m.parameters) if np.isfinite(p)])
    if len(known) == 0:
        low, high = (float(points.min()), float(points.max())) if len(points) else (0.0, 1.0)
    else:
        low, high = (float(value) for value in np.percentile(known, [0.1, 99.9]))
        reach = 3 * (high - low) or max(abs(low), 1.0)
        near = points[(points >= low - reach) & (points <= high + reach)]
        low, high = float(min([low, *near])), float(max([high, *near]))
    margin = 0.02 * (high - low) or max(abs(low), 1.0) * 0.02
    return low - margin, high + margin


def _marks(kind: str, parameters: list[float]) -> list[float]:
    """Where a membership's curve has its shape: its corners, or as far as three widths from its centre."""
    if kind in ("triangular", "trapezoidal"):
        return parameters
    centre, width = parameters
    return [centre - 3 * abs(width), centre + 3 * abs(width)]


# --- labels ------------------------------------------------------------------------------------


def _labels(spec: StrategySpec, base: _Shown) -> dict[str, Any]:
    """Class shares of the labelled base bars shown (if only events are kept, of those), the longest look-ahead in bars,
    and where each class stands among the candles drawn."""
    import numpy as np

    from training.pipeline.labels import compute_labels

    column = compute_labels(spec, base.columns)
    values, ends = base.inside(column.values), base.inside(column.ends)
    kept = ends >= 0 if column.events is None else (ends >= 0) & base.inside(column.events)
    labelled = np.flatnonzero(kept)
    told = {
        "source": spec.training.labels.source,
        "labelled": len(labelled),
        "unlabelled": len(ends) - len(labelled),
        "longest_look_ahead": int((ends[labelled] - base.first - labelled).max()) if len(labelled) else None,
        "classes": [],
    }
    times, first_drawn = base.inside(base.times), len(ends) - MOST_CANDLES
    for number, name in enumerate(spec.class_names):
        rows = labelled[values[labelled] == number]
        told["classes"].append(
            {
                "name": name,
                "count": len(rows),
                "share": len(rows) / len(labelled) if len(labelled) else None,
                "times": [_iso(time) for time in times[rows[rows >= first_drawn]]],
            }
        )
    return told


# --- JSON --------------------------------------------------------------------------------------


def _iso(time: Any) -> str:
    import numpy as np

    return f"{np.datetime64(int(time), 'us').astype('M8[s]')}Z"


def _numbers(values: NDArray[Any]) -> list[float | None]:
    """JSON knows neither NaN nor infinity."""
    import numpy as np

    return [float(value) if np.isfinite(value) else None for value in values]
