"""Pictures of stored bars and of a preview as plain Plotly figures: candles, probabilities above them, degrees, coverage.

A colour is the name of a token of the style sheet, which the browser resolves for its theme.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from strategies_app.grammar.plugins import indicator_kind
from training.results.figures import CLASS_COLOURS, CLASS_DASHES, CLASS_SHAPES

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


LINES = ("--accent", "--warn", "--sell", "--buy", "--faint", "--muted")
_DASHES = ("solid", "dash", "dot", "dashdot")
#: Heights in pixels.
CANDLES, PANE, GAP = 260, 96, 14


def class_colour(name: str) -> str:
    return CLASS_COLOURS.get(name, "--faint")


def line_style(number: int) -> dict[str, Any]:
    """The colour and, once the colours are used up, the dash of the n-th line."""
    return {"color": LINES[number % len(LINES)], "dash": _DASHES[number // len(LINES) % len(_DASHES)], "width": 1.6}


def candles_figure(series: Mapping[str, Any], labels: Mapping[str, Any] | None) -> Figure:
    """Candles with what lives on the price, each other indicator in a pane of its own, and markers of the labels."""
    overlays, panes = _panes(series["outputs"])
    data: list[dict[str, Any]] = [_candles(series)]
    data += [_line(series, output, number, "y", output["name"]) for number, output in enumerate(overlays)]
    data += _markers(series, labels) if labels else []
    for place, outputs in enumerate(panes.values(), start=2):
        data += [_line(series, output, number, f"y{place}", output["name"]) for number, output in enumerate(outputs)]
    height = CANDLES + len(panes) * (PANE + GAP) + 70
    layout: dict[str, Any] = {
        "height": height,
        "xaxis": {"rangeslider": {"visible": False}, "anchor": f"y{len(panes) + 1}" if panes else "y", "type": "date"},
        "hovermode": "x",
        "margin": {"l": 56, "r": 12, "t": 34, "b": 30},
    }
    return {"data": data, "layout": layout | _domains(list(panes))}


def _panes(outputs: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], dict[str, list[Mapping[str, Any]]]]:
    """What is drawn over the candles, since on a constant price it is the price; and the rest by indicator."""
    overlays, panes = [], dict[str, list[Mapping[str, Any]]]()
    for output in outputs:
        if indicator_kind(output["kind"]).constant.startswith("the price"):
            overlays.append(output)
        else:
            panes.setdefault(output["name"].partition(".")[0], []).append(output)
    return overlays, panes


def _domains(panes: list[str]) -> dict[str, Any]:
    """Where each pane stands: candles on top, the others below one another."""
    total = CANDLES + len(panes) * (PANE + GAP)
    axes: dict[str, Any] = {"yaxis": {"domain": [1 - CANDLES / total, 1], "title": {"text": "price"}}}
    top = total - CANDLES
    for place, name in enumerate(panes, start=2):
        top -= GAP
        title = {"text": name if len(name) <= 14 else f"{name[:13]}…", "font": {"size": 11}}
        axes[f"yaxis{place}"] = {"domain": [max(0.0, (top - PANE) / total), top / total], "title": title, "nticks": 4}
        top -= PANE
    return axes


def _candles(series: Mapping[str, Any]) -> dict[str, Any]:
    prices = {key: series[key] for key in ("open", "high", "low", "close")}
    colours = {"increasing": {"line": {"color": "--buy", "width": 1}}, "decreasing": {"line": {"color": "--sell", "width": 1}}}
    return {"type": "candlestick", "name": "candles", "x": series["times"], "showlegend": False, **prices, **colours}


def _line(series: Mapping[str, Any], output: Mapping[str, Any], number: int, axis: str, name: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": series["times"], "y": output["values"], "yaxis": axis,
        "line": line_style(number), "connectgaps": False, "showlegend": axis == "y",
    }  # fmt: skip


def _markers(series: Mapping[str, Any], labels: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Classes that call for something, below or above their candles; the resting one (HOLD, NEUTRAL, RANGING) is everywhere
    else and is not drawn."""
    place = {time: number for number, time in enumerate(series["times"])}
    away = 0.025 * (max(series["high"]) - min(series["low"]))
    found = []
    for one in labels["classes"]:
        colour = class_colour(one["name"])
        at = [place[time] for time in one["times"] if time in place]
        if colour == "--hold" or not at:
            continue
        low = colour == "--buy"
        heights = [series["low"][i] - away if low else series["high"][i] + away for i in at]
        marker = {"color": colour, "size": 6, "symbol": CLASS_SHAPES.get(colour, "circle")}
        found.append(
            {
                "type": "scatter", "mode": "markers", "name": one["name"], "x": [series["times"][i] for i in at], "y": heights,
                "marker": marker, "hoverinfo": "name+x",
            }
        )  # fmt: skip
    return found


def membership_figure(shown: Mapping[str, Any]) -> Figure:
    """Degrees over x, in front of the histogram of the indicator's real values."""
    edges, counts = shown["histogram"]["edges"], shown["histogram"]["counts"]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    bars = {
        "type": "bar", "name": "bars", "x": middles, "y": counts,
        "yaxis": "y2", "width": edges[1] - edges[0], "marker": {"color": "--faint/35"}, "showlegend": False,
    }  # fmt: skip
    curves = [
        {
            "type": "scatter", "mode": "lines", "name": curve["name"], "x": shown["x"], "y": curve["degrees"],
            "line": line_style(number) | {"width": 2.2},
        }
        for number, curve in enumerate(shown["memberships"])
    ]  # fmt: skip
    layout = {
        "height": 240,
        "xaxis": {"title": {"text": shown["indicator"]}},
        "yaxis": {"title": {"text": "degree"}, "range": [0, 1.06], "tickvals": [0, 0.5, 1], "overlaying": "y2"},
        "yaxis2": {"side": "right", "showgrid": False, "showticklabels": False, "rangemode": "tozero"},
        "bargap": 0,
        "margin": {"l": 46, "r": 10, "t": 34, "b": 44},
    }
    return {"data": [bars, *curves], "layout": layout}
