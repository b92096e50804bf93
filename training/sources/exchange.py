"""Bars of crypto exchanges by the package ccxt, which knows each one's addresses and limits. Prices are as traded."""

from __future__ import annotations

from typing import Any

import ccxt
import numpy as np

from training.pipeline.frames import bar_frame, empty_frame
from training.sources.source import Page, SourceError, Unavailable, WrongRequest, unknown
from training.store.coverage import DAY, duration

TIMEOUT_SECONDS = 10
#: Bars asked at a time where an exchange does not say how many it gives.
PAGE = 500
#: Where to begin when nobody says: three years of bars, or fewer where they are short.
MOST_BARS, MOST_DAYS = 30_000, 3 * 366


class Exchange:
    """The source `ccxt:EXCHANGE`."""

    def __init__(self, exchange: str, keys: tuple[str, str] | None = None) -> None:
        if exchange not in ccxt.exchanges:
            what = f"ccxt knows no exchange '{exchange}'" if exchange else "ccxt needs an exchange"
            raise unknown(what, exchange or "-", ["binance", "kraken", *ccxt.exchanges])
        self.name = f"ccxt:{exchange}"
        self.keys = keys
        self.api: Any = getattr(ccxt, exchange)({"enableRateLimit": True, "timeout": TIMEOUT_SECONDS * 1000})
        self.api.requests_trust_env = True  # a proxy that the environment names is used
        # Asked with keys only, and not needed for bars.
        self.api.has["fetchCurrencies"] = self.api.options["fetchMargins"] = False
        if keys:
            self.api.apiKey, self.api.secret = keys

    def market_of(self, symbol: str) -> str:
        """The symbol itself where it is a market such as BTC/USDT; BTC-USDT → BTC/USDT."""
        return symbol if "/" in symbol else symbol.replace("-", "/", 1)

    def check(self, market: str, timeframe: str) -> None:
        offered = self.api.timeframes or {}
        if not self.api.has.get("fetchOHLCV"):
            raise WrongRequest(f"{self._title} gives no bars, wanted another exchange such as binance or kraken")
        if timeframe not in offered:
            finer = [name for name in ("1m", "5m", "15m", "30m", "1h", "2h", "4h", "1d", "1w") if name in offered]
            raise WrongRequest(f"{self._title} has no {timeframe} bars, wanted one of {', '.join(finer)}")
        self._asked(self.api.load_markets)
        if market not in self.api.markets:
            raise unknown(f"{self._title} has no market '{market}'", market, sorted(self.api.markets))

    def earliest(self, timeframe: str, now: int) -> int:
        return (now - min(MOST_BARS * duration(timeframe), MOST_DAYS * DAY)) // DAY * DAY

    def reach(self, timeframe: str, now: int) -> int:
        return 0

    def page(self, market: str, timeframe: str, start: int, end: int) -> Page:
        step = duration(timeframe)
        most = self._most()
        rows = self._asked(lambda: self.api.fetch_ohlcv(market, timeframe, since=-(-start // 1000), limit=most))
        table = np.array([row[:6] for row in rows], dtype=np.float64).reshape(-1, 6)
        times = table[:, 0].astype(np.int64) * 1000
        # Some exchanges answer with their newest bars to a question about old ones.
        inside = (times >= start) & (times < end)
        if not inside.any():
            return Page(empty_frame(), end if (times >= end).any() else min(end, start + most * step))
        order = np.argsort(times[inside], kind="stable")
        times, values = times[inside][order], table[inside, 1:][order]
        fresh = np.append(True, np.diff(times) > 0)
        until = min(end, int(times[-1]) + step)
        return Page(bar_frame(times[fresh], np.ascontiguousarray(values[fresh].T)), until)

    @property
    def _title(self) -> str:
        return str(self.api.name)

    def _most(self) -> int:
        found = ((self.api.features or {}).get("spot") or {}).get("fetchOHLCV") or {}
        return min(int(found.get("limit") or PAGE), 1000)

    def _asked(self, ask: Any) -> Any:
        """What the exchange answers, its refusals in our words and without our keys."""
        try:
            return ask()
        except (ccxt.RateLimitExceeded, ccxt.DDoSProtection):
            waits = str((self.api.last_response_headers or {}).get("Retry-After", ""))
            raise Unavailable(f"{self._title} asks to be asked less often", float(waits) if waits.isdigit() else 0.0) from None
        except ccxt.NetworkError as error:
            raise Unavailable(
                f"{self._title} did not answer ({self._plain(error)})", silent=self.api.last_http_response is None
            ) from None
        except ccxt.AuthenticationError as error:
            raise SourceError(
                f"{self._title} gives these bars only to holders of an API key ({self._plain(error)}): set KTRDR_EXCHANGE_KEYS"
            ) from None
        except ccxt.BaseError as error:
            raise SourceError(f"{self._title} refused: {self._plain(error)}") from None
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # what came is not what it should be
            raise Unavailable(f"{self._title}'s answer could not be read ({type(error).__name__})") from None

    def _plain(self, error: Exception) -> str:
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        for key in self.keys or ():
            text = text.replace(key, "…")
        return text
