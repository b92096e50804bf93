"""Pictures of a preview: its plain data → Plotly figures as dicts, with the names of colour tokens in place of colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from strategies_app.grammar.plugins import indicator_kind
from training.results.figures import CLASS_COLOURS, CLASS_SHAPES

Figure = dict[str, Any]
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
