"""State: everything that decides how a run goes on, cloned at an epoch's end ↔ checkpoint parts (safetensors and JSON)."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from strategies_app.grammar import plugins
from training.core.values import EpochMetrics, Parts, Refusal
from training.trainer.device import device_name, environment, used_precision_again
from training.trainer.optimizers import Monitor, Schedule

FORMAT = 1
PARTS = ("model.safetensors", "optimizer.safetensors", "scheduler.json", "best_model.safetensors", "state.json")
#: Parts of the last good epoch, where that is not the last one, are named so before their own name.
GOOD = "good_"
Tensors = dict[str, torch.Tensor]


class CheckpointError(Refusal):
    """A checkpoint that cannot continue this run; the message names the difference."""

    category = "resources"


@dataclass(frozen=True)
class Facts:
    """What a checkpoint must agree on with the run that continues it, and how the run was computed."""

    strategy: Mapping[str, Any]  # the model and training sections, JSON-ready
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    class_weights: tuple[float, ...]
    target_scale: float | None  # of returns, None for classes
    train_rows: int
    row_weights: str | None  # sha256, None if all rows count alike
    device: str
    threads: int
    engine: str
    fused: bool
    precision: str = "float32"  # of a step, as it was computed
    plugins: plugins.Record = field(default_factory=dict)  # kinds of other packages that the strategy uses


@dataclass(frozen=True)
class State:
    """A run at the end of `epochs_completed` epochs. Tensors on the CPU, shared with nothing that still changes."""

    epochs_completed: int
    model: Tensors
    optimizer: Tensors
    best_model: Tensors
    schedule: Schedule
    monitor: Monitor
    history: tuple[EpochMetrics, ...]
    micro_batch: int  # rows computed at once: the batch size, or less after memory ran out
    rollbacks: tuple[EpochMetrics, ...] = ()  # every return to a good epoch: from, to, why, and the rate since
    good: State | None = None  # the last good epoch's end, None if it is this one


def clone(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The tensors' present values on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def to_parts(state: State, facts: Facts) -> Parts:
    """The checkpoint's bytes. JSON keeps floats exactly (shortest text that reads back the same)."""
    last = state.history[-1] if state.history else {}
    document = {
        "format": FORMAT,
        "epoch": state.epochs_completed - 1,
        "epochs_completed": state.epochs_completed,
        "losses": {"train": last.get("train_loss"), "validation": last.get("val_loss")},
        # Both null where labels are returns: their measures are in the history.
        "accuracies": {"validation": last.get("val_accuracy"), "validation_balanced": last.get("val_balanced_accuracy")},
        "learning_rate": state.schedule.rate,
        "early_stopping": state.monitor.as_dict(),
        "history": list(state.history),
        "micro_batch": state.micro_batch,
        "rollbacks": list(state.rollbacks),
        "strategy": facts.strategy,
        "feature_names": list(facts.feature_names),
        "class_names": list(facts.class_names),
        "class_weights": list(facts.class_weights),
        "target_scale": facts.target_scale,
        "train_rows": facts.train_rows,
        "row_weights": facts.row_weights,
        "device": facts.device,
        "device_name": device_name(facts.device),
        "threads": facts.threads,
        "engine": facts.engine,
        "fused": facts.fused,
        "precision": facts.precision,
        "versions": environment(),
        "plugins": {name: dict(of) for name, of in facts.plugins.items()},
    }
    return {
        "model.safetensors": save(state.model),
        "optimizer.safetensors": save(state.optimizer),
        "scheduler.json": _json(state.schedule.as_dict()),
        "best_model.safetensors": save(state.best_model),
        "state.json": _json(document),
        **({f"{GOOD}{name}": content for name, content in to_parts(state.good, facts).items()} if state.good else {}),
    }


