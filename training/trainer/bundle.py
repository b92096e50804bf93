"""Bundle: everything needed to predict and to say where a model comes from ↔ one folder of safetensors, JSON and YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safe_numpy
from safetensors import torch as safe_torch
from torch import nn

from strategies_app.grammar import plugins
from strategies_app.grammar.schema import StrategySpec
from training.core.files import FolderError, manifest_sha256, read_folder, write_folder
from training.core.values import Refusal
from training.trainer.evaluation import Predictions
from training.trainer.networks import build_network

__all__ = ["Bundle", "BundleError", "load_bundle", "manifest_sha256", "save_bundle"]

FORMAT = 1
WEIGHTS, PREDICTIONS, STRATEGY, DOCUMENT = FILES = (
    "weights.safetensors",
    "predictions.safetensors",
    "strategy.yaml",
    "bundle.json",
)
#: Fields with files of their own; all others are in bundle.json.
_ELSEWHERE = ("network", "strategy_text", "predictions", "offset", "scale")


class BundleError(Refusal):
    """A bundle that cannot be written, or must not be trusted; the message is one sentence."""

    category = "resources"


class PackageMissing(BundleError):
    """A bundle that is whole, of a model whose own indicators, labels or network are in a package that is not here."""


@dataclass(frozen=True)
class Bundle:
    """A trained model with its provenance.

    network: raw features float32 (n, f), or windows of them (n, window, f) → logits, normalization inside,
    evaluation mode, CPU. spec: the effective strategy, JSON-ready; strategy_text: the file it came from. normalization: kind per
    feature; offset, scale float32 (f,). target_scale: the deviation of the training returns, by which the network's
    answer is multiplied; None for classes. first_bars: symbol → timeframe → µs UTC of the first bar used.
    split: cuts, embargo and dates. fingerprints: symbol → timeframe → hex. metrics: validation, test
    and history. predictions: validation and, if that split has rows, test. plugins: the kinds of other
    packages that it was trained with: `indicator kama` → package, version, code.
    """

    network: nn.Module
    strategy_text: str
    spec: dict[str, Any]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    normalization: tuple[str, ...]
    offset: NDArray[np.float32]
    scale: NDArray[np.float32]
    class_weights: list[float]
    symbols: tuple[str, ...]
    timeframes: tuple[str, ...]
    first_bars: dict[str, dict[str, int]]
    sources: dict[str, dict[str, str]]
    split: dict[str, Any]
    fingerprints: dict[str, dict[str, str]]
    versions: dict[str, str]
    threads: int
    engine: str
    device: str
    seed: int
    metrics: dict[str, Any]
    predictions: dict[str, Predictions]
    notes: list[str]
    target_scale: float | None = None
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)
    precision: str = "float32"

    def require_features(self, names: Sequence[str]) -> None:
        """BundleError naming the first feature that is not the one the network was trained with at that place."""
        if len(names) != len(self.feature_names):
            raise BundleError(f"the bundle was trained on {len(self.feature_names)} features, seen {len(names)}")
        for place, (wanted, seen) in enumerate(zip(self.feature_names, names, strict=True)):
            if wanted != seen:
                raise BundleError(f"feature {place} is '{seen}', the bundle was trained with '{wanted}' there")


def save_bundle(bundle: Bundle, folder: Path) -> str:
    """Write the bundle as `folder`, which must not exist yet, whole or not at all; gives its `manifest_sha256`.

    BundleError if a number is not finite, or the folder cannot be written.
    """
    contents = _contents(bundle)
    try:
        return write_folder(folder, contents)
    except OSError as problem:
        raise BundleError(f"the bundle {folder} cannot be written: {problem.strerror or problem}") from problem


def read_document(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What a bundle says of itself, which needs no package that its network needs, and the bytes of its files.

    BundleError if any byte of it was changed.
    """
    try:
        contents = read_folder(folder, FILES)
    except FolderError as problem:
        raise BundleError(f"the bundle {problem}") from None
    try:
        document = json.loads(contents[DOCUMENT])
        if document["format"] != FORMAT:
            raise BundleError(f"the bundle {folder} has format {document['format']}, this version reads {FORMAT}")
        document.setdefault("plugins", {})
        return _defaults() | document, contents
    except (KeyError, TypeError, ValueError) as problem:
        raise BundleError(f"the bundle {folder} does not describe a model: {str(problem).splitlines()[0]}") from problem


