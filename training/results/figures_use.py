"""What a run used of its machine, as Plotly figures and as lines of a table: plain data in, plain data out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from training.results.figures import Figure, line, title

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
