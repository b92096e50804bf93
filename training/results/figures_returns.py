"""Plotly figures of predicted returns, as plain data; see figures.py for the manner. Returns are drawn in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.results.figures import Figure, Metrics, line, price_above, title

#: Signals that are drawn on the candles: colour, shape.
MARKS = {"BUY": ("--buy", "triangle-up"), "SELL": ("--sell", "triangle-down")}


def reliability(groups: Sequence[Metrics]) -> Figure:
    """What came on average of rows that were predicted alike, a tenth of them per point; the dotted line is as predicted."""
    said, came = [100 * group["predicted"] for group in groups], [100 * group["realised"] for group in groups]
    low, high = min([0.0, *said]), max([0.0, *said])
    exact = line("as predicted", [low, high], [low, high], "--faint", "dot", hoverinfo="skip")
    points = {
        "type": "scatter", "mode": "lines+markers", "name": "came on average", "x": said, "y": came,
        "text": [f"{group['rows']:,} rows" for group in groups],
        "hovertemplate": "predicted %{x:.2f} %, came %{y:.2f} %<br>%{text}<extra></extra>",
        "line": {"color": "--accent", "width": 1.5}, "marker": {"color": "--accent", "size": 9},
    }  # fmt: skip
    layout = {
        "xaxis": {"title": title("predicted return"), "ticksuffix": " %", "zeroline": True},
        "yaxis": {"title": title("mean return that came"), "ticksuffix": " %", "zeroline": True},
        "showlegend": True,
    }
    return {"data": [exact, points], "layout": layout}


def misses(told: Metrics) -> Figure:
    """Histogram of realised minus predicted; the outermost bars hold what lies beyond."""
    counts, width = told["counts"], 100 * told["width"]
    step = 2 * width / len(counts)
    middles = [round(-width + (place + 0.5) * step, 6) for place in range(len(counts))]
    bars = {
        "type": "bar", "x": middles, "y": counts, "marker": {"color": "--accent"}, "width": step * 0.92, "showlegend": False,
        "hovertemplate": "%{x:.2f} %: %{y:,} rows<extra></extra>",
    }  # fmt: skip
    layout = {
        "bargap": 0, "xaxis": {"title": title("realised minus predicted return"), "ticksuffix": " %", "zeroline": True},
        "yaxis": {"title": title("rows")},
        "shapes": [{"type": "line", "xref": "x", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1,
                    "line": {"color": "--muted", "width": 1, "dash": "dot"}}],
    }  # fmt: skip
    return {"data": [bars], "layout": layout}


def predictions(candles: Metrics | None, said: Metrics, edge: float) -> Figure:
    """The price above, predicted and realised returns below, both thinned to the same stretches of time.

    candles: times (ISO), open, high, low, close; None where there are no bars. said: times, predicted,
    realised (None where that is not known), and marks (time, signal, price, right) where every bar is drawn by itself.
    """
    data: list[dict[str, Any]] = []
    if candles:
        data.append(price_above(candles))
        data += [_marks(said.get("marks", ()), name) for name in MARKS]
    if said.get("realised"):
        data.append(line("came", said["times"], _percents(said["realised"]), "--hold", "dot", hovertemplate="%{y:.2f} %"))
        data[-1]["line"]["width"] = 1.2
    data.append(line("predicted", said["times"], _percents(said["predicted"]), "--accent", hovertemplate="%{y:.2f} %"))
    edges = [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y", "y0": height, "y1": height,
         "line": {"color": colour, "width": 1, "dash": "dash"}}
        for height, colour in ((100 * edge, "--buy"), (-100 * edge, "--sell"))
    ]  # fmt: skip
    layout: dict[str, Any] = {
        "hovermode": "x unified", "xaxis": {"type": "date", "rangeslider": {"visible": False}, "anchor": "y"},
        "yaxis": {"title": title("return ahead"), "ticksuffix": " %", "zeroline": True, "domain": [0, 0.4 if candles else 1]},
        "shapes": edges, "showlegend": True,
    }  # fmt: skip
    if candles:
        layout["yaxis2"] = {"title": title("price"), "domain": [0.46, 1], "anchor": "x"}
    return {"data": [trace for trace in data if trace], "layout": layout}


def _percents(returns: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(100 * value, 5) for value in returns]


def _marks(marks: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Filled where the price went that way, hollow where it did not."""
    own = [mark for mark in marks if mark["signal"] == name]
    if not own:
        return {}
    colour, shape = MARKS[name]
    return {
        "type": "scatter", "mode": "markers", "name": f"signal {name}", "yaxis": "y2", "x": [mark["time"] for mark in own],
        "y": [mark["price"] for mark in own], "text": ["right way" if mark["right"] else "wrong way" for mark in own],
        "hovertemplate": f"{name}, %{{text}}<extra></extra>",
        "marker": {"color": colour, "size": 8, "symbol": [shape if mark["right"] else f"{shape}-open" for mark in own]},
    }  # fmt: skip
