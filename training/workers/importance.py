"""What a trained model goes by: its validation rows made again, and the importance of each input on them, kept with the model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone

from strategies_app.grammar.schema import RawInput, StrategySpec
from training.jobs import homes
from training.models import TrainedModel
from training.workers.prediction import ModelError, open_model

if TYPE_CHECKING:
    from training.pipeline.prepare import Prepared
    from training.trainer.bundle import Bundle

#: A question has 30 s: so much of it goes into shuffling, and of so many rows at most (of windows fewer, but never so few).
BUDGET_SECONDS, MAX_ROWS, LEAST_ROWS = 18.0, 20_000, 500


def importance(name: str) -> dict[str, Any]:
    """Drop of balanced accuracy, or of R² for returns, on validation rows per feature and per fuzzy set.

    Computed once, then read from the model.

    ModelError if the rows cannot be made as they were, or if there is not enough time for two rounds.
    """
    row = TrainedModel.objects.filter(name=name).first()
    if row is not None and row.importance:
        return dict(row.importance)
    began = time.monotonic()
    bundle = open_model(name)
    spec = StrategySpec.model_validate(bundle.spec)
    prepared = _rows_again(bundle, spec)
    found = _shuffle(bundle, spec, prepared, began + BUDGET_SECONDS)
    if row is not None:
        TrainedModel.objects.filter(pk=row.pk).update(importance=found)
    return found


def _shuffle(bundle: Bundle, spec: StrategySpec, prepared: Prepared, until: float) -> dict[str, Any]:
    from training.trainer.importance import LEAST_REPEATS, permutation_importance

    # A window takes about as long as its bars one by one.
    most = max(MAX_ROWS // prepared.dataset.window, LEAST_ROWS)
    positions = _sample(prepared.splits.validation, bundle.seed, most)
    rows = prepared.dataset.rows
    features = {name: [place] for place, name in enumerate(bundle.feature_names)}
    sets = input_groups(spec)
    asked = {f"set {name}": columns for name, columns in sets.items()} | {f"feature {name}": c for name, c in features.items()}
    # Returns in the units of the network's answer; class numbers as they are.
    labels = rows.labels if bundle.target_scale is None else rows.labels / bundle.target_scale
    centre = float(labels[prepared.splits.train].mean())
    found = permutation_importance(
        bundle.network, rows.features, labels[positions], rows.symbols[positions], asked,
        len(bundle.class_names), bundle.seed, lambda: time.monotonic() < until, rows.last_bars(positions), centre,
    )  # fmt: skip
    if found["repeats"] < LEAST_REPEATS:
        raise ModelError(
            f"{len(asked):,} inputs on {len(positions):,} rows take too long for a quick question: "
            f"{found['repeats']} whole rounds were made, wanted {LEAST_REPEATS}"
        )
    parts = found.pop("inputs")
    return found | {
        "measure": "balanced_accuracy" if bundle.class_names else "r2",
        "rows": len(positions),
        "of_rows": len(prepared.splits.validation),
        "seed": bundle.seed,
        "computed": timezone.now().isoformat(timespec="seconds"),
        "features": {name: parts[f"feature {name}"] for name in features},
        "sets": {name: parts[f"set {name}"] for name in sets},
    }


def input_groups(spec: StrategySpec) -> dict[str, list[int]]:
    """Entry of nn_inputs → its columns on all timeframes and lags; entries that name the same thing are one."""
    groups: dict[str, list[int]] = {}
    place = 0
    for entry in spec.nn_inputs:
        name = entry.raw_indicator if isinstance(entry, RawInput) else entry.fuzzy_set
        width = 1 if isinstance(entry, RawInput) else len(spec.fuzzy_sets[entry.fuzzy_set].memberships)
        count = width * len(spec.input_timeframes(entry))
        groups.setdefault(name, []).extend(range(place, place + count))
        place += count
    lags = spec.model.features.lookback_periods
    return {name: [lag * place + column for lag in range(lags + 1) for column in columns] for name, columns in groups.items()}


def _rows_again(bundle: Bundle, spec: StrategySpec) -> Prepared:
    """The rows of training; ModelError if the stored bars do not give the same validation rows any more."""
    import numpy as np

    from training.pipeline.loading import load_bars
    from training.pipeline.prepare import FeatureCache, prepare

    used = {"first_bars": bundle.first_bars, "sources": bundle.sources}
    bars = load_bars(spec, Path(settings.STORE_DIR), threads=settings.DATA_THREADS, **used)
    gone = "the stored bars are not those of the training any more, so its validation rows cannot be made again"
    if {symbol: dict(digests) for symbol, digests in bars.fingerprints.items()} != bundle.fingerprints:
        raise ModelError(gone)
    cache = FeatureCache(folder, settings.CACHE_LIMIT_BYTES) if (folder := homes.cache_folder()) else None
    prepared = prepare(spec, bars, cache=cache, data_threads=settings.DATA_THREADS)
    rows, kept = prepared.dataset.rows, bundle.predictions["validation"]
    positions = prepared.splits.validation
    columns = ("times", "symbols", "labels")
    same = all(np.array_equal(getattr(rows, column)[positions], getattr(kept, column)) for column in columns)
    if not same or prepared.dataset.feature_names != bundle.feature_names:
        raise ModelError(gone)
    return prepared


def _sample(positions: Any, seed: int, most: int) -> Any:
    """At most so many of the positions, in order, drawn by the seed."""
    import numpy as np

    if len(positions) <= most:
        return positions
    return np.sort(np.random.default_rng(seed).choice(positions, most, replace=False))
