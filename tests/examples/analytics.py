"""Records of a made-up run, as the trainer gives them: calm unless told otherwise."""

from __future__ import annotations

from typing import Any


def layer(**changes: Any) -> dict[str, Any]:
    return {
        "gradient_norm": 0.1, "gradient_norm_min": 0.05, "gradient_norm_max": 0.2, "update_ratio": 0.001, "signal": 0.4,
        "weight_mean": 0.0, "weight_std": 0.1, "weight_min": -0.3, "weight_max": 0.3, "dead_share": 0.0,
    } | changes  # fmt: skip


def record(epoch: int, val_loss: float = 1.0, **changes: Any) -> dict[str, Any]:
    """An epoch of two layers and two classes; hidden={…} and output={…} change a layer's figures."""
    hidden, output = layer(**changes.pop("hidden", {})), layer(**({"dead_share": None} | changes.pop("output", {})))
    per_class = {
        "BUY": {"precision": 0.6, "recall": 0.6, "share": 0.5, "predicted_share": 0.5},
        "SELL": {"precision": 0.6, "recall": None, "share": 0.5, "predicted_share": 0.5},
    }
    return {
        "attempt": 1, "epoch": epoch, "train_loss": 1.0 - 0.01 * epoch, "val_loss": val_loss, "learning_rate": 0.01, "best": epoch == 0,
        "sampled_steps": 4, "signal": 0.5, "layers": {"hidden_0": hidden, "output": output}, "per_class": per_class, "balance": 1.0,
        "confidence_mean": 0.6, "confidence": [0] * 10 + [30] + [0] * 9, "entropy_mean": 0.9, "entropy": [0] * 19 + [30],
        "calibration": [{"rows": 30, "confidence": 0.6, "right": 0.58}], "calibration_error": 0.02, "overconfidence": 0.02,
    } | changes  # fmt: skip


def returns_record(epoch: int, **changes: Any) -> dict[str, Any]:
    """The same for returns: residuals in place of classes."""
    whole = record(epoch, **changes)
    kept = {key: value for key, value in whole.items() if key not in OF_CLASSES}
    return kept | {"residual_mean": 0.0, "residual_deviation": 0.01, "residual_edges": [-0.02, 0.0, 0.02], "residuals": [10, 20]}


OF_CLASSES = (
    "per_class", "balance", "confidence_mean", "confidence", "entropy_mean", "entropy", "calibration", "calibration_error",
    "overconfidence",
)  # fmt: skip
