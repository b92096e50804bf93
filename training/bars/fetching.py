"""Fetching a series from a bar source, one page at a time: what is missing → page → store. Never in the web process: pandas.

Each page is stored when it arrives, so that stopping loses nothing and going on begins where the store ends. Only
where prices have changed since they were stored (a split, a dividend) all is fetched beside the store, and takes its
place at once or not at all: a series is never half in old prices and half in new ones.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from django.conf import settings
from django.db import connections
from django.utils import timezone
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import PRICE_COLUMNS, nearest
from training.access.audit import Actor, audit
from training.bars.series import store_frame
from training.core.processes import undisturbed
from training.core.values import Refusal
from training.jobs import homes
from training.jobs.fetches import Fetch, hand_over
from training.models import OPEN, BarFetch, BarSeries, Status
from training.pipeline.bars import locked, merge_bars, read_bars, series_path, write_bars
from training.pipeline.calendars import holes
from training.pipeline.frames import bar_frame, bar_times, bar_values, empty_frame, time_text
from training.pipeline.quality import bar_faults
from training.pipeline.spacing import wrong_timeframe
from training.sources.source import Source, SourceError, Unavailable, WrongRequest
from training.store.coverage import DAY, day_of, duration

#: Seconds between one try and the next; after the last one the fetch gives up. A source may ask for more, up to MOST_PAUSE.
PAUSES = (1, 2, 4, 8, 16, 32)
#: A source that says nothing and has said nothing yet in this fetch is given up sooner: there may be no network at all.
FIRST_PAUSES = (1, 2)
MOST_PAUSE = 120
#: A span without a bar is asked for again while it is younger: bars may come late.
LATE = 7 * DAY
MOST_EMPTY = 500
#: Pages of a fetch that was given up go after so long.
ANEW, ANEW_SECONDS = ".anew", 86_400


def opened(name: str) -> Source:
    """The source of this name, with what this installation has for it."""
    return open_source(name, homes.require("home") / "sources", settings.EXCHANGE_KEYS)


def clock() -> int:
    """Now, µs."""
    return round(time.time() * 1e6)


def rest(seconds: float) -> None:
    """How a command waits."""
    time.sleep(seconds)


def run(fetch: Fetch, source: Source, wait: Callable[[float], None], told: Callable[[Fetch], None]) -> None:
    """All steps, in this process."""
    while not fetch.is_done:
        step(fetch, source)
        told(fetch)
        if fetch.pause:
            wait(fetch.pause)


def step(fetch: Fetch, source: Source, now: int | None = None) -> None:
    """Ask for one page and store it. SourceError where asking again is of no use."""
    now = clock() if now is None else now
    homes.require("bars")
    fetch.pause, fetch.problem = 0.0, ""
    try:
        if fetch.spans is None:
            _begin(fetch, source, now)
        elif fetch.spans:
            _page(fetch, source, now)
        fetch.tries = 0
    except Unavailable as problem:
        fetch.tries += 1
        has_answered = bool(fetch.pages or fetch.in_span or not problem.silent)
        pauses = PAUSES if has_answered else FIRST_PAUSES
        if fetch.tries > len(pauses):
            times = f"asked {fetch.tries} times, with pauses of {sum(pauses)} s"
            helps = "what came is kept, and fetching again goes on from there" if has_answered else "is there a network here?"
            raise SourceError(f"{problem}, {times}; {helps}") from None
        fetch.problem = str(problem)
        fetch.pause = max(PAUSES[fetch.tries - 1], min(problem.seconds, MOST_PAUSE))


# --- beginning ---------------------------------------------------------------------------------


def _begin(fetch: Fetch, source: Source, now: int) -> None:
    series_path(Path(settings.STORE_DIR), fetch.symbol, fetch.timeframe)  # refuses a bad symbol before anybody is asked
    row = _row(fetch)
    if not fetch.market:
        fetch.market = source.market_of(fetch.symbol)
    source.check(fetch.market, fetch.timeframe)
    _sweep(fetch)
    stored = _stored(fetch)
    until = last_whole(fetch.timeframe, now)
    until = min(fetch.until or until, until)
    first = int(bar_times(stored)[0]) if len(stored) else source.earliest(fetch.timeframe, now)
    since = first if fetch.since is None else fetch.since
    reach = source.reach(fetch.timeframe, now)
    if fetch.replace and len(stored):
        return _begin_anew(fetch, source, stored, min(since, first), now)
    empty = row.feed.get("empty", []) if row and _is_own(fetch, row) else []
    found = [_within(span, reach) for span in missing(stored, fetch.timeframe, since, until, empty)]
    spans = [span for span in found if span.core_start < span.core_end]
    if since < reach and any(span.core_start == reach for span in spans):
        fetch.note(f"{source.name} keeps {fetch.timeframe} bars from {day_of(reach)} on only")
    _set(fetch, spans)
    if not spans and not len(stored):
        raise SourceError(_nothing(fetch, max(since, reach), until))
    return None


def _within(span: Span, reach: int) -> Span:
    return Span(max(span.start, reach), span.end, max(span.core_start, reach), span.core_end)


def _begin_anew(fetch: Fetch, source: Source, stored: pd.DataFrame, since: int, now: int) -> None:
    """Everything up to now beside the store; it takes the store's place at the end."""
    until = max(last_whole(fetch.timeframe, now), int(bar_times(stored)[-1]))
    reach = source.reach(fetch.timeframe, now)
    if since < reach:
        raise SourceError(
            f"{fetch.symbol} {fetch.timeframe} is stored from {day_of(since)} on, and {source.name} keeps such bars from "
            f"{day_of(reach)} on only, so it cannot be fetched anew as a whole; fetch it under another symbol"
        )
    shutil.rmtree(_anew_root(fetch), ignore_errors=True)
    fetch.anew, fetch.added = True, 0
    _set(fetch, [Span(since, until, since, until)])


