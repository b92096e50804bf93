"""Evaluation: a network and rows → probabilities or returns, what it is worth beside baselines, and validation at each epoch.

A row's result depends on the network and that row alone, bit for bit: rows go through in
batches of one size, padded, in aligned buffers, on one thread (see `networks.padded`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from strategies_app.grammar.schema import Training
from training.core.values import Dataset, EpochMetrics, Splits, independent_rows, rows_by_symbol
from training.trainer import batches, metrics
from training.trainer.batches import Placed
from training.trainer.metrics import class_metrics, confusion
from training.trainer.networks import PluginNetwork, evaluation_rows, gather, padded, padded_width, window_of
from training.trainer.targets import Target, mean_loss, scaled


@dataclass(frozen=True)
class Predictions:
    """What a network says about n rows: times µs int64, symbols int32 (n,); labels int64 (n,) with probabilities
    float32 (n, k), or realised returns float64 (n,) as labels with the predicted ones float64 (n,)."""

    times: NDArray[np.int64]
    symbols: NDArray[np.int32]
    labels: NDArray[Any]
    probabilities: NDArray[np.float32] | None = None
    returns: NDArray[np.float64] | None = None

    @property
    def said(self) -> NDArray[Any]:
        """What the network says of each row: its probabilities (n, k), or its predicted return (n,)."""
        if self.returns is not None:
            return self.returns
        assert self.probabilities is not None
        return self.probabilities


@dataclass(frozen=True)
class Evaluation:
    """Measures of one split, JSON-ready, and the predictions that they come from."""

    metrics: dict[str, Any]
    predictions: Predictions


class Shuffled(NamedTuple):
    """Columns that are read from other rows: from those whose last bar lies at `last` (n,), row by row."""

    columns: list[int]
    last: torch.Tensor


def probabilities(
    network: nn.Module, features: NDArray[np.float32], ends: NDArray[np.int64] | None = None, device: str = "cpu"
) -> NDArray[np.float32]:
    """Raw features float32 (m, f), and where the n windows end in them → class probabilities float32 (n, k); n may be 0."""
    last = None if ends is None else batches.resident(ends, "cpu")
    return softmax(split_logits(network.to(device), batches.resident(features, "cpu"), last)).numpy()


def predicted_returns(
    network: nn.Module,
    features: NDArray[np.float32],
    scale: float,
    ends: NDArray[np.int64] | None = None,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """The same for returns → predicted ones float64 (n,): what the network gives times the scale of the target."""
    last = None if ends is None else batches.resident(ends, "cpu")
    return in_returns(split_logits(network.to(device), batches.resident(features, "cpu"), last), scale)


def in_returns(outputs: torch.Tensor, scale: float) -> NDArray[np.float64]:
    """float32 (n, 1) in units of `scale` → float64 (n,)."""
    return outputs[:, 0].double().numpy() * scale


def split_logits(
    network: nn.Module, features: torch.Tensor, last: torch.Tensor | None, shuffled: Shuffled | None = None
) -> torch.Tensor:
    """Logits float32 (n, k), or returns (n, 1), on the CPU for the rows whose last bar lies at `last` (n,) in features.

    None: all bars.

    features and last lie on the network's device, or both on the host: then batch by batch is moved.
    """
    size, window, width = evaluation_rows(network), window_of(network), features.shape[1]
    last = torch.arange(len(features), device=features.device)[window - 1 :] if last is None else last
    inner = (padded_width(network, width),) if window == 1 else (window, padded_width(network, width))
    buffer = torch.zeros(size, *inner, device=next(network.parameters()).device)
    pinned = buffer.device.type == "cuda" and features.device.type == "cpu"
    # One place for the rows of every batch and one for all answers: small answers that are kept between large passing ones
    # make the process grow by every batch.
    gathered = torch.empty(size if window == 1 and shuffled is None else 0, width, device=features.device)
    with torch.no_grad(), _one_thread():
        network.eval()
        prepared, classes = padded(network), _class_count(network)
        logits = torch.empty(len(last), classes)
        for start in range(0, len(last), size):
            part = last[start : start + size]
            if len(gathered):
                rows = torch.index_select(features, 0, part, out=gathered[: len(part)])
            else:
                rows = gather(features, part, window)
            if shuffled is not None:
                others = gather(features, shuffled.last[start : start + size], window)
                rows[..., shuffled.columns] = others[..., shuffled.columns]
            buffer[: len(part), ..., :width].copy_(rows.pin_memory() if pinned else rows, non_blocking=pinned)
            buffer[len(part) :] = 0
            logits[start : start + len(part)] = prepared(buffer)[: len(part), :classes]
    return logits


def softmax(logits: torch.Tensor) -> torch.Tensor:
    """float32 (n, k) → float32 (n, k), computed in float64 so that rows sum to 1 as closely as float32 can say."""
    return torch.softmax(logits.double(), dim=1).float()


def evaluate(
    network: nn.Module,
    dataset: Dataset,
    positions: NDArray[np.int64],
    train: NDArray[np.int64],
    training: Training,
    class_weights: list[float],
    device: str = "cpu",
    bar: int = 0,
    target_scale: float | None = None,
    edge: float = 0.0,
) -> Evaluation | None:
    """Measures of the rows at `positions` (one split; each split is a separate call), None if there are none.

    loss is Σ w·l / Σ w with the class weights learned on train (None if every row weighs 0). `baseline`
    always answers with the class most frequent in the rows at `train`; it is the first of `baselines`.
    bar: the length of a base bar in µs. rows_sha256 is the same for two models judged on the same rows.
    For returns: target_scale is their deviation on train, edge the predicted return that makes a signal,
    and `baseline` the one of `baselines` that misses least.
    """
    if not len(positions):
        return None
    rows = dataset.rows
    last = batches.resident(rows.last_bars(positions), "cpu")
    logits = split_logits(network.to(device), batches.resident(rows.features, "cpu"), last)
    if target_scale is not None:
        loss = mean_loss(logits, torch.from_numpy(scaled(rows.labels[positions], target_scale)), training, None)
        predicted = in_returns(logits, target_scale)
        metrics = {"loss": loss} | _of_returns(dataset, positions, train, predicted, bar, edge)
        return Evaluation(
            metrics, Predictions(rows.times[positions], rows.symbols[positions], rows.labels[positions], None, predicted)
        )
    return _of_classes(dataset, positions, train, training, class_weights, logits, bar)


def _of_returns(
    dataset: Dataset,
    positions: NDArray[np.int64],
    train: NDArray[np.int64],
    predicted: NDArray[np.float64],
    bar: int,
    edge: float,
) -> dict[str, Any]:
    rows = dataset.rows
    realised, symbols, centre = rows.labels[positions], rows.symbols[positions], float(rows.labels[train].mean())
    independent = independent_rows(rows.times[positions], rows.label_ends[positions], symbols, bar)
    others = [
        {"name": name} | metrics.return_metrics(said, realised, centre) | metrics.gain(predicted, said, realised, independent)
        for name, said in return_baselines(dataset, positions, train, bar).items()
    ]
    return metrics.return_metrics(predicted, realised, centre) | {
        "independent_rows": independent,
        "baselines": others,
        "baseline": min(others, key=lambda other: float(other["rmse"])),
        "edge": edge,
        "signals": metrics.by_signal(predicted, realised, edge),
        "reliability": metrics.reliability(predicted, realised),
        "misses": metrics.misses(predicted, realised),
        "rows_sha256": rows_digest(dataset, positions),
        "per_symbol": {
            name: metrics.return_metrics(predicted[of], realised[of], centre)
            for name, of in zip(dataset.symbols, rows_by_symbol(symbols, len(dataset.symbols)), strict=True)
            if len(of)
        },
    }


def _of_classes(
    dataset: Dataset,
    positions: NDArray[np.int64],
    train: NDArray[np.int64],
    training: Training,
    class_weights: list[float],
    logits: torch.Tensor,
    bar: int,
) -> Evaluation:
    rows = dataset.rows
    labels, symbols = rows.labels[positions], rows.symbols[positions]
    answers = logits.argmax(dim=1).numpy()
    loss = mean_loss(logits, torch.from_numpy(labels), training, torch.tensor(class_weights))
    count = len(dataset.class_names)
    metrics: dict[str, Any] = {"loss": loss if np.isfinite(loss) else None}
    metrics |= class_metrics(confusion(labels, answers, count), dataset.class_names)
    metrics["baselines"] = baselines(dataset, positions, train, bar)
    metrics["baseline"] = metrics["baselines"][0]
    metrics["rows_sha256"] = rows_digest(dataset, positions)
    metrics["independent_rows"] = independent_rows(rows.times[positions], rows.label_ends[positions], symbols, bar)
    metrics["per_symbol"] = {
        name: class_metrics(confusion(labels[of], answers[of], count), dataset.class_names)
        for name, of in zip(dataset.symbols, rows_by_symbol(symbols, len(dataset.symbols)), strict=True)
        if len(of)
    }
    return Evaluation(metrics, Predictions(rows.times[positions], symbols, labels, softmax(logits).numpy()))


def rows_digest(dataset: Dataset, positions: NDArray[np.int64]) -> str:
    """sha256 of which rows these are and of what is right for them: symbols, times, labels."""
    rows = dataset.rows
    digest = hashlib.sha256(json.dumps([dataset.symbols, dataset.class_names]).encode())
    for column in (rows.symbols, rows.times, rows.labels):
        kind = "<f8" if column.dtype.kind == "f" else "<i8"
        digest.update(np.ascontiguousarray(column[positions], dtype=kind).tobytes())
    return digest.hexdigest()


def _class_count(network: nn.Module) -> int:
    if isinstance(network, PluginNetwork):
        return network.outputs
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    return last.out_features


@contextmanager
def _one_thread() -> Iterator[None]:
    """More threads cut a matrix product in other places, which may change its last bits."""
    before = torch.get_num_threads()
    if before != 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before != 1:
            torch.set_num_threads(before)


#: What a baseline is compared in; its matrix and classes tell nothing more.
COMPARED = ("rows", "accuracy", "balanced_accuracy", "mcc", "precision", "recall", "f1_score")


def baselines(dataset: Dataset, positions: NDArray[np.int64], train: NDArray[np.int64], bar: int) -> list[dict[str, Any]]:
    """In the order in which they are shown, for the rows at `positions`; learned on the rows at `train`.

    bar: the length of a base bar in µs, so that it is known when a row is decided on.
    """
    labels, names = dataset.rows.labels[positions], dataset.class_names
    shares = np.bincount(dataset.rows.labels[train], minlength=len(names)) / max(len(train), 1)
    majority = int(shares.argmax())
    known = known_last(dataset, positions, majority, bar)
    return [
        {"name": "majority class of train", "class": names[majority]}
        | class_metrics(confusion(labels, np.full_like(labels, majority), len(names)), names),
        {"name": "label known last"} | _compared(class_metrics(confusion(labels, known, len(names)), names)),
        {"name": "guessing by the shares of train"} | _guessing(labels, shares, names),
    ]


def return_baselines(
    dataset: Dataset, positions: NDArray[np.int64], train: NDArray[np.int64], bar: int
) -> dict[str, NDArray[np.float64]]:
    """Name → predicted returns (n,) of the rows at `positions`, in the order in which they are shown; see `baselines`.

    The last one says that what happened over the last horizon happens again; where none is known, the mean.
    """
    centre = float(dataset.rows.labels[train].mean())
    return {
        "always zero": np.zeros(len(positions)),
        "always the mean of train": np.full(len(positions), centre),
        "the last known return": known_last(dataset, positions, centre, bar),
    }


def known_last(dataset: Dataset, positions: NDArray[np.int64], otherwise: float, bar: int) -> NDArray[Any]:
    """For each row the label of the same symbol's newest row whose label is known when the row's bar closes.

    Known is what ended by then: a label that looks ten bars ahead is ten bars old. `otherwise` where none is known.
    """
    rows = dataset.rows
    answers = np.full(len(positions), otherwise, dtype=rows.labels.dtype)
    count = len(dataset.symbols)
    for own, asked in zip(rows_by_symbol(rows.symbols, count), rows_by_symbol(rows.symbols[positions], count), strict=True):
        if not len(own) or not len(asked):
            continue
        order = np.argsort(rows.label_ends[own], kind="stable")
        newest = np.maximum.accumulate(own[order])  # rows of a symbol are in order of time
        found = np.searchsorted(rows.label_ends[own[order]], rows.times[positions[asked]] + bar, side="right") - 1
        answers[asked[found >= 0]] = rows.labels[newest[found[found >= 0]]]
    return answers


def _guessing(labels: NDArray[np.int64], shares: NDArray[np.float64], names: tuple[str, ...]) -> dict[str, Any]:
    """What drawing classes at random with these shares reaches on average: its correlation with anything is 0."""
    expected = np.outer(np.bincount(labels, minlength=len(names)), shares)
    return _compared(class_metrics(expected, names)) | {"rows": len(labels), "mcc": 0.0}


def _compared(measured: dict[str, Any]) -> dict[str, Any]:
    return {name: measured[name] for name in COMPARED}


class Validation:
    """The validation rows, read from where the run's rows lie; the target as learned on train."""

    def __init__(self, dataset: Dataset, splits: Splits, rows: Placed, target: Target) -> None:
        self.features = rows.features
        self.last = batches.resident(dataset.rows.last_bars(splits.validation), str(rows.features.device))
        self.labels = target.labels[splits.validation]
        self.realised, self.scale = dataset.rows.labels[splits.validation], target.scale
        self.centre = 0.0 if target.scale is None else float(dataset.rows.labels[splits.train].mean())
        self.class_weights = None if target.scale is not None else torch.tensor(target.class_weights)
        self.class_names = dataset.class_names

    def logits(self, network: nn.Module) -> torch.Tensor:
        """What the network says about the rows: float32 (n, k), or returns in units of the scale (n, 1), on the CPU."""
        return split_logits(network, self.features, self.last)

    def measure(self, logits: torch.Tensor, training: Training) -> EpochMetrics:
        """val_loss, and for classes val_accuracy, val_balanced_accuracy, val_mcc and predicted_shares by class; for
        returns val_mae, val_rmse, val_r2, val_sign_accuracy, val_ic and val_rank_ic (None where predictions are all the same)."""
        loss = mean_loss(logits, torch.from_numpy(self.labels), training, self.class_weights)
        if self.scale is not None:
            told = metrics.return_metrics(in_returns(logits, self.scale), self.realised, self.centre)
            return {"val_loss": loss, **{f"val_{name}": told[name] for name in metrics.MEASURES}}
        matrix = confusion(self.labels, logits.argmax(dim=1).numpy(), len(self.class_names))
        shares = matrix.sum(axis=0) / matrix.sum()
        return {
            "val_loss": loss,
            "val_accuracy": metrics.accuracy(matrix),
            "val_balanced_accuracy": metrics.balanced_accuracy(matrix),
            "val_mcc": metrics.matthews_correlation(matrix),
            "predicted_shares": dict(zip(self.class_names, shares.tolist(), strict=True)),
        }
