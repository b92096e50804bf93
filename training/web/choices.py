"""What the start form offers and shows as stored: strategies, symbols with their series, and how far these cover the dates."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from strategies_app.grammar.reader import StrategyError, read_strategy
from strategies_app.grammar.schema import StrategySpec
from strategies_app.grammar.vocabulary import TIMEFRAMES
from strategies_app.models import Strategy
from strategies_app.starters import samples
from strategies_app.stored import FoundStrategy, UnknownStrategy, stored_strategy
from training.jobs.requests import recorded_rows
from training.models import BarSeries
from training.store.bar_counts import check_bars
from training.store.coverage import (  # fmt: skip
    DAY,
    DataError,
    Ranges,
    check_stored,
    day_of,
    day_start,
    duration,
    refuse_missing,
    resolve_dates,
    source_of,
)

#: So many series are drawn, and so many sentences said on one field.
MOST_LINES, MOST_SENTENCES = 24, 4
#: Where a sample's place is taken: `sample:minimal`, a strategy that starting it will store.
SAMPLE = "sample:"


@dataclass(frozen=True)
class Choice:
    """A strategy in the list; `value` is what the form sends."""

    value: str
    name: str


def choices() -> tuple[list[Choice], list[Choice]]:
    """The stored strategies, and the samples that are not stored yet."""
    names = list(Strategy.objects.filter(versions__isnull=False).distinct().order_by("name").values_list("name", flat=True))
    rest = [name for name in samples() if name not in set(names)]
    return [Choice(name, name) for name in names], [Choice(f"{SAMPLE}{name}", name) for name in rest]


def found(value: str) -> FoundStrategy:
    """The strategy of a choice; UnknownStrategy if there is none. A sample that was stored meanwhile is the stored one."""
    name = value.removeprefix(SAMPLE)
    if name == value:
        return stored_strategy(value)
    sample = samples().get(name)
    if sample is None:
        raise UnknownStrategy(f"there is no sample '{name}'")
    return stored_strategy(name) if Strategy.objects.filter(name=name).exists() else FoundStrategy(sample.text, "", None)


def stored_series() -> dict[str, list[BarSeries]]:
    """Symbol → its series, highest frequency first."""
    order = list(TIMEFRAMES)
    series: dict[str, list[BarSeries]] = {}
    for row in BarSeries.objects.order_by("symbol").only("symbol", "timeframe", "first", "last", "rows"):
        series.setdefault(row.symbol, []).append(row)
    return {symbol: sorted(rows, key=lambda row: order.index(row.timeframe)) for symbol, rows in series.items()}


def ranges_of(series: dict[str, list[BarSeries]]) -> Ranges:
    """What is stored as coverage takes it, in µs."""
    return {
        symbol: {row.timeframe: (round(row.first.timestamp() * 1e6), round(row.last.timestamp() * 1e6)) for row in rows}
        for symbol, rows in series.items()
    }


# --- what is wrong with a choice ---------------------------------------------------------------

_FIELD = {
    "--symbols": "symbols", "--timeframes": "timeframes", "--start": "start", "--end": "end",
    "--validation-split": "validation_split",
}  # fmt: skip


def problems_of(text: str, options: dict[str, Any], ranges: Ranges) -> tuple[StrategySpec | None, dict[str, list[str]]]:
    """The strategy as it would be trained, or field → sentences on what is in the way; "" is the strategy itself."""
    try:
        spec = read_strategy(text, **options)
    except StrategyError as error:
        problems: dict[str, list[str]] = {}
        for problem in error.problems:
            field = _FIELD.get(problem.path.partition(",")[0], "")
            problems.setdefault(field, []).append(problem.message if field else str(problem))
        return None, _short(problems)
    try:
        refuse_missing(spec, ranges)
    except DataError as error:
        return spec, {"symbols": [str(error)]}
    try:
        start, end = resolve_dates(spec, ranges)
        dated = read_strategy(text, **options | {"start": start, "end": end})
        check_stored(dated, ranges)
        check_bars(dated, Path(settings.STORE_DIR), ranges, recorded_rows())
    except DataError as error:
        return spec, {"start": [str(error)]}
    return spec, {}


def _short(problems: dict[str, list[str]]) -> dict[str, list[str]]:
    return {
        field: said if len(said) <= MOST_SENTENCES else [*said[:MOST_SENTENCES], f"and {len(said) - MOST_SENTENCES} more"]
        for field, said in problems.items()
    }


# --- how far the stored bars cover a choice ----------------------------------------------------


def coverage(spec: StrategySpec, series: dict[str, list[BarSeries]]) -> dict[str, Any]:
    """One line per symbol and timeframe on one axis: where its bars come from, from when to when, and what part of the dates
    they cover. Places and widths are in percent of the axis."""
    ranges = ranges_of(series)
    lines = [_line(ranges, series, symbol, timeframe) for symbol in spec.symbols for timeframe in spec.timeframes]
    known = [line for line in lines if line["first"] is not None]
    if not known:
        return {"lines": lines[:MOST_LINES], "more": max(0, len(lines) - MOST_LINES)}
    start, end = _dates(spec, ranges)
    low = min([line["first"] for line in known] + ([day_start(start)] if start else []))
    high = max([line["until"] for line in known] + ([day_start(end) + DAY] if end else []))
    window = (day_start(start) if start else low, day_start(end) + DAY if end else high)
    for line in known:
        line |= _placed(line["first"], line["until"], low, high)
        inside = max(0, min(line["until"], window[1]) - max(line["first"], window[0]))
        line["covers"] = f"{inside / max(window[1] - window[0], 1):.0%}"
        line["whole"] = inside >= 0.995 * (window[1] - window[0])
    return {
        "lines": lines[:MOST_LINES],
        "more": max(0, len(lines) - MOST_LINES),
        "from": day_of(low),
        "to": day_of(high - 1),
        "window": _placed(*window, low, high),
        "chosen": (day_of(window[0]), day_of(window[1] - 1)),
    }


def _line(ranges: Ranges, series: dict[str, list[BarSeries]], symbol: str, timeframe: str) -> dict[str, Any]:
    line: dict[str, Any] = {"symbol": symbol, "timeframe": timeframe, "first": None}
    try:
        source = source_of(ranges, symbol, timeframe)
    except DataError:
        return line
    first, last = ranges[symbol][source]
    rows = next(row.rows for row in series[symbol] if row.timeframe == source)
    return line | {
        "source": source,
        "resampled": source != timeframe,
        "first": first,
        "until": last + duration(source),
        "days": (day_of(first), day_of(last)),
        "rows": rows,
    }


def _dates(spec: StrategySpec, ranges: Ranges) -> tuple[dt.date | None, dt.date | None]:
    try:
        return resolve_dates(spec, ranges)
    except DataError:
        return spec.training_data.start, spec.training_data.end


def _placed(begin: int, end: int, low: int, high: int) -> dict[str, str]:
    span = max(high - low, 1)
    left, right = (min(max((time - low) / span, 0.0), 1.0) for time in (begin, end))
    return {"left": f"{100 * left:.2f}", "width": f"{100 * max(right - left, 0.004):.2f}"}
