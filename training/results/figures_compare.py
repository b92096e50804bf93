"""Plotly figures of several trainings side by side, as plain data; see figures.py for the manner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.results.figures import Figure, Metrics, line, title

#: Runs are told apart by colour and dash together: five colours, then other dashes.
COLOURS = ("--accent", "--sell", "--buy", "--warn", "--hold")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def style_of(number: int) -> tuple[str, str]:
    """Colour and dash of the n-th run, the same in every picture."""
    return COLOURS[number % len(COLOURS)], DASHES[(number // len(COLOURS) + number) % len(DASHES)]


def short_name(name: str, most: int = 28) -> str:
    """Its beginning and its end: the number at the end tells runs of one strategy apart."""
    return name if len(name) <= most else f"{name[: most - 11]}…{name[-10:]}"


def overlay(runs: Sequence[tuple[str, Sequence[Metrics]]], key: str, what: str) -> Figure:
    """One measure of several runs by epoch; runs: (name, history)."""
    data = []
    for number, (name, history) in enumerate(runs):
        if any(epoch.get(key) is not None for epoch in history):
            colour, dash = style_of(number)
            data.append(line(short_name(name), [e["epoch"] + 1 for e in history], [e.get(key) for e in history], colour, dash))
    layout = {"hovermode": "x unified", "xaxis": {"title": title("epoch")}, "yaxis": {"title": title(what)}, "showlegend": True}
    return {"data": data, "layout": layout}


def parallel_coordinates(axes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Figure:
    """One line per run across all axes, each from its lowest to its highest value.

    axes: `{name, values}`, one value per run, None where it has none. A line breaks there.
    """
    places = list(range(len(axes)))
    scales = [_scale(axis["values"]) for axis in axes]
    data = []
    for number, name in enumerate(names):
        colour, dash = style_of(number)
        values = [axis["values"][number] for axis in axes]
        data.append(
            {"type": "scatter", "mode": "lines+markers", "name": short_name(name), "x": places,
             "y": [scale(value) for scale, value in zip(scales, values, strict=True)],
             "text": [f"{axis['name']} {_short(value)}" for axis, value in zip(axes, values, strict=True)],
             "hovertemplate": "%{text}", "line": {"color": colour, "width": 2, "dash": dash}, "marker": {"size": 7}}
        )  # fmt: skip
    layout = {
        "xaxis": {"tickvals": places, "ticktext": [_broken(axis["name"]) for axis in axes], "range": [-0.25, len(axes) - 0.75],
                  "fixedrange": True, "showgrid": True, "gridcolor": "--muted", "zeroline": False},
        "yaxis": {"visible": False, "range": [-0.16, 1.16], "fixedrange": True},
        "annotations": [note for place, axis in zip(places, axes, strict=True) for note in _ends(place, axis["values"])],
        "hovermode": "closest", "showlegend": True,
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _scale(values: Sequence[Any]) -> Any:
    """value → its height between 0 and 1; the middle where all are the same."""
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0, 0)
    return lambda value: None if value is None else 0.5 if high == low else (value - low) / (high - low)


def _ends(place: int, values: Sequence[Any]) -> list[dict[str, Any]]:
    """The lowest and the highest value, written at the ends of an axis."""
    known = [value for value in values if value is not None]
    if not known:
        return []
    ends = [(0.5, 12, min(known))] if min(known) == max(known) else [(0, -12, min(known)), (1, 12, max(known))]
    return [
        {"x": place, "y": height, "yshift": shift, "text": _short(value), "showarrow": False,
         "font": {"size": 11, "color": "--text"}, "bgcolor": "--surface"}
        for height, shift, value in ends
    ]  # fmt: skip


def _short(value: Any) -> str:
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _broken(name: str) -> str:
    """A path in two lines: its last part below."""
    head, _, tail = name.rpartition(".")
    return f"{head}<br>{tail}" if head else name
