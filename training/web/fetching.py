"""Bars from a source in the browser: ask for them, watch them come, stop, go on."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from strategies_app.grammar.schema import SYMBOL, SYMBOL_WORDS
from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.access.plain_requests import READ_AND_WRITE
from training.access.roles import is_admin
from training.jobs import fetches
from training.jobs.fetches import Fetch
from training.jobs.queues import NoWorker
from training.models import OPEN, BarFetch, BarSeries
from training.store.coverage import DAY, day_start
from training.templatetags.words import sentence
from training.web.data import series_or_404
from training.web.page import actor_of, page, without_worker

#: Offered while one types; ccxt knows about a hundred.
EXCHANGES = ("binance", "bitfinex", "bitstamp", "bybit", "coinbase", "gateio", "kraken", "kucoin", "okx")
LAST = 8


class FetchForm(forms.Form):
    """What to ask for."""

    source = forms.ChoiceField(choices=[("yahoo", "Yahoo Finance"), ("ccxt", "Crypto exchange")])
    exchange = forms.RegexField(
        "^[a-z0-9_]+$", max_length=40, required=False, error_messages={"invalid": "a name such as binance"}
    )
    symbol = forms.RegexField(SYMBOL, max_length=32, error_messages={"invalid": SYMBOL_WORDS})
    timeframe = forms.ChoiceField(choices=[(name, name) for name in TIMEFRAMES], initial="1d")
    market = forms.RegexField(
        r"^[A-Za-z0-9^./:_=-]+$", max_length=40, required=False, error_messages={"invalid": "letters, digits and ^ . / : _ = -"}
    )
    since = forms.DateField(label="From day", required=False)
    until = forms.DateField(label="To day", required=False)
    replace = forms.BooleanField(label="Replace what is stored", required=False)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if given.get("source") == "ccxt" and not given.get("exchange"):
            self.add_error("exchange", "choose an exchange, such as binance")
        if given.get("since") and given.get("until") and given["since"] > given["until"]:
            self.add_error("until", "this is before the first day")
        if given.get("since") and given["since"] > dt.datetime.now(dt.UTC).date():
            self.add_error("since", "this day is still to come")
        return given

    def wanted(self) -> dict[str, Any]:
        given = self.cleaned_data
        since, until = given["since"], given["until"]
        return {
            "symbol": given["symbol"], "timeframe": given["timeframe"], "market": given["market"], "replace": given["replace"],
            "source": f"ccxt:{given['exchange']}" if given["source"] == "ccxt" else "yahoo",
            "since": day_start(since) if since else None, "until": day_start(until) + DAY if until else None,
        }  # fmt: skip


@page("training.add_barseries", *READ_AND_WRITE)
def fetch(request: HttpRequest) -> HttpResponse:
    """Choose what to fetch; it begins at once."""
    form = FetchForm(request.POST) if request.method == "POST" else FetchForm(initial={"source": "yahoo", "timeframe": "1d"})
    problem = ""
    if request.method == "POST" and form.is_valid():
        try:
            return redirect("site:fetched", fetches.begin(actor_of(request), **form.wanted()).key)
        except (fetches.FetchError, NoWorker) as refusal:
            problem = str(refusal)
    context = {
        "form": form, "problem": problem, "exchanges": EXCHANGES, "no_worker": "" if problem else without_worker(),
        "rows": BarFetch.objects.select_related("user")[:LAST], "has_series": BarSeries.objects.exists(),
    }  # fmt: skip
    return render(request, "site/fetch.html", context, status=422 if request.method == "POST" else 200)


@page("training.add_barseries", *READ_AND_WRITE)
def fetched(request: HttpRequest, key: str) -> HttpResponse:
    """One fetch: how far it came, and what can be asked of it."""
    row = BarFetch.objects.select_related("user").filter(pk=key).first()
    if row is None:
        raise Http404("There is no such fetch.")
    may = row.user_id == request.user.pk or is_admin(request.user)
    if request.method == "POST":
        return _asked(request, row, may)
    context = {
        "fetch": row, "state": Fetch(**row.state),
        "is_open": row.status in OPEN, "is_lost": fetches.is_lost(row), "may": may,
        "no_worker": without_worker() if row.status in OPEN else "",
        "series": BarSeries.objects.filter(symbol=row.symbol, timeframe=row.timeframe).first(),
    }  # fmt: skip
    return render(request, "site/fetched.html", context)


def _asked(request: HttpRequest, row: BarFetch, may: bool) -> HttpResponse:
    if not may:
        raise PermissionDenied
    try:
        if request.POST.get("do") == "stop":
            fetches.cancel(row)
        else:
            fetches.go_on(row)
    except (fetches.FetchError, NoWorker) as refusal:
        messages.error(request, sentence(str(refusal)))
    return redirect("site:fetched", row.key)


@page("training.add_barseries", "POST")
def update(request: HttpRequest, symbol: str, timeframe: str) -> HttpResponse:
    """What is missing of a series that came from a source."""
    series = series_or_404(symbol, timeframe)
    if not series.feed.get("source"):
        raise Http404("This series came from a file.")
    try:
        row = fetches.begin(actor_of(request), symbol, timeframe, series.feed["source"], market=series.feed["market"])
    except (fetches.FetchError, NoWorker) as refusal:
        messages.error(request, sentence(str(refusal)))
        return redirect("site:series", symbol, timeframe)
    return redirect("site:fetched", row.key)
