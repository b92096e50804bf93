"""bfloat16: products of a step are rounded where the device is made for it; elsewhere the run is in float32 and says so."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from tests.examples.trainer import Recorder, dataset, recurrent, regression_strategy, returns_dataset, strategy, windows
from training.core.values import Cancelled, Silent
from training.trainer import device
from training.trainer.loop import Fitted, fit
from training.trainer.state import differences

EXAMPLES: list[Any] = [
    (lambda **t: strategy(dropout=0.2, **t), dataset),
    (lambda **t: regression_strategy(**t), returns_dataset),
]


@pytest.fixture
def cpu_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor as a device that is made for bfloat16: torch rounds there with the same calls."""
    monkeypatch.setattr(device, "BFLOAT16_DEVICES", frozenset({"cuda", "cpu"}))


def weights(fitted: Fitted) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in fitted.network.state_dict().items()}


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_on_the_processor_a_run_is_in_float32_and_says_so(wanted: str) -> None:
    rows, splits = dataset()
    fitted = fit(rows, splits, strategy(precision=wanted), Silent())
    assert fitted.precision == "float32"
    said = ["precision bfloat16 needs CUDA: on cpu this run computes in float32"]
    assert [text for text in fitted.warnings if "precision" in text] == (said if wanted == "bfloat16" else [])
    assert weights(fitted) == weights(fit(rows, splits, strategy(), Silent()))


@pytest.mark.parametrize(("spec", "make"), EXAMPLES, ids=["classes", "returns"])
def test_a_step_is_rounded_and_everything_else_is_not(cpu_rounds: None, spec: Any, make: Any) -> None:
    rows, splits = make()
    recorder = Recorder()
    rounded = fit(rows, splits, spec(precision="bfloat16"), recorder)
    plain = fit(rows, splits, spec(), Silent())
    assert rounded.precision == "bfloat16" and any("rounded to bfloat16" in text for text in rounded.warnings)
    assert weights(rounded) != weights(plain), "the products of a step were rounded"
    losses = [[row["train_loss"] for row in fitted.history] for fitted in (rounded, plain)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)
    from safetensors.torch import load

    for part in ("model.safetensors", "optimizer.safetensors", "best_model.safetensors"):
        kept = load(recorder.states[-1]()[part])
        assert {tensor.dtype for tensor in kept.values()} == {torch.float32}, part
    logits = rounded.network(torch.from_numpy(rows.rows.features[:8]))
    assert logits.dtype == torch.float32 and not torch.equal(logits, logits.bfloat16().float()), "predictions are not rounded"


@pytest.mark.parametrize("fused", [True, False])
def test_a_rounded_run_is_resumed_with_the_same_bits(cpu_rounds: None, fused: bool) -> None:
    rows, splits = dataset()
    spec = strategy(precision="bfloat16", dropout=0.2, epochs=4)
    whole = fit(rows, splits, spec, Silent(), fused=fused)
    first = Recorder(Cancelled(), at_batch=16)
    with pytest.raises(Cancelled):
        fit(rows, splits, spec, first, fused=fused)
    resumed = fit(rows, splits, spec, Silent(), fused=fused, resume=first.last_parts())
    assert weights(whole) == weights(resumed)


def test_a_checkpoint_knows_in_what_it_was_computed(cpu_rounds: None, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, splits = dataset()
    recorder = Recorder()
    fit(rows, splits, strategy(precision="bfloat16", epochs=1), recorder)
    parts = recorder.states[-1]()
    assert json.loads(parts["state.json"])["precision"] == "bfloat16" and differences(parts, "cpu") == []
    monkeypatch.setattr(device, "BFLOAT16_DEVICES", frozenset({"cuda"}))
    assert differences(parts, "cpu") == ["precision was bfloat16, is float32"]
    older = json.loads(parts["state.json"])
    del older["precision"], older["strategy"]["training"]["precision"]
    assert differences({**parts, "state.json": json.dumps(older).encode()}, "cpu") == []


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_networks_stay_in_float32_and_say_so(cpu_rounds: None, kind: str) -> None:
    rows, splits = windows()
    recorder = Recorder()
    fitted = fit(rows, splits, recurrent(kind, epochs=1, precision="bfloat16"), recorder)
    assert fitted.precision == "float32" and differences(recorder.states[-1](), "cpu") == []
    assert "precision bfloat16: recurrent networks are computed in float32 all the same" in fitted.warnings
    assert weights(fitted) == weights(fit(rows, splits, recurrent(kind, epochs=1), Silent()))


def test_what_will_change_is_said_before_it_is_known_who_trains() -> None:
    network = torch.nn.Linear(2, 2)
    assert device.precision_forecast("float32", network) is None and device.precision_remark("float32", "cuda:0", network) is None
    for text in (device.precision_forecast("bfloat16", network), device.precision_remark("bfloat16", "cuda:0", network)):
        assert text is not None and "validation and predictions stay float32" in text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("spec", "make"), EXAMPLES, ids=["classes", "returns"])
def test_bfloat16_on_cuda_trains_and_resumes_with_the_same_bits(spec: Any, make: Any) -> None:
    rows, splits = make()
    whole = fit(rows, splits, spec(precision="bfloat16"), Silent(), device="cuda")
    first = Recorder(Cancelled(), after_epoch=0)
    with pytest.raises(Cancelled):
        fit(rows, splits, spec(precision="bfloat16"), first, device="cuda")
    resumed = fit(rows, splits, spec(precision="bfloat16"), Silent(), device="cuda", resume=first.last_parts())
    plain = fit(rows, splits, spec(), Silent(), device="cuda")
    assert whole.precision == "bfloat16" and weights(whole) == weights(resumed) != weights(plain)
