"""A run's plan and result as tables that a trader can read; figures in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from training.core.findings import counted
from training.results import metric_table
from training.results.verdict import baseline_name, baselines_of, is_of_returns, judge, percent
from training.store.coverage import day_of

Metrics = Mapping[str, Any]
#: More symbols than these are read by nobody on a terminal.
MOST_SYMBOLS = 20


def result_tables(metrics: Metrics, split: Metrics) -> RenderableType:
    """The verdict in a sentence, the model beside its baselines on both splits, and every class or signal by itself."""
    parts: list[RenderableType] = [Text(verdict(metrics), style="bold"), *_caveats(metrics)]
    for name in ("validation", "test"):
        if metrics.get(name):
            begin, end = _span(split, name)
            parts += [Text(), _beside_baseline(f"{name.capitalize()}, {begin} to {end}", metrics[name])]
    seen = metrics.get("test") or metrics["validation"]
    parts += [Text(), _signals(seen) if is_of_returns(seen) else _classes(seen, metrics["class_names"])]
    if len(seen["per_symbol"]) > 1:
        parts += [Text(), _symbols(seen["per_symbol"])]
    training = metrics["training"]
    stopped = "stopped early" if training["early_stopped"] else "ran to the end"
    parts.append(
        Text(f"{counted(training['epochs_completed'], 'epoch')}, best {training['best_epoch'] + 1}, {stopped}", style="dim")
    )
    return Group(*parts)


def _caveats(metrics: Metrics) -> list[Text]:
    judged = judge(metrics)
    return [Text(caveat, style="dim") for caveat in judged.caveats] if judged else []


def verdict(metrics: Metrics) -> str:
    """What the model reaches beside its baselines, in words."""
    judged = judge(metrics)
    return f"{judged.headline} {judged.answer}" if judged else "There are no figures."


def _span(split: Metrics, name: str) -> tuple[str, str]:
    if name == "validation":
        return str(day_of(split["embargo_ends"][0])), str(day_of(min(split["cuts"][1], split["end"]) - 1))
    return str(day_of(split["embargo_ends"][1])), str(day_of(split["end"] - 1))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", header_style="dim")
    return table


def _list(title: str) -> Table:
    """Two columns without heads: a name and what it is."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2), show_header=False
    )
    table.add_column(style="dim")
    table.add_column()
    return table


def _beside_baseline(title: str, metrics: Metrics) -> Table:
    table = _table(title, "", *(word for _, word, _ in metric_table.columns_of(metrics)), "Loss")
    loss = "–" if metrics.get("loss") is None else f"{metrics['loss']:.4f}"
    table.add_row("This model", *_cells(metrics), loss, style="bold")
    for baseline in baselines_of(metrics):
        name = baseline_name(baseline)
        table.add_row(f"{name[:1].upper()}{name[1:]}", *_cells(baseline), "–")
    return table


def _cells(metrics: Metrics) -> list[str]:
    """As `measure_words` has them, closer together."""
    return [cell.replace(" %", "%") for cell in metric_table.cells_of(metrics)]


def _signals(metrics: Metrics) -> Table:
    table = _table(f"Signals (predicted return of {percent(metrics['edge'])} or more)", "", "Rows", "Mean return that followed")
    for name, told in metrics["signals"].items():
        table.add_row(name, f"{told['rows']:,}", percent(told["mean_return"]))
    return table


def _classes(metrics: Metrics, names: list[str]) -> Table:
    table = _table("Classes (rows: actual, columns: predicted)", "", *names, "Rows", "Precision", "Recall")
    for name, line in zip(names, metrics["confusion_matrix"], strict=True):
        of = metrics["per_class"][name]
        table.add_row(name, *(f"{n:,}" for n in line), f"{of['support']:,}", f"{of['precision']:.1%}", f"{of['recall']:.1%}")
    return table


