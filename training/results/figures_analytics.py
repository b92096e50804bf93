"""Figures of detailed analytics and of what a run used of its machine: plain data in, plain data out, see figures.py."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from training.results.figures import CLASS_COLOURS, CLASS_DASHES, Figure, line, title

Records = Sequence[Mapping[str, Any]]
#: A run of more epochs than this is thinned for drawing; the files have all.
MOST_EPOCHS = 400


def thinned(epochs: Records) -> Records:
    """Evenly spread, the last one included."""
    if len(epochs) <= MOST_EPOCHS:
        return epochs
    step = (len(epochs) - 1) / (MOST_EPOCHS - 1)
    return [epochs[round(number * step)] for number in range(MOST_EPOCHS)]


def layer_map(epochs: Records, key: str, word: str) -> Figure:
    """Layers × epochs, the first layer on top; colour is the decimal logarithm, the figure itself is told at each cell."""
    names = list(epochs[-1]["layers"])
    values = [[record["layers"][name].get(key) for record in epochs] for name in names]
    powers = [[math.log10(value) if value else None for value in row] for row in values]
    known = [power for row in powers for power in row if power is not None]
    ticks = list(range(math.floor(min(known, default=0)), math.ceil(max(known, default=0)) + 1))
    ticks = ticks[:: max(1, len(ticks) // 5)]
    data = {
        "type": "heatmap", "x": _numbers(epochs), "y": names, "z": powers, "customdata": values, "hoverongaps": False,
        "colorscale": [[0, "--surface"], [1, "--accent"]], "xgap": 1 if len(epochs) <= 30 else 0, "ygap": 2,
        "hovertemplate": f"%{{y}}, epoch %{{x}}: {word} %{{customdata:.3g}}<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickvals": ticks, "ticktext": [f"1e{tick}" for tick in ticks],
                     "tickfont": {"color": "--muted"}},
    }  # fmt: skip
    layout = {
        "height": 96 + 34 * len(names),
        "xaxis": _epoch_axis(len(epochs)) | {"showgrid": False},
        "yaxis": {"autorange": "reversed", "type": "category", "showgrid": False},
    }
    return {"data": [data], "layout": layout}


def calibration(curve: Records) -> Figure:
    """How often it was right where it was so sure; on the straight line it is as right as it says."""
    told = [f"{point['rows']:,} rows" for point in curve]
    data = [
        line("as right as it says", [0, 1], [0, 1], "--faint", "dot", hoverinfo="skip"),
        line("this run", [point["confidence"] for point in curve], [point["right"] for point in curve], "--accent", text=told,
             hovertemplate="%{x:.0%} sure, %{y:.0%} right, %{text}<extra></extra>"),
    ]  # fmt: skip
    data[1] |= {"mode": "lines+markers", "marker": {"color": "--accent", "size": 7}}
    share = {"range": [0, 1.02], "tickformat": ".0%"}
    layout = {"xaxis": share | {"title": title("how sure")}, "yaxis": share | {"title": title("how often right")}}
    return {"data": data, "layout": layout}


def shares(counts: Sequence[int], what: str) -> Figure:
    """Rows by bins of equal width over [0, 1]."""
    width = 1 / len(counts)
    data = {
        "type": "bar", "x": [(place + 0.5) * width for place in range(len(counts))], "y": list(counts),
        "width": [width] * len(counts),
        "marker": {"color": "--accent", "line": {"color": "--surface", "width": 1}}, "showlegend": False,
        "hovertemplate": "%{x:.2f}: %{y:,} rows<extra></extra>",
    }  # fmt: skip
    return {"data": [data], "layout": {"xaxis": {"title": title(what), "range": [0, 1]}, "yaxis": {"title": title("rows")}}}


def residuals(edges: Sequence[float], counts: Sequence[int]) -> Figure:
    """Rows by what came less what was predicted, in percent; the outermost bars hold what lies beyond."""
    middles = [50 * (low + high) for low, high in pairwise(edges)]
    width = 100 * (edges[1] - edges[0])
    data = {
        "type": "bar", "x": middles, "y": list(counts), "width": [width] * len(counts), "showlegend": False,
        "marker": {"color": "--accent", "line": {"color": "--surface", "width": 1}},
        "hovertemplate": "%{x:.2f} %: %{y:,} rows<extra></extra>",
    }  # fmt: skip
    layout = {"xaxis": {"title": title("came less predicted, %"), "zeroline": True}, "yaxis": {"title": title("rows")}}
    return {"data": [data], "layout": layout}


def over_fitting(epochs: Records) -> Figure:
    """How far the validation loss lies above its best so far, in percent; the best epoch and plateaus are marked."""
    values = [None if record["over_fitting"] is None else 100 * record["over_fitting"] for record in epochs]
    data = [line("over its best", _numbers(epochs), values, "--sell", hovertemplate="%{y:.1f} %")]
    best = next((record["epoch"] + 1 for record in reversed(epochs) if record["best"]), None)
    layout: dict[str, Any] = {
        "hovermode": "x unified", "xaxis": _epoch_axis(len(epochs)), "showlegend": False, "shapes": [], "annotations": [],
        "yaxis": {"title": title("validation loss over its best, %"), "rangemode": "tozero"},
    }  # fmt: skip
    for first, last in plateaus(epochs):
        layout["shapes"].append(_band(first, last))
        layout["annotations"].append(_mark((first + last) / 2, "plateau", "--muted", 0.0, "bottom"))
    if best is not None:
        layout["shapes"].append(
            {"type": "line", "x0": best, "x1": best, "y0": 0, "y1": 1, "yref": "paper",
             "line": {"color": "--good", "width": 1.5, "dash": "dot"}}
        )  # fmt: skip
        layout["annotations"].append(_mark(best, f"best {best}", "--good", 1.0, "top"))
    return {"data": data, "layout": layout}


def plateaus(epochs: Records) -> list[tuple[int, int]]:
    """First and last epoch, counted from 1, of each stretch of plateau."""
    found: list[tuple[int, int]] = []
    last = None
    for record in epochs:
        number = record["epoch"] + 1
        if record["plateau"]:
            found = [*found[:-1], (found[-1][0], number)] if last and found else [*found, (number, number)]
        last = record["plateau"]
    return found


def by_class(epochs: Records, key: str) -> Figure:
    """Precision or recall of each class by epoch."""
    data = []
    for name in epochs[-1]["per_class"]:
        colour = CLASS_COLOURS.get(name, "--accent")
        values = [record["per_class"][name][key] for record in epochs]
        data.append(line(name, _numbers(epochs), values, colour, CLASS_DASHES.get(colour, "solid"), hovertemplate="%{y:.0%}"))
    axis = {"title": title(key), "range": [0, 1.02], "tickformat": ".0%"}
    return {"data": data, "layout": {"hovermode": "x unified", "xaxis": _epoch_axis(len(epochs)), "yaxis": axis}}


def signal(epochs: Records) -> Figure:
    """The share of the gradient that batches agree on; the balance of classes beside it where there are classes."""
    data = [line("signal", _numbers(epochs), [record["signal"] for record in epochs], "--accent")]
    if "balance" in epochs[-1]:
        data.append(line("class balance", _numbers(epochs), [record["balance"] for record in epochs], "--buy", "dash"))
    axis = {"title": title("0 none, 1 all"), "range": [0, 1.02]}
    return {"data": data, "layout": {"hovermode": "x unified", "xaxis": _epoch_axis(len(epochs)), "yaxis": axis}}


def _numbers(epochs: Records) -> list[int]:
    return [record["epoch"] + 1 for record in epochs]


def _epoch_axis(epochs: int) -> dict[str, Any]:
    return {"title": title("epoch"), **({"dtick": 1} if epochs < 8 else {})}


def _band(first: int, last: int) -> dict[str, Any]:
    return {"type": "rect", "x0": first - 0.5, "x1": last + 0.5, "y0": 0, "y1": 1, "yref": "paper", "fillcolor": "--faint/12",
            "line": {"width": 0}, "layer": "below"}  # fmt: skip


def _mark(x: float, text: str, colour: str, y: float, anchor: str) -> dict[str, Any]:
    return {"x": x, "y": y, "yref": "paper", "yanchor": anchor, "text": text, "showarrow": False,
            "font": {"color": colour, "size": 12}, "bgcolor": "--surface"}  # fmt: skip


#: One attempt: `began` (datetime), `seconds` between points, `points` name → values, `facts`.
Use = Mapping[str, Any]
GB = 1e9
#: Free memory is short if it is less than so many times what the training takes.
SHORT = 3
#: Name → words, unit, its share of a stored value, colour, dash.
LINES: dict[str, tuple[str, str, float, str, str]] = {
    "cpu": ("this training", "cores", 1.0, "--accent", "solid"),
    "machine_cpu": ("all cores of the machine", "cores", 1.0, "--muted", "dot"),
    "gpu": ("graphics card", "%", 1.0, "--sell", "dash"),
    "memory": ("this training", "GB", GB, "--accent", "solid"),
    "machine_memory": ("free on the machine", "GB", GB, "--muted", "dot"),
    "gpu_memory": ("graphics card", "GB", GB, "--sell", "dash"),
}
TABLE = {
    "cpu": "Processor, this training", "machine_cpu": "Processor, whole machine", "memory": "Memory, this training",
    "machine_memory": "Memory, free on the machine", "gpu": "Graphics card at work", "gpu_memory": "Graphics card, memory in use",
    "disk": "Disk, free",
}  # fmt: skip


def processor(uses: Sequence[Use]) -> Figure:
    """Cores at work; a graphics card in percent on an axis of its own."""
    data = _lines(uses, ("cpu", "machine_cpu", "gpu"))
    layout = _by_time("cores")
    if any("gpu" in use["points"] for use in uses):
        layout["yaxis2"] = {
            "title": title("card, %"),
            "range": [0, 100],
            "tickmode": "array",
            "tickvals": [0, 50, 100],
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
        }
        layout["margin"] = {"l": 48, "r": 48, "t": 34, "b": 36}
    return {"data": data, "layout": layout}


def memory(uses: Sequence[Use]) -> Figure:
    """Memory in use; what is free on the machine only where it is short, since it would flatten the rest."""
    own, free = (
        [value for use in uses for value in use["points"].get(name) or () if value] for name in ("memory", "machine_memory")
    )
    short = bool(own and free) and min(free) < SHORT * max(own)
    names = ("memory", "machine_memory", "gpu_memory") if short else ("memory", "gpu_memory")
    return {"data": _lines(uses, names), "layout": _by_time("GB")}


def _by_time(unit: str) -> dict[str, Any]:
    return {
        "hovermode": "x unified", "xaxis": {"type": "date"}, "yaxis": {"title": title(unit), "rangemode": "tozero"},
    }  # fmt: skip


def _lines(uses: Sequence[Use], names: Sequence[str]) -> list[dict[str, Any]]:
    """One line per quantity; between two attempts it is broken."""
    data = []
    for name in names:
        words, unit, share, colour, dash = LINES[name]
        x: list[str | None] = []
        y: list[float | None] = []
        for use in uses:
            values = use["points"].get(name)
            if values is None:
                continue
            factor = use["facts"].get("cores", 1) / 100 if name == "machine_cpu" else 1 / share
            x += [_at(use, place) for place in range(len(values))] + [_at(use, len(values))]
            y += [None if value is None else round(value * factor, 4) for value in values] + [None]
        if x:
            more = {"yaxis": "y2"} if name == "gpu" else {}
            data.append(line(words, x, y, colour, dash, hovertemplate=f"%{{y:.3~g}} {unit}", connectgaps=False, **more))
    return data


def _at(use: Use, place: int) -> str:
    moment: dt.datetime = use["began"] + dt.timedelta(seconds=(place + 1) * use["seconds"])
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def table(uses: Sequence[Use]) -> list[dict[str, str]]:
    """Mean and extreme of each quantity over all attempts, in words; free memory and disk have their least."""
    found = []
    for name, words in TABLE.items():
        values = [value for use in uses for value in use["points"].get(name) or () if value is not None]
        if not values:
            continue
        which, extreme = ("least", min(values)) if name in ("machine_memory", "disk") else ("most", max(values))
        mean = sum(values) / len(values)
        found.append({"name": words, "mean": _text(name, mean), "extreme": f"{which} {_text(name, extreme)}"})
    return found


def facts(uses: Sequence[Use]) -> str:
    """The machine of the last attempt in a few words."""
    told = uses[-1]["facts"] if uses else {}
    words = [f"{told['cores']} cores"] if told.get("cores") else []
    words += [f"{told['memory'] / GB:.0f} GB memory"] if told.get("memory") else []
    if told.get("gpu"):
        size = told.get("gpu_memory")
        words.append(f"{told['gpu']}, {size / GB:.0f} GB" if size else str(told["gpu"]))
    return " · ".join(words)


def _text(name: str, value: float) -> str:
    if name in ("machine_cpu", "gpu"):
        return f"{value:.0f} %"
    if name == "cpu":
        return f"{value:.2f} cores"
    return f"{value / 1e6:,.0f} MB" if value < GB else f"{value / GB:,.1f} GB"
