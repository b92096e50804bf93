"""A server like Yahoo's and an exchange's, in a thread: real HTTP on this machine, with the faults that a test asks for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: Hour bars of a coin begin here: 2024-01-01.
BEGIN, HOUR, DAY = 1_704_067_200, 3600, 86_400
#: µs; so much later than the server's last bars that all are over.
NOW = (BEGIN + 2500 * HOUR + 60) * 1_000_000


@dataclass
class BarServer:
    """What it serves, what it was asked, and what goes wrong: `faults` are statuses for the next bar requests, in order."""

    coin: list[int] = field(default_factory=lambda: [BEGIN + HOUR * n for n in range(2500)])
    days: list[int] = field(default_factory=lambda: [BEGIN - BEGIN % DAY + DAY * n for n in range(60) if (n % 7) < 5])
    factor: float = 1.0
    faults: list[int] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("/exchangeInfo"):
            return 200, {"symbols": [_market("BTC"), _market("ETH")] if "/api/v3" in path else []}
        if path.endswith("/klines") or (path.startswith("/v8/finance/chart/") and "period1" in query):
            self.asked.append(query | {"path": path})
            if self.faults and (status := self.faults.pop(0)) != 200:
                return status, {"code": -1003, "msg": "not now"}
            return self._klines(query) if path.endswith("/klines") else self._chart(path.rsplit("/", 1)[1], query)
        if path.startswith("/v8/finance/chart/"):
            return self._chart(path.rsplit("/", 1)[1], {})
        if path.startswith("/v1/finance/search"):
            return 200, {"quotes": [{"symbol": "AAPL"}], "news": []}
        return (200, "crumb") if path.endswith("/getcrumb") else (404, {"error": "not here"})

    def _klines(self, query: dict[str, str]) -> tuple[int, Any]:
        found = [time for time in self.coin if time * 1000 >= int(query["startTime"])][: int(query.get("limit", 500))]
        rows = []
        for time in found:
            price = 100 + (time // HOUR) % 50
            rows.append(
                [
                    time * 1000,
                    f"{price}",
                    f"{price + 2}",
                    f"{price - 2}",
                    f"{price + 1}",
                    "7.5",
                    time * 1000 + 1,
                    "1",
                    1,
                    "1",
                    "1",
                    "0",
                ]
            )
        return 200, rows

    def _chart(self, market: str, query: dict[str, str]) -> tuple[int, Any]:
        if market != "AAPL":
            error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            return 404, {"chart": {"result": None, "error": error}}
        times = [t for t in self.days if query and int(query["period1"]) <= t < int(query["period2"])]
        closes = [100.0 + (time // DAY) % 9 for time in times]
        quote = {
            "open": closes,
            "high": [c + 1 for c in closes],
            "low": [c - 1 for c in closes],
            "close": closes,
            "volume": [1000] * len(times),
        }
        meta = {
            "currency": "USD", "symbol": market, "exchangeTimezoneName": "UTC", "timezone": "UTC", "instrumentType": "EQUITY", "gmtoffset": 0,
            "regularMarketTime": 1_704_067_200, "firstTradeDate": self.days[0], "validRanges": ["1d", "max"], "dataGranularity": "1d", "range": "",
        }  # fmt: skip
        adjusted = [{"adjclose": [close * self.factor for close in closes]}]
        result = {"meta": meta, "timestamp": times, "indicators": {"quote": [quote if times else {}], "adjclose": adjusted}}
        return 200, {"chart": {"result": [result], "error": None}}


def _market(base: str) -> dict[str, Any]:
    return {
        "symbol": f"{base}USDT", "status": "TRADING", "baseAsset": base, "quoteAsset": "USDT", "baseAssetPrecision": 8, "quotePrecision": 8,
        "orderTypes": [], "permissions": ["SPOT"], "permissionSets": [["SPOT"]], "isSpotTradingAllowed": True, "filters": [],
    }  # fmt: skip


@contextmanager
def bar_server() -> Iterator[BarServer]:
    served = BarServer()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            served.headers.append(dict(self.headers))
            status, body = served.answer(parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()})
            raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            if status == 429:
                self.send_header("Retry-After", "7")
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def opener(served: BarServer, folder: Path) -> Callable[[str], Any]:
    """As `fetching.opened`, with this server's address in the place of Yahoo's and the exchange's."""
    from django.conf import settings
    from yfinance.data import YfData

    from training.bars.fetching import open_source
    from training.sources.exchange import Exchange
    from training.sources.yahoo import Watched, Yahoo

    class Here(Watched):
        def address(self, url: str) -> str:
            parts = urlsplit(url)
            return f"{served.url}{parts.path}{'?' + parts.query if parts.query else ''}"

    def opened(name: str) -> Any:
        if name == "yahoo":
            YfData.cache_get.cache_clear()
            return Yahoo(folder, Here())
        source = open_source(name, folder, settings.EXCHANGE_KEYS)
        assert isinstance(source, Exchange)
        for part, address in source.api.urls["api"].items():
            source.api.urls["api"][part] = served.url + urlsplit(address).path
        source.api.enableRateLimit = False
        return source

    return opened
