"""Bundle: everything needed to predict and to say where a model comes from ↔ one folder of safetensors, JSON and YAML."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safe_numpy
from safetensors import torch as safe_torch
from torch import nn

from strategies_app.schema import StrategySpec
from training.files import write_folder
from training.trainer.evaluation import Predictions
from training.trainer.networks import build_network
from training.values import Refusal

FORMAT = 1
WEIGHTS, PREDICTIONS, STRATEGY, DOCUMENT, MANIFEST = (
    "weights.safetensors",
    "predictions.safetensors",
    "strategy.yaml",
    "bundle.json",
    "manifest.json",
)
FILES = (WEIGHTS, PREDICTIONS, STRATEGY, DOCUMENT)
#: Fields with files of their own; all others are in bundle.json.
_ELSEWHERE = ("network", "strategy_text", "predictions", "offset", "scale")


class BundleError(Refusal):
    """A bundle that cannot be written, or must not be trusted; the message is one sentence."""


@dataclass(frozen=True)
class Bundle:
    """A trained model with its provenance.

    network: raw features float32 (n, f) → logits, normalization inside, evaluation mode, CPU. spec:
    the effective strategy, JSON-ready; strategy_text: the file it came from. normalization: kind per
    feature; offset, scale float32 (f,). first_bars: symbol → timeframe → µs UTC of the first bar used.
    split: cuts, embargo and dates. fingerprints: symbol → timeframe → hex. metrics: validation, test
    and history. predictions: validation and, if that split has rows, test.
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

    def require_features(self, names: Sequence[str]) -> None:
        """BundleError naming the first feature that is not the one the network was trained with at that place."""
        if len(names) != len(self.feature_names):
            raise BundleError(f"the bundle was trained on {len(self.feature_names)} features, seen {len(names)}")
        for place, (wanted, seen) in enumerate(zip(self.feature_names, names, strict=True)):
            if wanted != seen:
                raise BundleError(f"feature {place} is '{seen}', the bundle was trained with '{wanted}' there")


def save_bundle(bundle: Bundle, folder: Path) -> str:
    """Write the bundle as `folder`, which must not exist yet, whole or not at all; gives `manifest_sha256`.

    BundleError if a number is not finite, or the folder cannot be written.
    """
    contents = _contents(bundle)
    manifest = _manifest({name: _sha256(content) for name, content in contents.items()})
    if folder.exists():
        raise BundleError(f"{folder} exists already")
    try:
        write_folder(folder, {**contents, MANIFEST: manifest})
    except OSError as problem:
        raise BundleError(f"the bundle {folder} cannot be written: {problem.strerror or problem}") from problem
    return _sha256(manifest)


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle back; needs nothing but the folder. BundleError if any byte of it was changed."""
    contents = _verified(folder)
    try:
        document = json.loads(contents[DOCUMENT])
        if document["format"] != FORMAT:
            raise BundleError(f"the bundle {folder} has format {document['format']}, this version reads {FORMAT}")
        spec = StrategySpec.model_validate(document["spec"])
        network, offset, scale = _network(spec, document, safe_torch.load(contents[WEIGHTS]))
        return Bundle(
            network=network,
            strategy_text=contents[STRATEGY].decode(),
            predictions=_predictions(safe_numpy.load(contents[PREDICTIONS])),
            offset=offset,
            scale=scale,
            **{f.name: _as_field(f.name, document[f.name]) for f in fields(Bundle) if f.name not in _ELSEWHERE},
        )
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as problem:
        raise BundleError(f"the bundle {folder} does not describe a model: {str(problem).splitlines()[0]}") from problem


def manifest_sha256(folder: Path) -> str:
    """One number for the whole bundle: it changes with any byte of any file."""
    try:
        return _sha256((folder / MANIFEST).read_bytes())
    except OSError as problem:
        raise BundleError(f"the bundle {folder} has no readable {MANIFEST}") from problem


def _contents(bundle: Bundle) -> dict[str, bytes]:
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.network.state_dict().items()}
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise BundleError(f"{name} holds a number that is not finite, so the model is not saved")
    arrays: dict[str, NDArray[Any]] = {}
    for split, predictions in bundle.predictions.items():
        if not np.isfinite(predictions.probabilities).all():
            raise BundleError(f"a {split} probability is not finite, so the model is not saved")
        arrays |= {f"{split}.{f.name}": np.ascontiguousarray(getattr(predictions, f.name)) for f in fields(Predictions)}
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


def _manifest(hashes: Mapping[str, str]) -> bytes:
    """The one way of writing these hashes: reading compares bytes, so no byte of it is free."""
    return _json({"format": FORMAT, "sha256": dict(sorted(hashes.items()))})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _verified(folder: Path) -> dict[str, bytes]:
    """The files' bytes, if they are exactly those that were saved."""
    try:
        names = {path.name for path in folder.iterdir()}
        for name in sorted(names ^ {*FILES, MANIFEST}):
            raise BundleError(f"the bundle {folder} has {'an unknown file' if name in names else 'no'} {name}")
        contents = {name: (folder / name).read_bytes() for name in FILES}
        saved = (folder / MANIFEST).read_bytes()
    except OSError as problem:
        raise BundleError(f"the bundle {folder} cannot be read: {problem.strerror or problem}") from problem
    hashes = {name: _sha256(content) for name, content in contents.items()}
    if saved != _manifest(hashes):
        raise BundleError(f"the bundle {folder} was changed after it was saved: {_suspects(saved, hashes)} does not fit")
    return contents


def _suspects(saved: bytes, hashes: Mapping[str, str]) -> str:
    """Which files do not fit the saved manifest; the manifest itself if all of them do."""
    text = saved.decode(errors="replace")
    return " and ".join(name for name, value in hashes.items() if value not in text) or MANIFEST


def _network(
    spec: StrategySpec, document: Mapping[str, Any], weights: dict[str, torch.Tensor]
) -> tuple[nn.Module, NDArray[np.float32], NDArray[np.float32]]:
    features, classes = len(document["feature_names"]), len(document["class_names"])
    network = build_network(spec, features, classes, np.zeros(features, np.float32), np.ones(features, np.float32))
    network.load_state_dict(weights)
    return network.eval(), weights["normalization.offset"].numpy(), weights["normalization.scale"].numpy()


def _predictions(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Predictions]:
    splits = dict.fromkeys(name.partition(".")[0] for name in arrays)
    return {split: Predictions(**{f.name: arrays[f"{split}.{f.name}"] for f in fields(Predictions)}) for split in splits}


def _as_field(name: str, value: Any) -> Any:
    """JSON has no tuples."""
    return tuple(value) if name in ("feature_names", "class_names", "normalization", "symbols", "timeframes") else value