def _set(fetch: Fetch, spans: list[Span]) -> None:
    fetch.spans = [[span.start, span.end, span.core_start, span.core_end] for span in spans]
    fetch.total = sum(span.end - span.start for span in spans)
    fetch.in_span = 0


def _sweep(fetch: Fetch) -> None:
    """What was fetched beside the store and given up goes."""
    for folder in _anew_root(fetch).parent.glob("*"):
        if folder.name == fetch.key or time.time() - folder.stat().st_mtime > ANEW_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


# --- one page ----------------------------------------------------------------------------------


def _page(fetch: Fetch, source: Source, now: int) -> None:
    assert fetch.spans
    start, end, core_start, core_end = fetch.spans[0]
    page = source.page(fetch.market, fetch.timeframe, start, end)
    fetch.pages += 1
    _refuse_other_bars(fetch, page.frame)
    frame, impossible = possible_bars(whole_bars(page.frame, fetch.timeframe, now))
    if impossible:
        fetch.note("some bars were left out, since no bar can have such prices: a high below its low, or none above zero")
    root = _anew_root(fetch) if fetch.anew else Path(settings.STORE_DIR)
    stored = _read(root, fetch)
    if not fetch.anew and (why := disagreement(stored, frame)):
        return _changed(fetch, source, stored, why, now)
    new = only_new(stored, frame)
    fetch.added += len(new)
    fetch.in_span += len(new)
    if len(new):
        _keep(fetch, root, stored, new)
    elif len(frame) and not fetch.anew:
        _remember(fetch)
    if page.until < end:
        fetch.spans[0] = [page.until, end, core_start, core_end]
        return None
    fetch.spans.pop(0)
    if not fetch.in_span and core_end < now - LATE and not fetch.anew:
        _remember(fetch, [core_start, core_end])
    fetch.in_span = 0
    return _ended(fetch, core_start, core_end) if not fetch.spans else None


def _refuse_other_bars(fetch: Fetch, frame: pd.DataFrame) -> None:
    """SourceError where a source answers with bars of another timeframe than it was asked for."""
    wrong = wrong_timeframe(bar_times(frame), fetch.timeframe)
    if wrong is not None:
        raise SourceError(
            f"{fetch.label} was asked for {fetch.timeframe} bars, and {wrong.seen}; nothing of this answer was stored"
        )


