"""Plotly figures of trainings, alone and side by side, of classes and returns, as plain data, the same for page and report.

A figure is `{"data": [...], "layout": {...}}`; the browser puts the theme's colours in. Only traces
that are drawn as SVG, and nothing told by colour alone: lines differ in dash, cells carry their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Figure = dict[str, Any]
Metrics = Mapping[str, Any]

#: Classes have their colour and dash everywhere.
CLASS_COLOURS = {
    "BUY": "--buy", "BULLISH": "--buy", "UP": "--buy", "HOLD": "--hold", "NEUTRAL": "--hold", "RANGING": "--hold",
    "SELL": "--sell", "BEARISH": "--sell", "DOWN": "--sell", "VOLATILE": "--warn",
}  # fmt: skip
CLASS_DASHES = {"--buy": "solid", "--hold": "dot", "--sell": "dash", "--warn": "dashdot"}
CLASS_SHAPES = {"--buy": "triangle-up", "--sell": "triangle-down", "--warn": "diamond"}
#: Parts of the split ledger: word and colour. They also differ in place, and the thin ones in height.
PARTS = {
    "train": ("train", "--accent"), "purged": ("purged", "--warn"), "embargoed": ("embargo", "--faint"),
    "crossing": ("window", "--text"),
    "validation": ("validation", "--buy"), "test": ("test", "--sell"),
}  # fmt: skip
WORDS = {
    "val_accuracy": "accuracy",
    "val_balanced_accuracy": "balanced",
    "val_mcc": "MCC",
}
WORDS_OF_RETURNS = {"val_ic": "IC", "val_rank_ic": "rank IC", "val_sign_accuracy": "sign right"}


def line(name: str, x: Sequence[Any], y: Sequence[Any], colour: str, dash: str = "solid", **more: Any) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y),
            "line": {"color": colour, "width": 2, "dash": dash}, **more}  # fmt: skip


def title(text: str) -> dict[str, Any]:
    """An axis title."""
    return {"text": text, "font": {"size": 12, "color": "--muted"}, "standoff": 8}


def learning_curves(history: Sequence[Metrics], best_epoch: int | None) -> Figure:
    """Loss of training and validation by epoch, counted from 1 as people do, with the epoch whose weights were kept."""
    epochs = [epoch["epoch"] + 1 for epoch in history]
    data = [
        line("training", epochs, [epoch["train_loss"] for epoch in history], "--accent"),
        line("validation", epochs, [epoch["val_loss"] for epoch in history], "--sell", "dash"),
    ]
    return {"data": data, "layout": _by_epoch("loss", best_epoch, len(history))}


def measure_curves(history: Sequence[Metrics], best_epoch: int | None) -> Figure:
    """What validation measured by epoch, of classes or of returns."""
    words = WORDS_OF_RETURNS if any("val_ic" in epoch for epoch in history) else WORDS
    styles = (("--accent", "solid"), ("--buy", "dash"), ("--sell", "dot"))
    epochs = [epoch["epoch"] + 1 for epoch in history]
    data = [
        line(word, epochs, [epoch.get(key) for epoch in history], colour, dash)
        for (key, word), (colour, dash) in zip(words.items(), styles, strict=True)
        if any(epoch.get(key) is not None for epoch in history)
    ]
    return {"data": data, "layout": _by_epoch("validation rows", best_epoch, len(history))}


def _by_epoch(what: str, best_epoch: int | None, epochs: int) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "hovermode": "x unified",
        "xaxis": {"title": title("epoch"), **({"dtick": 1} if epochs < 8 else {})},
        "yaxis": {"title": title(what)},
    }
    if best_epoch is not None:
        at = best_epoch + 1
        layout["shapes"] = [
            {"type": "line", "xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1,
             "line": {"color": "--good", "width": 1.5, "dash": "dot"}}
        ]  # fmt: skip
        late = at > 0.75 * epochs
        layout["annotations"] = [
            {"x": at, "xref": "x", "y": 1, "yref": "paper", "yanchor": "top", "xanchor": "right" if late else "left",
             "text": f" best {at} ", "showarrow": False, "font": {"color": "--good", "size": 12}, "bgcolor": "--surface"}
        ]  # fmt: skip
    return layout


def confusion_matrix(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """Rows are the true class, columns the called one; each cell holds its count and its share of the row."""
    shares = [[cell / sum(row) if sum(row) else 0.0 for cell in row] for row in matrix]
    texts = [
        [f"<b>{cell:,}</b><br>{share:.0%}" for cell, share in zip(row, part, strict=True)]
        for row, part in zip(matrix, shares, strict=True)
    ]
    data = {
        "type": "heatmap", "x": list(names), "y": list(names), "z": shares, "zmin": 0, "zmax": 1, "showscale": False,
        "colorscale": [[0, "--surface"], [1, "--accent"]], "xgap": 3, "ygap": 3, "hoverinfo": "skip",
    }  # fmt: skip
    notes = [
        {"x": called, "y": true, "xref": "x", "yref": "y", "text": texts[r][c], "showarrow": False,
         "font": {"size": 13, "color": "--on-accent" if shares[r][c] > 0.55 else "--text"}}
        for r, true in enumerate(names) for c, called in enumerate(names)
    ]  # fmt: skip
    # Four names do not fit beside each other: they stand aslant, with room above them.
    many = len(names) > 3
    aslant = {"tickangle": -35, "title": title("predicted") | {"standoff": 4}} if many else {"title": title("predicted")}
    layout = {
        "xaxis": {"side": "top", "fixedrange": True, "showgrid": False, "ticks": ""} | aslant,
        "yaxis": {"title": title("actual"), "autorange": "reversed", "fixedrange": True, "showgrid": False, "ticks": ""},
        "margin": {"l": 78, "r": 34 if many else 12, "t": 84 if many else 58, "b": 12}, "annotations": notes,
    }  # fmt: skip
    return {"data": [data], "layout": layout}


#: Symbols that a split ledger draws.
MOST_LEDGER_LINES = 40


def split_ledger(spans: Mapping[str, Sequence[Metrics]]) -> Figure:
    """Where each symbol's rows went, on one time axis; symbol → spans (part, first and last row in µs, rows).

    Of many symbols the first: more lines are neither drawn in time nor read.
    """
    symbols = list(spans)[:MOST_LEDGER_LINES]
    data = []
    for part, (word, colour) in PARTS.items():
        found = [(symbol, span) for symbol in symbols for span in spans[symbol] if span["part"] == part]
        if not found:
            continue
        data.append(
            {"type": "bar", "orientation": "h", "name": word, "y": [symbol for symbol, _ in found],
             "base": [millis(span["first"]) for _, span in found],
             "x": [max(millis(span["last"]) - millis(span["first"]), 1) for _, span in found],
             "customdata": [[f"{span['rows']:,} rows", day(span["first"]), day(span["last"])] for _, span in found],
             "hovertemplate": "%{y}: " + word + "<br>%{customdata[1]} to %{customdata[2]}<br>%{customdata[0]}<extra></extra>",
             "width": 0.58 if part in ("train", "validation", "test") else 0.8,
             "marker": {"color": colour, "line": {"width": 1, "color": colour}}}
        )  # fmt: skip
    height = 92 + 30 * max(len(symbols), 1)
    layout = {
        "barmode": "overlay", "height": height, "bargap": 0.2,
        "xaxis": {"type": "date"}, "yaxis": {"autorange": "reversed", "showgrid": False, "type": "category"},
    }  # fmt: skip
    # On a narrow page two names stand side by side above the bars, which keep their room.
    legend = 20 * ((len(data) + 1) // 2)
    narrow = {"height": height - 14 + legend, "margin": {"l": 48, "r": 12, "t": 14 + legend, "b": 36}}
    return {"data": data, "layout": layout, "narrow": narrow}


def importance_bars(parts: Mapping[str, Metrics], most: int = 25, what: str = "balanced accuracy") -> Figure:
    """Loss of what is measured in points when an input is shuffled, largest first, with its spread over the repeats."""
    ranked = sorted(parts.items(), key=lambda part: -part[1]["mean"])[:most]
    means, spreads = [100 * part["mean"] for _, part in ranked], [100 * part["spread"] for _, part in ranked]
    data = {
        "type": "bar", "orientation": "h", "y": [name for name, _ in ranked], "x": means,
        "error_x": {"type": "data", "array": spreads, "color": "--text", "thickness": 1.2, "width": 3},
        "marker": {"color": ["--accent" if part["mean"] > part["spread"] else "--faint" for _, part in ranked]},
        "hovertemplate": "%{y}: %{x:.2f} ± %{error_x.array:.2f} points<extra></extra>", "showlegend": False,
    }  # fmt: skip
    layout = {
        "height": 76 + 24 * max(len(ranked), 1), "bargap": 0.35, "margin": {"l": 48, "r": 16, "t": 10, "b": 44},
        "xaxis": {"title": title(f"points of {what} lost"), "zeroline": True},
        "yaxis": {"autorange": "reversed", "type": "category", "showgrid": False, "tickfont": {"size": 11.5, "color": "--muted"}},
    }  # fmt: skip
    return {"data": [data], "layout": layout}


def price_above(candles: Metrics) -> dict[str, Any]:
    """The candles of the upper of two pictures."""
    return {
        "type": "candlestick", "name": "price", "x": candles["times"], "open": candles["open"], "high": candles["high"],
        "low": candles["low"], "close": candles["close"], "yaxis": "y2", "showlegend": False,
        "increasing": {"line": {"color": "--buy", "width": 1}}, "decreasing": {"line": {"color": "--sell", "width": 1}},
    }  # fmt: skip


def probabilities(candles: Metrics | None, said: Metrics, names: Sequence[str]) -> Figure:
    """The price above, what the model said below; both thinned to the same stretches of time.

    candles: times (ISO), open, high, low, close; None where there are no bars. said: times, classes → mean
    probability, and marks (time, class, price, right) where every bar is drawn by itself.
    """
    data: list[dict[str, Any]] = []
    if candles:
        data.append(price_above(candles))
        data += [_marks(said.get("marks", ()), name) for name in names if CLASS_COLOURS.get(name) in CLASS_SHAPES]
    for name in names:
        colour = CLASS_COLOURS.get(name, "--accent")
        dash = CLASS_DASHES.get(colour, "solid")
        data.append(line(name, said["times"], said["classes"][name], colour, dash, hovertemplate="%{y:.0%}", connectgaps=False))
        data[-1]["line"]["width"] = 1.4
    layout: dict[str, Any] = {
        "hovermode": "x unified", "xaxis": {"type": "date", "rangeslider": {"visible": False}, "anchor": "y"},
        "yaxis": {"title": title("probability"), "range": [0, 1], "tickformat": ".0%", "domain": [0, 0.36 if candles else 1]},
    }  # fmt: skip
    if candles:
        layout["yaxis2"] = {"title": title("price"), "domain": [0.42, 1], "anchor": "x"}
    return {"data": [trace for trace in data if trace], "layout": layout}


def _marks(marks: Sequence[Metrics], name: str) -> dict[str, Any]:
    """Filled where the class was right, hollow where it was not; upwards for a rise, downwards for a fall, else a diamond."""
    own = [mark for mark in marks if mark["class"] == name]
    if not own:
        return {}
    colour = CLASS_COLOURS[name]
    shape = CLASS_SHAPES[colour]
    return {
        "type": "scatter", "mode": "markers", "name": f"called {name}", "yaxis": "y2", "x": [mark["time"] for mark in own],
        "y": [mark["price"] for mark in own], "text": ["right" if mark["right"] else "wrong" for mark in own],
        "hovertemplate": f"called {name}, %{{text}}<extra></extra>",
        "marker": {"color": colour, "size": 8, "symbol": [shape if mark["right"] else f"{shape}-open" for mark in own]},
    }  # fmt: skip


def millis(micros: int) -> int:
    return micros // 1000


def day(micros: int) -> str:
    from training.store.coverage import day_of

    return day_of(micros).isoformat()


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
        data += [_return_marks(said.get("marks", ()), name) for name in MARKS]
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


def _return_marks(marks: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
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
