"""The plan of a training: what it would do, as plain data; it trains and stores nothing but the feature cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings

from strategies_app.schema import StrategySpec
from training.requests import effective_spec


def plan(text: str, label: str, options: dict[str, Any], worker: str = "") -> dict[str, Any]:
    """JSON-ready; reads bars and computes rows. `label` says where the text comes from, `worker` who would train."""
    spec = effective_spec(text, options)
    import numpy as np

    from training.pipeline.label_report import label_report
    from training.recipe import FeatureCache, class_shares, load_bars, prepare, return_figures, split_ledger
    from training.trainer.device import choose_device, device_name
    from training.trainer.networks import build_network, parameter_count
    from training.trainer.targets import learn_target

    bars = load_bars(spec, Path(settings.STORE_DIR))
    prepared = prepare(spec, bars, cache=FeatureCache(Path(settings.CACHE_DIR), settings.CACHE_LIMIT_BYTES))
    dataset, splits = prepared.dataset, prepared.splits
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    _, warnings = learn_target(dataset, splits, spec.training)  # refuses what training would refuse
    ones = np.ones(len(dataset.feature_names), dtype=np.float32)
    network = build_network(spec, len(ones), spec.output_count, 0 * ones, ones)
    device = choose_device()
    return {
        "strategy": f"{spec.name} ({label})",
        "symbols": ", ".join(dataset.symbols),
        "timeframes": f"{', '.join(spec.timeframes)} (rows on {spec.base_timeframe})",
        "dates": f"{spec.training_data.start} to {spec.training_data.end}",
        "network": f"{spec.model.type}, {parameter_count(network):,} parameters, {len(dataset.feature_names)} features, "
        + (f"{len(dataset.class_names)} classes" if dataset.class_names else "one predicted return"),
        "memory": memory_text(dataset.rows.features.nbytes, parameter_count(network)),
        "worker": worker or f"this process, {device} ({device_name(device)})",
        "features": list(dataset.feature_names),
        "class_names": list(dataset.class_names),
        "split": split_ledger(dataset, splits, bars),
        "class_shares": {name: class_shares(dataset, positions) for name, positions in parts.items() if len(positions)},
        "return_figures": {name: told for name, positions in parts.items() if (told := return_figures(dataset, positions))},
        "longest_look_ahead": longest_look_ahead(spec, dataset),
        "label_report": label_report(spec, bars, dataset, splits),
        "notes": [*prepared.notes, *warnings],
    }


def memory_text(features: int, parameters: int) -> str:
    """Features, and the network: weights, gradients, two moments, and copies of the best, last and saved state."""
    network = 4 * parameters * 10
    return f"about {(features + network) / 1e6:,.1f} MB: {features / 1e6:,.1f} features, {network / 1e6:,.1f} network"


def longest_look_ahead(spec: StrategySpec, dataset: Any) -> int:
    """Base bars between a row and the bar that settles its label, at most."""
    import numpy as np

    from training.pipeline.timeframes import duration

    rows = dataset.rows
    settled = np.searchsorted(dataset.clock, rows.label_ends - duration(spec.base_timeframe))
    return int((settled - np.searchsorted(dataset.clock, rows.times)).max())