def _changed(fetch: Fetch, source: Source, stored: pd.DataFrame, why: str, now: int) -> None:
    """The source has other prices than the store, where both have bars."""
    row = _row(fetch)
    if row is None or not _is_own(fetch, row):
        came = (row.source if row else "") or "elsewhere"
        raise SourceError(
            f"the stored bars of {fetch.symbol} {fetch.timeframe} came from {came}, and {fetch.label} has other prices ({why}); "
            "fetch them under another symbol, or replace the stored ones as a whole with --replace"
        )
    fetch.note(f"prices have changed since they were stored ({why}), as after a split or a dividend: all bars are fetched anew")
    _begin_anew(fetch, source, stored, int(bar_times(stored)[0]), now)


def _keep(fetch: Fetch, root: Path, stored: pd.DataFrame, new: pd.DataFrame) -> None:
    if fetch.anew:
        root.mkdir(parents=True, exist_ok=True)  # below the store, which is there
        with locked(root, fetch.symbol, fetch.timeframe):
            write_bars(root, fetch.symbol, fetch.timeframe, merge_bars(stored, new).frame)
        return
    with undisturbed():
        store_frame(fetch.symbol, fetch.timeframe, new, source=fetch.label)
        _remember(fetch)


def _ended(fetch: Fetch, since: int, until: int) -> None:
    if fetch.anew:
        frame = _read(_anew_root(fetch), fetch)
        if len(frame):
            with undisturbed():
                store_frame(fetch.symbol, fetch.timeframe, frame, source=fetch.label, whole=True)
                _remember(fetch)
        shutil.rmtree(_anew_root(fetch), ignore_errors=True)
        if not len(frame):
            raise SourceError(f"{_nothing(fetch, since, until)}; what is stored stays")
    elif _row(fetch) is None:
        raise SourceError(_nothing(fetch, since, until))


# --- what is stored ----------------------------------------------------------------------------


def _row(fetch: Fetch) -> BarSeries | None:
    return BarSeries.objects.filter(symbol=fetch.symbol, timeframe=fetch.timeframe).first()


def _is_own(fetch: Fetch, row: BarSeries) -> bool:
    """Whether the series came from here before."""
    return (row.feed.get("source"), row.feed.get("market")) == (fetch.source, fetch.market)


def _remember(fetch: Fetch, empty: list[int] | None = None) -> None:
    """The series is asked for here from now on; a span in which there is nothing is not asked for again."""
    row = _row(fetch)
    if row is not None:
        known = row.feed.get("empty", []) if _is_own(fetch, row) and not fetch.anew else []
        feed = {"source": fetch.source, "market": fetch.market, "empty": [*known, *([empty] if empty else [])][-MOST_EMPTY:]}
        BarSeries.objects.filter(pk=row.pk).update(feed=feed)


def _stored(fetch: Fetch) -> pd.DataFrame:
    return _read(Path(settings.STORE_DIR), fetch)


def _read(root: Path, fetch: Fetch) -> pd.DataFrame:
    if not series_path(root, fetch.symbol, fetch.timeframe).exists():
        return empty_frame()
    return read_bars(root, fetch.symbol, fetch.timeframe)


def _anew_root(fetch: Fetch) -> Path:
    return Path(settings.STORE_DIR) / ANEW / fetch.key


def _nothing(fetch: Fetch, since: int, until: int) -> str:
    return f"{fetch.source} has no {fetch.timeframe} bars of {fetch.market} from {day_of(since)} to {day_of(until)}"


#: A turn asks for pages so long. While a source wants a pause, a turn waits so long at most.
TURN_SECONDS, WAIT_SECONDS = 8.0, 0.5
BROKEN = "it met something unexpected; the quick worker's log has what happened"


