"""Pictures of stored bars as plain Plotly figures: candles, probabilities above them, coverage on a common time axis.

A colour is the name of a token of the style sheet, which the browser resolves for its theme.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from training.results.figures import CLASS_COLOURS, CLASS_DASHES

if TYPE_CHECKING:
    from training.store.candles import Candles

Figure = dict[str, Any]
#: Classes without a colour of their own are shown in these, in order.
OTHERS = ("--accent", "--warn", "--good", "--bad")


def candle_figure(candles: Candles) -> Figure:
    """Candles, and volume below them where it is known."""
    times, columns = _plain(candles)
    data = [_candle_trace(times, columns)]
    layout: Figure = {
        "showlegend": False, "hovermode": "x unified", "dragmode": "zoom",
        "xaxis": {"type": "date", "rangeslider": {"visible": False}},
        "yaxis": {"domain": [0, 1], "side": "right", "fixedrange": True},
        "margin": {"l": 12, "r": 56, "t": 14, "b": 36},
    }  # fmt: skip
    if any(columns[4]):
        data.append(
            {"type": "bar", "name": "Volume", "x": times, "y": columns[4], "yaxis": "y2", "marker": {"color": "--hold/60"}}
        )
        layout["xaxis"]["anchor"] = "y2"
        layout["yaxis"]["domain"] = [0.24, 1]
        layout["yaxis2"] = {"domain": [0, 0.18], "side": "right", "fixedrange": True, "nticks": 3, "rangemode": "tozero"}
        layout["bargap"] = 0
    return {"data": data, "layout": layout}


def prediction_figure(candles: Candles, times: Sequence[int], chances: Mapping[str, Sequence[float]]) -> Figure:
    """Candles above the probability of each class. times in ms UTC; chances: class → one share per time."""
    candle_times, columns = _plain(candles)
    data = [_candle_trace(candle_times, columns) | {"showlegend": False}]
    others = iter(OTHERS * 8)
    for name, shares in chances.items():
        colour = CLASS_COLOURS.get(name) or next(others)
        line = {"color": colour, "width": 1.4, "dash": CLASS_DASHES.get(colour, "solid")}
        curve = {"type": "scatter", "mode": "lines", "name": name, "x": list(times), "y": list(shares), "yaxis": "y2"}
        data.append({**curve, "line": line, "hovertemplate": "%{y:.1%}"})
    return {
        "data": data,
        "layout": {
            "hovermode": "x unified", "dragmode": "zoom",
            "xaxis": {"type": "date", "rangeslider": {"visible": False}, "anchor": "y2"},
            "yaxis": {"domain": [0.42, 1], "side": "right", "fixedrange": True},
            "yaxis2": {"domain": [0, 0.34], "side": "right", "range": [0, 1], "tickformat": ".0%", "fixedrange": True},
            "margin": {"l": 12, "r": 56, "t": 34, "b": 36},
        },
    }  # fmt: skip


def returns_figure(candles: Candles, times: Sequence[int], returns: Sequence[float], edge: float) -> Figure:
    """Candles above the predicted return, with the edges from which on it is a signal. times in ms UTC."""
    figure = prediction_figure(candles, times, {})
    curve = {"type": "scatter", "mode": "lines", "name": "predicted return", "x": list(times), "y": list(returns), "yaxis": "y2"}
    figure["data"].append({**curve, "line": {"color": "--accent", "width": 1.4}, "hovertemplate": "%{y:.2%}"})
    axis = {"tickformat": ".1%", "zeroline": True}
    figure["layout"]["yaxis2"] = {key: value for key, value in figure["layout"]["yaxis2"].items() if key != "range"} | axis
    figure["layout"]["shapes"] = [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y2", "y0": height, "y1": height,
         "line": {"color": colour, "width": 1, "dash": "dash"}}
        for height, colour in ((edge, "--buy"), (-edge, "--sell"))
    ]  # fmt: skip
    return figure


def _plain(candles: Candles) -> tuple[list[int], list[list[float | None]]]:
    """Times in ms and columns with null for NaN, which JSON has not."""
    times = (candles.times // 1000).tolist()
    return times, [[None if value != value else value for value in column.tolist()] for column in candles.values]


def _candle_trace(times: list[int], columns: list[list[float | None]]) -> Figure:
    names = ("open", "high", "low", "close")
    return {
        "type": "candlestick", "name": "Price", "x": times, **dict(zip(names, columns, strict=False)),
        "increasing": {"line": {"color": "--buy", "width": 1}}, "decreasing": {"line": {"color": "--sell", "width": 1}},
    }  # fmt: skip


# --- coverage ----------------------------------------------------------------------------------


class Axis:
    """A common time axis from the first to the last moment of all series; places are in percent."""

    def __init__(self, first: dt.datetime, last: dt.datetime) -> None:
        self.first, self.seconds = first, max((last - first).total_seconds(), 1.0)

    def at(self, moment: dt.datetime) -> float:
        return round(min(max(100 * (moment - self.first).total_seconds() / self.seconds, 0.0), 100.0), 3)

    def ticks(self, most: int = 5) -> list[dict[str, Any]]:
        """Beginnings of years, or of months, or days, with their places."""
        for step in ("year", "month", "day"):
            ticks = [tick for tick in self._begins(step) if 1 <= tick["at"] <= 90]
            if len(ticks) > 1:
                return ticks[:: -(-len(ticks) // most)]
        return []

    def _begins(self, step: str) -> list[dict[str, Any]]:
        last = self.first + dt.timedelta(seconds=self.seconds)
        ticks: list[dict[str, Any]] = []
        moment = self.first.replace(hour=0, minute=0, second=0, microsecond=0)
        limit = {"year": 400, "month": 60, "day": 60}[step]
        while moment <= last and len(ticks) <= limit:
            if step == "year":
                moment = moment.replace(year=moment.year + 1, month=1, day=1)
            elif step == "month":
                moment = (moment.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
            else:
                moment += dt.timedelta(days=1)
            text = {"year": "%Y", "month": "%Y-%m", "day": "%m-%d"}[step]
            ticks.append({"at": self.at(moment), "text": moment.strftime(text)})
        return ticks


def coverage_strip(axis: Axis, first: dt.datetime, last: dt.datetime, holes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One series on the axis: where it is, and its gaps, in percent. A gap is drawn at least wide enough to be seen."""
    begin, end = axis.at(first), axis.at(last)
    gaps = []
    for hole in holes:
        left, right = axis.at(moment(hole["after"])), axis.at(moment(hole["before"]))
        gaps.append({"x": min(left, 99.7), "width": round(max(right - left, 0.3), 3)})
    return {"x": min(begin, 99.5), "width": round(max(end - begin, 0.5), 3), "gaps": gaps}


def moment(text: str) -> dt.datetime:
    """The time of an ISO text, in UTC if it names no zone."""
    found = dt.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