def _defaults() -> dict[str, Any]:
    """Of fields that bundles of an earlier version do not have."""
    plain = {f.name: f.default for f in fields(Bundle) if f.default is not MISSING}
    return plain | {f.name: f.default_factory() for f in fields(Bundle) if f.default_factory is not MISSING}


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle back; needs nothing but the folder. BundleError if any byte of it was changed."""
    document, contents = read_document(folder)
    try:
        if absent := plugins.missing(document["plugins"]):
            raise PackageMissing(f"the bundle {folder} needs {'; '.join(absent)}")
        spec = StrategySpec.model_validate(document["spec"])
        network, offset, scale = _network(spec, document, safe_torch.load(contents[WEIGHTS]))
        return Bundle(
            network=network,
            strategy_text=contents[STRATEGY].decode(),
            predictions=_predictions(safe_numpy.load(contents[PREDICTIONS])),
            offset=offset,
            scale=scale,
            **{
                f.name: _as_field(f.name, document[f.name])
                for f in fields(Bundle)
                if f.name not in _ELSEWHERE and _kept(f, document)
            },
        )
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as problem:
        raise BundleError(f"the bundle {folder} does not describe a model: {str(problem).splitlines()[0]}") from problem


def _contents(bundle: Bundle) -> dict[str, bytes]:
    weights = {name: tensor.detach().cpu().clone() for name, tensor in bundle.network.state_dict().items()}
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise BundleError(f"{name} holds a number that is not finite, so the model is not saved")
    arrays: dict[str, NDArray[Any]] = {}
    for split, predictions in bundle.predictions.items():
        for noun, said in (("probability", predictions.probabilities), ("predicted return", predictions.returns)):
            if said is not None and not np.isfinite(said).all():
                raise BundleError(f"a {split} {noun} is not finite, so the model is not saved")
        columns = {f.name: getattr(predictions, f.name) for f in fields(Predictions)}
        arrays |= {f"{split}.{name}": np.ascontiguousarray(column) for name, column in columns.items() if column is not None}
    document = {f.name: getattr(bundle, f.name) for f in fields(Bundle) if f.name not in _ELSEWHERE}
    return {
        WEIGHTS: safe_torch.save(weights),
        PREDICTIONS: safe_numpy.save(arrays),
        STRATEGY: bundle.strategy_text.encode(),
        DOCUMENT: _json({"format": FORMAT, **document}),
    }


def _json(document: Mapping[str, Any]) -> bytes:
    try:
        # Keys keep their order: that of the memberships is the order of the features.
        return json.dumps(document, allow_nan=False, indent=1, ensure_ascii=False).encode()
    except ValueError as problem:
        raise BundleError(f"{DOCUMENT} would hold a number that is not finite, so the model is not saved") from problem


def _network(
    spec: StrategySpec, document: Mapping[str, Any], weights: dict[str, torch.Tensor]
) -> tuple[nn.Module, NDArray[np.float32], NDArray[np.float32]]:
    features = len(document["feature_names"])
    network = build_network(
        spec, features, len(document["class_names"]) or 1, np.zeros(features, np.float32), np.ones(features, np.float32)
    )
    network.load_state_dict(weights)
    return network.eval(), weights["normalization.offset"].numpy(), weights["normalization.scale"].numpy()


def _predictions(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Predictions]:
    splits = dict.fromkeys(name.partition(".")[0] for name in arrays)
    return {
        split: Predictions(**{f.name: arrays[key] for f in fields(Predictions) if (key := f"{split}.{f.name}") in arrays})
        for split in splits
    }


def _kept(of: Field[Any], document: Mapping[str, Any]) -> bool:
    """Bundles that were written before a field with a default was there do not have it."""
    return of.name in document or (of.default is MISSING and of.default_factory is MISSING)


def _as_field(name: str, value: Any) -> Any:
    """JSON has no tuples."""
    return tuple(value) if name in ("feature_names", "class_names", "normalization", "symbols", "timeframes") else value
