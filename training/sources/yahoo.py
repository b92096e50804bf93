"""Bars of Yahoo Finance by the package yfinance. Prices are adjusted for splits and dividends, as far back as they go.

The server gives an adjusted close for daily bars only: bars within the day are adjusted for splits alone.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yfinance
from curl_cffi import requests
from curl_cffi.requests.exceptions import RequestException
from yfinance.exceptions import YFException, YFPricesMissingError, YFRateLimitError, YFTickerMissingError

from training.pipeline.frames import bar_frame, empty_frame
from training.sources.source import Page, SourceError, Unavailable, WrongRequest, unknown
from training.store.coverage import DAY, SECOND

#: Timeframe → days that Yahoo keeps of it (None: all), and days asked at a time.
REACH: dict[str, tuple[int | None, int]] = {
    "1m": (29, 7), "5m": (59, 30), "15m": (59, 30), "30m": (59, 30), "1h": (729, 180), "1d": (None, 3650),
}  # fmt: skip
TIMEOUT_SECONDS = 10
MARKET = "[A-Za-z0-9^.=-]{1,32}"
COLUMNS = ["Open", "High", "Low", "Close", "Volume"]


class NotAChart(Exception):
    """The package asks elsewhere, which it does where a chart knows no such market."""


class Watched(requests.Session[requests.Response]):
    """A session that takes no failure for an empty answer, which the package would."""

    def request(self, method: Any, url: str, *args: Any, **kwargs: Any) -> Any:
        if "/quoteSummary/" in url or "/finance/quote" in url:
            raise NotAChart(url)
        answer = super().request(method, self.address(url), *args, **kwargs)
        if answer.status_code == 429:
            raise Unavailable("Yahoo asks to be asked less often (429)", _seconds(answer.headers.get("Retry-After")))
        if answer.status_code >= 500:
            raise Unavailable(f"Yahoo answered {answer.status_code}")
        return answer

    def address(self, url: str) -> str:
        """Where a request goes."""
        return url


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isdigit() else 0.0


class Yahoo:
    """The source `yahoo`."""

    name = "yahoo"

    def __init__(self, folder: Path, session: requests.Session[requests.Response] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        yfinance.set_tz_cache_location(str(folder))
        self.session = session or Watched(impersonate="chrome")
        # An error is an error: hidden ones look like a market without bars.
        yfinance.config.debug.hide_exceptions = False

    def market_of(self, symbol: str) -> str:
        return symbol

    def check(self, market: str, timeframe: str) -> None:
        if not re.fullmatch(MARKET, market) or ".." in market:
            raise WrongRequest(f"'{market}' is no name of Yahoo's, wanted one such as AAPL, ^GSPC or EURUSD=X")
        if timeframe not in REACH:
            from_what = {"2h": "1h", "4h": "1h", "1w": "1d"}[timeframe]
            raise WrongRequest(
                f"Yahoo has no sound {timeframe} bars, wanted one of {', '.join(REACH)}; "
                f"load {from_what}, of which a training makes {timeframe}"
            )

    def earliest(self, timeframe: str, now: int) -> int:
        return self.reach(timeframe, now)

    def reach(self, timeframe: str, now: int) -> int:
        days = REACH[timeframe][0]
        return 0 if days is None else now // DAY * DAY - days * DAY

    def page(self, market: str, timeframe: str, start: int, end: int) -> Page:
        until = min(end, start + REACH[timeframe][1] * DAY)
        try:
            frame = self._history(market, timeframe, start, until)
        except YFRateLimitError:
            raise Unavailable("Yahoo asks to be asked less often") from None
        except YFPricesMissingError as error:
            if "doesn't exist" in str(error) or "Data doesn't exist" in str(error) or error.yahoo_reason is None:
                return Page(empty_frame(), until)
            raise SourceError(f"Yahoo has no {timeframe} bars of {market}: {error.yahoo_reason}") from None
        except (YFTickerMissingError, NotAChart):
            raise unknown(f"Yahoo knows no '{market}'", market, self._alike(market)) from None
        except (RequestException, OSError) as error:
            raise Unavailable(f"Yahoo could not be reached ({type(error).__name__})", silent=True) from None
        except (YFException, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"Yahoo's answer could not be read ({type(error).__name__}: {error})") from None
        return Page(frame, until)

    def _history(self, market: str, timeframe: str, start: int, end: int) -> pd.DataFrame:
        # A day's bar opens at the exchange's midnight, which no time in UTC names: days are asked for as days.
        span: dict[str, Any] = {"start": start // SECOND, "end": -(-end // SECOND)}
        if timeframe == "1d":
            span = {name: dt.date(1970, 1, 1) + dt.timedelta(days=time // 86_400) for name, time in span.items()}
            span["end"] += dt.timedelta(days=1 if end % DAY else 0)
        found = yfinance.Ticker(market, session=self.session).history(
            interval=timeframe, auto_adjust=True, actions=False, timeout=TIMEOUT_SECONDS, **span
        )
        if found.empty:
            return empty_frame()
        index = (
            found.index.tz_localize(None).normalize() if timeframe == "1d" else found.index.tz_convert("UTC").tz_localize(None)
        )
        times = index.as_unit("us").asi8
        inside = (times >= start) & (times < end)
        return bar_frame(times[inside], np.ascontiguousarray(found[COLUMNS].to_numpy(np.float64)[inside].T))

    def _alike(self, market: str) -> list[str]:
        """What Yahoo's own search offers for a word; nothing if it does not answer either."""
        try:
            quotes = yfinance.Search(market, max_results=5, news_count=0, session=self.session).quotes
        except (YFException, RequestException, Unavailable, OSError, ValueError, KeyError, TypeError):
            return []
        return [str(quote["symbol"]) for quote in quotes if "symbol" in quote]
