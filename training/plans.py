"""The plan of a training: what it would do, as plain data; it trains and stores nothing but the feature cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings

from strategies_app.schema import Recurrent, StrategySpec
from training.requests import effective_spec


def plan(text: str, label: str, options: dict[str, Any], worker: str = "") -> dict[str, Any]:
    """JSON-ready; reads bars and computes rows. `label` says where the text comes from, `worker` who would train."""
    spec = effective_spec(text, options)
    import numpy as np

    from training.pipeline.label_report import label_report
    from training.recipe import FeatureCache, class_shares, load_bars, prepare, return_figures, split_ledger
    from training.trainer import precision
    from training.trainer.device import choose_device, device_name
    from training.trainer.networks import build_network, parameter_count
    from training.trainer.targets import learn_target

    bars = load_bars(spec, Path(settings.STORE_DIR), threads=settings.DATA_THREADS)
    cache = FeatureCache(Path(settings.CACHE_DIR), settings.CACHE_LIMIT_BYTES)
    prepared = prepare(spec, bars, cache=cache, data_threads=settings.DATA_THREADS)
    dataset, splits = prepared.dataset, prepared.splits
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    _, warnings = learn_target(dataset, splits, spec.training)  # refuses what training would refuse
    ones = np.ones(len(dataset.feature_names), dtype=np.float32)
    network = build_network(spec, len(ones), spec.output_count, 0 * ones, ones)
    device, wanted = choose_device(), spec.training.precision
    told = precision.forecast(wanted, network) if worker else precision.remark(wanted, device, network)
    return {
        "strategy": f"{spec.name} ({label})",
        "symbols": _names(dataset.symbols),
        "timeframes": f"{', '.join(spec.timeframes)} (rows on {spec.base_timeframe})",
        "dates": f"{spec.training_data.start} to {spec.training_data.end}",
        "network": f"{spec.model.type}, {parameter_count(network):,} parameters, {len(dataset.feature_names)} features"
        f"{f' in windows of {spec.window} bars' if spec.window > 1 else ''}, "
        + (f"{len(dataset.class_names)} classes" if dataset.class_names else "one predicted return"),
        "memory": memory_text(dataset.rows.features.nbytes, parameter_count(network), batch_bytes(spec, len(ones))),
        "worker": worker or f"this process, {device} ({device_name(device)})",
        "features": list(dataset.feature_names),
        "class_names": list(dataset.class_names),
        "split": split_ledger(dataset, splits, bars),
        "class_shares": {name: class_shares(dataset, positions) for name, positions in parts.items() if len(positions)},
        "return_figures": {name: told for name, positions in parts.items() if (told := return_figures(dataset, positions))},
        "longest_look_ahead": longest_look_ahead(spec, dataset),
        "label_report": label_report(spec, bars, dataset, splits),
        "checks": dict(prepared.checks),
        "notes": [*prepared.notes, *warnings, *([told] if told else [])],
    }


def _names(symbols: tuple[str, ...]) -> str:
    from training.pipeline.coverage import MOST_NAMES, named

    return ", ".join(symbols) if len(symbols) <= MOST_NAMES else f"{len(symbols):,}: {named(symbols)}"


#: Numbers that torch's layers keep per unit and bar until their gradients are known; units are counted in steps.
KEPT_BY, LAYER_STEP = {"lstm": 17, "gru": 8}, 16


def memory_text(features: int, parameters: int, batch: int = 0) -> str:
    """Features, the network (weights, gradients, two moments, and copies of the best, last and saved state), and a batch."""
    network = 4 * parameters * 10
    parts = [f"features {_size(features)}", f"network {_size(network)}"]
    parts += [f"a batch of windows {_size(batch)}"] if batch else []
    return f"about {_size(features + network + batch)}: {', '.join(parts)}"


def batch_bytes(spec: StrategySpec, features: int) -> int:
    """What a step takes for a batch of windows, 0 for single bars: the bars twice (gathered and normalized), what torch keeps
    of every layer for the way back, and the gradients of one of them."""
    if not isinstance(spec.model, Recurrent):
        return 0
    wanted = spec.model.architecture
    width = -(-wanted.hidden_size // LAYER_STEP) * LAYER_STEP
    per_bar = 2 * features + (wanted.num_layers * KEPT_BY[spec.model.type] + 5) * width
    return 4 * spec.training.batch_size * spec.window * per_bar


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"


def longest_look_ahead(spec: StrategySpec, dataset: Any) -> int:
    """Base bars between a row and the bar that settles its label, at most."""
    import numpy as np

    from training.pipeline.timeframes import duration

    rows = dataset.rows
    settled = np.searchsorted(dataset.clock, rows.label_ends - duration(spec.base_timeframe))
    return int((settled - np.searchsorted(dataset.clock, rows.times)).max())
