"""Stored bars in the browser: what is there on one time axis, and each series with its findings, gaps and candles."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Max, Min, Q, Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render

from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.access.audit import audit
from training.core.values import Refusal
from training.jobs.deletions import delete_series, resumable_readers, why_kept
from training.jobs.downloads import TYPES, series_response
from training.models import BarSeries
from training.results.figures_bars import Axis, candle_figure, coverage_strip, moment
from training.store.coverage import DataError
from training.templatetags.words import sentence
from training.web.page import actor_of, page, searched, without_page

PER_PAGE = 200
#: Source of the bars that come with the program.
SAMPLE = "sample bars"
#: Bars that the table of a series shows of each end, and gaps that are listed.
ENDS, MOST_GAPS = 5, 20
#: What the buttons below the candles show, as long as the series is longer.
SPANS = (("1 day", 1), ("1 week", 7), ("1 month", 31), ("1 year", 366), ("5 years", 1827))
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@page("training.view_barseries")
def data(request: HttpRequest) -> HttpResponse:
    """Every stored series as a line with its coverage; the axis is the same for all that match."""
    words, timeframe = searched(request), request.GET.get("timeframe", "")
    rows = BarSeries.objects.all()
    rows = rows.filter(Q(symbol__icontains=words) | Q(source__icontains=words)) if words else rows
    rows = rows.filter(timeframe=timeframe) if timeframe in TIMEFRAMES else rows
    reach = rows.aggregate(first=Min("first"), last=Max("last"), bars=Sum("rows"), symbols=Count("symbol", distinct=True))
    found = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    axis = Axis(reach["first"], reach["last"]) if reach["first"] else None
    context = {
        "lines": [_line(series, axis) for series in found] if axis else [],
        "found": found, "reach": reach, "ticks": axis.ticks() if axis else [], "words": words, "timeframe": timeframe,
        "timeframes": list(TIMEFRAMES), "any": bool(found.paginator.count) or BarSeries.objects.exists(),
        "kept": without_page(request), "has_sample": BarSeries.objects.filter(source=SAMPLE).exists(),
    }  # fmt: skip
    return render(request, "site/data.html", context)


def _line(series: BarSeries, axis: Axis) -> dict[str, Any]:
    return {
        "series": series,
        "strip": coverage_strip(axis, series.first, series.last, holes_of(series)),
        "findings": warnings_of(series),
    }


def holes_of(series: BarSeries) -> list[dict[str, Any]]:
    """The longest gaps; a series that was recorded by an older version has none listed."""
    return list(series.quality.get("holes") or [])


def warnings_of(series: BarSeries) -> list[str]:
    return list(series.quality.get("warnings") or [])


def series_or_404(symbol: str, timeframe: str) -> BarSeries:
    series = BarSeries.objects.filter(symbol=symbol, timeframe=timeframe).first()
    if series is None:
        raise Http404(f"No {timeframe} bars of {symbol} are stored.")
    return series


@page("training.view_barseries")
def series(request: HttpRequest, symbol: str, timeframe: str) -> HttpResponse:
    """One series: what was found odd, its gaps, its candles, its first and last bars."""
    shown = series_or_404(symbol, timeframe)
    axis = Axis(shown.first, shown.last)
    holes = sorted(holes_of(shown), key=lambda hole: -hole["bars"])[:MOST_GAPS]
    context = {
        "series": shown, "findings": warnings_of(shown), "strip": coverage_strip(axis, shown.first, shown.last, holes_of(shown)),
        "ticks": axis.ticks(), "gaps": shown.quality.get("gaps") or {},
        "holes": [hole | {"after": moment(hole["after"]), "before": moment(hole["before"])} for hole in holes],
        "spans": _spans(shown), "clock": "Y-m-d" if TIMEFRAMES[shown.timeframe] >= 86_400 else "Y-m-d H:i",
        "others": BarSeries.objects.filter(symbol=symbol).exclude(pk=shown.pk),
    }  # fmt: skip
    if request.user.has_perm("training.delete_barseries"):
        context |= {"why_kept": why_kept(symbol, timeframe), "resumable": resumable_readers(symbol, timeframe)}
    try:
        context["ends"] = _ends(shown)
    except DataError as problem:
        context["problem"] = str(problem)
    return render(request, "site/series.html", context)


@page("training.view_barseries")
def download(request: HttpRequest, symbol: str, timeframe: str, kind: str) -> HttpResponseBase:
    """The whole series as a file."""
    shown = series_or_404(symbol, timeframe)
    if kind not in TYPES:
        raise Http404(f"There is no {kind} of a series, wanted {' or '.join(TYPES)}.")
    try:
        answer = series_response(request, shown, kind)
    except DataError as problem:
        messages.error(request, f"There is nothing to download: {problem}.")
        return redirect("site:series", symbol, timeframe)
    audit(actor_of(request), "export", str(shown), kind=kind, sha256=shown.sha256)
    return answer


@page("training.delete_barseries", "POST")
def delete(request: HttpRequest, symbol: str, timeframe: str) -> HttpResponse:
    """Remove a series, which the page has asked about."""
    shown = series_or_404(symbol, timeframe)
    try:
        rows = delete_series(symbol, timeframe, actor_of(request))
    except Refusal as refusal:
        messages.error(request, f"{sentence(str(refusal))} Nothing was deleted.")
        return redirect("site:series", symbol, timeframe)
    messages.success(request, f"{shown} is deleted, {rows:,} bars.")
    return redirect("site:data")


def _spans(series: BarSeries) -> list[dict[str, Any]]:
    """Spans in which this series has at least ten bars, shorter than itself; and all of it."""
    whole, step = (series.last - series.first).total_seconds() / 86_400, TIMEFRAMES[series.timeframe] / 86_400
    spans = [{"word": word, "days": days} for word, days in SPANS if 10 * step <= days < whole]
    return [*spans, {"word": "all", "days": 0}] if spans else []


def _ends(series: BarSeries) -> list[dict[str, Any]]:
    """The first and the last bars, as lines of a table; between them one line that says how many were left out."""
    from training.store.candles import read_candles, read_stored_candles
    from training.store.coverage import duration

    root = Path(settings.STORE_DIR)
    step = duration(series.timeframe)
    last_times, last_values = read_candles(root, series.symbol, series.timeframe, None, None, ENDS)
    begin = round((series.first - EPOCH).total_seconds() * 1e6)
    head = read_stored_candles(root, series.symbol, series.timeframe, begin, begin + 40 * step)
    fresh = [time for time in head.times[:ENDS].tolist() if time not in set(last_times.tolist())]
    lines = [_bar(time, column) for time, column in zip(fresh, head.values.T[: len(fresh)].tolist(), strict=True)]
    left_out = series.rows - len(lines) - len(last_times)
    lines += [{"left_out": left_out}] if left_out > 0 else []
    return lines + [_bar(time, column) for time, column in zip(last_times.tolist(), last_values.T.tolist(), strict=True)]


def _bar(time: int, column: list[float]) -> dict[str, Any]:
    return {"time": EPOCH + dt.timedelta(microseconds=time), "values": [None if value != value else value for value in column]}


@page("training.view_barseries")
def candles(request: HttpRequest, symbol: str, timeframe: str) -> HttpResponse:
    """The figure of a series between `from` and `to` (ISO times or ms since 1970 UTC; no bound if not given)."""
    from training.store.candles import read_stored_candles

    shown = series_or_404(symbol, timeframe)
    try:
        start, end = (_time(request.GET.get(name, "")) for name in ("from", "to"))
    except (ValueError, OverflowError):
        return JsonResponse({"error": "from and to are times such as 2020-01-31"}, status=400)
    try:
        seen = read_stored_candles(Path(settings.STORE_DIR), shown.symbol, shown.timeframe, start, end)
    except DataError as problem:
        return JsonResponse({"error": str(problem)}, status=409)
    answer = candle_figure(seen) | {"length": seen.length, "bars": seen.bars, "candles": len(seen.times)}
    return JsonResponse(answer | {"together": seen.is_taken_together})


def _time(text: str) -> int | None:
    """µs since 1970 UTC."""
    if not text:
        return None
    if text.lstrip("-").replace(".", "", 1).isdigit():
        found = round(float(text) * 1000)
        if abs(found) > 2**60:
            raise OverflowError(text)
        return found
    return round((moment(text) - EPOCH).total_seconds() * 1e6)
