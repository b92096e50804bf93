"""Trainings that really ran, on the sample bars, kept as a worker keeps them; each text is trained once per test process."""

from __future__ import annotations

import functools
import json
from typing import Any

import pandas as pd
import yaml
from django.utils import timezone

from strategies_app.grammar.reader import read_strategy
from strategies_app.models import Strategy
from training.bars.series import SAMPLE_BARS, store_frame
from training.jobs import homes
from training.models import Operation, Status, TrainedModel
from training.pipeline.bars import read_bars
from training.pipeline.loading import load_bars
from training.recipe import train_strategy
from training.trainer.bundle import Bundle, save_bundle

BASE: dict[str, Any] = {
    "name": "swing",
    "training_data": {
        "symbols": {"mode": "multi_symbol", "list": ["AAPL", "MSFT"]},
        "timeframes": {"mode": "multi_timeframe", "list": ["1d", "1w"]},
        "start_date": "2003-01-01",
        "end_date": "2009-12-31",
    },
    "indicators": {"rsi_14": {"type": "rsi", "period": 14}, "macd_1": {"type": "macd"}},
    "fuzzy_sets": {"zone": {"indicator": "rsi_14", "low": [0, 30, 50], "middle": [30, 50, 70], "high": [50, 70, 100]}},
    "nn_inputs": [{"fuzzy_set": "zone"}, {"raw_indicator": "macd_1.histogram", "timeframes": ["1d"]}],
    "model": {"type": "mlp", "architecture": {"hidden_layers": [16], "dropout": 0.1}},
    "training": {
        "labels": {"source": "zigzag", "zigzag_threshold": 0.04, "label_lookahead": 10},
        "epochs": 3,
        "batch_size": 128,
        "early_stopping": {"enabled": False},
    },
}


def text_of(name: str = "swing", **changes: Any) -> str:
    """The strategy with other values; `training__epochs=5` changes one inside a section."""
    plain = json.loads(json.dumps(BASE | {"name": name}))
    for path, value in changes.items():
        *sections, last = path.split("__")
        place = plain
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return yaml.safe_dump(plain, sort_keys=False)


@functools.cache
def trained(text: str) -> Bundle:
    spec = read_strategy(text)
    return train_strategy(spec, load_bars(spec, SAMPLE_BARS), strategy_text=text)


def completed(text: str | None = None, user: Any = None, **fields: Any) -> Operation:
    """A completed operation with its model, its bundle's files, and the bars that it was trained on."""
    text = text or text_of()
    bundle = trained(text)
    for symbol in bundle.symbols:
        sample_bars(symbol)
    version = Strategy.objects.import_text(text)
    operation = Operation.objects.create(
        strategy_version=version, spec=json.dumps(bundle.spec), status=Status.COMPLETED, queue="cpu", user=user, percent=100.0,
        epoch=2, fingerprints=bundle.fingerprints, sources=bundle.sources, first_bars=bundle.first_bars, notes=bundle.notes,
        started=timezone.now(), finished=timezone.now(), **fields,
    )  # fmt: skip
    folder = f"{operation.pk}-1"
    digest = save_bundle(bundle, homes.require("bundles") / folder)
    number = TrainedModel.objects.count() + 1
    TrainedModel.objects.create(
        operation=operation, name=f"{operation.name}-{number}", folder=folder, sha256=digest, metrics=bundle.metrics
    )
    return operation


def sample_bars(symbol: str) -> None:
    store_frame(symbol, "1d", read_bars(SAMPLE_BARS, symbol, "1d"), source="sample bars", replace=True)


def other_bars(symbol: str) -> None:
    """Bars of this symbol that the training did not see, in place of those that it saw."""
    frame: pd.DataFrame = read_bars(SAMPLE_BARS, symbol, "1d") * 1.5
    store_frame(symbol, "1d", frame, source="elsewhere", replace=True)


def text_of_returns(name: str = "returns", **changes: Any) -> str:
    """The strategy as a regression of the return over ten days, whose signals must earn a cost of 0.2 % twice."""
    costs = {"round_trip_cost": 0.002, "min_edge_multiplier": 2.0}
    decisions = {"output_format": "regression", "cost_model": costs}
    return text_of(name, decisions=decisions, training__labels={"source": "forward_return", "horizon": 10}, **changes)
