"""Predicted: a bundle and bars → what its network says of each bar, and the signal that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategies_app.grammar.schema import StrategySpec, feature_names
from training.core.values import SIGNALS, signals_of, signals_of_returns
from training.pipeline.arguments import require
from training.pipeline.dataset import build_features
from training.pipeline.gate import admit_frames
from training.pipeline.splits import side_names
from training.store.coverage import DataError
from training.trainer.bundle import Bundle
from training.trainer.evaluation import predicted_returns, probabilities


@dataclass(frozen=True)
class Predictions:
    """One symbol's base bars with every feature and a whole window: times (n,) µs UTC, and what is said of each (see `signals`).

    probabilities float32 (n, k); returns float64 (n,): the predicted returns, with which k is 0, None for classes.
    splits: for each bar what the training had to do with its day, one of `split_ledger.SIDES`.
    """

    symbol: str
    times: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]
    signals: list[str]
    splits: list[str]
    returns: NDArray[np.float64] | None = None

    @property
    def said(self) -> NDArray[Any]:
        """What the network says of each row: its probabilities (n, k), or its predicted return (n,)."""
        if self.returns is not None:
            return self.returns
        return self.probabilities


def predict_bars(bundle: Bundle, symbol: str, frames: Mapping[str, pd.DataFrame], start: int) -> Predictions:
    """Probabilities or returns, and signals, of one symbol's base bars from `start` (µs) on; frames as `load_bars` gives them.

    They come through the gate: DataError for bars of which nothing can be said. For bars that begin where the training's
    began, features and probabilities are those of training, bit for bit.
    """
    require("bundle", bundle, Bundle, "what train_strategy or load_bundle gives")
    spec = StrategySpec.model_validate(bundle.spec)
    bundle.require_features(feature_names(spec))
    admit_frames(spec, symbol, frames, start)
    features, times, ends = build_features(spec, frames, start)
    if len(times) == 0:
        needed = "all its features" if spec.window == 1 else f"all features in the {spec.window} bars up to it"
        raise DataError(f"no {spec.base_timeframe} bar of {symbol} has {needed}; wanted more bars before the dates asked for")
    sides = side_names(bundle.split, times)
    if bundle.target_scale is not None:
        returns = predicted_returns(bundle.network, features, bundle.target_scale, ends)
        told = [SIGNALS[place] for place in signals_of_returns(returns, edge_of(spec))]
        return Predictions(symbol, times, np.zeros((len(times), 0), np.float32), (), told, sides, returns)
    chances = probabilities(bundle.network, features, ends)
    signals = signals_of(chances, bundle.class_names, spec.decisions.confidence_threshold)
    return Predictions(symbol, times, chances, bundle.class_names, signals, sides)


def edge_of(spec: StrategySpec) -> float:
    """The predicted return that makes a signal. The reader wants costs with every regression."""
    return 0.0 if spec.decisions.cost_model is None else spec.decisions.cost_model.edge