def work(key: str, turn: int) -> str:
    """The job; gives the fetch's status. A turn that was overtaken by a later one does nothing."""
    connections.close_all()  # what the fork inherited belongs to the worker
    mine = BarFetch.objects.filter(pk=key, status__in=OPEN)
    if not mine.filter(turn=turn).update(turn=turn + 1, updated=timezone.now()):
        return "overtaken"
    mine = mine.filter(turn=turn + 1)
    mine.filter(status=Status.PENDING).update(status=Status.RUNNING)
    row = BarFetch.objects.get(pk=key)
    status, error = str(Status.FAILED), BROKEN
    try:
        status, error = _turn(row), ""
    except Refusal as refusal:
        error = str(refusal)
    finally:
        if status != Status.RUNNING and mine.update(status=status, error=error, updated=timezone.now()):
            audit(Actor(row.user, "web"), "load bars", f"{row.symbol} {row.timeframe}", source=row.source, status=status,
                  added=row.state.get("added", 0))  # fmt: skip
    if status == Status.RUNNING and not hand_over(key, turn + 1):
        return str(Status.FAILED)
    return status


def _turn(row: BarFetch) -> str:

    fetch = Fetch(**row.state)
    end = time.monotonic() + TURN_SECONDS
    if (left := (row.due - timezone.now()).total_seconds()) > 0:
        time.sleep(min(left, WAIT_SECONDS))
        if left > WAIT_SECONDS:
            return _asked(row)
    source = opened(fetch.source)
    while not fetch.is_done:
        if (status := _asked(row)) != Status.RUNNING:
            return status
        try:
            step(fetch, source)
        finally:
            row.state = fetch.as_dict()
        now = timezone.now()
        row.due = now + timedelta(seconds=fetch.pause)
        if not BarFetch.objects.filter(pk=row.pk, turn=row.turn).update(state=row.state, due=row.due, updated=now):
            return "overtaken"
        if not fetch.is_done and (fetch.pause or time.monotonic() > end):
            return _asked(row)
    return str(Status.COMPLETED)


def _asked(row: BarFetch) -> str:
    """RUNNING, unless somebody asked it to stop or to begin again."""
    status = BarFetch.objects.filter(pk=row.pk, turn=row.turn).values_list("status", flat=True).first()
    return {None: "overtaken", Status.CANCELLING: str(Status.CANCELLED)}.get(status, str(Status.RUNNING))


#: A span begins and ends with so many stored bars: they show whether its prices are still those of the store.
OVERLAP = 3
#: Prices further apart than this (as a share) are other prices. Adjusted ones differ in their last digits from day to day.
TOLERANCE = 1e-4
#: A high that is lower than a close by no more than this is a matter of rounding.
ROUNDING = 1e-6
#: A bar is whole so long after its end.
SETTLE = 5_000_000
#: Gaps that are asked for at once at most, the longest.
MOST_GAPS = 60


@dataclass(frozen=True)
class Span:
    """Bars to ask for, µs: start ≤ open < end; `core_start` to `core_end` without the stored bars at its ends."""

    start: int
    end: int
    core_start: int
    core_end: int