def from_parts(parts: Parts, facts: Facts, model: Mapping[str, torch.Tensor]) -> State:
    """The state that `to_parts` saved, checked against this run and its untrained `model`.

    CheckpointError if a part is missing or damaged, or rows, features, classes, shapes,
    normalization or the strategy differ. Versions, device, threads and engine are `differences`.
    """
    missing = [name for name in PARTS if name not in parts]
    if missing:
        raise CheckpointError(f"the checkpoint has no {', '.join(missing)}")
    document = _read_json(parts, "state.json")
    if document.get("format") != FORMAT:
        raise CheckpointError(f"the checkpoint has format {document.get('format')}, this version reads {FORMAT}")
    _same_run(document, facts)
    tensors = {name: _read_tensors(parts, f"{name}.safetensors") for name in ("model", "optimizer", "best_model")}
    for name in ("model", "best_model"):
        _same_shapes(name, tensors[name], model)
    for name in ("normalization.offset", "normalization.scale"):
        if name in model and not torch.equal(tensors["model"][name], model[name].cpu()):
            raise CheckpointError(f"the checkpoint's {name} was learned on other training rows")
    good = {name.removeprefix(GOOD): content for name, content in parts.items() if name.startswith(GOOD)}
    try:
        return State(
            document["epochs_completed"],
            tensors["model"],
            tensors["optimizer"],
            tensors["best_model"],
            Schedule(**_read_json(parts, "scheduler.json")),
            Monitor(**document["early_stopping"]),
            tuple(document["history"]),
            document.get("micro_batch", facts.strategy["training"]["batch_size"]),
            tuple(document.get("rollbacks", ())),
            from_parts(good, facts, model) if good else None,
        )
    except (KeyError, TypeError) as problem:
        raise CheckpointError(f"the checkpoint's state.json or scheduler.json is damaged: {problem}") from None


def differences(parts: Parts, device: str, threads: int = 1, engine: str = "reference", fused: bool = True) -> list[str]:
    """Why continuing here would not be bit for bit, one sentence each; empty if it would."""
    document = _read_json(parts, "state.json")
    here = {"device": device, "device name": device_name(device), "threads": threads, "engine": engine, "fused": fused}
    pairs = [(name, document.get(name.replace(" ", "_")), value) for name, value in here.items()]
    pairs.append(("precision", document.get("precision", "float32"), used_precision_again(document, device)))
    versions = document.get("versions", {})
    pairs += [
        (f"{name} version" if name != "instructions" else name, versions.get(name), value)
        for name, value in environment().items()
    ]
    found = [f"{name} was {saved}, is {now}" for name, saved, now in pairs if saved != now]
    return found + plugins.differences(document.get("plugins", {}))


def _same_run(document: Mapping[str, Any], facts: Facts) -> None:
    for noun, saved, wanted in (
        ("feature", document.get("feature_names", []), facts.feature_names),
        ("class", document.get("class_names", []), facts.class_names),
    ):
        if len(saved) != len(wanted):
            raise CheckpointError(f"the checkpoint has {len(saved)} {noun} names, this run has {len(wanted)}")
        for place, (old, new) in enumerate(zip(saved, wanted, strict=True)):
            if old != new:
                raise CheckpointError(f"{noun} {place} is '{old}' in the checkpoint and '{new}' in this run")
    if document.get("train_rows") != facts.train_rows:
        raise CheckpointError(f"the checkpoint was trained on {document.get('train_rows')} rows, this run has {facts.train_rows}")
    if document.get("class_weights") != list(facts.class_weights):
        raise CheckpointError("the checkpoint's class weights were learned on other labels")
    if document.get("target_scale") != facts.target_scale:
        raise CheckpointError("the checkpoint's scale of the returns was learned on other labels")
    _same_strategy(document.get("strategy", {}), facts.strategy, "")
    if document.get("row_weights") != facts.row_weights:
        raise CheckpointError("the checkpoint was trained with other weights of its rows: labels or their ends were others")


def _same_strategy(saved: Mapping[str, Any], wanted: Mapping[str, Any], path: str) -> None:
    """Everything but the number of epochs must agree: a run may be continued for longer."""
    for key in sorted({*saved, *wanted}):
        old, new, name = saved.get(key), wanted.get(key), f"{path}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            _same_strategy(old, new, f"{name}.")
        elif old != new and name != "training.epochs":
            raise CheckpointError(f"{name} is {old} in the checkpoint and {new} in this run")


def _same_shapes(part: str, saved: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    for name in sorted({*saved, *wanted}):
        old, new = (tuple(t[name].shape) if name in t else None for t in (saved, wanted))
        if old != new:
            raise CheckpointError(f"{name} has shape {old} in the checkpoint's {part} and {new} in this run")


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False, indent=1, sort_keys=True).encode()


def _read_json(parts: Parts, name: str) -> dict[str, Any]:
    try:
        document = json.loads(parts[name])
    except (KeyError, ValueError):
        raise CheckpointError(f"the checkpoint's {name} is missing or damaged") from None
    if not isinstance(document, dict):
        raise CheckpointError(f"the checkpoint's {name} is damaged")
    return document


def _read_tensors(parts: Parts, name: str) -> Tensors:
    try:
        return clone(load(parts[name]))
    except (SafetensorError, KeyError, ValueError, struct.error):
        raise CheckpointError(f"the checkpoint's {name} is damaged") from None
