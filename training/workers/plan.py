"""The plan of a training: what it would do, as plain data; it trains and stores nothing but the feature cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from strategies_app.grammar.schema import StrategySpec
from training.core.memory import Footprint, size_text
from training.jobs import homes
from training.jobs.requests import effective_spec

#: Copies of the weights on the device: themselves, gradients and two moments.
ON_DEVICE = 4


def plan(text: str, label: str, options: dict[str, Any], worker: str = "") -> dict[str, Any]:
    """JSON-ready; reads bars and computes rows. `label` says where the text comes from, `worker` who would train."""
    spec = effective_spec(text, options)
    import numpy as np

    from training.pipeline.checks import label_report
    from training.pipeline.loading import load_bars
    from training.pipeline.prepare import FeatureCache, class_shares, footprint_of, is_in_file, prepare, return_figures
    from training.pipeline.splits import split_ledger
    from training.trainer.device import choose_device, device_name, precision_forecast, precision_remark
    from training.trainer.networks import build_network, parameter_count
    from training.trainer.targets import learn_target

    bars = load_bars(spec, Path(settings.STORE_DIR), threads=settings.DATA_THREADS)
    cache = FeatureCache(folder, settings.CACHE_LIMIT_BYTES) if (folder := homes.cache_folder()) else None
    prepared = prepare(spec, bars, cache=cache, data_threads=settings.DATA_THREADS, memory_limit=settings.MEMORY_LIMIT)
    taken = footprint_of(spec, bars, settings.DATA_THREADS, in_file=is_in_file(prepared))
    dataset, splits = prepared.dataset, prepared.splits
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    _, warnings = learn_target(dataset, splits, spec.training)  # refuses what training would refuse
    ones = np.ones(len(dataset.feature_names), dtype=np.float32)
    network = build_network(spec, len(ones), spec.output_count, 0 * ones, ones)
    device, wanted = choose_device(), spec.training.precision
    of_precision = precision_forecast(wanted, network) if worker else precision_remark(wanted, device, network)
    return {
        "strategy": f"{spec.name} ({label})",
        "symbols": _names(dataset.symbols),
        "timeframes": f"{', '.join(spec.timeframes)} (rows on {spec.base_timeframe})",
        "bars": bars_text(spec, bars.sources),
        "dates": f"{spec.training_data.start} to {spec.training_data.end}",
        "network": f"{spec.model.type}, {parameter_count(network):,} parameters, {len(dataset.feature_names)} features"
        f"{f' in windows of {spec.window} bars' if spec.window > 1 else ''}, "
        + (f"{len(dataset.class_names)} classes" if dataset.class_names else "one predicted return"),
        "memory": taken.words() + device_text(device, taken, parameter_count(network)),
        "worker": worker or f"this process, {device} ({device_name(device)})",
        "features": list(dataset.feature_names),
        "class_names": list(dataset.class_names),
        "split": in_times(split_ledger(dataset, splits, bars)),
        "class_shares": {name: class_shares(dataset, positions) for name, positions in parts.items() if len(positions)},
        "return_figures": {name: told for name, positions in parts.items() if (told := return_figures(dataset, positions))},
        "longest_look_ahead": longest_look_ahead(spec, dataset),
        "label_report": label_report(spec, bars, dataset, splits),
        "checks": dict(prepared.checks),
        "notes": [*prepared.notes, *warnings, *filter(None, [of_precision])],
    }


def in_times(ledger: dict[str, Any]) -> dict[str, Any]:
    """With `times`: where the sides begin and end, as every time of an answer is written; the numbers beside it are older."""
    from training.core.findings import iso

    spans = {
        symbol: [{**span, "first": iso(span["first"]), "last": iso(span["last"])} for span in of]
        for symbol, of in ledger["spans"].items()
    }
    moments = {name: [iso(time) for time in ledger[name]] for name in ("cuts", "embargo_ends")}
    times = {"start": iso(ledger["start"]), "end": iso(ledger["end"]), **moments, "spans": spans}
    return {**ledger, "times": times}


def _names(symbols: tuple[str, ...]) -> str:
    from training.store.coverage import MOST_NAMES, named

    return ", ".join(symbols) if len(symbols) <= MOST_NAMES else f"{len(symbols):,}: {named(symbols)}"


def bars_text(spec: StrategySpec, sources: Mapping[str, Mapping[str, str]]) -> str:
    """Which stored series each timeframe is taken from: `1h as stored, 4h resampled from 1h`."""
    from training.core.findings import counted

    told = []
    for timeframe in spec.timeframes:
        taken = Counter(sources[symbol][timeframe] for symbol in spec.symbols)
        ways = {s: "as stored" if s == timeframe else f"resampled from {s}" for s in taken}
        numbers = {s: f" ({counted(count, 'symbol')})" if len(taken) > 1 else "" for s, count in taken.items()}
        told.append(f"{timeframe} {' or '.join(ways[s] + numbers[s] for s in taken)}")
    return ", ".join(told)


def device_text(device: str, told: Footprint, weights: int) -> str:
    """What a graphics card has to hold, beside what is free on it; empty for the processor."""
    from training.trainer.batches import fits
    from training.trainer.device import free_memory

    free = free_memory(device)
    if free is None:
        return ""
    rows = told.features if fits(device, told.features, settings.RESIDENT_LIMIT_BYTES) else 0
    where = "rows included" if rows else "rows moved there batch by batch"
    return f"; on {device} about {size_text(rows + ON_DEVICE * 4 * weights + told.batch)} of {size_text(free)} free, {where}"


def longest_look_ahead(spec: StrategySpec, dataset: Any) -> int:
    """Base bars between a row and the bar that settles its label, at most."""
    import numpy as np

    from training.pipeline.features import duration

    rows = dataset.rows
    settled = np.searchsorted(dataset.clock, rows.label_ends - duration(spec.base_timeframe))
    return int((settled - np.searchsorted(dataset.clock, rows.times)).max())