def _symbols(per_symbol: Mapping[str, Metrics]) -> Table:
    columns = metric_table.columns_of(next(iter(per_symbol.values())))
    table = _table("Symbols", "", *(word for _, word, _ in columns))
    for symbol, metrics in islice(per_symbol.items(), MOST_SYMBOLS):
        table.add_row(symbol, *_cells(metrics))
    if len(per_symbol) > MOST_SYMBOLS:
        table.add_row(f"and {len(per_symbol) - MOST_SYMBOLS:,} more, on the page of the result")
    return table


def plan_tables(plan: Metrics) -> RenderableType:
    """What a training would do, without doing it."""
    facts = _list("Plan")
    for name in ("strategy", "symbols", "timeframes", "bars", "dates", "network", "memory", "worker"):
        facts.add_row(name, plan[name])
    split = plan["split"]
    rows = _table("Rows", "", "Rows", *metric_table.split_columns(plan))
    for name, count in split["rows"].items():
        rows.add_row(name, f"{count:,}", *(text for text, _ in metric_table.split_cells(plan, name)))
    for reason, count in split["dropped"].items():
        rows.add_row(f"dropped: {reason}", f"{count:,}")
    spans = [f"train to {day_of(split['cuts'][0] - 1)}"]
    spans += [f"{name} {' to '.join(_span(split, name))}" for name in ("validation", "test") if split["rows"][name]]
    features = _list(f"Features ({len(plan['features'])}, in order)")
    features.add_column(justify="right")
    for number, of in enumerate(plan["checks"]["inputs"]["features"]):
        features.add_row(str(number), of["name"], _figures_of(of))
    notes = [Text(f"note: {text}") for text in plan["notes"]]
    look = Text(f"a label looks at most {counted(plan['longest_look_ahead'], 'bar')} ahead")
    labels = _labels(plan["label_report"])
    return Group(facts, Text(), rows, Text(", ".join(spans)), look, Text(), labels, *notes, Text(), features)


def _figures_of(feature: Metrics) -> str:
    """What a feature looks like on the training rows."""
    drift = "" if feature["drift"] is None else f", drift {feature['drift']:.2f}"
    return f"{feature['lowest']:.4g} to {feature['highest']:.4g}{drift}"


def _labels(told: Metrics) -> RenderableType:
    """What the labels of the training rows are worth by themselves."""
    table = _table(
        f"Label statistics of the {told['rows']:,} training rows, from each bar to its label's end", "", *metric_table.COLUMNS
    )
    for name, cells in metric_table.label_lines(told):
        table.add_row(name, *cells)
    return Group(table, Text(metric_table.label_worth(told)))


def provenance_table(bundle: Any) -> RenderableType:
    """Where a model comes from: strategy, bars, split, versions."""
    facts = _list("Provenance")
    ledger = bundle.split
    facts.add_row("strategy", bundle.spec["name"])
    facts.add_row("dates", f"{day_of(ledger['start'])} to {day_of(ledger['end'] - 1)}")
    facts.add_row("features", str(len(bundle.feature_names)))
    facts.add_row("rows", ", ".join(f"{name} {count:,}" for name, count in ledger["rows"].items()))
    facts.add_row(
        "computed on", f"{bundle.device}, {bundle.threads} thread, engine {bundle.engine}, {bundle.precision}, seed {bundle.seed}"
    )
    facts.add_row("versions", ", ".join(f"{name} {version}" for name, version in bundle.versions.items()))
    for name, of in bundle.plugins.items():
        facts.add_row(name, f"{of['package']} {of['version']}, code {of['code']}")
    for symbol, timeframes in islice(bundle.fingerprints.items(), MOST_SYMBOLS):
        for timeframe, digest in timeframes.items():
            first = day_of(bundle.first_bars[symbol][timeframe])
            facts.add_row(f"bars {symbol} {timeframe}", f"from {first}, sha256 {digest[:16]}…")
    if len(bundle.fingerprints) > MOST_SYMBOLS:
        facts.add_row("bars", f"of {len(bundle.fingerprints) - MOST_SYMBOLS:,} more symbols, in the bundle's bundle.json")
    for note in bundle.notes:
        facts.add_row("note", note)
    return Group(Text(), facts)