def missing(frame: pd.DataFrame, timeframe: str, since: int, until: int, empty: Sequence[Sequence[int]] = ()) -> list[Span]:
    """What of [since, until) is not stored and was not found `empty`: before the first bar, in gaps, after the last one."""
    step, times = duration(timeframe), bar_times(frame)
    if not len(times):
        return [Span(since, until, since, until)] if since < until else []
    pieces = [(since, int(times[0]))] if since + step <= times[0] else []
    for hole in holes(frame, timeframe, MOST_GAPS):
        after, before = (int(pd.Timestamp(hole[end]).value // 1000) for end in ("after", "before"))
        pieces.append((max(after + step, since), min(before, until)))
    pieces.append((max(int(times[-1]) + step, since), until))
    left = [(a, b) for a, b in pieces if a < b and not any(x <= a and b <= y for x, y in empty)]
    return [_with_neighbours(times, a, b, step) for a, b in left]


def _with_neighbours(times: NDArray[np.int64], start: int, end: int, step: int) -> Span:
    at, after = np.searchsorted(times, (start, end))
    first = int(times[max(at - OVERLAP, 0)]) if at else start
    last = int(times[min(after + OVERLAP, len(times)) - 1]) + step if after < len(times) else end
    return Span(first, last, start, end)


def last_whole(timeframe: str, now: int) -> int:
    """The last moment at which a bar can have opened that is over now, exclusive."""
    return now - SETTLE - duration(timeframe) + 1


def whole_bars(frame: pd.DataFrame, timeframe: str, now: int) -> pd.DataFrame:
    """Without bars that are not over yet."""
    return frame.iloc[: int(np.searchsorted(bar_times(frame), last_whole(timeframe, now)))]


def possible_bars(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Without bars that cannot be, and how many these were; prices that rounding put in the wrong order are put right."""
    times, values = bar_times(frame), bar_values(frame).copy()
    known = np.isfinite(values[:4]).all(axis=0)
    top, bottom = values[:4].max(axis=0), values[:4].min(axis=0)
    near_top, near_bottom = known & (top - values[1] <= ROUNDING * top), known & (values[2] - bottom <= ROUNDING * top)
    values[1, near_top], values[2, near_bottom] = top[near_top], bottom[near_bottom]
    kept = np.array(np.isfinite(values[:4]).any(axis=0), dtype=np.bool_)  # a bar without any price says nothing, and is no fault
    empty = int((~kept).sum())
    for _, where in bar_faults(values):
        kept[where] = False
    if kept.all():
        return bar_frame(times, values), 0
    if not kept.any():
        return empty_frame(), len(kept) - empty
    return bar_frame(times[kept], np.ascontiguousarray(values[:, kept])), int((~kept).sum()) - empty


def disagreement(stored: pd.DataFrame, page: pd.DataFrame) -> str:
    """Where the page has other prices than the store at the same time, in words; empty if it has not."""
    _, at, there = np.intersect1d(bar_times(stored), bar_times(page), assume_unique=True, return_indices=True)
    before, after = bar_values(stored)[:4, at], bar_values(page)[:4, there]
    differs = np.abs(after - before) > TOLERANCE * np.abs(before)
    if not differs.any():
        return ""
    column, place = (int(found[0]) for found in np.nonzero(differs))
    return (
        f"{time_text(int(bar_times(page)[there[place]]))}: {PRICE_COLUMNS[column]} {before[column, place]:g} stored, "
        f"{after[column, place]:g} now"
    )


def only_new(stored: pd.DataFrame, page: pd.DataFrame) -> pd.DataFrame:
    """The bars of the page whose times are not stored: what is stored stays as it is."""
    return page[~np.isin(bar_times(page), bar_times(stored))]


#: What can be asked, and the extra that brings its package.
SOURCES = {"yahoo": "yfinance", "ccxt": "ccxt"}


def open_source(name: str, folder: Path, keys: Mapping[str, tuple[str, str]] | None = None) -> Source:
    """`yahoo`, or `ccxt:EXCHANGE`; WrongRequest for any other, and where its package is not installed.

    folder: where a package may keep what it looks up. keys: exchange → key and secret, for exchanges that give bars
    only to who is known.
    """
    kind, _, exchange = name.partition(":")
    if kind not in SOURCES or (kind == "yahoo" and exchange):
        near = nearest(kind, SOURCES)
        hint = f"; did you mean {near}?" if near and near != kind else ""
        raise WrongRequest(f"there is no source '{name}', wanted yahoo or ccxt with an exchange{hint}")
    try:
        if kind == "yahoo":
            from training.sources.yahoo import Yahoo  # the package may be missing, and is slow to import

            return Yahoo(folder)
        from training.sources.exchange import Exchange

        return Exchange(exchange, (keys or {}).get(exchange))
    except ImportError as error:
        if (error.name or "").partition(".")[0] != SOURCES[kind]:
            raise
        raise WrongRequest(
            f"the package {SOURCES[kind]} is not installed: in the folder of KTRDR Train run: "
            f"pip install -c constraints.txt -e '.[{kind}]'"
        ) from None
